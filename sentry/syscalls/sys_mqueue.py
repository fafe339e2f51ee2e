"""POSIX message queues: mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr."""

from struct import Struct

from sentry.abi.errno import EBADF, EINVAL, EMSGSIZE
from sentry.abi.signal import NSIG
from sentry.abi.time import get_timespec
from sentry.core.syscall import PARTIAL, U32, Fd, Flags, Mode, Ptr, Size, Str, syscall
from sentry.kernel import clocks, mqueue
from sentry.kernel.posix_timers import SIGEV_NONE, SIGEV_SIGNAL
from sentry.syscalls.fdpair import install_new
from sentry.vfs.file import O_CLOEXEC, O_NONBLOCK

CLOCK_REALTIME = 0
ATTR = Struct("<4q32x")  # struct mq_attr: flags, maxmsg, msgsize, curmsgs
SIGEVENT = Struct("<Qii")
PATH_MAX = 4096


@syscall("mq_open", 240, (Str, Flags, Mode, Ptr))
def sys_mq_open(t, name_addr, flags, mode, attr_addr):
    attributes = ATTR.unpack(t.read(attr_addr, ATTR.size))[1:3] if attr_addr else None
    file = mqueue.open_queue(t, t.read_cstr(name_addr, PATH_MAX), flags, mode, attributes)
    return file if isinstance(file, int) else install_new(t, file, bool(flags & O_CLOEXEC))


@syscall("mq_unlink", 241, (Str,))
def sys_mq_unlink(t, name_addr):
    return mqueue.unlink(t, t.read_cstr(name_addr, PATH_MAX))


def queue_of(t, fd):
    """QueueFile or -EBADF."""
    file = t.files.get(fd)
    return file if isinstance(file, mqueue.QueueFile) else -EBADF


def deadline_of(t, timeout):
    """(CLOCK_MONOTONIC deadline or None, 0 or -errno)."""
    if not timeout:
        return None, 0
    when = get_timespec(t, timeout)
    return (None, when) if when < 0 else (clocks.deadline(CLOCK_REALTIME, when), 0)


@syscall("mq_timedsend", 242, (Fd, Ptr, Size, U32, Ptr), blocks=True)
def sys_mq_timedsend(t, fd, addr, size, priority, timeout):
    deadline, error = deadline_of(t, timeout)
    if error:
        return error
    if priority >= mqueue.PRIO_MAX:
        return -EINVAL
    file = queue_of(t, fd)
    if isinstance(file, int):
        return file
    if not file.can_write:
        return -EBADF
    if size > file.mq.msgsize:
        return -EMSGSIZE
    return mqueue.send(t, file, t.read(addr, size) if size else b"", priority, deadline)


@syscall("mq_timedreceive", 243, (Fd, Ptr, Size, Ptr, Ptr), blocks=True)
def sys_mq_timedreceive(t, fd, addr, size, priority_addr, timeout):
    deadline, error = deadline_of(t, timeout)
    if error:
        return error
    file = queue_of(t, fd)
    if isinstance(file, int):
        return file
    if not file.can_read:
        return -EBADF
    return mqueue.receive(t, file, addr, size, priority_addr, deadline)


@syscall("mq_notify", 244, (Fd, Ptr), level=PARTIAL, note="no SIGEV_THREAD (EINVAL)")
def sys_mq_notify(t, fd, addr):
    notice = None
    if addr:
        value, signo, kind = SIGEVENT.unpack(t.read(addr, SIGEVENT.size))
        if kind not in (SIGEV_SIGNAL, SIGEV_NONE) or kind == SIGEV_SIGNAL and not 0 <= signo <= NSIG:
            return -EINVAL
        notice = (signo if kind == SIGEV_SIGNAL else 0, value)
    file = queue_of(t, fd)
    return file if isinstance(file, int) else mqueue.notify(t, file, notice)


@syscall("mq_getsetattr", 245, (Fd, Ptr, Ptr))
def sys_mq_getsetattr(t, fd, new_addr, old_addr):
    flags = ATTR.unpack(t.read(new_addr, ATTR.size))[0] if new_addr else 0
    if flags & ~O_NONBLOCK:
        return -EINVAL
    file = queue_of(t, fd)
    if isinstance(file, int):
        return file
    if old_addr:
        t.write(old_addr, ATTR.pack(file.flags & O_NONBLOCK, file.mq.maxmsg, file.mq.msgsize, file.mq.count))
    if new_addr:
        file.flags = file.flags & ~O_NONBLOCK | flags
    return 0
