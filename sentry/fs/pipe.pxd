"""Types of pipe.py."""

cimport cython

from sentry.core.waitq cimport WaitQueue
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode


@cython.final
cdef class Chunk:
    cdef public object data
    cdef public long offset
    cdef public bint packet

    cpdef long slots(self) except -1


@cython.final
cdef class Pipe:
    cdef public object chunks
    cdef public long used, slots, readers, writers, reader_opens, writer_opens
    cdef public WaitQueue queue
    cdef public Inode inode
    cdef public object key
    cdef public Chunk packet

    @cython.locals(chunk=Chunk, before=cython.long, start=cython.long, end=cython.long, have=cython.long, was_full=cython.bint)
    cpdef read(self, long count)

    @cython.locals(chunk=Chunk, last=Chunk, total=cython.long, done=cython.long, head=cython.long, free=cython.long, taken=cython.long)
    cpdef write(self, object data, bint packet)


cdef class PipeFile(File):
    cdef public Pipe pipe
    cdef public object partner
    cdef public long no_writer_yet

    @cython.locals(pipe=Pipe, mode=cython.uint, bits=cython.long)
    cpdef long poll(self) except? -1
