"""What guests of test_robustness.py do: trials.py WHAT …"""

import errno
import hashlib
import socket
import sys
import time

TCP_SYNCNT, TCP_USER_TIMEOUT = 7, 18


def attempt(host, port, option=None, value=0):
    """connect(2) with an option of TCP; what becomes of it, and after how many seconds."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, int(option), int(value))
    begin = time.monotonic()
    try:
        sock.connect((host, int(port)))
        print("connected")
    except OSError as error:
        print(errno.errorcode[error.errno], round(time.monotonic() - begin))


def connected(host, port):
    for _ in range(100):
        try:
            return socket.create_connection((host, int(port)), 20)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("nobody there")


def vanishing(host, port):
    """Two connections whose other end goes silent: one sends with TCP_USER_TIMEOUT, one has keep-alive probes."""
    sender, reader = connected(host, port), connected(host, port)
    sender.settimeout(None)
    reader.settimeout(None)
    sender.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 2000)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
        reader.setsockopt(socket.IPPROTO_TCP, option, value)
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    sender.send(b"lost")
    for name, sock in (("sender", sender), ("reader", reader)):
        try:
            print(name, sock.recv(1))
        except OSError as error:
            print(name, errno.errorcode[error.errno], round(time.monotonic() - begin))
    a, b = socket.socket(), socket.create_server(("127.0.0.1", 7000))
    a.connect(("127.0.0.1", 7000))
    a.send(b"others are served")
    print(b.accept()[0].recv(100).decode())


def idle_reader(host, port):
    """Read nothing until told, then everything."""
    sock = connected(host, port)
    sock.settimeout(60)
    print("ready", flush=True)
    sys.stdin.readline()
    seen, count = hashlib.sha256(), 0
    while data := sock.recv(1 << 20):
        seen.update(data)
        count += len(data)
    print(count, seen.hexdigest())


def many(count):
    """So many connections at once, over the loopback, data through each; then so many datagram sockets."""
    print("begin", flush=True)
    sys.stdin.readline()
    count = int(count)
    server = socket.create_server(("127.0.0.1", 7000), backlog=4096)
    ends = []
    for number in range(count):
        client = socket.create_connection(("127.0.0.1", 7000))
        ends.append((client, server.accept()[0]))
        client.send(b"%d" % number)
    print(all(end.recv(100) == b"%d" % number for number, (_, end) in enumerate(ends)))
    print("there", flush=True)
    sys.stdin.readline()
    for pair in ends:
        pair[0].close()
        pair[1].close()
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2 * count)]
    for sock in ends:
        sock.bind(("127.0.0.1", 0))
    for k, sock in enumerate(ends):
        sock.sendto(b"%d" % k, ends[k - 1].getsockname())
    print(all(ends[k - 1].recv(100) == b"%d" % k for k in range(len(ends))))


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
