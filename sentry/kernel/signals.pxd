"""Types of signals.py."""

cimport cython

from sentry.core.waitq cimport Wait


@cython.final
cdef class SigHand:
    cdef public list actions
    cdef public long users


@cython.final
cdef class QueuedSignal:
    cdef public int signo
    cdef public object info, uid, source


@cython.final
cdef class Pending:
    cdef public unsigned long long mask
    cdef public list queue


@cython.final
cdef class StopState:
    cdef public int signo
    cdef public bint complete


@cython.final
cdef class StopWait(Wait):
    cdef public object result
