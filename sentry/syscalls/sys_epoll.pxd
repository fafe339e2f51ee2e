"""Types of sys_epoll.py."""

cimport cython

from sentry.core.waitq cimport Wait
from sentry.fs.epoll cimport EpollFile


@cython.final
cdef class EpollWait(Wait):
    cdef public EpollFile epoll
    cdef public object addr, limit
