"""Operations on names: create, remove, rename, link, and opening files (fs/namei.c, fs/open.c).

Each takes the task, a directory descriptor and a path as the system call got them, and answers 0 (or a
File, or a Path) or -errno, in Linux's order of checks.
"""

from sentry.abi.errno import (
    EACCES,
    EBUSY,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    EPERM,
    ETXTBSY,
    EXDEV,
)
from sentry.abi.fs import (
    AT_EMPTY_PATH,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    IN_ATTRIB,
    IN_OPEN,
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    MS_NODEV,
    MS_NOEXEC,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    S_IALLUGO,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_ISGID,
    S_ISUID,
    S_ISVTX,
)
from sentry.core.creds import CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_FSETID, CAP_MKNOD
from sentry.vfs import notify, walk
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.file import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TMPFILE,
    O_TRUNC,
    File,
)
from sentry.vfs.mount import topmost
from sentry.vfs.perm import (
    inode_permission,
    may_create,
    may_delete,
    new_owner,
    owner_or_capable,
    permission,
    want_write,
)

KEPT_FLAGS = ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | 0o400)  # F_GETFL does not show these (and O_NOCTTY)
TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY
PATH_FLAGS = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC
ACCESS_MASK = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)

# fs.protected_hardlinks, fs.protected_regular, fs.protected_fifos as systemd sets them (proc(5))
protected_hardlinks = True
protected_regular = 2
protected_fifos = 1


# ---------------------------------------------------------------- open


def open(t, dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> "File | int":  # noqa: A001
    """open(2); `flags` are known O_* bits, `resolve` the RESOLVE_* of openat2. The caller owns the File."""
    if flags & O_PATH:
        flags &= PATH_FLAGS
    walk_flags = resolve << walk.RESOLVE_SHIFT if resolve else 0
    if flags & O_NOFOLLOW:
        walk_flags |= AT_SYMLINK_NOFOLLOW
    if flags & TMPFILE_BIT:
        return open_tmpfile(t, dirfd, path, flags, mode, walk_flags)
    if flags & O_CREAT:
        return open_create(t, dirfd, path, flags, mode, walk_flags)
    if flags & O_DIRECTORY:
        walk_flags |= walk.WALK_DIRECTORY
    where = walk.resolve(t, dirfd, path, walk_flags)
    if type(where) is int:
        return where
    return open_path(t, where, flags, False)


def open_path(t, path: Path, flags: int, created: bool) -> "File | int":
    """Open what `path` is; `created`: it is new, and no permission on it is asked for."""
    inode = path.dentry.inode
    if flags & O_PATH:
        return File(flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), inode, path)
    kind = inode.mode & S_IFMT
    if not created:
        error = inode.getattr()
        if error < 0:
            return error
        error = may_open(t, path, inode, kind, flags)
        if error:
            return error
    writes = flags & O_ACCMODE != O_RDONLY
    if kind == S_IFREG and not created:
        if writes or flags & O_TRUNC:
            error = want_write(path.mount)
            if error:
                return error
            if inode.writers < 0:
                return -ETXTBSY
    # Terminals must know O_NOCTTY; File does not keep it.
    file = inode.open(t, path, flags & (KEPT_FLAGS | O_NOCTTY) if kind == S_IFCHR else flags & KEPT_FLAGS)
    if type(file) is int:
        return file
    if flags & O_TRUNC and kind == S_IFREG and not created:
        error = truncate_inode(t, inode, 0)
        if error < 0:
            file.decref()
            return error
    if notify.active:
        notify.changed(path.dentry, IN_OPEN)
    return file


def may_open(t, path: Path, inode, kind: int, flags: int) -> int:
    writes = flags & O_ACCMODE != O_RDONLY or flags & O_TRUNC
    if kind == S_IFLNK:
        return -ELOOP
    if kind == S_IFDIR:
        if writes:
            return -EISDIR
    elif kind in (S_IFCHR, S_IFBLK):
        if path.mount is not None and path.mount.flags & MS_NODEV:
            return -EACCES
    mask = ACCESS_MASK[flags & O_ACCMODE]
    if flags & O_TRUNC:
        mask |= MAY_WRITE
    error = inode_permission(t.creds, inode, mask)
    if error:
        return error
    if flags & O_NOATIME and not owner_or_capable(t.creds, inode):
        return -EPERM
    return 0


