"""Types of mount.py."""

cimport cython

from sentry.vfs.dentry cimport Dentry


@cython.final
cdef class Mount:
    cdef public long id
    cdef public object fs
    cdef public Dentry root
    cdef public Mount parent
    cdef public Dentry mountpoint
    cdef public unsigned long flags
    cdef public dict submounts
    cdef public bytes propagation
    cdef public long group, master, pins
    cdef public bint detached
    cdef public object source
    cdef public bint revalidate
    cdef public object ns
    cdef public bint outward
