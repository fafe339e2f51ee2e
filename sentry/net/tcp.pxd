"""Types of tcp.py."""

cimport cython

from sentry.net.inet cimport InetSocket


cdef class TcpSocket(InetSocket):
    cdef public TcpSocket peer
    cdef public object rx, pending, syns, listener, timer, wire, urgent, deferred
    cdef public int state
    cdef public long rx_offset, rx_bytes, room, backlog
    cdef public bint connecting, done, active, set_sndbuf, set_rcvbuf
    cdef public long long received, sent

    @cython.locals(before=cython.long, room=cython.long, peer=TcpSocket)
    cpdef took(self, long n)

    @cython.locals(peer=TcpSocket)
    cpdef bint writable(self) except -1

    @cython.locals(bits=cython.long, state=cython.int)
    cpdef long poll(self) except? -1
