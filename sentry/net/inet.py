"""What all Internet sockets share: names, binding, options of SOL_IP and SOL_IPV6, ancillary data, the error queue."""

from struct import Struct

from sentry.abi.errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EINVAL,
    EMFILE,
    ENODEV,
    ENOENT,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
)
from sentry.core.creds import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW
from sentry.net import inet_addr, multicast_sources
from sentry.net import inet_options as opt
from sentry.net.inet_addr import ANY4, ANY6, AF_INET, AF_INET6, AF_UNSPEC, is_any, is_link_local, is_multicast
from sentry.net.socket import (
    INT,
    MSG_ERRQUEUE,
    MSG_TRUNC,
    SO_BROADCAST,
    SO_MARK,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_TIMESTAMP,
    SOCK_STREAM,
    SOL_SOCKET,
    Received,
    Socket,
)

SO_BINDTODEVICE, SO_TIMESTAMPNS, SO_COOKIE, SO_BINDTOIFINDEX = 25, 35, 57, 62
FIRST_FREE_PORT = 1024  # net.ipv4.ip_unprivileged_port_start
PKTINFO = Struct("<I4s4s")
PKTINFO6 = Struct("<16sI")
EXTENDED_ERR = Struct("<IBBBxII")  # struct sock_extended_err
ORIGIN_LOCAL, ORIGIN_ICMP, ORIGIN_ICMP6 = 1, 2, 3
GROUPS_MAX = 20  # net.ipv4.igmp_max_memberships


