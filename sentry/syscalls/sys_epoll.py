"""epoll_create, epoll_ctl, epoll_wait and their kin."""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import EBADF, EINTR, EINVAL, EPERM
from sentry.abi.time import FOREVER, get_timespec
from sentry.core.result import BLOCKED
from sentry.core.syscall import Fd, Flags, InStruct, Int, OutStruct, Ptr, Size, syscall
from sentry.core.waitq import Wait, WaitEntry
from sentry.fs.epoll import EPOLLEXCLUSIVE, EXCLUSIVE_OK, EpollFile
from sentry.kernel import signals
from sentry.syscalls.fdpair import install_new
from sentry.vfs.file import O_CLOEXEC, O_PATH

EVENT = Struct("<IQ")
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
MAX_EVENTS = 0x7FFFFFFF // 12
BATCH = 1 << 16
CARRIED_EVENTS = 16  # answered by way of the stub, if the memory behind a shorter array is writable as well


@syscall("epoll_create", 213, (Int,))
def sys_epoll_create(t, size):
    return -EINVAL if size <= 0 else install_new(t, EpollFile(), False)


@syscall("epoll_create1", 291, (Flags,))
def sys_epoll_create1(t, flags):
    return -EINVAL if flags & ~O_CLOEXEC else install_new(t, EpollFile(), bool(flags))


@syscall("epoll_ctl", 233, (Fd, Int, Fd, InStruct(12)))
def sys_epoll_ctl(t, epfd, op, fd, addr):
    events = data = 0
    if op != EPOLL_CTL_DEL:
        events, data = EVENT.unpack(t.read(addr, 12))
    epoll, file = t.files.get(epfd), t.files.get(fd)
    if epoll is None or file is None or (epoll.flags | file.flags) & O_PATH:
        return -EBADF
    if file.queue is None:
        return -EPERM
    if epoll is file or not isinstance(epoll, EpollFile):
        return -EINVAL
    if op == EPOLL_CTL_ADD:
        if events & EPOLLEXCLUSIVE and events & ~EXCLUSIVE_OK:
            return -EINVAL
        return epoll.add(file, fd, events, data)
    if op == EPOLL_CTL_DEL:
        return epoll.delete(file, fd)
    if op == EPOLL_CTL_MOD:
        return epoll.modify(file, fd, events, data)
    return -EINVAL


class EpollWait(Wait):
    __slots__ = ("epoll", "addr", "limit")
    restart = -EINTR

    def __init__(self, epoll, addr, limit):
        self.epoll = epoll
        self.addr = addr
        self.limit = limit

    def poll(self, t):
        result = deliver(t, self.epoll, self.addr, self.limit)
        if result == 0:
            return BLOCKED
        signals.restore_mask(t)
        return result

    def timeout(self, t):
        signals.restore_mask(t)
        return deliver(t, self.epoll, self.addr, self.limit)

    def release(self, t):
        self.epoll.decref()


def deliver(t, epoll, addr, limit) -> int:
    found = epoll.collect(min(limit, BATCH))
    if found:
        t.write(addr, b"".join([EVENT.pack(bits, data) for bits, data in found]))
    return len(found)


def do_wait(t, fd, addr, limit, timeout, mask) -> int:
    """`timeout`: ns or None for ever; `mask`: signal mask while it sleeps, or None."""
    if not 0 < limit <= MAX_EVENTS:
        return -EINVAL
    epoll = t.files.get(fd)
    if epoll is None or epoll.flags & O_PATH:
        return -EBADF
    if not isinstance(epoll, EpollFile):
        return -EINVAL
    if mask is not None:
        signals.set_temporary_mask(t, mask)
    result = deliver(t, epoll, addr, limit)
    if result or timeout == 0:
        signals.restore_mask(t)
        return result
    entry = WaitEntry(t, exclusive=True)
    epoll.queue.add(entry)
    deadline = None if timeout is None else min(monotonic_ns() + timeout, FOREVER)
    return t.block(EpollWait(epoll.incref(), addr, limit), entry, deadline=deadline)


def milliseconds(value):
    return None if value < 0 else value * 1000000


def get_mask(t, addr, size):
    """A signal mask argument: int, None where there is none, -EINVAL for a wrong size."""
    if not addr:
        return None
    if size != 8:
        return -EINVAL
    return int.from_bytes(t.read(addr, 8), "little")


@syscall("epoll_wait", 232, (Fd, OutStruct(12 * CARRIED_EVENTS), Int, Int), blocks=True)
def sys_epoll_wait(t, fd, addr, limit, timeout):
    return do_wait(t, fd, addr, limit, milliseconds(timeout), None)


@syscall("epoll_pwait", 281, (Fd, OutStruct(12 * CARRIED_EVENTS), Int, Int, InStruct(8), Size), blocks=True)
def sys_epoll_pwait(t, fd, addr, limit, timeout, mask_addr, size):
    mask = get_mask(t, mask_addr, size)
    if mask == -EINVAL:
        return -EINVAL
    return do_wait(t, fd, addr, limit, milliseconds(timeout), mask)


@syscall("epoll_pwait2", 441, (Fd, Ptr, Int, InStruct(16), InStruct(8), Size), blocks=True)
def sys_epoll_pwait2(t, fd, addr, limit, timeout_addr, mask_addr, size):
    timeout = None
    if timeout_addr:
        timeout = get_timespec(t, timeout_addr)
        if timeout < 0:
            return timeout
    mask = get_mask(t, mask_addr, size)
    if mask == -EINVAL:
        return -EINVAL
    return do_wait(t, fd, addr, limit, timeout, mask)
