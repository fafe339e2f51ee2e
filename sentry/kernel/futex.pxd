"""Types of futex.py."""

cimport cython

from sentry.core.waitq cimport Wait


@cython.final
cdef class Waiter:
    cdef public object key
    cdef public unsigned int bitset
    cdef public FutexWait wait
    cdef public long index


@cython.final
cdef class FutexWait(Wait):
    cdef public object task
    cdef public list waiters
    cdef public object result, deadline, again
