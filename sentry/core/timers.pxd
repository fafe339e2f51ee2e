"""Types of timers.py."""

cimport cython


@cython.final
cdef class Timer:
    cdef public long long deadline
    cdef public object callback
    cdef public bint active
    cdef public long long seq


@cython.final
cdef class Timers:
    cdef public list heap
    cdef public long long seq

    cpdef Timer add(self, object deadline, object callback)
