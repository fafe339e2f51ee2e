"""Access times (fs/inode.c:touch_atime)."""

from cpython.long cimport PyLong_AsLongLongAndOverflow

from sentry.vfs.clock cimport file_ns
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount

cdef enum:
    MS_NOATIME = 1 << 10
    MS_NODIRATIME = 1 << 11
    MS_STRICTATIME = 1 << 24
    S_IFMT = 0o170000
    S_IFDIR = 0o040000

cdef long long DAY = 86400 * <long long>1000000000


cdef bint due(Inode inode, long long now) except -1:
    """Does relatime ask for an update? Times of files may be outside the 64-bit range."""
    cdef int odd_a = 0, odd_m = 0, odd_c = 0
    cdef long long atime = PyLong_AsLongLongAndOverflow(inode.atime, &odd_a)
    cdef long long mtime = PyLong_AsLongLongAndOverflow(inode.mtime, &odd_m)
    cdef long long ctime = PyLong_AsLongLongAndOverflow(inode.ctime, &odd_c)
    if odd_a or odd_m or odd_c:
        return inode.atime <= inode.mtime or inode.atime <= inode.ctime or now - inode.atime >= DAY
    return atime <= mtime or atime <= ctime or now - DAY >= atime


cpdef int touch(Mount mount, Inode inode) except -1:
    """`inode` has been read through `mount` (None: anonymous): keep the time as the mount's options say."""
    cdef unsigned long flags = 0 if mount is None else mount.flags
    cdef long long now
    if flags & MS_NOATIME or (flags & MS_NODIRATIME and inode.mode & S_IFMT == S_IFDIR):
        return 0
    now = file_ns()
    if (flags & MS_STRICTATIME or due(inode, now)) and not inode.fs.read_only:
        inode.touch_atime(now)
    return 0
