"""Interval timers, POSIX timers, timerfd."""

from struct import Struct

from sentry.abi.errno import EAGAIN, EBADF, EINVAL, EPERM
from sentry.abi.signal import NSIG, SIGALRM
from sentry.abi.time import ITIMERSPEC, NSEC, timespec_ns, timeval_ns
from sentry.core.creds import CAP_WAKE_ALARM
from sentry.core.syscall import U32, Fd, Flags, InStruct, Int, OutStruct, syscall
from sentry.fs.timerfd import TimerFile
from sentry.kernel import clocks, itimers, posix_timers
from sentry.kernel.clocks import CpuClock
from sentry.kernel.posix_timers import SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID
from sentry.syscalls.fdpair import install_new
from sentry.vfs.file import O_CLOEXEC, O_NONBLOCK, O_RDWR

TIMER_ABSTIME = 1
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
SIGEVENT = Struct("<Qiii44x")
TIMERS_MAX = 4096  # of one process; Linux counts them against RLIMIT_SIGPENDING


def get_itimerval(t, addr):
    """(interval, value) in ns, or -EINVAL."""
    s1, u1, s2, u2 = ITIMERSPEC.unpack(t.read(addr, 32))
    interval, value = timeval_ns(s1, u1), timeval_ns(s2, u2)
    return -EINVAL if interval < 0 or value < 0 else (interval, value)


def get_itimerspec(t, addr):
    s1, n1, s2, n2 = ITIMERSPEC.unpack(t.read(addr, 32))
    interval, value = timespec_ns(s1, n1), timespec_ns(s2, n2)
    return -EINVAL if interval < 0 or value < 0 else (interval, value)


def itimerval(interval: int, value: int) -> bytes:
    return ITIMERSPEC.pack(interval // NSEC, interval % NSEC // 1000, value // NSEC, value % NSEC // 1000)


def itimerspec(interval: int, value: int) -> bytes:
    return ITIMERSPEC.pack(interval // NSEC, interval % NSEC, value // NSEC, value % NSEC)


@syscall("alarm", 37, (U32,))
def sys_alarm(t, seconds):
    timer = itimers.get(t.tg, itimers.ITIMER_REAL)
    _, left = timer.get()
    timer.set(0, seconds * NSEC)
    # Rounded to the nearest second, but what is armed is never 0 (kernel/time/itimer.c:alarm_setitimer).
    whole, rest = divmod(left, NSEC)
    return whole + 1 if left and (not whole or rest >= NSEC // 2) else whole


@syscall("getitimer", 36, (Int, OutStruct(32)))
def sys_getitimer(t, which, addr):
    if not 0 <= which <= 2:
        return -EINVAL
    t.write(addr, itimerval(*itimers.get(t.tg, which).get()))
    return 0


@syscall("setitimer", 38, (Int, InStruct(32), OutStruct(32)))
def sys_setitimer(t, which, new, old):
    times = get_itimerval(t, new) if new else (0, 0)
    if isinstance(times, int):
        return times
    if not 0 <= which <= 2:
        return -EINVAL
    timer = itimers.get(t.tg, which)
    before = timer.get()
    timer.set(*times)
    if old:
        t.write(old, itimerval(*before))
    return 0


# -- POSIX timers
@syscall("timer_create", 222, (Int, InStruct(64), OutStruct(4)))
def sys_timer_create(t, clock_id, event, addr):
    value = None
    notify, signo, target = SIGEV_SIGNAL, SIGALRM, t.tg
    if event:
        value, signo, notify, tid = SIGEVENT.unpack(t.read(event, 64))
    clock = clocks.find(t, clock_id)
    if clock == -EINVAL or (not isinstance(clock, CpuClock) and clock_id not in clocks.TIMER_CLOCKS):
        return -EINVAL
    if clock_id in clocks.ALARM_CLOCKS and not t.creds.capable(CAP_WAKE_ALARM):
        return -EPERM
    if notify == SIGEV_THREAD_ID:
        target = t.tg.pids.tasks.get(tid)
        if target is None or target.tg is not t.tg or target.dead:
            return -EINVAL
    elif notify not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD):
        return -EINVAL
    if notify != SIGEV_NONE and not 1 <= signo <= NSIG:
        return -EINVAL
    if t.tg.posix_timers is not None and len(t.tg.posix_timers) >= TIMERS_MAX:
        return -EAGAIN
    timer = posix_timers.create(t.tg, clock, notify, signo, value, target)
    t.write(addr, timer.id.to_bytes(4, "little"))
    return 0


def find_timer(t, timer_id):
    timers = t.tg.posix_timers
    return None if timers is None else timers.get(timer_id)


@syscall("timer_settime", 223, (Int, Int, InStruct(32), OutStruct(32)))
def sys_timer_settime(t, timer_id, flags, new, old):
    if not new:
        return -EINVAL
    times = get_itimerspec(t, new)
    if isinstance(times, int):
        return times
    timer = find_timer(t, timer_id)
    if timer is None:
        return -EINVAL
    before = timer.get()
    timer.set(times[0], times[1], bool(flags & TIMER_ABSTIME))
    if old:
        t.write(old, itimerspec(*before))
    return 0


@syscall("timer_gettime", 224, (Int, OutStruct(32)))
def sys_timer_gettime(t, timer_id, addr):
    timer = find_timer(t, timer_id)
    if timer is None:
        return -EINVAL
    t.write(addr, itimerspec(*timer.get()))
    return 0


@syscall("timer_getoverrun", 225, (Int,))
def sys_timer_getoverrun(t, timer_id):
    timer = find_timer(t, timer_id)
    return -EINVAL if timer is None else timer.last_overrun


@syscall("timer_delete", 226, (Int,))
def sys_timer_delete(t, timer_id):
    timer = find_timer(t, timer_id)
    if timer is None:
        return -EINVAL
    posix_timers.delete(timer)
    return 0


# -- timerfd
@syscall("timerfd_create", 283, (Int, Flags))
def sys_timerfd_create(t, clock_id, flags):
    if flags & ~(O_CLOEXEC | O_NONBLOCK) or clock_id not in (0, 1, 7, 8, 9):
        return -EINVAL
    if clock_id in clocks.ALARM_CLOCKS and not t.creds.capable(CAP_WAKE_ALARM):
        return -EPERM
    file = TimerFile(t.kernel, clock_id, clocks.HOST_CLOCKS[clock_id], O_RDWR | flags & O_NONBLOCK)
    return install_new(t, file, bool(flags & O_CLOEXEC))


@syscall("timerfd_settime", 286, (Fd, Int, InStruct(32), OutStruct(32)))
def sys_timerfd_settime(t, fd, flags, new, old):
    times = get_itimerspec(t, new)
    if isinstance(times, int) or flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        return -EINVAL
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if not isinstance(file, TimerFile):
        return -EINVAL
    before = file.get()
    file.set(times[0], times[1], bool(flags & TFD_TIMER_ABSTIME), flags)
    if old:
        t.write(old, itimerspec(*before))
    return 0


@syscall("timerfd_gettime", 287, (Fd, OutStruct(32)))
def sys_timerfd_gettime(t, fd, addr):
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if not isinstance(file, TimerFile):
        return -EINVAL
    t.write(addr, itimerspec(*file.get()))
    return 0
