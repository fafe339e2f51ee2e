"""Reading and writing of sockets, for fast_rw.pyx."""

from libc.stdint cimport uint64_t

from sentry.core.guest cimport GuestThread
from sentry.kernel.task cimport Task
from sentry.net.tcp cimport TcpSocket
from sentry.net.unix cimport UnixSocket

# read(2) and write(2) of argument 1, `count` bytes (not 0).
cdef long read_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001
cdef long write_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001
cdef long read_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001
cdef long write_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count) except? -9001
