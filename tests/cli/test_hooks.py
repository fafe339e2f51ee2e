"""OCI hooks at all six points, with runc as the control for what they are told and for what a failing one brings about."""

import json
import os
import shutil
import subprocess

import pytest
from cli_helpers import Cli, needs_root
from support import STOCKADE
from support import rootfs as root_file_system

POINTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
RECORD = 'read -r state; echo "$0 $state" >> {out}'

pytestmark = needs_root


@pytest.fixture
def rootfs(tmp_path):
    root = tmp_path / "b" / "rootfs"
    shutil.copytree(root_file_system("busybox"), root, symlinks=True)
    return root


def configuration(rootfs, hooks, args=("true",), caps=()):
    config = {
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "hooks": hooks,
        "process": {"args": list(args), "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                    "capabilities": {kind: list(caps) for kind in ("bounding", "effective", "permitted")}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }  # fmt: skip
    (rootfs.parent / "config.json").write_text(json.dumps(config))
    return rootfs.parent


def shell(point, script, **more):
    return {"path": "/bin/sh", "args": ["sh", "-c", script, point], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **more}


@pytest.fixture(params=["stockade", "runc"])
def runtime(request, nothing_left):
    if request.param == "stockade":
        return Cli(STOCKADE, nothing_left, ["--overlay2", "none"])
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    return Cli(shutil.which("runc"), nothing_left)


def lines(path):
    """[(point, state)] in the order in which the hooks ran."""
    if not path.exists():
        return []
    return [(point, json.loads(text)) for point, text in (line.split(" ", 1) for line in path.read_text().splitlines())]


def all_points(out, fail=None):
    """A recording hook at each point; that of `fail` says no and is followed by another."""
    hooks = {}
    for point in POINTS:
        record = shell(point, RECORD.format(out="/out" if point == "startContainer" else out))
        hooks[point] = [shell(point, "echo no; exit 3"), record] if point == fail else [record]
    return hooks


def test_order_and_state(runtime, rootfs, tmp_path):
    out = tmp_path / "out"
    bundle = configuration(rootfs, all_points(out))
    result = runtime("create", "--bundle", bundle, "c")
    assert result.returncode == 0, result.stderr
    # runc 1.1 has poststart after `create`
    assert [point for point, _ in lines(out) if point != "poststart"] == ["prestart", "createRuntime", "createContainer"]
    assert runtime("start", "c").returncode == 0
    runtime.wait_status("c", "stopped")
    assert runtime("delete", "c").returncode == 0
    found = dict(lines(out))
    assert list(found) == [point for point in POINTS if point != "startContainer"]
    inside = dict(lines(rootfs / "out"))
    assert list(inside) == ["startContainer"]
    for state in (found | inside).values():
        assert state["id"] == "c" and state["bundle"] == str(bundle)
    assert {point: state["status"] for point, state in found.items() if point != "poststart"} == {
        "prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "poststop": "stopped"
    }  # fmt: skip
    assert inside["startContainer"]["pid"] == 1
    assert "pid" not in found["poststop"]


@pytest.mark.parametrize("fail", POINTS)
def test_a_failing_hook(runtime, rootfs, tmp_path, fail):
    out = tmp_path / "out"
    bundle = configuration(rootfs, all_points(out, fail))
    result = runtime("run", "--bundle", bundle, "c")
    assert result.returncode == (0 if fail == "poststop" else 1)
    ran = [point for point, _ in lines(out)]
    before = [point for point in POINTS[: POINTS.index(fail)] if point != "startContainer"]
    if "runc" in runtime.program:  # runc starts poststart hooks before it hears of startContainer's, and ends poststop early
        before, ran = (before, [p for p in ran if p != "poststart"]) if fail == "startContainer" else (before, ran)
        assert ran == before + (["poststop"] if fail != "poststop" else [])
    else:
        assert ran == [*before, "poststop"]
        if fail != "poststop":
            assert f"hook {fail}[0] (/bin/sh): exit code 3: no" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("point", ["createRuntime", "createContainer", "startContainer"])
def test_timeout(runtime, rootfs, point):
    bundle = configuration(rootfs, {point: [shell(point, "exec sleep 60", timeout=1)]})
    assert runtime("run", "--bundle", bundle, "c", timeout=20).returncode == 1


def test_environment_and_directory(runtime, rootfs, tmp_path):
    script = f'echo "$(pwd) $VAR $1" >> {tmp_path}/out'
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "0", "one"], "env": ["VAR=value"]}
    bundle = configuration(rootfs, {"prestart": [hook], "createContainer": [hook]})
    assert runtime("run", "--bundle", bundle, "c", cwd=bundle).returncode == 0
    assert (tmp_path / "out").read_text() == f"{bundle} value one\n{rootfs} value one\n"


