"""Links, addresses, routes and rules of a network namespace as rtnetlink(7) tells of them.

A message body is bytes: the fixed header and its attributes, without the netlink header.
"""

from sentry.abi.netlink import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    FRA_PRIORITY,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_PERMANENT,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFADDR,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_QDISC,
    IFLA_STATS,
    IFLA_STATS64,
    IFLA_TXQLEN,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTMSG,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_BOOT,
    RTPROT_KERNEL,
    attr,
    attr32,
)
from sentry.net.inet_addr import LOOPBACK6, is_link_local, is_loopback

AF_INET, AF_INET6 = 2, 10
OPER_UNKNOWN, OPER_DOWN, OPER_LOWERLAYERDOWN, OPER_UP = 0, 2, 3, 6
FOREVER = b"\xff\xff\xff\xff"


def family_of(addr: bytes) -> int:
    return AF_INET if len(addr) == 4 else AF_INET6


def flags_of(link) -> int:
    """IFF_* as SIOCGIFFLAGS and RTM_NEWLINK show them."""
    return link.flags | (IFF_LOWER_UP if link.flags & (IFF_RUNNING if link.kind else IFF_UP) else 0)


def is_lo(link) -> bool:
    return bool(link.flags & IFF_LOOPBACK)


def link_body(link, change=0) -> bytes:
    lo = is_lo(link)
    state = OPER_DOWN if not link.flags & IFF_UP else OPER_UNKNOWN if lo or link.kind == "dummy" else OPER_UP
    if link.kind and link.flags & IFF_UP and not link.flags & IFF_RUNNING:
        state = OPER_LOWERLAYERDOWN if link.kind == "veth" else OPER_DOWN
    running = bool(link.flags & IFF_RUNNING) or not link.kind
    return b"".join((
        IFINFO.pack(0, ARPHRD_LOOPBACK if lo else ARPHRD_ETHER, link.index, flags_of(link), change),
        attr(IFLA_IFNAME, link.name.encode() + b"\0"),
        attr32(IFLA_TXQLEN, link.txqlen),
        attr(IFLA_OPERSTATE, bytes((state,))),
        attr(IFLA_LINKMODE, b"\0"),
        attr32(IFLA_MTU, link.mtu),
        attr32(IFLA_GROUP, 0),
        attr32(IFLA_NUM_TX_QUEUES, 1),
        attr32(IFLA_NUM_RX_QUEUES, 1),
        attr(IFLA_CARRIER, bytes((running,))),
        attr(IFLA_ADDRESS, link.hwaddr),
        attr(IFLA_BROADCAST, bytes(6) if lo else b"\xff" * 6),
        attr(IFLA_QDISC, b"noop\0" if link.kind and not link.flags & IFF_UP else b"noqueue\0"),
        attr(IFLA_STATS64, bytes(8 * 25)),
        attr(IFLA_STATS, bytes(4 * 24)),
        kind_attrs(link),
    ))  # fmt: skip


def broadcast_of(addr: bytes, bits: int) -> bytes:
    number = int.from_bytes(addr, "big") | (1 << 32 - bits) - 1
    return number.to_bytes(4, "big")


def address_body(link, addr: bytes, bits: int) -> bytes:
    scope = RT_SCOPE_HOST if is_loopback(addr) else RT_SCOPE_LINK if is_link_local(addr) else RT_SCOPE_UNIVERSE
    parts = [IFADDR.pack(family_of(addr), bits, IFA_F_PERMANENT, scope, link.index), attr(IFA_ADDRESS, addr)]
    if len(addr) == 4:
        parts.append(attr(IFA_LOCAL, addr))
        if link.kind:
            if addr in link.broadcasts:
                parts.append(attr(IFA_BROADCAST, link.broadcasts[addr]))
        elif link.flags & IFF_BROADCAST and bits < 31:
            parts.append(attr(IFA_BROADCAST, broadcast_of(addr, bits)))
        parts.append(attr(IFA_LABEL, link.name.encode() + b"\0"))
    parts.append(attr32(IFA_FLAGS, IFA_F_PERMANENT))
    parts.append(attr(IFA_CACHEINFO, FOREVER + FOREVER + bytes(8)))
    return b"".join(parts)


