"""Fast twins of calls on host sockets (net/hostinet.py): data goes straight between the host's socket and what the stub
carried, or a buffer of ours. `enable` puts them in front of the handlers that are there, in the mode that has such sockets.

What says more than its bytes, fails with a signal, or cannot send all at once on a blocking socket, is left to the plain ones.
"""

from libc.errno cimport errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLEEPS, SLOW, GuestThread, fast_t, fast_table
from sentry.kernel.task cimport Task
from sentry.net.hostinet cimport HostSocket
from sentry.syscalls.fast_file cimport EAGAIN, EFAULT, O_NONBLOCK
from sentry.vfs.file cimport File

from sentry.core.result import BLOCKED
from sentry.core.syscall import BY_NAME
from sentry.syscalls.sys_socket import go_on

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
    STEP = 1 << 18
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
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count:
        return SLOW
    count = min(count, MAX_COUNT)
    to = thread.output(1, count)
    if to == NULL:
        return through(sock, thread, count, flags)
    n = c_recv(sock.fd, to, count, flags | MSG_DONTWAIT)
    if n < 0:
        return nothing(sock, flags)
    thread.wrote(1, <uint64_t>n)
    return n


cdef long nothing(HostSocket sock, int flags) noexcept:
    """The host has said no."""
    return SLOW if errno == EAGAIN and not sock.flags & O_NONBLOCK and not flags & MSG_DONTWAIT else -errno


cdef long through(HostSocket sock, GuestThread thread, uint64_t count, int flags) noexcept:
    """Receive what the stub has no room for: pieces that stay in the processor's cache go by way of our memory."""
    cdef uint64_t done = 0, part
    cdef ssize_t n
    cdef long copied
    if sock.type != STREAM:
        if count > PIECE:
            return SLOW
    elif flags & MSG_PEEK:
        count = min(count, <uint64_t>PIECE)
    while done < count:
        part = min(count - done, <uint64_t>(STEP if sock.type == STREAM and not flags & MSG_PEEK else PIECE))
        n = c_recv(sock.fd, PIECES, part, flags | MSG_DONTWAIT)
        if n <= 0:
            return <long>done if done or n == 0 else nothing(sock, flags)
        copied = thread.copy_out(thread.a[1] + done, PIECES, <uint64_t>n)
        if copied != n:
            return <long>done if done else -EFAULT
        done += <uint64_t>n
        if <uint64_t>n < part or sock.type != STREAM or flags & MSG_PEEK:
            break
    return <long>done


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
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count or (count > PIECE and sock.type != STREAM):
        return SLOW
    source = thread.input(1, count)
    if source != NULL:
        return sent(sock, source, count, flags)
    if sock.type != STREAM:
        return sent(sock, PIECES, count, flags) if thread.copy_in(PIECES, thread.a[1], count) == <long>count else SLOW
    return pieces(sock, thread, count, flags)


cdef long pieces(HostSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001:
    """Send more than the stub brought, as `through`. Where a stream has no more room a blocking call goes on as a plain one."""
    cdef uint64_t done = 0, part
    cdef ssize_t n
    while done < count:
        part = min(count - done, <uint64_t>STEP)
        if thread.copy_in(PIECES, thread.a[1] + done, part) != <long>part:
            return <long>done if done else SLOW
        n = c_send(sock.fd, PIECES, part, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
        if n < 0 and errno != EAGAIN:
            return <long>done if done else SLOW if errno == EPIPE else -errno
        if n > 0:
            done += <uint64_t>n
        if n < <ssize_t>part:
            break
    if done == count or sock.flags & O_NONBLOCK or flags & MSG_DONTWAIT:
        return <long>done if done else -EAGAIN
    result = go_on(thread.task, sock, thread.a[1], count, flags, done)
    return SLEEPS if result == BLOCKED else <long>result


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
