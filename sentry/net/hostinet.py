"""Internet sockets of the host, in the container's network namespace (--network=host).

Each guest socket is one host socket, which never blocks: -EAGAIN makes the calls wait on the queue, which the host's
epoll wakes (`Platform.watch`, edge-triggered). What kinds and options there are is in abi/hostnet.py.

Two ends of one TCP connection that are both here (`twin`) keep the host's connection for all but data, which goes
straight into the other end's queue (`rx`) while the host has none under way in that direction: so the order is kept.
"""

import os
from _collections import deque

from sentry.abi import hostnet
from sentry.abi.errno import (
    EACCES,
    EADDRINUSE,
    EAFNOSUPPORT,
    EAGAIN,
    EALREADY,
    EINPROGRESS,
    EINVAL,
    EMFILE,
    ENFILE,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from sentry.core.creds import CAP_NET_BIND_SERVICE, CAP_NET_RAW
from sentry.net import hostcalls, socket_filter
from sentry.net.socket import (
    AF_INET,
    AF_INET6,
    FAMILIES,
    LINGER,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SO_LINGER,
    SO_LOCK_FILTER,
    SO_MARK,
    SO_RCVBUFFORCE,
    SO_RCVTIMEO,
    SO_SNDBUFFORCE,
    SO_SNDTIMEO,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    Received,
    Socket,
    drop,
)
from sentry.vfs.file import O_NONBLOCK, POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLIN, POLLOUT

SO_TIMEOUTS = (SO_RCVTIMEO, SO_SNDTIMEO, 66, 67)  # the last: SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW
IN_BITS, OUT_BITS = POLL_READABLE, POLL_WRITABLE
WATCHED = 0x80002007  # EPOLLIN, EPOLLPRI, EPOLLOUT, EPOLLRDHUP, EPOLLET
MSG_DONTROUTE, MSG_CONFIRM, MSG_FASTOPEN = 0x4, 0x800, 0x20000000
SEND_FLAGS = MSG_OOB | MSG_DONTROUTE | MSG_EOR | MSG_CONFIRM | MSG_MORE | MSG_FASTOPEN
RECEIVE_FLAGS = MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE
TOLD_FLAGS = MSG_OOB | MSG_TRUNC | MSG_CTRUNC | MSG_EOR | MSG_ERRQUEUE
STREAM_MOST = 1 << 18
DATAGRAM_MOST = 65536
FILTERS = (socket_filter.SO_ATTACH_FILTER, socket_filter.SO_DETACH_FILTER, socket_filter.SO_ATTACH_BPF, SO_LOCK_FILTER)  # the Sentry's
OPTION_MOST = 512
SIOCATMARK, SIOCOUTQNSD = 0x8905, 0x894B
FIONREAD, TIOCOUTQ = 0x541B, 0x5411
# Control data that may go along with a datagram: (level, type); of these levels others are EINVAL, of more no notice is taken.
SENT_CONTROL = frozenset((
    (hostnet.SOL_IP, 1),  # IP_TOS
    (hostnet.SOL_IP, 2),  # IP_TTL
    (hostnet.SOL_IP, 8),  # IP_PKTINFO
    (hostnet.SOL_IPV6, 11),  # IPV6_FLOWINFO
    (hostnet.SOL_IPV6, 50),  # IPV6_PKTINFO
    (hostnet.SOL_IPV6, 52),  # IPV6_HOPLIMIT
    (hostnet.SOL_IPV6, 62),  # IPV6_DONTFRAG
    (hostnet.SOL_IPV6, 67),  # IPV6_TCLASS
    (hostnet.SOL_UDP, 103),  # UDP_SEGMENT
))  # fmt: skip
FIRST_FREE_PORT = 1024
IPPROTO_TCP = hostnet.IPPROTO_TCP
UNSPEC = b"\0\0"
MAPPED = bytes(10) + b"\xff\xff"
UNPRIVILEGED = "net/ipv4/ip_unprivileged_port_start"


# With these a receiver is told of more than data, or not of all: (level, option).
ALOOF = frozenset((
    (SOL_SOCKET, 18),  # SO_RCVLOWAT
    (SOL_SOCKET, 29),  # SO_TIMESTAMP
    (SOL_SOCKET, 35),  # SO_TIMESTAMPNS
    (SOL_SOCKET, 37),  # SO_TIMESTAMPING
    (SOL_SOCKET, 42),  # SO_PEEK_OFF
    (SOL_SOCKET, 63),  # SO_TIMESTAMP_NEW
    (SOL_SOCKET, 64),  # SO_TIMESTAMPNS_NEW
    (SOL_SOCKET, 65),  # SO_TIMESTAMPING_NEW
    (hostnet.SOL_TCP, 36),  # TCP_INQ
))  # fmt: skip
SO_SNDBUF, SO_RCVBUF = 7, 8
CONNECTING = {}  # (own end, the other): of connections made here to an address of this namespace, until they are accepted


class HostSocket(Socket):
    """`fd`: the host's descriptor, which this object owns."""

    __slots__ = (
        "fd", "platform", "watched", "shut", "known", "alone", "key", "twin", "rx", "rx_offset", "rx_bytes", "room", "sent", "received",
    )  # fmt: skip

    def __init__(self, t, family, type_, protocol, flags, fd):
        Socket.__init__(self, t, family, type_, protocol, flags)
        self.fd = fd
        self.platform = t.kernel.platform
        self.watched = False
        self.shut = 0  # SHUT_* bits
        self.known = -1  # the host's poll bits; -1: it is to be asked
        self.alone = False  # it has an option that no twin may have
        self.key = None  # in CONNECTING
        self.twin = None  # no reference is held
        self.rx = deque()  # what a twin has sent
        self.rx_offset = 0  # read of rx[0]
        self.rx_bytes = 0
        self.room = 0  # of the twin's rx_bytes: how far this end may send
        self.sent = self.received = 0  # bytes of a stream by way of the host
        self.inode.ino = os.fstat(fd).st_ino  # what /proc/net and sock_diag(7) tell of it

    def release(self):
        self.part()
        if self.rx_bytes:  # closed with unread data: a reset
            hostcalls.set_option(self.fd, SOL_SOCKET, SO_LINGER, LINGER.pack(1, 0))
            self.rx.clear()
        if self.watched:
            self.platform.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1

    # -- readiness
    def watch(self) -> None:
        self.watched = True
        self.platform.watch(self.fd, WATCHED, self.changed)

    def changed(self, fd, events):
        bits = events & 0xFFFF
        if bits & POLLIN:
            bits |= POLL_READABLE
        if bits & POLLOUT:
            bits |= POLL_WRITABLE
        if bits & (POLLERR | POLLHUP) and self.twin is not None:
            self.part()
        self.known = -1
        self.queue.wake(bits)

    def poll(self):
        if not self.watched:
            self.watch()
        bits = self.known
        if self.error:
            return hostcalls.ready(self.fd) | IN_BITS | OUT_BITS | POLLERR
        if bits < 0:
            if self.bpf is not None:
                self.discard()
            bits = hostcalls.ready(self.fd)
            if bits & POLLIN:
                bits |= IN_BITS
            if bits & POLLOUT:
                bits |= OUT_BITS
        if self.rx_bytes:
            bits |= IN_BITS
        twin = self.twin
        if twin is not None:
            if self.known < 0 and not self.rx_bytes:
                self.known = bits
            if twin.rx_bytes * 3 > self.room * 2:
                bits &= ~OUT_BITS
        return bits

    def unknown(self):
        """The host's state of this connection changes."""
        self.known = -1
        twin = self.twin
        if twin is not None:
            twin.known = -1

    # -- twins
    def near(self) -> bool:
        """Whether data goes straight to the twin now, which there is."""
        twin = self.twin
        return self.sent == twin.received and not self.shut & SHUT_WR and not twin.shut & SHUT_RD

    def part(self):
        """From now on all goes by way of the host, but what is in the queues."""
        if self.key is not None:
            if CONNECTING.get(self.key) is self:
                del CONNECTING[self.key]
            self.key = None
        twin, self.twin = self.twin, None
        if twin is not None:
            twin.twin = None
            twin.known = self.known = -1
            twin.queue.wake(POLL_WRITABLE)

    def announce(self, addr):
        """connect(2) has begun: whoever accepts it in this sandbox will find this end."""
        ends = endpoint(hostcalls.name(self.fd, False)), endpoint(addr)
        if None not in ends and is_near(ends[0][0], ends[1][0]):
            self.key = ends
            CONNECTING[ends] = self

    def meet(self):
        """This connection has been accepted: from whom?"""
        ends = endpoint(hostcalls.name(self.fd, True)), endpoint(hostcalls.name(self.fd, False))
        twin = CONNECTING.pop(ends, None)
        if twin is None or twin.alone or self.alone:
            return
        twin.key = None
        twin.twin, self.twin = self, twin
        twin.measure()
        twin.unknown()

    def measure(self):
        """How much both ends' buffers hold."""
        twin = self.twin
        for end, other in ((self, twin), (twin, self)):
            sizes = hostcalls.get_option(end.fd, SOL_SOCKET, SO_SNDBUF, 4), hostcalls.get_option(other.fd, SOL_SOCKET, SO_RCVBUF, 4)
            end.room = sum(int.from_bytes(size, "little") for size in sizes if type(size) is bytes)

    def took(self, n):
        """`n` bytes of what the twin sent have been read."""
        before = self.rx_bytes
        self.rx_bytes = before - n
        twin = self.twin
        if twin is not None and before * 3 > twin.room * 2 >= self.rx_bytes * 3 and twin.queue.entries:
            twin.queue.wake(OUT_BITS)

    def broken(self, errno):
        """The host did not take what the caller was told was sent: the connection is reset."""
        self.error = errno
        self.part()
        self.shut |= SHUT_WR
        hostcalls.set_option(self.fd, SOL_SOCKET, SO_LINGER, LINGER.pack(1, 0))
        self.queue.wake()

    def fill(self, count):
        """Have `count` bytes in `rx`, if the host has them."""
        twin = self.twin
        if twin is not None and twin.sent == self.received:
            return
        got = hostcalls.receive(self.fd, min(count, STREAM_MOST) - self.rx_bytes, 0) if count > self.rx_bytes else 0
        if type(got) is tuple:
            self.received += got[1]
            if got[0]:
                self.rx.append(got[0])
                self.rx_bytes += got[1]
        elif got and got != -EAGAIN:
            self.error = -got

    def send_near(self, data):
        """To the twin; bytes, or -EAGAIN."""
        twin = self.twin
        data = bytes(data[: max(0, self.room - twin.rx_bytes)])
        if not data:
            return self.blocked()
        twin.rx.append(data)
        twin.rx_bytes += len(data)
        if twin.queue.entries:
            twin.queue.wake(IN_BITS)
        return len(data)

    def receive_near(self, count, flags):
        """Some of what is in `rx`."""
        self.fill(count)
        parts, left = [], count
        while self.rx and left:
            part = self.rx.popleft()
            rest = part[self.rx_offset :]
            parts.append(rest[:left])
            if len(rest) > left:
                self.rx.appendleft(part)
                self.rx_offset += left
                break
            self.rx_offset = 0
            left -= len(rest)
        data = b"".join(parts)
        self.took(len(data))
        if flags & MSG_PEEK:
            self.unread(data)
        return data

    def unread(self, data):
        """What could not be delivered; of a datagram the rest is lost, as on Linux."""
        if not data or self.type != SOCK_STREAM:
            return
        if self.rx_offset:
            self.rx.appendleft(self.rx.popleft()[self.rx_offset :])
            self.rx_offset = 0
        self.rx.appendleft(bytes(data))
        self.rx_bytes += len(data)

    def blocked(self) -> int:
        if not self.watched:
            self.watch()
        return -EAGAIN

    # -- names and connections
    def bind(self, t, addr):
        if len(addr) >= 4 and int.from_bytes(addr[:2], "little") in (AF_INET, AF_INET6):
            port = int.from_bytes(addr[2:4], "big")
            if 0 < port < int(t.net.sysctls.get(UNPRIVILEGED, FIRST_FREE_PORT)) and not t.creds.capable(CAP_NET_BIND_SERVICE):
                return -EACCES
        return hostcalls.bind(self.fd, addr)

    def connect(self, t, addr):
        if addr[:2] == UNSPEC:
            self.part()
        result = hostcalls.connect(self.fd, addr)
        if result in (0, -EINPROGRESS) and self.protocol == IPPROTO_TCP and self.key is None and self.twin is None:
            self.announce(addr)
        if result in (-EINPROGRESS, -EALREADY) and not self.flags & O_NONBLOCK:
            return self.blocked()  # the same call again tells how it went
        return -EADDRINUSE if result == -EAGAIN else result  # no free port; else it would be taken for a wait

    def listen(self, t, backlog):
        return hostcalls.listen(self.fd, backlog)

    def listening(self):
        value = hostcalls.get_option(self.fd, SOL_SOCKET, 30, 4)  # SO_ACCEPTCONN
        return type(value) is bytes and value[0] != 0

    def accept(self, t, flags):
        fd = hostcalls.accept(self.fd)
        if fd < 0:
            return self.blocked() if fd == -EAGAIN else fd
        new = HostSocket(t, self.family, self.type, self.protocol, flags, fd)
        new.rcvtimeo, new.sndtimeo, new.linger = self.rcvtimeo, self.sndtimeo, self.linger
        new.alone = self.alone
        if CONNECTING:
            new.meet()
        return new

    def shutdown(self, t, how):
        result = hostcalls.shutdown(self.fd, how - 1)
        self.shut |= how  # even if it says that there is no connection
        self.unknown()
        if self.queue.entries:
            self.queue.wake()
        return result

    def name(self):
        return hostcalls.name(self.fd, False)

    def peer_name(self):
        return hostcalls.name(self.fd, True)

    # -- data
    def send(self, t, data, addr, flags, rights, creds):
        n = self.send_with(t, data, addr, flags, None)
        if n >= 0:
            drop(rights)  # without meaning here, but taken over
        return n

    def send_with(self, t, data, addr, flags, control):
        if control is not None:
            control = sendable(control)
            if type(control) is int:
                return control
        if self.twin is not None and data and addr is None and control is None and not flags & (MSG_OOB | MSG_FASTOPEN) and self.near():
            return self.send_near(data)
        if self.error:
            return Socket.take_error(self)
        self.unknown()
        if flags & MSG_FASTOPEN and addr is not None:  # the host's socket would not wait for the connection
            error = self.connect(t, addr)
            if error:
                return error
            flags, addr = flags & ~MSG_FASTOPEN, None
        n = hostcalls.send(self.fd, data, addr, control, flags & SEND_FLAGS)
        if n > 0:
            self.sent += n
        return self.blocked() if n == -EAGAIN else n

    def receive(self, t, count, flags):
        stream = self.type == SOCK_STREAM
        if stream:
            count = min(count, STREAM_MOST)
            if self.rx_bytes and count and not flags & (MSG_OOB | MSG_ERRQUEUE):
                data = self.receive_near(count, flags)
                return Received(b"" if flags & MSG_TRUNC else data, b"", None, None, 0, len(data))
            if self.error:
                return Socket.take_error(self)
            self.unknown()
        if self.bpf is not None and not flags & MSG_ERRQUEUE:
            got = self.receive_filtered(count, flags & RECEIVE_FLAGS)
        else:
            got = hostcalls.receive(self.fd, min(count, 1 << 20), flags & RECEIVE_FLAGS)
        if type(got) is int:
            if got == -EAGAIN and self.shut & SHUT_RD and not (flags & MSG_DONTWAIT or self.flags & O_NONBLOCK):
                return Received(b"")  # a call that never blocks is told otherwise, and the host's never do
            return self.blocked() if got == -EAGAIN else got
        data, length, addr, control, told = got
        if not flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE):
            self.received += length
        if stream and flags & MSG_TRUNC:
            data = b""  # thrown away by the host: tcp(7)
        received = Received(data, addr, None, None, told & TOLD_FLAGS, length)
        if control:
            received.control = parse_control(control)
        return received

    def receive_filtered(self, count, flags):
        """The first datagram that the socket's filter takes, as `hostcalls.receive` tells of it; others are thrown away."""
        while True:
            got = hostcalls.receive(self.fd, DATAGRAM_MOST, flags)
            if type(got) is int:
                return got
            data, _, addr, control, told = got
            taken = self.filtered(data, addr)
            if taken is not None:
                return taken[:count], len(taken), addr, control, told | (MSG_TRUNC if len(taken) > count else 0)
            if flags & MSG_PEEK:
                hostcalls.receive(self.fd, 0, 0)

    def filtered(self, data, addr):
        """What the filter leaves of a datagram from `addr`; None: nothing."""
        source, own = endpoint(addr), endpoint(hostcalls.name(self.fd, False))
        if source is None or own is None:
            return data
        ends = [end[0][12:] if self.family == AF_INET else end[0] for end in (source, own)]
        packet = ends[0], source[1], ends[1], own[1], 64, 0, 0
        return socket_filter.internet(self.bpf, data, packet, 8 if self.protocol in (17, 136) else 0)

    def discard(self):
        """Throw away what the filter does not take, so that nobody is told that there is something to read."""
        while True:
            got = hostcalls.receive(self.fd, DATAGRAM_MOST, MSG_PEEK)
            if type(got) is int or self.filtered(got[0], got[2]) is not None:
                return
            hostcalls.receive(self.fd, 0, 0)

    # -- state
    def readable_bytes(self):
        value = hostcalls.number(self.fd, FIONREAD)
        return value + self.rx_bytes if value >= 0 else value

    def unsent_bytes(self):
        return hostcalls.number(self.fd, TIOCOUTQ)

    def take_error(self):
        if self.error:
            return Socket.take_error(self)
        self.unknown()
        value = hostcalls.get_option(self.fd, SOL_SOCKET, 4, 4)  # SO_ERROR
        return -int.from_bytes(value, "little") if type(value) is bytes else value

    def ioctl(self, t, cmd, arg):
        if cmd in (SIOCATMARK, SIOCOUTQNSD):
            value = 0 if self.rx_bytes and cmd == SIOCATMARK else hostcalls.number(self.fd, cmd)
            if value < 0:
                return value
            t.write(arg, value.to_bytes(4, "little"))
            return 0
        return Socket.ioctl(self, t, cmd, arg)

    def getsockopt(self, t, level, option):
        if level == SOL_SOCKET and (option in SO_TIMEOUTS or option in (SO_LINGER, SO_LOCK_FILTER)):
            return Socket.getsockopt(self, t, level, option)
        if (level, option) in hostnet.READABLE:
            return hostcalls.get_option(self.fd, level, option, OPTION_MOST)
        return -EOPNOTSUPP if self.family == AF_INET and level not in hostnet.OPTIONS else -ENOPROTOOPT

    def setsockopt(self, t, level, option, data):
        if level == SOL_SOCKET:
            if option in SO_TIMEOUTS or option in FILTERS:
                return Socket.setsockopt(self, t, level, option, data)
            if option == SO_LINGER:
                return self.set_linger(t, data)
            if option in (SO_MARK, SO_RCVBUFFORCE, SO_SNDBUFFORCE):
                return -EPERM  # we have no capabilities over the namespace
        if (level, option) not in hostnet.SETTABLE:
            return -ENOPROTOOPT
        error = hostcalls.set_option(self.fd, level, option, data)
        if not error and (level, option) in ALOOF:
            self.alone = True
            self.part()
        elif self.twin is not None and level == SOL_SOCKET and option in (SO_SNDBUF, SO_RCVBUF):
            self.measure()
        return error

    def set_linger(self, t, data):
        """The host learns of it only if a close is then a reset: in a close that waits the Sentry would hang."""
        error = Socket.setsockopt(self, t, SOL_SOCKET, SO_LINGER, data)
        if error:
            return error
        on, seconds = self.linger
        return hostcalls.set_option(self.fd, SOL_SOCKET, SO_LINGER, LINGER.pack(int(on != 0 and seconds == 0), 0))


