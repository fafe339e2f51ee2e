"""Moving bytes between a File and guest memory: vectors, partial results, waiting.

Used by the calls in sys_rw.py, and by whoever reads and writes Files on behalf of a guest.
"""

from sentry.abi.errno import EAGAIN, EFAULT, EINTR, EINVAL, EPIPE, ERESTARTSYS
from sentry.abi.fs import S_IFIFO, S_IFMT, S_IFSOCK
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait, WaitEntry
from sentry.platform.base import MemFault
from sentry.vfs.file import (
    O_NONBLOCK,
    POLL_READABLE,
    POLL_WRITABLE,
    POLLERR,
    POLLHUP,
    POLLRDHUP,
)

CHUNK = 1 << 20  # at most this is copied at once
MAX_RW_COUNT = 0x7FFFF000
USER_END = 1 << 47
IOV_MAX = 1024
READ_EVENTS = POLL_READABLE | POLLHUP | POLLERR | POLLRDHUP
WRITE_EVENTS = POLL_WRITABLE | POLLHUP | POLLERR


def buffer(addr: int, count: int) -> "list | int":
    """One buffer as a vector; -EFAULT for what can be no user memory (access_ok)."""
    if addr + count > USER_END:
        return -EFAULT
    return [(addr, count if count < MAX_RW_COUNT else MAX_RW_COUNT)]


def read_iov(t, addr: int, count: int) -> "list | int":
    """The iovec array of readv(2): [(address, length)], the total cut to MAX_RW_COUNT; -EINVAL, -EFAULT."""
    if count > IOV_MAX or count < 0:
        return -EINVAL
    raw = t.read(addr, 16 * count) if count else b""
    out = []
    total = 0
    for at in range(0, 16 * count, 16):
        base = int.from_bytes(raw[at : at + 8], "little")
        length = int.from_bytes(raw[at + 8 : at + 16], "little")
        if length >= 1 << 63:
            return -EINVAL
        if base + length > USER_END and length:
            return -EFAULT
        if total + length > MAX_RW_COUNT:
            length = MAX_RW_COUNT - total
        total += length
        out.append((base, length))
    return out


def total_of(iov) -> int:
    if len(iov) == 1:
        return iov[0][1]
    return sum(length for _, length in iov)


def put_upto(t, addr: int, data) -> int:
    """Write what can be written: how much (0: nothing)."""
    try:
        return t.write_upto(addr, data)
    except MemFault:
        return 0


def get_upto(t, addr: int, count: int) -> bytes:
    """Read what can be read."""
    try:
        return t.read_upto(addr, count)
    except MemFault:
        return b""


def scatter(t, iov, skip: int, data) -> int:
    """Write `data` into the vector after its first `skip` bytes; how much before a fault."""
    if len(iov) == 1:
        return put_upto(t, iov[0][0] + skip, data)
    at = 0
    for base, length in iov:
        if skip >= length:
            skip -= length
            continue
        part = data[at : at + length - skip]
        if not part:
            break
        n = put_upto(t, base + skip, part)
        at += n
        if n < len(part):
            break
        skip = 0
    return at


def gather(t, iov, skip: int, limit: int) -> bytes:
    """Up to `limit` bytes of the vector after its first `skip`; fewer if memory ends."""
    if len(iov) == 1:
        base, length = iov[0]
        return get_upto(t, base + skip, min(length - skip, limit))
    parts = []
    for base, length in iov:
        if skip >= length:
            skip -= length
            continue
        want = min(length - skip, limit)
        part = get_upto(t, base + skip, want)
        parts.append(part)
        limit -= len(part)
        if len(part) < want or not limit:
            break
        skip = 0
    return b"".join(parts)


def is_socket(file) -> bool:
    """Is it a socket? Its messages are copied as a whole or not at all."""
    inode = file.inode
    return inode is not None and inode.mode & S_IFMT == S_IFSOCK


def stream(file) -> bool:
    """Is it a pipe or socket, where reading nothing asks nothing?"""
    inode = file.inode
    return inode is not None and inode.mode & S_IFMT in (S_IFIFO, S_IFSOCK)


