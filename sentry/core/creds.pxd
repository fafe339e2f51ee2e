"""Types of creds.py."""

cimport cython


@cython.final
cdef class Creds:
    cdef public unsigned int uid, euid, suid, fsuid, gid, egid, sgid, fsgid
    cdef public tuple groups
    cdef public unsigned long long permitted, effective, inheritable, bounding, ambient
    cdef public unsigned int securebits

    cpdef bint capable(self, int cap) except? -1
    cpdef bint in_group(self, unsigned int gid) except? -1
