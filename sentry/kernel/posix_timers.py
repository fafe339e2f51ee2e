"""POSIX timers of a process (timer_create(2), kernel/time/posix-timers.c).

A periodic timer whose signal is still pending does not expire again; when the signal is taken, the expirations
missed meanwhile become its overrun count and the timer goes on.
"""

from sentry.abi import siginfo
from sentry.kernel import clocks, signals
from sentry.kernel.clocks import CpuClock
from sentry.kernel.hooks import EXEC, GROUP_EXIT

SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID = 0, 1, 2, 4
DELAYTIMER_MAX = 0x7FFFFFFF


class PosixTimer:
    """`clock`: host clock number or CpuClock; `target`: Task for SIGEV_THREAD_ID, else the ThreadGroup;
    `expiry`: on `clock`, ns, None while disarmed."""

    __slots__ = (
        "tg", "id", "clock", "notify", "signo", "value", "target", "interval", "expiry", "timer", "pending", "overrun",
        "last_overrun", "deleted",
    )  # fmt: skip

    def __init__(self, tg, timer_id, clock, notify, signo, value, target):
        self.tg = tg
        self.id = timer_id
        self.clock = clock
        self.notify = notify
        self.signo = signo
        self.value = value
        self.target = target
        self.interval = 0
        self.expiry = None
        self.timer = None
        self.pending = False  # its signal waits to be taken
        self.overrun = 0
        self.last_overrun = 0
        self.deleted = False

    def get(self) -> "tuple[int, int]":
        """(interval, time left) in ns."""
        if self.expiry is None:
            return self.interval, 0
        now = clocks.now(self.clock)
        left = self.expiry - now
        if left <= 0 and self.interval and (self.pending or self.notify == SIGEV_NONE):
            left += ((now - self.expiry) // self.interval + 1) * self.interval
        if left <= 0:
            return self.interval, 0 if self.notify == SIGEV_NONE else 1
        return self.interval, left

    def set(self, interval: int, value: int, absolute: bool) -> None:
        self.cancel()
        self.interval = interval
        self.overrun = self.last_overrun = 0
        if value:
            self.expiry = value if absolute else clocks.now(self.clock) + value
            self.arm()

    def cancel(self) -> None:
        self.expiry = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def arm(self) -> None:
        if isinstance(self.clock, CpuClock):
            when = self.clock.look_again(self.expiry - self.clock.now())
        else:
            when = clocks.deadline(self.clock, self.expiry)
        self.timer = self.tg.kernel.timers.add(when, self.fired)

    def fired(self) -> None:
        self.timer = None
        if clocks.now(self.clock) < self.expiry:
            self.arm()
            return
        if self.notify == SIGEV_NONE:
            return
        if not self.interval:
            self.expiry = None
        if self.pending:
            return
        target = self.target
        if target is not self.tg and target.dead:
            self.cancel()
            return
        self.pending = True
        info = siginfo.timer(self.signo, self.id, 0, self.value)
        taken = signals.send(target, self.signo, info, source=self)
        if taken != 0 or not self.is_queued():
            # Ignored now: a periodic timer waits for its next turn.
            self.pending = False
            self.advance()

    def is_queued(self) -> bool:
        target = self.target
        pending = target.shared_pending if target is self.tg else target.pending
        return any(entry.source is self for entry in pending.queue)

    def advance(self) -> int:
        """Move a periodic timer past now and arm it; returns how many expirations lie behind it beyond the first."""
        if not self.interval or self.expiry is None:
            return 0
        missed = max(0, clocks.now(self.clock) - self.expiry) // self.interval
        self.expiry += (missed + 1) * self.interval
        self.arm()
        return missed

    # -- of its queue entry (signals.QueuedSignal.source)
    def signal_taken(self, info: bytes) -> bytes:
        self.pending = False
        if self.deleted:
            return info
        self.last_overrun = min(self.advance() if self.timer is None else 0, DELAYTIMER_MAX)
        return siginfo.timer(self.signo, self.id, self.last_overrun, self.value)

    def signal_dropped(self) -> None:
        self.pending = False
        if not self.deleted and self.timer is None:
            self.advance()


def create(tg, clock, notify, signo, value, target) -> PosixTimer:
    timers = tg.posix_timers
    if timers is None:
        timers = tg.posix_timers = {}
    number = tg.data.get("next_timer", 0)
    while number in timers:
        number = (number + 1) & 0x7FFFFFFF
    tg.data["next_timer"] = number + 1
    timer = timers[number] = PosixTimer(tg, number, clock, notify, signo, number if value is None else value, target)
    return timer


def delete(timer: PosixTimer) -> None:
    timer.cancel()
    timer.deleted = True
    del timer.tg.posix_timers[timer.id]


def group_exit(tg) -> None:
    for timer in tuple((tg.posix_timers or {}).values()):
        delete(timer)
    tg.posix_timers = None


def on_exec(task) -> None:
    group_exit(task.tg)
    task.tg.data.pop("next_timer", None)


GROUP_EXIT.append(group_exit)
EXEC.append(on_exec)
