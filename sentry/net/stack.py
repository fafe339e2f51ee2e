"""The network of a sandbox: interfaces, addresses, routes, and who has which port.

Traffic between sockets of the sandbox goes from one to the other here and is never made into packets. What leaves by an
interface that has a link (`Interface.link`) is the packet stack's (`net/lwip.pyx`).
"""

from os import urandom
from time import monotonic_ns

from sentry.abi.errno import EADDRINUSE, EADDRNOTAVAIL, ENETUNREACH
from sentry.net import socket_filter
from sentry.net.inet_addr import (
    ANY6,
    BROADCAST,
    LOOPBACK4,
    LOOPBACK6,
    in_network,
    is_any,
    is_link_local,
    is_loopback,
    is_multicast,
)

IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP, IFF_MULTICAST = 1, 2, 8, 0x40, 0x80, 0x1000
FIRST_PORT, LAST_PORT = 32768, 60999  # net.ipv4.ip_local_port_range


def pick(count: int) -> int:
    """A random number below `count`."""
    return int.from_bytes(urandom(4), "little") % count


class Interface:
    """`addresses`: [(address, prefix length)]; `hwaddr`: 6 bytes; `link`: how packets leave, or None. Of links that guests have
    made (fabric.py): `kind`, the other end of a veth pair (`peer`), the bridge that it belongs to (`master`) or whose it is
    (`ports`), and the Stack that it is in."""

    def __init__(self, index, name, flags, mtu, hwaddr=bytes(6), addresses=(), link=None):
        self.index = index
        self.name = name
        self.flags = flags
        self.mtu = mtu
        self.hwaddr = hwaddr
        self.addresses = list(addresses)
        self.link = link
        self.kind = ""
        self.peer = self.master = self.stack = None
        self.ports = []
        self.txqlen = 1000
        self.neighbours = {}  # address -> (hardware address, NUD_*), of links that guests have made
        self.broadcasts = {}  # address -> its broadcast address, if one was given
        self.alias = b""


class Route:
    """To `network`/`bits` by `interface`, over `gateway` (None: neighbours)."""

    def __init__(self, network, bits, interface, gateway=None, metric=0, source=None):
        self.network = network
        self.bits = bits
        self.interface = interface
        self.gateway = gateway
        self.metric = metric
        self.source = source


class Ports:
    """The ports of one protocol: number -> sockets bound to it. `waiting`: port -> {(address, SO_REUSEADDR): end} of
    closed connections whose names may not be taken by others yet (TIME_WAIT)."""

    def __init__(self, name):
        self.name = name
        self.bound = {}
        self.waiting = {}

    def add(self, sock, port) -> None:
        self.bound.setdefault(port, []).append(sock)

    def remove(self, sock, port) -> None:
        left = self.bound.get(port)
        if left is not None and sock in left:
            left.remove(sock)
            if not left:
                del self.bound[port]

    def linger(self, addr, port, reuse, time) -> None:
        """A connection from here was closed from this end; its name stays taken for `time` ns."""
        self.waiting.setdefault(port, {})[addr, reuse] = monotonic_ns() + time

    def lingering(self, addr, port, reuse) -> bool:
        rows = self.waiting.get(port)
        if rows is None:
            return False
        now = monotonic_ns()
        for key in [key for key, end in rows.items() if end <= now]:
            del rows[key]
        if not rows:
            del self.waiting[port]
        return any(overlap(addr, False, other, False) and not (reuse and other_reuse) for other, other_reuse in rows)


def overlap(a: bytes, a_only6: bool, b: bytes, b_only6: bool) -> bool:
    """Could a packet be for both local addresses? ::, unless IPV6_V6ONLY, is the any-address of both families."""
    if a == b:
        return True
    if len(a) == len(b):
        return is_any(a) or is_any(b)
    if len(a) == 4:
        a, a_only6, b, b_only6 = b, b_only6, a, a_only6
    return a == ANY6 and not a_only6


