"""fcntl's record locks and flock."""

from struct import Struct

from sentry.abi.errno import EAGAIN, EBADF, EDEADLK, EINVAL, EOVERFLOW
from sentry.core.result import BLOCKED
from sentry.core.syscall import Fd, U32, syscall
from sentry.core.waitq import Wait
from sentry.vfs import locks
from sentry.vfs.file import O_PATH
from sentry.vfs.locks import END, F_RDLCK, F_UNLCK, F_WRLCK, Lock

FLOCK = Struct("<hh4xqqi4x")
F_GETLK, F_SETLK, F_SETLKW = 5, 6, 7
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN, LOCK_MAND = 1, 2, 4, 8, 32


class LockWait(Wait):
    """A record lock that somebody else holds."""

    __slots__ = ("file", "locks", "lock")

    def __init__(self, file, table, lock):
        self.file = file.incref()
        self.locks = table
        self.lock = lock

    def poll(self, t):
        blocker = self.locks.conflict(self.lock)
        if blocker is None:
            self.locks.set(self.lock)
            return 0
        return watch_deadlock(self.lock, blocker)

    def release(self, t):
        locks.waiting_for.pop(id(self.lock.owner), None)
        self.file.decref()


def watch_deadlock(lock, blocker):
    """Remember who waits for whom; -EDEADLK if that closes a circle (POSIX locks only)."""
    if lock.pid >= 0 and blocker.pid >= 0:
        if locks.would_deadlock(lock.owner, blocker.owner):
            return -EDEADLK
        locks.waiting_for[id(lock.owner)] = (blocker.owner,)
    return BLOCKED


class FlockWait(Wait):
    __slots__ = ("file", "locks", "kind", "pid")

    def __init__(self, file, table, kind, pid):
        self.file = file.incref()
        self.locks = table
        self.kind = kind
        self.pid = pid

    def poll(self, t):
        if self.locks.flock_conflict(self.file, self.kind):
            return BLOCKED
        self.locks.set_flock(self.file, self.kind, self.pid)
        return 0

    def release(self, t):
        self.file.decref()


def range_of(file, whence, start, length):
    """(first, last) byte of a struct flock, or -errno (flock64_to_posix_lock)."""
    if whence == 1:
        start += file.pos
    elif whence == 2:
        error = file.inode.getattr()
        if error < 0:
            return error
        start += file.inode.size
    elif whence != 0:
        return -EINVAL
    if start > END:
        return -EOVERFLOW
    if start < 0:
        return -EINVAL
    if length > 0:
        if length - 1 > END - start:
            return -EOVERFLOW
        return start, start + length - 1
    if length < 0:
        return -EINVAL if start + length < 0 else (start + length, start - 1)
    return start, END


def record_lock(t, file, cmd, arg):
    """fcntl(2) with F_GETLK and the like."""
    kind, whence, start, length, pid = FLOCK.unpack(t.read(arg, FLOCK.size))
    ofd = cmd >= F_OFD_GETLK
    if ofd and pid:
        return -EINVAL
    if cmd in (F_GETLK, F_OFD_GETLK) and kind not in (F_RDLCK, F_WRLCK):
        return -EINVAL
    span = range_of(file, whence, start, length)
    if type(span) is int:
        return span
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        return -EINVAL
    owner = file if ofd else t.files
    lock = Lock(owner, kind, span[0], span[1], -1 if ofd else t.tg.pid)
    table = locks.of(file.inode)
    if cmd in (F_GETLK, F_OFD_GETLK):
        blocker = table.conflict(lock)
        if blocker is None:
            answer = FLOCK.pack(F_UNLCK, whence, start, length, pid)
        else:
            size = 0 if blocker.end == END else blocker.end - blocker.start + 1
            answer = FLOCK.pack(blocker.kind, 0, blocker.start, size, blocker.pid)
        t.write(arg, answer)
        return 0
    if (kind == F_RDLCK and not file.can_read) or (kind == F_WRLCK and not file.can_write):
        return -EBADF
    if kind != F_UNLCK:
        blocker = table.conflict(lock)
        if blocker is not None:
            if cmd in (F_SETLK, F_OFD_SETLK):
                return -EAGAIN
            result = watch_deadlock(lock, blocker)
            if result != BLOCKED:
                return result
            return t.block(LockWait(file, table, lock), table.queue)
    table.set(lock)
    return 0


@syscall("flock", 73, (Fd, U32), blocks=True)
def sys_flock(t, fd, operation):
    if operation & LOCK_MAND:
        return 0  # support was removed in Linux 5.15; such requests are ignored
    kind = {LOCK_SH: F_RDLCK, LOCK_EX: F_WRLCK, LOCK_UN: F_UNLCK}.get(operation & ~LOCK_NB)
    if kind is None:
        return -EINVAL
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    table = locks.of(file.inode)
    if kind == F_UNLCK:
        table.set_flock(file, kind, 0)
        return 0
    pid = t.tg.pid
    if table.flock_conflict(file, kind):
        if operation & LOCK_NB:
            return -EAGAIN
        # changing a lock gives up the old one first (flock(2))
        table.set_flock(file, F_UNLCK, pid)
        if table.flock_conflict(file, kind):
            return t.block(FlockWait(file, table, kind, pid), table.queue)
    table.set_flock(file, kind, pid)
    return 0


