"""`stockade install` and `uninstall` on copies of engines' configuration files below a directory of the test's own."""

import json
import os
import shutil
import subprocess
import tomllib

import pytest
from support import ROOT, STOCKADE

PROGRAM = "/opt/stockade/bin/stockade"
CRI2, CRI3 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
MAIN2 = f"""version = 2
oom_score = -999

[plugins."{CRI2}"]
  sandbox_image = "registry.example/pause:3.9"  # ours
  [plugins."{CRI2}".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
DAEMON = '{\n  "log-driver": "json-file",\n  "runtimes": {"other": {"path": "/usr/bin/other"}},\n  "features": {"x": true}\n}'


class Host:
    def __init__(self, top):
        self.top = top

    def write(self, name, text):
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name):
        return (self.top / name).read_text()

    def files(self):
        """{name: content} of all that is there."""
        return {str(path.relative_to(self.top)): path.read_text() for path in self.top.rglob("*") if path.is_file()}

    def __call__(self, command, *arguments, code=0):
        argv = [STOCKADE, command, "--sysroot", str(self.top), *arguments]
        if command == "install":
            argv += ["--path", PROGRAM]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def runtimes(self, name="etc/containerd/config.toml", plugin=CRI2):
        return tomllib.loads(self.read(name))["plugins"][plugin]["containerd"]["runtimes"]


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


CASES = {
    "docker new": ("docker", {}),
    "docker empty": ("docker", {"etc/docker/daemon.json": ""}),
    "docker": ("docker", {"etc/docker/daemon.json": DAEMON}),
    "containerd new": ("containerd", {}),
    "containerd empty": ("containerd", {"etc/containerd/config.toml": ""}),
    "containerd 2": ("containerd", {"etc/containerd/config.toml": MAIN2}),
    "containerd without a last newline": ("containerd", {"etc/containerd/config.toml": MAIN2.rstrip("\n")}),
    "containerd 3": ("containerd", {"etc/containerd/config.toml": "version = 3\n"}),
    "containerd 3 with imports": ("containerd", {"etc/containerd/config.toml": 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n'}),
    "cri-o": ("cri-o", {"etc/crio/crio.conf": "[crio]\n"}),
    "podman": ("podman", {"etc/containers/policy.json": "{}"}),
}


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(host, case):
    """Installed, installed again without a change, with a flag where that goes, and taken back: nothing is left."""
    engine, files = CASES[case]
    for name, text in files.items():
        host.write(name, text)
    before = host.files()
    assert "+++ " in host("install", "--dry-run", engine)
    assert host.files() == before
    assert "wrote" in host("install", engine)
    first = host.files()
    assert first != before
    assert "nothing to change" in host("install", engine)
    assert host.files() == first
    if engine in ("docker", "containerd"):
        host("install", "--runtime-flag", "platform=ptrace", engine)
        assert host.files() != first
        host("install", engine)
        assert host.files() == first
    assert "--- " in host("uninstall", "--dry-run", engine)
    assert host.files() == first
    host("uninstall", engine)
    assert host.files() == before
    assert "not installed" in host("uninstall", engine)


def test_docker(host):
    path = host.write("etc/docker/daemon.json", DAEMON)
    path.chmod(0o640)
    host("install", "--runtime-flag", "--platform=ptrace", "--runtime-flag", "no-patching", "docker")
    value = json.loads(path.read_text())
    assert value["runtimes"].pop("stockade") == {"path": PROGRAM, "runtimeArgs": ["--platform=ptrace", "--no-patching"]}
    assert value == json.loads(DAEMON)
    assert path.stat().st_mode & 0o777 == 0o640
    value["debug"] = True  # somebody goes on working
    path.write_text(json.dumps(value | {"runtimes": value["runtimes"] | {"stockade": {"path": PROGRAM}}}))
    host("uninstall", "docker")
    assert json.loads(path.read_text()) == json.loads(DAEMON) | {"debug": True}
    assert list(host.files()) == ["etc/docker/daemon.json"]


def test_docker_refuses_to_lose_its_default(host):
    host.write("etc/docker/daemon.json", '{"default-runtime": "stockade", "runtimes": {"stockade": {"path": "/x"}}}')
    assert "default-runtime" in host("uninstall", "docker", code=1)


def test_containerd_2(host):
    host.write("etc/containerd/config.toml", MAIN2)
    host("install", "--runtime-flag", "platform=ptrace", "--runtime-flag", "no-patching", "containerd")
    text = host.read("etc/containerd/config.toml")
    assert text.startswith(MAIN2)
    assert host.runtimes() == {
        "runc": {"runtime_type": "io.containerd.runc.v2"},
        "stockade": {
            "runtime_type": "io.containerd.stockade.v1", "runtime_path": "/opt/stockade/bin/containerd-shim-stockade-v1",
            "pod_annotations": ["dev.stockade.*"], "options": {"ConfigPath": "/etc/containerd/stockade.toml"},
        },
    }  # fmt: skip
    assert tomllib.loads(host.read("etc/containerd/stockade.toml")) == {"platform": "ptrace", "no_patching": True}
    host.write("etc/containerd/config.toml", text + "[debug]\nlevel = 'debug'\n")
    host("uninstall", "containerd")
    assert host.read("etc/containerd/config.toml") == MAIN2 + "[debug]\nlevel = 'debug'\n"
    assert len(host.files()) == 1


def test_containerd_1_takes_the_last_file_with_the_section(host):
    main = 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n' + MAIN2.split("\n", 1)[1]
    host.write("etc/containerd/config.toml", main)
    host.write("etc/containerd/conf.d/a.toml", f'[plugins."{CRI2}"]\nsandbox_image = "a"\n')
    host.write("etc/containerd/conf.d/b.toml", f'[plugins."{CRI2}".registry]\nconfig_path = "b"\n')
    host.write("etc/containerd/conf.d/c.toml", "[debug]\nlevel = 'debug'\n")
    before = host.files()
    host("install", "containerd")
    assert set(host.runtimes("etc/containerd/conf.d/b.toml")) == {"runc", "stockade"}
    assert {name for name, text in host.files().items() if before.get(name) != text and not name.endswith("-stockade")} == {
        "etc/containerd/conf.d/b.toml"
    }
    host("uninstall", "containerd")
    assert host.files() == before


def test_containerd_3_with_a_drop_in(host):
    main = 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n'
    host.write("etc/containerd/config.toml", main)
    host("install", "containerd")
    assert host.read("etc/containerd/config.toml") == main
    drop_in = tomllib.loads(host.read("etc/containerd/conf.d/50-stockade.toml"))
    assert drop_in["version"] == 3
    assert drop_in["plugins"][CRI3]["containerd"]["runtimes"]["stockade"]["runtime_type"] == "io.containerd.stockade.v1"


def test_what_cannot_be_done_changes_nothing(host):
    bad = {
        "etc/docker/daemon.json": ("{", "[]", '{"runtimes": 1}'),
        "etc/containerd/config.toml": (
            "x", "version = 1\n", "root = '/x'\n", "version = 4\n", "version = 2\nplugins = {}\n", f'version = 2\n[plugins."{CRI2}".containerd.runtimes.stockade]\n',
        ),
    }  # fmt: skip
    for name, texts in bad.items():
        for text in texts:
            host.write(name, text)
            before = host.files()
            engine = name.split("/")[1]
            message = host("install", engine, "cri-o", code=1)
            assert message.count("\n") == 1 and "Traceback" not in message, message
            assert host.files() == before
        shutil.rmtree(host.top / "etc")
    for flags in (["nobody"], ["--runtime", "a b", "docker"], ["--runtime-flag", "fly=1", "docker"], ["--runtime-flag", "platform", "docker"],
                  ["--runtime-flag", "strace", "podman"], ["--runtime-flag", "strace", "cri-o"], []):  # fmt: skip
        assert host("install", *flags, code=1).count("\n") == 1
    assert not host.files()


def test_engines_that_are_there(host):
    host.write("usr/bin/dockerd", "")
    host.write("etc/containerd/config.toml", MAIN2)
    host("install")
    assert json.loads(host.read("etc/docker/daemon.json"))["runtimes"]["stockade"]["path"] == PROGRAM
    assert "stockade" in host.runtimes()
    assert not (host.top / "etc/crio").exists() and not (host.top / "etc/containers").exists()
    host("uninstall")
    assert set(host.files()) == {"usr/bin/dockerd", "etc/containerd/config.toml"}


def test_links_stay_links(host):
    host.write("srv/config.toml", MAIN2)
    (host.top / "etc/containerd").mkdir(parents=True)
    for target in ("/srv/config.toml", "../../srv/config.toml"):
        link = host.top / "etc/containerd/config.toml"
        link.symlink_to(target)
        host("install", "containerd")
        assert link.is_symlink() and "stockade" in host.runtimes("srv/config.toml")
        host("uninstall", "containerd")
        assert host.read("srv/config.toml") == MAIN2
        link.unlink()


@pytest.mark.skipif(shutil.which("containerd") is None, reason="containerd is not installed")
def test_containerd_understands_it(host):
    """What Debian's containerd makes of the file (config dump shows the default runtime too)."""
    for text in ("", MAIN2):
        path = host.write("etc/containerd/config.toml", text)
        host("install", "containerd")
        done = subprocess.run(["containerd", "-c", path, "config", "dump"], capture_output=True, text=True, timeout=30, check=True)
        runtimes = tomllib.loads(done.stdout)["plugins"][CRI2]["containerd"]["runtimes"]
        assert runtimes["stockade"]["runtime_type"] == "io.containerd.stockade.v1"
        assert runtimes["stockade"]["runtime_path"] == "/opt/stockade/bin/containerd-shim-stockade-v1"
        assert runtimes["runc"]["runtime_type"] == "io.containerd.runc.v2"  # not lost
        host("uninstall", "containerd")


@pytest.mark.skipif(shutil.which("podman") is None or os.geteuid() != 0, reason="podman is not installed, or we are not root")
def test_podman_finds_it(host, tmp_path, tmp_path_factory):
    subprocess.run([STOCKADE, "install", "--sysroot", tmp_path, "podman"], check=True, timeout=30, capture_output=True)
    env = dict(os.environ, CONTAINERS_CONF=str(tmp_path / "etc/containers/containers.conf.d/50-stockade.conf"))
    run = tmp_path_factory.getbasetemp() / "p"  # podman takes no longer name
    argv = ["podman", "--root", tmp_path / "root", "--runroot", run, "--runtime", "stockade", "info", "-f", "{{.Host.OCIRuntime.Path}}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout.strip() == os.path.join(ROOT, "bin", "stockade"), done.stderr
