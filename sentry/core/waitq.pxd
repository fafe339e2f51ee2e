"""Types of waitq.py."""

cimport cython

from sentry.core.guest cimport GuestThread

# Wait.poll without a Python frame, for calls of fast handlers: a result, SLEEPS, or SLOW: Wait.poll is to be asked.
ctypedef long (*resume_t)(Wait wait, object task, GuestThread thread) except? -9001


cdef class Waiter:
    cpdef woken(self, WaitEntry entry, unsigned long long mask)


@cython.final
cdef class WaitEntry:
    cdef public WaitQueue queue
    cdef public Waiter owner
    cdef public unsigned long long mask
    cdef public bint exclusive
    cdef public object data

    cpdef remove(self)


@cython.final
cdef class WaitQueue:
    cdef public list entries

    cpdef add(self, WaitEntry entry)

    @cython.locals(entry=WaitEntry, left=cython.long, entries=list)
    cpdef wake(self, unsigned long long mask=*, long exclusive=*)


cdef class Wait:
    cdef public list entries
    cdef public object timer
    cdef resume_t resume