def kind_attrs(link) -> bytes:
    """What is told of a link that a guest has made."""
    parts = []
    if link.alias:
        parts.append(attr(IFLA_IFALIAS, link.alias + b"\0"))
    if link.master is not None:
        parts.append(attr32(IFLA_MASTER, link.master.index))
    if link.kind:
        parts.append(attr(IFLA_LINKINFO, attr(IFLA_INFO_KIND, link.kind.encode() + b"\0")))
    peer = link.peer
    if peer is not None:
        parts.append(attr32(IFLA_LINK, peer.index))
        net, other = link.stack.net and link.stack.net(), peer.stack.net and peer.stack.net()
        if peer.stack is not link.stack and net is not None and other is not None:
            parts.append(attr32(IFLA_LINK_NETNSID, net.id_of(other)))
    return b"".join(parts)


class RouteRow:
    """One line of a routing table. `gateway`, `source`: bytes or None."""

    __slots__ = ("network", "bits", "table", "protocol", "scope", "kind", "gateway", "link", "source", "metric")

    def __init__(self, network, bits, table, protocol, scope, kind, gateway, link, source, metric):
        self.network = network
        self.bits = bits
        self.table = table
        self.protocol = protocol
        self.scope = scope
        self.kind = kind
        self.gateway = gateway
        self.link = link
        self.source = source
        self.metric = metric

    def body(self, flags=0) -> bytes:
        parts = [
            RTMSG.pack(family_of(self.network), self.bits, 0, 0, self.table, self.protocol, self.scope, self.kind, flags),
            attr32(RTA_TABLE, self.table),
        ]
        if self.bits:
            parts.append(attr(RTA_DST, self.network))
        if self.metric or len(self.network) == 16:
            parts.append(attr32(RTA_PRIORITY, self.metric))
        if self.source is not None:
            parts.append(attr(RTA_PREFSRC, self.source))
        if self.gateway is not None:
            parts.append(attr(RTA_GATEWAY, self.gateway))
        parts.append(attr32(RTA_OIF, self.link.index))
        if len(self.network) == 16:
            parts.append(attr(RTA_PREF, b"\0"))
        return b"".join(parts)


def route_row(route) -> RouteRow:
    scope = RT_SCOPE_LINK if route.gateway is None and len(route.network) == 4 else RT_SCOPE_UNIVERSE
    own = route.source is not None or (route.metric == 256 and len(route.network) == 16)
    protocol = RTPROT_KERNEL if route.gateway is None and own else RTPROT_BOOT
    return RouteRow(route.network, route.bits, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, route.gateway, route.interface,
                    route.source, route.metric)  # fmt: skip


def routes_of(stack) -> "list[RouteRow]":
    """The main table, then what follows from the addresses: the local table. In the order of the host's tries."""
    rows = [route_row(route) for route in stack.routes]
    for link in stack.interfaces:
        for addr, bits in link.addresses:
            if addr == LOOPBACK6:
                rows.append(RouteRow(addr, 128, RT_TABLE_MAIN, RTPROT_KERNEL, RT_SCOPE_UNIVERSE, RTN_UNICAST, None, link, None, 256))
            rows += local_rows(link, addr, bits)
    return sorted(rows, key=lambda row: (row.table, row.network, row.bits))


def local_rows(link, addr: bytes, bits: int) -> "list[RouteRow]":
    def row(network, length, scope, kind, source, metric=0):
        return RouteRow(network, length, RT_TABLE_LOCAL, RTPROT_KERNEL, scope, kind, None, link, source, metric)

    if len(addr) == 16:
        return [row(addr, 128, RT_SCOPE_UNIVERSE, RTN_LOCAL, None)]
    rows = []
    if is_lo(link) and bits < 32:
        network = (int.from_bytes(addr, "big") >> 32 - bits << 32 - bits).to_bytes(4, "big")
        rows.append(row(network, bits, RT_SCOPE_HOST, RTN_LOCAL, addr))
    rows.append(row(addr, 32, RT_SCOPE_HOST, RTN_LOCAL, addr))
    if bits < 31 and link.flags & IFF_UP:
        rows.append(row(broadcast_of(addr, bits), 32, RT_SCOPE_LINK, RTN_BROADCAST, addr))
    return rows


def rule_bodies(family: int) -> "list[bytes]":
    """The rules that every namespace begins with."""
    rules = [(0, RT_TABLE_LOCAL), (32766, RT_TABLE_MAIN)]
    if family == AF_INET:
        rules.append((32767, RT_TABLE_DEFAULT))
    bodies = []
    for priority, table in rules:
        body = RTMSG.pack(family, 0, 0, 0, table, 0, 0, 1, 0) + attr32(FRA_TABLE, table) + attr(FRA_SUPPRESS_PREFIXLEN, FOREVER)
        bodies.append(body + (attr32(FRA_PRIORITY, priority) if priority else b""))
    return bodies
