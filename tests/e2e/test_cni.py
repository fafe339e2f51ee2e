"""containerd with a CNI bridge (`ctr run --cni`, Debian's containernetworking-plugins), all in a network namespace of the test's own."""

import json
import os
import re
import subprocess
import sys

import pytest

PLUGINS = "/usr/lib/cni"
# ctr looks for plug-ins in /opt/cni/bin and for the configuration in /etc/cni/net.d
SURROUNDINGS = """
    mount -t tmpfs tmpfs /opt && mkdir -p /opt/cni/bin && mount --bind "$1" /opt/cni/bin
    mkdir -p /etc/cni/net.d && mount --bind "$2" /etc/cni/net.d
    shift 2
    exec "$@"
"""

pytestmark = pytest.mark.slow


class Bridge:
    def __init__(self, path):
        self.name = f"stockade-cni-{os.getpid()}"
        self.path = path
        conf = path / "net.d"
        conf.mkdir()
        (conf / "10-bridge.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "stockade",
            "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": True, "mtu": 1450, "ipam": {
                "type": "host-local", "dataDir": str(path / "ipam"), "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.99.0.0/24", "gateway": "10.99.0.1"}]]}}],
        }))  # fmt: skip

    def within(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def ctr(self, ctr, command):
        """`ctr run --cni` as a Popen."""
        argv = ctr.containerd.argv(*ctr.run_argv(("--cni", "--rm"), ctr.new(), command))
        wrapped = self.within("unshare", "-m", "--propagation", "private", "sh", "-c", SURROUNDINGS, "sh", PLUGINS, str(self.path / "net.d"), *argv)
        return subprocess.Popen(wrapped, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def bridge(tmp_path):
    if not os.path.exists(f"{PLUGINS}/bridge"):
        pytest.skip("containernetworking-plugins is not installed (scripts/deps.sh e2e)")
    made = Bridge(tmp_path)
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        subprocess.run(["ip", "-n", made.name, "link", "set", "lo", "up"], check=True)
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=False)


def test_to_a_server_on_the_bridge(ctr, bridge, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "data").write_text("from the bridge\n")
    server = subprocess.Popen(bridge.within(sys.executable, "-m", "http.server", "-d", str(tmp_path / "www"), "8000"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        script = "ip -4 addr show eth0; ip route; i=0; until wget -q -O- http://10.99.0.1:8000/data || [ $i = 20 ]; do i=$((i+1)); sleep 0.2; done"
        process = bridge.ctr(ctr, ("sh", "-c", script))
        text, _ = process.communicate(timeout=60)
        assert re.search(r"inet 10\.99\.0\.\d+/24", text), text
        assert "mtu 1450" in text and "default via 10.99.0.1 dev eth0" in text, text
        assert text.endswith("from the bridge\n"), text
    finally:
        server.kill()
        server.wait()


def test_from_the_bridge(ctr, bridge):
    process = bridge.ctr(ctr, ("sh", "-c", "ip -4 addr show eth0; echo up; nc -l -p 5000 -e cat"))
    text = ""
    while "up\n" not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    address = re.search(r"inet (10\.99\.0\.\d+)/24", text)[1]
    code = f"""
import socket, time
for _ in range(50):
    try:
        sock = socket.create_connection(("{address}", 5000), 5)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
sock.sendall(b"there and back")
sock.shutdown(socket.SHUT_WR)
print(sock.makefile().read())
"""
    done = subprocess.run(bridge.within(sys.executable, "-c", code), capture_output=True, text=True, timeout=30)
    assert done.stdout == "there and back\n", done.stderr
    assert process.wait(30) == 0
