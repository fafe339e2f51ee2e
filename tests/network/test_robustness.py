"""Peers that vanish or were never there, buffers that fill, very many sockets: errors come in time, others are served, and the
memory of the sandbox has bounds."""

import json
import re
import subprocess
import sys

import pytest
from network_helpers import PEER, output, wait_for_port

TRIALS = "/tests/trials.py"
MIB = 1 << 20
# What the peer does: accept and say nothing; send as long as anybody takes it.
SILENT = """
import socket, time
server = socket.create_server(("10.77.0.1", 5001))
conns = [server.accept()[0] for _ in range(2)]
time.sleep(60)
"""
SENDER = """
import hashlib, os, select, socket, sys
conn = socket.create_server(("10.77.0.1", 5001)).accept()[0]
conn.setblocking(False)
data, seen, count = os.urandom(1 << 20), hashlib.sha256(), 0
def send():
    global count
    n = conn.send(data)
    seen.update(data[:n])
    count += n
while select.select([], [conn], [], 2)[1]:
    send()
print(count, flush=True)
while count < 200 << 20:
    select.select([], [conn], [], 30)
    send()
conn.close()
print(count, seen.hexdigest(), flush=True)
"""


def resident(stockade, process):
    """Bytes of memory of the container's Sentry."""
    pid = json.loads(stockade("state", process.container).stdout)["pid"]
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) << 10


def tell(process):
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("host", ["10.77.0.99", "fd77::99"])
def test_nobody_answers_arp_or_neighbour_discovery(container, wire, host):
    assert re.match(r"EHOSTUNREACH [2345]\n", output(container("python3", TRIALS, "attempt", host, "5001")))


@pytest.mark.parametrize("option, value", [("7", "1"), ("18", "3000")])
def test_how_long_a_connection_is_tried(container, wire, option, value):
    """TCP_SYNCNT, TCP_USER_TIMEOUT: packets for another network are dropped on the way."""
    wire.ip("route", "add", "blackhole", "10.88.0.0/16")
    assert re.match(r"ETIMEDOUT [345]\n", output(container("python3", TRIALS, "attempt", "10.88.0.1", "5001", option, value)))


def test_a_peer_vanishes(container, wire):
    server = wire.peer(sys.executable, "-c", SILENT)
    try:
        client = container("python3", TRIALS, "vanishing", "10.77.0.1", "5001", stdin=subprocess.PIPE)
        assert client.stdout.readline() == "ready\n"
        wire.ip("link", "set", "vb", "down")
        tell(client)
        text = output(client)
        sender, reader, others = text.splitlines()
        assert re.fullmatch(r"sender ETIMEDOUT [234]", sender) and re.fullmatch(r"reader ETIMEDOUT \d+", reader), text
        assert int(reader.split()[2]) < 15 and others == "others are served", text
    finally:
        server.kill()
        server.wait()


def test_a_full_receive_buffer(container, stockade, wire):
    server = wire.peer(sys.executable, "-c", SENDER)
    client = container("python3", TRIALS, "idle-reader", "10.77.0.1", "5001", stdin=subprocess.PIPE)
    assert client.stdout.readline() == "ready\n"
    before = resident(stockade, client)
    held = int(server.stdout.readline())
    assert held < 64 * MIB
    assert resident(stockade, client) - before < 32 * MIB
    tell(client)
    count, digest = output(client, 100).split()
    assert server.stdout.readline().split() == [count, digest] and int(count) >= 200 * MIB
    server.wait(10)


def test_ten_thousand_sockets(container, stockade, wire):
    process = container("python3", TRIALS, "many", "5000", stdin=subprocess.PIPE)
    assert process.stdout.readline() == "begin\n"
    before = resident(stockade, process)
    tell(process)
    assert process.stdout.readline() == "True\n"
    assert process.stdout.readline() == "there\n"
    assert resident(stockade, process) - before < 200 * MIB
    tell(process)
    assert output(process, 100) == "True\n"


def test_a_flood_of_requests_takes_no_memory(container, stockade, wire):
    server = container("python3", "/tests/peer.py", "echo-server", "0.0.0.0", "5003")
    wait_for_port(wire, "10.77.0.2", 5003)
    before = resident(stockade, server)
    for _ in range(2):
        output(wire.peer(sys.executable, PEER, "flood", "10.77.0.2", "5003", "2"))
    assert resident(stockade, server) - before < 32 * MIB
    assert "5 answered" in output(wire.peer(sys.executable, PEER, "echo-clients", "10.77.0.2", "5003", "5"), 60)


