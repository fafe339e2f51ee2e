"""Two ends of one TCP connection: sends and receives of all kinds in random order. What comes out must be what went in.

twins.py SEED: both ends here. twins.py SEED HOST PORT: one end, the other is `twins.py SEED listen PORT`. Prints "same".
"""

import random
import select
import socket
import sys
import threading

TOTAL = 3_000_000


def stream(seed):
    return random.Random(seed).randbytes(TOTAL)


def send_all(sock, data, rng):
    at = 0
    while at < len(data):
        part = data[at : at + rng.choice((1, 7, 100, 3000, 20000, 70000, 200000))]
        way = rng.randrange(5)
        try:
            if way == 0:
                at += sock.sendmsg([part[: len(part) // 2], part[len(part) // 2 :]])
            elif way == 1:
                at += sock.send(part, socket.MSG_DONTWAIT)
            elif way == 2:
                select.select([], [sock], [])
                at += sock.send(part)
            else:
                at += sock.send(part)
        except BlockingIOError:
            select.poll().register(sock)
            select.select([], [sock], [], 5)
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock, rng):
    parts = []
    while True:
        count = rng.choice((1, 50, 1000, 4096, 16384, 30000, 131072, 262144))
        way = rng.randrange(6)
        if way == 0:
            peeked = sock.recv(count, socket.MSG_PEEK)
            data = sock.recv(len(peeked)) if peeked else b""
            assert data == peeked[: len(data)], "peeked otherwise"
        elif way == 1:
            data = sock.recv(count, socket.MSG_WAITALL)
        elif way == 2:
            data = bytearray(count)
            data = bytes(data[: sock.recvmsg_into([data])[0]])
        elif way == 3:
            select.select([sock], [], [])
            data = sock.recv(count)
        elif way == 4 and rng.randrange(20) == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << rng.randrange(14, 20))
            continue
        else:
            data = sock.recv(count)
        if not data:
            return b"".join(parts)
        parts.append(data)


def both_ways(sock, sent, expected, seed):
    sender = threading.Thread(target=send_all, args=(sock, sent, random.Random(seed)))
    sender.start()
    got = receive_all(sock, random.Random(seed + 1))
    sender.join()
    assert got == expected, f"{len(got)} bytes, the first difference at {next((i for i, p in enumerate(zip(got, expected)) if p[0] != p[1]), -1)}"


def main():
    seed = int(sys.argv[1])
    one, two = stream(seed), stream(seed + 1)
    if len(sys.argv) > 2:
        if sys.argv[2] == "listen":
            server = socket.create_server(("", int(sys.argv[3])))
            print("ready", flush=True)
            both_ways(server.accept()[0], two, one, seed + 20)
        else:
            both_ways(socket.create_connection((sys.argv[2], int(sys.argv[3]))), one, two, seed + 10)
    else:
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        early = one[:5000]
        client.sendall(early)  # goes before there is anybody to accept it
        accepted = server.accept()[0]
        assert accepted.recv(5000, socket.MSG_WAITALL) == early
        other = threading.Thread(target=both_ways, args=(accepted, two, one[5000:], seed + 20))
        other.start()
        both_ways(client, one[5000:], two, seed + 10)
        other.join()
        unread(server)
    print("same")


def unread(server):
    """An end that closes with data unread resets the connection; what it had sent is still there."""
    client = socket.create_connection(server.getsockname())
    accepted = server.accept()[0]
    client.sendall(b"never read")
    accepted.sendall(b"last words")
    accepted.close()
    assert client.recv(100) == b"last words"
    try:
        client.recv(100)
    except ConnectionResetError:
        return
    raise AssertionError("no reset")


main()
