"""Types of eventfd.py."""

from sentry.fs.anon cimport AnonFile


cdef class EventFile(AnonFile):
    cdef public unsigned long long count
    cdef public bint semaphore

    cpdef long poll(self) except? -1
