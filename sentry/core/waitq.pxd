"""Types of waitq.py."""

cimport cython


@cython.final
cdef class WaitEntry:
    cdef public WaitQueue queue
    cdef public object owner
    cdef public unsigned long long mask
    cdef public bint exclusive
    cdef public object data

    cpdef remove(self)


@cython.final
cdef class WaitQueue:
    cdef public list entries

    cpdef add(self, WaitEntry entry)

    @cython.locals(entry=WaitEntry, left=cython.long)
    cpdef wake(self, unsigned long long mask=*, long exclusive=*)


cdef class Wait:
    cdef public list entries
    cdef public object timer
