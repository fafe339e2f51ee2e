"""Types of gofer.py."""

from sentry.vfs.inode cimport Inode


cdef class GoferInode(Inode):
    cdef public object dev, handle, parent, name, block_count, cache, lookups, fresh, xattrs
    cdef public int fd
    cdef public bint writable, shared
