"""Attributes: chmod, chown, times, truncate, fallocate."""

from sentry.abi.errno import EBADF, EFBIG, EINVAL, EISDIR, ENODEV, EOPNOTSUPP, EPERM, ESPIPE, ETXTBSY
from sentry.abi.fs import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    FALLOC_COLLAPSE_RANGE,
    FALLOC_INSERT_RANGE,
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_UNSHARE_RANGE,
    FALLOC_ZERO_RANGE,
    IN_ATTRIB,
    IN_MODIFY,
    MAY_WRITE,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
)
from sentry.core.syscall import Fd, Flags, InStruct, Int, Long, Mode, Off, Str, U32, syscall
from sentry.kernel.container import maps_ids
from sentry.vfs import notify, ops, walk
from sentry.vfs.clock import file_time
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.file import O_PATH
from sentry.vfs.perm import inode_permission, owner_or_capable, want_write
from sentry.vfs.regular import MAX_SIZE, size_limit

SECOND = 10**9
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
SIGXFSZ = 25


def path_of(file) -> Path:
    """The Path of an open file, also of an anonymous one."""
    return file.path if file.path is not None else Path(None, Dentry(None, b"", file.inode))


# ---------------------------------------------------------------- mode and owner


def chmod_at(t, dirfd, path, mode, flags):
    where = walk.resolve(t, dirfd, t.read_cstr(path, 4096), flags)
    if type(where) is int:
        return where
    if flags & AT_SYMLINK_NOFOLLOW and where.inode.mode & S_IFMT == S_IFLNK:
        return -EOPNOTSUPP
    return ops.chmod(t, where, mode)


@syscall("chmod", 90, (Str, Mode))
def sys_chmod(t, path, mode):
    return chmod_at(t, AT_FDCWD, path, mode, 0)


@syscall("fchmodat", 268, (Fd, Str, Mode))
def sys_fchmodat(t, dirfd, path, mode):
    return chmod_at(t, dirfd, path, mode, 0)


@syscall("fchmodat2", 452, (Fd, Str, Mode, Flags))
def sys_fchmodat2(t, dirfd, path, mode, flags):
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    return chmod_at(t, dirfd, path, mode, flags)


@syscall("fchmod", 91, (Fd, Mode))
def sys_fchmod(t, fd, mode):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return ops.chmod(t, path_of(file), mode)


def chown_at(t, dirfd, path, uid, gid, flags):
    where = walk.resolve(t, dirfd, t.read_cstr(path, 4096), flags)
    if type(where) is int:
        return where
    return ops.chown(t, where, uid, gid) if maps_ids(t, "uid", uid) and maps_ids(t, "gid", gid) else -EINVAL


@syscall("chown", 92, (Str, U32, U32))
def sys_chown(t, path, uid, gid):
    return chown_at(t, AT_FDCWD, path, uid, gid, 0)


@syscall("lchown", 94, (Str, U32, U32))
def sys_lchown(t, path, uid, gid):
    return chown_at(t, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)


@syscall("fchownat", 260, (Fd, Str, U32, U32, Flags))
def sys_fchownat(t, dirfd, path, uid, gid, flags):
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    return chown_at(t, dirfd, path, uid, gid, flags)


@syscall("fchown", 93, (Fd, U32, U32))
def sys_fchown(t, fd, uid, gid):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return ops.chown(t, path_of(file), uid, gid) if maps_ids(t, "uid", uid) and maps_ids(t, "gid", gid) else -EINVAL


# ---------------------------------------------------------------- times


def set_times(t, where: Path, times) -> int:
    """times: None (both now), or (atime, mtime), each ns, -1 (now) or None (leave it); or -errno (vfs_utimes)."""
    if type(times) is int:
        return times
    error = want_write(where.mount)
    if error:
        return error
    inode = where.inode
    error = inode.getattr()
    if error < 0:
        return error
    creds = t.creds
    now = file_time()
    if times is None or times == (-1, -1):
        if not owner_or_capable(creds, inode):
            error = inode_permission(creds, inode, MAY_WRITE)
            if error:
                return error
        times = (now, now)
    else:
        if times == (None, None):
            return 0
        if not owner_or_capable(creds, inode):
            return -EPERM
        times = tuple(now if value == -1 else value for value in times)
    error = inode.setattr(atime=times[0], mtime=times[1])
    if error == 0:
        notify.changed(where.dentry, IN_ATTRIB)
    return error


def at_times(t, dirfd, path, times, flags):
    where = walk.resolve(t, dirfd, t.read_cstr(path, 4096), flags)
    return where if type(where) is int else set_times(t, where, times)


def utime_value(seconds: int, nanoseconds: int) -> "int | None":
    """-1 stands for now (no time before 1970 is made by these calls' callers; it is kept apart below)."""
    if nanoseconds == UTIME_NOW:
        return -1
    if nanoseconds == UTIME_OMIT:
        return None
    value = seconds * SECOND + nanoseconds
    return value if value != -1 else 0


def signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


@syscall("utimensat", 280, (Fd, Str, InStruct(32), Flags))
def sys_utimensat(t, dirfd, path, times_addr, flags):
    times = None
    if times_addr:
        raw = t.read(times_addr, 32)
        nanos = (signed(raw[8:16]), signed(raw[24:32]))
        if nanos == (UTIME_OMIT, UTIME_OMIT):
            return 0
        for value in nanos:
            if value not in (UTIME_NOW, UTIME_OMIT) and not 0 <= value < SECOND:
                times = -EINVAL  # only after the file has been found
        if times is None:
            times = (utime_value(signed(raw[:8]), nanos[0]), utime_value(signed(raw[16:24]), nanos[1]))
    if not path and dirfd != AT_FDCWD:
        if flags:
            return -EINVAL
        file = t.files.get(dirfd)
        if file is None or file.flags & O_PATH:
            return -EBADF
        return set_times(t, path_of(file), times)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    return at_times(t, dirfd, path, times, flags)


def read_timevals(t, addr):
    if not addr:
        return None
    raw = t.read(addr, 32)
    out = []
    for at in (0, 16):
        micros = signed(raw[at + 8 : at + 16])
        if not 0 <= micros < 10**6:
            return -EINVAL
        out.append(signed(raw[at : at + 8]) * SECOND + micros * 1000)
    return tuple(out)


@syscall("futimesat", 261, (Fd, Str, InStruct(32)))
def sys_futimesat(t, dirfd, path, times_addr):
    times = read_timevals(t, times_addr)
    if type(times) is int:
        return times
    if not path and dirfd != AT_FDCWD:
        file = t.files.get(dirfd)
        return -EBADF if file is None or file.flags & O_PATH else set_times(t, path_of(file), times)
    return at_times(t, dirfd, path, times, 0)


@syscall("utimes", 235, (Str, InStruct(32)))
def sys_utimes(t, path, times_addr):
    times = read_timevals(t, times_addr)
    return times if type(times) is int else at_times(t, AT_FDCWD, path, times, 0)


@syscall("utime", 132, (Str, InStruct(16)))
def sys_utime(t, path, times_addr):
    times = None
    if times_addr:
        raw = t.read(times_addr, 16)
        times = (signed(raw[:8]) * SECOND, signed(raw[8:]) * SECOND)
    return at_times(t, AT_FDCWD, path, times, 0)


# ---------------------------------------------------------------- size


@syscall("truncate", 76, (Str, Long))
def sys_truncate(t, path, size):
    if size < 0:
        return -EINVAL
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096))
    if type(where) is int:
        return where
    inode = where.inode
    kind = inode.mode & S_IFMT
    if kind == S_IFDIR:
        return -EISDIR
    if kind != S_IFREG:
        return -EINVAL
    error = want_write(where.mount) or inode_permission(t.creds, inode, MAY_WRITE)
    if error:
        return error
    if inode.writers < 0:
        return -ETXTBSY
    error = inode.getattr()
    if error < 0:
        return error
    if size > inode.size and size_limit(t, 0, size) != size:
        t.send_signal(SIGXFSZ)
        return -EFBIG
    error = ops.truncate_inode(t, inode, size)
    if error == 0:
        notify.changed(where.dentry, IN_MODIFY)
    return error


@syscall("ftruncate", 77, (Fd, Long))
def sys_ftruncate(t, fd, size):
    if size < 0:
        return -EINVAL
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if file.inode is None or file.inode.mode & S_IFMT != S_IFREG or not file.can_write:
        return -EINVAL
    return file.truncate(t, size)


@syscall("fallocate", 285, (Fd, Int, Off, Off))
def sys_fallocate(t, fd, mode, offset, length):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if offset < 0 or length <= 0:
        return -EINVAL
    change = mode & ~FALLOC_KEEP_SIZE
    if change & ~(FALLOC_PUNCH_HOLE | FALLOC_COLLAPSE_RANGE | FALLOC_ZERO_RANGE | FALLOC_INSERT_RANGE | FALLOC_UNSHARE_RANGE):  # fmt: skip
        return -EOPNOTSUPP
    if change & (change - 1):
        return -EOPNOTSUPP
    if mode & FALLOC_PUNCH_HOLE and not mode & FALLOC_KEEP_SIZE:
        return -EOPNOTSUPP
    if mode & (FALLOC_COLLAPSE_RANGE | FALLOC_INSERT_RANGE) and mode & FALLOC_KEEP_SIZE:
        return -EINVAL
    if not file.can_write:
        return -EBADF
    kind = file.inode.mode & S_IFMT if file.inode is not None else 0
    if kind == S_IFIFO:
        return -ESPIPE
    if kind == S_IFDIR:
        return -EISDIR
    if kind != S_IFREG:
        return -ENODEV
    if offset + length > MAX_SIZE:
        return -EFBIG
    return file.fallocate(t, mode, offset, length)


