"""Types of fileio.py."""

cimport cython

from sentry.core.waitq cimport Wait
from sentry.vfs.file cimport File


@cython.final
cdef class ReadWait(Wait):
    cdef public File file
    cdef public list iov
    cdef public object count, pos, restart


@cython.final
cdef class WriteWait(Wait):
    cdef public File file
    cdef public list iov
    cdef public object count, pos, done, restart


@cython.locals(done=cython.longlong, want=cython.longlong, n=cython.longlong, copied=cython.longlong)
cpdef read_now(object t, File file, list iov, long long count, object pos)

cpdef do_read(object t, File file, list iov, object pos, bint nowait=*)
cpdef do_write(object t, File file, list iov, object pos, bint nowait=*)
