"""Both ends of the network tests: peer.py WHAT HOST PORT …, natively and in the sandbox."""

import asyncio
import errno
import hashlib
import os
import random
import select
import socket
import struct
import sys
import time


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listener(host, port):
    sock = socket.socket(family(host), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(1000)
    return sock


def probe(host, port):
    try:
        socket.create_connection((host, int(port)), 1).close()
        print("open")
    except OSError as error:
        print(error)


def digest_server(host, port):
    """The digest of what the first connection that sends anything sends."""
    server = listener(host, int(port))
    while True:
        conn, peer = server.accept()
        conn.settimeout(100)
        seen, count = hashlib.sha256(), 0
        while data := conn.recv(1 << 18):
            seen.update(data)
            count += len(data)
        if count:
            conn.sendall(b"%d" % count)
            conn.close()
            print(f"received {seen.hexdigest()} from {peer[0]}")
            return


def digest_client(host, port, size=20000000):
    for _ in range(100):
        try:
            conn = socket.create_connection((host, int(port)), 10)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    conn.settimeout(50)
    seen, left = hashlib.sha256(), int(size)
    while left:
        data = os.urandom(min(left, random.choice((1, 100, 1448, 5000, 70000))))
        conn.sendall(data)
        seen.update(data)
        left -= len(data)
    conn.shutdown(socket.SHUT_WR)
    assert conn.recv(100) == b"%d" % int(size)
    print(f"sent {seen.hexdigest()}")


def narrow(host, port, echo_port):
    """A way on which packets must be smaller than the link's: what TCP and UDP make of it. A server of digests and one of
    sizes are there."""
    IP_MTU_DISCOVER, IP_RECVERR, IP_MTU, MSG_ERRQUEUE = 10, 11, 14, 0x2000
    conn = socket.create_connection((host, int(port)), 100)
    conn.settimeout(100)
    data = os.urandom(2000000)
    conn.sendall(data)
    conn.shutdown(socket.SHUT_WR)
    print(conn.recv(100) == b"2000000", "TCP mtu", conn.getsockopt(0, IP_MTU))
    conn.close()
    for discover in range(6):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(0, IP_MTU_DISCOVER, discover)
        sock.setsockopt(0, IP_RECVERR, 1)
        sock.connect((host, int(echo_port)))
        said = [f"discover {discover} mtu {sock.getsockopt(0, IP_MTU)}"]
        for size in (1200, 1400, 1480, 3000):
            try:
                sock.send(bytes(size))
                ready = select.poll()
                ready.register(sock, select.POLLIN)
                ready.poll(100000)
                said.append(f"{size}: {sock.recv(65535, socket.MSG_DONTWAIT).decode()}")
            except OSError as error:
                said.append(f"{size}: {errno.errorcode[error.errno]}")
                try:
                    control = sock.recvmsg(65535, 500, MSG_ERRQUEUE)[1]
                    number, origin, kind, code, info = struct.unpack_from("IBBBxI", control[0][2])
                    said.append(f"({errno.errorcode[number]} {origin} {kind} {code} {info})")
                except BlockingIOError:
                    said.append("(no more)")
        print(*said)


def errors(*hosts):
    for host in hosts:
        try:
            socket.create_connection((host, 9), 5)
        except OSError as error:
            print(f"{host} tcp: {errno.errorcode[error.errno]}")
        sock = socket.socket(family(host), socket.SOCK_DGRAM)
        try:
            sock.connect((host, 9))
            sock.send(b"x")
            sock.settimeout(5)
            sock.recv(1)
        except OSError as error:
            print(f"{host} udp: {errno.errorcode[error.errno]}")
    try:
        socket.create_connection(("2001:db8::1", 9), 5)
    except OSError as error:
        print(f"no route: {errno.errorcode[error.errno]}")


def udp_echo(host, port):
    sock = socket.socket(family(host), socket.SOCK_DGRAM)
    sock.bind((host, int(port)))
    sock.settimeout(30)
    while True:
        data, peer = sock.recvfrom(65535)
        if data == b"end":
            return
        sock.sendto(data, peer)


def udp_sizes(host, port):
    """Answers each datagram with its size."""
    sock = socket.socket(family(host), socket.SOCK_DGRAM)
    sock.bind((host, int(port)))
    while True:
        data, peer = sock.recvfrom(65535)
        sock.sendto(b"%d" % len(data), peer)


def udp_client(host, port):
    sock = socket.socket(family(host), socket.SOCK_DGRAM)
    sock.settimeout(0.5)
    done = []
    for size in (1, 1000, 1472, 9000, 60000):
        data = os.urandom(size)
        for _ in range(40):
            try:
                sock.sendto(data, (host, int(port)))
                if sock.recvfrom(65535)[0] == data:
                    done.append(str(size))
                    break
            except OSError:
                time.sleep(0.1)
    sock.sendto(b"end", (host, int(port)))
    print("echoed", *done)


def echo_server(host, port):
    async def serve(reader, writer):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, host, int(port), backlog=2000)
        await server.serve_forever()

    asyncio.run(main())


