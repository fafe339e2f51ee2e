"""AF_NETLINK sockets (netlink(7)): routing, socket diagnosis, and device events, of which there are none.

Requests are answered while they are sent: the answers wait in the sender's queue. `SERVERS` says who answers a protocol.
"""

from _collections import deque

from sentry.abi.errno import (
    EADDRINUSE,
    EAGAIN,
    ECONNREFUSED,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from sentry.abi.netlink import (
    HEADER,
    NETLINK_KOBJECT_UEVENT,
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NLM_F_ACK,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    SOCKADDR,
    SOL_NETLINK,
    align,
)
from sentry.core.creds import CAP_NET_ADMIN
from sentry.net import socket_filter
from sentry.net.socket import (
    AF_NETLINK,
    FAMILIES,
    INT,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SOCK_DGRAM,
    SOCK_RAW,
    Received,
    Socket,
    drop,
)
from sentry.vfs.file import POLL_READABLE, POLL_WRITABLE, POLLERR

(
    NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP, NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS,
) = range(1, 6)  # fmt: skip
NETLINK_LISTEN_ALL_NSID, NETLINK_LIST_MEMBERSHIPS, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = range(8, 13)
FLAG_OPTIONS = (NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK)
PIECE = 16384  # of a dump that travels in one datagram
REQUEST_MOST = 65536
GROUPS_MOST = 32
OVERHEAD = 768

# protocol -> answer(t, sock, kind, flags, body) -> list of bodies of a dump [(type, bytes)], 0 or -errno
SERVERS: "dict[int, object]" = {NETLINK_KOBJECT_UEVENT: None}


class NetlinkSocket(Socket):
    __slots__ = ("port", "groups", "messages", "held", "peer", "overrun")

    def __init__(self, t, type_, protocol, flags):
        Socket.__init__(self, t, AF_NETLINK, type_, protocol, flags)
        self.port = 0
        self.groups = 0  # bits
        self.messages = deque()
        self.held = 0  # bytes in `messages`, as they are charged
        self.peer = (0, 0)  # port, groups
        self.overrun = False

    def release(self):
        self.leave()

    def leave(self) -> None:
        self.net.netlinks.pop((self.protocol, self.port), None)

    # -- names
    def bind(self, t, addr):
        if len(addr) < SOCKADDR.size:
            return -EINVAL
        family, _, port, groups = SOCKADDR.unpack_from(addr)
        if family != AF_NETLINK:
            return -EINVAL
        if self.port and port != self.port:
            return -EINVAL
        if not self.port:
            error = self.take_port(t, port)
            if error:
                return error
        self.groups = groups
        return 0

    def take_port(self, t, port) -> int:
        """0 asks for one: the process number if it is free, else one from the top."""
        table = self.net.netlinks
        if port == 0:
            port = t.tg.pid
            other = 0xFFFFF000
            while (self.protocol, port) in table:
                port = other
                other -= 1
        elif (self.protocol, port) in table:
            return -EADDRINUSE
        self.port = port
        table[self.protocol, port] = self
        return 0

    def connect(self, t, addr):
        if len(addr) < 2:
            return -EINVAL
        if int.from_bytes(addr[:2], "little") == 0:
            self.peer = (0, 0)
            return 0
        if len(addr) < SOCKADDR.size:
            return -EINVAL
        family, _, port, groups = SOCKADDR.unpack_from(addr)
        if family != AF_NETLINK:
            return -EINVAL
        if (port or groups) and not t.creds.capable(CAP_NET_ADMIN):
            return -EPERM
        if not self.port:
            self.take_port(t, 0)
        self.peer = (port, groups)
        return 0

    def name(self):
        return SOCKADDR.pack(AF_NETLINK, 0, self.port, self.groups)

    def peer_name(self):
        return SOCKADDR.pack(AF_NETLINK, 0, *self.peer)

    # -- data
    def send(self, t, data, addr, flags, rights, creds):
        if flags & MSG_OOB:
            return -EOPNOTSUPP
        port, groups = self.peer
        if addr:
            if len(addr) < SOCKADDR.size:
                return -EINVAL
            family, _, port, groups = SOCKADDR.unpack_from(addr)
            if family != AF_NETLINK:
                return -EINVAL
        if not self.port:
            self.take_port(t, 0)
        if len(data) > min(self.sndbuf - 32, REQUEST_MOST):
            return -EMSGSIZE
        if groups and not t.creds.capable(CAP_NET_ADMIN):
            return -EPERM
        if port:
            return -ECONNREFUSED if (self.protocol, port) not in self.net.netlinks else -EPERM
        drop(rights)
        self.requests(t, data)
        return len(data)

    def requests(self, t, data) -> None:
        """Each message of a datagram (net/netlink/af_netlink.c: netlink_rcv_skb)."""
        server = SERVERS[self.protocol]
        at = 0
        while server is not None and len(data) - at >= HEADER.size:
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
            if length < HEADER.size or length > len(data) - at:
                return
            message = data[at : at + length]
            at += align(length)
            if not flags & NLM_F_REQUEST or kind < NLMSG_MIN_TYPE:
                if flags & NLM_F_ACK:
                    self.acknowledge(message, sequence, 0)
                continue
            result = server(t, self, kind, flags, message[HEADER.size :])
            if type(result) is list:
                self.put_all(result, sequence, flags & NLM_F_DUMP == NLM_F_DUMP)
                result = 0
                if flags & NLM_F_DUMP == NLM_F_DUMP:
                    continue
            if result or flags & NLM_F_ACK:
                self.acknowledge(message, sequence, result)

    def put_all(self, rows, sequence, dump) -> None:
        parts, size = [], 0
        for kind, body in rows:
            if size and size + len(body) > PIECE:
                self.put(b"".join(parts))
                parts, size = [], 0
            message = HEADER.pack(HEADER.size + len(body), kind, NLM_F_MULTI if dump else 0, sequence, self.port) + body
            parts.append(message.ljust(align(len(message)), b"\0"))
            size += len(parts[-1])
        if parts:
            self.put(b"".join(parts))
        if dump:
            self.put(HEADER.pack(HEADER.size + 4, NLMSG_DONE, NLM_F_MULTI, sequence, self.port) + bytes(4))

    def acknowledge(self, message, sequence, error) -> None:
        flags = 0
        if error and not self.options.get(NETLINK_CAP_ACK):
            echo = message
        else:
            echo = message[: HEADER.size]
            flags = NLM_F_CAPPED if self.options.get(NETLINK_CAP_ACK) else 0
        body = INT.pack(error) + echo
        self.put(HEADER.pack(HEADER.size + len(body), NLMSG_ERROR, flags, sequence, self.port) + body)

    def put(self, datagram: bytes, group=0) -> None:
        """Queue a datagram; what does not fit is lost, and the next receive says so (ENOBUFS)."""
        if self.bpf is not None:
            datagram = socket_filter.plain(self.bpf, datagram)
            if datagram is None:
                return
        charge = len(datagram) + OVERHEAD
        if self.held + charge > self.rcvbuf and self.messages:
            if not self.options.get(NETLINK_NO_ENOBUFS):
                self.overrun = True
        else:
            self.messages.append((datagram, group))
            self.held += charge
        self.queue.wake(POLL_READABLE)

    def receive(self, t, count, flags):
        if flags & MSG_OOB:
            return -EOPNOTSUPP
        if self.overrun:
            self.overrun = False
            return -ENOBUFS
        if not self.messages:
            return -EAGAIN
        data, group = self.messages[0]
        if not flags & MSG_PEEK:
            self.messages.popleft()
            self.held -= len(data) + OVERHEAD
        got = Received(data[:count], SOCKADDR.pack(AF_NETLINK, 0, 0, group), None, (0, 0, 0), 0, len(data))
        if len(data) > count:
            got.flags |= MSG_TRUNC
        if self.options.get(NETLINK_PKTINFO):
            got.control = [(SOL_NETLINK, NETLINK_PKTINFO, INT.pack(group.bit_length()))]
        return got

    def poll(self):
        return (POLL_READABLE if self.messages else 0) | (POLLERR if self.overrun else 0) | POLL_WRITABLE

    def readable_bytes(self):
        return len(self.messages[0][0]) if self.messages else 0

    def unsent_bytes(self):
        return 0

    # -- options; those of SOL_NETLINK have numbers of their own in `options`, far from SOL_SOCKET's
    def getsockopt(self, t, level, option):
        if level != SOL_NETLINK:
            return Socket.getsockopt(self, t, level, option)
        if option in FLAG_OPTIONS:
            return INT.pack(self.options.get(option, 0))
        if option == NETLINK_LIST_MEMBERSHIPS:
            return self.groups.to_bytes(4, "little")
        return -ENOPROTOOPT

    def setsockopt(self, t, level, option, data):
        if level != SOL_NETLINK:
            return Socket.setsockopt(self, t, level, option, data)
        if len(data) < 4:
            return -EINVAL
        (value,) = INT.unpack_from(data)
        if option in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
            if not 0 < value:
                return -EINVAL
            if value > GROUPS_MOST:
                return 0  # a group in which nothing ever happens
            bit = 1 << value - 1
            self.groups = self.groups | bit if option == NETLINK_ADD_MEMBERSHIP else self.groups & ~bit
            return 0
        if option in FLAG_OPTIONS:
            self.options[option] = int(value != 0)
            return 0
        return -ENOPROTOOPT


def tell(net, group: int, kind: int, body: bytes) -> None:
    """A change of the namespace, to the routing sockets that listen to `group` (a bit)."""
    message = HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body
    for sock in tuple(net.netlinks.values()):
        if sock.protocol == NETLINK_ROUTE and sock.groups & group:
            sock.put(message, group)


def create(t, type_, protocol, flags):
    if type_ not in (SOCK_RAW, SOCK_DGRAM):
        return -ESOCKTNOSUPPORT
    if protocol not in (NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_KOBJECT_UEVENT):
        return -EPROTONOSUPPORT
    return NetlinkSocket(t, type_, protocol, flags)


FAMILIES[AF_NETLINK] = (create, None)