def open_create(t, dirfd, path, flags, mode, walk_flags):
    last = walk.parent(t, dirfd, path, walk_flags)
    while True:
        if type(last) is int:
            return last
        if not last.normal:
            if walk_flags & walk.RESOLVE_ANY:
                where = walk.resolve(t, dirfd, path, walk_flags)
                if type(where) is int:
                    return where
            return -EEXIST if flags & O_EXCL else -EISDIR
        if last.slashes:
            return -EISDIR
        if last.dir.children is None:
            return -ENOTDIR
        d = last.lookup()
        if type(d) is int:
            return d
        if d is None:
            return create_and_open(t, last, flags, mode)
        if flags & O_EXCL:
            return -EEXIST
        inode = d.inode
        kind = inode.mode & S_IFMT
        if kind != S_IFLNK:
            where = topmost(Path(last.mount, d))
            if walk_flags & walk.NO_XDEV and where.mount is not last.mount:
                return -EXDEV
            break
        if walk_flags & AT_SYMLINK_NOFOLLOW:
            return may_create_in_sticky(t, last.dir.inode, inode) or -ELOOP
        last = walk.follow_last(t, last, d, walk_flags)
        if type(last) is Path:
            where = last
            inode = where.inode
            kind = inode.mode & S_IFMT
            break
    if kind == S_IFDIR:
        return -EISDIR
    if type(last) is walk.Last:
        error = may_create_in_sticky(t, last.dir.inode, where.inode)
        if error:
            return error
    return open_path(t, where, flags, False)


def may_create_in_sticky(t, directory, inode) -> int:
    """O_CREAT of an existing file of somebody else in a sticky directory (fs/namei.c)."""
    kind = inode.mode & S_IFMT
    level = protected_regular if kind == S_IFREG else protected_fifos if kind == S_IFIFO else 1
    if not level or not directory.mode & S_ISVTX:
        return 0
    if inode.uid == directory.uid or inode.uid == t.creds.fsuid:
        return 0
    if directory.mode & 0o002 or (directory.mode & 0o020 and level >= 2):
        return -EACCES
    return 0


def create_and_open(t, last, flags, mode):
    error = want_write(last.mount)
    if error:
        return error
    if last.dir.dead:
        return -ENOENT
    creds = t.creds
    directory = last.dir.inode
    error = may_create(creds, directory)
    if error:
        return error
    mode = S_IFREG | mode & S_IALLUGO & ~t.fs.umask
    mode, gid = new_owner(creds, directory, mode)
    inode = directory.create(last.name, mode & S_IALLUGO, creds.fsuid, gid)
    if type(inode) is int:
        return inode
    d = last.dir.add(last.name, inode)
    notify.created(directory, last.name, inode)
    return open_path(t, Path(last.mount, d), flags, True)


def open_tmpfile(t, dirfd, path, flags, mode, walk_flags):
    """O_TMPFILE: a file without a name in the directory `path`."""
    where = walk.resolve(t, dirfd, path, walk_flags | walk.WALK_DIRECTORY)
    if type(where) is int:
        return where
    error = want_write(where.mount)
    if error:
        return error
    directory = where.inode
    error = may_create(t.creds, directory)
    if error:
        return error
    mode, gid = new_owner(t.creds, directory, S_IFREG | mode & S_IALLUGO & ~t.fs.umask)
    inode = directory.tmpfile(mode & S_IALLUGO, t.creds.fsuid, gid)
    if type(inode) is int:
        return inode
    inode.linkable = not flags & O_EXCL
    d = Dentry(where.dentry, b"#%d" % inode.ino, inode)
    d.dead = True
    return open_path(t, Path(where.mount, d), flags, True)


def open_exec(t, dirfd: int, path: bytes, at_flags: int = 0) -> "File | int":
    """The program of execve(2): a regular file with execute permission, readable through the File whatever
    its mode. While the File lives, opening for writing is ETXTBSY."""
    where = walk.resolve(t, dirfd, path, at_flags)
    if type(where) is int:
        return where
    return open_exec_path(t, where)


def open_exec_path(t, where: Path) -> "File | int":
    inode = where.inode
    kind = inode.mode & S_IFMT
    if kind == S_IFLNK:
        return -ELOOP
    error = inode.getattr()
    if error < 0:
        return error
    error = permission(t.creds, inode, MAY_EXEC)
    if error:
        return error
    if kind != S_IFREG or (where.mount is not None and where.mount.flags & MS_NOEXEC):
        return -EACCES
    if inode.writers > 0:
        return -ETXTBSY
    file = inode.open(t, where, O_RDONLY)
    if type(file) is not int:
        file.deny_writes()
    return file


