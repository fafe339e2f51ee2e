"""Connections from outside to listening sockets of the sandbox: `port-forward` of the command and of CRI.

A caller hands a connected stream socket of the host over (control.py, "connect"). A `Stream` joins it to a connection that
comes from the sandbox's own loopback address, whatever Internet sockets are (--network), and carries the bytes. In each
direction at most one piece of CHUNK bytes is held, so a side that does not read stops the other one.
"""

import os
from time import monotonic_ns

import _socket
import select

from sentry.abi.errno import EAGAIN, EALREADY, ECONNREFUSED, EINPROGRESS, EISCONN, ETIMEDOUT
from sentry.core.creds import Creds
from sentry.core.waitq import WaitEntry, Waiter
from sentry.net import inet_addr, netns
from sentry.net.inet_addr import AF_INET, AF_INET6, LOOPBACK4, LOOPBACK6, is_any, is_loopback
from sentry.net.socket import MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SOCK_STREAM, create
from sentry.vfs.file import O_NONBLOCK

CHUNK = 65536
TURNS = 8  # chunks a direction in a row; then guests have their turn
STREAMS_MAX = 4096
CONNECT_TIME = 10 * 10**9  # ns: how long a full backlog may take
WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Origin:
    """What sockets need of the task that makes them: the kernel itself, in the first network namespace."""

    __slots__ = ("kernel", "net", "creds")

    def __init__(self, kernel):
        self.kernel = kernel
        self.net = netns.INIT
        self.creds = Creds()


def wrap(fd: int):
    """The descriptor, ours from now on, as a _socket.socket; None if it is no stream socket."""
    try:
        sock = _socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
    if sock.type != SOCK_STREAM:
        sock.close()
        return None
    return sock


