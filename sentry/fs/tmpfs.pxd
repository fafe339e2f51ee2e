"""Types of tmpfs.py."""

from sentry.vfs.inode cimport Inode


cdef class TmpfsInode(Inode):
    cdef public dict xattrs


cdef class TmpfsSpecial(TmpfsInode):
    pass


cdef class TmpfsLink(TmpfsInode):
    pass


cdef class TmpfsRegular(TmpfsInode):
    cdef public bytearray data
    cdef public Inode below
    cdef public int fd
    cdef public long long charged
    cdef public bint sealing


cdef class TmpfsDir(TmpfsInode):
    cdef public dict names
