"""Types of unix.py."""

cimport cython

from sentry.net.socket cimport Socket
from sentry.vfs.dentry cimport Path


@cython.final
cdef class Message:
    cdef public object data, rights, creds
    cdef public bytes addr
    cdef public long offset, charge
    cdef public UnixSocket sender
    cdef public bint eor


@cython.final
cdef class UnixSocket(Socket):
    cdef public bytes address, bound_name
    cdef public Path bound_path
    cdef public UnixSocket peer, listener
    cdef public object messages, pending
    cdef public long charged
    cdef public int shut
    cdef public object backlog
    cdef public bint connected
    cdef public tuple peer_creds, peer_groups
    cdef public list blocked
