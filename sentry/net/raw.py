"""Raw sockets (raw(7)) and ping sockets (SOCK_DGRAM with IPPROTO_ICMP, icmp(7))."""

from struct import Struct

from sentry.abi.errno import EADDRNOTAVAIL, EINVAL, ENETUNREACH, ENOPROTOOPT, EPERM, EPROTONOSUPPORT, ETIMEDOUT
from sentry.core.creds import CAP_NET_RAW
from sentry.net import fabric, icmp_errors, inet_addr, socket_filter
from sentry.net import inet_options as opt
from sentry.net.datagram import LOOPBACK, DatagramSocket
from sentry.net.inet_addr import AF_INET, AF_INET6
from sentry.net.socket import INT, SOCK_DGRAM, SOCK_RAW
from sentry.net.stack import pick

IPPROTO_IP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW = 0, 1, 58, 255
ECHO, ECHO_REPLY = {4: 8, 16: 128}, {4: 0, 16: 129}
IP_HEADER = Struct(">BBHHHBBH4s4s")
IP6_HEADER = Struct(">IHBB16s16s")
ICMP_FILTER = 1
LARGEST = 65507


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) & 1:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, host: bytes, protocol: int, length: int) -> bytes:
    return source + host + length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))


def with_checksum(message: bytes, source: bytes, host: bytes) -> bytes:
    """An ICMP or ICMPv6 message with its checksum filled in."""
    message = message[:2] + b"\0\0" + message[4:]
    head = pseudo_header(source, host, IPPROTO_ICMPV6, len(message)) if len(host) == 16 else b""
    return message[:2] + checksum(head + message).to_bytes(2, "big") + message[4:]


def ip_header(source, host, protocol, length, ttl, tos) -> bytes:
    head = IP_HEADER.pack(0x45, tos, 20 + length, pick(65536), 0x4000, ttl, protocol, 0, source, host)
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:]


def arrive(stack, protocol: int, message: bytes, packet: tuple, header: "bytes | None" = None) -> None:
    """A message of `protocol` for this sandbox: to raw sockets, and ICMP echo replies to ping sockets."""
    source, _, host, _, ttl, tos, _ = packet
    for sock in stack.raw:
        if sock.protocol == protocol and sock.wants(message, source, host):
            if len(host) == 4:
                head = header if header is not None else ip_header(source, host, protocol, len(message), ttl, tos)
                sock.take(head + message, packet)
            else:
                sock.take(message, packet)
    if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(message) >= 8 and message[0] == ECHO_REPLY[len(host)]:
        number = int.from_bytes(message[4:6], "big")
        for sock in stack.receivers(stack.ping, host, number, source, 0, False):
            sock.take(message, packet)


def loop(stack, protocol: int, message: bytes, source: bytes, host: bytes, ttl: int, tos: int) -> None:
    """A message from this sandbox to itself; an echo request is answered."""
    arrive(stack, protocol, message, (source, 0, host, 0, ttl, tos, LOOPBACK))
    if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(message) >= 8 and message[0] == ECHO[len(host)]:
        reply = with_checksum(bytes((ECHO_REPLY[len(host)], 0)) + message[2:], host, source)
        arrive(stack, protocol, reply, (host, 0, source, 0, 64, tos, LOOPBACK))


def travel(stack, protocol: int, message: bytes, source: bytes, host: bytes, ttl: int, tos: int, device: int) -> bool:
    """By a link that a guest has made; False: it does not go there."""
    way = fabric.reach(stack, host, device, ttl, source)
    if way is None:
        return False
    if way.stack is not None:
        arrive(way.stack, protocol, message, (source, 0, host, 0, way.ttl, tos, way.interface.index))
        if protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(message) >= 8 and message[0] == ECHO[len(host)]:
            reply = with_checksum(bytes((ECHO_REPLY[len(host)], 0)) + message[2:], host, source)
            back = fabric.reach(way.stack, source)
            if back is not None and back.stack is not None:
                arrive(back.stack, protocol, reply, (host, 0, source, 0, back.ttl, tos, back.interface.index))
    elif way.by is not None:
        tell(stack, way, protocol, message, source, host)
    return True


