"""--host-uds: sockets of the host in a volume, from both sides. The same guest programs run on the host as well."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import ROOT, rootfs

sys.path.insert(0, os.path.join(ROOT, "tests", "syscalls"))

import test_differential as differential  # noqa: E402

TYPES = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET}
CONNECT = """
import errno, hashlib, os, select, socket, sys
kind, path = int(sys.argv[1]), sys.argv[2]
sock = socket.socket(socket.AF_UNIX, kind)
try:
    sock.connect(path)
except OSError as error:
    sys.exit(errno.errorcode[error.errno])
sock.sendall(b"hello")
print(sock.recv(100), sock.getpeername() == path)
data = os.urandom(3000000)
begin = sock.send(data[:1000000]) if kind == socket.SOCK_STREAM else 0
print(begin)
for at in range(begin, len(data), 30000):
    sock.sendall(data[at:at + 30000])
sock.shutdown(socket.SHUT_WR)
print(sock.recv(100).decode() == hashlib.sha256(data).hexdigest())
print(sock.recv(100), select.select([sock], [], [], 5)[0] == [sock])
try:
    sock.send(b"x")
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    socket.send_fds(sock, [b"x"], [0])
except OSError as error:
    print(errno.errorcode[error.errno])
sock.close()
"""
SERVE = """
import hashlib, os, socket, sys
kind, path = int(sys.argv[1]), sys.argv[2]
sock = socket.socket(socket.AF_UNIX, kind)
sock.bind(path)
print("bound", flush=True)
sys.stdin.readline()
sock.listen(5)
print("listening", flush=True)
own = socket.socket(socket.AF_UNIX, kind)
own.connect(path)
conn, _ = sock.accept()
own.send(b"within")
print(conn.recv(100), flush=True)
for _ in range(3):
    conn, peer = sock.accept()
    seen = hashlib.sha256()
    while data := conn.recv(70000):
        seen.update(data)
    conn.sendall(seen.hexdigest().encode())
    conn.close()
os.unlink(path)
"""
DATAGRAMS = """
import errno, socket, sys, time
theirs, ours = sys.argv[1:3]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(ours)
for k in range(100):
    sock.sendto(b"%d" % k * 100, theirs)
sock.connect(theirs)
sock.send(b"end")
print(sock.recv(100), flush=True)
while True:
    try:
        sock.send(b"x")
    except OSError as error:
        print(errno.errorcode[error.errno])
        break
    time.sleep(0.01)
