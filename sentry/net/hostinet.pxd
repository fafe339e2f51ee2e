"""Types of hostinet.py."""

from sentry.net.socket cimport Socket


cdef class HostSocket(Socket):
    cdef public int fd
    cdef public object platform
    cdef public bint watched
    cdef public int shut

    cpdef long poll(self) except? -1
