"""mount, umount2, pivot_root. The file-descriptor mount API (fsopen(2) …) is not there: ENOSYS."""

from sentry.abi.errno import EAGAIN, EBUSY, EFAULT, EINVAL, ENODEV, ENOENT, ENOTDIR, EPERM
from sentry.abi.fs import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    MNT_DETACH,
    MNT_EXPIRE,
    MNT_FORCE,
    MS_BIND,
    MS_MOVE,
    MS_NOATIME,
    MS_PER_MOUNT,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_UNBINDABLE,
    UMOUNT_NOFOLLOW,
)
from sentry.core import log
from sentry.core.creds import CAP_SYS_ADMIN
from sentry.core.syscall import Flags, Ptr, Str, ULong, syscall
from sentry.platform.base import MemFault
from sentry.vfs import walk
from sentry.vfs.mount import FILE_SYSTEMS, Mount, new_group

MS_MGC_MASK, MS_MGC_VAL = 0xFFFF0000, 0xC0ED0000
PROPAGATION = {MS_SHARED: b"shared", MS_PRIVATE: b"private", MS_SLAVE: b"slave", MS_UNBINDABLE: b"unbindable"}


def optional_string(t, addr) -> bytes:
    return t.read_cstr(addr, 4096) if addr else b""


def mount_flags(flags: int) -> int:
    """Per-mount flags from mount(2)'s (fs/namespace.c:path_mount): relatime unless told otherwise."""
    per_mount = flags & MS_PER_MOUNT
    if flags & MS_STRICTATIME:
        per_mount &= ~(MS_RELATIME | MS_NOATIME)
    elif not flags & MS_NOATIME:
        per_mount |= MS_RELATIME
    else:
        per_mount &= ~MS_RELATIME
    return per_mount


@syscall("mount", 165, (Ptr, Str, Ptr, ULong, Ptr))
def sys_mount(t, source_addr, target_addr, type_addr, flags, data_addr):
    kind = optional_string(t, type_addr)
    source = optional_string(t, source_addr)
    data = b""
    if data_addr:
        try:
            data = t.read_upto(data_addr, 4095).split(b"\0", 1)[0]
        except MemFault:
            return -EFAULT
    if flags & MS_MGC_MASK == MS_MGC_VAL:
        flags &= ~MS_MGC_MASK
    target = walk.resolve(t, AT_FDCWD, t.read_cstr(target_addr, 4096))
    if type(target) is int:
        return target
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    ns = t.fs.ns
    if flags & MS_REMOUNT:
        return remount(target, flags)
    if target.mount.outward and not flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE):
        log.once("outward", log.WARNING, "a program's mount in a volume with shared propagation was refused: the host could not see it")
        return -EPERM
    if flags & MS_BIND:
        return bind(t, ns, source, target, bool(flags & MS_REC))
    if flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE):
        return change_propagation(target, flags)
    if flags & MS_MOVE:
        return move(t, ns, source, target)
    if not kind:
        return -EINVAL
    entry = FILE_SYSTEMS.get(kind)
    if entry is None:
        return -ENODEV
    if target.dentry.children is None:
        return -ENOTDIR
    fs = entry[0](t, source, data)
    if type(fs) is int:
        return fs
    mount = ns.mount(fs, target, mount_flags(flags), source or b"none")
    return mount if type(mount) is int else 0


def remount(target, flags) -> int:
    mount = target.mount
    if target.dentry is not mount.root:
        return -EINVAL
    if not flags & MS_BIND and mount.fs.read_only and not flags & MS_RDONLY and mount.fs.fixed_read_only:
        return -EPERM
    mount.flags = mount_flags(flags)
    if not flags & MS_BIND:
        mount.fs.read_only = bool(flags & MS_RDONLY) or mount.fs.fixed_read_only
        mount.flags &= ~MS_RDONLY
    return 0


