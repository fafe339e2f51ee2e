"""Links that guests make (ip-link(8)): veth pairs, bridges, dummies; and where packets go by them.

Nothing is made into packets here either: `reach` finds, hop by hop as hosts and routers would, the network namespace that
an address leads to, and a socket's data goes to the sockets there (udp.py, raw.py, tcp.py).
"""

from os import urandom

from sentry.abi.errno import EHOSTUNREACH, ENETUNREACH, ETIMEDOUT
from sentry.net.stack import (
    IFF_BROADCAST,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_RUNNING,
    IFF_UP,
    Interface,
    Route,
)

VETH, BRIDGE, DUMMY = "veth", "bridge", "dummy"
KINDS = (VETH, BRIDGE, DUMMY)
FLAGS = {VETH: IFF_BROADCAST | IFF_MULTICAST, BRIDGE: IFF_BROADCAST | IFF_MULTICAST, DUMMY: IFF_BROADCAST | IFF_NOARP}
HOPS = 64  # that are followed
LINKS_MOST = 4096  # of a sandbox
MTU = 1500
NEIGHBOURS_MOST = 1024  # net.ipv4.neigh.default.gc_thresh3
NUD_REACHABLE, NUD_STALE, NUD_FAILED, NUD_PERMANENT = 0x02, 0x04, 0x20, 0x80
TIME_EXCEEDED, UNREACHABLE = 11, 3  # types of ICMP
LINK_LOCAL = b"\xfe\x80" + bytes(6)

_count = 0


class Way:
    """Where a packet ends. stack: whose it is then, or None; interface: by which it came there; ttl: what is left of it; errno:
    what the sender is told, 0 nothing: lost; by: address of the router that says so, None: nobody answered on the link."""

    __slots__ = ("stack", "interface", "ttl", "errno", "by")

    def __init__(self, stack, interface, ttl, errno=0, by=None):
        self.stack = stack
        self.interface = interface
        self.ttl = ttl
        self.errno = errno
        self.by = by


def wire_end(link) -> list:
    """Who is at the other end of a link."""
    return [link.peer] if link.peer is not None and link.flags & IFF_RUNNING else []


def heard(link) -> list:
    """The interfaces that a frame reaches which `link` sends: those at its end, and what bridges join to them."""
    if not link.flags & IFF_UP:
        return []
    found, seen = [], {id(link)}
    todo = [far for port in link.ports for far in wire_end(port)] if link.kind == BRIDGE else wire_end(link)
    while todo:
        far = todo.pop()
        if id(far) in seen or not far.flags & IFF_UP:
            continue
        seen.add(id(far))
        bridge = far.master
        if bridge is None:
            found.append(far)
            continue
        if not bridge.flags & IFF_UP or id(bridge) in seen:
            continue
        seen.add(id(bridge))
        found.append(bridge)
        todo += [end for port in bridge.ports if port is not far for end in wire_end(port)]
    return found


def forwards(stack, addr: bytes) -> bool:
    sysctls = stack.net().sysctls if stack.net is not None and stack.net() is not None else {}
    name = "net/ipv4/ip_forward" if len(addr) == 4 else "net/ipv6/conf/all/forwarding"
    return str(sysctls.get(name, "0")).strip() == "1"


def reach(stack, addr: bytes, device: int = 0, ttl: int = 64, source: "bytes | None" = None) -> "Way | None":
    """The way of a packet to an address that is not this stack's own. None: it leaves by an interface of another kind. source:
    its sender's address, to which routers answer."""
    came = None
    for _ in range(HOPS):
        if came is not None:
            if stack.is_local(addr):
                return Way(stack, came, ttl)
            if not forwards(stack, addr):
                return Way(None, came, ttl)
            ttl -= 1
            if ttl <= 0:
                return Way(None, came, 0, ETIMEDOUT, own_address(stack, came, source))
        route = stack.route(addr, device if came is None else 0)
        if isinstance(route, int):
            return Way(None, came, ttl, ENETUNREACH, own_address(stack, came, source)) if came is not None else None
        link = route.interface
        if not link.kind:
            return None if came is None else Way(None, came, ttl)
        following = route.gateway or addr
        far = resolve(link, following, source)
        if far is None:
            return Way(None, came, ttl, EHOSTUNREACH, None if came is None else own_address(stack, came, source))
        came, stack = far, far.stack
    return Way(None, came, ttl)


def resolve(link, addr: bytes, source: "bytes | None") -> "Interface | None":
    """Who answers on a link that the address is theirs; ip-neighbour(8) shows it."""
    known, state = link.neighbours.get(addr, (None, 0))
    if state == NUD_PERMANENT:
        return next((one for one in heard(link) if one.hwaddr == known), None)
    far = next((one for one in heard(link) if one.stack is not link.stack and one.stack.is_local(addr)), None)
    if len(link.neighbours) >= NEIGHBOURS_MOST:
        link.neighbours.clear()
    link.neighbours[addr] = (far.hwaddr, NUD_REACHABLE) if far is not None else (b"", NUD_FAILED)
    if far is not None and source is not None and link.stack.is_local(source) and len(far.neighbours) < NEIGHBOURS_MOST:
        far.neighbours.setdefault(source, (link.hwaddr, NUD_STALE))
    return far


