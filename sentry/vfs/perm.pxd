"""Types of perm.py."""

cimport cython

from sentry.core.creds cimport Creds
from sentry.vfs.inode cimport Inode


@cython.locals(mode=cython.uint, bits=cython.uint, caps=cython.ulonglong)
cpdef int permission(Creds creds, Inode inode, int mask) except 1

cpdef int inode_permission(Creds creds, Inode inode, int mask) except 1
