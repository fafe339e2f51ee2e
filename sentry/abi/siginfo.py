"""siginfo_t of x86-64 as 128 bytes (asm-generic/siginfo.h). The kernel carries it in this form from the sender to
signal frames, signalfd, sigwaitinfo and waitid."""

from struct import Struct

SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL = 0, 0x80, -1, -2, -3, -4, -5, -6
CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = 1, 2, 3, 4, 5, 6
SIZE = 128

_kill = Struct("<iiiiiI104x")  # signo errno code pad | pid uid
_queue = Struct("<iiiiiIQ96x")  # … | pid uid value
_chld = Struct("<iiiiiIiiqq80x")  # … | pid uid status pad utime stime
_fault = Struct("<iiiiQ104x")  # … | addr
_sys = Struct("<iiiiQiI96x")  # … | call address, number, architecture
_timer = Struct("<iiiiiiQ96x")  # … | tid overrun value
_poll = Struct("<iiiiqi100x")  # … | band fd


def kill(signo: int, code: int, pid: int, uid: int) -> bytes:
    return _kill.pack(signo, 0, code, 0, pid, uid)


def queue(signo: int, code: int, pid: int, uid: int, value: int) -> bytes:
    return _queue.pack(signo, 0, code, 0, pid, uid, value)


def chld(signo: int, code: int, pid: int, uid: int, status: int, utime: int = 0, stime: int = 0) -> bytes:
    """utime and stime in clock ticks (1/100 s)."""
    return _chld.pack(signo, 0, code, 0, pid, uid, status, 0, utime, stime)


def fault(signo: int, code: int, addr: int) -> bytes:
    return _fault.pack(signo, 0, code, 0, addr)


def sys(signo: int, code: int, errno: int, addr: int, nr: int, arch: int) -> bytes:
    return _sys.pack(signo, errno, code, 0, addr, nr, arch)


def timer(signo: int, timer_id: int, overrun: int, value: int) -> bytes:
    return _timer.pack(signo, 0, SI_TIMER, 0, timer_id, overrun, value)


def poll(signo: int, code: int, band: int, fd: int) -> bytes:
    return _poll.pack(signo, 0, code, 0, band, fd)


def kernel(signo: int) -> bytes:
    """Sent by the kernel itself (SEND_SIG_PRIV)."""
    return _kill.pack(signo, 0, SI_KERNEL, 0, 0, 0)
