"""Clocks and sleeping (clock_gettime(2), nanosleep(2), clock_nanosleep(2), adjtimex(2))."""

from struct import Struct
from time import clock_getres, monotonic_ns, time_ns

from sentry.abi.errno import EINVAL, EOPNOTSUPP, EPERM, ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from sentry.abi.time import FOREVER, NSEC, PAIR, get_timespec, timespec, timeval, timeval_ns
from sentry.core.result import BLOCKED
from sentry.core.syscall import InOutStruct, InStruct, Int, OutStruct, syscall
from sentry.core.waitq import Wait
from sentry.kernel import clocks
from sentry.kernel.clocks import CpuClock

TIMER_ABSTIME = 1
TIMEZONE = Struct("<ii")
TIMEX = Struct("<I4xqqqqi4xqqqqqqqqi4xqqqqqi44x")


@syscall("clock_gettime", 228, (Int, OutStruct(16)))
def sys_clock_gettime(t, clock_id, addr):
    clock = clocks.find(t, clock_id)
    if clock == -EINVAL:
        return -EINVAL
    t.write(addr, timespec(clocks.now(clock)))
    return 0


@syscall("clock_getres", 229, (Int, OutStruct(16)))
def sys_clock_getres(t, clock_id, addr):
    clock = clocks.find(t, clock_id)
    if clock == -EINVAL:
        return -EINVAL
    if addr:
        resolution = 1 if isinstance(clock, CpuClock) else round(clock_getres(clock) * NSEC)
        t.write(addr, timespec(resolution))
    return 0


@syscall("clock_settime", 227, (Int, InStruct(16)))
def sys_clock_settime(t, clock_id, addr):
    if clock_id < 0 or clock_id in (clocks.CLOCK_PROCESS_CPUTIME_ID, clocks.CLOCK_THREAD_CPUTIME_ID):
        return -EPERM if clocks.find(t, clock_id) != -EINVAL else -EINVAL
    if clock_id != clocks.CLOCK_REALTIME:
        return -EINVAL
    when = get_timespec(t, addr)
    return when if when < 0 else -EPERM  # the host's clock is nobody's here


@syscall("gettimeofday", 96, (OutStruct(16), OutStruct(8)))
def sys_gettimeofday(t, addr, zone):
    if addr:
        t.write(addr, timeval(time_ns()))
    if zone:
        t.write(zone, TIMEZONE.pack(0, 0))
    return 0


@syscall("settimeofday", 164, (InStruct(16), InStruct(8)))
def sys_settimeofday(t, addr, zone):
    if addr:
        sec, usec = PAIR.unpack(t.read(addr, 16))
        if timeval_ns(sec, usec) < 0:
            return -EINVAL
    if zone:
        t.read(zone, 8)
    return -EPERM


@syscall("time", 201, (OutStruct(8),))
def sys_time(t, addr):
    now = time_ns() // NSEC
    if addr:
        t.write(addr, now.to_bytes(8, "little"))
    return now


class Sleep(Wait):
    """nanosleep and clock_nanosleep. `end`: CLOCK_MONOTONIC ns; `remaining`: where the rest goes if interrupted, or 0;
    `absolute`: restarted from its arguments."""

    __slots__ = ("end", "remaining", "absolute")

    def __init__(self, end, remaining, absolute):
        self.end = end
        self.remaining = remaining
        self.absolute = absolute

    def poll(self, t):
        return BLOCKED

    def timeout(self, t):
        return 0

    def interrupted(self, t):
        if self.absolute:
            return -ERESTARTNOHAND
        left = self.end - monotonic_ns()
        if left <= 0:
            return 0
        if self.remaining:
            t.write(self.remaining, timespec(left))
        t.restart = self
        return -ERESTART_RESTARTBLOCK

    def restart_call(self, t):
        return t.block(Sleep(self.end, self.remaining, False), deadline=self.end)


class CpuSleep(Wait):
    """clock_nanosleep on a CPU clock, which is looked at from time to time; `end`: its time to wait for."""

    __slots__ = ("clock", "end", "remaining", "absolute")

    def __init__(self, clock, end, remaining, absolute):
        self.clock = clock
        self.end = end
        self.remaining = remaining
        self.absolute = absolute

    def start(self, t):
        left = self.end - self.clock.now()
        if left <= 0 or self.clock.gone():
            return 0
        return t.block(self, deadline=self.clock.look_again(left))

    def poll(self, t):
        return BLOCKED

    def timeout(self, t):
        return CpuSleep(self.clock, self.end, self.remaining, self.absolute).start(t)

    def interrupted(self, t):
        if self.absolute:
            return -ERESTARTNOHAND
        if self.remaining:
            t.write(self.remaining, timespec(max(0, self.end - self.clock.now())))
        t.restart = self
        return -ERESTART_RESTARTBLOCK

    def restart_call(self, t):
        return CpuSleep(self.clock, self.end, self.remaining, False).start(t)


@syscall("nanosleep", 35, (InStruct(16), OutStruct(16)), blocks=True)
def sys_nanosleep(t, addr, remaining):
    length = get_timespec(t, addr)
    if length < 0:
        return length
    end = min(monotonic_ns() + length, FOREVER)
    return t.block(Sleep(end, remaining, False), deadline=end)


@syscall("clock_nanosleep", 230, (Int, Int, InStruct(16), OutStruct(16)), blocks=True)
def sys_clock_nanosleep(t, clock_id, flags, addr, remaining):
    clock = clocks.find(t, clock_id)
    if clock == -EINVAL or clock_id == clocks.CLOCK_THREAD_CPUTIME_ID:
        return -EINVAL
    if clock_id in (clocks.CLOCK_MONOTONIC_RAW, clocks.CLOCK_REALTIME_COARSE, clocks.CLOCK_MONOTONIC_COARSE):
        return -EOPNOTSUPP
    length = get_timespec(t, addr)
    if length < 0:
        return length
    absolute = bool(flags & TIMER_ABSTIME)
    if absolute:
        remaining = 0
    if isinstance(clock, CpuClock):
        if clock.is_thread and clock.target is t:
            return -EINVAL
        return CpuSleep(clock, length if absolute else clock.now() + length, remaining, absolute).start(t)
    end = clocks.deadline(clock, length) if absolute else min(monotonic_ns() + length, FOREVER)
    if absolute and end <= monotonic_ns():
        return 0
    return t.block(Sleep(end, remaining, absolute), deadline=end)


def read_timex(t, addr):
    """adjtimex: reading is free; the clock itself is the host's and nobody's here."""
    (modes,) = Struct("<I").unpack(t.read(addr, 4))
    if modes and modes != 0xA001:  # ADJ_OFFSET_SS_READ
        return -EPERM
    now = time_ns()
    # status STA_UNSYNC, a tick of 10 ms; the host's own discipline is not shown
    t.write(addr, TIMEX.pack(
        modes, 0, 0, 16000000, 16000000, 0x40, 2, 1, 32768000, now // NSEC, now % NSEC // 1000, 10000, *(0,) * 9,
    ))  # fmt: skip
    return 5  # TIME_ERROR: the clock is not known to be synchronised


@syscall("adjtimex", 159, (InOutStruct(208),))
def sys_adjtimex(t, addr):
    return read_timex(t, addr)


@syscall("clock_adjtime", 305, (Int, InOutStruct(208)))
def sys_clock_adjtime(t, clock_id, addr):
    if clock_id != clocks.CLOCK_REALTIME:
        return -EOPNOTSUPP if clocks.find(t, clock_id) != -EINVAL else -EINVAL
    return read_timex(t, addr)
