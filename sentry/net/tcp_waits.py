"""What a TCP connection waits for by the clock: TCP_SYNCNT, TCP_USER_TIMEOUT, neighbours that do not answer, TCP_DEFER_ACCEPT."""

from time import monotonic_ns

from sentry.abi.time import NSEC
from sentry.core.waitq import WaitEntry, Waiter
from sentry.net import inet_options as opt

RESOLVE_TIME = 3 * NSEC  # net.ipv4.neigh.*.mcast_solicit questions, a second apart
TIME_WAIT = 60 * NSEC
FIN_TIMEOUT_MAX = 120  # s
RTO_MAX = 120  # s


def syn_time(sock) -> int:
    """ns until a SYN that nobody answers has failed: the first is repeated after 1, 2, 4 … s (tcp(7), TCP_SYNCNT)."""
    limit = sock.option(opt.SOL_TCP, opt.TCP_TABLE, opt.TCP_USER_TIMEOUT)
    return limit * 1000000 if limit else seconds_of(sock.option(opt.SOL_TCP, opt.TCP_TABLE, opt.TCP_SYNCNT) + 1) * NSEC


def seconds_of(count: int) -> int:
    """How long `count` transmissions take, each of which waits twice as long as the one before."""
    return sum(min(1 << i, RTO_MAX) for i in range(count))


def defer_time(seconds: int) -> int:
    """The value that TCP_DEFER_ACCEPT keeps: whole transmissions (net/ipv4/tcp.c: secs_to_retrans)."""
    if seconds <= 0:
        return 0
    count = 1
    while seconds > seconds_of(count) and count < 255:
        count += 1
    return seconds_of(count)


def linger_time(seconds: int) -> int:
    """The value that TCP_LINGER2 keeps."""
    if seconds < 0:
        return -1
    return min(seconds, FIN_TIMEOUT_MAX) or opt.TCP_TABLE[opt.TCP_LINGER2][0]


def fin_time(sock) -> int:
    """ns that a closed socket keeps its name while the other end has not closed (TCP_LINGER2, tcp_fin_time)."""
    seconds = sock.option(opt.SOL_TCP, opt.TCP_TABLE, opt.TCP_LINGER2)
    return 0 if seconds < 0 else seconds * NSEC


class Syn:
    """A connection to the outside that is being made."""

    def __init__(self, sock, timers):
        self.sock = sock
        self.timers = timers
        self.end = monotonic_ns() + syn_time(sock)
        self.timer = timers.add(min(monotonic_ns() + RESOLVE_TIME, self.end), self.look)

    def look(self) -> None:
        """Is there anybody on the way?"""
        sock = self.sock
        if monotonic_ns() < self.end:
            if sock.wire.resolved():
                self.timer = self.timers.add(self.end, sock.time_out)
            else:
                sock.time_out(unreachable=True)
        else:
            sock.time_out()

    def cancel(self) -> None:
        self.timer.cancel()


class Deferred(Waiter):
    """A connection that is not shown to accept(2) before its first data, or the time of TCP_DEFER_ACCEPT."""

    def __init__(self, listener, sock, timers, seconds):
        self.listener = listener
        self.sock = sock
        self.entry = WaitEntry(self)
        sock.queue.add(self.entry)
        self.timer = timers.add(monotonic_ns() + seconds * NSEC, self.show)
        listener.deferred.append(self)

    def woken(self, entry, mask) -> None:
        if self.sock.rx or self.sock.done or self.sock.error:
            self.show()

    def leave(self) -> None:
        self.timer.cancel()
        self.entry.remove()
        self.listener.deferred.remove(self)

    def show(self) -> None:
        self.leave()
        self.listener.show(self.sock)
