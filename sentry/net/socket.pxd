"""Types of socket.py. Families may be plain Python classes."""

cimport cython

from sentry.vfs.file cimport File


@cython.final
cdef class Received:
    cdef public object data, rights, creds, addr, control
    cdef public int flags
    cdef public long long length


cdef class Socket(File):
    cdef public int family, type, protocol
    cdef public dict options
    cdef public long sndbuf, rcvbuf, rcvlowat
    cdef public long long rcvtimeo, sndtimeo
    cdef public tuple linger
    cdef public int error
    cdef public object net, bpf
