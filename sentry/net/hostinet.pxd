"""Types of hostinet.py."""

cimport cython

from sentry.net.socket cimport Socket


cdef class HostSocket(Socket):
    cdef public int fd
    cdef public object platform
    cdef public bint watched
    cdef public int shut
    cdef public long known
    cdef public bint alone
    cdef public tuple key
    cdef public HostSocket twin
    cdef public object rx
    cdef public long rx_offset, rx_bytes, room
    cdef public long long sent, received

    @cython.locals(bits=cython.long, twin=HostSocket)
    cpdef long poll(self) except? -1

    @cython.locals(twin=HostSocket)
    cpdef bint near(self) except -1

    @cython.locals(twin=HostSocket, before=cython.long)
    cpdef took(self, long n)

    @cython.locals(twin=HostSocket)
    cpdef unknown(self)
    cpdef changed(self, object fd, object events)
