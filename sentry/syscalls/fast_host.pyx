"""Fast twins of calls on host sockets (net/hostinet.py): data goes straight between the host's socket and what the stub
carried, or a buffer of ours. `enable` puts them in front of the handlers that are there, in the mode that has such sockets.

What says more than its bytes, fails with a signal, or cannot send all at once on a blocking socket, is left to the plain ones.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SENT, SLEEPS, SLOW, VECTOR_MAX, GuestThread, fast_t, fast_table
from sentry.core.waitq cimport Wait
from sentry.kernel.task cimport Task
from sentry.net.hostinet cimport HostSocket
from sentry.syscalls.fast_file cimport EAGAIN, EFAULT, O_NONBLOCK, wide
from sentry.syscalls.fast_socket cimport Vector, expect, many_pieces, one_piece, take, take_out, wait_for
from sentry.syscalls.fileio cimport ReadWait
from sentry.vfs.file cimport File

from sentry.core.result import BLOCKED
from sentry.core.syscall import BY_NAME
from sentry.syscalls.sys_socket import go_on

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    int c_getsockopt "getsockopt"(int fd, int level, int option, void *value, socklen_t *length)
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
    READABLE = 1 | 64  # poll bits
    SHUT_RD = 1
    SHUT_WR = 2
    SOL_SOCKET = 1
    SO_MEMINFO = 55
    MEMINFO_SNDBUF = 3  # indices into its array (include/uapi/linux/sock_diag.h: SK_MEMINFO_*)
    MEMINFO_QUEUED = 5
    LARGE = 1 << 15  # bytes of a transfer that goes on when its caller has been answered

cdef uint64_t USER_END = <uint64_t>1 << 47
cdef uint64_t MAX_COUNT = 0x7FFFF000
cdef char PIECES[PIECE]
cdef fast_t NEXT_READ, NEXT_WRITE, NEXT_WRITEV, NEXT_SENDTO, NEXT_RECVFROM


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
    if sock.error or sock.bpf is not None:
        return SLOW
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count:
        return SLOW
    count = min(count, MAX_COUNT)
    if sock.rx_bytes:
        return receive_near(sock, thread, count, flags)
    sock.unknown()
    to = thread.output(1, count)
    if to == NULL:
        to = wide(thread, thread.a[1], count)
    if to == NULL:
        return through(sock, thread, count, flags)
    n = c_recv(sock.fd, to, count, flags | MSG_DONTWAIT)
    if n < 0:
        return -errno
    if not flags & MSG_PEEK:
        sock.received += n
    thread.wrote(1, <uint64_t>n)
    return n


cdef long receive_near(HostSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001:
    """From what a twin has sent, and what the host has behind it: a short answer says that there is no more."""
    cdef Vector vector
    cdef HostSocket twin = sock.twin
    cdef long n
    if flags & MSG_PEEK or one_piece(&vector, thread, False, count):
        return SLOW
    if <uint64_t>sock.rx_bytes < count and (twin is None or twin.sent != sock.received):
        sock.fill(<long>count)
    expect(&vector, thread, min(count, <uint64_t>sock.rx_bytes))
    n = take_out(sock.rx, &sock.rx_offset, &vector, thread)
    if not n:
        return -EFAULT
    sock.took(n)
    return n


cdef long or_wait(Task task, HostSocket sock, GuestThread thread, int flags, long result) except? -9001:
    """The result of `receive`; if nothing was there, the caller may wait."""
    cdef Vector vector
    if result != -EAGAIN or sock.flags & O_NONBLOCK or flags & MSG_DONTWAIT:
        return result
    if flags & MSG_PEEK or sock.shut & SHUT_RD or one_piece(&vector, thread, False, thread.a[2]):
        return SLOW
    if not sock.watched:
        sock.watch()
    return wait_for(task, sock, &vector, flags, read_again)


cdef long read_again(Wait wait, object task, GuestThread thread) except? -9001:
    """What a read that waits gets when it is woken."""
    cdef HostSocket sock = <HostSocket?>(<ReadWait?>wait).file
    cdef long result = receive(sock, thread, 0)
    return result if result != -EAGAIN else SLOW if sock.shut & SHUT_RD else SLEEPS


cdef long through(HostSocket sock, GuestThread thread, uint64_t count, int flags) noexcept:
    """Receive what the stub has no room for: pieces that stay in the processor's cache go by way of our memory."""
    cdef uint64_t done = 0, part
    cdef ssize_t n
    cdef long copied
    cdef char *to
    if sock.type != STREAM:
        if count > PIECE:
            return SLOW
    elif flags & MSG_PEEK:
        count = min(count, <uint64_t>PIECE)
    while done < count:
        part = min(count - done, <uint64_t>(STEP if sock.type == STREAM and not flags & MSG_PEEK else PIECE))
        n = c_recv(sock.fd, PIECES, part, flags | MSG_DONTWAIT)
        if n <= 0:
            return <long>done if done or n == 0 else -errno
        if not flags & MSG_PEEK:
            sock.received += n
        to = thread.output(1, <uint64_t>n) if not done and <uint64_t>n < part else NULL
        if to != NULL:
            memcpy(to, PIECES, <size_t>n)
            thread.wrote(1, <uint64_t>n)
            return n
        copied = thread.copy_out(thread.a[1] + done, PIECES, <uint64_t>n)
        if copied != n:
            return <long>done if done else -EFAULT
        done += <uint64_t>n
        if <uint64_t>n < part or sock.type != STREAM or flags & MSG_PEEK:
            break
    return <long>done