# ---------------------------------------------------------------- create and remove names


def new_name(t, dirfd: int, path: bytes, is_dir: bool) -> "walk.Last | int":
    """Where a new name goes (filename_create): it does not exist, the mount is writable, the task may create."""
    last = walk.parent(t, dirfd, path)
    if type(last) is int:
        return last
    if not last.normal:
        return -EEXIST
    d = last.lookup()
    if type(d) is int:
        return d
    if d is not None:
        return -EEXIST
    if last.slashes and not is_dir:
        return -ENOENT
    error = want_write(last.mount)
    if error:
        return error
    if last.dir.dead:
        return -ENOENT
    return last


def finish_new(last, inode) -> int:
    if type(inode) is int:
        return inode
    last.dir.add(last.name, inode)
    notify.created(last.dir.inode, last.name, inode)
    return 0


def mkdir(t, dirfd: int, path: bytes, mode: int) -> int:
    last = new_name(t, dirfd, path, True)
    if type(last) is int:
        return last
    directory = last.dir.inode
    error = may_create(t.creds, directory)
    if error:
        return error
    mode, gid = new_owner(t.creds, directory, S_IFDIR | mode & 0o1777 & ~t.fs.umask)
    return finish_new(last, directory.mkdir(last.name, mode & S_IALLUGO, t.creds.fsuid, gid))


