"""eventfd(2), signalfd(2)."""

from sentry.abi.errno import EBADF, EINVAL
from sentry.abi.signal import UNBLOCKABLE
from sentry.core.syscall import U32, Fd, Flags, InStruct, Size, syscall
from sentry.fs.eventfd import EventFile
from sentry.fs.signalfd import SignalFile
from sentry.syscalls.fdpair import install_new
from sentry.vfs.file import O_CLOEXEC, O_NONBLOCK

EFD_SEMAPHORE = 1


@syscall("eventfd", 284, (U32,))
def sys_eventfd(t, count):
    return install_new(t, EventFile(count, False, 0), False)


@syscall("eventfd2", 290, (U32, Flags))
def sys_eventfd2(t, count, flags):
    if flags & ~(O_CLOEXEC | O_NONBLOCK | EFD_SEMAPHORE):
        return -EINVAL
    file = EventFile(count, bool(flags & EFD_SEMAPHORE), flags & O_NONBLOCK)
    return install_new(t, file, bool(flags & O_CLOEXEC))


def do_signalfd(t, fd, addr, size, flags):
    if size != 8:
        return -EINVAL
    mask = int.from_bytes(t.read(addr, 8), "little") & ~UNBLOCKABLE
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    if fd == -1:
        return install_new(t, SignalFile(t, mask, flags & O_NONBLOCK), bool(flags & O_CLOEXEC))
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if not isinstance(file, SignalFile):
        return -EINVAL
    file.set_mask(mask)
    return fd


@syscall("signalfd", 282, (Fd, InStruct(8), Size))
def sys_signalfd(t, fd, mask, size):
    return do_signalfd(t, fd, mask, size, 0)


@syscall("signalfd4", 289, (Fd, InStruct(8), Size, Flags))
def sys_signalfd4(t, fd, mask, size, flags):
    return do_signalfd(t, fd, mask, size, flags)