def sendable(control: "list[tuple[int, int, bytes]]") -> "bytes | int | None":
    """Control data of a guest for the host: only what it may send, made anew."""
    out = []
    for level, kind, body in control:
        if (level, kind) in SENT_CONTROL:
            size = 16 + len(body)
            out.append(size.to_bytes(8, "little") + level.to_bytes(4, "little") + kind.to_bytes(4, "little") + body + bytes(-size % 8))
        elif level in (hostnet.SOL_IP, hostnet.SOL_IPV6, hostnet.SOL_UDP):
            return -EINVAL
    return b"".join(out) or None


def parse_control(data: bytes) -> "list[tuple[int, int, bytes]]":
    """The control messages that came with a datagram: (level, type, body)."""
    found = []
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        if size < 16:
            break
        level, kind = int.from_bytes(data[at + 8 : at + 12], "little"), int.from_bytes(data[at + 12 : at + 16], "little")
        found.append((level, kind, data[at + 16 : at + size]))
        at += (size + 7) & ~7
    return found


def endpoint(addr: "bytes | int") -> "tuple[bytes, int] | None":
    """(address, port) of a struct sockaddr, addresses of IPv4 in the form of IPv6; None for others."""
    if type(addr) is bytes and len(addr) >= 8 and int.from_bytes(addr[:2], "little") == AF_INET:
        return MAPPED + addr[4:8], int.from_bytes(addr[2:4], "big")
    if type(addr) is bytes and len(addr) >= 24 and int.from_bytes(addr[:2], "little") == AF_INET6:
        return addr[8:24], int.from_bytes(addr[2:4], "big")
    return None