def tell(stack, way, protocol: int, message: bytes, source: bytes, host: bytes) -> None:
    """The router that stopped a message of ours on its way says why."""
    if len(host) == 4:
        kind, code = (fabric.TIME_EXCEEDED, 0) if way.errno == ETIMEDOUT else (fabric.UNREACHABLE, 0 if way.errno == ENETUNREACH else 1)
        quoted = ip_header(source, host, protocol, len(message), 1, 0) + message[:548]
    else:
        kind, code = (3, 0) if way.errno == ETIMEDOUT else (1, 0 if way.errno == ENETUNREACH else 3)
        quoted = IP6_HEADER.pack(6 << 28, len(message), protocol, 1, source, host) + message[:1192]
    body = with_checksum(bytes((kind, code)) + bytes(6) + quoted, way.by, source)
    icmp_errors.arrive(stack, body, way.by)
    arrive(stack, IPPROTO_ICMP if len(host) == 4 else IPPROTO_ICMPV6, body, (way.by, 0, source, 0, 64, 0, LOOPBACK))


class IcmpSocket(DatagramSocket):
    """Common to both kinds."""

    __slots__ = ()

    def post(self, protocol, message, host, source, device, ttl, tos):
        if self.net.stack.is_local(host):
            loop(self.net.stack, protocol, message, source, host, ttl, tos)
            return 0
        if self.net.stack.linked and travel(self.net.stack, protocol, message, source, host, ttl, tos, device):
            return 0
        if self.net.stack.wire is None:
            return -ENETUNREACH
        cut = self.way(len(message) + (20 if len(host) == 4 else 40), host, 0, device)
        return cut if cut < 0 else self.net.stack.wire.send_ip(protocol, message, source, host, ttl, tos, device, cut)


class PingSocket(IcmpSocket):
    """The port is the echo identifier."""

    __slots__ = ()

    def __init__(self, t, family, protocol, flags):
        DatagramSocket.__init__(self, t, family, SOCK_DGRAM, protocol, flags, t.net.stack.ping, LARGEST)

    def transmit(self, data, host, port, source, device, ttl, tos):
        if len(data) < 8 or data[0] != ECHO[len(host)] or data[1]:
            return -EINVAL
        message = data[:4] + self.port.to_bytes(2, "big") + data[6:]
        return self.post(self.protocol, with_checksum(message, source, host), host, source, device, ttl, tos)

    def sender(self, packet):
        return inet_addr.make(self.family, packet[0], 0, packet[6])


