"""Access times (fs/inode.c:touch_atime)."""

from sentry.abi.fs import MS_NOATIME, MS_NODIRATIME, MS_STRICTATIME, S_IFDIR, S_IFMT
from sentry.vfs.clock import file_time

DAY = 86400 * 10**9


def touch(mount, inode) -> None:
    """`inode` has been read through `mount` (None: anonymous): keep the time as the mount's options say."""
    flags = mount.flags if mount is not None else 0
    if flags & MS_NOATIME or inode.fs.read_only:
        return
    if flags & MS_NODIRATIME and inode.mode & S_IFMT == S_IFDIR:
        return
    now = file_time()
    atime = inode.atime
    if flags & MS_STRICTATIME or atime <= inode.mtime or atime <= inode.ctime or now - atime >= DAY:
        inode.touch_atime(now)
