"""Types of dentry.py."""

cimport cython

from sentry.vfs.inode cimport Inode


@cython.final
cdef class Dentry:
    cdef public bytes name
    cdef public Dentry parent
    cdef public Inode inode
    cdef public dict children
    cdef public int mounted
    cdef public bint dead
    cdef object __weakref__


@cython.final
cdef class Path:
    # a Mount or None: mount.pxd stands on this file, so the type is its users' to check (<Mount?>)
    cdef public object mount
    cdef public Dentry dentry
