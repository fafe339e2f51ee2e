"""The name server 127.0.0.11 of Docker's networks (net.docker "embedded DNS server"), which listens in the network namespace that
was prepared for the container, on its loopback interface: where the sandbox's own loopback does not lead.

Queries of guests go through datagram sockets that the command has made in that namespace, one query at a time each, and the
answers come back as from 127.0.0.11. Queries over TCP go the same way. That server asks others from inside the namespace, whose
addresses are the sandbox's now: what it cannot answer for that reason the sandbox asks the servers behind it itself.
"""

from time import monotonic_ns

from sentry.abi.errno import EAGAIN
from sentry.abi.time import NSEC
from sentry.core.creds import Creds
from sentry.core.waitq import WaitEntry, Waiter
from sentry.net import hostcalls, inet_addr, netns, udp
from sentry.net.tcp import LISTEN, TcpSocket
from sentry.vfs.file import O_NONBLOCK

AF_INET = 2
ADDRESS, PORT = bytes((127, 0, 0, 11)), 53
PATIENCE = 4 * NSEC  # for one answer; the C library asks again after 5 s
MESSAGE_MOST = 65535
CONNECTIONS = 64  # over TCP, at a time
HEADER = 12
SERVFAIL, REFUSED = 2, 5
WATCHED = 1  # EPOLLIN


class Kernel:
    """Who makes the sockets that are nobody's: what unix, tcp and udp ask of a task."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.creds = Creds()
        self.net = netns.INIT


class Query:
    """A question on its way. answer(data): called once, unless nobody answers."""

    def __init__(self, data, answer):
        self.data = data
        self.answer = answer
        self.timer = None

    def answered_by(self, data) -> bool:
        return len(data) >= HEADER and data[:2] == self.data[:2] and data[2] & 0x80 != 0


class Resolver(Waiter):
    """`descriptors`: datagram sockets of the host, connected to the server; `servers`: IPv4 addresses (bytes) of those behind it."""

    def __init__(self, kernel, descriptors, servers):
        self.who = Kernel(kernel)
        self.platform = kernel.platform
        self.timers = kernel.timers
        self.free = list(descriptors)
        self.busy = {}  # descriptor -> Query, oldest first
        self.servers = servers
        self.connections = 0
        self.listener = listener = TcpSocket(self.who, AF_INET, O_NONBLOCK)
        listener.local, listener.port, listener.backlog, listener.locked = ADDRESS, PORT, CONNECTIONS, True
        listener.state = LISTEN
        listener.queue.add(WaitEntry(self))
        for fd in descriptors:
            self.platform.watch(fd, WATCHED, self.ready)

    def serves(self, host: bytes, port: int) -> bool:
        return port == PORT and host == ADDRESS

    def take(self, data: bytes, source: bytes, port: int) -> None:
        """A datagram of a guest."""
        packet = (ADDRESS, PORT, source, port, 64, 0, 1)
        self.ask(Query(data, lambda answer: udp.deliver(netns.INIT.stack, answer, packet, False)))

    def ask(self, query: Query) -> None:
        if len(query.data) < HEADER:
            return
        if not self.free:
            self.finish(next(iter(self.busy)))  # its answer would come late
        fd = self.free.pop()
        self.busy[fd] = query
        query.timer = self.timers.add(monotonic_ns() + PATIENCE, lambda: self.give_up(fd, query))
        if hostcalls.send(fd, query.data, None, None, 0) < 0:
            self.give_up(fd, query)

    def finish(self, fd) -> Query:
        query = self.busy.pop(fd)
        query.timer.cancel()
        self.free.insert(0, fd)
        return query

    def give_up(self, fd, query) -> None:
        """The server says nothing, or is not there."""
        if self.busy.get(fd) is query:
            self.finish(fd)
            self.ask_others(query, None)

    def ready(self, fd, _events) -> None:
        got = hostcalls.receive(fd, MESSAGE_MOST, 0)
        query = self.busy.get(fd)
        if isinstance(got, int):
            if got != -EAGAIN and query is not None:
                self.give_up(fd, query)
            return
        data = got[0]
        if query is None or not query.answered_by(data):
            return  # late, of an earlier query
        self.finish(fd)
        if data[3] & 15 in (SERVFAIL, REFUSED):
            self.ask_others(query, data)
        else:
            query.answer(data)

    def ask_others(self, query, refusal) -> None:
        if self.servers:
            Elsewhere(self, query, refusal)
        elif refusal is not None:
            query.answer(refusal)

    def woken(self, entry, mask) -> None:
        """Connections wait."""
        while True:
            sock = self.listener.accept(self.who, O_NONBLOCK)
            if isinstance(sock, int):
                return
            if self.connections >= CONNECTIONS:
                sock.decref()
            else:
                Connection(self, sock)


class Elsewhere(Waiter):
    """A query to the servers behind, through the sandbox's own network."""

    def __init__(self, resolver, query, refusal):
        self.query = query
        self.refusal = refusal
        self.sock = udp.create(resolver.who, AF_INET, 0, O_NONBLOCK)
        self.entry = WaitEntry(self)
        self.sock.queue.add(self.entry)
        self.timer = resolver.timers.add(monotonic_ns() + PATIENCE, self.end)
        for server in resolver.servers:
            self.sock.send(resolver.who, query.data, inet_addr.make(AF_INET, server, PORT), 0, None, None)

    def woken(self, entry, mask):
        got = self.sock.receive(None, MESSAGE_MOST, 0)
        if self.entry.queue is not None and not isinstance(got, int) and self.query.answered_by(got.data):
            self.refusal = got.data
            self.end()

    def end(self) -> None:
        """Tell the best that is known."""
        self.timer.cancel()
        self.entry.remove()
        self.sock.decref()
        if self.refusal is not None:
            self.query.answer(self.refusal)


class Connection(Waiter):
    """Queries over TCP: each has its length before it (RFC 1035, section 4.2.2)."""

    def __init__(self, resolver, sock):
        self.resolver = resolver
        self.sock = sock
        self.data = b""
        self.entry = WaitEntry(self)
        sock.queue.add(self.entry)
        resolver.connections += 1
        self.woken(self.entry, 0)

    def woken(self, entry, mask):
        while self.sock is not None:
            got = self.sock.receive(None, MESSAGE_MOST, 0)
            if isinstance(got, int):
                if got != -EAGAIN:
                    self.close()
                return
            if not got.data:
                self.close()
                return
            self.data += got.data
            while len(self.data) >= 2 and len(self.data) >= 2 + (size := int.from_bytes(self.data[:2], "big")):
                query, self.data = self.data[2 : 2 + size], self.data[2 + size :]
                self.resolver.ask(Query(query, self.answer))

    def answer(self, data) -> None:
        if self.sock is not None:
            self.sock.send(self.resolver.who, len(data).to_bytes(2, "big") + data, None, 0, None, None)

    def close(self) -> None:
        sock, self.sock = self.sock, None
        self.resolver.connections -= 1
        self.entry.remove()
        sock.decref()


def start(kernel, descriptors: "list[int]", servers: "list[str]") -> None:
    """Serve the first network namespace."""
    netns.INIT.stack.resolver = Resolver(kernel, descriptors, [inet_addr.parse_text(server) for server in servers])
