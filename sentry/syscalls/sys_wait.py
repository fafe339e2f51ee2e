"""wait4 waitid."""

from struct import pack

from sentry.abi.errno import EAGAIN, EBADF, EINVAL, ESRCH
from sentry.abi.signal import SIGCHLD
from sentry.core.syscall import Int, OutStruct, syscall
from sentry.kernel.pidfd import PidFd
from sentry.kernel.wait import (
    P_ALL,
    P_PGID,
    P_PID,
    P_PIDFD,
    WALL,
    WCLONE,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WNOTHREAD,
    WNOWAIT,
    WSTOPPED,
    do_wait,
)
from sentry.vfs.file import O_NONBLOCK

COMMON = WNOHANG | WCONTINUED | WNOTHREAD | WCLONE | WALL


@syscall("wait4", 61, (Int, OutStruct(4), Int, OutStruct(144)), blocks=True)
def sys_wait4(t, pid, stat_addr, options, rusage):
    options &= 0xFFFFFFFF
    if options & ~(COMMON | WSTOPPED):
        return -EINVAL
    if pid == -0x80000000:
        return -ESRCH
    if pid == -1:
        which, wanted = P_ALL, None
    elif pid < 0:
        which, wanted = P_PGID, -pid
    elif pid == 0:
        which, wanted = P_PGID, t.tg.pgrp.pgid
    else:
        which, wanted = P_PID, pid
    return do_wait(t, which, wanted, options | WEXITED, deliver_wait4, (stat_addr, rusage))


def deliver_wait4(t, found, arguments):
    if found is None:
        return 0
    if type(found) is int:
        return found
    stat_addr, rusage = arguments
    if rusage:
        t.write(rusage, found.rusage)
    if stat_addr:
        t.write(stat_addr, found.word.to_bytes(4, "little"))
    return found.pid


@syscall("waitid", 247, (Int, Int, OutStruct(128), Int, OutStruct(144)), blocks=True)
def sys_waitid(t, which, upid, infop, options, rusage):
    result = start_waitid(t, which, upid, infop, options & 0xFFFFFFFF, rusage)
    if result < 0 and infop and result >= -4095:
        write_info(t, infop, None)
    return result


def start_waitid(t, which, upid, infop, options, rusage):
    if options & ~(COMMON | WNOWAIT | WEXITED | WSTOPPED):
        return -EINVAL
    if not options & (WEXITED | WSTOPPED | WCONTINUED):
        return -EINVAL
    wanted = upid
    nonblocking_pidfd = False
    if which == P_PID:
        if upid <= 0:
            return -EINVAL
    elif which == P_PGID:
        if upid < 0:
            return -EINVAL
        if upid == 0:
            wanted = t.tg.pgrp.pgid
    elif which == P_PIDFD:
        if upid < 0:
            return -EINVAL
        file = t.files.get(upid)
        if not isinstance(file, PidFd):
            return -EBADF
        wanted = file.tg
        if file.flags & O_NONBLOCK and not options & WNOHANG:
            nonblocking_pidfd = True
            options |= WNOHANG
    elif which != P_ALL:
        return -EINVAL
    return do_wait(t, which, wanted, options, deliver_waitid, (infop, rusage, nonblocking_pidfd))


def deliver_waitid(t, found, arguments):
    infop, rusage, nonblocking_pidfd = arguments
    result = 0
    if type(found) is int:
        result, found = found, None
    elif found is None:
        result = -EAGAIN if nonblocking_pidfd else 0
    elif rusage:
        t.write(rusage, found.rusage)
    if infop:
        write_info(t, infop, found)
    return result


def write_info(t, infop, found) -> None:
    """Only these fields of siginfo_t are written, zeros when there is no report (kernel/exit.c:waitid)."""
    if found is None:
        t.write(infop, bytes(12))
        t.write(infop + 16, bytes(12))
    else:
        t.write(infop, pack("<iii", SIGCHLD, 0, found.code))
        t.write(infop + 16, pack("<iIi", found.pid, found.uid, found.status))
