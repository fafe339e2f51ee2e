"""Changes of links by rtnetlink(7): making, setting, moving and deleting them (net/core/rtnetlink.c)."""

from sentry.abi.errno import EBUSY, EEXIST, EINVAL, ELOOP, ENODEV, ENOSPC, EOPNOTSUPP, ERANGE
from sentry.abi.netlink import (
    IFF_RUNNING,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NET_NS_PID,
    IFLA_TXQLEN,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    VETH_INFO_PEER,
    parse_attrs,
)
from sentry.net import fabric, netns, rtbodies
from sentry.net.inet_addr import LOOPBACK4, LOOPBACK6
from sentry.net.netlink import tell

NAME_MOST = 15
SETTABLE = 0x1380  # IFF_NOARP, IFF_PROMISC, IFF_ALLMULTI, IFF_MULTICAST
MTU_LEAST, MTU_MOST = 68, 65535


def find(net, body):
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
        link = net.stack.named(text(name))
    else:
        return -EINVAL
    return (link, attrs) if link is not None else -ENODEV


def text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("latin-1")


def valid_name(name: str) -> bool:
    """dev_valid_name."""
    return 0 < len(name) <= NAME_MOST and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)


def number(attrs, kind) -> "int | None":
    return int.from_bytes(attrs[kind], "little") if len(attrs.get(kind, b"")) == 4 else None


# -- what is told to those that listen
def announce(link, change=0) -> None:
    net = link.stack.net and link.stack.net()
    if net is not None:
        tell(net, RTMGRP_LINK, RTM_NEWLINK, rtbodies.link_body(link, change))


def announce_gone(stack, link) -> None:
    net = stack.net and stack.net()
    if net is not None:
        tell(net, RTMGRP_LINK, RTM_DELLINK, rtbodies.link_body(link, 0xFFFFFFFF))


def announce_address(link, addr, bits, there: bool) -> None:
    net = link.stack.net and link.stack.net()
    if net is not None:
        group = RTMGRP_IPV4_IFADDR if len(addr) == 4 else RTMGRP_IPV6_IFADDR
        tell(net, group, RTM_NEWADDR if there else RTM_DELADDR, rtbodies.address_body(link, addr, bits))


def announce_route(stack, route, there: bool) -> None:
    net = stack.net and stack.net()
    if net is not None:
        group = RTMGRP_IPV4_ROUTE if len(route.network) == 4 else RTMGRP_IPV6_ROUTE
        tell(net, group, RTM_NEWROUTE if there else RTM_DELROUTE, rtbodies.route_row(route).body())


# -- up and down
def raise_link(link, up: bool) -> None:
    """`ip link set LINK up` or `down`. The loopback interface has its addresses from its first `up` on."""
    before = link.flags
    if up:
        link.flags |= IFF_UP
        if not link.kind:
            link.flags |= IFF_RUNNING
        if rtbodies.is_lo(link) and not link.addresses:
            link.addresses += [(LOOPBACK4, 8), (LOOPBACK6, 128)]
        elif link.kind:
            for addr, bits in link.addresses:
                fabric.add_connected(link, addr, bits)
    else:
        link.flags &= ~IFF_UP
        link.neighbours.clear()
        if not link.kind:
            link.flags &= ~IFF_RUNNING
        link.addresses[:] = [(addr, bits) for addr, bits in link.addresses if len(addr) == 4]
        link.stack.routes[:] = [route for route in link.stack.routes if route.interface is not link]
    refresh(link)
    if link.flags != before:
        announce(link, IFF_UP)


def refresh(link) -> None:
    """Carrier of a link, of its peer, and of the bridges that they belong to."""
    for one in (link, link.peer):
        if one is not None and fabric.set_running(one) and one is not link:
            announce(one)
    for one in (link, link.peer):
        if one is not None and one.master is not None and fabric.set_running(one.master):
            announce(one.master)


