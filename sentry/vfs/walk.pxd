"""Types of walk.py."""

cimport cython

from sentry.vfs.dentry cimport Dentry, Path
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount


@cython.final
cdef class Last:
    cdef public Mount mount
    cdef public Dentry dir
    cdef public bytes name
    cdef public bint slashes
    cdef public int links
    cdef public tuple root


@cython.locals(inode=Inode, step=Dentry, over=Mount, children=dict, revalidate=cython.bint)
cpdef walk(object t, Mount mount, Dentry d, list stack, unsigned long long flags, int links, Mount root_mount, Dentry root, bint want_parent)
