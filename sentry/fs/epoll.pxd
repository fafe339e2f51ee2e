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

    cpdef long add(self, File file, int fd, unsigned int events, unsigned long long data) except? -9001
    cpdef long modify(self, File file, int fd, unsigned int events, unsigned long long data) except? -9001
    cpdef long delete(self, File file, int fd) except? -9001
    cpdef remove(self, Item item)

    @cython.locals(item=Item, bits=cython.long)
    cpdef list collect(self, long limit)
