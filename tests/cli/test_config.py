"""Broken and incomplete bundles: one clear error, exit code 1, nothing left."""

import os

import pytest


def without(*path):
    def change(config):
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


def having(value, *path):
    def change(config):
        for key in path[:-1]:
            config = config.setdefault(key, {})
        config[path[-1]] = value

    return change


CASES = [
    (without("ociVersion"), "ociVersion is missing"),
    (having("2.0.0", "ociVersion"), "ociVersion '2.0.0' is not supported"),
    (having(1, "ociVersion"), "ociVersion must be a string"),
    (without("root"), "root is missing"),
    (without("root", "path"), "root.path is missing"),
    (having("nowhere", "root", "path"), "No such file or directory"),
    (having("../bundle1/config.json", "root", "path"), "is not a directory"),
    (without("process"), "process is missing"),
    (having([], "process"), "process must be an object"),
    (without("process", "args"), "process.args is missing"),
    (having([], "process", "args"), "process.args is empty"),
    (having(["a\0b"], "process", "args"), "process.args[0]"),
    (having([1], "process", "args"), "process.args[0]"),
    (having("usr", "process", "cwd"), "not an absolute path"),
    (without("process", "cwd"), "process.cwd is missing"),
    (having("yes", "process", "terminal"), "process.terminal must be true or false"),
    (having(-1, "process", "user", "uid"), "process.user.uid -1 is out of range"),
    (having(True, "process", "user", "gid"), "process.user.gid must be a number"),
    (having(["x"], "process", "user", "additionalGids"), "additionalGids[0]"),
    (having([{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "process", "rlimits"), "RLIMIT_X"),
    (having([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "process", "rlimits"), "soft is above hard"),
    (having([{"type": "RLIMIT_CPU", "soft": 2}], "process", "rlimits"), "hard is missing"),
    (having(2000, "process", "oomScoreAdj"), "out of range"),
    (having([{"destination": "/x", "type": "nfs", "source": "a"}], "mounts"), "unknown mount type 'nfs'"),
    (having([{"destination": "x", "type": "tmpfs"}], "mounts"), "not an absolute path"),
    (having("h" * 65, "hostname"), "longer than 64 bytes"),
    (having([{"type": "tmpfs"}], "mounts"), "destination is missing"),
    (having([{"destination": "/x", "type": "bind"}], "mounts"), "source is missing"),
    (having([{"destination": "/x", "type": "bind", "source": "/no/such"}], "mounts"), "No such file or directory"),
    (having([{"destination": "/x", "type": "tmpfs", "source": 1}], "mounts"), "mounts[0].source must be a string"),
    (having([{"destination": "/x", "type": "tmpfs", "options": ["\udc80"]}], "mounts"), "lone surrogate"),
    (having(["\ud800"], "linux", "maskedPaths"), "lone surrogate"),
    (having("a/../b", "linux", "cgroupsPath"), "'..'"),
    (having([{"type": "pid"}, {"type": "pid", "path": "/x"}], "linux", "namespaces"), "namespaces[1]: there is a namespace of type 'pid' already"),
    (having({"a": 1}, "annotations"), "annotations['a'] must be a string"),
    (having(True, "process", "terminal"), "--console-socket"),
    (lambda config: [config], "not an object"),
]


@pytest.mark.parametrize(("change", "message"), CASES, ids=[message for _, message in CASES])
def test_configuration_is_refused(cli, bundle, change, message):
    path = bundle("exit", "0", change=change)
    result = cli("create", "--bundle", path, "c")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": }', "line 1 column 7"),
        (b"[1, 2", "is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100000, "is not JSON"),
    ],
)
def test_text_is_refused(cli, bundle, text, message):
    path = bundle("exit", "0")
    (path / "config.json").write_bytes(text)
    result = cli("run", "--bundle", path, "c")
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["FIFO", "directory", "device"])
def test_what_is_no_file_is_refused(cli, bundle, make):
    path = bundle("exit", "0")
    os.unlink(path / "config.json")
    make(path / "config.json")
    result = cli("run", "--bundle", path, "c")
    assert (result.returncode, result.stderr) == (1, f"stockade: {path}/config.json is not a regular file\n")


def test_no_bundle(cli, tmp_path):
    for bundle in (tmp_path, tmp_path / "none"):
        result = cli("run", "--bundle", bundle, "c")
        assert result.returncode == 1
        assert "No such file or directory" in result.stderr


@pytest.mark.parametrize("cid", ["", ".", "..", "a/b", "a b", "ä", "x" * 256])
def test_container_ids_that_are_refused(cli, bundle, cid):
    result = cli("run", "--bundle", bundle("exit", "0"), cid)
    assert result.returncode == 1
    assert "container id" in result.stderr