def is_near(a: bytes, b: bytes) -> bool:
    """Whether packets between these addresses never leave the namespace."""
    return a == b or (a[:13] == b[:13] == MAPPED + b"\x7f")


KINDS = {}  # (family, type) -> protocols, the default first
for _family, _type, _protocol in hostnet.SOCKETS:
    KINDS.setdefault((_family, _type), []).append(_protocol)


def create(t, family, type_, protocol, flags):
    protocols = KINDS.get((family, type_))
    if protocols is None:
        if type_ == SOCK_RAW:
            return -EPERM if not t.creds.capable(CAP_NET_RAW) else -EPROTONOSUPPORT
        return -ESOCKTNOSUPPORT if 0 <= type_ < 11 else -EINVAL
    if not 0 <= protocol <= 262:
        return -EINVAL
    protocol = protocol or protocols[0]
    if protocol not in protocols:
        return -EPROTONOSUPPORT
    fd = hostcalls.socket(family, type_, protocol)
    if fd < 0:
        return -ENFILE if fd == -EMFILE else fd
    return HostSocket(t, family, type_, protocol, flags, fd)


def create4(t, type_, protocol, flags):
    return create(t, AF_INET, type_, protocol, flags)


def create6(t, type_, protocol, flags):
    return create(t, AF_INET6, type_, protocol, flags)


class Families:
    """In namespaces that guests have made there are no host sockets: those get what `others` makes of them."""

    def __init__(self, make, others):
        self.make = make
        self.others = others

    def __call__(self, t, type_, protocol, flags):
        if t.net.host:
            return self.make(t, type_, protocol, flags)
        return -EAFNOSUPPORT if self.others is None else self.others(t, type_, protocol, flags)


def register() -> None:
    """From now on Internet sockets are the host's."""
    for family, make in ((AF_INET, create4), (AF_INET6, create6)):
        others = FAMILIES.get(family)
        FAMILIES[family] = (Families(make, others and others[0]), None)
