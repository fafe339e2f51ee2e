"""rtnetlink(7): what a namespace has, and the changes that a privileged guest may make in its own.

In the first namespace in host mode the answers are the host's, and nothing can be changed.
"""

from sentry.abi.errno import (
    EADDRNOTAVAIL,
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
    IFA_LOCAL,
    IFADDR,
    IFF_RUNNING,
    IFF_UP,
    IFINFO,
    IFLA_IFNAME,
    IFLA_LINKINFO,
    IFLA_MTU,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_MAX,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMSG,
    RTN_LOCAL,
    RTN_UNICAST,
    RTPROT_BOOT,
    RTPROT_KERNEL,
    attr32,
    parse_attrs,
)
from sentry.core.creds import CAP_NET_ADMIN
from sentry.net import hostlink, rtbodies
from sentry.net.inet_addr import LOOPBACK4, LOOPBACK6, in_network, is_loopback
from sentry.net.rtbodies import AF_INET, AF_INET6, RouteRow
from sentry.net.netlink import SERVERS, tell
from sentry.net.stack import Route

RTM_F_CLONED = 0x200
RTM_NEWNSID, RTM_GETNSID, NETNSA_NSID, NO_NSID = 88, 90, 1, 0xFFFFFFFF  # namespaces have no numbers for each other
WIDTHS = {AF_INET: 4, AF_INET6: 16}
FAMILIES = (bytes((AF_INET,)), bytes((AF_INET6,)))


def answer(t, sock, kind, flags, body):
    """A request: [(type, body)] of what was asked for, 0 or -errno."""
    if kind > RTM_MAX:
        return -EOPNOTSUPP
    if kind & 3 != 2:  # neither of the RTM_GET*
        if not t.creds.capable(CAP_NET_ADMIN):
            return -EPERM
        return -EPERM if sock.net.host else change(sock.net, kind, flags, body)
    if kind == RTM_GETNSID:
        return [(RTM_NEWNSID, bytes(4) + attr32(NETNSA_NSID, NO_NSID))]
    if sock.net.host:
        return hostlink.ask(kind, flags, body)
    handler = (DUMPS if flags & NLM_F_DUMP == NLM_F_DUMP else GETS).get(kind)
    return -EOPNOTSUPP if handler is None else handler(sock.net, body)


# -- questions
def dump_links(net, body):
    return [(RTM_NEWLINK, rtbodies.link_body(link)) for link in net.stack.interfaces]


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


def dump_neighbours(net, body):
    return []


def dump_rules(net, body):
    family = body[0] if body else 0
    return [(RTM_NEWRULE, rule) for one in (AF_INET, AF_INET6) if family in (0, one) for rule in rtbodies.rule_bodies(one)]


def find_link(net, body):
    """The link that an ifinfomsg means, by index or name: (link, attributes) or -errno."""
    if len(body) < IFINFO.size:
        return -EINVAL
    attrs = parse_attrs(body, IFINFO.size)
    if attrs is None:
        return -EINVAL
    index = IFINFO.unpack_from(body)[2]
    name = attrs.get(IFLA_IFNAME)
    if index > 0:
        link = net.stack.interface(index)
    elif name is not None:
        link = net.stack.named(name.split(b"\0", 1)[0].decode("latin-1"))
    else:
        return -EINVAL
    return (link, attrs) if link is not None else -ENODEV


def get_link(net, body):
    found = find_link(net, body)
    return found if isinstance(found, int) else [(RTM_NEWLINK, rtbodies.link_body(found[0]))]


def get_route(net, body):
    """`ip route get`: how a packet to the address would go."""
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
    RTM_GETNEIGH: dump_neighbours,
    RTM_GETRULE: dump_rules,
}
GETS = {RTM_GETLINK: get_link, RTM_GETROUTE: get_route}


# -- changes
def change(net, kind, flags, body) -> int:
    handler = CHANGES.get(kind)
    return -EOPNOTSUPP if handler is None else handler(net, flags, body)


def set_link(net, flags, body):
    found = find_link(net, body)
    if isinstance(found, int):
        return found
    link, attrs = found
    _, _, _, wanted, mask = IFINFO.unpack_from(body)
    if link.link is not None:
        return -EOPNOTSUPP  # the packet stack's own interface stays as it was taken over
    if IFLA_MTU in attrs and len(attrs[IFLA_MTU]) == 4:
        link.mtu = int.from_bytes(attrs[IFLA_MTU], "little")
    if mask & IFF_UP or (not mask and wanted):
        raise_link(net, link, bool(wanted & IFF_UP))
    return 0