class Stack:
    def __init__(self):
        self.interfaces = [
            Interface(1, "lo", IFF_UP | IFF_LOOPBACK | IFF_RUNNING, 65536, addresses=[(LOOPBACK4, 8), (LOOPBACK6, 128)])
        ]
        self.interfaces[0].stack = self
        self.routes = []
        self.tcp = Ports("tcp")
        self.udp = Ports("udp")
        self.udplite = Ports("udplite")
        self.ping = Ports("ping")
        self.raw = []  # raw sockets
        self.sockets = set()  # all Internet sockets
        self.resolver = None  # what answers at 127.0.0.11 (resolver.py)
        self.wire = None  # the packet stack, if any interface has a link
        self.timers = None  # of the kernel
        self.net = None  # weak reference to the NetNamespace
        self.linked = 0  # interfaces that guests have made (fabric.py)
        self.last_index = 0
        self.on_listen = None  # called when a TCP socket begins or ceases to listen

    # -- addresses
    def is_local(self, addr: bytes) -> bool:
        """Is it an address of ours (127/8 as a whole is)?"""
        if is_loopback(addr):
            return bool(self.interfaces[0].addresses)  # none before its first `up` in a new namespace
        return any(own == addr for interface in self.interfaces for own, _ in interface.addresses)

    def is_broadcast(self, addr: bytes) -> bool:
        if len(addr) != 4:
            return False
        if addr == BROADCAST:
            return True
        number = int.from_bytes(addr, "big")
        for interface in self.interfaces:
            for own, bits in interface.addresses:
                if len(own) == 4 and bits < 31 and in_network(addr, own, bits):
                    host = (1 << 32 - bits) - 1
                    if number & host == host:
                        return True
        return False

    def interface(self, index: int) -> "Interface | None":
        for interface in self.interfaces:
            if interface.index == index:
                return interface
        return None

    def named(self, name: str) -> "Interface | None":
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        return None

    def of_address(self, addr: bytes) -> "Interface":
        for interface in self.interfaces:
            for own, _ in interface.addresses:
                if own == addr:
                    return interface
        return self.interfaces[0]

    # -- routes
    def route(self, addr: bytes, device: int = 0) -> "Route | int":
        """The way to an address that is not ours (bound to interface `device` unless 0), or -ENETUNREACH."""
        best = None
        for route in self.routes:
            if device and route.interface.index != device:
                continue
            if in_network(addr, route.network, route.bits) or (addr == BROADCAST and route.bits == 0):
                if best is None or (route.bits, -route.metric) > (best.bits, -best.metric):
                    best = route
        if best is None:
            if is_multicast(addr) or is_link_local(addr):
                for interface in self.interfaces:
                    if interface.flags & IFF_MULTICAST and interface.flags & IFF_UP and device in (0, interface.index):
                        return Route(addr, len(addr) * 8, interface)
            return -ENETUNREACH
        return best

    def source(self, addr: bytes, device: int = 0, scope: int = 0) -> "bytes | int":
        """The address that packets to `addr` come from, or -ENETUNREACH, -EADDRNOTAVAIL."""
        if self.is_local(addr):
            return LOOPBACK4 if addr[0] == 127 and len(addr) == 4 else addr
        route = self.route(addr, scope or device)
        if isinstance(route, int):
            return route
        if route.source is not None:
            return route.source
        best = None
        for own, bits in route.interface.addresses:
            if len(own) != len(addr) or (len(own) == 16 and is_link_local(own) != is_link_local(addr)):
                continue
            near = in_network(route.gateway or addr, own, bits)
            if best is None or (near and not best[0]):
                best = near, own
        return -EADDRNOTAVAIL if best is None else best[1]

    # -- ports
    def claim(self, ports: Ports, sock, addr: bytes, port: int) -> int:
        """Bind a socket to `addr` and `port` (0: any that is free). 0 or -EADDRINUSE."""
        if port:
            if self.conflict(ports, sock, addr, port):
                return -EADDRINUSE
        else:
            port = self.free_port(ports, sock, addr)
            if not port:
                return -EADDRINUSE
        sock.local, sock.port = addr, port
        ports.add(sock, port)
        return 0

    def free_port(self, ports, sock, addr) -> int:
        count = LAST_PORT - FIRST_PORT + 1
        start = pick(count)
        for i in range(count):
            port = FIRST_PORT + (start + i) % count
            if port not in ports.bound and (port not in ports.waiting or not ports.lingering(addr, port, False)):
                return port
        return 0

    def conflict(self, ports, sock, addr, port) -> bool:
        only6 = sock.v6only
        for other in ports.bound.get(port, ()):
            if other is sock or not overlap(addr, only6, other.local, other.v6only):
                continue
            if sock.device and other.device and sock.device != other.device:
                continue
            if sock.reuseaddr and other.reuseaddr and not other.listening():
                continue
            if sock.reuseport and other.reuseport and sock.inode.uid == other.inode.uid:
                continue
            return True
        return ports.lingering(addr, port, sock.reuseaddr)

    # -- who is meant
    def listener(self, addr: bytes, port: int, scope: int = 0) -> "Socket | None":  # noqa: F821
        """The listening socket for connections to this address."""
        if self.resolver is not None and self.resolver.serves(addr, port):
            return self.resolver.listener
        best, found = -1, []
        for sock in self.tcp.bound.get(port, ()):
            if not sock.listening():
                continue
            score = match(sock.local, sock.v6only, addr)
            if score > best:
                best, found = score, [sock]
            elif score == best >= 0:
                found.append(sock)
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        index = socket_filter.choose(found, b"")
        return found[pick(len(found)) if index is None else index]

    def receivers(self, ports: Ports, addr: bytes, port: int, sender: bytes, sender_port: int, many: bool, data: bytes = b"") -> list:
        """The sockets that get a datagram: the best match, or with `many` (multicast, broadcast) all that match."""
        best, found = -1, []
        for sock in ports.bound.get(port, ()):
            if many:
                if sock.local == addr or is_any(sock.local):
                    score = 0 if len(sock.local) == len(addr) or not sock.v6only else -1
                else:
                    score = -1
            else:
                score = match(sock.local, sock.v6only, addr)
            if score < 0:
                continue
            if sock.remote is not None:
                if sock.remote != sender or sock.remote_port != sender_port:
                    continue
                score += 4
            if many:
                if sock.wants_group(addr, sender):
                    found.append(sock)
            elif score > best:
                best, found = score, [sock]
            elif score == best:
                found.append(sock)
        if many or len(found) <= 1:
            return found
        # SO_REUSEPORT spreads by sender; SO_REUSEADDR alone: the last one bound.
        if found[0].reuseport:
            index = socket_filter.choose(found, data)
            if index is not None:
                return [found[index]]
            return [found[hash((sender, sender_port)) % len(found)]]
        return [found[-1]]


def match(local: bytes, only6: bool, addr: bytes) -> int:
    """How well a bound address suits a packet's destination: 2 exactly, 1 or 0 as any-address, -1 not."""
    if local == addr:
        return 2
    if len(local) == len(addr):
        return 1 if is_any(local) else -1
    return 0 if local == ANY6 and not only6 else -1


STACK = Stack()
