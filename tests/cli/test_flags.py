"""Global flags: the machine's file, annotations of a container, where changes of the root go."""

import json

import pytest
from cli_helpers import Cli, needs_root
from support import STOCKADE
from support import rootfs as root_file_system

from sandbox import flags, launch, main
from sandbox.args import Values, parse
from sandbox.errors import CliError



def settings(**changes):
    values = Values(main.OPTIONS)
    values.root = "/run/stockade"
    for key, value in changes.items():
        setattr(values, key, value)
    return values


def annotated(**annotations):
    return {"annotations": {f"dev.stockade.flag.{key}": value for key, value in annotations.items()}}


# -- files


def test_a_file_sets_what_the_command_line_does_not(cli, tmp_path):
    log, other = tmp_path / "log", tmp_path / "other"
    file = tmp_path / "config.toml"
    file.write_text(f'log = "{log}"\nlog-format = "json"\ndebug = true\n')
    assert cli("--config", file, "state", "nobody").returncode == 1
    assert json.loads(log.read_text().splitlines()[-1])["level"] == "error"
    assert cli("--config", file, "--log", other, "--log-format=text", "state", "nobody").returncode == 1
    assert "level=error" in other.read_text()


def test_a_table_flags(tmp_path):
    values, _ = parse(main.OPTIONS, ["--platform", "ptrace"])
    flags.apply(values, main.OPTIONS, b'[flags]\nplatform = "systrap"\noverlay2 = "none"\nstrace = true\n', "x")
    assert (values.platform, values.overlay2, values.strace) == ("ptrace", "none", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("platform = ", "Invalid value"), ('platfrm = "x"', "there is no flag 'platfrm'"), ("platform = 1", "platform must be a string"),
        ('debug = "yes"', "debug must be true or false"), ('platform = "kvm"', "platform: 'kvm' is none of systrap, ptrace"),
        ("flags = 1", "there is no flag 'flags'"), ("version = true", "there is no flag 'version'"),
    ],
)  # fmt: skip
def test_a_bad_file(cli, tmp_path, text, message):
    (tmp_path / "config.toml").write_text(text)
    result = cli("--config", tmp_path / "config.toml", "list")
    assert message in result.stderr and result.returncode == 1 and result.stderr.count("\n") == 1


def test_a_file_that_is_not_there(cli, tmp_path):
    result = cli("--config", tmp_path / "none", "list")
    assert "--config: No such file or directory" in result.stderr and result.returncode == 1


# -- annotations


def test_annotations_tighten():
    values = settings()
    changed = flags.for_container(values, annotated(network="none", overlay2="root:memory", platform="ptrace"))
    assert (changed.network, changed.overlay2, changed.platform) == ("none", "root:memory", "ptrace")
    assert values.network == "sandbox"
    assert flags.for_container(values, {"annotations": {"dev.stockade.network": "none"}}).network == "none"
    assert flags.for_container(values, {"annotations": {"other": "x"}}) is values
    assert flags.for_container(settings(network="host"), annotated(network="host")).network == "host"


@pytest.mark.parametrize(("key", "value"), [("network", "host"), ("overlay2", "none"), ("strace", "true"), ("debug", "true")])
def test_more_needs_leave(key, value):
    with pytest.raises(CliError, match="needs --allow-flag-override"):
        flags.for_container(settings(), annotated(**{key: value}))
    assert str(getattr(flags.for_container(settings(allow_flag_override=True), annotated(**{key: value})), key)).lower() == value


@pytest.mark.parametrize("key", ["root", "log", "debug-log", "systemd-cgroup", "allow-flag-override", "rootless", "nonsense"])
def test_flags_of_the_machine(key):
    with pytest.raises(CliError, match="no flag that a container can have for itself"):
        flags.for_container(settings(allow_flag_override=True), annotated(**{key: "x"}))


@pytest.mark.parametrize(("key", "value"), [("network", "bridge"), ("platform", "kvm"), ("no-patching", "maybe")])
def test_values_are_checked(key, value):
    with pytest.raises(CliError, match="is none of"):
        flags.for_container(settings(allow_flag_override=True), annotated(**{key: value}))


def test_an_annotation_of_a_container(cli, bundle):
    refused = bundle("exit", "0", change=lambda config: config.update(annotated(network="host")))
    result = cli("run", "--bundle", refused, "c")
    assert "annotation dev.stockade.flag.network=host: this needs --allow-flag-override" in result.stderr and result.returncode == 1
    taken = bundle("exit", "0", change=lambda config: config.update(annotated(network="none")))
    assert cli("run", "--bundle", taken, "c").returncode == 0


# -- the root


@pytest.mark.parametrize(
    ("flag", "root", "cid", "annotations", "memory"),
    [
        ("auto", "/run/stockade", "c", {}, True), ("auto", "/run/stockade", "c", {"io.container.manager": "libpod"}, False),
        ("auto", "/run/stockade", "c", {"io.container.manager": "cri-o"}, True), ("auto", "/run/stockade", "buildah-buildah1", {}, False),
        ("auto", "/run/docker/runtime-stockade/moby", "c", {}, False), ("none", "/run/stockade", "c", {}, False),
        ("root:memory", "/run/docker/runtime-stockade/moby", "c", {}, True),
    ],
)  # fmt: skip
def test_where_changes_of_the_root_go(flag, root, cid, annotations, memory):
    values = settings(overlay2=flag, root=root)
    assert launch.overlay(values, cid, {"root": {"path": "/x"}, "annotations": annotations}) is memory
    assert launch.overlay(values, cid, {"root": {"path": "/x", "readonly": True}, "annotations": annotations}) is True


# -- descriptors


@needs_root
def test_pass_fd(nothing_left, tmp_path):
    cli = Cli(STOCKADE, nothing_left)
    root = root_file_system("busybox")
    (tmp_path / "one").write_text("first\n")
    (tmp_path / "two").write_text("second\n")
    with open(tmp_path / "one") as one, open(tmp_path / "two") as two:
        flags_of_it = ["--pass-fd", f"{one.fileno()}:7", f"--pass-fd={two.fileno()}:3"]
        run = lambda *more: cli("do", "-T", "--root", root, *more, "--", "sh", "-c", "cat <&7; cat <&3", pass_fds=(one.fileno(), two.fileno()))  # noqa: E731
        assert run(*flags_of_it).stdout == "first\nsecond\n"
        for bad, message in ((f"{one.fileno()}:x", "is not HOST:GUEST"), ("900:7", "descriptor 900 is not open"), (f"{one.fileno()}:5000", "above 1023")):
            result = run("--pass-fd", bad)
            assert message in result.stderr and result.returncode == 1 and result.stderr.count("\n") == 1
        assert "is given already" in run(*flags_of_it, "--pass-fd", f"{two.fileno()}:7").stderr