class RawSocket(IcmpSocket):
    __slots__ = ("own_header", "filter", "checksum_at")

    def __init__(self, t, family, protocol, flags):
        DatagramSocket.__init__(self, t, family, SOCK_RAW, protocol, flags, None, LARGEST + 28)
        self.own_header = protocol == IPPROTO_RAW and family == AF_INET
        self.filter = 0  # ICMP types not wanted: bits
        self.checksum_at = -1  # IPV6_CHECKSUM
        self.net.stack.raw.append(self)

    def release(self):
        self.net.stack.raw.remove(self)
        DatagramSocket.release(self)

    def filtered(self, data, packet):
        return socket_filter.internet(self.bpf, data, packet, 0, whole=self.family == AF_INET)

    def bind(self, t, addr):
        parsed = self.parse_bind(addr)
        if isinstance(parsed, int):
            return parsed
        host = parsed[0]
        if not (inet_addr.is_any(host) or inet_addr.is_multicast(host) or self.net.stack.is_local(host)):
            return -EADDRNOTAVAIL
        self.local = host
        self.locked = True
        return 0

    def name(self):
        return inet_addr.make(self.family, self.local, self.protocol if self.family == AF_INET else 0, self.scope)

    def wants(self, message, source, host):
        if (self.family == AF_INET) != (len(host) == 4) or (self.remote is not None and self.remote != source):
            return False
        if not inet_addr.is_any(self.local) and self.local != host:
            return False
        if self.protocol == IPPROTO_ICMP and message:
            return not (message[0] < 32 and self.filter >> message[0] & 1)
        if self.protocol == IPPROTO_ICMPV6 and message:
            return not self.filter >> message[0] & 1
        return True

    def transmit(self, data, host, port, source, device, ttl, tos):
        protocol = self.protocol
        if self.own_header:
            if len(data) < 20 or (data[0] & 15) * 4 > len(data):
                return -EINVAL
            protocol, ttl, tos = data[9], data[8], data[1]
            source = data[12:16] if data[12:16] != inet_addr.ANY4 else source
            data = data[(data[0] & 15) * 4 :]
        elif protocol == IPPROTO_ICMPV6 and len(data) >= 4:
            data = with_checksum(data, source, host)
        elif 0 <= self.checksum_at <= len(data) - 2:
            at = self.checksum_at
            data = data[:at] + b"\0\0" + data[at + 2 :]
            total = checksum(pseudo_header(source, host, protocol, len(data)) + data)
            data = data[:at] + total.to_bytes(2, "big") + data[at + 2 :]
        return self.post(protocol, data, host, source, device, ttl, tos)

    def sender(self, packet):
        return inet_addr.make(self.family, packet[0], 0, packet[6])

    def get_ip(self, option):
        if option == opt.IP_HDRINCL:
            return INT.pack(self.own_header)
        return IcmpSocket.get_ip(self, option)

    def set_ip(self, t, option, data):
        if option == opt.IP_HDRINCL:
            if not data:
                return -EINVAL
            self.own_header = data[0] != 0
            return 0
        return IcmpSocket.set_ip(self, t, option, data)

    def get_own(self, t, level, option):
        if level == opt.SOL_RAW and option == ICMP_FILTER and self.protocol == IPPROTO_ICMP:
            return self.filter.to_bytes(4, "little")
        if level == opt.SOL_ICMPV6 and option == ICMP_FILTER and self.protocol == IPPROTO_ICMPV6:
            return self.filter.to_bytes(32, "little")
        if (level, option) in ((opt.SOL_RAW, opt.IPV6_CHECKSUM), (opt.SOL_IPV6, opt.IPV6_CHECKSUM)):
            return INT.pack(self.checksum_at)
        return -ENOPROTOOPT

    def set_own(self, t, level, option, data):
        if level == opt.SOL_RAW and option == ICMP_FILTER and self.protocol == IPPROTO_ICMP:
            self.filter = int.from_bytes(data[:4], "little")
            return 0
        if level == opt.SOL_ICMPV6 and option == ICMP_FILTER and self.protocol == IPPROTO_ICMPV6:
            self.filter = int.from_bytes(data[:32], "little")
            return 0
        if level == opt.SOL_RAW and option == opt.IPV6_CHECKSUM and len(data) >= 4:
            (value,) = INT.unpack_from(data)
            if value & 1 and value != -1:
                return -EINVAL
            self.checksum_at = value
            return 0
        return -ENOPROTOOPT

    def set_ipv6(self, t, option, data):
        if option == opt.IPV6_CHECKSUM:
            return self.set_own(t, opt.SOL_RAW, option, data)
        return IcmpSocket.set_ipv6(self, t, option, data)


def create_ping(t, family, protocol, flags):
    if protocol != (IPPROTO_ICMP if family == AF_INET else IPPROTO_ICMPV6):
        return -EPROTONOSUPPORT
    return PingSocket(t, family, protocol, flags)


def create_raw(t, family, protocol, flags):
    if not 0 < protocol < 256:
        return -EPROTONOSUPPORT
    if not t.creds.capable(CAP_NET_RAW):
        return -EPERM
    return RawSocket(t, family, protocol, flags)


def ping_protocol(family: int) -> int:
    return IPPROTO_ICMPV6 if family == AF_INET6 else IPPROTO_ICMP
