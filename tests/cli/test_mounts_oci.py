"""Mounts and attributes of the first process as the configuration asks for them, with runc as the control."""

import json
import os
import shutil

import pytest
from cli_helpers import Cli, needs_root
from support import STOCKADE
from support import rootfs as root_file_system

pytestmark = needs_root
CAPS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_NICE")


@pytest.fixture
def top(tmp_path):
    root = tmp_path / "rootfs"
    shutil.copytree(root_file_system("busybox"), root, symlinks=True)
    up = root / "up"
    (up / "sub" / "deep").mkdir(parents=True)
    (up / "file").write_text("content\n")
    (up / "sub" / "deep" / "big").write_bytes(bytes(3 << 20))
    (up / "link").symlink_to("file")
    (up / "file").chmod(0o4711)
    os.chown(up / "sub", 5, 6)
    os.lchown(up / "link", 3, 3)
    up.chmod(0o2750)
    os.chown(up, 7, 8)
    return tmp_path


@pytest.fixture(params=["stockade", "runc"])
def run(request, nothing_left, top):
    program = STOCKADE if request.param == "stockade" else shutil.which("runc")
    if program is None:
        pytest.skip("runc is not installed")
    cli = Cli(program, nothing_left)

    def run(script, mounts=(), linux=None, **process):
        config = {
            "ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")], **(linux or {})},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *mounts],
            "process": {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                        "capabilities": {kind: list(CAPS) for kind in ("bounding", "effective", "permitted")}, **process},
        }  # fmt: skip
        (top / "config.json").write_text(json.dumps(config))
        return cli("run", "--bundle", top, "c")

    run.kind = request.param
    return run


