"""stat and its kin, access, readlink, statfs."""

from struct import Struct

from sentry.abi.errno import EBADF, EINVAL, ENOENT
from sentry.abi.fs import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_RELATIME,
    S_IFLNK,
    S_IFMT,
    ST_NOATIME,
    ST_NODEV,
    ST_NODIRATIME,
    ST_NOEXEC,
    ST_NOSUID,
    ST_NOSYMFOLLOW,
    ST_RDONLY,
    ST_RELATIME,
    ST_VALID,
    major,
    makedev,
    minor,
)
from sentry.core.syscall import Fd, Flags, Int, OutBuf, OutStruct, Str, U32, syscall
from sentry.vfs import ops, walk
from sentry.vfs.atime import touch

STAT = Struct("<QQQIIIIQqqqqqqqqqQQQ")
STATX = Struct("<IIQIIIHHQQQQqIIqIIqIIqIIIIIIQIIQII")
STATFS = Struct("<qqQQQQQQqqq32x")
SECOND = 10**9
STATX_RESULT = 0x0FFF | 0x1000  # basic attributes, birth time, mount id
STATX_ATTR_MOUNT_ROOT = 0x2000
STATX_RESERVED = 0x80000000
MOUNT_BITS = (
    (MS_NOSUID, ST_NOSUID),
    (MS_NODEV, ST_NODEV),
    (MS_NOEXEC, ST_NOEXEC),
    (MS_NOATIME, ST_NOATIME),
    (MS_NODIRATIME, ST_NODIRATIME),
    (MS_RELATIME, ST_RELATIME),
    (MS_NOSYMFOLLOW, ST_NOSYMFOLLOW),
)


def pack_stat(inode) -> "bytes | int":
    """struct stat of an inode, or -errno."""
    error = inode.getattr()
    if error < 0:
        return error
    a, m, c = inode.atime, inode.mtime, inode.ctime
    return STAT.pack(
        makedev(0, inode.fs.dev), inode.ino, inode.nlink, inode.mode, inode.uid, inode.gid, 0, inode.rdev,
        inode.size, 4096, inode.blocks(), a // SECOND, a % SECOND, m // SECOND, m % SECOND, c // SECOND, c % SECOND,
        0, 0, 0,
    )  # fmt: skip


def put_stat(t, inode, buf) -> int:
    data = pack_stat(inode)
    if type(data) is int:
        return data
    t.write(buf, data)
    return 0


@syscall("stat", 4, (Str, OutStruct(144)))
def sys_stat(t, path, buf):
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096))
    return where if type(where) is int else put_stat(t, where.dentry.inode, buf)


@syscall("lstat", 6, (Str, OutStruct(144)))
def sys_lstat(t, path, buf):
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), AT_SYMLINK_NOFOLLOW)
    return where if type(where) is int else put_stat(t, where.dentry.inode, buf)


@syscall("fstat", 5, (Fd, OutStruct(144)))
def sys_fstat(t, fd, buf):
    file = t.files.get(fd)
    return -EBADF if file is None else put_stat(t, file.inode, buf)


@syscall("newfstatat", 262, (Fd, Str, OutStruct(144), Flags))
def sys_newfstatat(t, dirfd, path, buf, flags):
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        return -EINVAL
    name = path_or_empty(t, path, flags)
    if not name and flags & AT_EMPTY_PATH and dirfd >= 0:
        return sys_fstat(t, dirfd, buf)
    where = walk.resolve(t, dirfd, name, flags)
    return where if type(where) is int else put_stat(t, where.dentry.inode, buf)


def path_or_empty(t, addr, flags) -> bytes:
    """The path at `addr`; a null pointer counts as "" with AT_EMPTY_PATH (fs/namei.c:getname_maybe_null)."""
    return b"" if not addr and flags & AT_EMPTY_PATH else t.read_cstr(addr, 4096)


