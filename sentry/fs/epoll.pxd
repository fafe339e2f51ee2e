"""Types of epoll.py."""

cimport cython

from sentry.core.waitq cimport WaitEntry
from sentry.fs.anon cimport AnonFile
from sentry.vfs.file cimport File


@cython.final
cdef class Item:
    cdef public EpollFile epoll
    cdef public File file
    cdef public int fd
    cdef public unsigned int events
    cdef public unsigned long long data
    cdef public WaitEntry entry

    cpdef woken(self, object entry, object mask)
    cpdef long current(self) except? -1


@cython.final
cdef class EpollFile(AnonFile):
    cdef public dict items, ready
