"""The differential suite: each guest program of tests/guests runs natively and in the sandbox, on each
platform, and must print the same lines. Natively it runs in fresh namespaces with its own /tmp, so
that both sides have the same surroundings (tools/run.c does the rest)."""

import difflib
import functools
import glob
import json
import os
import re
import subprocess

import pytest
from support import ROOT, rootfs

GUESTS = os.path.join(ROOT, "tests", "guests")
BUILT = os.path.join(ROOT, "build", "guests")
TIMEOUT = 100

PROGRAMS = sorted(os.path.basename(path)[:-2] for path in glob.glob(f"{GUESTS}/*.c"))

# Programs about files run on the overlay root too, and in a directory of the host that the gofer serves.
FILE_PROGRAMS = ("unix", "files", "random_files", "dirs", "stat", "paths", "locks", "holes", "mm", "xattr", "times")


CAPABILITIES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
    MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()


def bounding_set():
    """The capabilities that this process could have (list of names): native programs run with those."""
    with open("/proc/self/status") as status:
        mask = int(re.search(r"CapBnd:\s*(\w+)", status.read())[1], 16)
    return [f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]


def guest_config(root, work, command, mounts=()):
    """An OCI configuration (dict) that runs `command` with all capabilities and a proc, dev and /tmp."""
    capabilities = bounding_set()
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": command,
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": {name: capabilities for name in sets},
        },
        "root": {"path": root, "readonly": False},
        "hostname": "guest",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/guests", "type": "bind", "source": BUILT, "options": ["bind", "ro"]},
            *mounts,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }


@functools.cache
def native(program):
    """What the program prints natively (list of lines)."""
    script = (
        "cd $1 && mount -t tmpfs -o mode=1777 tmpfs /tmp && mount -t tmpfs -o mode=1777 shm /dev/shm && "
        "hostname guest && mkdir /tmp/guests && mount -c --bind . /tmp/guests && cd / && "  # ours may lie below /tmp
        "exec /tmp/guests/run /tmp/here /tmp/guests/$2"
    )
    done = subprocess.run(
        ["unshare", "-fpmuin", "--mount-proc", "--propagation", "private", "--kill-child"]
        + ["sh", "-c", script, "sh", BUILT, program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
    )
    return done.stdout.decode(errors="replace").splitlines()


def sandboxed(stockade, tmp_path, program, work, mounts=()):
    """What it prints in the sandbox (list of lines), in the working directory `work`."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    config = guest_config(rootfs("busybox"), work, ["/guests/run", work, f"/guests/{program}"], mounts)
    (bundle / "config.json").write_text(json.dumps(config))
    name = re.sub(r"\W", "-", f"{tmp_path.name}-{program}")
    output = tmp_path / "output"
    with open(output, "wb") as file:
        process = stockade.popen(
            "run", "--bundle", str(bundle), name, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            file.write(f"(no end after {TIMEOUT} s)\n".encode())
            stockade("kill", name, "KILL", timeout=20)
            stockade("delete", "--force", name, timeout=20)
            process.kill()
            process.wait()
    return output.read_text(errors="replace").splitlines()


def compare(expected, got):
    """Fails with the differing lines, each with where it stands."""
    if expected == got:
        return
    rows = list(difflib.unified_diff(expected, got, "native", "sandbox", n=1, lineterm=""))
    pytest.fail(f"{len(rows)} lines of difference\n" + "\n".join(rows[:60]), pytrace=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_native_is_sound(program):
    """Every condition of the programs holds on Linux itself, and a second run prints the same."""
    lines = native(program)
    assert lines and lines[-1] == "program: exited 0", lines[-3:]
    assert not [line for line in lines if line.endswith(": NO") or "never reached" in line]
    native.cache_clear()
    compare(lines, native(program))


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_native(stockade, tmp_path, program):
    compare(native(program), sandboxed(stockade, tmp_path, program, "/tmp/here"))


def test_random_files_without_fast_handlers(stockade, tmp_path):
    """Traced calls all go to the plain handlers."""
    traced = stockade.on("--strace", "--debug-log", str(tmp_path / "log"))
    compare(native("random_files"), sandboxed(traced, tmp_path, "random_files", "/tmp/here"))


FAST = """read write pread64 pwrite64 lseek dup dup2 dup3 close open openat fcntl ioctl stat lstat fstat newfstatat access readlink
    getcwd getdents64""".split()


def test_random_files_take_the_fast_road(stockade, platform, tmp_path):
    """Most calls of the program are answered by fast handlers, and each of these is used."""
    if platform != "systrap":
        pytest.skip("all calls go to the plain handlers")
    (tmp_path / "bundle").mkdir()
    script = "cd /tmp && /guests/random_files > /dev/null && echo done && read line"
    config = guest_config(rootfs("busybox"), "/", ["sh", "-c", script])
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(config))
    name = f"{tmp_path.name}-fast"
    with stockade.popen(
        "run", "--bundle", str(tmp_path / "bundle"), name, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:  # fmt: skip
        assert process.stdout.readline() == b"done\n"
        calls = json.loads(stockade("debug", "--stats", "--json", name).stdout)["calls"]
        process.communicate(b"\n", timeout=30)
    shares = {call: calls[call]["fast"] / calls[call]["calls"] for call in FAST if call in calls}
    assert sum(calls[call]["fast"] for call in FAST if call in calls) > 0.6 * sum(calls[call]["calls"] for call in FAST if call in calls)
    assert min(shares.values()) > 0.2 and len(shares) >= 17, shares


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name in FILE_PROGRAMS])
def test_same_on_overlay(stockade, tmp_path, program):
    compare(native(program), sandboxed(stockade, tmp_path, program, "/here"))


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name in FILE_PROGRAMS])
def test_same_on_bind_mount(stockade, tmp_path, program):
    """A directory of a host tmpfs, through the gofer (the host's other file systems differ among themselves)."""
    host = f"/dev/shm/stockade-test-{os.getpid()}-{program}"
    os.mkdir(host)
    try:
        mount = {"destination": "/volume", "type": "bind", "source": host, "options": ["bind", "rw"]}
        compare(native(program), sandboxed(stockade, tmp_path, program, "/volume/here", [mount]))
    finally:
        subprocess.run(["rm", "-rf", host], check=True)