def own_address(stack, came, source) -> "bytes | None":
    """The address that a router answers with to `source`, which it heard on `came`."""
    if source is None:
        return None
    addr = stack.source(source)
    if isinstance(addr, int):
        addr = next((own for own, _ in came.addresses if len(own) == len(source)), None)
    return addr


class Stranger:
    """As much of a task as makes the sockets of connections that come into a namespace: its maker runs in another."""

    __slots__ = ("kernel", "creds", "net")

    def __init__(self, t, net):
        self.kernel, self.creds, self.net = t.kernel, t.creds, net


# -- making and changing links
def make(stack, kind: str, name: str, index: int, hwaddr: "bytes | None" = None) -> "Interface | None":
    """A new link of the namespace, down. None: there are too many."""
    global _count
    if _count >= LINKS_MOST:
        return None
    _count += 1
    link = Interface(index, name, FLAGS[kind], MTU, hwaddr or random_address())
    link.kind = kind
    enter(stack, link)
    return link


def random_address() -> bytes:
    data = urandom(6)
    return bytes((data[0] & 0xFE | 2,)) + data[1:]


def enter(stack, link) -> None:
    link.stack = stack
    stack.interfaces.append(link)
    stack.linked += 1


def leave(link) -> None:
    """Out of its namespace: what belongs to it there goes."""
    stack = link.stack
    link.addresses.clear()
    link.neighbours.clear()
    link.broadcasts.clear()
    stack.routes[:] = [route for route in stack.routes if route.interface is not link]
    stack.interfaces.remove(link)
    stack.linked -= 1


def free_index(stack, wanted: int = 0) -> int:
    used = {link.index for link in stack.interfaces}
    if wanted and wanted not in used:
        return wanted
    stack.last_index = max(stack.last_index, *used) + 1
    return stack.last_index


def free_name(stack, pattern: str, taken=()) -> str:
    """A name with the lowest number in the place of %d."""
    number = 0
    while stack.named(name := pattern.replace("%d", str(number))) is not None or name in taken:
        number += 1
    return name


def join(a, b) -> None:
    a.peer, b.peer = b, a


def enslave(link, bridge) -> None:
    release(link)
    if bridge is not None:
        link.master = bridge
        bridge.ports.append(link)
        bridge.hwaddr = min(port.hwaddr for port in bridge.ports)


def release(link) -> None:
    if link.master is not None:
        link.master.ports.remove(link)
        link.master = None


def set_running(link) -> bool:
    """Carrier of a link from the state of both ends; True if it has changed."""
    up = bool(link.flags & IFF_UP)
    if link.kind == VETH:
        up = up and link.peer is not None and bool(link.peer.flags & IFF_UP)
    elif link.kind == BRIDGE:
        up = up and any(port.flags & IFF_RUNNING for port in link.ports)
    before = link.flags
    link.flags = before | IFF_RUNNING if up else before & ~IFF_RUNNING
    if link.flags == before:
        return False
    if up:
        give_link_local(link)
    else:
        link.addresses[:] = [row for row in link.addresses if row[0][:8] != LINK_LOCAL]
        link.stack.routes[:] = [route for route in link.stack.routes if route.interface is not link or route.network != LINK_LOCAL + bytes(8)]
    return True


def give_link_local(link) -> None:
    """The address that IPv6 makes of the hardware's (RFC 4291, modified EUI-64)."""
    if link.master is not None:
        return
    mac = link.hwaddr
    addr = LINK_LOCAL + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    if all(own != addr for own, _ in link.addresses):
        link.addresses.append((addr, 64))
        add_connected(link, addr, 64)


def connected(link, addr: bytes, bits: int) -> "Route | None":
    """The route that an address brings along."""
    width = len(addr) * 8
    if bits == width:
        return None
    number = int.from_bytes(addr, "big") >> width - bits << width - bits
    four = len(addr) == 4
    return Route(number.to_bytes(len(addr), "big"), bits, link, None, 0 if four else 256, addr if four else None)


def add_connected(link, addr: bytes, bits: int) -> "Route | None":
    route = connected(link, addr, bits)
    if route is not None and not any(same(route, other) for other in link.stack.routes):
        link.stack.routes.append(route)
        return route
    return None


def drop_connected(link, addr: bytes, bits: int) -> "Route | None":
    wanted = connected(link, addr, bits)
    for route in link.stack.routes:
        if wanted is not None and same(route, wanted) and route.source == wanted.source:
            link.stack.routes.remove(route)
            return route
    return None


def same(a, b) -> bool:
    return (a.network, a.bits, a.interface, a.gateway, a.metric) == (b.network, b.bits, b.interface, b.gateway, b.metric)


def destroy(link) -> list:
    """The end of a link, and of the other end of a veth pair: [(stack, link)] of what has gone."""
    global _count
    gone = []
    for one in (link, link.peer):
        if one is None:
            continue
        release(one)
        for port in tuple(one.ports):
            release(port)
        one.flags &= ~(IFF_UP | IFF_RUNNING)
        gone.append((one.stack, one))
        leave(one)
        _count -= 1
    link.peer = None
    return gone


def destroy_all(stack) -> None:
    """The namespace has ended."""
    for link in [one for one in stack.interfaces if one.kind]:
        if link in stack.interfaces:
            destroy(link)
    for link in stack.interfaces:
        link.stack = None  # no cycle: nothing else would free them
