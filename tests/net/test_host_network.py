"""--network=host: sockets of the container's network namespace, seen from inside and from the other end of a veth pair."""

import json
import os
import re
import subprocess
import sys

import pytest
from support import ROOT, rootfs

sys.path.insert(0, os.path.join(ROOT, "tests", "syscalls"))

import test_differential as differential  # noqa: E402

CAPABILITIES = ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_SETUID", "CAP_SETGID"]
SERVER = """
import hashlib, os, socket, sys
sock = socket.create_server(("", 7100), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
for _ in range(2):
    conn, peer = sock.accept()
    digest = hashlib.sha256()
    while data := conn.recv(70000):
        digest.update(data)
    conn.sendall(digest.hexdigest().encode())
    conn.close()
    print(peer[0], flush=True)
"""
CLIENT = """
import hashlib, os, socket, sys
for host in sys.argv[1:]:
    sock = socket.create_connection((host, 7100))
    data = os.urandom(5000000)
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    print(sock.makefile("rb").read().decode() == hashlib.sha256(data).hexdigest())
"""


class Inside:
    """Runs commands in a container in the namespace `pair.inside`."""

    def __init__(self, stockade, pair, tmp_path):
        self.stockade, self.pair, self.path = stockade.on("--network", "host"), pair, tmp_path
        self.count = 0

    def bundle(self, command, capabilities=CAPABILITIES, root=None, user=0, network=None):
        self.count += 1
        path = self.path / f"bundle{self.count}"
        path.mkdir()
        config = differential.guest_config(root or rootfs("debian-full"), "/", list(command))
        config["process"]["capabilities"] = {kind: list(capabilities) for kind in ("bounding", "effective", "permitted")}
        config["process"]["user"] = {"uid": user, "gid": user}
        network = {"type": "network", "path": f"/run/netns/{self.pair.inside}"} if network is None else network
        config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}, *([network] if network else [])]
        (path / "config.json").write_text(json.dumps(config))
        return path, re.sub(r"\W", "-", f"{self.path.name}-{self.count}")

    def run(self, *command, **options):
        """Its output (str)."""
        path, name = self.bundle(command, **options)
        done = self.stockade("run", "--bundle", path, name, timeout=60)
        return (done.stdout + done.stderr).decode()

    def start(self, *command, **options):
        path, name = self.bundle(command, **options)
        return self.stockade.popen("run", "--bundle", str(path), name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def inside(stockade, pair, tmp_path):
    return Inside(stockade, pair, tmp_path)


def test_a_server_is_reached_from_outside(inside, pair):
    server = inside.start("python3", "-c", SERVER)
    assert server.stdout.readline() == "ready\n"
    done = pair.outside_run("python3", "-c", CLIENT, pair.address, "fd77:9::1")
    assert done.stdout == "True\nTrue\n", done.stderr
    assert server.communicate(timeout=30)[0] == "::ffff:10.77.9.2\nfd77:9::2\n"


def test_a_client_reaches_outside(inside, pair):
    server = subprocess.Popen(["ip", "netns", "exec", pair.outside, "python3", "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    assert inside.run("python3", "-c", CLIENT, pair.peer, "fd77:9::2") == "True\nTrue\n"
    assert server.communicate(timeout=30)[0] == "::ffff:10.77.9.1\nfd77:9::1\n"


@pytest.mark.parametrize("program", ["tcp", "udp", "large", "sockfilters"])
def test_same_as_native(stockade, tmp_path, program):
    """The guests of the differential suite in a fresh namespace, whose loopback interface is up. A child and its parent may
    print in either order."""
    host = stockade.on("--network", "host")
    got = differential.sandboxed(host, tmp_path, program, "/tmp/here")
    differential.compare(sorted(differential.native(program)), sorted(got))


@pytest.fixture
def here(stockade, pair):
    """Runs a program of this machine in the sandbox of a caller that stands in the namespace."""

    def run(*command):
        call = ["ip", "netns", "exec", pair.inside, *stockade.base, "--network", "host", "do", "--no-tty", "--", *command]
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    return run


def unlinked(text):
    """Without the names of the namespaces at the other ends, which are files outside."""
    return re.sub(r" link-netns\S* \S+", "", text)


@pytest.mark.parametrize("command", ["ip addr", "ip route", "ip -6 route", "ip rule", "ip -br link", "cat /proc/net/route /proc/net/if_inet6"])
def test_tools_show_the_namespace(here, pair, command):
    native = ["ip", "netns", "exec", pair.inside, *command.split()]
    expected = subprocess.run(native, capture_output=True, text=True, check=True).stdout
    assert unlinked(here(*command.split())) == unlinked(expected)


def test_listening_sockets_are_listed(here):
    script = "import socket, os; s = socket.create_server(('', 7200)); os.system('ss -Htln; cat /proc/net/tcp')"
    output = here("python3", "-c", script)
    assert re.search(r"LISTEN +0 +\d+ +0\.0\.0\.0:7200 ", output) and ":1C20 00000000:0000 0A" in output


def test_nothing_can_be_changed(here):
    assert "Operation not permitted" in here("ip", "link", "set", "veth-i", "down")
    assert "Operation not permitted" in here("ip", "addr", "add", "10.1.1.1/24", "dev", "veth-i")


def test_namespaces_of_guests_are_not_the_hosts(here):
    output = here("unshare", "-n", "sh", "-c", "ip -br addr; ip link set lo up; ip -br addr; cat /proc/net/dev")
    assert "veth-i" not in output and "127.0.0.1/8" in output


BIND = "import socket; s = socket.socket(); s.bind(('', 81)); print('bound')"


def test_low_ports_need_the_guests_capability(inside):
    assert inside.run("python3", "-c", BIND) == "bound\n"
    assert "PermissionError: [Errno 13]" in inside.run("python3", "-c", BIND, capabilities=())


@pytest.mark.parametrize("kind", ["AF_PACKET, socket.SOCK_RAW", "AF_INET, socket.SOCK_RAW, 1", "AF_VSOCK, socket.SOCK_STREAM", "AF_ALG, 5"])
def test_other_sockets_are_refused(inside, kind):
    output = inside.run("python3", "-c", f"import socket; socket.socket(socket.{kind})")
    assert re.search(r"OSError: \[Errno (93|94|97)\]|PermissionError", output), output


def test_guests_have_an_empty_namespace(inside, pair):
    """Guest processes hold nothing of the container's network: whatever their filter would let through leads nowhere."""
    process = inside.start("sh", "-c", "echo on; read line < /dev/zero & sleep 5")
    assert process.stdout.readline() == "on\n"
    wanted = os.stat(f"/run/netns/{pair.inside}").st_ino
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/comm") as file:
                    comm = file.read().strip()
                found.setdefault(comm, set()).add(os.stat(f"/proc/{name}/ns/net").st_ino)
            except OSError:
                continue
    process.terminate()
    process.wait(20)
    assert wanted in found["stockade-sentry"]
    assert wanted not in found["stockade-guest"]


def test_parameters_of_the_network(stockade, inside):
    """linux.sysctl in the sandbox's own network: shown, changed by who may, an own copy for each namespace."""
    sandbox = stockade.on("--network", "none")
    script = """cd /proc/sys/net; cat core/somaxconn ipv4/ip_local_port_range; echo 77 > core/somaxconn; cat core/somaxconn
        echo x > core/somaxconn || echo refused; unshare -n cat core/somaxconn"""
    path, name = inside.bundle(["sh", "-c", script], capabilities=["CAP_NET_ADMIN", "CAP_SYS_ADMIN"])
    config = json.loads((path / "config.json").read_text())
    config["linux"]["sysctl"] = {"net.core.somaxconn": "1234", "net.ipv4.ip_local_port_range": "40000 50000"}
    (path / "config.json").write_text(json.dumps(config))
    assert sandbox("run", "--bundle", path, name).stdout.decode() == "1234\n40000\t50000\n77\nrefused\n4096\n"
    config["linux"]["sysctl"] = {"net.core.nosuch": "1"}
    (path / "config.json").write_text(json.dumps(config))
    done = sandbox("run", "--bundle", path, name)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"net.core.nosuch" in done.stderr


TWINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "twins.py")


def loopback_bytes(pair):
    command = ["ip", "-n", pair.inside, "-j", "-s", "link", "show", "lo"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]["stats64"]["tx"]["bytes"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ends_in_one_sandbox_need_no_host(here, pair, seed):
    before = loopback_bytes(pair)
    assert here("python3", TWINS, str(seed)) == "same\n"
    assert loopback_bytes(pair) - before < 2000000, "6 MB should not have gone over the loopback interface"


@pytest.mark.parametrize("seed", [4, 5])
def test_streams_to_the_outside(here, pair, seed):
    command = ["ip", "netns", "exec", pair.outside, "python3", TWINS, str(seed), "listen", "7300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        assert here("python3", TWINS, str(seed), pair.peer, "7300") == "same\n"
        assert server.communicate(timeout=30)[0] == "same\n"
