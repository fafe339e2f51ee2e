"""read, write and their kin; lseek."""

from sentry.abi.errno import EBADF, EINVAL, EOPNOTSUPP, ESPIPE
from sentry.abi.fs import S_IFIFO, S_IFMT, S_IFSOCK
from sentry.core.syscall import Fd, Flags, InBuf, Int, InVector, Off, OutBuf, OutVector, Ptr, Size, ULong, syscall
from sentry.fs.eventfd import EventFile
from sentry.syscalls.fileio import buffer, do_read, do_write, read_iov
from sentry.vfs.file import O_APPEND, O_PATH

RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, RWF_NOAPPEND = 1, 2, 4, 8, 16, 32
RWF_KNOWN = 63


def positioned(file) -> bool:
    """Does pread make sense (FMODE_PREAD)?"""
    inode = file.inode
    return inode is None or (inode.mode & S_IFMT not in (S_IFIFO, S_IFSOCK) and type(file) is not EventFile)


@syscall("read", 0, (Fd, OutBuf(2), Size), blocks=True)
def sys_read(t, fd, buf, count):
    file = t.files.get(fd)
    if file is None or not file.can_read:
        return -EBADF
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    return do_read(t, file, iov, None)


@syscall("write", 1, (Fd, InBuf(2), Size), blocks=True)
def sys_write(t, fd, buf, count):
    file = t.files.get(fd)
    if file is None or not file.can_write:
        return -EBADF
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    return do_write(t, file, iov, None)


@syscall("pread64", 17, (Fd, OutBuf(2), Size, Off), blocks=True)
def sys_pread64(t, fd, buf, count, pos):
    if pos < 0:
        return -EINVAL
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if not positioned(file):
        return -ESPIPE
    if not file.can_read:
        return -EBADF
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    return do_read(t, file, iov, pos)


@syscall("pwrite64", 18, (Fd, InBuf(2), Size, Off), blocks=True)
def sys_pwrite64(t, fd, buf, count, pos):
    if pos < 0:
        return -EINVAL
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if not positioned(file):
        return -ESPIPE
    if not file.can_write:
        return -EBADF
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    return do_write(t, file, iov, pos)


def read_vector(t, fd, vec, count, pos, flags):
    """readv, preadv, preadv2; pos None: the file's position."""
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if pos is not None and not positioned(file):
        return -ESPIPE
    if not file.can_read:
        return -EBADF
    iov = read_iov(t, vec, count)
    if type(iov) is int:
        return iov
    if flags & ~(RWF_KNOWN & ~(RWF_APPEND | RWF_NOAPPEND)):
        return -EOPNOTSUPP
    return do_read(t, file, iov, pos, bool(flags & RWF_NOWAIT))


def write_vector(t, fd, vec, count, pos, flags):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if pos is not None and not positioned(file):
        return -ESPIPE
    if not file.can_write:
        return -EBADF
    iov = read_iov(t, vec, count)
    if type(iov) is int:
        return iov
    if flags & ~RWF_KNOWN or (flags & RWF_APPEND and flags & RWF_NOAPPEND):
        return -EOPNOTSUPP if flags & ~RWF_KNOWN else -EINVAL
    old = file.flags
    if flags & RWF_APPEND:
        file.flags |= O_APPEND
    elif flags & RWF_NOAPPEND:
        file.flags &= ~O_APPEND
    try:
        result = do_write(t, file, iov, pos, bool(flags & RWF_NOWAIT))
    finally:
        file.flags = old
    if result > 0 and flags & (RWF_SYNC | RWF_DSYNC):
        error = file.fsync(t, not flags & RWF_SYNC)
        if error < 0 and error != -EINVAL:
            return error
    return result


@syscall("readv", 19, (Fd, OutVector, ULong), blocks=True)
def sys_readv(t, fd, vec, count):
    return read_vector(t, fd, vec, count, None, 0)


@syscall("writev", 20, (Fd, InVector, ULong), blocks=True)
def sys_writev(t, fd, vec, count):
    return write_vector(t, fd, vec, count, None, 0)


@syscall("preadv", 295, (Fd, Ptr, ULong, Off, ULong), blocks=True)
def sys_preadv(t, fd, vec, count, pos, _high):
    return -EINVAL if pos < 0 else read_vector(t, fd, vec, count, pos, 0)


@syscall("pwritev", 296, (Fd, Ptr, ULong, Off, ULong), blocks=True)
def sys_pwritev(t, fd, vec, count, pos, _high):
    return -EINVAL if pos < 0 else write_vector(t, fd, vec, count, pos, 0)


@syscall("preadv2", 327, (Fd, Ptr, ULong, Off, ULong, Flags), blocks=True)
def sys_preadv2(t, fd, vec, count, pos, _high, flags):
    if pos == -1:
        return read_vector(t, fd, vec, count, None, flags)
    return -EINVAL if pos < 0 else read_vector(t, fd, vec, count, pos, flags)


@syscall("pwritev2", 328, (Fd, Ptr, ULong, Off, ULong, Flags), blocks=True)
def sys_pwritev2(t, fd, vec, count, pos, _high, flags):
    if pos == -1:
        return write_vector(t, fd, vec, count, None, flags)
    return -EINVAL if pos < 0 else write_vector(t, fd, vec, count, pos, flags)


@syscall("lseek", 8, (Fd, Off, Int))
def sys_lseek(t, fd, offset, whence):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if whence < 0 or whence > 4:
        return -EINVAL
    return file.seek(t, offset, whence)


