"""Fast twins of sys_fd.py, and of close (sys_open.py)."""

from cpython.set cimport PySet_Add, PySet_Contains, PySet_Discard
from libc.stdint cimport uint32_t, uint64_t

from sentry.core.guest cimport SLOW, GuestThread
from sentry.fs.eventfd cimport EventFile
from sentry.fs.pipe cimport PipeFile
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport (
    EBADF, EFAULT, EINVAL, ENOTTY, O_APPEND, O_DIRECT, O_NONBLOCK, O_PATH, RLIMIT_NOFILE, own_kind, soft_limit, watched,
)
from sentry.vfs.file cimport FdTable, File
from sentry.vfs.mount cimport Mount
from sentry.vfs.regular cimport DirFile, RegularFile

from sentry.core import leaks
from sentry.fs.devfs import NullFile, ZeroFile

cdef enum:
    O_CLOEXEC = 0o2000000
    O_NOATIME = 0o1000000
    FASYNC = 0o20000
    SETFL_MASK = O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT
    F_DUPFD = 0
    F_GETFD = 1
    F_SETFD = 2
    F_GETFL = 3
    F_SETFL = 4
    F_DUPFD_CLOEXEC = 1030
    TCGETS = 0x5401
    TIOCGPGRP = 0x540F
    TIOCGWINSZ = 0x5413
    FIONREAD = 0x541B
    FIONCLEX = 0x5450
    FIOCLEX = 0x5451

cdef object NULL_FILE = NullFile
cdef object ZERO_FILE = ZeroFile
cdef bint COUNTED = leaks.ENABLED


cdef bint plain_kind(File file) noexcept:
    """A kind of file whose descriptors do nothing special when they close, and that is no terminal."""
    return (
        type(file) is RegularFile or type(file) is PipeFile or type(file) is DirFile or type(file) is EventFile
        or type(file) is NULL_FILE or type(file) is ZERO_FILE
    )


cdef bint droppable(File file) noexcept:
    """May `drop` take a descriptor of this file?"""
    if not plain_kind(file) or (file.inode is not None and file.inode.locks is not None):
        return False
    return file.refs > 1 or not watched()


cdef int drop(Task task, File file) except -1:
    """A descriptor of `file` (droppable) has been taken out of the table: FdTable.closed."""
    cdef Mount mount
    if file.refs > 1:
        file.refs -= 1
        return 0
    if file.epolls is None and (type(file) is RegularFile or type(file) is DirFile) and file.path is not None:
        mount = <Mount?>file.path.mount
        if mount is None or not mount.detached:  # File.decref, and release of these two
            file.refs = 0
            if COUNTED:
                leaks.drop("file")
            file.inode.writers -= file.claim
            file.inode.opens -= 1
            if mount is not None:
                mount.pins -= 1
            return 0
    file.decref()
    return 0


cdef long close(object task, GuestThread thread) except? -9001:
    cdef FdTable files = (<Task?>task).files
    cdef File file = files.get(<int>thread.a[0])
    if file is None:
        return -EBADF
    if not droppable(file):
        return SLOW
    files.remove(<int>thread.a[0])
    drop(<Task?>task, file)
    return 0


cdef long copy(Task task, File file, long minimum, bint cloexec) except? -9001:
    cdef long fd = task.files.install(file, (<tuple?>task.tg.rlimits[RLIMIT_NOFILE])[0], cloexec, minimum)
    if fd >= 0:
        file.refs += 1
    return fd


cdef long dup(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    return -EBADF if file is None else copy(<Task?>task, file, 0, False)


cdef long replace(Task task, int old, int new, bint cloexec) except? -9001:
    cdef File file = task.files.get(old)
    cdef File before
    if file is None or new < 0 or <uint64_t>new >= soft_limit(task, RLIMIT_NOFILE):
        return -EBADF
    before = task.files.get(new)
    if before is not None and not droppable(before):
        return SLOW
    file.refs += 1
    task.files.set(new, file, cloexec)
    if before is not None:
        drop(task, before)
    return new


cdef long dup2(object task, GuestThread thread) except? -9001:
    cdef int old = <int>thread.a[0], new = <int>thread.a[1]
    if old == new:
        return -EBADF if (<Task?>task).files.get(old) is None else new
    return replace(<Task?>task, old, new, False)


cdef long dup3(object task, GuestThread thread) except? -9001:
    cdef int old = <int>thread.a[0], new = <int>thread.a[1], flags = <int>thread.a[2]
    if flags & ~O_CLOEXEC or old == new:
        return -EINVAL
    return replace(<Task?>task, old, new, flags != 0)


cdef long fcntl(object task, GuestThread thread) except? -9001:
    cdef FdTable files = (<Task?>task).files
    cdef int fd = <int>thread.a[0]
    cdef uint32_t cmd = <uint32_t>thread.a[1], arg = <uint32_t>thread.a[2]
    cdef File file = files.get(fd)
    if file is None:
        return -EBADF
    if file.flags & O_PATH:
        return SLOW
    if cmd == F_GETFL:
        return file.flags
    if cmd == F_GETFD:
        return 1 if PySet_Contains(files.cloexec, fd) else 0
    if cmd == F_SETFD:
        if arg & 1:
            PySet_Add(files.cloexec, fd)
        else:
            PySet_Discard(files.cloexec, fd)
        return 0
    if cmd == F_SETFL:
        if arg & ~file.flags & (O_NOATIME | O_DIRECT) or (arg ^ file.flags) & FASYNC:
            return SLOW
        file.flags = file.flags & ~<uint32_t>SETFL_MASK | arg & SETFL_MASK
        return 0
    if cmd == F_DUPFD or cmd == F_DUPFD_CLOEXEC:
        if arg >= soft_limit(<Task?>task, RLIMIT_NOFILE):
            return -EINVAL
        return copy(<Task?>task, file, arg, cmd == F_DUPFD_CLOEXEC)
    return SLOW


cdef long ioctl(object task, GuestThread thread) except? -9001:
    cdef FdTable files = (<Task?>task).files
    cdef uint32_t cmd = <uint32_t>thread.a[1], left
    cdef File file = files.get(<int>thread.a[0])
    if file is None or file.flags & O_PATH:
        return -EBADF
    if cmd == FIOCLEX:
        PySet_Add(files.cloexec, <int>thread.a[0])
        return 0
    if cmd == FIONCLEX:
        PySet_Discard(files.cloexec, <int>thread.a[0])
        return 0
    if cmd == TCGETS or cmd == TIOCGWINSZ or cmd == TIOCGPGRP:
        return -ENOTTY if plain_kind(file) else SLOW
    if cmd == FIONREAD and type(file) is RegularFile and own_kind(file.inode):
        left = <uint32_t>(file.inode.size - file.pos)  # below 0 behind the end, as on Linux
        return 0 if thread.copy_out(thread.a[2], &left, 4) == 4 else -EFAULT
    return SLOW


fast("close", close)
fast("dup", dup)
fast("dup2", dup2)
fast("dup3", dup3)
fast("fcntl", fcntl)
fast("ioctl", ioctl)
