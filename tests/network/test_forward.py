"""`stockade port-forward`, and the requests of the control socket that it and CRI's PortForward use."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import rootfs

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = ("sandbox", "none", "host")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Container:
    """The guest of forward_guest.py, in a network namespace of its own."""

    def __init__(self, stockade, bundle, mode):
        self.stockade = stockade
        self.name = bundle.name
        self.process = stockade.popen("--network", mode, "run", "--bundle", str(bundle), self.name, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.forwards = []
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def forward(self, *ports):
        """Start the command; {remote port: local port}."""
        process = self.stockade.popen("port-forward", self.name, *ports, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.forwards.append(process)
        found = {}
        while len(found) < len(ports):
            match = re.fullmatch(r"Forwarding from \S+:(\d+) -> (\d+)\n", process.stdout.readline())
            assert match, process.stderr.read()
            found[int(match[2])] = int(match[1])
        return found

    def control(self):
        """A connection to the control socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(os.path.join(self.stockade.base[2], self.name, "control"))
        sock.settimeout(60)
        return sock

    def close(self):
        for process in self.forwards:
            process.kill()
            process.communicate()
        if self.process.poll() is None:
            self.stockade("kill", self.name, "KILL")
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


@pytest.fixture
def start(stockade, tmp_path, platform):
    running = []

    def make(mode):
        bundle = tmp_path / f"f-{platform[0]}{mode}{len(running)}"
        bundle.mkdir()
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["python3", "/tests/forward_guest.py"], "env": ["PATH=/usr/bin:/bin"], "cwd": "/"},
            "root": {"path": str(rootfs("debian-full"))},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/tests", "type": "bind", "source": HERE, "options": ["bind", "ro"]}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
        }  # fmt: skip
        (bundle / "config.json").write_text(json.dumps(config))
        running.append(Container(stockade, bundle, mode))
        return running[-1]

    yield make
    for container in running:
        container.close()


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), 60)
    sock.settimeout(60)
    return sock


def read_all(sock):
    parts = []
    while data := sock.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def echoed(port, data):
    """What comes back for `data` and the end of our direction."""
    with connect(port) as sock:
        got = []
        reader = threading.Thread(target=lambda: got.append(read_all(sock)))
        reader.start()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        reader.join(60)
        return got[0]


@pytest.mark.parametrize("mode", MODES)
def test_data_both_ways_and_half_closed(start, mode):
    container = start(mode)
    ports = container.forward(":8001", ":8002")
    for remote in (8001, 8002):
        for size in (0, 1, 70000, 5 << 20):
            data = os.urandom(size)
            assert echoed(ports[remote], data) == data + b"END"