@syscall("statx", 332, (Fd, Str, Flags, U32, OutStruct(256)))
def sys_statx(t, dirfd, path, flags, mask, buf):
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        return -EINVAL
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        return -EINVAL
    name = path_or_empty(t, path, flags)
    where = walk.resolve(t, dirfd, name, flags)
    if type(where) is int:
        return where
    inode = where.inode
    error = inode.getattr()
    if error < 0:
        return error
    mount = where.mount
    attributes = STATX_ATTR_MOUNT_ROOT if mount is not None and where.dentry is mount.root else 0
    a, b, c, m = inode.atime, inode.btime, inode.ctime, inode.mtime
    t.write(
        buf,
        STATX.pack(
            STATX_RESULT if b else STATX_RESULT & ~0x800, 4096, attributes, inode.nlink, inode.uid, inode.gid,
            inode.mode, 0, inode.ino, inode.size, inode.blocks(), STATX_ATTR_MOUNT_ROOT,
            a // SECOND, a % SECOND, 0, b // SECOND, b % SECOND, 0, c // SECOND, c % SECOND, 0,
            m // SECOND, m % SECOND, 0, major(inode.rdev), minor(inode.rdev), 0, inode.fs.dev,
            mount.id if mount is not None else 0, 0, 0, 0, 0, 0,
        ).ljust(256, b"\0"),
    )  # fmt: skip
    return 0


def do_access(t, dirfd, path, mode, flags):
    if mode & ~7:
        return -EINVAL
    if flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    creds = t.creds
    if not flags & AT_EACCESS and (
        creds.fsuid != creds.uid or creds.fsgid != creds.gid or creds.effective != real_capabilities(creds)
    ):
        creds = creds.copy()
        creds.fsuid = creds.uid
        creds.fsgid = creds.gid
        creds.effective = real_capabilities(creds)
    where = resolve_as(t, creds, dirfd, t.read_cstr(path, 4096), flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
    if type(where) is int:
        return where
    error = where.inode.getattr()
    return error if error < 0 else ops.access_mask_allowed(t, creds, where, mode)


def real_capabilities(creds) -> int:
    """The capabilities that access(2) counts: those of the real user (fs/open.c:access_override_creds)."""
    if creds.securebits & 4:  # SECBIT_NO_SETUID_FIXUP
        return creds.effective
    return creds.permitted if creds.uid == 0 else 0


def resolve_as(t, creds, dirfd, path, flags):
    """Walk with other credentials."""
    if creds is t.creds:
        return walk.resolve(t, dirfd, path, flags)
    own, t.creds = t.creds, creds
    try:
        return walk.resolve(t, dirfd, path, flags)
    finally:
        t.creds = own


@syscall("access", 21, (Str, Int))
def sys_access(t, path, mode):
    return do_access(t, AT_FDCWD, path, mode, 0)


@syscall("faccessat", 269, (Fd, Str, Int))
def sys_faccessat(t, dirfd, path, mode):
    return do_access(t, dirfd, path, mode, 0)


@syscall("faccessat2", 439, (Fd, Str, Int, Flags))
def sys_faccessat2(t, dirfd, path, mode, flags):
    return do_access(t, dirfd, path, mode, flags)


def do_readlink(t, dirfd, path, buf, size):
    if size <= 0:
        return -EINVAL
    name = t.read_cstr(path, 4096)
    where = walk.resolve(t, dirfd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    if type(where) is int:
        return where
    inode = where.inode
    if inode.mode & S_IFMT != S_IFLNK:
        return -EINVAL if name else -ENOENT
    target = inode.readlink(t)
    if type(target) is int:
        return target
    touch(where.mount, inode)
    target = target[:size]
    t.write(buf, target)
    return len(target)


@syscall("readlink", 89, (Str, OutBuf(2), Int))
def sys_readlink(t, path, buf, size):
    if size > 0 and not t.read_cstr(path, 4096):
        return -ENOENT
    return do_readlink(t, AT_FDCWD, path, buf, size)


@syscall("readlinkat", 267, (Fd, Str, OutBuf(3), Int))
def sys_readlinkat(t, dirfd, path, buf, size):
    return do_readlink(t, dirfd, path, buf, size)


def put_statfs(t, mount, inode, buf):
    fs = inode.fs
    values = fs.statfs()
    if type(values) is int:
        return values
    kind, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize = values
    flags = ST_VALID
    if mount is not None:
        if mount.flags & MS_RDONLY or fs.read_only:
            flags |= ST_RDONLY
        for bit, shown in MOUNT_BITS:
            if mount.flags & bit:
                flags |= shown
    t.write(buf, STATFS.pack(kind, bsize, blocks, bfree, bavail, files, ffree, fs.dev, namelen, frsize, flags))
    return 0


@syscall("statfs", 137, (Str, OutStruct(120)))
def sys_statfs(t, path, buf):
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096))
    return where if type(where) is int else put_statfs(t, where.mount, where.inode, buf)


@syscall("fstatfs", 138, (Fd, OutStruct(120)))
def sys_fstatfs(t, fd, buf):
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    return put_statfs(t, file.path.mount if file.path is not None else None, file.inode, buf)


