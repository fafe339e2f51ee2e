"""User namespaces of the configuration: id mappings, idmapped mounts, containers of users without privileges."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from cli_helpers import Cli, needs_root
from support import ROOT, STOCKADE
from support import rootfs as root_file_system

pytestmark = needs_root
BASE = 100000
MAP = [{"containerID": 0, "hostID": BASE, "size": 1000}]
CAPS = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")
USER = "stockade-test"


def configuration(script, mounts=(), mapping=MAP, **process):
    linux = {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")]}
    if mapping:
        linux.update(uidMappings=mapping, gidMappings=mapping)
    return {
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "linux": linux,
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *mounts],
        "process": {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                    "capabilities": {kind: list(CAPS) for kind in ("bounding", "effective", "permitted")}, **process},
    }  # fmt: skip


@pytest.fixture
def top():
    """A bundle whose root belongs to the container's root, and a volume with files of several owners. Not below pytest's own
    directory, which it closes to others now and then."""
    tmp_path = pathlib.Path(tempfile.mkdtemp(prefix="stockade-ids-"))
    tmp_path.chmod(0o755)
    shutil.copytree(root_file_system("busybox"), tmp_path / "rootfs", symlinks=True)
    subprocess.run(["chown", "-hR", f"{BASE}:{BASE}", tmp_path / "rootfs"], check=True)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    for name, owner in (("root", 0), ("five", 5), ("mapped", BASE + 7), ("beyond", BASE + 5000)):
        (volume / name).touch()
        os.chown(volume / name, owner, owner)
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(params=["stockade", "runc"])
def runtime(request, nothing_left):
    program = STOCKADE if request.param == "stockade" else shutil.which("runc")
    if program is None:
        pytest.skip("runc is not installed")
    return Cli(program, nothing_left, ["--overlay2", "none"] if request.param == "stockade" else [])


def run(runtime, top, config, **options):
    (top / "config.json").write_text(json.dumps(config))
    return runtime("run", "--bundle", top, "c", **options)


def volume(top, *options, **more):
    return {"destination": "/v", "type": "bind", "source": str(top / "volume"), "options": ["bind", *options], **more}


OWNERS = "cd /v; stat -c '%n %u %g' *"


def test_mappings(runtime, top):
    script = (
        f"cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; {OWNERS}; stat -c '%u' /bin/busybox; touch new; chown 7:8 new; "
        "echo x > five || echo refused; chown 2000 new || echo unmapped; chmod 600 five || echo not ours; echo y > mapped; chmod 4755 mapped; touch /r"
    )
    result = run(runtime, top, configuration(script, [volume(top)]))
    assert result.stdout.splitlines() == [
        " 0 100000 1000", " 0 100000 1000", "beyond 65534 65534", "five 65534 65534", "mapped 7 7", "root 65534 65534", "0",
        "refused", "unmapped", "not ours",
    ], result.stderr  # fmt: skip
    owners = {name: (info.st_uid, info.st_gid) for name in ("new", "mapped", "five") if (info := os.stat(top / "volume" / name))}
    assert owners == {"new": (BASE + 7, BASE + 8), "mapped": (BASE + 7, BASE + 7), "five": (5, 5)}
    assert os.stat(top / "rootfs" / "r").st_uid == BASE


def test_only_mapped_ids_can_be_taken(runtime, top):
    built = os.path.join(ROOT, "build", "guests")
    subprocess.run(["make", "-s", "-C", f"{ROOT}/tests/guests", f"OUT={built}", f"{built}/calls"], check=True)
    shutil.copy(f"{built}/calls", top / "rootfs")
    config = configuration("")
    # setreuid setregid setresuid setresgid setfsuid setfsgid setgid setuid
    config["process"]["args"] = ["/calls", "113:1000:5", "113:5:1000", "114:0:1000", "117:0:0:4000", "119:0:1000:0", "122:5000", "122:0", "123:5000", "123:0",
                                 "106:5000", "106:999", "105:1000", "105:4294967295", "105:999"]  # fmt: skip
    for names in config["process"]["capabilities"].values():
        names += ["CAP_SETUID", "CAP_SETGID"]
    result = run(runtime, top, config)
    answers = [line.split(": ")[1] for line in result.stdout.splitlines()]
    assert answers == ["EINVAL"] * 5 + ["0"] * 4 + ["EINVAL", "0", "EINVAL", "EINVAL", "0"], result.stdout + result.stderr


@pytest.mark.parametrize("own", [True, False])
def test_idmapped_mount(nothing_left, top, own):
    """The volume's ids are the container's: those of the mount, or of the container."""
    stockade = Cli(STOCKADE, nothing_left)
    mount = volume(top, "rw", uidMappings=MAP, gidMappings=MAP) if own else volume(top, "idmap")
    result = run(stockade, top, configuration(f"{OWNERS}; touch new; chown 3 new", [mount]))
    assert result.stdout.splitlines() == ["beyond 65534 65534", "five 5 5", "mapped 65534 65534", "root 0 0"], result.stderr
    assert os.stat(top / "volume" / "new").st_uid == 3


def test_join(nothing_left, top):
    """A user namespace that exists."""
    holder = subprocess.Popen(["unshare", "--user", "sleep", "60"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
            pass
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as file:
                file.write(f"0 {BASE} 1000\n")
        config = configuration(OWNERS, [volume(top)], None)
        config["linux"]["namespaces"][-1]["path"] = f"/proc/{holder.pid}/ns/user"
        result = run(Cli(STOCKADE, nothing_left), top, config)
        assert "mapped 7 7" in result.stdout, result.stderr
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["linux"].update(namespaces=[]), "no user namespace in linux.namespaces"),
        (lambda c: c["linux"].pop("gidMappings"), "uidMappings and gidMappings go together"),
        (lambda c: c["linux"].update(uidMappings=[{"containerID": 1, "hostID": 5, "size": 1}]), "uid 0 is not mapped (the container's root)"),
        (lambda c: c["process"].update(user={"uid": 0, "gid": 1000}), "gid 1000 is not mapped (process.user.gid)"),
        (lambda c: c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 5, "size": 0}]), "uidMappings[0].size 0 is out of range"),
        (lambda c: c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 4294967295, "size": 5}]), "hostID 4294967295 is out of range"),
        (lambda c: c["linux"].update(uidMappings=["x"]), "uidMappings[0] must be an object"),
        (lambda c: c["linux"].update(uidMappings=MAP * 2), "cannot set up a user namespace"),
        (lambda c: c["linux"]["namespaces"][-1].update(path="/no/such") or c["linux"].update(uidMappings=[], gidMappings=[]), "user namespace /no/such"),
    ],
)
def test_errors(nothing_left, top, change, message):
    config = configuration("true")
    change(config)
    result = run(Cli(STOCKADE, nothing_left), top, config)
    assert message in result.stderr and result.returncode == 1 and result.stderr.count("\n") == 1


# -- without privileges


@pytest.fixture(scope="module")
def user():
    """(uid, first subordinate id) of a user without rights."""
    readable = subprocess.run(["test", "-r", STOCKADE, "-a", "-x", STOCKADE], user=65534, group=65534, extra_groups=[])
    if readable.returncode:
        pytest.skip("the project lies where other users cannot read")
    if shutil.which("newuidmap") is None or shutil.which("useradd") is None:
        pytest.skip("newuidmap is not installed (scripts/deps.sh e2e)")
    if subprocess.run(["useradd", "--no-create-home", USER]).returncode:
        pytest.skip("no user can be made")
    try:
        uid = int(subprocess.run(["id", "-u", USER], capture_output=True, check=True).stdout)
        with open("/etc/subuid") as file:
            first = next(int(line.split(":")[1]) for line in file if line.startswith(USER + ":"))
        yield uid, first
    finally:
        subprocess.run(["userdel", USER], check=True)


@pytest.mark.parametrize("kind", ["stockade", "runc"])
@pytest.mark.parametrize("several", [False, True])
def test_without_privileges(nothing_left, top, user, kind, several):
    uid, first = user
    program = STOCKADE if kind == "stockade" else shutil.which("runc")
    if program is None:
        pytest.skip("runc is not installed")
    mapping = [{"containerID": 0, "hostID": uid, "size": 1}] + ([{"containerID": 1, "hostID": first, "size": 1000}] if several else [])
    subprocess.run(["chown", "-hR", f"{uid}:{uid}", top / "rootfs"], check=True)
    config = configuration(f"id -u; cat /proc/self/uid_map | tr -s ' '; {OWNERS}; touch new; chown 5 new", [volume(top)], mapping)
    (top / "config.json").write_text(json.dumps(config))
    state = top / "own"
    state.mkdir()
    os.chown(state, uid, uid)
    flags = ["--overlay2", "none"] if kind == "stockade" else []
    result = subprocess.run([program, *flags, "--root", state / "s", "run", "--bundle", top, "c"], user=uid, group=uid, extra_groups=[],
                            capture_output=True, text=True, timeout=60, cwd="/", env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(state)})  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0] == "0" and f" 0 {uid} 1" in lines, result.stderr
    assert os.stat(top / "volume" / "new").st_uid == (first + 4 if several else uid)
    assert os.listdir(state / "s") == []


def test_ids_of_others_are_refused(nothing_left, top, user):
    uid, first = user
    subprocess.run(["chown", "-hR", f"{uid}:{uid}", top / "rootfs"], check=True)
    (top / "config.json").write_text(json.dumps(configuration("true", mapping=[{"containerID": 0, "hostID": 0, "size": 1}])))
    result = subprocess.run([STOCKADE, "--root", top / "volume" / "s", "run", "--bundle", top, "c"], user=uid, group=uid, extra_groups=[],
                            capture_output=True, text=True, timeout=60, cwd="/")  # fmt: skip
    assert "linux.uidMappings: newuidmap: uid range [0-1) -> [0-1) not allowed" in result.stderr and result.stderr.count("\n") == 1
