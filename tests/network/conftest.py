"""Two network namespaces joined by a veth pair: one that a CNI plugin might have prepared for a container, and a peer."""

import glob
import json
import os
import re
import subprocess
import time

import pytest
from network_helpers import HERE
from support import rootfs

# Makes a root that can be written out of one that is shared, and runs a shell script in it.
CHROOT = """
    set -e
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    mkdir -p /mnt/root/shared
    mount --bind "$2" /mnt/root/shared
    mount -t proc proc /mnt/root/proc
    mount --rbind /dev /mnt/root/dev
    mount -t tmpfs -o mode=1777 tmpfs /mnt/root/tmp
    chroot /mnt/root /bin/bash -c "$3"
"""
CAPABILITIES = [f"CAP_{name}" for name in """CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
    MKNOD AUDIT_WRITE SETFCAP""".split()]  # fmt: skip
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
    {"destination": "/tests", "type": "bind", "source": HERE, "options": ["bind", "ro"]},
]


class Wire:
    """`inside`: path of the container's namespace (10.77.0.2, fd77::2); the peer is 10.77.0.1 and fd77::1."""

    def __init__(self, name):
        self.a, self.b = f"{name}-a", f"{name}-b"
        self.inside = f"/run/netns/{self.a}"

    def make(self):
        for line in (
            f"netns add {self.a}", f"netns add {self.b}",
            f"link add va netns {self.a} type veth peer name vb netns {self.b}",
            f"-n {self.a} addr add 10.77.0.2/24 dev va", f"-n {self.b} addr add 10.77.0.1/24 dev vb",
            f"-n {self.a} addr add fd77::2/64 dev va nodad", f"-n {self.b} addr add fd77::1/64 dev vb nodad",
            f"-n {self.a} link set lo up", f"-n {self.b} link set lo up",
            f"-n {self.a} link set va up", f"-n {self.b} link set vb up",
            f"-n {self.a} route add default via 10.77.0.1",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True, timeout=10)
        end = time.monotonic() + 30  # link-local addresses of the peer wait for their duplicate check
        while "tentative" in self.ip("addr") and time.monotonic() < end:
            time.sleep(0.1)

    def ip(self, *args, where=None):
        done = subprocess.run(["ip", "-n", where or self.b, *args], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout

    def peer(self, *command, **more):
        """A process in the peer's namespace."""
        return subprocess.Popen(["ip", "netns", "exec", self.b, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def program(self, shared, script, where=None, root="debian-net"):
        """A script in a Debian root, /shared being the directory `shared`, in the peer's namespace or another."""
        command = ["ip", "netns", "exec", where or self.b, "unshare", "-fpm", "--kill-child", "--propagation", "private",
                   "sh", "-c", CHROOT, "sh", rootfs(root), str(shared), script]  # fmt: skip
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"})  # fmt: skip

    def remove(self):
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10)


@pytest.fixture
def wire():
    if os.geteuid():
        pytest.skip("needs root")
    if not glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "sentry", "net", "lwip.*.so")):
        pytest.skip("built without lwIP: its source could not be fetched")
    made = Wire(f"stockade-{os.getpid()}")
    try:
        made.make()
        yield made
    finally:
        made.remove()


@pytest.fixture
def container(stockade, tmp_path, wire):
    """Start a program with the namespace's network: container(args…, root=…) is a Popen."""
    started = []

    def start(*args, root="debian-full", namespace=None, flags=(), mounts=(), stdin=subprocess.DEVNULL):
        bundle = tmp_path / f"bundle{len(started)}"
        bundle.mkdir()
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"],
                        "cwd": "/", "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
                        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000}]},
            "root": {"path": str(rootfs(root))},
            "mounts": MOUNTS + [{"destination": place, "type": "bind", "source": str(path), "options": ["bind", "rw"]} for place, path in mounts],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
                      + [{"type": "network", "path": namespace or wire.inside}]},
        }  # fmt: skip
        (bundle / "config.json").write_text(json.dumps(config))
        name = re.sub(r"\W", "-", f"{tmp_path.name}-{len(started)}")
        process = stockade.popen(*flags, "run", "--bundle", str(bundle), name, stdin=stdin, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)  # fmt: skip
        process.container = name
        started.append((name, process))
        return process

    yield start
    for name, process in started:
        try:
            if process.poll() is None:
                stockade("kill", name, "KILL", timeout=20)
                process.wait(20)
        finally:
            process.kill()
            stockade("delete", "--force", name, timeout=20)
