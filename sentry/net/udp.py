"""UDP sockets (udp(7))."""

from sentry.abi.errno import ECONNREFUSED, EINVAL, ENOPROTOOPT, EPROTONOSUPPORT
from sentry.net import inet_options as opt
from sentry.net import fabric, raw, socket_filter
from sentry.net.datagram import LOOPBACK, DatagramSocket
from sentry.net.inet import ORIGIN_ICMP, ORIGIN_ICMP6
from sentry.net.inet_addr import is_loopback, is_multicast
from sentry.net.socket import INT, SOCK_DGRAM

IPPROTO_UDP, IPPROTO_UDPLITE = 17, 136
LARGEST = 65507
UDP_HEADER = 8


class UdpSocket(DatagramSocket):
    __slots__ = ()

    def __init__(self, t, family, flags):
        DatagramSocket.__init__(self, t, family, SOCK_DGRAM, IPPROTO_UDP, flags, t.net.stack.udp, LARGEST)

    def filtered(self, data, packet):
        return socket_filter.internet(self.bpf, data, packet, UDP_HEADER)

    def check_port(self, port):
        return 0 if port else -EINVAL

    def transmit(self, data, host, port, source, device, ttl, tos):
        size = self.values.get((opt.SOL_UDP, opt.UDP_SEGMENT), 0)
        if size and len(data) > size:
            for at in range(0, len(data), size):
                error = self.one(data[at : at + size], host, port, source, device, ttl, tos)
                if error:
                    return error
            return 0
        return self.one(data, host, port, source, device, ttl, tos)

    def one(self, data, host, port, source, device, ttl, tos):
        resolver = self.net.stack.resolver
        if resolver is not None and resolver.serves(host, port):
            resolver.take(bytes(data), source, self.port)
            return 0
        many = is_multicast(host) or self.net.stack.is_broadcast(host)
        if many and device != LOOPBACK and not self.loops(host):
            pass
        elif many or self.net.stack.is_local(host):
            index = LOOPBACK if is_loopback(host) or not device else device
            found = deliver(self.net.stack, data, (source, self.port, host, port, ttl, tos, index), many)
            if not many and not found:
                self.refused(data, host, port)
        if self.net.stack.linked and not self.net.stack.is_local(host) and device != LOOPBACK:
            if self.across(data, host, port, source, device, ttl, tos, many):
                return 0
        if self.net.stack.wire is not None and not self.net.stack.is_local(host) and device != LOOPBACK:
            cut = self.way(len(data) + (28 if len(host) == 4 else 48), host, port, device)
            return cut if cut < 0 else self.net.stack.wire.send_udp(data, source, self.port, host, port, ttl, tos, device, cut)
        return 0

    def across(self, data, host, port, source, device, ttl, tos, many) -> bool:
        """By a link that a guest has made; False: it does not go there."""
        stack = self.net.stack
        if many:
            route = stack.route(host, device)
            out = stack.interface(device) if device else None if isinstance(route, int) else route.interface
            for far in fabric.heard(out) if out is not None and out.kind else ():
                deliver(far.stack, data, (source, self.port, host, port, ttl, tos, far.index), True)
            return out is not None and bool(out.kind)
        way = fabric.reach(stack, host, device, ttl, source)
        if way is None:
            return False
        if way.stack is not None:
            packet = (source, self.port, host, port, way.ttl, tos, way.interface.index)
            if not deliver(way.stack, data, packet, False):
                self.refused(data, host, port)
        elif way.by is not None:
            datagram = self.port.to_bytes(2, "big") + port.to_bytes(2, "big") + (len(data) + 8).to_bytes(2, "big") + bytes(2) + data
            raw.tell(stack, way, IPPROTO_UDP, datagram, source, host)
        return True

    def loops(self, host):
        if len(host) == 4:
            return not is_multicast(host) or self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_MULTICAST_LOOP)
        return self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_MULTICAST_LOOP)

    def refused(self, data, host, port, errno=ECONNREFUSED, type_=3, code=3, info=0, offender=None):
        """Nobody is there: port unreachable (ICMP)."""
        if self.wants_errors():
            if len(host) == 4:
                self.put_error(errno, data, host, port, ORIGIN_ICMP, type_, code, info, offender)
            else:
                self.put_error(errno, data, host, port, ORIGIN_ICMP6, *((type_, code) if offender else (1, 4)), info, offender)
            self.fail(errno)
        elif self.remote is not None:
            self.fail(errno)

    def get_own(self, t, level, option):
        if level != opt.SOL_UDP:
            return DatagramSocket.get_own(self, t, level, option)
        if option not in opt.UDP_TABLE:
            return -ENOPROTOOPT
        return INT.pack(self.option(level, opt.UDP_TABLE, option))

    def set_own(self, t, level, option, data):
        if level != opt.SOL_UDP or option not in opt.UDP_TABLE:
            return -ENOPROTOOPT
        if len(data) < 4:
            return -EINVAL
        value = opt.normal(opt.UDP_TABLE, option, INT.unpack_from(data)[0])
        if value is None:
            return -EINVAL
        self.values[level, option] = value
        return 0


def deliver(stack, data: bytes, packet: tuple, many: bool) -> bool:
    """Hand a datagram to the sockets that it is for. False: there is none."""
    source, source_port, host, port = packet[:4]
    found = stack.receivers(stack.udp, host, port, source, source_port, many, data)
    for sock in found:
        sock.take(data, packet)
    return bool(found)


def create(t, family, protocol, flags):
    if protocol not in (0, IPPROTO_UDP):
        return -EPROTONOSUPPORT
    return UdpSocket(t, family, flags)