def bind(t, ns, source, target, recursive) -> int:
    if not source:
        return -EINVAL
    where = walk.resolve(t, AT_FDCWD, source)
    if type(where) is int:
        return where
    if where.mount is None or where.mount.ns is not ns or target.mount.ns is not ns or where.dentry.dead:
        return -EINVAL
    mount = ns.bind(where, target, recursive)
    return mount if type(mount) is int else 0


def change_propagation(target, flags) -> int:
    kind = PROPAGATION.get(flags & ~(MS_REC | 0x8000))  # MS_SILENT
    mount = target.mount
    if kind is None or target.dentry is not mount.root:
        return -EINVAL
    for each in mount.tree() if flags & MS_REC else [mount]:
        if kind == b"slave":
            if each.group:
                each.master, each.group = each.group, 0
            elif not each.master:
                each.propagation = b"private"
                continue
        else:
            each.master = 0
            each.group = (each.group or new_group()) if kind == b"shared" else 0
        each.propagation = kind
        each.outward = each.outward and kind == b"shared"
    return 0


def move(t, ns, source, target) -> int:
    if not source:
        return -EINVAL
    where = walk.resolve(t, AT_FDCWD, source)
    if type(where) is int:
        return where
    if where.mount is None or where.dentry is not where.mount.root or where.mount.ns is not ns:
        return -EINVAL
    return ns.move(where.mount, target)


@syscall("umount2", 166, (Str, Flags))
def sys_umount2(t, path, flags):
    if flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW):
        return -EINVAL
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), AT_SYMLINK_NOFOLLOW if flags & UMOUNT_NOFOLLOW else 0)
    if type(where) is int:
        return where
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    mount = where.mount
    if mount is None or where.dentry is not mount.root or mount.ns is not t.fs.ns:
        return -EINVAL
    if flags & MNT_EXPIRE:
        if flags & (MNT_FORCE | MNT_DETACH):
            return -EINVAL
        return -EBUSY if mount.pins else -EAGAIN
    if mount is t.fs.root.mount and not flags & MNT_DETACH:
        return -EBUSY
    return t.fs.ns.umount(mount, flags)


@syscall("pivot_root", 155, (Str, Str))
def sys_pivot_root(t, new_path, old_path):
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    new = walk.resolve(t, AT_FDCWD, t.read_cstr(new_path, 4096), walk.WALK_DIRECTORY)
    if type(new) is int:
        return new
    put = walk.resolve(t, AT_FDCWD, t.read_cstr(old_path, 4096), walk.WALK_DIRECTORY)
    if type(put) is int:
        return put
    fs = t.fs
    root = fs.root
    ns = fs.ns
    if new.mount.ns is not ns or put.mount.ns is not ns or root.mount.ns is not ns:
        return -EINVAL
    if new.dentry.dead:
        return -ENOENT
    if new.mount is root.mount or put.mount is root.mount:
        return -EBUSY
    if root.dentry is not root.mount.root or new.dentry is not new.mount.root or new.mount.parent is None:
        return -EINVAL
    if new.mount.parent.propagation == b"shared" or (root.mount.parent and root.mount.parent.propagation == b"shared"):
        return -EINVAL
    if not reachable(put, new):
        return -EINVAL
    pivot(ns, root.mount, new.mount, put)
    for task in t.kernel.all_tasks():
        context = task.fs
        if context is None:
            continue
        if context.root.same(root):
            context.set_root(new)
        if context.cwd.same(root):
            context.set_cwd(new)
    return 0


def reachable(path, root) -> bool:
    """Is `path` at or below `root`?"""
    mount, d = path.mount, path.dentry
    while mount is not root.mount:
        if mount.parent is None:
            return False
        mount, d = mount.parent, mount.mountpoint
    return d.below(root.dentry)


def pivot(ns, old: Mount, new: Mount, put) -> None:
    parent, place = old.parent, old.mountpoint
    new.detach()
    if parent is not None:
        old.detach()
        new.attach(parent, place)
    else:
        ns.root = new
    old.attach(put.mount, put.dentry)
    ns.events += 1


