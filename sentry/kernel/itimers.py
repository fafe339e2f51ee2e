"""Interval timers of setitimer(2) and alarm(2). ITIMER_REAL is a timer of the dispatcher; the other two count CPU
time, which only the host knows: it is asked as soon as they could have expired, and again until they have."""

from time import monotonic_ns

from sentry.abi.signal import SIGALRM, SIGPROF, SIGVTALRM
from sentry.kernel import clocks, signals
from sentry.kernel.clocks import CpuClock
from sentry.kernel.hooks import GROUP_EXIT

ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF = 0, 1, 2
SIGNALS = (SIGALRM, SIGVTALRM, SIGPROF)


class IntervalTimer:
    """One of a process's three. `expiry`: on its own clock, ns; None: disarmed."""

    __slots__ = ("tg", "which", "cpu", "interval", "expiry", "timer")

    def __init__(self, tg, which):
        self.tg = tg
        self.which = which
        self.cpu = None
        if which != ITIMER_REAL:
            self.cpu = CpuClock(tg, clocks.CPUCLOCK_VIRT if which == ITIMER_VIRTUAL else clocks.CPUCLOCK_PROF, False)
        self.interval = 0
        self.expiry = None
        self.timer = None

    def now(self) -> int:
        return monotonic_ns() if self.cpu is None else self.cpu.now()

    def get(self) -> "tuple[int, int]":
        """(interval, time left) in ns."""
        if self.expiry is None:
            return self.interval, 0
        return self.interval, max(self.expiry - self.now(), 1000)

    def set(self, interval: int, value: int) -> None:
        """Arm it to expire in `value` ns; 0 disarms."""
        self.cancel()
        self.interval = interval
        if value:
            self.expiry = self.now() + value
            self.arm()

    def cancel(self) -> None:
        self.expiry = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def arm(self) -> None:
        if self.cpu is None:
            when = self.expiry
        else:
            when = self.cpu.look_again(self.expiry - self.cpu.now())
        self.timer = self.tg.kernel.timers.add(when, self.fired)

    def fired(self) -> None:
        self.timer = None
        now = self.now()
        if now < self.expiry:
            self.arm()
            return
        if self.interval:
            self.expiry += ((now - self.expiry) // self.interval + 1) * self.interval
            self.arm()
        else:
            self.expiry = None
        signals.send(self.tg, SIGNALS[self.which])


def get(tg, which: int) -> IntervalTimer:
    if tg.itimers is None:
        tg.itimers = {}
    timer = tg.itimers.get(which)
    if timer is None:
        timer = tg.itimers[which] = IntervalTimer(tg, which)
    return timer


def group_exit(tg) -> None:
    if tg.itimers:
        for timer in tg.itimers.values():
            timer.cancel()
        tg.itimers = None


GROUP_EXIT.append(group_exit)
