"""inotify."""

from sentry.abi.errno import EBADF, EEXIST, EINVAL, ENOSPC
from sentry.abi.fs import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    IN_ALL_EVENTS,
    IN_DONT_FOLLOW,
    IN_EXCL_UNLINK,
    IN_ISDIR,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONESHOT,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    MAY_READ,
)
from sentry.core.syscall import Fd, Flags, Int, Str, U32, syscall
from sentry.fs.inotify import MAX_WATCHES, InotifyFile
from sentry.syscalls.fdpair import install_new
from sentry.vfs import walk
from sentry.vfs.file import O_CLOEXEC, O_NONBLOCK, O_RDONLY
from sentry.vfs.perm import inode_permission

ALL_BITS = (
    IN_ALL_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR | IN_ONESHOT
    | IN_UNMOUNT | IN_Q_OVERFLOW | 0x8000
)  # fmt: skip


def new_instance(t, flags):
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    return install_new(t, InotifyFile(O_RDONLY | flags & O_NONBLOCK), bool(flags & O_CLOEXEC))


@syscall("inotify_init", 253, ())
def sys_inotify_init(t):
    return new_instance(t, 0)


@syscall("inotify_init1", 294, (Flags,))
def sys_inotify_init1(t, flags):
    return new_instance(t, flags)


@syscall("inotify_add_watch", 254, (Fd, Str, U32))
def sys_inotify_add_watch(t, fd, path, mask):
    if not mask & ALL_BITS:
        return -EINVAL
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if mask & IN_MASK_ADD and mask & IN_MASK_CREATE:
        return -EINVAL
    if not isinstance(file, InotifyFile):
        return -EINVAL
    flags = AT_SYMLINK_NOFOLLOW if mask & IN_DONT_FOLLOW else 0
    if mask & IN_ONLYDIR:
        flags |= walk.WALK_DIRECTORY
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), flags)
    if type(where) is int:
        return where
    error = inode_permission(t.creds, where.inode, MAY_READ)
    if error:
        return error
    wanted = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)
    old = file.find(where.inode)
    if old is not None:
        if mask & IN_MASK_CREATE:
            return -EEXIST
        old.mask = old.mask | wanted if mask & IN_MASK_ADD else wanted
        return old.wd
    if len(file.watches) >= MAX_WATCHES:
        return -ENOSPC
    return file.add(where.dentry, wanted)


@syscall("inotify_rm_watch", 255, (Fd, Int))
def sys_inotify_rm_watch(t, fd, wd):
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if not isinstance(file, InotifyFile):
        return -EINVAL
    watch = file.watches.get(wd)
    if watch is None:
        return -EINVAL
    watch.remove()
    return 0
