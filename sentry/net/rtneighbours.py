"""Neighbours by rtnetlink(7) (ip-neighbour(8)): who answers on links, and entries that guests make on their own links."""

from sentry.abi.errno import EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP
from sentry.abi.netlink import (
    NDA_CACHEINFO,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_PROBES,
    NDMSG,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_NEWNEIGH,
    RTN_UNICAST,
    attr,
    attr32,
    parse_attrs,
)
from sentry.net import fabric
from sentry.net.inet_addr import AF_INET, AF_INET6

WIDTHS = {AF_INET: 4, AF_INET6: 16}


def of(stack) -> list:
    """[(interface index, address, hardware address, NUD_*)]."""
    rows = stack.wire.neighbours() if stack.wire is not None else []
    for link in stack.interfaces:
        rows += [(link.index, addr, *row) for addr, row in link.neighbours.items()]
    return rows


def body_of(index, addr, hwaddr, state) -> bytes:
    head = NDMSG.pack(AF_INET if len(addr) == 4 else AF_INET6, index, state, 0, RTN_UNICAST)
    return head + attr(NDA_DST, addr) + (attr(NDA_LLADDR, hwaddr) if hwaddr else b"") + attr(NDA_CACHEINFO, bytes(16)) + attr32(NDA_PROBES, 1)


def dump(net, body):
    family, index = 0, 0
    if len(body) >= NDMSG.size:
        family, index, _, _, _ = NDMSG.unpack_from(body)
        wanted = (parse_attrs(body, NDMSG.size) or {}).get(NDA_IFINDEX, b"")
        index = int.from_bytes(wanted, "little") if len(wanted) == 4 else index
    elif body:
        family = body[0]
    return [(RTM_NEWNEIGH, body_of(*row)) for row in of(net.stack)
            if index in (0, row[0]) and family in (0, AF_INET if len(row[1]) == 4 else AF_INET6)]  # fmt: skip


def parse(net, body):
    """(link, address, attributes, NUD_*) of a ndmsg, or -errno."""
    if len(body) < NDMSG.size:
        return -EINVAL
    family, index, state, _, _ = NDMSG.unpack_from(body)
    attrs = parse_attrs(body, NDMSG.size)
    if attrs is None or NDA_DST not in attrs or len(attrs[NDA_DST]) != WIDTHS.get(family):
        return -EINVAL
    link = net.stack.interface(index)
    if link is None:
        return -ENODEV if index else -EINVAL
    return (link, attrs[NDA_DST], attrs, state) if link.kind else -EOPNOTSUPP


def new(t, net, flags, body):
    found = parse(net, body)
    if isinstance(found, int):
        return found
    link, addr, attrs, state = found
    hwaddr = attrs.get(NDA_LLADDR, b"")
    if hwaddr and len(hwaddr) != 6:
        return -EINVAL
    if addr in link.neighbours:
        if flags & NLM_F_EXCL:
            return -EEXIST
    elif not flags & NLM_F_CREATE:
        return -ENOENT
    if addr not in link.neighbours and len(link.neighbours) >= fabric.NEIGHBOURS_MOST:
        link.neighbours.clear()
    link.neighbours[addr] = hwaddr, state or fabric.NUD_PERMANENT
    return 0


def delete(t, net, flags, body):
    found = parse(net, body)
    if isinstance(found, int):
        return found
    link, addr, _, _ = found
    return 0 if link.neighbours.pop(addr, None) is not None else -ENOENT