class InetSocket(Socket):
    __slots__ = (
        "local", "port", "remote", "remote_port", "scope", "v6only", "device", "reuseaddr", "reuseport", "values", "ports",
        "groups", "sources", "errors", "locked", "shut", "mark", "group_bpf",
    )  # fmt: skip

    def __init__(self, t, family, type_, protocol, flags, ports):
        Socket.__init__(self, t, family, type_, protocol, flags)
        self.local = ANY4 if family == AF_INET else ANY6
        self.port = 0  # nonzero: bound
        self.remote = None  # address of the peer once connected
        self.remote_port = 0
        self.scope = 0  # interface of link-local addresses
        self.v6only = False
        self.device = 0  # SO_BINDTODEVICE
        self.reuseaddr = self.reuseport = False
        self.values = {}  # (level, option) -> what was set
        self.ports = ports
        self.groups = None  # set of (group, interface index)
        self.sources = {}  # of these, those with a multicast_sources.Sources
        self.errors = None  # the error queue (MSG_ERRQUEUE)
        self.locked = False  # bound by bind(2): a disconnect keeps the name
        self.shut = 0  # SHUT_* bits
        self.mark = 0
        self.group_bpf = None  # of a SO_REUSEPORT group: SO_ATTACH_REUSEPORT_CBPF
        self.net.stack.sockets.add(self)
        if self.net.stack.timers is None:
            self.net.stack.timers = t.kernel.timers

    def option(self, level, table, option):
        return self.values.get((level, option), table[option][0])

    def unbind(self):
        if self.port:
            self.ports.remove(self, self.port)

    # -- names
    def name(self):
        return inet_addr.make(self.family, self.local, self.port, self.scope)

    def peer_name(self):
        if self.remote is None:
            return -ENOTCONN
        return inet_addr.make(self.family, self.remote, self.remote_port, self.scope)

    def bind(self, t, addr):
        parsed = self.parse_bind(addr)
        if isinstance(parsed, int):
            return parsed
        host, port, scope = parsed
        if is_multicast(host) and self.type == SOCK_STREAM and len(host) == 16:
            return -EINVAL
        stream = self.type == SOCK_STREAM
        if len(host) == 4:
            free = self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_FREEBIND)
            usable = is_any(host) or free or self.net.stack.is_local(host) or (not stream and (is_multicast(host) or self.net.stack.is_broadcast(host)))
            if self.family == AF_INET and not usable:
                return -EADDRNOTAVAIL
        if 0 < port < FIRST_FREE_PORT and not t.creds.capable(CAP_NET_BIND_SERVICE):
            return -EACCES
        if self.port or self.remote is not None or self.listening():
            return -EINVAL
        if len(host) == 4:
            if self.family == AF_INET6 and self.v6only:
                return -EINVAL
            if not usable:
                return -EADDRNOTAVAIL
        elif is_link_local(host):
            scope = scope or self.device
            if not scope:
                return -EINVAL
            if self.net.stack.interface(scope) is None:
                return -ENODEV
        if len(host) == 16 and not (is_any(host) or self.net.stack.is_local(host) or is_multicast(host)):
            if not self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_FREEBIND):
                return -EADDRNOTAVAIL
        if self.net.stack.claim(self.ports, self, host, port):
            return -EADDRINUSE
        self.scope = scope
        self.locked = True
        return 0

    def parse_bind(self, addr):
        parsed = inet_addr.parse(self.family, addr)
        if not isinstance(parsed, int) and self.family == AF_INET:
            # AF_UNSPEC is accepted for the any-address only
            if int.from_bytes(addr[:2], "little") == AF_UNSPEC and parsed[0] != ANY4:
                return -EAFNOSUPPORT
        return parsed

    def autobind(self) -> int:
        """A free port, if the socket has none yet. 0 or -EAGAIN."""
        return 0 if self.port or self.net.stack.claim(self.ports, self, self.local, 0) == 0 else -EAGAIN

    def wants_group(self, group, sender) -> bool:
        if not is_multicast(group):
            return True
        mine = [row for row in self.groups or () if row[0] == group]
        if mine:
            return any(self.sources[row].admits(sender) if row in self.sources else True for row in mine)
        return len(group) == 4 and bool(self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_MULTICAST_ALL)) and self.any_member(group)

    def any_member(self, group) -> bool:
        return any(sock.groups and any(row[0] == group for row in sock.groups) for sock in self.net.stack.sockets)

    # -- errors
    def put_error(self, errno, data, host, port, origin, type_=0, code=0, info=0, offender=None) -> None:
        """An error for the error queue (IP_RECVERR): about `data` that was sent to `host`."""
        if self.errors is None:
            self.errors = []
        if len(self.errors) < 64:
            self.errors.append((errno, data, host, port, origin, type_, code, info, offender or host))

    def wants_errors(self) -> bool:
        return bool(self.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_RECVERR) or self.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_RECVERR))

    def receive_error(self, count):
        """recvmsg with MSG_ERRQUEUE (ip(7), IP_RECVERR)."""
        if not self.errors:
            return -EAGAIN
        errno, data, host, port, origin, type_, code, info, offender = self.errors.pop(0)
        self.error = self.errors[0][0] if self.errors else 0
        got = Received(data[:count], inet_addr.make(self.family, host, port, self.scope), None, None, MSG_ERRQUEUE, len(data))
        if len(data) > count:
            got.flags |= MSG_TRUNC
        from_ = b""
        if origin != ORIGIN_LOCAL:
            from_ = inet_addr.make(self.family, offender, 0)
        row = EXTENDED_ERR.pack(errno, origin, type_, code, info, 0) + (from_ or inet_addr.SIN.pack(0, b"\0\0", ANY4))
        six = self.family == AF_INET6
        got.control = [(opt.SOL_IPV6 if six else opt.SOL_IP, opt.IPV6_RECVERR if six else opt.IP_RECVERR, row)]
        return got

    # -- options
    def getsockopt(self, t, level, option):
        if level == SOL_SOCKET:
            if option == SO_TIMESTAMPNS:
                return INT.pack(self.options.get(option, 0))
            if option == SO_BINDTODEVICE:
                device = self.net.stack.interface(self.device)
                return b"" if device is None else device.name.encode() + b"\0"
            if option == SO_BINDTOIFINDEX:
                return INT.pack(self.device)
            if option == SO_COOKIE:
                return self.inode.ino.to_bytes(8, "little")
            if option == SO_MARK:
                return INT.pack(self.mark)
            return Socket.getsockopt(self, t, level, option)
        if level == opt.SOL_IP:
            return self.get_ip(option)
        if level == opt.SOL_IPV6 and self.family == AF_INET6:
            return self.get_ipv6(option)
        return self.get_own(t, level, option)

    def get_own(self, t, level, option):
        """Options of the protocol itself."""
        return -EOPNOTSUPP if self.family == AF_INET else -ENOPROTOOPT

    def set_own(self, t, level, option, data):
        return -ENOPROTOOPT

    def get_ip(self, option):
        if option in opt.IP_TABLE:
            return INT.pack(self.option(opt.SOL_IP, opt.IP_TABLE, option))
        if option == opt.IP_OPTIONS:
            return b""
        if option == opt.IP_MTU:
            return INT.pack(self.mtu()) if self.remote is not None else -ENOTCONN
        if option == opt.IP_MULTICAST_IF:
            return self.values.get((opt.SOL_IP, option), (0, ANY4))[1]
        if option == opt.IP_TRANSPARENT:
            return INT.pack(0)
        if option == opt.IP_PROTOCOL:
            return INT.pack(self.port if self.ports is not None else self.protocol)  # inet_num
        if option == opt.SO_ORIGINAL_DST:
            return -ENOENT if self.type == SOCK_STREAM else -ENOPROTOOPT  # nothing is redirected here
        return -ENOPROTOOPT

    def get_ipv6(self, option):
        if option == opt.IPV6_V6ONLY:
            return INT.pack(self.v6only)
        if option in opt.IPV6_TABLE:
            return INT.pack(self.option(opt.SOL_IPV6, opt.IPV6_TABLE, option))
        if option == opt.IPV6_MTU:
            return INT.pack(self.mtu()) if self.remote is not None else -ENOTCONN
        return -ENOPROTOOPT

    def mtu(self) -> int:
        if self.net.stack.is_local(self.remote):
            return self.net.stack.interfaces[0].mtu
        route = self.net.stack.route(self.remote, self.device)
        mtu = 1500 if isinstance(route, int) else route.interface.mtu
        wire = self.net.stack.wire
        return mtu if wire is None else wire.path_mtu(self.remote, mtu)

    def setsockopt(self, t, level, option, data):
        if level == SOL_SOCKET:
            return self.set_socket(t, option, data)
        if level == opt.SOL_IP:
            return self.set_ip(t, option, data)
        if level == opt.SOL_IPV6 and self.family == AF_INET6:
            return self.set_ipv6(t, option, data)
        return self.set_own(t, level, option, data)

    def set_socket(self, t, option, data):
        if option == SO_BINDTODEVICE:
            return self.bind_to_device(t, data.split(b"\0")[0])
        if option == SO_BINDTOIFINDEX and len(data) >= 4:
            return self.bind_to_index(t, INT.unpack_from(data)[0])
        if option == SO_MARK and len(data) >= 4:
            if not t.creds.capable(CAP_NET_ADMIN):
                return -EPERM
            self.mark = INT.unpack_from(data)[0]
            return 0
        if option == SO_TIMESTAMPNS and len(data) >= 4:
            self.options[option] = int(INT.unpack_from(data)[0] != 0)
            return 0
        error = Socket.setsockopt(self, t, SOL_SOCKET, option, data)
        if not error and option in (SO_REUSEADDR, SO_REUSEPORT):
            self.reuseaddr = bool(self.options.get(SO_REUSEADDR))
            self.reuseport = bool(self.options.get(SO_REUSEPORT))
        return error

    def bind_to_device(self, t, name):
        if self.device and not t.creds.capable(CAP_NET_RAW):
            return -EPERM
        if not name:
            self.device = 0
            return 0
        interface = self.net.stack.named(name.decode("latin-1"))
        if interface is None:
            return -ENODEV
        self.device = interface.index
        return 0

    def bind_to_index(self, t, index):
        if self.device and not t.creds.capable(CAP_NET_RAW):
            return -EPERM
        if index < 0:
            return -EINVAL
        self.device = index  # there may be none yet
        return 0

    def set_ip(self, t, option, data):
        if option in opt.IP_TABLE:
            if not data:
                return -EINVAL
            value = INT.unpack_from(data)[0] if len(data) >= 4 else data[0]
            value = opt.normal(opt.IP_TABLE, option, value)
            if value is None or (option == opt.IP_TTL and value == 0):
                return -EINVAL
            if value == -1:
                value = opt.IP_TABLE[option][0]
            if option == opt.IP_TOS:
                value &= ~3 if self.type == SOCK_STREAM else ~0
            self.values[opt.SOL_IP, option] = value
            return 0
        if option in (opt.IP_ADD_MEMBERSHIP, opt.IP_DROP_MEMBERSHIP):
            return self.member4(data, option == opt.IP_ADD_MEMBERSHIP)
        if option in multicast_sources.OF_IP:
            return multicast_sources.set4(self, option, data)
        if option in multicast_sources.OF_ANY:
            return multicast_sources.set_any(self, option, data)
        if option in (opt.MCAST_JOIN_GROUP, opt.MCAST_LEAVE_GROUP):
            return self.member_any(data, option == opt.MCAST_JOIN_GROUP)
        if option == opt.IP_MULTICAST_IF:
            return self.multicast_if(data)
        if option == opt.IP_OPTIONS:
            return 0 if not data else -EINVAL
        if option == opt.IP_TRANSPARENT:
            return -EPERM if not t.creds.capable(CAP_NET_ADMIN) else 0
        return -ENOPROTOOPT

    def multicast_if(self, data):
        if self.type == SOCK_STREAM:
            return -EINVAL
        if len(data) < 4:
            return -EINVAL
        index = int.from_bytes(data[8:12], "little") if len(data) >= 12 else 0
        addr = data[4:8] if len(data) >= 8 else data[:4]
        if index:
            if self.net.stack.interface(index) is None:
                return -EADDRNOTAVAIL
        elif addr != ANY4:
            found = [row for row in self.net.stack.interfaces if any(own == addr for own, _ in row.addresses)]
            if not found:
                return -EADDRNOTAVAIL
            index = found[0].index
        self.values[opt.SOL_IP, opt.IP_MULTICAST_IF] = index, addr
        return 0

    def member4(self, data, join):
        if self.type == SOCK_STREAM and self.ports is self.net.stack.tcp:
            return -EPROTO
        if len(data) < 8:
            return -EINVAL
        group, addr = data[:4], data[4:8]
        index = int.from_bytes(data[8:12], "little") if len(data) >= 12 else 0
        if not is_multicast(group):
            return -EINVAL
        if not index:
            if addr != ANY4:
                if not self.net.stack.is_local(addr):
                    return -ENODEV
                index = self.net.stack.of_address(addr).index
            else:
                index = self.default_interface(group)
        return self.member(group, index, join)

    def member_any(self, data, join):
        """struct group_req: interface, padding, struct sockaddr_storage."""
        if len(data) < 24:
            return -EINVAL
        index = int.from_bytes(data[:4], "little")
        family = int.from_bytes(data[8:10], "little")
        parsed = inet_addr.parse(family, data[8:]) if family in (AF_INET, AF_INET6) else -EINVAL
        if isinstance(parsed, int):
            return parsed
        if not is_multicast(parsed[0]):
            return -EINVAL
        return self.member(parsed[0], index or self.default_interface(parsed[0]), join)

    def default_interface(self, group) -> int:
        route = self.net.stack.route(group)
        return 0 if isinstance(route, int) else route.interface.index

    def member(self, group, index, join):
        if self.net.stack.interface(index) is None:
            return -ENODEV
        groups = self.groups = self.groups or set()
        if join:
            if (group, index) in groups:
                return -EADDRINUSE
            if len(groups) >= GROUPS_MAX:
                return -EMFILE
            groups.add((group, index))
            if self.net.stack.wire is not None:
                self.net.stack.wire.join(group, index)
        else:
            if (group, index) not in groups:
                return -EADDRNOTAVAIL
            groups.discard((group, index))
            self.sources.pop((group, index), None)
            if self.net.stack.wire is not None:
                self.net.stack.wire.leave(group, index)
        return 0

    def set_ipv6(self, t, option, data):
        if option in (opt.IPV6_JOIN_GROUP, opt.IPV6_LEAVE_GROUP):
            if len(data) < 20:
                return -EINVAL
            group, index = data[:16], int.from_bytes(data[16:20], "little")
            if not is_multicast(group):
                return -EINVAL
            return self.member(group, index or self.default_interface(group), option == opt.IPV6_JOIN_GROUP)
        if len(data) < 4:
            return -EINVAL
        (value,) = INT.unpack_from(data)
        if option == opt.IPV6_V6ONLY:
            if self.port:
                return -EINVAL
            self.v6only = value != 0
            return 0
        if option in multicast_sources.OF_ANY:
            return multicast_sources.set_any(self, option, data)
        if option in (opt.MCAST_JOIN_GROUP, opt.MCAST_LEAVE_GROUP):
            return self.member_any(data, option == opt.MCAST_JOIN_GROUP)
        if option not in opt.IPV6_TABLE:
            return -ENOPROTOOPT
        value = opt.normal(opt.IPV6_TABLE, option, value)
        if value is None:
            return -EINVAL
        if value == -1:
            value = opt.IPV6_TABLE[option][0]
        if option == opt.IPV6_MULTICAST_IF and value and self.net.stack.interface(value) is None:
            return -ENODEV
        self.values[opt.SOL_IPV6, option] = value
        return 0

    def broadcast_allowed(self) -> bool:
        return bool(self.options.get(SO_BROADCAST))

    def timestamped(self) -> bool:
        return bool(self.options.get(SO_TIMESTAMP) or self.options.get(SO_TIMESTAMPNS))

