"""Extended attributes (xattr(7))."""

from sentry.abi.errno import E2BIG, EBADF, EINVAL, ENODATA, EOPNOTSUPP, EPERM, ERANGE
from sentry.abi.fs import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    IN_ATTRIB,
    MAY_READ,
    MAY_WRITE,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    S_ISVTX,
    XATTR_CREATE,
    XATTR_LIST_MAX,
    XATTR_NAME_MAX,
    XATTR_REPLACE,
    XATTR_SIZE_MAX,
)
from sentry.core.creds import CAP_SETFCAP, CAP_SYS_ADMIN
from sentry.core.syscall import Fd, Flags, Ptr, Size, Str, syscall
from sentry.syscalls.sys_attr import path_of
from sentry.vfs import notify, walk
from sentry.vfs.file import O_PATH
from sentry.vfs.perm import inode_permission, owner_or_capable, want_write

SPACES = (b"user.", b"trusted.", b"security.")


def read_name(t, addr):
    name = t.read_cstr(addr, XATTR_NAME_MAX + 1)
    if not name or len(name) > XATTR_NAME_MAX:
        return -ERANGE
    return name


def allowed(t, inode, name, mask) -> int:
    """Permission for an attribute (fs/xattr.c:xattr_permission)."""
    creds = t.creds
    if name.startswith((b"security.", b"system.")):
        if mask & MAY_WRITE and name.startswith(b"security."):
            cap = CAP_SETFCAP if name == b"security.capability" else CAP_SYS_ADMIN
            return 0 if creds.capable(cap) else -EPERM
        return 0
    if name.startswith(b"trusted."):
        if creds.capable(CAP_SYS_ADMIN):
            return 0
        return -EPERM if mask & MAY_WRITE else -ENODATA
    if name.startswith(b"user."):
        kind = inode.mode & S_IFMT
        if kind not in (S_IFREG, S_IFDIR):
            return -EPERM if mask & MAY_WRITE else -ENODATA
        if kind == S_IFDIR and inode.mode & S_ISVTX and mask & MAY_WRITE and not owner_or_capable(creds, inode):
            return -EPERM
    return inode_permission(creds, inode, mask)


def with_path(t, path, flags, then, *args):
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), flags)
    return where if type(where) is int else then(t, where, *args)


def with_file(t, fd, then, *args):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return then(t, path_of(file), *args)


def known(name) -> bool:
    return name.startswith(SPACES) and name not in SPACES


def do_set(t, where, name_addr, value_addr, size, flags):
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        return -EINVAL
    name = read_name(t, name_addr)
    if type(name) is int:
        return name
    if size > XATTR_SIZE_MAX:
        return -E2BIG
    value = t.read(value_addr, size) if size else b""
    inode = where.inode
    error = want_write(where.mount) or allowed(t, inode, name, MAY_WRITE)
    if error:
        return error
    if not known(name):
        return -EINVAL if name in SPACES else -EOPNOTSUPP
    error = inode.setxattr(name, value, flags)
    if error == 0:
        notify.changed(where.dentry, IN_ATTRIB)
    return error


def do_get(t, where, name_addr, value_addr, size):
    name = read_name(t, name_addr)
    if type(name) is int:
        return name
    inode = where.inode
    error = allowed(t, inode, name, MAY_READ)
    if error:
        return error
    if not known(name):
        return -EINVAL if name in SPACES else -EOPNOTSUPP
    value = inode.getxattr(name)
    if type(value) is int:
        return value
    if not size:
        return len(value)
    if len(value) > size:
        return -ERANGE
    t.write(value_addr, value)
    return len(value)


def do_list(t, where, buf, size):
    names = where.inode.listxattr()
    if type(names) is int:
        return names if names != -EOPNOTSUPP else 0
    if not t.creds.capable(CAP_SYS_ADMIN):
        names = [name for name in names if not name.startswith(b"trusted.")]
    data = b"".join(name + b"\0" for name in names)
    if not size:
        return len(data)
    if len(data) > size:
        return -ERANGE if size < XATTR_LIST_MAX else -E2BIG
    t.write(buf, data)
    return len(data)


def do_remove(t, where, name_addr):
    name = read_name(t, name_addr)
    if type(name) is int:
        return name
    inode = where.inode
    error = want_write(where.mount) or allowed(t, inode, name, MAY_WRITE)
    if error:
        return error
    if not known(name):
        return -EINVAL if name in SPACES else -EOPNOTSUPP
    error = inode.removexattr(name)
    if error == 0:
        notify.changed(where.dentry, IN_ATTRIB)
    return error


@syscall("setxattr", 188, (Str, Str, Ptr, Size, Flags))
def sys_setxattr(t, path, name, value, size, flags):
    return with_path(t, path, 0, do_set, name, value, size, flags)


@syscall("lsetxattr", 189, (Str, Str, Ptr, Size, Flags))
def sys_lsetxattr(t, path, name, value, size, flags):
    return with_path(t, path, AT_SYMLINK_NOFOLLOW, do_set, name, value, size, flags)


@syscall("fsetxattr", 190, (Fd, Str, Ptr, Size, Flags))
def sys_fsetxattr(t, fd, name, value, size, flags):
    return with_file(t, fd, do_set, name, value, size, flags)


@syscall("getxattr", 191, (Str, Str, Ptr, Size))
def sys_getxattr(t, path, name, value, size):
    return with_path(t, path, 0, do_get, name, value, size)


@syscall("lgetxattr", 192, (Str, Str, Ptr, Size))
def sys_lgetxattr(t, path, name, value, size):
    return with_path(t, path, AT_SYMLINK_NOFOLLOW, do_get, name, value, size)


@syscall("fgetxattr", 193, (Fd, Str, Ptr, Size))
def sys_fgetxattr(t, fd, name, value, size):
    return with_file(t, fd, do_get, name, value, size)


@syscall("listxattr", 194, (Str, Ptr, Size))
def sys_listxattr(t, path, buf, size):
    return with_path(t, path, 0, do_list, buf, size)


@syscall("llistxattr", 195, (Str, Ptr, Size))
def sys_llistxattr(t, path, buf, size):
    return with_path(t, path, AT_SYMLINK_NOFOLLOW, do_list, buf, size)


@syscall("flistxattr", 196, (Fd, Ptr, Size))
def sys_flistxattr(t, fd, buf, size):
    return with_file(t, fd, do_list, buf, size)


@syscall("removexattr", 197, (Str, Str))
def sys_removexattr(t, path, name):
    return with_path(t, path, 0, do_remove, name)


@syscall("lremovexattr", 198, (Str, Str))
def sys_lremovexattr(t, path, name):
    return with_path(t, path, AT_SYMLINK_NOFOLLOW, do_remove, name)


@syscall("fremovexattr", 199, (Fd, Str))
def sys_fremovexattr(t, fd, name):
    return with_file(t, fd, do_remove, name)