def test_further_addresses(container, wire):
    """Of the same network and of another one, in both directions."""
    wire.ip("addr", "add", "10.77.0.3/24", "dev", "va", where=wire.a)
    wire.ip("addr", "add", "10.79.0.2/24", "dev", "va", where=wire.a)
    wire.ip("addr", "add", "10.79.0.1/24", "dev", "vb")
    container("python3", "/tests/peer.py", "echo-server", "0.0.0.0", "5003")
    for host in ("10.77.0.2", "10.77.0.3", "10.79.0.2"):
        wait_for_port(wire, host, 5003)
        assert "5 answered" in output(wire.peer(sys.executable, PEER, "echo-clients", host, "5003", "5"))
        assert " 0% packet loss" in output(wire.peer("busybox", "ping", "-c", "2", "-W", "5", host))


def test_a_connection_from_a_further_address(container, wire):
    wire.ip("addr", "add", "10.79.0.2/24", "dev", "va", where=wire.a)
    wire.ip("addr", "add", "10.79.0.1/24", "dev", "vb")
    server = wire.peer(sys.executable, PEER, "digest-server", "10.79.0.1", "5001")
    client = container("python3", "/tests/peer.py", "digest-client", "10.79.0.1", "5001", "500000")
    sent = re.search(r"sent (\S+)", output(client)).group(1)
    assert f"received {sent} from 10.79.0.2" in output(server)


ROUTER = (
    "netns add {c}", "link add vc netns {c} type veth peer name vd netns {b}", "-n {c} addr add fd78::2/64 dev vc nodad",
    "-n {b} addr add fd78::1/64 dev vd nodad", "-n {c} link set lo up", "-n {c} link set vc up", "-n {b} link set vd up mtu 1300",
    "-n {c} route add fd77::/64 via fd78::1", "-n {a} route add fd78::/64 via fd77::1 dev va",
)  # fmt: skip


ROUTER4 = (
    "netns add {c}", "link add vc netns {c} type veth peer name vd netns {b}", "-n {c} addr add 10.76.0.2/24 dev vc",
    "-n {b} addr add 10.76.0.1/24 dev vd", "-n {c} link set lo up", "-n {c} link set vc up", "-n {b} link set vd up mtu 1300",
    "-n {c} route add 10.77.0.0/24 via 10.76.0.1",
)  # fmt: skip


@pytest.mark.timeout(400)
def test_a_narrow_way_of_ipv4(container, wire):
    """Packets that must not be cut are answered by the router, and that is heeded as natively."""
    names = {"b": wire.b, "c": f"{wire.b}-c"}
    inside = ["ip", "netns", "exec", names["c"], sys.executable, PEER]
    said, sizes = [], None
    try:
        for line in ROUTER4:
            subprocess.run(["ip", *line.format(**names).split()], check=True, timeout=10)
        subprocess.run(["ip", "netns", "exec", wire.b, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=True)
        sizes = subprocess.Popen([*inside, "udp-sizes", "10.76.0.2", "5002"])
        for native in (True, False):
            server = subprocess.Popen([*inside, "digest-server", "10.76.0.2", "5001"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            wait_for_port(wire, "10.76.0.2", 5001)
            command = ["narrow", "10.76.0.2", "5001", "5002"]
            client = subprocess.Popen(["ip", "netns", "exec", wire.a, sys.executable, PEER, *command], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True) if native else container("python3", "/tests/peer.py", *command)  # fmt: skip
            said.append(output(client, 150).splitlines())
            output(server, 100)
        assert said[0] == said[1]
        assert said[1][0] == "True TCP mtu 1300"
    finally:
        if sizes is not None:
            sizes.kill()
            sizes.wait()
        subprocess.run(["ip", "netns", "del", names["c"]], check=False)


def test_a_narrow_way(container, wire):
    """A router behind which packets must be smaller says so, and the data arrives."""
    names = {"a": wire.a, "b": wire.b, "c": f"{wire.b}-c"}
    try:
        for line in ROUTER:
            subprocess.run(["ip", *line.format(**names).split()], check=True, timeout=10)
        subprocess.run(["ip", "netns", "exec", wire.b, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"], check=True)
        server = subprocess.Popen(["ip", "netns", "exec", names["c"], sys.executable, PEER, "digest-server", "fd78::2", "5001"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        client = container("python3", "/tests/peer.py", "digest-client", "fd78::2", "5001", "3000000")
        sent = re.search(r"sent (\S+)", output(client, 60)).group(1)
        assert f"received {sent}" in output(server)
    finally:
        subprocess.run(["ip", "netns", "del", names["c"]], check=False)
