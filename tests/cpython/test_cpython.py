"""CPython's own tests about sockets and processes (Debian's libpython3.11-testsuite), natively and in the sandbox: the same tests
pass. What may differ stands, with the reason, in differences.txt. The long modules run with `make cpython` only."""

import json
import os
import re
import subprocess

import pytest
from support import rootfs

HERE = os.path.dirname(os.path.abspath(__file__))
QUICK = ("test_select", "test_epoll", "test_poll", "test_smtplib", "test_httplib")
LONG = (
    "test_socket", "test_selectors", "test_socketserver", "test_ssl", "test_urllib2_localnet", "test_ftplib", "test_asyncio",
    "test_multiprocessing_main_handling", "test_multiprocessing_fork", "test_multiprocessing_forkserver", "test_multiprocessing_spawn",
)  # fmt: skip
MODULES = QUICK + LONG if os.environ.get("STOCKADE_CPYTHON") else QUICK
SECONDS = 1500
FILES = 4096
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
# Sockets of virtual machines are the host's affair: in a virtual machine they reach its monitor.
COMMAND = "ip link set lo up 2>/dev/null; cd /tmp; exec python3 -m test -v -u all,-urlfetch,-largefile -i '*VSOCK*' "

pytestmark = pytest.mark.slow


def results(text) -> "dict[str, str]":
    """Test -> what became of it; several lines may lie between its name and that."""
    found = {}
    for match in re.finditer(r"^(\w+) \((test\.[\w.]+|__main__[\w.]*)\)(.*?) \.\.\. ((?:.|\n)*?)\b(ok|FAIL|ERROR|skipped|expected failure)\b", text, re.MULTILINE):
        found[match[2]] = match[5]
    return found


def differences() -> "dict[str, str]":
    with open(os.path.join(HERE, "differences.txt"), encoding="utf-8") as file:
        rows = [line.split(": ", 1) for line in file if line.strip() and not line.startswith("#")]
    return {name: reason.strip() for name, reason in rows}


def native(module):
    setup = """
        set -e
        mount -t tmpfs -o mode=755 tmpfs /mnt
        mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
        mount -t proc proc /mnt/root/proc
        mount -t sysfs -o ro sysfs /mnt/root/sys
        mount --rbind /dev /mnt/root/dev
        mount -t tmpfs -o mode=1777 tmpfs /mnt/root/tmp
        mount -t tmpfs -o mode=1777 tmpfs /mnt/root/dev/shm
        hostname guest
        chroot /mnt/root setsid -w sh -c "$2"
    """
    command = ["prlimit", f"--nofile={FILES}:{FILES}", "unshare", "-fpmuin", "--propagation", "private", "--kill-child", "sh", "-c", setup, "sh",
               rootfs("debian-net"), COMMAND + module]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, env=ENVIRONMENT)
    return done.stdout.decode(errors="replace")


def sandboxed(stockade, tmp_path, module):
    capabilities = [f"CAP_{name}" for name in """CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
        SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP SYS_ADMIN""".split()]  # fmt: skip
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", COMMAND + module],
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "cwd": "/",
            "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": FILES, "hard": FILES}],
        },
        "root": {"path": rootfs("debian-net"), "readonly": False},
        "hostname": "guest",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"cpython-{module}-{os.getpid()}"
    output = tmp_path / "output"
    with open(output, "wb") as file:
        process = stockade.popen("run", "--bundle", str(bundle), name, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait(2 * SECONDS)
        except subprocess.TimeoutExpired:
            stockade("kill", name, "KILL", timeout=20)
            process.wait(20)
    return output.read_text(errors="replace")


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize("module", MODULES)
def test_the_same_tests_pass(stockade, tmp_path, module):
    text = sandboxed(stockade, tmp_path, module)
    there, here = results(native(module)), results(text)
    assert there, "no test ran natively"
    explained = differences()
    missing = [f"{name}: natively {there.get(name)}, here {here.get(name)}" for name in sorted(there)
               if there[name] == "ok" and here.get(name) != "ok" and name not in explained]  # fmt: skip
    assert not missing, "\n".join(missing + [text[-3000:]])