# -- requests
def new_link(t, net, flags, body):
    found = find(net, body)
    if type(found) is tuple:
        if flags & NLM_F_EXCL:
            return -EEXIST
        kind = kind_of(found[1])
        return -EOPNOTSUPP if kind not in ("", found[0].kind) else set_link(t, net, flags, body)
    attrs = parse_attrs(body, IFINFO.size) if len(body) >= IFINFO.size else None
    if attrs is None:
        return -EINVAL
    index = IFINFO.unpack_from(body)[2]
    if not flags & NLM_F_CREATE or (found == -EINVAL and IFLA_LINKINFO not in attrs):
        return -ENODEV if found in (-EINVAL, -ENODEV) else found
    kind = kind_of(attrs)
    if kind not in fabric.KINDS:
        return -EOPNOTSUPP
    if index < 0 or (index and net.stack.interface(index) is not None):
        return -EINVAL
    return create(t, net, kind, index, attrs, body)


def info_of(attrs) -> dict:
    return parse_attrs(attrs.get(IFLA_LINKINFO, b""), 0) or {}


def kind_of(attrs) -> str:
    return text(info_of(attrs).get(IFLA_INFO_KIND, b""))


def create(t, net, kind, index, attrs, body) -> int:
    peer_attrs, peer_index, peer_flags = {}, 0, 0
    if kind == fabric.VETH:
        data = (parse_attrs(info_of(attrs).get(IFLA_INFO_DATA, b""), 0) or {}).get(VETH_INFO_PEER, b"")
        if data:
            if len(data) < IFINFO.size:
                return -EINVAL
            peer_attrs = parse_attrs(data, IFINFO.size)
            _, _, peer_index, peer_flags, _ = IFINFO.unpack_from(data)
            if peer_attrs is None or peer_index < 0:
                return -EINVAL
    ends = []
    for table, at in ((attrs, index), (peer_attrs, peer_index))[: 2 if kind == fabric.VETH else 1]:
        home = namespace(t, table, net)
        if type(home) is int:
            return home
        name = text(table[IFLA_IFNAME]) if IFLA_IFNAME in table else kind + "%d"
        if name.count("%d") == 1:
            name = fabric.free_name(home.stack, name, [other[1] for other in ends if other[0] is home])
        if not valid_name(name):
            return -EINVAL
        if home.stack.named(name) is not None or any(home is other[0] and name == other[1] for other in ends):
            return -EEXIST
        if at and home.stack.interface(at) is not None:
            return -EBUSY
        error = check(table)
        if error:
            return error
        ends.append((home, name, at, table))
    made = []
    # the peer is made first (veth_newlink), so it has the lower index
    for home, name, at, table in reversed(ends):
        link = fabric.make(home.stack, kind, name, fabric.free_index(home.stack, at), table.get(IFLA_ADDRESS))
        if link is None:
            for one in made:
                fabric.destroy(one)
            return -ENOSPC
        made.append(link)
        apply(link, table)
    link = made[-1]
    if kind == fabric.VETH:
        fabric.join(*made)
        if peer_flags & IFF_UP:
            raise_link(made[0], True)
    for one in made:
        announce(one, 0xFFFFFFFF)
    error = master(link.stack, link, attrs)
    if IFINFO.unpack_from(body)[3] & IFF_UP:
        raise_link(link, True)
    return error


def namespace(t, attrs, net):
    """The namespace that IFLA_NET_NS_FD or IFLA_NET_NS_PID names, else `net`; -errno."""
    for kind, find_namespace in ((IFLA_NET_NS_FD, netns.by_descriptor), (IFLA_NET_NS_PID, netns.by_process)):
        wanted = number(attrs, kind)
        if kind in attrs:
            if wanted is None:
                return -EINVAL
            return find_namespace(t, wanted)
    return net


def check(attrs) -> int:
    mtu = number(attrs, IFLA_MTU)
    if IFLA_MTU in attrs and (mtu is None or not MTU_LEAST <= mtu <= MTU_MOST):
        return -EINVAL
    hwaddr = attrs.get(IFLA_ADDRESS)
    if hwaddr is not None and len(hwaddr) != 6:
        return -EINVAL
    return -ERANGE if len(attrs.get(IFLA_IFALIAS, b"")) > 255 else 0


