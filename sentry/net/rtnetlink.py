"""rtnetlink(7): what a namespace has, and the changes that a privileged guest may make in its own.

In the first namespace in host mode the answers are the host's, and nothing can be changed.
"""

from struct import Struct

from sentry.abi.errno import (
    EADDRNOTAVAIL,
    EBADF,
    EEXIST,
    EINVAL,
    ENETDOWN,
    ENETUNREACH,
    ENODEV,
    EOPNOTSUPP,
    EPERM,
    ESRCH,
)
from sentry.abi.netlink import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_LOCAL,
    IFADDR,
    IFF_UP,
    IFINFO,
    IFLA_MASTER,
    NETLINK_ROUTE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_UID,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_MAX,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
    RTMSG,
    RTN_LOCAL,
    RTN_UNICAST,
    attr,
    attr32,
    parse_attrs,
)
from sentry.core.creds import CAP_NET_ADMIN
from sentry.net import fabric, hostlink, netns, rtbodies, rtlinks, rtneighbours
from sentry.net.inet_addr import LOOPBACK4, LOOPBACK6, in_network, is_loopback
from sentry.net.rtbodies import AF_INET, AF_INET6, RouteRow
from sentry.net.netlink import SERVERS
from sentry.net.stack import Route

RTM_F_CLONED = 0x200
AF_BRIDGE = b"\7"
RTM_NEWQDISC, RTM_GETQDISC, TCA_KIND, TC_H_ROOT = 36, 38, 1, 0xFFFFFFFF
TCMSG = Struct("<BxxxiIII")  # family, interface, handle, parent, users
RTM_NEWNSID, RTM_GETNSID, NETNSA_NSID, NETNSA_PID, NETNSA_FD, NO_NSID = 88, 90, 1, 2, 3, 0xFFFFFFFF
WIDTHS = {AF_INET: 4, AF_INET6: 16}
FAMILIES = (bytes((AF_INET,)), bytes((AF_INET6,)))


def answer(t, sock, kind, flags, body):
    """A request: [(type, body)] of what was asked for, 0 or -errno."""
    if kind > RTM_MAX:
        return -EOPNOTSUPP
    if kind & 3 != 2:  # neither of the RTM_GET*
        if not t.creds.capable(CAP_NET_ADMIN):
            return -EPERM
        return -EPERM if sock.net.host else change(t, sock.net, kind, flags, body)
    if kind == RTM_GETNSID:
        return namespace_number(t, sock.net, body)
    if sock.net.host:
        return hostlink.ask(kind, flags, body)
    handler = (DUMPS if flags & NLM_F_DUMP == NLM_F_DUMP else GETS).get(kind)
    return -EOPNOTSUPP if handler is None else handler(sock.net, body)


def namespace_number(t, net, body):
    """RTM_GETNSID: by what number messages here name another namespace."""
    attrs = (parse_attrs(body, 4) if len(body) >= 4 else None) or {}
    other = None
    for kind, find in ((NETNSA_PID, netns.by_process), (NETNSA_FD, netns.by_descriptor)):
        wanted = rtlinks.number(attrs, kind)
        if wanted is not None:
            other = find(t, wanted)
    if other in (-EBADF, -ESRCH):
        return other
    if isinstance(other, int):
        other = None  # a file of the host's, say
    number = net.ids.get(other.ino, NO_NSID) if other is not None else NO_NSID
    return [(RTM_NEWNSID, bytes(4) + attr32(NETNSA_NSID, number))]


# -- questions
def dump_links(net, body):
    ports = body[:1] == AF_BRIDGE
    attrs = (parse_attrs(body, IFINFO.size) if len(body) >= IFINFO.size else None) or {}
    kind, master = rtlinks.kind_of(attrs), rtlinks.number(attrs, IFLA_MASTER)
    return [
        (RTM_NEWLINK, rtbodies.link_body(link))
        for link in net.stack.interfaces
        if kind in ("", link.kind) and (not ports or link.master is not None) and (not master or (link.master is not None and link.master.index == master))
    ]


def dump_addresses(net, body):
    family = body[0] if body else 0
    index = IFADDR.unpack_from(body)[4] if len(body) >= IFADDR.size else 0
    return [
        (RTM_NEWADDR, rtbodies.address_body(link, addr, bits))
        for wanted in (AF_INET, AF_INET6)
        for link in net.stack.interfaces
        for addr, bits in link.addresses
        if rtbodies.family_of(addr) == wanted and family in (0, wanted) and index in (0, link.index)
    ]


def dump_routes(net, body):
    family = body[0] if body else 0
    return [
        (RTM_NEWROUTE, row.body())
        for wanted in (AF_INET, AF_INET6)
        for row in rtbodies.routes_of(net.stack)
        if rtbodies.family_of(row.network) == wanted and family in (0, wanted)
    ]


