"""What UDP, ping and raw sockets share: a queue of datagrams, addresses of single messages, ancillary data."""

from _collections import deque
from time import time_ns

from sentry.abi.errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EDESTADDRREQ,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOENT,
    ENOTCONN,
    EOPNOTSUPP,
    EPIPE,
)
from sentry.abi.time import NSEC
from sentry.net import inet_addr, socket_filter
from sentry.net import inet_options as opt
from sentry.net.inet import ORIGIN_LOCAL, PKTINFO, PKTINFO6, SO_TIMESTAMPNS, InetSocket
from sentry.net.inet_addr import (
    ANY4,
    ANY6,
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    LOOPBACK4,
    LOOPBACK6,
    is_any,
    is_link_local,
    is_multicast,
)
from sentry.net.socket import (
    INT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SO_TIMESTAMP,
    SOL_SOCKET,
    TIMEVAL,
    Received,
)
from sentry.vfs.file import POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLRDHUP

OVERHEAD = 768  # what Linux charges for a small datagram beside its data
LOOPBACK = 1  # index of the loopback interface
SIOCGSTAMP, SIOCGSTAMPNS = 0x8906, 0x8907
CUT_ALL, CUT_LARGE, CUT_NEVER, CUT_PROBE = range(4)  # native/lwip/port.h


class Datagram:
    """`packet`: (source, source port, destination, destination port, ttl, tos, interface index)."""

    __slots__ = ("data", "packet", "time")

    def __init__(self, data, packet):
        self.data = data
        self.packet = packet
        self.time = time_ns()


