"""Network namespaces inside the sandbox, joined by veth pairs and bridges: as natively, with Debian's iproute2 and ping."""

import json
import os
import subprocess
import sys

import pytest
from network_helpers import HERE
from support import ROOT, rootfs

sys.path.insert(0, os.path.join(ROOT, "tests", "syscalls"))

import test_differential as differential  # noqa: E402

pytestmark = pytest.mark.slow
SCRIPT = os.path.join(HERE, "namespaces.sh")
NATIVE = """
    set -e
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    mount -t proc proc /mnt/root/proc
    mount -t sysfs sysfs /mnt/root/sys
    mount --rbind /dev /mnt/root/dev
    mount -t tmpfs -o mode=1777 tmpfs /mnt/root/tmp
    mount -t tmpfs tmpfs /mnt/root/run
    cp "$2" /mnt/root/tmp/script
    exec chroot /mnt/root bash /tmp/script
"""


def natively(script):
    command = ["unshare", "-fpmuin", "--propagation", "private", "--kill-child", "sh", "-c", NATIVE, "sh", rootfs("debian-net"), script]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200).stdout


def inside(stockade, tmp_path, script):
    mounts = [{"destination": "/script", "type": "bind", "source": script, "options": ["bind", "ro"]}]
    config = differential.guest_config(rootfs("debian-net"), "/", ["bash", "/script"], mounts)
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = stockade("run", "--bundle", str(tmp_path), f"namespaces-{os.getpid()}", timeout=200)
    return (done.stdout + done.stderr).decode()


@pytest.mark.timeout(450)
def test_pairs_bridges_routers(stockade, tmp_path):
    wanted, got = natively(SCRIPT), inside(stockade, tmp_path, SCRIPT)
    assert "# the end" in wanted, wanted
    differential.compare(wanted.splitlines(), got.splitlines())


DUMMIES = """
ip link add d0 type dummy && ip addr add 10.3.0.1/24 dev d0 && ip link set d0 up
ip -br -4 addr show d0; ip route show dev d0; ping -c 1 10.3.0.1 | grep -o "1 received"
ip link del d0; ip link show d0; ip link add x type nonsense
"""


def test_dummies(stockade, tmp_path):
    """The kernel of a test machine may have none, so this is what Linux says where it has."""
    script = tmp_path / "script"
    script.write_text(DUMMIES)
    got = inside(stockade, tmp_path, str(script))
    assert "d0               UNKNOWN        10.3.0.1/24" in got
    assert "10.3.0.0/24 proto kernel scope link src 10.3.0.1" in got and "1 received" in got
    assert 'Device "d0" does not exist' in got and "not supported" in got