def dump_qdiscs(net, body):
    """There are no queues: what is sent is there."""
    index = TCMSG.unpack_from(body)[1] if len(body) >= TCMSG.size else 0
    return [(RTM_NEWQDISC, TCMSG.pack(0, link.index, 0, TC_H_ROOT, 2) + attr(TCA_KIND, b"noqueue\0"))
            for link in net.stack.interfaces if link.flags & IFF_UP and index in (0, link.index)]  # fmt: skip


def dump_rules(net, body):
    family = body[0] if body else 0
    return [(RTM_NEWRULE, rule) for one in (AF_INET, AF_INET6) if family in (0, one) for rule in rtbodies.rule_bodies(one)]


def get_link(net, body):
    found = rtlinks.find(net, body)
    return found if isinstance(found, int) else [(RTM_NEWLINK, rtbodies.link_body(found[0]))]


def get_route(net, body):
    """`ip route get`: how a packet to the address would go."""
    rows = find_route(net, body)
    return rows if isinstance(rows, int) else [(kind, row + attr32(RTA_UID, 0)) for kind, row in rows]


def find_route(net, body):
    request = parse_route(net, body)
    if isinstance(request, int):
        return request
    addr = request.network
    if addr is None:
        return -EINVAL
    stack = net.stack
    if stack.is_local(addr):
        lo = stack.interfaces[0]
        if not lo.flags & IFF_UP:
            return -ENETUNREACH
        source = (LOOPBACK4 if len(addr) == 4 else LOOPBACK6) if is_loopback(addr) else addr
        row = RouteRow(addr, len(addr) * 8, RT_TABLE_MAIN, 0, RT_SCOPE_UNIVERSE, RTN_LOCAL, None, lo, source, 0)
        return [(RTM_NEWROUTE, row.body(RTM_F_CLONED))]
    route = stack.route(addr)
    if isinstance(route, int):
        return route
    source = stack.source(addr)
    row = RouteRow(addr, len(addr) * 8, RT_TABLE_MAIN, 0, RT_SCOPE_UNIVERSE, RTN_UNICAST, route.gateway, route.interface,
                   None if isinstance(source, int) else source, 0)  # fmt: skip
    return [(RTM_NEWROUTE, row.body(RTM_F_CLONED))]


DUMPS = {
    RTM_GETLINK: dump_links,
    RTM_GETADDR: dump_addresses,
    RTM_GETROUTE: dump_routes,
    RTM_GETNEIGH: rtneighbours.dump,
    RTM_GETRULE: dump_rules,
    RTM_GETQDISC: dump_qdiscs,
}
GETS = {RTM_GETLINK: get_link, RTM_GETROUTE: get_route}


# -- changes
def change(t, net, kind, flags, body) -> int:
    handler = CHANGES.get(kind)
    return -EOPNOTSUPP if handler is None else handler(t, net, flags, body)


def parse_address(net, body):
    """(link, address, prefix length) of an ifaddrmsg, or -errno."""
    if body[:1] not in FAMILIES:
        return -EOPNOTSUPP
    if len(body) < IFADDR.size:
        return -EINVAL
    family, bits, _, _, index = IFADDR.unpack_from(body)
    attrs = parse_attrs(body, IFADDR.size)
    if attrs is None:
        return -EINVAL
    width = WIDTHS[family]
    addr = attrs.get(IFA_LOCAL) or attrs.get(IFA_ADDRESS)
    if addr is None or len(addr) != width or bits > width * 8:
        return -EINVAL
    link = net.stack.interface(index)
    if link is None:
        return -ENODEV
    return link, addr, bits


def new_address(t, net, flags, body):
    found = parse_address(net, body)
    if isinstance(found, int):
        return found
    link, addr, bits = found
    if link.link is not None:
        return -EOPNOTSUPP
    if any(own == addr and (len(own) == 16 or length == bits) for own, length in link.addresses):
        return 0 if flags & NLM_F_REPLACE and not flags & NLM_F_EXCL else -EEXIST
    broadcast = (parse_attrs(body, IFADDR.size) or {}).get(IFA_BROADCAST)
    if broadcast is not None and len(broadcast) == len(addr):
        link.broadcasts[addr] = broadcast
    link.addresses.append((addr, bits))
    rtlinks.announce_address(link, addr, bits, True)
    if link.kind and link.flags & IFF_UP:
        route = fabric.add_connected(link, addr, bits)
        if route is not None:
            rtlinks.announce_route(net.stack, route, True)
    return 0