"""


class Volume:
    def __init__(self, stockade, tmp_path):
        self.stockade, self.tmp = stockade, tmp_path
        self.host = tmp_path / "volume"
        self.host.mkdir()
        self.count = 0
        self.started = []

    def path(self, name):
        return str(self.host / name)

    def start(self, mode, program, *args):
        """A Python program in the sandbox; the volume is /v."""
        self.count += 1
        bundle = self.tmp / f"bundle{self.count}"
        bundle.mkdir()
        config = differential.guest_config(rootfs("debian-full"), "/", ["python3", "-c", program, *map(str, args)])
        config["mounts"].append({"destination": "/v", "type": "bind", "source": str(self.host), "options": ["rbind", "rw"]})
        (bundle / "config.json").write_text(json.dumps(config))
        name = re.sub(r"\W", "-", f"{self.tmp.name}-{self.count}")
        process = self.stockade.popen("--host-uds", mode, "run", "--bundle", str(bundle), name, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.started.append((name, process))
        return process

    def end(self):
        for name, process in self.started:
            if process.poll() is None:
                self.stockade("kill", name, "KILL", timeout=20)
                process.communicate(timeout=20)

    def run(self, *args):
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        return out + err

    def listener(self, kind):
        sock = socket.socket(socket.AF_UNIX, kind)
        here = os.getcwd()
        os.chdir(self.host)  # the whole path may be longer than sun_path
        try:
            sock.bind("server")
        finally:
            os.chdir(here)
        sock.settimeout(30)
        return sock

    def connect(self, kind, name):
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.settimeout(30)
        here = os.getcwd()
        os.chdir(self.host)
        try:
            sock.connect(name)
        finally:
            os.chdir(here)
        return sock


@pytest.fixture
def volume(stockade, tmp_path):
    made = Volume(stockade, tmp_path)
    yield made
    made.end()


def serve(listener):
    conn, _ = listener.accept()
    conn.settimeout(30)
    conn.send(conn.recv(100).upper())
    seen = hashlib.sha256()
    while data := conn.recv(70000):
        seen.update(data)
        time.sleep(0.001)  # slower than the sender: its buffers fill
    conn.send(seen.hexdigest().encode())
    conn.close()


@pytest.mark.parametrize("kind", TYPES)
def test_guests_connect_to_the_host(volume, kind):
    listener = volume.listener(TYPES[kind])
    listener.listen(5)
    results = []
    for side in ("host", "sandbox"):
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        if side == "host":
            done = subprocess.run([sys.executable, "-c", CONNECT, str(int(TYPES[kind])), "server"], cwd=volume.host, capture_output=True, text=True, timeout=60)
            results.append(done.stdout + done.stderr)
        else:
            results.append(volume.run("open", CONNECT, int(TYPES[kind]), "/v/server"))
        thread.join(30)
    # What differs: no descriptor is handed to the host.
    assert results[0].splitlines()[:5] == results[1].splitlines()[:5] and len(results[0].splitlines()) == 6
    assert results[1].splitlines()[5] in ("EINVAL", "EPIPE")


@pytest.mark.parametrize("mode", ["none", "create"])
def test_connections_are_refused_by_default(volume, mode):
    listener = volume.listener(socket.SOCK_STREAM)
    listener.listen(5)
    assert "ECONNREFUSED" in volume.run(mode, CONNECT, int(socket.SOCK_STREAM), "/v/server")


def test_errors_are_the_hosts(volume):
    first = volume.listener(socket.SOCK_DGRAM)
    assert volume.run("open", CONNECT, int(socket.SOCK_STREAM), "/v/server").strip() == "EPROTOTYPE"
    assert volume.run("open", CONNECT, int(socket.SOCK_STREAM), "/v/none").strip() == "ENOENT"
    os.unlink(volume.path("server"))
    second = volume.listener(socket.SOCK_STREAM)  # it does not listen
    assert volume.run("open", CONNECT, int(socket.SOCK_STREAM), "/v/server").strip() == "ECONNREFUSED"
    first.close()
    second.close()


@pytest.mark.parametrize("kind", TYPES)
def test_the_host_connects_to_guests(volume, kind):
    guest = volume.start("create", SERVE, int(TYPES[kind]), "/v/guest")
    assert guest.stdout.readline() == "bound\n"
    with pytest.raises(ConnectionRefusedError):
        volume.connect(TYPES[kind], "guest")
    guest.stdin.write("\n")
    guest.stdin.flush()
    assert guest.stdout.readline() == "listening\n"
    assert guest.stdout.readline() == "b'within'\n"
    for _ in range(3):
        sock = volume.connect(TYPES[kind], "guest")
        data = os.urandom(2000000)
        for at in range(0, len(data), 20000):
            sock.sendall(data[at : at + 20000])
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100).decode() == hashlib.sha256(data).hexdigest()
        assert sock.recv(100) == b""
    assert guest.wait(30) == 0, guest.stderr.read()
    assert os.listdir(volume.host) == []


def test_without_create_a_name_is_the_sandboxes_own(volume):
    guest = volume.start("open", SERVE, int(socket.SOCK_STREAM), "/v/guest")
    assert guest.stdout.readline() == "bound\n"
    guest.stdin.write("\n")
    guest.stdin.flush()
    assert guest.stdout.readline() == "listening\n"
    assert guest.stdout.readline() == "b'within'\n"
    with pytest.raises(ConnectionRefusedError):
        volume.connect(socket.SOCK_STREAM, "guest")


def test_datagrams(volume):
    server = volume.listener(socket.SOCK_DGRAM)
    guest = volume.start("all", DATAGRAMS, "/v/server", "/v/guest")
    for k in range(100):
        assert server.recv(1000) == b"%d" % k * 100
    assert server.recv(1000) == b"end"
    volume.connect(socket.SOCK_DGRAM, "guest").send(b"from the host")
    assert guest.stdout.readline() == "b'from the host'\n"
    server.close()
    assert guest.stdout.readline() == "ECONNREFUSED\n"
    assert guest.wait(30) == 0
