"""Types of inet.py."""

from sentry.net.socket cimport Socket


cdef class InetSocket(Socket):
    cdef public bytes local, remote
    cdef public int port, remote_port, scope, device, shut, mark
    cdef public bint v6only, reuseaddr, reuseport, locked
    cdef public dict values, sources
    cdef public object ports, groups, errors, group_bpf
