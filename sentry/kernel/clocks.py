"""The clocks of clock_gettime(2), and what a time of one of them is as a deadline of the dispatcher."""

from time import clock_gettime_ns, monotonic_ns

from sentry.abi.errno import EINVAL
from sentry.abi.time import FOREVER
from sentry.kernel import cputime

(
    CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
    CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
) = range(10)  # fmt: skip
CLOCK_TAI = 11
HOST_CLOCKS = {
    CLOCK_REALTIME: 0, CLOCK_MONOTONIC: 1, CLOCK_MONOTONIC_RAW: 4, CLOCK_REALTIME_COARSE: 5, CLOCK_MONOTONIC_COARSE: 6,
    CLOCK_BOOTTIME: 7, CLOCK_REALTIME_ALARM: 0, CLOCK_BOOTTIME_ALARM: 7, CLOCK_TAI: 11,
}  # fmt: skip
TIMER_CLOCKS = (
    CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM, CLOCK_TAI,
)  # fmt: skip
ALARM_CLOCKS = (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED = 0, 1, 2
CPU_POLL = 1000000  # a CPU clock is looked at this often at most, ns


# Nanoseconds by which a host clock's number is ahead here (time_namespaces(7)): set_offsets.
OFFSETS = dict.fromkeys(range(12), 0)


def set_offsets(monotonic: int, boottime: int) -> None:
    """The container's clocks; before its first process runs."""
    for clock in (CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE):
        OFFSETS[clock] = monotonic
    OFFSETS[CLOCK_BOOTTIME] = boottime


class CpuClock:
    """A process's or a thread's CPU time. `target`: ThreadGroup or Task; `which`: CPUCLOCK_*."""

    __slots__ = ("target", "which", "is_thread")

    def __init__(self, target, which, is_thread):
        self.target = target
        self.which = which
        self.is_thread = is_thread

    def now(self) -> int:
        user, system = cputime.thread(self.target) if self.is_thread else cputime.process(self.target)
        return user if self.which == CPUCLOCK_VIRT else user + system

    def gone(self) -> bool:
        return self.target.dead if self.is_thread else not self.target.tasks

    def look_again(self, remaining: int) -> int:
        """When (CLOCK_MONOTONIC) it could have advanced by `remaining` ns at the earliest."""
        threads = 1 if self.is_thread else max(1, len(self.target.tasks))
        return monotonic_ns() + max(remaining // threads, CPU_POLL)


def find(t, clock: int) -> "int | CpuClock":
    """A clockid of the guest: a host clock number (>= 0), a CpuClock, or -EINVAL."""
    if clock == CLOCK_PROCESS_CPUTIME_ID:
        return CpuClock(t.tg, CPUCLOCK_SCHED, False)
    if clock == CLOCK_THREAD_CPUTIME_ID:
        return CpuClock(t, CPUCLOCK_SCHED, True)
    if clock >= 0:
        return HOST_CLOCKS.get(clock, -EINVAL)
    # (~pid << 3) | which, plus 4 for a thread (include/linux/posix-timers.h)
    pid, which = ~(clock >> 3), clock & 3
    if which == 3:
        return -EINVAL
    if clock & 4:
        task = t if pid == 0 else t.tg.pids.tasks.get(pid)
        if task is None or task.tg is not t.tg or task.dead:
            return -EINVAL
        return CpuClock(task, which, True)
    tg = t.tg if pid == 0 else t.tg.pids.groups.get(pid)
    if tg is None:
        return -EINVAL
    return CpuClock(tg, which, False)


def now(clock: "int | CpuClock") -> int:
    """Its time in ns."""
    return clock.now() if isinstance(clock, CpuClock) else clock_gettime_ns(clock) + OFFSETS[clock]


def deadline(clock: int, when: int) -> int:
    """The CLOCK_MONOTONIC time at which host clock number `clock` will show `when`. Later steps of the real-time
    clock do not move it."""
    when -= OFFSETS[clock]
    if clock == CLOCK_MONOTONIC:
        return max(0, min(when, FOREVER))
    return max(0, min(when - clock_gettime_ns(clock) + monotonic_ns(), FOREVER))