def test_what_create_container_mounts_is_the_containers(runtime, rootfs, tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("content\n")
    (rootfs / "mnt").mkdir(exist_ok=True)
    hook = shell("createContainer", f"mount --bind {tmp_path}/given {rootfs}/mnt")
    bundle = configuration(rootfs, {"createContainer": [hook]}, ["cat", "/mnt/file"])
    result = runtime("run", "--bundle", bundle, "c")
    assert (result.stdout, result.returncode) == ("content\n", 0), result.stderr


def test_start_container_has_the_programs_rights(runtime, rootfs):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "id -u > /tmp/id; grep CapEff /proc/self/status >> /tmp/id"], "env": ["PATH=/bin"]}
    bundle = configuration(rootfs, {"startContainer": [hook]}, ["cat", "/tmp/id"])
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["user"] = {"uid": 5, "gid": 6}
    (bundle / "config.json").write_text(json.dumps(config))
    (rootfs / "tmp").chmod(0o777)
    result = runtime("run", "--bundle", bundle, "c")
    assert result.stdout == "5\nCapEff:\t0000000000000000\n", result.stderr


def test_a_hook_gives_the_container_its_network(runtime, rootfs, tmp_path):
    """As Docker's libnetwork-setkey and CNI do it: the namespace of the state's pid gets an interface."""
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed")
    name = f"h{os.getpid()}"
    script = (
        'read -r state; pid=${state#*\\"pid\\":}; pid=${pid%%,*}; '
        f"ip link add {name} type veth peer name eth9 netns $pid && ip addr add 10.99.7.1/24 dev {name} && ip link set {name} up && "
        "nsenter -t $pid -n sh -c 'ip addr add 10.99.7.2/24 dev eth9; ip link set eth9 up'"
    )
    bundle = configuration(rootfs, {"prestart": [shell("prestart", script)]}, ["sh", "-c", "ip -o addr show eth9; ping -c 1 -W 5 10.99.7.1"], ["CAP_NET_RAW"])
    result = runtime("run", "--bundle", bundle, "c")
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
    assert "inet 10.99.7.2/24" in result.stdout and result.returncode == 0, result.stdout + result.stderr


def test_an_interface_that_comes_between_create_and_start(runtime, rootfs):
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed")
    bundle = configuration(rootfs, {}, ["sh", "-c", "ip -o addr show eth9 > /shown; ping -c 1 -W 5 10.99.8.1 >> /shown"], ["CAP_NET_RAW"])
    assert runtime("create", "--bundle", bundle, "c").returncode == 0
    pid = runtime.state_of("c")["pid"]
    name = f"h{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", "eth9", "netns", str(pid)], check=True)
    try:
        subprocess.run(f"ip addr add 10.99.8.1/24 dev {name} && ip link set {name} up", shell=True, check=True)
        subprocess.run(["nsenter", "-t", str(pid), "-n", "sh", "-c", "ip addr add 10.99.8.2/24 dev eth9; ip link set eth9 up"], check=True)
        assert runtime("start", "c").returncode == 0
        runtime.wait_status("c", "stopped")
        assert runtime("delete", "c").returncode == 0
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
    shown = (rootfs / "shown").read_text()
    assert "inet 10.99.8.2/24" in shown and "1 packets received" in shown


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ({"path": "relative"}, "is not an absolute path"),
        ({}, "hooks.prestart[0].path is missing"),
        ({"path": "/bin/sh", "timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"path": "/bin/sh", "args": [1]}, "hooks.prestart[0].args[0]"),
        ({"path": "/bin/sh", "env": ["novalue"]}, "is not NAME=VALUE"),
        ([], "hooks.prestart[0] must be an object"),
    ],
)
def test_bad_hooks(cli, bundle, hook, message):
    path = bundle("exit", "0", change=lambda config: config.update(hooks={"prestart": [hook]}))
    result = cli("create", "--bundle", path, "c")
    assert message in result.stderr and result.returncode == 1 and result.stderr.count("\n") == 1


def test_a_missing_hook_program(cli, bundle):
    path = bundle("exit", "0", change=lambda config: config.update(hooks={"prestart": [{"path": "/no/such"}]}))
    result = cli("create", "--bundle", path, "c")
    assert "hook prestart[0] (/no/such)" in result.stderr and result.returncode == 1
