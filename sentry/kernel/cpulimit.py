"""RLIMIT_CPU (setrlimit(2), kernel/time/posix-cpu-timers.c:check_process_timers): SIGXCPU at the soft limit and each
second after it, SIGKILL at the hard limit. The host does not tell when a process has used so much time, so it is
asked when that could be the case, ever less often while the process is idle."""

from sentry.abi.signal import SIGKILL, SIGXCPU
from sentry.kernel import clocks, signals
from sentry.kernel.clocks import CpuClock
from sentry.kernel.hooks import GROUP_EXIT
from sentry.kernel.task import RLIM_INFINITY, RLIMIT_CPU

SECOND = 1_000_000_000
FIRST_LOOK, LONGEST = 10_000_000, SECOND  # ns between looks near the limit


class Watch:
    """`warn_at`: seconds of CPU time at which the next SIGXCPU is due."""

    __slots__ = ("tg", "clock", "timer", "warn_at", "seen", "pause")

    def __init__(self, tg):
        self.tg = tg
        self.clock = CpuClock(tg, clocks.CPUCLOCK_PROF, False)
        self.warn_at = tg.rlimits[RLIMIT_CPU][0]
        self.seen = -1
        self.pause = FIRST_LOOK
        self.timer = None
        self.look()

    def look(self) -> None:
        tg = self.tg
        used = self.clock.now()
        soft, hard = tg.rlimits[RLIMIT_CPU]
        if used >= hard * SECOND:
            signals.send(tg, SIGKILL)
            return
        if used >= self.warn_at * SECOND:
            self.warn_at = used // SECOND + 1
            signals.send(tg, SIGXCPU)
        self.pause = min(self.pause * 2, LONGEST) if used == self.seen else FIRST_LOOK
        self.seen = used
        left = (min(self.warn_at, hard) * SECOND - used) // max(1, len(tg.tasks))
        self.timer = tg.kernel.timers.add(clocks.monotonic_ns() + max(left, self.pause), self.look)


def watch(tg) -> None:
    """The limit of the process is new, or has changed."""
    stop(tg)
    if tg.rlimits[RLIMIT_CPU][0] != RLIM_INFINITY:
        tg.data["cpu_limit"] = Watch(tg)


def stop(tg) -> None:
    old = tg.data.pop("cpu_limit", None)
    if old is not None and old.timer is not None:
        old.timer.cancel()


GROUP_EXIT.append(stop)
