"""Types of unix.py."""

cimport cython

from sentry.net.socket cimport Socket
from sentry.vfs.dentry cimport Path


@cython.final
cdef class Message:
    cdef public bytes data, addr
    cdef public object rights
    cdef public tuple creds
    cdef public long offset, charge
    cdef public UnixSocket sender
    cdef public unsigned int uid
    cdef public bint eor, oob
    cdef public long long time


cdef class UnixSocket(Socket):
    cdef public bytes address, bound_name, peer_address
    cdef public Path bound_path
    cdef public UnixSocket peer, listener
    cdef public object messages, pending
    cdef public long charged, peek_offset
    cdef public int shut, stamps
    cdef public object backlog
    cdef public bint connected, dead, passcred
    cdef public tuple peer_creds, peer_groups
    cdef public list blocked, attached
    cdef public Message urgent

    @cython.locals(sender=UnixSocket, before=cython.long)
    cpdef uncharge(self, Message message)

    @cython.locals(bits=cython.long, peer=UnixSocket)
    cpdef long poll(self) except? -1


@cython.locals(head=cython.long, pages=cython.long, size=cython.long)
cpdef long charge_of(int type_, long length) except -1
