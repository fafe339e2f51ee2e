"""Writing back: sync and its kin; advice about access."""

from sentry.abi.errno import EBADF, EINVAL, ESPIPE
from sentry.abi.fs import S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG
from sentry.core.syscall import Fd, Int, Off, Size, U32, syscall
from sentry.vfs.file import O_PATH

SYNC_FILE_RANGE_KNOWN = 7


@syscall("sync", 162, ())
def sys_sync(t):
    for fs in {mount.fs for mount in t.fs.ns.mounts()}:
        fs.sync()
    return 0


@syscall("syncfs", 306, (Fd,))
def sys_syncfs(t, fd):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return file.inode.fs.sync() if file.inode is not None else 0


def do_fsync(t, fd, datasync):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return file.fsync(t, datasync)


@syscall("fsync", 74, (Fd,))
def sys_fsync(t, fd):
    return do_fsync(t, fd, False)


@syscall("fdatasync", 75, (Fd,))
def sys_fdatasync(t, fd):
    return do_fsync(t, fd, True)


@syscall("sync_file_range", 277, (Fd, Off, Off, U32))
def sys_sync_file_range(t, fd, offset, length, flags):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if flags & ~SYNC_FILE_RANGE_KNOWN or offset < 0 or length < 0:
        return -EINVAL
    kind = file.inode.mode & S_IFMT if file.inode is not None else 0
    if kind not in (S_IFREG, S_IFBLK, S_IFDIR, S_IFLNK):
        return -ESPIPE
    return 0


@syscall("fadvise64", 221, (Fd, Off, Size, Int))
def sys_fadvise64(t, fd, offset, length, advice):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if file.inode is not None and file.inode.mode & S_IFMT == S_IFIFO:
        return -ESPIPE
    if length >= 1 << 63 or not 0 <= advice <= 5:
        return -EINVAL
    return 0


@syscall("readahead", 187, (Fd, Off, Size))
def sys_readahead(t, fd, offset, count):
    file = t.files.get(fd)
    if file is None or not file.can_read:
        return -EBADF
    kind = file.inode.mode & S_IFMT if file.inode is not None else 0
    return 0 if kind in (S_IFREG, S_IFBLK) else -EINVAL