def mknod(t, dirfd: int, path: bytes, mode: int, rdev: int) -> int:
    """mknod(2); also how a Unix socket gets its name (S_IFSOCK)."""
    kind = mode & S_IFMT
    if kind not in (0, S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        return -EPERM if kind == S_IFDIR else -EINVAL
    last = new_name(t, dirfd, path, False)
    if type(last) is int:
        return last
    creds = t.creds
    directory = last.dir.inode
    error = may_create(creds, directory)
    if error:
        return error
    mode = (kind or S_IFREG) | mode & S_IALLUGO & ~t.fs.umask
    if kind in (S_IFCHR, S_IFBLK) and not creds.capable(CAP_MKNOD) and not (kind == S_IFCHR and rdev == 0):
        return -EPERM
    mode, gid = new_owner(creds, directory, mode)
    if mode & S_IFMT == S_IFREG:
        inode = directory.create(last.name, mode & S_IALLUGO, creds.fsuid, gid)
    else:
        inode = directory.mknod(last.name, mode, rdev if kind in (S_IFCHR, S_IFBLK) else 0, creds.fsuid, gid)
    return finish_new(last, inode)


def symlink(t, target: bytes, dirfd: int, path: bytes) -> int:
    if not target:
        return -ENOENT
    last = new_name(t, dirfd, path, False)
    if type(last) is int:
        return last
    directory = last.dir.inode
    error = may_create(t.creds, directory)
    if error:
        return error
    _, gid = new_owner(t.creds, directory, S_IFLNK | 0o777)
    return finish_new(last, directory.symlink(last.name, target, t.creds.fsuid, gid))


def link(t, old_dirfd: int, old_path: bytes, dirfd: int, path: bytes, flags: int) -> int:
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    creds = t.creds
    if flags & AT_EMPTY_PATH and not old_path and not creds.capable(CAP_DAC_READ_SEARCH):
        return -ENOENT
    walk_flags = flags & AT_EMPTY_PATH
    if not flags & AT_SYMLINK_FOLLOW:
        walk_flags |= AT_SYMLINK_NOFOLLOW
    old = walk.resolve(t, old_dirfd, old_path, walk_flags)
    if type(old) is int:
        return old
    last = new_name(t, dirfd, path, False)
    if type(last) is int:
        return last
    if last.mount is not old.mount:
        return -EXDEV
    inode = old.inode
    error = may_link(creds, inode)
    if error:
        return error
    directory = last.dir.inode
    error = may_create(creds, directory)
    if error:
        return error
    kind = inode.mode & S_IFMT
    if kind == S_IFDIR:
        return -EPERM
    if inode.nlink == 0 and not inode.linkable:
        return -ENOENT
    error = directory.link(last.name, inode)
    if error < 0:
        return error
    last.dir.add(last.name, inode)
    notify.linked(directory, last.name, inode)
    return 0


def may_link(creds, inode) -> int:
    """fs.protected_hardlinks (may_linkat)."""
    if not protected_hardlinks or owner_or_capable(creds, inode):
        return 0
    mode = inode.mode
    if (
        mode & S_IFMT != S_IFREG
        or mode & S_ISUID
        or mode & (S_ISGID | 0o010) == S_ISGID | 0o010
        or permission(creds, inode, MAY_READ | MAY_WRITE)
    ):
        return -EPERM
    return 0


def unlink(t, dirfd: int, path: bytes) -> int:
    last = walk.parent(t, dirfd, path)
    if type(last) is int:
        return last
    if not last.normal:
        return -EISDIR
    error = want_write(last.mount)
    if error:
        return error
    d = last.lookup()
    if type(d) is int:
        return d
    if d is None:
        return -ENOENT
    inode = d.inode
    is_dir = d.children is not None
    if last.slashes:
        return -EISDIR if is_dir else -ENOTDIR
    directory = last.dir.inode
    error = may_delete(t.creds, directory, inode)
    if error:
        return error
    if is_dir:
        return -EISDIR
    if d.mounted:
        return -EBUSY
    error = directory.unlink(last.name, inode)
    if error < 0:
        return error
    last.dir.drop(last.name)
    notify.deleted(directory, last.name, inode)
    return 0


def rmdir(t, dirfd: int, path: bytes) -> int:
    last = walk.parent(t, dirfd, path)
    if type(last) is int:
        return last
    if last.name is None:
        return -EBUSY
    if last.name == b"..":
        return -ENOTEMPTY
    if last.name == b".":
        return -EINVAL
    error = want_write(last.mount)
    if error:
        return error
    d = last.lookup()
    if type(d) is int:
        return d
    if d is None:
        return -ENOENT
    inode = d.inode
    directory = last.dir.inode
    error = may_delete(t.creds, directory, inode)
    if error:
        return error
    if d.children is None:
        return -ENOTDIR
    if d.mounted:
        return -EBUSY
    error = directory.rmdir(last.name, inode)
    if error < 0:
        return error
    last.dir.drop(last.name)
    d.children.clear()
    notify.deleted(directory, last.name, inode)
    return 0


def rename(t, old_dirfd: int, old_path: bytes, new_dirfd: int, new_path: bytes, flags: int) -> int:
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT):
        return -EINVAL
    exchange = flags & RENAME_EXCHANGE
    if flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) and exchange:
        return -EINVAL
    creds = t.creds
    old = walk.parent(t, old_dirfd, old_path)
    if type(old) is int:
        return old
    new = walk.parent(t, new_dirfd, new_path)
    if type(new) is int:
        return new
    if old.mount is not new.mount:
        return -EXDEV
    if not old.normal:
        return -EBUSY
    if not new.normal:
        return -EEXIST if flags & RENAME_NOREPLACE else -EBUSY
    error = want_write(old.mount)
    if error:
        return error
    source = old.lookup()
    if type(source) is int:
        return source
    if source is None:
        return -ENOENT
    target = new.lookup()
    if type(target) is int:
        return target
    if target is not None and flags & RENAME_NOREPLACE:
        return -EEXIST
    if exchange:
        if target is None:
            return -ENOENT
        if target.children is None and new.slashes:
            return -ENOTDIR
    is_dir = source.children is not None
    if not is_dir and (old.slashes or (not exchange and new.slashes)):
        return -ENOTDIR
    if is_dir and new.dir.below(source):
        return -EINVAL
    if target is not None and target.children is not None and old.dir.below(target):
        return -EINVAL if exchange else -ENOTEMPTY
    return do_rename(t, creds, old, source, new, target, flags)


