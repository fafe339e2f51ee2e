"""Types of context.py."""

cimport cython

from sentry.vfs.dentry cimport Path


@cython.final
cdef class FsContext:
    cdef public Path root, cwd
    cdef public unsigned int umask
    cdef public object ns
    cdef public long users
