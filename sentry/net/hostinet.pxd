"""Types of hostinet.py."""

cimport cython

from sentry.net.socket cimport Socket


@cython.final
cdef class HostSocket(Socket):
    cdef public int fd
    cdef public object platform
    cdef public bint watched
    cdef public int shut
