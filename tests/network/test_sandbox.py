"""--network=sandbox: the interfaces of a prepared namespace on the sandbox's own stack, against a peer on the host's."""

import re
import sys
import time

import pytest
from network_helpers import GUEST, PEER, output, wait_for_port


HOSTS = (("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2"))


@pytest.mark.parametrize("peer, own", HOSTS)
def test_connections_out(container, wire, peer, own):
    server = wire.peer(sys.executable, PEER, "digest-server", peer, "5001")
    client = container("python3", GUEST, "digest-client", peer, "5001")
    sent = re.search(r"sent (\S+)", output(client)).group(1)
    assert f"received {sent} from {own}" in output(server)


@pytest.mark.parametrize("peer, own", HOSTS)
def test_connections_in(container, wire, peer, own):
    server = container("python3", GUEST, "digest-server", own, "5001")
    wait_for_port(wire, own, 5001)
    client = wire.peer(sys.executable, PEER, "digest-client", own, "5001")
    sent = re.search(r"sent (\S+)", output(client)).group(1)
    assert f"received {sent} from {peer}" in output(server)


def test_refused_and_unreachable(container, wire):
    text = output(container("python3", GUEST, "errors", "10.77.0.1", "fd77::1"))
    assert text.splitlines() == [
        "10.77.0.1 tcp: ECONNREFUSED", "10.77.0.1 udp: ECONNREFUSED", "fd77::1 tcp: ECONNREFUSED", "fd77::1 udp: ECONNREFUSED",
        "no route: ENETUNREACH",
    ]  # fmt: skip


@pytest.mark.parametrize("peer, own", HOSTS)
def test_datagrams(container, wire, peer, own):
    server = container("python3", GUEST, "udp-echo", own, "5002")
    client = wire.peer(sys.executable, PEER, "udp-client", own, "5002")
    assert "echoed 1 1000 1472 9000 60000" in output(client)
    server.wait(20)


def test_ping_both_ways(container, wire):
    inside = container("busybox", "sh", "-c", "busybox ping -c 2 10.77.0.1 && busybox ping -c 2 fd77::1 && busybox sleep 5", root="busybox")
    time.sleep(1)
    for host in ("10.77.0.2", "fd77::2"):
        assert " 0% packet loss" in output(wire.peer("busybox", "ping", "-c", "2", "-W", "5", host))
    assert output(inside).count(" 0% packet loss") == 2


def test_host_no_longer_answers(container, wire):
    """The addresses leave the host's stack, and stay away when the container is gone."""
    output(container("busybox", "true", root="busybox"))
    text = wire.ip("addr", "show", "dev", "va", where=wire.a)
    assert "inet" not in text
    assert "100% packet loss" in wire.peer("busybox", "ping", "-c", "1", "-W", "1", "10.77.0.2").communicate(timeout=20)[0]


def test_network_none_takes_nothing(container, wire):
    text = output(container("python3", GUEST, "errors", "10.77.0.1", flags=("--network=none",)))
    assert "10.77.0.1 tcp: ENETUNREACH" in text
    assert "10.77.0.2" in wire.ip("addr", "show", "dev", "va", where=wire.a)


def test_missing_namespace(container):
    process = container("busybox", "true", root="busybox", namespace="/run/netns/stockade-none-such")
    text, _ = process.communicate(timeout=20)
    assert process.returncode and text.count("\n") == 1 and "No such file" in text


def test_many_connections_from_outside(container, wire):
    server = container("python3", GUEST, "echo-server", "0.0.0.0", "5003")
    wait_for_port(wire, "10.77.0.2", 5003)
    assert "1000 answered" in output(wire.peer(sys.executable, PEER, "echo-clients", "10.77.0.2", "5003", "1000"), 60)
    server.kill()


def test_flood_of_requests(container, wire):
    """SYNs from nowhere do not keep others from being served."""
    server = container("python3", GUEST, "echo-server", "0.0.0.0", "5003")
    wait_for_port(wire, "10.77.0.2", 5003)
    flood = wire.peer(sys.executable, PEER, "flood", "10.77.0.2", "5003", "4")
    time.sleep(0.5)
    assert "50 answered" in output(wire.peer(sys.executable, PEER, "echo-clients", "10.77.0.2", "5003", "50"), 60)
    assert "sent" in output(flood)
    server.kill()


def test_hostile_frames(container, wire):
    """Frames made to confuse it: the sandbox goes on serving."""
    seed = str(time.time_ns() % 100000)
    server = container("python3", GUEST, "echo-server", "0.0.0.0", "5003")
    wait_for_port(wire, "10.77.0.2", 5003)
    sent = output(wire.peer(sys.executable, PEER, "frames", "10.77.0.2", "5003", "vb", "5", seed))
    assert int(sent.split()[1]) > 10000
    assert "20 answered" in output(wire.peer(sys.executable, PEER, "echo-clients", "10.77.0.2", "5003", "20"), 60), f"seed {seed}"
    server.kill()


def test_lost_packets_lose_no_data(container, wire):
    """One frame in fifty is dropped, others come late: a forwarder stands between the namespaces."""
    forwarder = wire.peer(sys.executable, PEER, "lossy", wire.a, wire.b)
    try:
        assert "forwarding" in forwarder.stdout.readline()
        server = container("python3", GUEST, "digest-server", "10.78.0.2", "5001", namespace=wire.inside)
        wait_for_port(wire, "10.78.0.2", 5001)
        client = wire.peer(sys.executable, PEER, "digest-client", "10.78.0.2", "5001", "2000000")
        sent = re.search(r"sent (\S+)", output(client, 60)).group(1)
        assert f"received {sent} from" in output(server, 60)
    finally:
        forwarder.kill()
        forwarder.wait(10)
