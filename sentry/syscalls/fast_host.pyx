"""Fast twins of calls on host sockets (net/hostinet.py): data goes straight between the host's socket and what the stub
carried, or a buffer of ours. `enable` puts them in front of the handlers that are there, in the mode that has such sockets.

What says more than its bytes, fails with a signal, or cannot send all at once on a blocking socket, is left to the plain ones.
"""

from libc.errno cimport errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLOW, GuestThread, fast_t, fast_table
from sentry.kernel.task cimport Task
from sentry.net.hostinet cimport HostSocket
from sentry.syscalls.fast_file cimport EAGAIN, EFAULT, O_NONBLOCK
from sentry.vfs.file cimport File

from sentry.core.syscall import BY_NAME

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t count, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t count, int flags)

cdef enum:
    EPIPE = 32
    MSG_PEEK = 2
    MSG_DONTWAIT = 0x40
    MSG_NOSIGNAL = 0x4000
    MSG_MORE = 0x8000
    STREAM = 1
    PIECE = 1 << 18
    MOST = 16  # pieces of a vector
    SMALL = 2048  # as much as a blocking stream takes that polls writable

cdef uint64_t USER_END = <uint64_t>1 << 47
cdef uint64_t MAX_COUNT = 0x7FFFF000
cdef char PIECES[PIECE]
cdef fast_t NEXT_READ, NEXT_WRITE, NEXT_WRITEV, NEXT_SENDTO, NEXT_RECVFROM

cdef struct iovec:
    uint64_t base
    uint64_t length


cdef inline HostSocket socket_of(Task task, int fd):
    cdef File file = task.files.get(fd)
    return <HostSocket?>file if type(file) is HostSocket else None


cdef inline long other(fast_t handler, Task task, GuestThread thread) except? -9001:
    return handler(task, thread) if handler != NULL else SLOW


cdef long receive(HostSocket sock, GuestThread thread, int flags) except? -9001:
    """At most the third argument's number of bytes to the second's address."""
    cdef uint64_t count = thread.a[2]
    cdef char *to
    cdef ssize_t n
    cdef long copied
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count:
        return SLOW
    count = min(count, MAX_COUNT)
    to = thread.output(1, count)
    if to == NULL:
        if sock.type != STREAM and count > PIECE:
            return SLOW
        count = min(count, <uint64_t>PIECE)
    n = c_recv(sock.fd, <char *>PIECES if to == NULL else to, count, flags | MSG_DONTWAIT)
    if n < 0:
        if errno == EAGAIN and not sock.flags & O_NONBLOCK and not flags & MSG_DONTWAIT:
            return SLOW
        return -errno
    if to != NULL:
        thread.wrote(1, <uint64_t>n)
        return n
    if not n:
        return 0
    copied = thread.copy_out(thread.a[1], PIECES, <uint64_t>n)
    return n if copied == n else -EFAULT


cdef long sent(HostSocket sock, const char *data, uint64_t count, int flags) except? -9001:
    """Send what is in our memory."""
    cdef bint waits = not sock.flags & O_NONBLOCK and not flags & MSG_DONTWAIT
    cdef ssize_t n
    if waits and sock.type == STREAM and count > SMALL:
        return SLOW
    n = c_send(sock.fd, data, count, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        if errno == EPIPE or (errno == EAGAIN and waits):
            return SLOW
        return -errno
    return n


cdef long send(HostSocket sock, GuestThread thread, int flags) except? -9001:
    cdef uint64_t count = thread.a[2]
    cdef const char *source
    cdef long n
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count or (count > PIECE and sock.type != STREAM):
        return SLOW
    source = thread.input(1, count)
    if source == NULL:
        if count > PIECE and not sock.flags & O_NONBLOCK:
            return SLOW
        n = thread.copy_in(PIECES, thread.a[1], min(count, <uint64_t>PIECE))
        if n != <long>min(count, <uint64_t>PIECE):
            return SLOW
        count = <uint64_t>n
        source = PIECES
    return sent(sock, source, count, flags)


cdef long gather(GuestThread thread, iovec *pieces, uint64_t count) noexcept:
    """Read the iovec array of the second argument and what it names into PIECES: bytes, or SLOW."""
    cdef const char *carried
    cdef uint64_t total = 0, i
    if not 0 < count <= MOST:
        return SLOW
    carried = thread.input(1, count * sizeof(iovec))
    if carried != NULL:
        memcpy(pieces, carried, count * sizeof(iovec))
    elif thread.copy_in(pieces, thread.a[1], count * sizeof(iovec)) != <long>(count * sizeof(iovec)):
        return SLOW
    for i in range(count):
        if pieces[i].length > PIECE - total or pieces[i].base > USER_END - pieces[i].length:
            return SLOW
        if pieces[i].length and thread.copy_in(PIECES + total, pieces[i].base, pieces[i].length) != <long>pieces[i].length:
            return SLOW
        total += pieces[i].length
    return <long>total


cdef long read(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    return other(NEXT_READ, <Task?>task, thread) if sock is None else receive(sock, thread, 0)


cdef long write(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    return other(NEXT_WRITE, <Task?>task, thread) if sock is None else send(sock, thread, 0)


cdef long writev(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef iovec pieces[MOST]
    cdef long n
    if sock is None:
        return other(NEXT_WRITEV, <Task?>task, thread)
    n = gather(thread, pieces, thread.a[2])
    return sent(sock, PIECES, <uint64_t>n, 0) if n > 0 else SLOW


cdef long recvfrom(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[3]
    if sock is None:
        return other(NEXT_RECVFROM, <Task?>task, thread)
    if flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL) or thread.a[4]:
        return SLOW
    return receive(sock, thread, flags)


cdef long sendto(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[3]
    if sock is None:
        return other(NEXT_SENDTO, <Task?>task, thread)
    if flags & ~(MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL) or thread.a[4]:
        return SLOW
    return send(sock, thread, flags)


cdef fast_t replace(str name, fast_t handler) except? NULL:
    cdef int nr = BY_NAME[name].nr
    cdef fast_t before = fast_table()[nr]
    fast_table()[nr] = handler
    return before


def enable():
    """Guests may have host sockets from now on. Once a process."""
    global NEXT_READ, NEXT_WRITE, NEXT_WRITEV, NEXT_SENDTO, NEXT_RECVFROM
    NEXT_READ = replace("read", read)
    NEXT_WRITE = replace("write", write)
    NEXT_WRITEV = replace("writev", writev)
    NEXT_SENDTO = replace("sendto", sendto)
    NEXT_RECVFROM = replace("recvfrom", recvfrom)
