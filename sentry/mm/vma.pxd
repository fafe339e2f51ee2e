"""Types of vma.py. Addresses of guests stay below 1 << 47, so signed numbers hold them and their differences."""

cimport cython


@cython.final
cdef class SharedAnon:
    cdef public int fd
    cdef public long refs
    cdef public object close


@cython.final
cdef class VMA:
    cdef public long long start, end
    cdef public int prot
    cdef public bint shared
    cdef public object backing
    cdef public long long offset
    cdef public object name
    cdef public bint may_write
    cdef public int flags

    cpdef protect(self, int prot)

    @cython.locals(new=VMA)
    cpdef VMA part(self, long long start, long long end)

    cpdef bint joins(self, VMA other) except? -1


@cython.final
cdef class VMAList:
    cdef public list starts, areas

    @cython.locals(area=VMA)
    cpdef VMA find(self, object addr)

    @cython.locals(area=VMA, i=cython.Py_ssize_t, j=cython.Py_ssize_t, n=cython.Py_ssize_t)
    cpdef tuple overlapping(self, object start, object end)

    @cython.locals(first=VMA, last=VMA, area=VMA)
    cpdef cut(self, object start, object end)

    @cython.locals(area=VMA, previous=VMA, following=VMA, i=cython.Py_ssize_t)
    cpdef insert(self, VMA area)

    @cython.locals(area=VMA, floor=cython.longlong, size=cython.longlong, last=cython.longlong, i=cython.Py_ssize_t)
    cpdef gap_below(self, object top, object bottom, object length)
