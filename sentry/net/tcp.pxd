"""Types of tcp.py."""

from sentry.net.inet cimport InetSocket


cdef class TcpSocket(InetSocket):
    cdef public TcpSocket peer
    cdef public object rx, pending, syns, listener, timer, wire, urgent, deferred
    cdef public int state
    cdef public long rx_offset, rx_bytes, room, backlog
    cdef public bint connecting, done, active, set_sndbuf, set_rcvbuf
    cdef public long long received, sent

    cpdef took(self, long n)