cdef long sent(HostSocket sock, GuestThread thread, Vector *vector, const char *data, int flags) except? -9001:
    """Send the vector's content, which is in our memory."""
    cdef bint waits = not sock.flags & O_NONBLOCK and not flags & MSG_DONTWAIT
    cdef uint64_t count = vector.total
    cdef ssize_t n
    if sock.error:
        return SLOW
    sock.unknown()
    n = c_send(sock.fd, data, count, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    if n > 0:
        sock.sent += n
    if n < 0:
        if errno == EPIPE or (errno == EAGAIN and waits):
            return SLOW
        return -errno
    if waits and <uint64_t>n < count:
        return go_on_sending(sock, thread, [(vector.pieces[i].base, vector.pieces[i].length) for i in range(vector.count)], flags, n)
    return n


cdef long send(HostSocket sock, GuestThread thread, int flags) except? -9001:
    cdef uint64_t count = thread.a[2]
    cdef const char *source
    cdef Vector vector
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if not count or (count > PIECE and sock.type != STREAM):
        return SLOW
    if one_piece(&vector, thread, True, count):
        return -EFAULT
    if sock.twin is not None and sock.near():
        return send_near(sock, thread, &vector)
    source = vector.carried
    if LARGE <= count <= PIECE and sock.type == STREAM and not sock.error and not sock.shut & SHUT_WR and roomy(sock, count):
        if source != NULL:
            memcpy(PIECES, source, <size_t>count)
        elif thread.copy_in(PIECES, thread.a[1], count) != <long>count:
            return SLOW
        return send_behind(sock, thread, count, flags)
    if source != NULL:
        return sent(sock, thread, &vector, source, flags)
    if sock.type != STREAM:
        return sent(sock, thread, &vector, PIECES, flags) if thread.copy_in(PIECES, thread.a[1], count) == <long>count else SLOW
    if sock.error:
        return SLOW
    return pieces(sock, thread, vector.total, flags)


cdef bint roomy(HostSocket sock, uint64_t count) noexcept:
    """Whether the host has room for `count` bytes, with what it needs besides."""
    cdef uint32_t have[9]
    cdef socklen_t length = sizeof(have)
    if c_getsockopt(sock.fd, SOL_SOCKET, SO_MEMINFO, have, &length) or length < 6 * 4:
        return False
    return have[MEMINFO_QUEUED] + 2 * count < have[MEMINFO_SNDBUF]


cdef long send_behind(HostSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001:
    """What is in PIECES, for which there is room: the caller goes on while the host sends, as long as the copy takes. What fails then is a broken connection,
    which the next call tells."""
    cdef ssize_t n
    sock.unknown()
    thread.answer(<long>count)
    n = c_send(sock.fd, PIECES, count, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    if n > 0:
        sock.sent += n
    if n != <ssize_t>count:
        sock.broken(errno if n < 0 else EPIPE)
    return SENT


cdef long send_near(HostSocket sock, GuestThread thread, Vector *vector) except? -9001:
    """To the twin, if it has room for all."""
    cdef HostSocket twin = sock.twin
    cdef bytes data
    if not vector.total or <long>vector.total > sock.room - twin.rx_bytes:
        return SLOW
    data = take(vector, thread)
    if data is None:
        return SLOW
    twin.rx.append(data)
    twin.rx_bytes += PyBytes_GET_SIZE(data)
    if twin.queue.entries:
        twin.queue.wake(READABLE)
    return <long>vector.total


cdef long pieces(HostSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001:
    """Send more than the stub brought, as `through`. Where a stream has no more room a blocking call goes on as a plain one."""
    cdef uint64_t done = 0, part
    cdef ssize_t n
    sock.unknown()
    while done < count:
        part = min(count - done, <uint64_t>STEP)
        if thread.copy_in(PIECES, thread.a[1] + done, part) != <long>part:
            return <long>done if done else SLOW
        n = c_send(sock.fd, PIECES, part, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
        if n < 0 and errno != EAGAIN:
            return <long>done if done else SLOW if errno == EPIPE else -errno
        if n > 0:
            done += <uint64_t>n
            sock.sent += n
        if n < <ssize_t>part:
            break
    if done == count or sock.flags & O_NONBLOCK or flags & MSG_DONTWAIT:
        return <long>done if done else -EAGAIN
    return go_on_sending(sock, thread, [(thread.a[1], count)], flags, <long>done)


cdef long go_on_sending(HostSocket sock, GuestThread thread, list pieces, int flags, long done) except? -9001:
    """The rest of a blocking send, where there was no room for more than `done` bytes."""
    result = go_on(thread.task, sock, pieces, flags, done)
    return SLEEPS if result == BLOCKED else <long>result


cdef const char *gather(GuestThread thread, Vector *vector) noexcept:
    """What the vector holds; NULL if it is more than we have room for or part of it cannot be read."""
    cdef uint64_t total = 0
    cdef long i
    if vector.gathered != NULL and vector.total <= VECTOR_MAX:
        return vector.gathered
    if vector.total > PIECE:
        return NULL
    for i in range(vector.count):
        if vector.pieces[i].length:
            if thread.copy_in(PIECES + total, vector.pieces[i].base, vector.pieces[i].length) != <long>vector.pieces[i].length:
                return NULL
            total += vector.pieces[i].length
    return PIECES


cdef long read(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    if sock is None:
        return other(NEXT_READ, <Task?>task, thread)
    return or_wait(<Task?>task, sock, thread, 0, receive(sock, thread, 0))


cdef long write(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    return other(NEXT_WRITE, <Task?>task, thread) if sock is None else send(sock, thread, 0)


cdef long writev(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef Vector vector
    cdef const char *source
    if sock is None:
        return other(NEXT_WRITEV, <Task?>task, thread)
    if many_pieces(&vector, thread, thread.a[1], thread.a[2]) or not vector.total:
        return SLOW
    if sock.twin is not None and sock.near():
        return send_near(sock, thread, &vector)
    source = gather(thread, &vector)
    return SLOW if source == NULL else sent(sock, thread, &vector, source, 0)


cdef long recvfrom(object task, GuestThread thread) except? -9001:
    cdef HostSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[3]
    if sock is None:
        return other(NEXT_RECVFROM, <Task?>task, thread)
    if flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL) or thread.a[4]:
        return SLOW
    return or_wait(<Task?>task, sock, thread, flags, receive(sock, thread, flags))


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
