"""What the fast handlers of files share."""

from sentry.core.guest cimport GuestThread
from sentry.kernel.task cimport Task
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode

cdef enum:
    EPERM = 1
    ENOENT = 2
    EBADF = 9
    EAGAIN = 11
    EFAULT = 14
    ENOTDIR = 20
    EINVAL = 22
    EMFILE = 24
    ENOTTY = 25
    ENOSPC = 28
    ESPIPE = 29
    PAGE = 4096
    O_NONBLOCK = 0o4000
    O_APPEND = 0o2000
    O_DIRECT = 0o40000
    O_PATH = 0o10000000
    RLIMIT_FSIZE = 1
    RLIMIT_NOFILE = 7

cdef bint watched() noexcept  # inotify watches something: the plain handlers tell it
cdef unsigned long long soft_limit(Task task, int which) except? 0
cdef int accessed(File file) except -1  # the content has been read: regular.accessed
cdef bint own_kind(object inode) noexcept  # a regular file of a tmpfs or of an overlay root: a TmpfsRegular
# GuestThread.wide, where `addr` is private memory that can be written without doubt; else NULL.
cdef char *wide(GuestThread thread, unsigned long long addr, unsigned long long length) noexcept
