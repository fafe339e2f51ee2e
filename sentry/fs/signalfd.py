"""Signals as data (signalfd(2))."""

from struct import Struct

from sentry.abi.errno import EAGAIN, EINVAL, ESPIPE
from sentry.abi.siginfo import SI_TIMER
from sentry.abi.signal import SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP
from sentry.fs.anon import ANON_INODE, AnonFile
from sentry.kernel import signals
from sentry.vfs.file import O_RDWR, POLL_READABLE

# signo errno code pid uid fd tid band overrun trapno status int ptr utime stime addr
RECORD = Struct("<IiiIIiIIIIiiQQQQ48x")
HEAD = Struct("<iii")
KILL = Struct("<iIQ")
CHLD = Struct("<iIi4xqq")
TIMER = Struct("<iiQ")
assert RECORD.size == 128


def record(info: bytes) -> bytes:
    """struct signalfd_siginfo from a siginfo (fs/signalfd.c:signalfd_copyinfo)."""
    signo, errno, code = HEAD.unpack_from(info)
    pid = uid = fd = tid = band = overrun = status = number = pointer = utime = stime = addr = 0
    if code == SI_TIMER:
        tid, overrun, pointer = TIMER.unpack_from(info, 16)
        number = pointer & 0xFFFFFFFF
    elif signo == SIGCHLD and code > 0:
        pid, uid, status, utime, stime = CHLD.unpack_from(info, 16)
    elif signo in (SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP) and 0 < code < 0x80:
        addr = int.from_bytes(info[16:24], "little")
    else:
        pid, uid, pointer = KILL.unpack_from(info, 16)
        if code >= 0:
            pointer = 0
        number = pointer & 0xFFFFFFFF
    if number >> 31:
        number -= 1 << 32
    return RECORD.pack(
        signo, errno, code, pid & 0xFFFFFFFF, uid, fd, tid & 0xFFFFFFFF, band, overrun & 0xFFFFFFFF, 0, status, number,
        pointer, utime & (1 << 64) - 1, stime & (1 << 64) - 1, addr,
    )  # fmt: skip


class SignalFile(AnonFile):
    """`mask`: the signals it takes. Readers take their own process's; pollers see those of `tg`, the process that
    used it last (a descriptor that crosses fork has no other owner here)."""

    __slots__ = ("mask", "tg")

    def __init__(self, t, mask, flags):
        AnonFile.__init__(self, O_RDWR | flags, ANON_INODE, None, t.kernel.signalfds)
        self.mask = mask
        self.tg = t.tg

    def anon_name(self):
        return b"anon_inode:[signalfd]"

    def set_mask(self, mask: int) -> None:
        self.mask = mask
        self.queue.wake(POLL_READABLE)

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        if count < 128:
            return -EINVAL
        self.tg = t.tg
        records = []
        for _ in range(min(count // 128, 64)):
            taken = signals.take_signal(t, self.mask)
            if taken is None:
                break
            records.append(record(taken[1]))
        if not records:
            return -EAGAIN
        signals.recalculate(t)
        return b"".join(records)

    def poll(self):
        tg = self.tg
        if not tg.tasks:
            return 0
        pending = tg.shared_pending.mask
        for task in tg.tasks:
            pending |= task.pending.mask
        return POLL_READABLE if pending & self.mask else 0

    def fdinfo(self):
        return b"sigmask:\t%016x\n" % self.mask
