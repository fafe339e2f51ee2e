"""Reading and writing of sockets, for fast_rw.pyx and fast_host.pyx."""

from libc.stdint cimport uint64_t

from sentry.core.guest cimport GuestThread
from sentry.core.waitq cimport resume_t
from sentry.kernel.task cimport Task
from sentry.net.socket cimport Socket
from sentry.net.tcp cimport TcpSocket
from sentry.net.unix cimport UnixSocket

cdef enum:
    MOST = 16  # pieces of a vector

cdef struct iovec:
    uint64_t base
    uint64_t length

# Guest memory: `count` pieces, `total` bytes. `carried`: the one piece as the stub brought it along, or NULL.
# `single`: it is a buffer of read or recvfrom, of which the stub may have brought along the beginning.
# `gathered`: what several pieces to be sent hold, likewise, if it is at most VECTOR_MAX bytes.
cdef struct Vector:
    iovec pieces[MOST]
    long count
    uint64_t total
    bint single
    char *carried
    const char *gathered

# The buffer at argument 1: 0, or -EFAULT.
cdef long one_piece(Vector *vector, GuestThread thread, bint sends, uint64_t count) noexcept
# The iovec array at `addr`: 0, or SLOW.
cdef long many_pieces(Vector *vector, GuestThread thread, uint64_t addr, uint64_t count) noexcept
# No more than `length` bytes will be given to it.
cdef void expect(Vector *vector, GuestThread thread, uint64_t length) noexcept
# Its content; None if part of it cannot be read.
cdef bytes take(Vector *vector, GuestThread thread)
# From a queue of bytes, of whose first `offset` have been read, into the vector; how many.
cdef long take_out(object queue, long *offset, Vector *vector, GuestThread thread) except? -9001
# Nothing was there: -EAGAIN, or the record of a read that waits, which `resume` finishes; SLOW with a timeout.
cdef long wait_for(Task task, Socket sock, Vector *vector, int flags, resume_t resume) except? -9001

# read(2) and write(2) of argument 1, `count` bytes (not 0).
cdef long read_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001
cdef long write_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001
cdef long read_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001
cdef long write_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count) except? -9001