def echo_clients(host, port, count):
    async def one(number):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 30)
        for k in range(3):
            data = b"%d %d\n" % (number, k)
            writer.write(data)
            assert await asyncio.wait_for(reader.readline(), 30) == data
        writer.close()
        return 1

    async def main():
        print(sum(await asyncio.gather(*(one(number) for number in range(int(count))))), "answered")

    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
    asyncio.run(main())


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def flood(host, port, seconds):
    """SYNs from addresses that nobody has."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    target = socket.inet_aton(host)
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        source = bytes((10, 99, random.randrange(256), random.randrange(1, 255)))
        tcp = struct.pack(">HHIIBBHHH", random.randrange(1024, 65535), int(port), count, 0, 0x50, 2, 65535, 0, 0)
        check = checksum(source + target + struct.pack(">HH", 6, len(tcp)) + tcp)
        tcp = tcp[:16] + check.to_bytes(2, "big") + tcp[18:]
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, target)
        sock.sendto(head + tcp, (host, 0))
        count += 1
    print(f"sent {count}")


def frames(host, port, interface, seconds, seed):
    """Frames that nobody should send: headers cut, lengths and options wrong, bits flipped."""
    random.seed(int(seed))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, 3))
    with open("/proc/net/arp", encoding="utf-8") as file:
        there = bytes.fromhex(next(line.split()[3] for line in file if line.startswith(host + " ")).replace(":", ""))
    mine = sock.getsockname()[4]
    target = socket.inet_aton(host)
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        kind = random.randrange(6)
        source = bytes((10, 77, 0, random.choice((1, 1, 2, random.randrange(256)))))
        options = os.urandom(random.choice((0, 4, 8, 40)))
        tcp = struct.pack(">HHIIBBHHH", random.choice((1, 2, 5000)), int(port), random.getrandbits(32), random.getrandbits(32),
                          random.choice((0x50, (5 + len(options) // 4) << 4, 0xF0, 0x10)), random.randrange(256),
                          random.getrandbits(16), 0, 0) + options + os.urandom(random.randrange(60))  # fmt: skip
        check = checksum(source + target + struct.pack(">HH", 6, len(tcp)) + tcp + b"\0" * (len(tcp) & 1))
        tcp = tcp[:16] + check.to_bytes(2, "big") + tcp[18:]
        protocol, body = random.choice(((6, tcp), (6, tcp), (17, os.urandom(random.randrange(40))), (1, bytes((3, 3)) + os.urandom(50)),
                                        (random.randrange(256), os.urandom(30))))  # fmt: skip
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), count & 0xFFFF, random.choice((0, 0, 0, 0x2000, 0x2003)), 64,
                           protocol, 0, source, target)  # fmt: skip
        packet = head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
        frame = there + mine + b"\x08\0" + packet
        if kind == 0:  # IPv6 of all sorts
            chain = os.urandom(random.randrange(80))
            frame = there + mine + b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, len(chain), random.choice((0, 6, 17, 43, 44, 58, 60, 59)), 255)
            frame += socket.inet_pton(socket.AF_INET6, "fd77::1") + socket.inet_pton(socket.AF_INET6, "fd77::2") + chain
        elif kind == 1:
            frame = frame[: random.randrange(14, len(frame))]
        elif kind == 2:
            at = random.randrange(14, len(frame))
            frame = frame[:at] + os.urandom(1) + frame[at + 1 :]
        elif kind == 3:
            frame = there + mine + b"\x08\x06" + os.urandom(random.randrange(40))
        try:
            sock.send(frame)
            count += 1
        except OSError:
            time.sleep(0.001)
    print(f"sent {count}")


def lossy(inside, outside):
    """A second link, whose frames pass through here: some are lost, some come late. 10.78.0.2 inside, 10.78.0.1 out."""
    pairs = (("lossa", inside, "10.78.0.2/24"), ("lossb", outside, "10.78.0.1/24"))
    ends = []
    for name, namespace, address in pairs:
        for line in (f"link add {name} netns {namespace} type veth peer name {name}x", f"-n {namespace} addr add {address} dev {name}",
                     f"-n {namespace} link set {name} up", f"link set {name}x up"):  # fmt: skip
            assert os.system(f"ip {line}") == 0
        # Packets of their final size, with their checksums: what is lost here is one packet.
        os.system(f"ip netns exec {namespace} ethtool -K {name} tso off gso off tx off >/dev/null 2>&1")
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(263, 15, 1)  # PACKET_VNET_HDR: whole segments and unfinished checksums pass as they are
        sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        sock.bind((name + "x", 3))
        ends.append(sock)
    print("forwarding", flush=True)
    late = []

    def send(other, frame):
        try:
            other.send(frame)
        except OSError:  # a link that is full or still coming up loses a frame, too
            pass

    while True:
        ready, _, _ = select.select(ends, [], [], 0.002)
        for sock in ready:
            frame = sock.recv(70000)
            other = ends[1 - ends.index(sock)]
            luck = random.random()
            if luck < 0.02:
                continue
            if luck < 0.05:
                late.append((time.monotonic() + 0.003, other, frame))
                continue
            send(other, frame)
        now = time.monotonic()
        while late and late[0][0] <= now:
            _, other, frame = late.pop(0)
            send(other, frame)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
