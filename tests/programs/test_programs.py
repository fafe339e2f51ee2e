"""Real Debian programs: each script here runs natively (in a chroot of the same root, below a private
overlay) and in the sandbox on each platform, and must print the same. The first lines of a script
say which root it needs (`# root: min`, `full` or `debug`) and how long it may take (`# timeout: SECONDS`)."""

import difflib
import functools
import glob
import json
import os
import re
import subprocess

import pytest
from support import rootfs

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = sorted(os.path.basename(path)[:-3] for path in glob.glob(f"{HERE}/*.sh"))
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}

pytestmark = pytest.mark.slow


def setting(script, name, default):
    """A setting from the head of a script (str)."""
    with open(f"{HERE}/{script}.sh", encoding="utf-8") as file:
        match = re.search(rf"^# {name}: (\S+)", file.read(400), re.MULTILINE)
    return match[1] if match else default


def mend(text):
    """What two runs of Linux itself do not agree on: process numbers in messages of the shell."""
    return re.sub(r"(line \d+: +|\[\d+\] +)\d+\b", r"\1PID", text)


@functools.cache
def native(script):
    """The script's output natively (list of lines)."""
    root = rootfs("debian-" + setting(script, "root", "min"))
    setup = """
        set -e
        mount -t tmpfs -o mode=755 tmpfs /mnt
        mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
        mkdir /mnt/root/programs
        mount --bind "$2" /mnt/root/programs
        mount -t proc proc /mnt/root/proc
        mount -t sysfs -o ro sysfs /mnt/root/sys
        mount --rbind /dev /mnt/root/dev
        mount -t tmpfs -o mode=1777 tmpfs /mnt/root/tmp
        mount -t tmpfs -o mode=1777 tmpfs /mnt/root/dev/shm
        hostname guest
        chroot /mnt/root setsid -w /bin/bash /programs/"$3".sh
    """
    command = ["unshare", "-fpmuin", "--propagation", "private", "--kill-child", "sh", "-c", setup, "sh", root, HERE, script]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=float(setting(script, "timeout", "60")),
        env=ENVIRONMENT,
    )
    return mend(done.stdout.decode(errors="replace")).splitlines()


def sandboxed(stockade, tmp_path, script):
    """Its output in the sandbox (list of lines)."""
    capabilities = """CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
        CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP""".split()
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", f"setsid -w /bin/bash /programs/{script}.sh; exit $?"],
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "cwd": "/",
            "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": rootfs("debian-" + setting(script, "root", "min")), "readonly": False},
        "hostname": "guest",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/programs", "type": "bind", "source": HERE, "options": ["bind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"program-{script}-{os.getpid()}"
    # Five times the native allowance: ptrace is slow, machines that test are shared.
    limit = 5 * float(setting(script, "timeout", "60"))
    output = tmp_path / "output"
    with open(output, "wb") as file:
        process = stockade.popen("run", "--bundle", str(bundle), name, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            file.write(f"\n(no end after {limit} s)\n".encode())
            stockade("kill", name, "KILL", timeout=20)
            stockade("delete", "--force", name, timeout=20)
            process.kill()
            process.wait()
    return mend(output.read_text(errors="replace")).splitlines()


@pytest.mark.timeout(2500)
@pytest.mark.parametrize("script", SCRIPTS)
def test_program(stockade, tmp_path, script):
    expected = native(script)
    got = sandboxed(stockade, tmp_path, script)
    if expected != got:
        rows = list(difflib.unified_diff(expected, got, "native", "sandbox", n=1, lineterm=""))
        pytest.fail(f"{len(rows)} lines of difference\n" + "\n".join(rows[:60]), pytrace=False)
