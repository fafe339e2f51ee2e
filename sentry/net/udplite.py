"""UDP-Lite sockets (udplite(7), RFC 3828): datagrams whose checksum may cover their beginning only."""

from sentry.abi.errno import EINVAL
from sentry.net import inet_options as opt
from sentry.net.datagram import LOOPBACK, DatagramSocket
from sentry.net.inet_addr import is_loopback, is_multicast
from sentry.net.raw import checksum, pseudo_header
from sentry.net.socket import INT, SOCK_DGRAM
from sentry.net.udp import IPPROTO_UDPLITE, LARGEST, UdpSocket

SOL_UDPLITE = 136
SEND_CSCOV, RECV_CSCOV = 10, 11
HEADER = 8
WHOLE = 0  # as a coverage


class UdpLiteSocket(UdpSocket):
    __slots__ = ()

    def __init__(self, t, family, flags):
        DatagramSocket.__init__(self, t, family, SOCK_DGRAM, IPPROTO_UDPLITE, flags, t.net.stack.udplite, LARGEST)

    def one(self, data, host, port, source, device, ttl, tos):
        stack = self.net.stack
        coverage = self.values.get((SOL_UDPLITE, SEND_CSCOV), WHOLE)
        if coverage >= HEADER + len(data):
            coverage = WHOLE
        many = is_multicast(host) or stack.is_broadcast(host)
        local = stack.is_local(host)
        if local or many and (device == LOOPBACK or self.loops(host)):
            index = LOOPBACK if is_loopback(host) or not device else device
            if not deliver(stack, data, coverage, (source, self.port, host, port, ttl, tos, index), many) and not many:
                self.refused(data, host, port)
        if stack.wire is not None and not local and device != LOOPBACK:
            message = self.port.to_bytes(2, "big") + port.to_bytes(2, "big") + coverage.to_bytes(2, "big") + b"\0\0" + data
            total = cover(message, coverage, source, host) or 0xFFFF
            cut = self.way(len(message) + (20 if len(host) == 4 else 40), host, port, device)
            if cut < 0:
                return cut
            return stack.wire.send_ip(IPPROTO_UDPLITE, message[:6] + total.to_bytes(2, "big") + data, source, host, ttl, tos, device, cut)
        return 0

    def accepts(self, coverage: int) -> bool:
        """Does the checksum cover as much as this socket asks for?"""
        wanted = self.values.get((SOL_UDPLITE, RECV_CSCOV))
        return coverage == WHOLE or wanted is None or (wanted != WHOLE and coverage >= wanted)

    def get_own(self, t, level, option):
        if level in (SOL_UDPLITE, opt.SOL_UDP) and option in (SEND_CSCOV, RECV_CSCOV):
            return INT.pack(self.values.get((SOL_UDPLITE, option), WHOLE))
        return UdpSocket.get_own(self, t, opt.SOL_UDP if level == SOL_UDPLITE else level, option)

    def set_own(self, t, level, option, data):
        if level not in (SOL_UDPLITE, opt.SOL_UDP) or option not in (SEND_CSCOV, RECV_CSCOV):
            return UdpSocket.set_own(self, t, opt.SOL_UDP if level == SOL_UDPLITE else level, option, data)
        if len(data) < 4:
            return -EINVAL
        (value,) = INT.unpack_from(data)
        # net/ipv4/udp.c: udp_lib_setsockopt: what is too small or too large is brought into range
        self.values[SOL_UDPLITE, option] = value if value == WHOLE else HEADER if value < HEADER else min(value, 0xFFFF)
        return 0


def cover(message: bytes, coverage: int, source: bytes, host: bytes) -> int:
    """The checksum over the pseudo header and the part of the message that is covered."""
    return checksum(pseudo_header(source, host, IPPROTO_UDPLITE, len(message)) + (message[:coverage] if coverage else message))


def deliver(stack, data: bytes, coverage: int, packet: tuple, many: bool) -> bool:
    """Hand a datagram to the sockets that it is for. False: there is none."""
    source, source_port, host, port = packet[:4]
    found = stack.receivers(stack.udplite, host, port, source, source_port, many)
    for sock in found:
        if sock.accepts(coverage):
            sock.take(data, packet)
    return bool(found)


def arrive(stack, message: bytes, source: bytes, host: bytes, ttl: int, tos: int, link: int) -> None:
    """A datagram from outside, with its header."""
    coverage = int.from_bytes(message[4:6], "big")
    if len(message) < HEADER or coverage and not HEADER <= coverage <= len(message) or cover(message, coverage, source, host):
        return
    if coverage == len(message):
        coverage = WHOLE
    port, peer = int.from_bytes(message[:2], "big"), int.from_bytes(message[2:4], "big")
    deliver(stack, message[HEADER:], coverage, (source, port, host, peer, ttl, tos, link), is_multicast(host) or stack.is_broadcast(host))


def create(t, family, protocol, flags):
    return UdpLiteSocket(t, family, flags)