def do_rename(t, creds, old, source, new, target, flags: int) -> int:
    """The second half of rename: vfs_rename."""
    exchange = flags & RENAME_EXCHANGE
    inode = source.inode
    old_dir, new_dir = old.dir.inode, new.dir.inode
    if target is not None and target.inode is inode:
        return 0
    error = may_delete(creds, old_dir, inode)
    if error:
        return error
    is_dir = source.children is not None
    if target is None:
        if new.dir.dead:
            return -ENOENT
        error = may_create(creds, new_dir)
        if error:
            return error
    else:
        error = may_delete(creds, new_dir, target.inode)
        if error:
            return error
        if not exchange and is_dir != (target.children is not None):
            return -ENOTDIR if is_dir else -EISDIR
    if old.dir is not new.dir:
        if is_dir:
            error = inode_permission(creds, inode, MAY_WRITE)
            if error:
                return error
        if exchange and target.children is not None:
            error = inode_permission(creds, target.inode, MAY_WRITE)
            if error:
                return error
    if flags & RENAME_WHITEOUT and not creds.capable(CAP_MKNOD):
        return -EPERM
    if source.mounted or (target is not None and target.mounted):
        return -EBUSY
    target_inode = None if target is None else target.inode
    error = old_dir.rename(old.name, inode, new_dir, new.name, target_inode, flags & ~RENAME_NOREPLACE)
    if error < 0:
        return error
    if exchange:
        source.exchange(target)
        notify.moved(new_dir, new.name, old_dir, old.name, target_inode)
    else:
        source.move(new.dir, new.name)
        if flags & RENAME_WHITEOUT:
            old.dir.children.pop(old.name, None)
        if target is not None and notify.active and target_inode.watches:
            notify.replaced(target_inode)
    notify.moved(old_dir, old.name, new_dir, new.name, inode)
    return 0


# ---------------------------------------------------------------- attributes


def truncate_inode(t, inode, size: int) -> int:
    """Set the size, and drop set-user-ID bits as a write does (do_truncate)."""
    error = inode.setattr(size=size)
    if error < 0:
        return error
    return drop_privilege(t, inode)


def drop_privilege(t, inode) -> int:
    """After a change of content: file_remove_privs."""
    mode = inode.mode
    if mode & 0o6000 and not t.creds.capable(CAP_FSETID):
        new = mode & S_IALLUGO & ~S_ISUID
        if mode & S_ISGID and (mode & 0o10 or not t.creds.in_group(inode.gid)):
            new &= ~S_ISGID
        if new != mode & S_IALLUGO:
            return inode.setattr(mode=new)
    return 0


def chmod(t, path: Path, mode: int) -> int:
    error = want_write(path.mount)
    if error:
        return error
    inode = path.inode
    error = inode.getattr()
    if error < 0:
        return error
    creds = t.creds
    if not owner_or_capable(creds, inode):
        return -EPERM
    mode &= S_IALLUGO
    if mode & S_ISGID and not creds.in_group(inode.gid) and not creds.capable(CAP_FSETID):
        mode &= ~S_ISGID
    error = inode.setattr(mode=mode)
    if error == 0:
        notify.changed(path.dentry, IN_ATTRIB)
    return error


def chown(t, path: Path, uid: int, gid: int) -> int:
    """uid, gid as 32-bit numbers; 0xFFFFFFFF leaves it."""
    error = want_write(path.mount)
    if error:
        return error
    inode = path.inode
    error = inode.getattr()
    if error < 0:
        return error
    creds = t.creds
    keep = 0xFFFFFFFF
    if not creds.capable(CAP_CHOWN):
        if uid != keep and not (creds.fsuid == inode.uid and uid == inode.uid):
            return -EPERM
        if gid != keep and not (creds.fsuid == inode.uid and (creds.in_group(gid) or gid == inode.gid)):
            return -EPERM
    mode = None
    old = inode.mode
    if old & S_IFMT != S_IFDIR and old & (S_ISUID | S_ISGID):
        new = old & S_IALLUGO & ~S_ISUID
        if old & S_ISGID and (old & 0o10 or not (creds.in_group(inode.gid) or creds.capable(CAP_FSETID))):
            new &= ~S_ISGID
        if new != old & S_IALLUGO:
            mode = new
    error = inode.setattr(mode=mode, uid=None if uid == keep else uid, gid=None if gid == keep else gid)
    if error < 0:
        return error
    if old & S_IFMT == S_IFREG:
        inode.removexattr(b"security.capability")
    notify.changed(path.dentry, IN_ATTRIB)
    return 0


# ---------------------------------------------------------------- places


def access_mask_allowed(t, creds, path: Path, mask: int) -> int:
    """access(2) for MAY_* bits with the given credentials."""
    inode = path.inode
    kind = inode.mode & S_IFMT
    mount = path.mount
    if mask & MAY_EXEC and kind == S_IFREG and mount is not None and mount.flags & MS_NOEXEC:
        return -EACCES
    error = inode_permission(creds, inode, mask)
    if error or not mask & MAY_WRITE or kind in (S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        return error
    return want_write(mount)

