"""Fast twins of sys_rw.py."""

from sentry.core.guest cimport SLOW, GuestThread
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.vfs.file cimport File
from sentry.vfs.regular cimport RegularFile

cdef enum:
    EBADF = 9
    EINVAL = 22
    SEEK_CUR = 1
    O_PATH = 0o10000000


cdef long lseek(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    cdef long long offset = <long long>thread.a[1]
    cdef int whence = <int>thread.a[2]
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is not RegularFile or not 0 <= whence <= SEEK_CUR:
        return SLOW
    if whence == SEEK_CUR:
        if offset > 0 and file.pos > 0x7FFFFFFFFFFFFFFF - offset:
            return -EINVAL
        offset += file.pos
    if offset < 0:
        return -EINVAL
    file.pos = offset
    return offset


fast("lseek", lseek)