def del_address(t, net, flags, body):
    found = parse_address(net, body)
    if isinstance(found, int):
        return found
    link, addr, bits = found
    if link.link is not None:
        return -EOPNOTSUPP
    if (addr, bits) not in link.addresses:
        return -EADDRNOTAVAIL
    link.addresses.remove((addr, bits))
    link.broadcasts.pop(addr, None)
    rtlinks.announce_address(link, addr, bits, False)
    route = fabric.drop_connected(link, addr, bits) if link.kind else None
    if route is not None:
        rtlinks.announce_route(net.stack, route, False)
    return 0


class RouteRequest:
    """A rtmsg. `network`, `gateway`, `source`: bytes or None; `link`: or None."""

    __slots__ = ("width", "network", "bits", "table", "gateway", "link", "source", "metric")


def parse_route(net, body) -> "RouteRequest | int":
    if body[:1] not in FAMILIES:
        return -EOPNOTSUPP
    if len(body) < RTMSG.size:
        return -EINVAL
    family, bits, _, _, table, _, _, _, _ = RTMSG.unpack_from(body)
    attrs = parse_attrs(body, RTMSG.size)
    if attrs is None:
        return -EINVAL
    request = RouteRequest()
    width = request.width = WIDTHS[family]
    for kind in (RTA_DST, RTA_GATEWAY, RTA_PREFSRC):
        if kind in attrs and len(attrs[kind]) != width:
            return -EINVAL
    for kind in (RTA_OIF, RTA_PRIORITY, RTA_TABLE):
        if kind in attrs and len(attrs[kind]) != 4:
            return -EINVAL
    if bits > width * 8 or (bits and RTA_DST not in attrs):
        return -EINVAL
    request.network, request.gateway, request.source = attrs.get(RTA_DST), attrs.get(RTA_GATEWAY), attrs.get(RTA_PREFSRC)
    request.bits = bits
    request.table = int.from_bytes(attrs[RTA_TABLE], "little") if RTA_TABLE in attrs else table
    request.metric = int.from_bytes(attrs.get(RTA_PRIORITY, b""), "little")
    request.link = None
    if RTA_OIF in attrs:
        request.link = net.stack.interface(int.from_bytes(attrs[RTA_OIF], "little"))
        if request.link is None:
            return -ENODEV
    return request


def same_route(route, request) -> bool:
    network = request.network or bytes(request.width)
    return route.network == network and route.bits == request.bits and route.metric == request.metric


def new_route(t, net, flags, body):
    request = parse_route(net, body)
    if isinstance(request, int):
        return request
    stack = net.stack
    if request.table != RT_TABLE_MAIN:
        return -EOPNOTSUPP
    link = request.link
    if link is None and request.gateway is not None:
        link = next((one for one in stack.interfaces if one.flags & IFF_UP and any(
            in_network(request.gateway, own, bits) for own, bits in one.addresses)), None)  # fmt: skip
        if link is None:
            return -ENETUNREACH
    if link is None:
        return -ENODEV
    if link.link is not None:
        return -EOPNOTSUPP  # the packet stack has the routes of its own interfaces
    if not link.flags & IFF_UP:
        return -ENETDOWN
    network = request.network or bytes(request.width)
    number = int.from_bytes(network, "big")
    if number & (1 << request.width * 8 - request.bits) - 1:
        return -EINVAL  # bits set behind the prefix
    old = next((route for route in stack.routes if same_route(route, request)), None)
    if old is not None:
        if not flags & NLM_F_REPLACE:
            return -EEXIST
        stack.routes.remove(old)
    route = Route(network, request.bits, link, request.gateway, request.metric, request.source)
    stack.routes.append(route)
    rtlinks.announce_route(stack, route, True)
    return 0


def del_route(t, net, flags, body):
    request = parse_route(net, body)
    if isinstance(request, int):
        return request
    stack = net.stack
    network = request.network or bytes(request.width)
    for route in stack.routes:
        if route.network == network and route.bits == request.bits and request.link in (None, route.interface):
            if request.gateway in (None, route.gateway) and request.metric in (0, route.metric):
                if route.interface.link is not None:
                    return -EOPNOTSUPP
                stack.routes.remove(route)
                rtlinks.announce_route(stack, route, False)
                return 0
    return -ESRCH


CHANGES = {
    RTM_NEWLINK: rtlinks.new_link,
    RTM_SETLINK: rtlinks.set_link,
    RTM_DELLINK: rtlinks.del_link,
    RTM_NEWADDR: new_address,
    RTM_DELADDR: del_address,
    RTM_NEWNEIGH: rtneighbours.new,
    RTM_DELNEIGH: rtneighbours.delete,
    RTM_NEWROUTE: new_route,
    RTM_DELROUTE: del_route,
}

SERVERS[NETLINK_ROUTE] = answer
