"""Types of epoll.py."""

from sentry.core.waitq cimport WaitEntry, Waiter
from sentry.fs.anon cimport AnonFile
from sentry.vfs.file cimport File


cdef class Item(Waiter):
    cdef public EpollFile epoll
    cdef public File file
    cdef public int fd
    cdef public unsigned int events
    cdef public unsigned long long data
    cdef public WaitEntry entry

    cpdef woken(self, WaitEntry entry, unsigned long long mask)
    cpdef long current(self) except? -1


cdef class EpollFile(AnonFile):
    cdef public dict items, ready

    cpdef long poll(self) except? -1
