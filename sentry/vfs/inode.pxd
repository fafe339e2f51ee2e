"""Types of inode.py. Times stay objects: a file may carry one that no 64-bit count of nanoseconds holds."""


cdef class Inode:
    cdef public object fs
    cdef public unsigned long long ino
    cdef public unsigned int mode, uid, gid
    cdef public long nlink
    cdef public long long size
    cdef public unsigned long long rdev
    cdef public object atime, mtime, ctime, btime
    cdef public object locks, watches
    cdef public int writers, opens
    cdef public bint linkable
    cdef public bytes link_text
    cdef object __weakref__
