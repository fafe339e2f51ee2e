"""Types of file.py."""

cimport cython

from sentry.core.waitq cimport WaitQueue
from sentry.vfs.dentry cimport Path
from sentry.vfs.inode cimport Inode


cdef class File:
    cdef public unsigned int flags
    cdef public long long pos
    cdef public Path path
    cdef public Inode inode
    cdef public long refs
    cdef public WaitQueue queue
    cdef public object owner, epolls
    cdef public int claim
    cdef object __weakref__

    cpdef File incref(self)
    cpdef decref(self)
    cpdef long poll(self) except? -1


cdef inline bint readable(File file) noexcept:
    """File.can_read without an object; `file` is not None."""
    return file.flags & 3 != 1 and not file.flags & 0o10000000


cdef inline bint writable(File file) noexcept:
    """File.can_write without an object; `file` is not None."""
    return file.flags & 3 != 0 and not file.flags & 0o10000000


@cython.final
cdef class FdTable:
    cdef public list slots
    cdef public set cloexec
    cdef public long users, lowest

    cpdef File get(self, long long fd)
    cpdef set(self, long long fd, File file, bint cloexec)

    @cython.locals(fd=cython.long, n=cython.long)
    cpdef long install(self, File file, object limit, bint cloexec=*, long minimum=*) except? -1
    cpdef remove(self, long long fd)
    cpdef close(self, object t, long long fd)
    cpdef closed(self, object t, File file)