class Forwarder:
    """All forwarded connections of a sandbox, and those who are told which ports guests listen on."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.origin = Origin(kernel)
        self.streams = set()
        self.watchers = []  # functions of one argument, the sorted ports
        self.told = None
        self.timer = None

    def connect(self, port: int, outer, callback) -> None:
        """Join the host's socket `outer` (see `wrap`), which is ours from now on, with a listener at `port`. callback(0), or
        callback(-errno), and then the socket is closed."""
        stream = Stream(self, outer, port, callback)
        if len(self.streams) >= STREAMS_MAX:
            stream.give_up(-EAGAIN)
            return
        self.streams.add(stream)
        stream.connect()

    def busy(self) -> bool:
        """Is there anything that guests have sent and that is still on its way out?"""
        return any(stream.has_output() for stream in self.streams)

    def ports(self) -> "list[int]":
        """Where a connection to localhost finds a listener (not with --network=host: those sockets are the host's)."""
        found = set()
        for port, sockets in self.origin.net.stack.tcp.bound.items():
            if any(sock.listening() and (is_any(sock.local) or is_loopback(sock.local)) for sock in sockets):
                found.add(port)
        return sorted(found)

    def watch(self, callback) -> None:
        """Call callback(ports) now and whenever they have changed, until `unwatch`."""
        self.watchers.append(callback)
        self.origin.net.stack.on_listen = self.changed
        callback(self.ports())

    def unwatch(self, callback) -> None:
        self.watchers.remove(callback)
        if not self.watchers:
            self.origin.net.stack.on_listen = None

    def changed(self) -> None:
        """A socket has begun or ceased to listen: told a moment later, once for several."""
        if self.timer is None:
            self.timer = self.kernel.timers.add(monotonic_ns(), self.tell)

    def tell(self) -> None:
        self.timer = None
        ports = self.ports()
        for callback in tuple(self.watchers):
            callback(ports)


class Stream(Waiter):
    """One connection. outer: the host's socket; inner: the guests' (net/socket.Socket)."""

    __slots__ = (
        "forwarder", "outer", "inner", "port", "callback", "entry", "families", "address", "timer", "deadline", "incoming",
        "outgoing", "input_over", "output_over", "alarm",
    )  # fmt: skip

    def __init__(self, forwarder, outer, port, callback):
        self.forwarder = forwarder
        self.outer = outer
        self.inner = None
        self.port = port
        self.callback = callback  # until the connection is made
        self.entry = None
        self.families = [(AF_INET6, LOOPBACK6), (AF_INET, LOOPBACK4)]  # still to be tried, last first
        self.address = b""
        self.timer = self.alarm = None
        self.incoming = b""  # bytes for the guest that it has no room for
        self.outgoing = b""  # bytes for the host that it has no room for
        self.input_over = self.output_over = False

    # -- the connection
    def connect(self) -> None:
        """Try the next family."""
        family, address = self.families.pop()
        origin = self.forwarder.origin
        inner = create(origin, family, SOCK_STREAM, 0, O_NONBLOCK)
        if isinstance(inner, int):
            self.refused(inner)
            return
        self.inner = inner
        self.address = inet_addr.make(family, address, self.port)
        self.entry = WaitEntry(self)
        inner.queue.add(self.entry)
        result = inner.connect(origin, self.address)
        if result == -EINPROGRESS:
            self.alarm = self.forwarder.kernel.timers.add(monotonic_ns() + CONNECT_TIME, self.too_late)
            result = self.inner.connect(origin, self.address)
        self.connected(result)

    def connected(self, result) -> None:
        if result in (-EINPROGRESS, -EALREADY):
            self.inner.poll()  # the host's sockets are watched from then on
            return
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        if result not in (0, -EISCONN):
            self.drop_inner()
            self.refused(result)
            return
        callback, self.callback = self.callback, None
        self.forwarder.kernel.platform.watch(self.outer.fileno(), WATCHED, self.outer_ready)
        callback(0)
        self.later()

    def too_late(self) -> None:
        self.alarm = None
        self.drop_inner()
        self.refused(-ETIMEDOUT)

    def refused(self, errno) -> None:
        if self.families:
            self.connect()
        else:
            self.give_up(errno)

    def give_up(self, errno) -> None:
        callback, self.callback = self.callback, None
        self.forwarder.streams.discard(self)
        self.outer.close()
        callback(errno)

    def drop_inner(self) -> None:
        inner, self.inner = self.inner, None
        self.entry.remove()
        inner.decref()

    # -- readiness
    def woken(self, entry, mask) -> None:
        """Called in the middle of what a guest does to the connection, so the work is done a moment later."""
        self.later()

    def later(self) -> None:
        if self.timer is None:
            self.timer = self.forwarder.kernel.timers.add(monotonic_ns(), self.work)

    def outer_ready(self, fd, events) -> None:
        self.work()

    def work(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.inner is None:
            return
        if self.callback is not None:
            self.connected(self.inner.connect(self.forwarder.origin, self.address))
            return
        try:
            more = self.carry_in()
            more = self.carry_out() or more
        except OSError:  # the host's end has been reset
            self.close()
            return
        if self.input_over and self.output_over:
            self.close()
        elif more:
            self.later()

    # -- data. Both return whether there may be more to do at once.
    def carry_in(self) -> bool:
        """From the host to the guest."""
        for _ in range(TURNS):
            if self.input_over:
                return False
            if not self.incoming:
                try:
                    self.incoming = self.outer.recv(CHUNK, MSG_DONTWAIT)
                except BlockingIOError:
                    return False
                if not self.incoming:
                    self.input_over = True
                    self.inner.shutdown(self.forwarder.origin, SHUT_WR)
                    return False
            sent = self.inner.send(self.forwarder.origin, self.incoming, None, MSG_NOSIGNAL, None, None)
            if sent == -EAGAIN:
                return False
            if sent < 0:  # nobody reads any more: what the guest has sent may still go out
                self.incoming, self.input_over = b"", True
                self.outer.shutdown(_socket.SHUT_RD)
                return False
            self.incoming = self.incoming[sent:]
        return True

    def carry_out(self) -> bool:
        """From the guest to the host."""
        for _ in range(TURNS):
            if self.output_over:
                return False
            if not self.outgoing:
                got = self.inner.receive(self.forwarder.origin, CHUNK, 0)
                if got == -EAGAIN:
                    return False
                if isinstance(got, int) or not got.data:
                    self.output_over = True
                    if isinstance(got, int):  # reset
                        self.input_over = True
                    self.outer.shutdown(_socket.SHUT_WR)
                    return False
                self.outgoing = got.data
            try:
                sent = self.outer.send(self.outgoing, MSG_DONTWAIT | MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            self.outgoing = self.outgoing[sent:]
        return True

    def has_output(self) -> bool:
        if self.inner is None or self.callback is not None or self.output_over:
            return False
        return bool(self.outgoing) or self.inner.readable_bytes() > 0

    def close(self) -> None:
        self.forwarder.kernel.platform.unwatch(self.outer.fileno())
        self.outer.close()
        self.drop_inner()
        self.forwarder.streams.discard(self)


REFUSALS = {ECONNREFUSED: "nothing listens on it", ETIMEDOUT: "the listener does not accept", EAGAIN: "too many connections are forwarded"}


def refusal(errno) -> str:
    """Why a connection was not made, in words."""
    return REFUSALS.get(errno) or os.strerror(errno)
