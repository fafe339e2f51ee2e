"""Signal numbers, flags and siginfo of Linux x86-64 (signal(7), sigaction(2), asm-generic/siginfo.h).

A siginfo travels through the kernel as the first 48 bytes of siginfo_t: signo, errno, code, padding, and the
union; the rest of its 128 bytes is zero for every kind the kernel makes.
"""

from struct import Struct

from struct import Struct

(
    SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE,
    SIGALRM, SIGTERM, SIGSTKFLT, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ,
    SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR, SIGSYS,
) = range(1, 32)  # fmt: skip
SIGRTMIN, SIGRTMAX, NSIG = 32, 64, 64

SIG_DFL, SIG_IGN = 0, 1
SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO = 1, 2, 4
SA_EXPOSE_TAGBITS, SA_RESTORER, SA_ONSTACK, SA_RESTART = 0x800, 0x04000000, 0x08000000, 0x10000000
SA_NODEFER, SA_RESETHAND = 0x40000000, 0x80000000
SA_ALL = 7 | SA_EXPOSE_TAGBITS | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND

SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31
MINSIGSTKSZ = 2048

# si_code
SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL = 0, 0x80, -1, -2, -3, -4, -5, -6
SEGV_MAPERR, SEGV_ACCERR = 1, 2
BUS_ADRERR = 2
CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = range(1, 7)


def bit(signo: int) -> int:
    """The bit of a signal in a mask."""
    return 1 << (signo - 1)


def bits(*signals: int) -> int:
    mask = 0
    for signo in signals:
        mask |= 1 << (signo - 1)
    return mask


UNBLOCKABLE = bits(SIGKILL, SIGSTOP)
SYNCHRONOUS = bits(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)
STOP_SIGNALS = bits(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
DEFAULT_IGNORE = bits(SIGCONT, SIGCHLD, SIGWINCH, SIGURG)
DEFAULT_CORE = bits(SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ)

_kill = Struct("<iiiiII24x")
_rt = Struct("<iiiiIIQ16x")
_timer = Struct("<iiiiiiQ16x")
_chld = Struct("<iiiiIIi4xqq")
_fault = Struct("<iiiiQ24x")
_poll = Struct("<iiiiqi20x")
_head = Struct("<iii")
INFO_SIZE = 48


def info_kernel(signo: int) -> bytes:
    """Sent by the kernel (SI_KERNEL)."""
    return _kill.pack(signo, 0, SI_KERNEL, 0, 0, 0)


def info_user(signo: int, pid: int, uid: int, code: int = SI_USER) -> bytes:
    """kill(2), or tgkill(2) with SI_TKILL."""
    return _kill.pack(signo, 0, code, 0, pid, uid)


def info_queue(signo: int, pid: int, uid: int, value: int, code: int = SI_QUEUE) -> bytes:
    """sigqueue(3), mq_notify(3); `value`: sigval as unsigned 64 bits."""
    return _rt.pack(signo, 0, code, 0, pid, uid, value)


def info_timer(signo: int, timer_id: int, overrun: int, value: int) -> bytes:
    """POSIX timer."""
    return _timer.pack(signo, 0, SI_TIMER, 0, timer_id, overrun, value)


def info_chld(signo: int, code: int, pid: int, uid: int, status: int, utime: int, stime: int) -> bytes:
    """A child changed state; `utime`, `stime` in clock ticks (1/100 s)."""
    return _chld.pack(signo, 0, code, 0, pid, uid, status, utime, stime)


def info_fault(signo: int, code: int, addr: int) -> bytes:
    return _fault.pack(signo, 0, code, 0, addr)


def info_poll(signo: int, code: int, band: int, fd: int) -> bytes:
    """F_SETSIG."""
    return _poll.pack(signo, 0, code, 0, band, fd)


def info_head(info: bytes) -> "tuple[int, int, int]":
    """(signo, errno, code)."""
    return _head.unpack_from(info)

_kill = Struct("<iiiiII24x")
_rt = Struct("<iiiiIIQ16x")
_timer = Struct("<iiiiiiQ16x")
_chld = Struct("<iiiiIIi4xqq")
_fault = Struct("<iiiiQ24x")
_poll = Struct("<iiiiqi20x")
_head = Struct("<iii")
INFO_SIZE = 48


def info_kernel(signo: int) -> bytes:
    """Sent by the kernel (SI_KERNEL)."""
    return _kill.pack(signo, 0, SI_KERNEL, 0, 0, 0)


def info_user(signo: int, pid: int, uid: int, code: int = SI_USER) -> bytes:
    """kill(2), or tgkill(2) with SI_TKILL."""
    return _kill.pack(signo, 0, code, 0, pid, uid)


def info_queue(signo: int, pid: int, uid: int, value: int, code: int = SI_QUEUE) -> bytes:
    """sigqueue(3), mq_notify(3); `value`: sigval as unsigned 64 bits."""
    return _rt.pack(signo, 0, code, 0, pid, uid, value)


def info_timer(signo: int, timer_id: int, overrun: int, value: int) -> bytes:
    """POSIX timer."""
    return _timer.pack(signo, 0, SI_TIMER, 0, timer_id, overrun, value)


def info_chld(signo: int, code: int, pid: int, uid: int, status: int, utime: int, stime: int) -> bytes:
    """A child changed state; `utime`, `stime` in clock ticks (1/100 s)."""
    return _chld.pack(signo, 0, code, 0, pid, uid, status, utime, stime)


def info_fault(signo: int, code: int, addr: int) -> bytes:
    return _fault.pack(signo, 0, code, 0, addr)


def info_poll(signo: int, code: int, band: int, fd: int) -> bytes:
    """F_SETSIG."""
    return _poll.pack(signo, 0, code, 0, band, fd)


def info_head(info: bytes) -> "tuple[int, int, int]":
    """(signo, errno, code)."""
    return _head.unpack_from(info)