class ReadWait(Wait):
    """A read that waits for data. `iov`, `pos` as given; nothing has been read yet (a read ends with its first bytes)."""

    __slots__ = ("file", "iov", "count", "pos", "restart")

    def __init__(self, file, iov, count, pos):
        self.file = file.incref()
        self.iov = iov
        self.count = count
        self.pos = pos
        self.restart = -ERESTARTSYS

    def poll(self, t):
        result = read_now(t, self.file, self.iov, self.count, self.pos)
        return BLOCKED if result == -EAGAIN else result

    def timeout(self, t):
        return -EAGAIN

    def release(self, t):
        self.file.decref()


class WriteWait(Wait):
    """A write that waits for room; `done` bytes have gone."""

    __slots__ = ("file", "iov", "count", "pos", "done", "restart")

    def __init__(self, file, iov, count, pos, done):
        self.file = file.incref()
        self.iov = iov
        self.count = count
        self.pos = pos
        self.done = done
        self.restart = -ERESTARTSYS

    def poll(self, t):
        done, error = write_now(t, self.file, self.iov, self.count, self.pos, self.done)
        self.done = done
        if error == -EAGAIN:
            return BLOCKED
        return finish_write(t, self.file, done, error)

    def timeout(self, t):
        return self.done or -EAGAIN

    def interrupted(self, t):
        return self.done or self.restart

    def release(self, t):
        self.file.decref()


def read_now(t, file, iov, count, pos) -> int:
    """Read without waiting: a count, or -errno (-EAGAIN: would block)."""
    done = 0
    while True:
        want = count - done if count - done < CHUNK else CHUNK
        data = file.read(t, want, pos if pos is None else pos + done)
        if type(data) is int:
            return done or data
        n = len(data)
        if not n:
            return done
        try:
            copied = scatter(t, iov, done, data)
        except MemFault:
            copied = 0
        if copied < n:
            if is_socket(file):
                copied = 0
            done += copied
            if pos is None:
                file.unread(data[copied:])
            return done or -EFAULT
        done += n
        if n < CHUNK or done >= count:
            return done


def do_read(t, file, iov, pos, nowait: bool = False) -> int:
    """read(2), readv(2) … into the vector; pos None: at the file's position."""
    count = iov[0][1] if len(iov) == 1 else total_of(iov)
    if not count and stream(file):
        return 0
    result = read_now(t, file, iov, count, pos)
    if result != -EAGAIN or file.flags & O_NONBLOCK or file.queue is None or nowait:
        return result
    wait = ReadWait(file, iov, count, pos)
    return start_wait(t, wait, file, READ_EVENTS, False)


def start_wait(t, wait, file, events, writing):
    deadline = file.io_deadline(writing)
    if deadline is not None:
        wait.restart = -EINTR
    entry = WaitEntry(t, events)
    file.queue.add(entry)
    return t.block(wait, entry, deadline=deadline)


def write_now(t, file, iov, count, pos, done):
    """Write without waiting: (bytes done in all, 0 or the -errno that ended it)."""
    if file.discards:
        return count, 0
    while True:
        want = file.takes(count - done if count - done < CHUNK else CHUNK)
        data = gather(t, iov, done, want)
        if len(data) < want and (not data or is_socket(file)):
            return done, -EFAULT
        n = file.write(t, data, pos if pos is None else pos + done)
        if n < 0:
            return done, n
        done += n
        if done >= count or (not n and not data):
            return done, 0
        if n == 0 or (n < len(data) and file.queue is None):  # a regular file that has no more room
            return done, 0


def finish_write(t, file, done: int, error: int) -> int:
    if error == -EPIPE and not done and file.tells_sigpipe():
        t.send_sigpipe()
    return done or error


def do_write(t, file, iov, pos, nowait: bool = False) -> int:
    """write(2), writev(2) … from the vector; pos None: at the file's position."""
    count = iov[0][1] if len(iov) == 1 else total_of(iov)
    done, error = write_now(t, file, iov, count, pos, 0)
    if error != -EAGAIN or file.flags & O_NONBLOCK or file.queue is None or nowait:
        if error == -EPIPE and file.tells_sigpipe():
            t.send_sigpipe()
        return done or error
    return start_wait(t, WriteWait(file, iov, count, pos, done), file, WRITE_EVENTS, True)