class DatagramSocket(InetSocket):
    __slots__ = ("rx", "rx_charge", "largest", "stamp", "stamping")

    def __init__(self, t, family, type_, protocol, flags, ports, largest):
        InetSocket.__init__(self, t, family, type_, protocol, flags, ports)
        self.rx = deque()
        self.rx_charge = 0
        self.stamp = -1  # SIOCGSTAMP: when what was read last had come, CLOCK_REALTIME ns; 0: nobody had asked, -1: nothing was read
        self.stamping = False  # somebody has asked
        self.largest = largest  # of a datagram

    def release(self):
        self.net.stack.sockets.discard(self)
        self.unbind()
        if self.groups and self.net.stack.wire is not None:
            for group, index in self.groups:
                self.net.stack.wire.leave(group, index)
        self.rx.clear()

    # -- the peer
    def connect(self, t, addr):
        if len(addr) < 2:
            return -EINVAL
        if int.from_bytes(addr[:2], "little") == AF_UNSPEC:
            self.remote, self.remote_port, self.scope = None, 0, 0
            if not self.locked:
                self.unbind()
                self.port = 0
                self.local = ANY4 if self.family == AF_INET else ANY6
            return 0
        parsed = inet_addr.parse(self.family, addr)
        if isinstance(parsed, int):
            return parsed
        host, port, scope = parsed
        host, local, _, error = self.path(host, scope, None, True)
        if error:
            return error
        if not self.port and self.ports is not None:
            error = self.autobind()
            if error:
                return error
        if is_any(self.local):
            self.local = local
        self.remote, self.remote_port, self.scope = host, port, scope
        return 0

    def path(self, host, scope, info, connecting=False):
        """(destination, source, interface index or 0, 0 or -errno) of a datagram to `host`."""
        if is_any(host):
            host = LOOPBACK4 if len(host) == 4 or len(self.local) == 4 and not is_any(self.local) else LOOPBACK6
        if len(host) == 4 and self.family == AF_INET6 and self.v6only:
            return host, None, 0, -ENETUNREACH
        device = self.device
        local = self.local
        if len(local) != len(host):
            if not is_any(local):
                return host, None, 0, -ENETUNREACH
            local = bytes(len(host))
        if info is not None:
            device = info[0] or device
            local = info[1] if info[1] is not None and not is_any(info[1]) else local
        if is_multicast(host):
            if len(host) == 4:
                device = device or self.values.get((opt.SOL_IP, opt.IP_MULTICAST_IF), (0, ANY4))[0]
            else:
                device = device or scope or self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_MULTICAST_IF)
            if device == LOOPBACK:
                return host, (LOOPBACK4 if len(host) == 4 else LOOPBACK6) if is_any(local) else local, device, 0
        if self.net.stack.is_broadcast(host) and not self.broadcast_allowed():
            return host, None, 0, -EACCES
        if is_link_local(host) and not (scope or device):
            return host, None, 0, -EINVAL
        source = self.net.stack.source(host, device, scope)
        if isinstance(source, int):
            return host, None, 0, source
        if not is_any(local) and not is_multicast(local):
            if not self.net.stack.is_local(local) and not connecting:
                return host, None, 0, -EADDRNOTAVAIL
            source = local
        return host, source, device or scope, 0

    # -- sending
    def send(self, t, data, addr, flags, rights, creds, info=None):
        """`info`: (interface index, source address or None, ttl or None, tos or None) of ancillary data."""
        if flags & MSG_OOB and self.family == AF_INET:
            return -EOPNOTSUPP
        if len(data) > 0xFFFF:
            return -EMSGSIZE
        if addr is not None:
            parsed = self.parse_target(addr)
            if isinstance(parsed, int):
                return parsed
            host, port, scope = parsed
            error = self.check_port(port)
            if error:
                return error
        elif self.remote is None:
            return -EDESTADDRREQ
        else:
            host, port, scope = self.remote, self.remote_port, self.scope
        if self.error:
            return self.take_error()
        if self.shut & SHUT_WR:
            return -EPIPE
        host, source, device, error = self.path(host, scope, info)
        if error:
            return error
        if len(data) > self.largest:
            return -EMSGSIZE
        if not self.port and self.ports is not None:
            error = self.autobind()
            if error:
                return error
        error = self.transmit(data, host, port, source, device, *self.hops(host, info))
        return error if error else len(data)

    def send_with(self, t, data, addr, flags, control):
        """A send with ancillary data, [(level, type, body)]: IP_PKTINFO, IP_TTL, IP_TOS, their IPv6 kin, UDP_SEGMENT."""
        device, source, ttl, tos, size = 0, None, None, None, 0
        for level, kind, body in control:
            if level == opt.SOL_IP and kind == opt.IP_PKTINFO and len(body) >= PKTINFO.size:
                device, source, _ = PKTINFO.unpack_from(body)
            elif level == opt.SOL_IPV6 and kind == opt.IPV6_PKTINFO and len(body) >= PKTINFO6.size:
                source, device = PKTINFO6.unpack_from(body)
                source = source[12:] if source[:12] == inet_addr.MAPPED else source
            elif (level, kind) in ((opt.SOL_IP, opt.IP_TTL), (opt.SOL_IPV6, opt.IPV6_HOPLIMIT)) and len(body) >= 4:
                (ttl,) = INT.unpack_from(body)
                if not -1 <= ttl <= 255 or (ttl < 1 and level == opt.SOL_IP):
                    return -EINVAL
                ttl = None if ttl == -1 else ttl
            elif (level, kind) in ((opt.SOL_IP, opt.IP_TOS), (opt.SOL_IPV6, opt.IPV6_TCLASS)) and body:
                tos = INT.unpack_from(body)[0] if len(body) >= 4 else body[0]
                if not -1 <= tos <= 255:
                    return -EINVAL
                tos = None if tos == -1 else tos
            elif level == opt.SOL_UDP and kind == opt.UDP_SEGMENT and len(body) >= 2:
                size = int.from_bytes(body[:2], "little")
            elif level in (opt.SOL_IP, opt.SOL_IPV6):
                return -EINVAL
        size = size or len(data) or 1
        for at in range(0, len(data) or 1, size):  # UDP_SEGMENT: many datagrams in one call
            n = self.send(t, data[at : at + size], addr, flags, None, None, (device, source, ttl, tos))
            if n < 0:
                return n
        return len(data)

    def parse_target(self, addr):
        """A destination of sendto(2): sockets of IPv6 take IPv4 addresses as well."""
        family = int.from_bytes(addr[:2], "little") if len(addr) >= 2 else AF_UNSPEC
        if self.family == AF_INET6 and family == AF_INET:
            if self.v6only:
                return -ENETUNREACH
            return inet_addr.parse(AF_INET, addr)
        parsed = inet_addr.parse(self.family, addr)
        return -EINVAL if parsed == -EAFNOSUPPORT and self.family == AF_INET6 else parsed

    def check_port(self, port):
        return 0

    def hops(self, host, info):
        """(ttl, tos) for a datagram to `host`."""
        if len(host) == 4:
            option = opt.IP_MULTICAST_TTL if is_multicast(host) else opt.IP_TTL
            ttl, tos = self.option(opt.SOL_IP, opt.IP_TABLE, option), self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_TOS)
        else:
            option = opt.IPV6_MULTICAST_HOPS if is_multicast(host) else opt.IPV6_UNICAST_HOPS
            ttl = self.option(opt.SOL_IPV6, opt.IPV6_TABLE, option)
            tos = self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_TCLASS)
        if info is not None:
            ttl = info[2] if info[2] is not None else ttl
            tos = info[3] if info[3] is not None else tos
        return ttl, tos

    def way(self, size, host, port, device) -> int:
        """How a packet of `size` bytes may be cut on its way to the outside (CUT_*), or -EMSGSIZE."""
        if len(host) == 4:
            discover = self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_MTU_DISCOVER)
        else:
            discover = self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_MTU_DISCOVER)
            if self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_DONTFRAG):
                discover = opt.IP_PMTUDISC_DO
        if discover == opt.IP_PMTUDISC_WANT:
            return CUT_LARGE
        if discover in (opt.IP_PMTUDISC_DONT, opt.IP_PMTUDISC_OMIT):
            return CUT_ALL
        route = self.net.stack.route(host, device)
        mtu = 1500 if isinstance(route, int) else route.interface.mtu
        if discover == opt.IP_PMTUDISC_DO:
            mtu = self.net.stack.wire.path_mtu(host, mtu)
        if size > mtu:
            if self.wants_errors():
                self.put_error(EMSGSIZE, b"", host, port, ORIGIN_LOCAL, info=mtu)
            return -EMSGSIZE
        return CUT_ALL if discover == opt.IP_PMTUDISC_INTERFACE else CUT_NEVER if discover == opt.IP_PMTUDISC_DO else CUT_PROBE

    def transmit(self, data, host, port, source, device, ttl, tos) -> int:
        """Send it: 0 or -errno."""
        return -EOPNOTSUPP

    # -- receiving
    def take(self, data, packet) -> bool:
        """A datagram for this socket; False if there is no room for it."""
        if self.bpf is not None:
            data = self.filtered(data, packet)
            if data is None:
                return False
        charge = len(data) + OVERHEAD
        if self.rx_charge + charge > self.rcvbuf and self.rx:
            return False
        self.rx.append(Datagram(data, packet))
        self.rx_charge += charge
        if self.queue.entries:
            self.queue.wake(POLL_READABLE)
        return True

    def filtered(self, data, packet) -> "bytes | None":
        """What the socket's filter leaves of it."""
        return socket_filter.internet(self.bpf, data, packet, 0)

    def fail(self, errno):
        """An error to be reported once: SO_ERROR, or the next call."""
        self.error = errno
        self.queue.wake(POLLERR | POLL_READABLE | POLL_WRITABLE)

    def receive(self, t, count, flags):
        if flags & MSG_ERRQUEUE:
            return self.receive_error(count)
        if self.error:
            return self.take_error()
        if not self.rx:
            return Received(b"") if self.shut & SHUT_RD else -EAGAIN
        datagram = self.rx[0]
        if not flags & MSG_PEEK:
            self.rx.popleft()
            self.rx_charge -= len(datagram.data) + OVERHEAD
        if self.stamping:
            self.stamp = datagram.time
        elif self.stamp < 0:
            self.stamp = 0
        data, packet = datagram.data, datagram.packet
        got = Received(data[:count], self.sender(packet), None, None, 0, len(data))
        if len(data) > count:
            got.flags |= MSG_TRUNC
        if self.values or self.options:
            got.control = self.control(datagram)
        return got

    def sender(self, packet):
        return inet_addr.make(self.family, packet[0], packet[1], packet[6])

    def control(self, datagram):
        """Ancillary data that options ask for: [(level, type, body)] or None."""
        rows = []
        _, _, to, to_port, ttl, tos, interface = datagram.packet
        if self.options.get(SO_TIMESTAMPNS):
            rows.append((SOL_SOCKET, SO_TIMESTAMPNS, TIMEVAL.pack(datagram.time // NSEC, datagram.time % NSEC)))
        elif self.options.get(SO_TIMESTAMP):
            rows.append((SOL_SOCKET, SO_TIMESTAMP, TIMEVAL.pack(datagram.time // NSEC, datagram.time % NSEC // 1000)))
        values = self.values
        if len(to) == 4:
            if values.get((opt.SOL_IP, opt.IP_PKTINFO)):
                own = to if not is_multicast(to) and not self.net.stack.is_broadcast(to) else self.local[-4:]
                rows.append((opt.SOL_IP, opt.IP_PKTINFO, PKTINFO.pack(interface, own, to)))
            if values.get((opt.SOL_IP, opt.IP_RECVTTL)):
                rows.append((opt.SOL_IP, opt.IP_TTL, INT.pack(ttl)))
            if values.get((opt.SOL_IP, opt.IP_RECVTOS)):
                rows.append((opt.SOL_IP, opt.IP_TOS, bytes((tos,))))
            if values.get((opt.SOL_IP, opt.IP_RECVORIGDSTADDR)):
                rows.append((opt.SOL_IP, opt.IP_RECVORIGDSTADDR, inet_addr.make(AF_INET, to, to_port)))
        if self.family == AF_INET6:
            if values.get((opt.SOL_IPV6, opt.IPV6_RECVPKTINFO)):
                six = to if len(to) == 16 else inet_addr.MAPPED + to
                rows.append((opt.SOL_IPV6, opt.IPV6_PKTINFO, PKTINFO6.pack(six, interface)))
            if values.get((opt.SOL_IPV6, opt.IPV6_RECVHOPLIMIT)):
                rows.append((opt.SOL_IPV6, opt.IPV6_HOPLIMIT, INT.pack(ttl)))
            if values.get((opt.SOL_IPV6, opt.IPV6_RECVTCLASS)):
                rows.append((opt.SOL_IPV6, opt.IPV6_TCLASS, INT.pack(tos)))
        return rows or None

    def ioctl(self, t, cmd, arg):
        if cmd not in (SIOCGSTAMP, SIOCGSTAMPNS):
            return InetSocket.ioctl(self, t, cmd, arg)
        self.stamping = True
        if self.stamp < 0:
            return -ENOENT
        self.stamp = self.stamp or time_ns()
        t.write(arg, TIMEVAL.pack(self.stamp // NSEC, self.stamp % NSEC // (1000 if cmd == SIOCGSTAMP else 1)))
        return 0

    # -- state
    def shutdown(self, t, how):
        self.shut |= how  # an error or not (inet_shutdown)
        self.queue.wake()
        return -ENOTCONN if self.remote is None else 0

    def poll(self):
        bits = POLL_WRITABLE
        if self.error or self.errors:
            bits |= POLLERR
        if self.shut & SHUT_RD:
            bits |= POLLRDHUP | POLL_READABLE
        if self.shut == SHUT_RD | SHUT_WR:
            bits |= POLLHUP
        if self.rx:
            bits |= POLL_READABLE
        return bits

    def readable_bytes(self):
        return len(self.rx[0].data) if self.rx else 0

    def unsent_bytes(self):
        return 0
