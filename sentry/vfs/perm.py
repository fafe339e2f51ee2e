"""Permission checks from credentials (fs/namei.c)."""

from stat import S_ISDIR, S_ISLNK, S_ISREG

from sentry.abi.errno import EACCES, EPERM, EROFS
from sentry.abi.fs import MAY_EXEC, MAY_READ, MAY_WRITE, MS_RDONLY, S_ISGID, S_ISUID, S_ISVTX
from sentry.core.creds import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID


def permission(creds, inode, mask: int) -> int:
    """0 or -EACCES for MAY_* bits (generic_permission)."""
    mode = inode.mode
    if creds.fsuid == inode.uid:
        bits = mode >> 6
    elif mode & 0o77 and creds.in_group(inode.gid):
        bits = mode >> 3
    else:
        bits = mode
    if not mask & ~bits & 7:
        return 0
    caps = creds.effective
    if S_ISDIR(mode):
        if not mask & MAY_WRITE and caps >> CAP_DAC_READ_SEARCH & 1:
            return 0
        if caps >> CAP_DAC_OVERRIDE & 1:
            return 0
        return -EACCES
    if mask & 7 == MAY_READ and caps >> CAP_DAC_READ_SEARCH & 1:
        return 0
    if (not mask & MAY_EXEC or mode & 0o111) and caps >> CAP_DAC_OVERRIDE & 1:
        return 0
    return -EACCES


def inode_permission(creds, inode, mask: int) -> int:
    """As `permission`, and -EROFS for writes on a read-only file system (sb_permission)."""
    if mask & MAY_WRITE and inode.fs.read_only:
        mode = inode.mode
        if S_ISREG(mode) or S_ISDIR(mode) or S_ISLNK(mode):
            return -EROFS
    return permission(creds, inode, mask)


def want_write(mount) -> int:
    """0, or -EROFS (mnt_want_write)."""
    if mount is not None and (mount.flags & MS_RDONLY or mount.fs.read_only):
        return -EROFS
    return 0


def owner_or_capable(creds, inode) -> bool:
    return creds.fsuid == inode.uid or creds.capable(CAP_FOWNER)


def sticky(creds, directory, inode) -> bool:
    """Does the sticky bit of `directory` forbid removing `inode` (check_sticky)?"""
    if not directory.mode & S_ISVTX:
        return False
    fsuid = creds.fsuid
    return fsuid != inode.uid and fsuid != directory.uid and not creds.capable(CAP_FOWNER)


def may_create(creds, directory) -> int:
    return inode_permission(creds, directory, MAY_WRITE | MAY_EXEC)


def may_delete(creds, directory, inode) -> int:
    """Permission and sticky bit; the kinds (directory or not) are the caller's."""
    error = inode_permission(creds, directory, MAY_WRITE | MAY_EXEC)
    if error:
        return error
    return -EPERM if sticky(creds, directory, inode) else 0


def new_owner(creds, directory, mode: int) -> "tuple[int, int]":
    """(mode, gid) of a new inode in `directory` (inode_init_owner, mode_strip_sgid)."""
    gid = creds.fsgid
    if directory.mode & S_ISGID:
        gid = directory.gid
        if S_ISDIR(mode):
            mode |= S_ISGID
        elif mode & 0o2010 == 0o2010 and not creds.in_group(gid) and not creds.capable(CAP_FSETID):
            mode &= ~S_ISGID
    return mode, gid


def without_privilege(creds, inode) -> int:
    """Permission bits after a write: set-user-ID and set-group-ID go (file_remove_privs); returns the
    new bits, or -1 if nothing changes."""
    mode = inode.mode
    if not mode & (S_ISUID | S_ISGID) or creds.capable(CAP_FSETID) or not S_ISREG(mode):
        return -1
    new = mode & 0o7777 & ~S_ISUID
    if mode & 0o10 or not creds.in_group(inode.gid):
        new &= ~S_ISGID
    return new if new != mode & 0o7777 else -1