def apply(link, attrs) -> None:
    """Attributes that are plain values, once they have been checked."""
    if IFLA_MTU in attrs:
        link.mtu = number(attrs, IFLA_MTU)
    if IFLA_ADDRESS in attrs:
        link.hwaddr = attrs[IFLA_ADDRESS]
    if number(attrs, IFLA_TXQLEN) is not None:
        link.txqlen = number(attrs, IFLA_TXQLEN)
    if IFLA_IFALIAS in attrs:
        link.alias = attrs[IFLA_IFALIAS].rstrip(b"\0")


def master(stack, link, attrs) -> int:
    """IFLA_MASTER: into a bridge, or (0) out of it."""
    index = number(attrs, IFLA_MASTER)
    if index is None:
        return 0
    before, bridge = link.master, None
    if index:
        bridge = stack.interface(index)
        if bridge is None:
            return -EINVAL
        if bridge.kind != fabric.BRIDGE:
            return -EOPNOTSUPP
        if link.kind == fabric.BRIDGE:
            return -ELOOP
        if link.kind != fabric.VETH and link.kind != fabric.DUMMY:
            return -EINVAL
    fabric.enslave(link, bridge)
    if bridge is None and before is None:
        return 0
    for one in (before, bridge):
        if one is not None and fabric.set_running(one):
            announce(one)
    announce(link)
    return 0


def set_link(t, net, flags, body):
    found = find(net, body)
    if isinstance(found, int):
        return found
    link, attrs = found
    index = IFINFO.unpack_from(body)[2]
    _, _, _, wanted, mask = IFINFO.unpack_from(body)
    if link.link is not None:
        return -EOPNOTSUPP  # the packet stack's own interface stays as it was taken over
    home = namespace(t, attrs, net)
    if type(home) is int:
        return home
    error = check(attrs) if link.kind else 0
    if error:
        return error
    if home is not net:
        error = move(link, net, home, text(attrs[IFLA_IFNAME]) if index and IFLA_IFNAME in attrs else link.name)
    elif index > 0 and IFLA_IFNAME in attrs:
        error = rename(link, text(attrs[IFLA_IFNAME]))
    if error:
        return error
    before = link.flags
    link.flags = before & ~(mask & SETTABLE) | wanted & mask & SETTABLE
    if link.kind:
        apply(link, attrs)
    else:
        if number(attrs, IFLA_MTU) is not None:
            link.mtu = number(attrs, IFLA_MTU)
        if number(attrs, IFLA_TXQLEN) is not None:
            link.txqlen = number(attrs, IFLA_TXQLEN)
    error = master(link.stack, link, attrs)
    if error:
        return error
    if mask & IFF_UP or (not mask and wanted):
        raise_link(link, bool(wanted & IFF_UP))
    elif link.flags != before or {IFLA_MTU, IFLA_ADDRESS, IFLA_TXQLEN, IFLA_IFALIAS, IFLA_IFNAME} & attrs.keys():
        announce(link)
    return 0


def rename(link, name) -> int:
    if name == link.name:
        return 0
    if not valid_name(name):
        return -EINVAL
    if link.stack.named(name) is not None:
        return -EEXIST
    link.name = name
    return 0


def move(link, net, home, name) -> int:
    """`ip link set LINK netns …`: it arrives down, without addresses."""
    if not link.kind or link.kind == fabric.BRIDGE and link.ports:
        return -EINVAL
    if not valid_name(name):
        return -EINVAL
    if home.stack.named(name) is not None:
        return -EEXIST
    raise_link(link, False)
    fabric.release(link)
    announce_gone(net.stack, link)
    fabric.leave(link)
    link.name, link.index = name, fabric.free_index(home.stack, link.index)
    fabric.enter(home.stack, link)
    announce(link, 0xFFFFFFFF)
    return 0


def del_link(t, net, flags, body):
    found = find(net, body)
    if isinstance(found, int):
        return found
    link = found[0]
    if not link.kind:
        return -EOPNOTSUPP
    bridges = {one.master for one in (link, link.peer) if one is not None and one.master is not None}
    for stack, one in fabric.destroy(link):
        announce_gone(stack, one)
    for bridge in bridges:
        if fabric.set_running(bridge):
            announce(bridge)
    return 0