@pytest.mark.parametrize("mode", MODES)
def test_many_connections(start, mode):
    ports = start(mode).forward(":8001")
    socks = [connect(ports[8001]) for _ in range(100)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
    for number, sock in reversed(list(enumerate(socks))):
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"%dEND" % number
        sock.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_port_is_refused_and_the_others_go_on(start, mode):
    container = start(mode)
    ports = container.forward(":8001", ":9999")
    with connect(ports[9999]) as sock:
        assert sock.recv(1) == b""
    assert "a connection was refused: port 9999: nothing listens on it" in container.forwards[0].stderr.readline()
    assert echoed(ports[8001], b"still") == b"stillEND"


@pytest.mark.parametrize("mode", MODES)
def test_resets_and_peers_that_vanish(start, mode):
    ports = start(mode).forward(":8001", ":8003")
    for _ in range(5):
        with connect(ports[8003]) as sock:
            sock.sendall(b"x")
            try:
                assert sock.recv(10) == b""
            except ConnectionResetError:
                pass
        with connect(ports[8001]) as sock:
            sock.sendall(b"x" * 100000)  # and gone, the answer unread
    assert echoed(ports[8001], b"still") == b"stillEND"


@pytest.mark.parametrize("mode", MODES)
def test_who_does_not_read_stops_the_other_side(start, mode):
    container = start(mode)
    ports = container.forward(":8004", ":8005")
    with connect(ports[8004]) as sock:
        sock.settimeout(0.5)
        sent = 0
        try:
            while sent < 1 << 28:
                sent += sock.send(bytes(65536))
        except TimeoutError:
            pass
        assert sent < 64 << 20
        sock.settimeout(60)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"%d" % sent
    with connect(ports[8005]):
        assert 0 < int(container.process.stdout.readline().split()[1]) < 64 << 20


@pytest.mark.parametrize("mode", MODES)
def test_what_a_program_sent_last_arrives(start, mode):
    container = start(mode)
    ports = container.forward(":8006")
    with connect(ports[8006]) as sock:
        assert read_all(sock) == b"x" * 500000
    assert container.process.wait(20) == 0
    assert container.forwards[0].wait(20) == 0  # the command ends with the container


@pytest.mark.parametrize("mode", ("sandbox", "none"))
def test_listeners_are_told_of(start, mode):
    container = start(mode)
    first = [8001, 8002, 8003, 8004, 8005, 8006]
    with container.control() as sock:
        sock.send(b'{"op": "listeners"}')
        assert json.loads(sock.recv(65536)) == {"ok": True, "ports": first}
        container.tell("open")
        assert json.loads(sock.recv(65536))["ports"] == [*first, 8010]
        container.tell("close")
        assert json.loads(sock.recv(65536))["ports"] == first
        sock.send(b'{"op": "listeners"}')
        assert "already" in json.loads(sock.recv(65536))["error"]
    container.tell("open")  # nobody is told any more


def test_bad_requests_leave_no_descriptor(start, platform):
    container = start("sandbox")
    pid = json.loads(container.stockade("state", container.name).stdout)["pid"]
    ours, theirs = socket.socketpair()
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with container.control() as sock, open("/dev/null") as null, ours, theirs, datagram:
        sock.send(b'{"op": "state"}')
        sock.recv(65536)
        before = len(os.listdir(f"/proc/{pid}/fd"))
        for port, given in (("80", theirs), (0, theirs), (65536, theirs), (-1, theirs), (8001, null), (8001, datagram), (9999, theirs)):
            socket.send_fds(sock, [json.dumps({"op": "connect", "port": port}).encode()], [given.fileno()])
            assert "error" in json.loads(sock.recv(65536))
        for count in (0, 2):
            socket.send_fds(sock, [b'{"op": "connect", "port": 8001}'], [theirs.fileno()] * count)
            assert "error" in json.loads(sock.recv(65536))
        assert len(os.listdir(f"/proc/{pid}/fd")) == before


def test_while_it_is_paused(start):
    container = start("sandbox")
    ports = container.forward(":8001")
    assert container.stockade("pause", container.name).returncode == 0
    with connect(ports[8001]) as sock:
        sock.sendall(b"word")
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert container.stockade("resume", container.name).returncode == 0
        sock.settimeout(60)
        assert sock.recv(10) == b"word"


def test_arguments(stockade):
    for ports in ((), ("x",), ("1:2:3",), ("0",), ("8080:",), ("70000",), ("-1",)):
        done = stockade("port-forward", "nobody", *ports)
        assert done.returncode != 0 and done.stderr.count(b"\n") == 1
    assert b"does not exist" in stockade("port-forward", "nobody", "80").stderr


def test_a_local_port_that_is_taken(start):
    container = start("sandbox")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = container.stockade("port-forward", container.name, f"{port}:8001")
        assert done.returncode == 1 and f"cannot listen on 127.0.0.1:{port}" in done.stderr.decode()


def test_localhost_of_a_pods_namespace(start, tmp_path):
    """What CRI's PortForward does: connect to localhost in the namespace. The shim's part runs here in a thread."""
    from sandbox import control, state
    from shim import forward, loop

    container = start("sandbox")
    name = f"stockade-fwd-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=10)
        failures = []
        events = loop.Loop(failures.append)
        open_state = state.Container.peek(container.stockade.base[2], container.name)
        mirror = forward.Mirror(events, lambda: control.Client(open_state), f"/run/netns/{name}", failures.append)
        waker = os.eventfd(0)
        events.watch(waker, loop.IN, lambda mask: setattr(events, "running", False))
        thread = threading.Thread(target=events.run)
        thread.start()
        try:
            for port, word in ((8001, "one"), (8002, "two")):
                assert dialled(name, port, word) == word + "END"
            assert dialled(name, 8010, "x") == "refused"
            container.tell("open")
            wait_until(lambda: dialled(name, 8010, "late") == "lateEND")
            container.tell("close")
            wait_until(lambda: dialled(name, 8010, "x") == "refused")
        finally:
            os.eventfd_write(waker, 1)
            thread.join(20)
            mirror.close()
            open_state.close()
            os.close(waker)
        assert dialled(name, 8001, "x") == "refused"
        assert not failures
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


DIAL = """
import socket, sys
try:
    sock = socket.create_connection(("localhost", int(sys.argv[1])), 20)
except ConnectionRefusedError:
    print("refused", end="")
else:
    sock.sendall(sys.argv[2].encode())
    sock.shutdown(socket.SHUT_WR)
    print(b"".join(iter(lambda: sock.recv(1000), b"")).decode(), end="")
"""


def dialled(namespace, port, word):
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", DIAL, str(port), word]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
