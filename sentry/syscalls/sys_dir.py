"""Names and directories: mkdir, unlink, rename, link, getdents, chdir, getcwd, chroot, umask."""

from struct import Struct

from sentry.abi.errno import EBADF, EINVAL, ENOENT, ENOTDIR, EPERM, ERANGE
from sentry.abi.fs import AT_FDCWD, AT_REMOVEDIR, MAY_EXEC, makedev
from sentry.core.creds import CAP_SYS_CHROOT
from sentry.core.syscall import Fd, Flags, Mode, OutBuf, Ptr, Str, U32, ULong, syscall
from sentry.vfs import ops, walk
from sentry.vfs.dentry import path_text
from sentry.vfs.file import O_PATH
from sentry.vfs.perm import permission

DIRENT_HEAD = Struct("<QqHB")
OLD_DIRENT_HEAD = Struct("<QqH")
GETDENTS_MAX = 1 << 18


@syscall("mkdir", 83, (Str, Mode))
def sys_mkdir(t, path, mode):
    return ops.mkdir(t, AT_FDCWD, t.read_cstr(path, 4096), mode)


@syscall("mkdirat", 258, (Fd, Str, Mode))
def sys_mkdirat(t, dirfd, path, mode):
    return ops.mkdir(t, dirfd, t.read_cstr(path, 4096), mode)


@syscall("rmdir", 84, (Str,))
def sys_rmdir(t, path):
    return ops.rmdir(t, AT_FDCWD, t.read_cstr(path, 4096))


@syscall("unlink", 87, (Str,))
def sys_unlink(t, path):
    return ops.unlink(t, AT_FDCWD, t.read_cstr(path, 4096))


@syscall("unlinkat", 263, (Fd, Str, Flags))
def sys_unlinkat(t, dirfd, path, flags):
    if flags & ~AT_REMOVEDIR:
        return -EINVAL
    name = t.read_cstr(path, 4096)
    return ops.rmdir(t, dirfd, name) if flags else ops.unlink(t, dirfd, name)


@syscall("rename", 82, (Str, Str))
def sys_rename(t, old, new):
    return ops.rename(t, AT_FDCWD, t.read_cstr(old, 4096), AT_FDCWD, t.read_cstr(new, 4096), 0)


@syscall("renameat", 264, (Fd, Str, Fd, Str))
def sys_renameat(t, old_fd, old, new_fd, new):
    return ops.rename(t, old_fd, t.read_cstr(old, 4096), new_fd, t.read_cstr(new, 4096), 0)


@syscall("renameat2", 316, (Fd, Str, Fd, Str, Flags))
def sys_renameat2(t, old_fd, old, new_fd, new, flags):
    return ops.rename(t, old_fd, t.read_cstr(old, 4096), new_fd, t.read_cstr(new, 4096), flags)


@syscall("link", 86, (Str, Str))
def sys_link(t, old, new):
    return ops.link(t, AT_FDCWD, t.read_cstr(old, 4096), AT_FDCWD, t.read_cstr(new, 4096), 0)


@syscall("linkat", 265, (Fd, Str, Fd, Str, Flags))
def sys_linkat(t, old_fd, old, new_fd, new, flags):
    return ops.link(t, old_fd, t.read_cstr(old, 4096), new_fd, t.read_cstr(new, 4096), flags)


@syscall("symlink", 88, (Str, Str))
def sys_symlink(t, target, path):
    return ops.symlink(t, t.read_cstr(target, 4096), AT_FDCWD, t.read_cstr(path, 4096))


@syscall("symlinkat", 266, (Str, Fd, Str))
def sys_symlinkat(t, target, dirfd, path):
    return ops.symlink(t, t.read_cstr(target, 4096), dirfd, t.read_cstr(path, 4096))


def decode_dev(dev: int) -> int:
    """The 32-bit dev_t of mknod(2) as stat(2) shows it (new_decode_dev)."""
    return makedev((dev & 0xFFF00) >> 8, dev & 0xFF | (dev >> 12) & 0xFFF00)


@syscall("mknod", 133, (Str, Mode, U32))
def sys_mknod(t, path, mode, dev):
    return ops.mknod(t, AT_FDCWD, t.read_cstr(path, 4096), mode & 0xFFFF, decode_dev(dev))


@syscall("mknodat", 259, (Fd, Str, Mode, U32))
def sys_mknodat(t, dirfd, path, mode, dev):
    return ops.mknod(t, dirfd, t.read_cstr(path, 4096), mode & 0xFFFF, decode_dev(dev))


def read_dir(t, fd, space):
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return file.getdents(t, min(space, GETDENTS_MAX))


@syscall("getdents64", 217, (Fd, Ptr, U32))
def sys_getdents64(t, fd, buf, count):
    data = read_dir(t, fd, count)
    if type(data) is int:
        return data
    t.write(buf, data)
    return len(data)


@syscall("getdents", 78, (Fd, Ptr, U32))
def sys_getdents(t, fd, buf, count):
    """The old record has no type before the name but after it, in the last byte; its length is the same or 8 more."""
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    out = []
    room = count
    while True:
        before = file.pos
        data = file.getdents(t, min(room, 300)) if room >= 24 else -EINVAL
        if type(data) is int:
            if out:
                break
            return data
        if not data:
            break
        ino, off, length, kind = DIRENT_HEAD.unpack_from(data)
        name = data[19:length].split(b"\0", 1)[0]
        size = (len(name) + 27) & ~7  # 18 bytes before the name, NUL, type
        if size > room:
            file.pos = before
            break
        file.pos = before + 1
        out.append((OLD_DIRENT_HEAD.pack(ino, off, size) + name).ljust(size - 1, b"\0") + bytes((kind,)))
        room -= size
    data = b"".join(out)
    t.write(buf, data)
    return len(data)


def change_dir(t, where) -> int:
    if type(where) is int:
        return where
    error = permission(t.creds, where.inode, MAY_EXEC)
    if error:
        return error
    t.fs.set_cwd(where)
    return 0


@syscall("chdir", 80, (Str,))
def sys_chdir(t, path):
    return change_dir(t, walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), walk.WALK_DIRECTORY))


@syscall("fchdir", 81, (Fd,))
def sys_fchdir(t, fd):
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if file.path is None or file.path.dentry.children is None:
        return -ENOTDIR
    return change_dir(t, file.path)


@syscall("chroot", 161, (Str,))
def sys_chroot(t, path):
    where = walk.resolve(t, AT_FDCWD, t.read_cstr(path, 4096), walk.WALK_DIRECTORY)
    if type(where) is int:
        return where
    error = permission(t.creds, where.inode, MAY_EXEC)
    if error:
        return error
    if not t.creds.capable(CAP_SYS_CHROOT):
        return -EPERM
    t.fs.set_root(where)
    return 0


@syscall("getcwd", 79, (OutBuf(1), ULong))
def sys_getcwd(t, buf, size):
    cwd = t.fs.cwd
    if cwd.dentry.dead:
        return -ENOENT
    text, reachable = path_text(cwd, t.fs.root)
    if not reachable:
        text = b"(unreachable)" + text
    if len(text) + 1 > size:
        return -ERANGE
    t.write(buf, text + b"\0")
    return len(text) + 1


@syscall("umask", 95, (Mode,))
def sys_umask(t, mask):
    old = t.fs.umask
    t.fs.umask = mask & 0o777
    return old