def tmpfs(place, *options):
    return {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def test_tmpcopyup(run, top):
    script = (
        "cd /up; stat -c '%n %a %u %g' . file sub link; stat -c %s sub/deep/big; cat link; readlink link; echo x > new; rm file; "
        "grep ' /up ' /proc/self/mountinfo | cut -d' ' -f5,6"
    )
    result = run(script, [tmpfs("/up", "tmpcopyup", "nosuid", "rprivate")])
    # runc gives the link to the caller
    lines = [line for line in result.stdout.splitlines() if not line.startswith("link ")]
    assert lines == [". 2750 0 0", "file 4711 0 0", "sub 755 5 6", str(3 << 20), "content", "file", "/up rw,nosuid,relatime"], result.stderr
    assert sorted(os.listdir(top / "rootfs" / "up")) == ["file", "link", "sub"]


def test_tmpcopyup_that_does_not_fit(run):
    result = run("true", [tmpfs("/up", "tmpcopyup", "size=1m")])
    assert result.returncode == 1 and result.stdout == ""


OPTIONS = [
    (("size=1m", "mode=700", "uid=3", "gid=4", "noexec"), "rw,noexec,relatime", "700 3 4"), (("ro", "nodev", "noatime"), "ro,nodev,noatime", "1777 0 0"),
    (("rw", "nosuid", "nodiratime"), "rw,nosuid,nodiratime,relatime", "1777 0 0"), (("strictatime", "mode=0755"), "rw", "755 0 0"),
    (("ro", "rw", "noexec", "exec", "rprivate"), "rw,relatime", "1777 0 0"), (("rslave",), "rw,relatime", "1777 0 0"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "flags", "owner"), OPTIONS)
def test_options(run, options, flags, owner):
    result = run("grep ' /t ' /proc/self/mountinfo | cut -d' ' -f6; stat -c '%a %u %g' /t", [tmpfs("/t", *options)])
    assert result.stdout == f"{flags}\n{owner}\n", result.stderr


def test_binds(run, top):
    (top / "given" / "below").mkdir(parents=True)
    (top / "given" / "file").write_text("given\n")
    bind = {"destination": "/v", "type": "bind", "source": str(top / "given"), "options": ["rbind", "ro", "nosuid", "noexec", "rprivate"]}
    one = {"destination": "/f", "type": "none", "source": str(top / "given" / "file"), "options": ["bind"]}
    result = run("cat /v/file /f; echo x > /v/file; echo y > /f; grep ' /v ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1-3", [bind, one])
    assert result.stdout == "given\ngiven\nro,nosuid,noexec\n" and "Read-only file system" in result.stderr
    assert (top / "given" / "file").read_text() == "y\n"


def test_shared_propagation(run, top):
    """Mounts in such a volume, which the host could not see, are refused until the program makes it private."""
    if run.kind == "runc":
        pytest.skip("makes them, on the host as well")
    (top / "given").mkdir()
    shared = {"destination": "/v", "type": "bind", "source": str(top / "given"), "options": ["rbind", "rshared"]}
    script = (
        "grep ' /v ' /proc/self/mountinfo | grep -o shared:; mount -t tmpfs none /v 2> /dev/null || echo refused; "
        "mkdir -p /v/d; mount --bind /up /v/d 2> /dev/null || echo refused; mount --make-rprivate /v; mount -t tmpfs none /v && echo made"
    )
    caps = [*CAPS, "CAP_SYS_ADMIN"]
    result = run(script, [shared], capabilities={kind: caps for kind in ("bounding", "effective", "permitted")})
    assert result.stdout == "shared:\nrefused\nrefused\nmade\n", result.stderr
    assert os.listdir(top / "given") == ["d"]


def test_masked_and_readonly_paths(run):
    script = "cat /masked; ls -A /up; echo x > /up2/x; echo; cat /proc/sys/kernel/ostype > /dev/null && echo readable; touch /ro/x"
    linux = {"maskedPaths": ["/masked", "/up", "/no/such"], "readonlyPaths": ["/ro", "/proc/sys", "/none"]}
    result = run(f"{script}", [tmpfs("/up2"), tmpfs("/ro"), tmpfs("/dev")], linux)
    assert "readable" in result.stdout and "file" not in result.stdout and "Read-only file system" in result.stderr


def test_domainname_and_offsets(run):
    if run.kind == "runc":
        pytest.skip("runc 1.1 has neither")
    result = run("cat /proc/sys/kernel/domainname; cat /proc/1/timens_offsets 2> /dev/null; uname -n", linux={"timeOffsets": {"boottime": {"secs": 1000}}})
    assert result.returncode == 0


def test_scheduling(run):
    if run.kind == "runc":
        pytest.skip("runc 1.1 has neither scheduler nor ioPriority")
    result = run(
        "cut -d' ' -f19,41 /proc/self/stat; ionice; cat /proc/self/personality", linux={"personality": {"domain": "LINUX32"}},
        scheduler={"policy": "SCHED_BATCH", "nice": 5}, ioPriority={"class": "IOPRIO_CLASS_IDLE"},
    )  # fmt: skip
    assert result.stdout == "5 3\nidle\n00000008\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": {"policy": "SCHED_MAGIC"}}, "process.scheduler.policy 'SCHED_MAGIC' is unknown"),
        ({"scheduler": {"policy": "SCHED_FIFO"}}, "priority 0 does not go with SCHED_FIFO"),
        ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, "process.scheduler.nice 20 is out of range"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}, "process.ioPriority.priority 8 is out of range"),
        ({"ioPriority": {}}, None),
    ],
)
def test_attributes_are_checked(cli, bundle, change, message):
    result = cli("run", "--bundle", bundle("exit", "0", change=lambda config: config["process"].update(change)), "c")
    assert (result.returncode, message or "") == (0, "") or message in result.stderr and result.returncode == 1


def test_what_is_not_supported_is_said_once(cli, bundle, tmp_path):
    linux = {"intelRdt": {"closID": "x"}, "mountLabel": "l", "resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "future": {"a": 1}}
    path = bundle("exit", "0", change=lambda config: config.update(linux=linux, future=[1]))
    assert cli("--log", tmp_path / "log", "run", "--bundle", path, "c").returncode == 0
    text = (tmp_path / "log").read_text()
    for key in ("linux.intelRdt", "linux.mountLabel", "linux.resources.hugepageLimits", "linux.future"):
        assert text.count(f"not supported: {key}") == 1
