"""Types of gofer.py."""

from sentry.vfs.inode cimport Inode


cdef class GoferInode(Inode):
    cdef public object dev, handle, parent, name, block_count, cache, lookups, fresh, xattrs, kept, image
    cdef public int fd, mapped
    cdef public bint writable, shared