def raise_link(net, link, up: bool) -> None:
    """`ip link set LINK up` or `down`. The loopback interface has its addresses from its first `up` on."""
    before = link.flags
    if up:
        link.flags |= IFF_UP | IFF_RUNNING
        if rtbodies.is_lo(link) and not link.addresses:
            link.addresses += [(LOOPBACK4, 8), (LOOPBACK6, 128)]
    else:
        link.flags &= ~(IFF_UP | IFF_RUNNING)
        link.addresses[:] = [(addr, bits) for addr, bits in link.addresses if len(addr) == 4]
        net.stack.routes[:] = [route for route in net.stack.routes if route.interface is not link]
    if link.flags != before:
        tell(net, RTMGRP_LINK, RTM_NEWLINK, rtbodies.link_body(link, IFF_UP))


def new_link(net, flags, body):
    found = find_link(net, body)
    if found == -EINVAL and len(body) >= IFINFO.size:
        return -ENODEV
    if found == -ENODEV and flags & NLM_F_CREATE:
        return -EOPNOTSUPP  # no kinds of links can be made: veth, bridge, dummy ...
    if isinstance(found, int):
        return found
    if flags & NLM_F_EXCL:
        return -EEXIST
    if IFLA_LINKINFO in found[1]:
        return -EOPNOTSUPP
    return set_link(net, flags, body)


def del_link(net, flags, body):
    found = find_link(net, body)
    return found if isinstance(found, int) else -EOPNOTSUPP


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


def new_address(net, flags, body):
    found = parse_address(net, body)
    if isinstance(found, int):
        return found
    link, addr, bits = found
    if link.link is not None:
        return -EOPNOTSUPP
    if any(own == addr and (len(own) == 16 or length == bits) for own, length in link.addresses):
        return 0 if flags & NLM_F_REPLACE and not flags & NLM_F_EXCL else -EEXIST
    link.addresses.append((addr, bits))
    tell(net, RTMGRP_IPV4_IFADDR if len(addr) == 4 else RTMGRP_IPV6_IFADDR, RTM_NEWADDR, rtbodies.address_body(link, addr, bits))
    return 0


def del_address(net, flags, body):
    found = parse_address(net, body)
    if isinstance(found, int):
        return found
    link, addr, bits = found
    if link.link is not None:
        return -EOPNOTSUPP
    if (addr, bits) not in link.addresses:
        return -EADDRNOTAVAIL
    link.addresses.remove((addr, bits))
    tell(net, RTMGRP_IPV4_IFADDR if len(addr) == 4 else RTMGRP_IPV6_IFADDR, RTM_DELADDR, rtbodies.address_body(link, addr, bits))
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


def route_row(route) -> RouteRow:
    scope = RT_SCOPE_LINK if route.gateway is None else RT_SCOPE_UNIVERSE
    protocol = RTPROT_KERNEL if route.gateway is None and route.source is not None else RTPROT_BOOT
    return RouteRow(route.network, route.bits, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, route.gateway, route.interface,
                    route.source, route.metric)  # fmt: skip


def new_route(net, flags, body):
    request = parse_route(net, body)
    if isinstance(request, int):
        return request
    stack = net.stack
    if request.table != RT_TABLE_MAIN or stack.wire is not None:
        return -EOPNOTSUPP
    link = request.link
    if link is None and request.gateway is not None:
        link = next((one for one in stack.interfaces if one.flags & IFF_UP and any(
            in_network(request.gateway, own, bits) for own, bits in one.addresses)), None)  # fmt: skip
        if link is None:
            return -ENETUNREACH
    if link is None:
        return -ENODEV
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
    tell(net, RTMGRP_IPV4_ROUTE if request.width == 4 else RTMGRP_IPV6_ROUTE, RTM_NEWROUTE, route_row(route).body())
    return 0


def del_route(net, flags, body):
    request = parse_route(net, body)
    if isinstance(request, int):
        return request
    stack = net.stack
    if stack.wire is not None:
        return -EOPNOTSUPP
    network = request.network or bytes(request.width)
    for route in stack.routes:
        if route.network == network and route.bits == request.bits and request.link in (None, route.interface):
            if request.gateway in (None, route.gateway) and request.metric in (0, route.metric):
                stack.routes.remove(route)
                tell(net, RTMGRP_IPV4_ROUTE if request.width == 4 else RTMGRP_IPV6_ROUTE, RTM_DELROUTE, route_row(route).body())
                return 0
    return -ESRCH


CHANGES = {
    RTM_NEWLINK: new_link,
    RTM_SETLINK: set_link,
    RTM_DELLINK: del_link,
    RTM_NEWADDR: new_address,
    RTM_DELADDR: del_address,
    RTM_NEWROUTE: new_route,
    RTM_DELROUTE: del_route,
}

SERVERS[NETLINK_ROUTE] = answer
