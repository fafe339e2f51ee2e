"""Fast twins of sys_socket.py, and of readv and writev, for Unix sockets and for TCP within the sandbox: messages without control data whose ends ask for no
credentials. What must wait for room (but for write and send on a stream), fails or says more than its bytes is left to the plain handlers.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLEEPS, SLOW, VECTOR_HEAD, VECTOR_MAX, VECTOR_MOST, GuestThread
from sentry.core.waitq cimport Wait, WaitEntry, resume_t
from sentry.kernel.task cimport Task
from sentry.net.socket cimport Socket
from sentry.net.tcp cimport TcpSocket
from sentry.net.wire cimport Wire
from sentry.net.unix cimport Message, UnixSocket, charge_of
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport EAGAIN, EFAULT, O_NONBLOCK, O_PATH, wide
from sentry.syscalls.fileio cimport ReadWait, WriteWait
from sentry.vfs.file cimport File

from sentry.core.result import BLOCKED
from sentry.syscalls.sys_socket import go_on

cdef enum:
    TCP_ESTABLISHED = 1
    TCP_CLOSE = 7
    TCP_CLOSE_WAIT = 8
    TCP_LISTEN = 10
    STREAM = 1
    DGRAM = 2
    SHUT_RD = 1
    SHUT_WR = 2
    MSG_TRUNC = 0x20
    MSG_DONTWAIT = 0x40
    MSG_EOR = 0x80
    MSG_NOSIGNAL = 0x4000
    MSG_CMSG_CLOEXEC = 0x40000000
    SENDABLE = MSG_DONTWAIT | MSG_NOSIGNAL  # the flags that are served here
    RECEIVABLE = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC
    READABLE = 1 | 64  # poll bits
    READ_EVENTS = READABLE | 8 | 16 | 0x2000
    PIECE = 36544  # one message of a stream (net/unix.py)
    DGRAM_QUEUE = 10
    WRITE_EVENTS = 4 | 256 | 8 | 16
    GATHERED = 1 << 17
    LARGE = 1 << 14  # a message that is worth a copy of its own

cdef uint64_t USER_END = <uint64_t>1 << 47
cdef uint64_t MAX_COUNT = 0x7FFFF000
cdef char TOGETHER[GATHERED]

cdef struct msghdr:
    uint64_t name
    uint32_t name_length
    uint32_t pad0
    uint64_t iov
    uint64_t iov_count
    uint64_t control
    uint64_t control_length
    uint32_t flags
    uint32_t pad1


cdef long one_piece(Vector *vector, GuestThread thread, bint sends, uint64_t count) noexcept:
    """The buffer at argument 1 as a vector: 0, or -EFAULT."""
    cdef uint64_t addr = thread.a[1]
    if count > USER_END or addr > USER_END - count:
        return -EFAULT
    vector.total = min(count, MAX_COUNT)
    vector.count = 1
    vector.pieces[0].base, vector.pieces[0].length = addr, vector.total
    vector.gathered = NULL
    vector.single = not sends
    vector.carried = <char *>thread.input(1, vector.total) if sends else thread.output(1, vector.total)
    return 0


cdef long many_pieces(Vector *vector, GuestThread thread, uint64_t addr, uint64_t count) noexcept:
    """The iovec array at `addr` as a vector: 0, or SLOW."""
    cdef const char *carried
    cdef uint64_t i
    if not 0 < count <= MOST:
        return SLOW
    carried = thread.vector() if count <= VECTOR_MOST else NULL
    if carried != NULL:
        memcpy(vector.pieces, carried, count * sizeof(iovec))
    elif thread.copy_in(vector.pieces, addr, count * sizeof(iovec)) != <long>(count * sizeof(iovec)):
        return SLOW
    vector.count = <long>count
    vector.total = 0
    vector.single = False
    vector.carried = NULL
    vector.gathered = NULL
    if carried != NULL:
        vector.gathered = carried + VECTOR_HEAD
    for i in range(count):
        if vector.pieces[i].length > MAX_COUNT or vector.pieces[i].base > USER_END - vector.pieces[i].length:
            return SLOW
        vector.total += vector.pieces[i].length
    return 0 if vector.total <= MAX_COUNT else SLOW


cdef void expect(Vector *vector, GuestThread thread, uint64_t length) noexcept:
    """No more than `length` bytes will come."""
    if vector.single and vector.carried == NULL and length:
        vector.carried = thread.output(1, length)
        if vector.carried == NULL:
            vector.carried = wide(thread, thread.a[1], length)


cdef bytes take(Vector *vector, GuestThread thread):
    """The vector's content; None if part of it cannot be read."""
    cdef const char *whole = vector.carried
    cdef bytes data
    cdef char *to
    cdef long i
    if whole == NULL and vector.total <= VECTOR_MAX:
        whole = vector.gathered
    data = PyBytes_FromStringAndSize(whole, <Py_ssize_t>vector.total)
    if whole == NULL:
        to = PyBytes_AS_STRING(data)
        for i in range(vector.count):
            if vector.pieces[i].length:
                if thread.copy_in(to, vector.pieces[i].base, vector.pieces[i].length) != <long>vector.pieces[i].length:
                    return None
                to += vector.pieces[i].length
    return data


cdef long give(Vector *vector, GuestThread thread, uint64_t skip, const char *data, uint64_t length) noexcept:
    """`length` bytes into the vector, behind its first `skip`. Bytes copied, fewer where memory ends."""
    cdef uint64_t part, done = 0
    cdef long i, n
    if vector.carried != NULL:
        memcpy(vector.carried + skip, data, length)
        thread.wrote(1, skip + length)
        return <long>length
    for i in range(vector.count):
        if skip >= vector.pieces[i].length:
            skip -= vector.pieces[i].length
            continue
        part = min(vector.pieces[i].length - skip, length - done)
        if not part:
            break
        n = thread.copy_out(vector.pieces[i].base + skip, data + done, part)
        if n > 0:
            done += <uint64_t>n
        if n != <long>part:
            break
        skip = 0
    return <long>done


# ---------------------------------------------------------------- sending


cdef long send(UnixSocket sock, GuestThread thread, Vector *vector) except? -9001:
    cdef UnixSocket peer = sock.peer
    cdef Message message
    cdef bytes data
    if peer is None or peer.dead or sock.error or sock.shut & SHUT_WR or sock.charged >= sock.sndbuf:
        return SLOW
    # the ends ask for credentials or times, or may come to, or filter
    if sock.passcred or peer.passcred or peer.stamps or peer.listener is not None or peer.bpf is not None:
        return SLOW
    if sock.type == STREAM:
        if vector.total > PIECE or not vector.total or not sock.connected or <long>vector.total > (sock.sndbuf >> 1) - 64:
            return SLOW
    elif <long>vector.total > sock.sndbuf - 32:
        return SLOW
    elif sock.type == DGRAM and peer.peer is not sock:
        return SLOW
    elif peer.shut & SHUT_RD:
        return SLOW
    data = take(vector, thread)
    if data is None:
        return SLOW
    message = Message.__new__(Message)
    message.data = data
    message.addr = sock.address
    message.sender = sock
    message.charge = charge_of(sock.type, PyBytes_GET_SIZE(data))
    sock.charged += message.charge
    peer.messages.append(message)
    if peer.queue.entries:
        peer.queue.wake(READABLE)
    return <long>vector.total


cdef long pour(UnixSocket sock, GuestThread thread, uint64_t done, uint64_t count) except? -9001:
    """What a stream takes of the caller's buffer at argument 1 behind the first `done` of `count` bytes: how many have gone in all;
    SLOW: none more, the plain handler is to say why."""
    cdef UnixSocket peer = sock.peer
    cdef Message message
    cdef bytes data
    cdef uint64_t before = done
    cdef long n, limit = min(PIECE, (sock.sndbuf >> 1) - 64)
    if peer is None or peer.dead or sock.error or sock.shut & SHUT_WR or not sock.connected or limit <= 0:
        return SLOW
    if sock.passcred or peer.passcred or peer.stamps or peer.listener is not None:
        return SLOW
    while done < count and sock.charged < sock.sndbuf:
        n = <long>min(count - done, <uint64_t>limit)
        data = PyBytes_FromStringAndSize(NULL, n)
        if thread.copy_in(PyBytes_AS_STRING(data), thread.a[1] + done, <uint64_t>n) != n:
            if done == before:
                return SLOW
            break
        message = Message.__new__(Message)
        message.data = data
        message.addr = sock.address
        message.sender = sock
        message.charge = charge_of(STREAM, n)
        sock.charged += message.charge
        peer.messages.append(message)
        done += <uint64_t>n
    if done > before and peer.queue.entries:
        peer.queue.wake(READABLE)
    return <long>done


cdef long send_stream(Task task, UnixSocket sock, GuestThread thread, uint64_t count, bint waits) except? -9001:
    """write(2) and send(2) of more than one message."""
    cdef WriteWait record
    cdef WaitEntry entry
    cdef long done, before
    if sock.sndtimeo:
        return SLOW
    done = pour(sock, thread, 0, count)
    while done != SLOW and <uint64_t>done < count and sock.charged < sock.sndbuf:  # what reads there has taken some at once
        before = done
        done = pour(sock, thread, before, count)
        if done == SLOW:
            return before
    if done == SLOW or <uint64_t>done == count:
        return done
    if not waits or sock.flags & O_NONBLOCK:
        return done if done else -EAGAIN
    record = WriteWait(sock, [(thread.a[1], count)], count, None, done)
    entry = WaitEntry(task, WRITE_EVENTS)
    sock.queue.add(entry)
    record.entries = [entry]
    record.timer = None
    record.resume = send_again
    task.wait = record
    return SLEEPS


cdef long send_again(Wait wait, object task, GuestThread thread) except? -9001:
    cdef WriteWait record = <WriteWait?>wait
    cdef UnixSocket sock = <UnixSocket?>record.file
    cdef uint64_t count = min(thread.a[2], MAX_COUNT)
    cdef long done
    if sock.charged >= sock.sndbuf and sock.peer is not None and not sock.error and not sock.shut & SHUT_WR:
        return SLEEPS
    done = pour(sock, thread, record.done, count)
    if done == SLOW:
        return SLOW
    record.done = done
    if <uint64_t>done == count:
        return done
    return SLEEPS if sock.charged >= sock.sndbuf else SLOW


cdef long send_tcp(TcpSocket sock, GuestThread thread, Vector *vector) except? -9001:
    cdef TcpSocket peer = sock.peer
    cdef bytes data
    if sock.wire is not None and peer is None:
        return send_wire(sock, thread, vector)
    if peer is None or (sock.state != TCP_ESTABLISHED and sock.state != TCP_CLOSE_WAIT) or sock.error or sock.shut & SHUT_WR:
        return SLOW
    if peer.shut & SHUT_RD or not vector.total or <long>vector.total > sock.room - peer.rx_bytes or vector.total > GATHERED:
        return SLOW
    data = take(vector, thread)
    if data is None:
        return SLOW
    peer.rx.append(data)
    peer.rx_bytes += <long>vector.total
    peer.received += <long>vector.total
    sock.sent += <long>vector.total
    if peer.queue.entries and peer.rx_bytes >= peer.rcvlowat:
        peer.queue.wake(READABLE)
    return <long>vector.total


cdef long send_wire(TcpSocket sock, GuestThread thread, Vector *vector) except? -9001:
    """Out of the sandbox, if all is taken."""
    cdef const char *source = vector.carried
    cdef uint64_t done = 0
    cdef long i, n
    if (sock.state != TCP_ESTABLISHED and sock.state != TCP_CLOSE_WAIT) or sock.error or sock.shut & SHUT_WR:
        return SLOW
    if not vector.total or vector.total > GATHERED or not isinstance(sock.wire, Wire) or not sock.wire.writable():
        return SLOW
    if source == NULL and vector.total <= VECTOR_MAX:
        source = vector.gathered
    if source == NULL:
        for i in range(vector.count):
            if vector.pieces[i].length:
                if thread.copy_in(TOGETHER + done, vector.pieces[i].base, vector.pieces[i].length) != <long>vector.pieces[i].length:
                    return SLOW
                done += vector.pieces[i].length
        source = TOGETHER
    n = (<Wire?>sock.wire).push(source, <long>vector.total)
    if n == <long>vector.total or n == -EAGAIN and sock.flags & O_NONBLOCK:
        return n
    return SLOW if n <= 0 else n if sock.flags & O_NONBLOCK else go_on_sending(sock, thread, vector, n)


cdef long go_on_sending(TcpSocket sock, GuestThread thread, Vector *vector, long done) except? -9001:
    """The rest of a blocking send, where there was no room for more than `done` bytes."""
    pieces = [(vector.pieces[i].base, vector.pieces[i].length) for i in range(vector.count)]
    result = go_on(thread.task, sock, pieces, 0, done)
    return SLEEPS if result == BLOCKED else <long>result


# ---------------------------------------------------------------- receiving


cdef long take_out(object queue, long *offset, Vector *vector, GuestThread thread) except? -9001:
    """From a queue of bytes, of whose first `offset` have been read, into the vector; how many."""
    cdef uint64_t done = 0
    cdef long n, given
    cdef bytes first
    while done < vector.total and queue:
        first = <bytes?>queue[0]
        n = min(PyBytes_GET_SIZE(first) - offset[0], <long>(vector.total - done))
        given = give(vector, thread, done, PyBytes_AS_STRING(first) + offset[0], <uint64_t>n)
        if offset[0] + given == PyBytes_GET_SIZE(first):
            queue.popleft()
            offset[0] = 0
        else:
            offset[0] += given
        done += <uint64_t>given
        if given < n:
            break
    return <long>done


cdef long receive_tcp(TcpSocket sock, GuestThread thread, Vector *vector) except? -9001:
    """Bytes received, or -errno, SLOW; -EAGAIN: nothing is there and the caller may wait."""
    cdef long done
    if not vector.total or sock.state == TCP_LISTEN:
        return SLOW
    if not sock.rx:
        if sock.done:
            return 0
        return SLOW if sock.error or sock.shut & SHUT_RD or sock.state == TCP_CLOSE else -EAGAIN
    expect(vector, thread, min(vector.total, <uint64_t>sock.rx_bytes))
    done = take_out(sock.rx, &sock.rx_offset, vector, thread)
    if done:
        sock.took(done)
        return done
    return -EFAULT


cdef inline bint plain(Message message) noexcept:
    return message.rights is None and not message.oob


cdef long collect(UnixSocket sock, char *to, long room) except -1:
    """What a stream holds, up to the first message that is more than bytes; nothing is taken."""
    cdef Message message
    cdef long done = 0, n
    for item in sock.messages:
        message = <Message?>item
        if not plain(message) or done >= room:
            break
        n = min(PyBytes_GET_SIZE(message.data) - message.offset, room - done)
        memcpy(to + done, PyBytes_AS_STRING(message.data) + message.offset, <size_t>n)
        done += n
    return done


cdef long whole(UnixSocket sock, long count) except -1:
    """How many of the first `count` bytes of a stream are whole messages, or what is left of one."""
    cdef Message message
    cdef long done = 0, n
    for item in sock.messages:
        message = <Message?>item
        n = PyBytes_GET_SIZE(message.data) - message.offset
        if done + n > count:
            break
        done += n
    return done


cdef int consume(UnixSocket sock, long count) except -1:
    """The first `count` bytes of a stream have gone."""
    cdef Message message
    cdef long left
    while count:
        message = <Message?>sock.messages[0]
        left = PyBytes_GET_SIZE(message.data) - message.offset
        if left > count:
            message.offset += count
            break
        count -= left
        sock.messages.popleft()
        sock.uncharge(message)
    return 0


cdef long held(UnixSocket sock, long most) except -1:
    """How many bytes a stream holds, if that is less than `most`."""
    cdef Message message
    cdef long n = 0
    for item in sock.messages:
        message = <Message?>item
        n += PyBytes_GET_SIZE(message.data) - message.offset
        if n >= most:
            return most
    return n


cdef long receive_stream(UnixSocket sock, GuestThread thread, Vector *vector) except? -9001:
    cdef Message first
    cdef uint64_t done = 0
    cdef long n, given
    if vector.single and vector.carried == NULL:
        expect(vector, thread, <uint64_t>held(sock, <long>vector.total))
    while done < vector.total and sock.messages:
        first = <Message?>sock.messages[0]
        if not plain(first):
            return <long>done if done else SLOW
        n = PyBytes_GET_SIZE(first.data) - first.offset
        if n >= LARGE or n >= <long>(vector.total - done) or len(sock.messages) == 1:
            n = min(n, <long>(vector.total - done))
            given = give(vector, thread, done, PyBytes_AS_STRING(first.data) + first.offset, <uint64_t>n)
        else:
            n = collect(sock, TOGETHER, <long>min(vector.total - done, <uint64_t>GATHERED))
            given = give(vector, thread, done, TOGETHER, <uint64_t>n)
        if given < n:  # a message is copied or not
            given = whole(sock, given)
        consume(sock, given)
        done += <uint64_t>given
        if given < n:
            return <long>done if done else -EFAULT
    return <long>done


cdef long receive(UnixSocket sock, GuestThread thread, Vector *vector, int flags, bint *eor, bint *cut) except? -9001:
    """Bytes received, or -errno, SLOW; -EAGAIN: nothing is there and the caller may wait."""
    cdef Message message
    cdef long n
    cdef bint stream = sock.type == STREAM
    if not vector.total or sock.passcred or sock.stamps or sock.peek_offset >= 0 or (sock.type != DGRAM and not sock.connected):
        return SLOW
    if not sock.messages:
        if sock.error or (sock.type == DGRAM and sock.shut & SHUT_RD):
            return SLOW
        return 0 if sock.shut & SHUT_RD else -EAGAIN
    if stream:
        return receive_stream(sock, thread, vector)
    message = <Message?>sock.messages[0]
    if not plain(message) or sock.blocked is not None:
        return SLOW
    n = PyBytes_GET_SIZE(message.data)
    cut[0] = n > <long>vector.total
    eor[0] = message.eor
    n = min(n, <long>vector.total)
    expect(vector, thread, <uint64_t>n)
    if give(vector, thread, 0, PyBytes_AS_STRING(message.data), <uint64_t>n) != n:
        return SLOW
    sock.messages.popleft()
    sock.uncharge(message)
    return n


cdef long wait_for(Task task, Socket sock, Vector *vector, int flags, resume_t resume) except? -9001:
    """Nothing was there: -EAGAIN, or the record of a read that waits, which `resume` finishes; SLOW with a timeout."""
    cdef ReadWait record
    cdef WaitEntry entry
    if sock.flags & O_NONBLOCK or flags & MSG_DONTWAIT:
        return -EAGAIN
    if sock.rcvtimeo or vector.count != 1:
        return SLOW
    record = ReadWait(sock, [(vector.pieces[0].base, vector.pieces[0].length)], vector.total, None)
    entry = WaitEntry(task, READ_EVENTS)
    sock.queue.add(entry)
    record.entries = [entry]
    record.timer = None
    if vector.single:
        record.resume = resume
    task.wait = record
    return SLEEPS


cdef long read_again(Wait wait, object task, GuestThread thread) except? -9001:
    """What a read that waits gets when it is woken."""
    cdef Vector vector
    cdef bint eor = False, cut = False
    cdef File file = (<ReadWait?>wait).file
    cdef long result = one_piece(&vector, thread, False, thread.a[2])
    if not result:
        if type(file) is TcpSocket:
            result = receive_tcp(<TcpSocket?>file, thread, &vector)
        else:
            result = receive(<UnixSocket?>file, thread, &vector, 0, &eor, &cut)
    return SLEEPS if result == -EAGAIN else result


# ---------------------------------------------------------------- calls


cdef long read_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001:
    cdef Vector vector
    cdef bint eor = False, cut = False
    cdef long result = one_piece(&vector, thread, False, count)
    if not result:
        result = receive(sock, thread, &vector, 0, &eor, &cut)
    return wait_for(task, sock, &vector, 0, read_again) if result == -EAGAIN else result


cdef long write_socket(Task task, UnixSocket sock, GuestThread thread, uint64_t count) except? -9001:
    cdef Vector vector
    cdef long result
    if sock.type == STREAM and (count > PIECE or sock.charged >= sock.sndbuf):
        return send_stream(task, sock, thread, count, True)
    result = one_piece(&vector, thread, True, count)
    return result if result else send(sock, thread, &vector)


cdef long read_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count, int flags) except? -9001:
    cdef Vector vector
    cdef long result = one_piece(&vector, thread, False, count)
    if not result:
        result = receive_tcp(sock, thread, &vector)
    return wait_for(task, sock, &vector, flags, read_again) if result == -EAGAIN else result


cdef long write_tcp(Task task, TcpSocket sock, GuestThread thread, uint64_t count) except? -9001:
    cdef Vector vector
    cdef long result = one_piece(&vector, thread, True, count)
    return result if result else send_tcp(sock, thread, &vector)


cdef TcpSocket tcp_of(Task task, int fd):
    cdef File file = task.files.get(fd)
    return <TcpSocket?>file if type(file) is TcpSocket and not file.flags & O_PATH else None


cdef UnixSocket socket_of(Task task, int fd):
    cdef File file = task.files.get(fd)
    return <UnixSocket?>file if type(file) is UnixSocket and not file.flags & O_PATH else None


cdef long sendto(object task, GuestThread thread) except? -9001:
    cdef TcpSocket tcp
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[3]
    if sock is None:
        tcp = tcp_of(<Task?>task, <int>thread.a[0])
        return SLOW if tcp is None or flags & ~SENDABLE else write_tcp(<Task?>task, tcp, thread, thread.a[2])
    if flags & ~SENDABLE or thread.a[4]:
        return SLOW
    if flags and sock.type == STREAM and (thread.a[2] > PIECE or sock.charged >= sock.sndbuf):
        # (What a wait keeps says nothing of MSG_NOSIGNAL.)
        return send_stream(<Task?>task, sock, thread, min(thread.a[2], MAX_COUNT), False) if flags & MSG_DONTWAIT else SLOW
    return write_socket(<Task?>task, sock, thread, min(thread.a[2], MAX_COUNT))


cdef long recvfrom(object task, GuestThread thread) except? -9001:
    cdef TcpSocket tcp
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[3]
    cdef Vector vector
    cdef bint eor = False, cut = False
    cdef long result
    if thread.a[4] or flags & ~RECEIVABLE:
        return SLOW
    if sock is None:
        tcp = tcp_of(<Task?>task, <int>thread.a[0])
        return SLOW if tcp is None else read_tcp(<Task?>task, tcp, thread, thread.a[2], flags)
    result = one_piece(&vector, thread, False, thread.a[2])
    if not result:
        result = receive(sock, thread, &vector, flags, &eor, &cut)
    return wait_for(<Task?>task, sock, &vector, flags, read_again) if result == -EAGAIN else result


cdef long vector_of(msghdr *header, Vector *vector, GuestThread thread) noexcept:
    """The msghdr that argument 1 points to, and its data: 0 or SLOW."""
    cdef const char *carried = thread.input(1, sizeof(msghdr))
    if carried != NULL:
        memcpy(header, carried, sizeof(msghdr))
    elif thread.copy_in(header, thread.a[1], sizeof(msghdr)) != sizeof(msghdr):
        return SLOW
    return many_pieces(vector, thread, header.iov, header.iov_count)


cdef long sendmsg(object task, GuestThread thread) except? -9001:
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef msghdr header
    cdef Vector vector
    cdef TcpSocket tcp = tcp_of(<Task?>task, <int>thread.a[0]) if sock is None else None
    if (sock is None and tcp is None) or <int>thread.a[2] & ~SENDABLE or vector_of(&header, &vector, thread) == SLOW:
        return SLOW
    if (header.control and header.control_length) or (header.name and header.name_length):
        return SLOW
    return send_tcp(tcp, thread, &vector) if sock is None else send(sock, thread, &vector)


cdef long recvmsg(object task, GuestThread thread) except? -9001:
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef int flags = <int>thread.a[2]
    cdef msghdr header
    cdef Vector vector
    cdef bint eor = False, cut = False
    cdef long result
    cdef char *memory
    if sock is None or flags & ~RECEIVABLE or vector_of(&header, &vector, thread) == SLOW or header.name:
        return SLOW
    memory = thread.output(1, sizeof(msghdr))
    if memory == NULL:
        return SLOW
    result = receive(sock, thread, &vector, flags, &eor, &cut)
    if result == -EAGAIN:
        return -EAGAIN if sock.flags & O_NONBLOCK or flags & MSG_DONTWAIT else SLOW
    if result >= 0:
        header.control_length = 0
        header.flags = (MSG_EOR if eor else 0) | (MSG_TRUNC if cut else 0) | <uint32_t>(flags & MSG_CMSG_CLOEXEC)
        memcpy(memory, &header, sizeof(msghdr))
        thread.wrote(1, sizeof(msghdr))
    return result


cdef long readv(object task, GuestThread thread) except? -9001:
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef Vector vector
    cdef bint eor = False, cut = False
    cdef long result
    cdef TcpSocket tcp = tcp_of(<Task?>task, <int>thread.a[0]) if sock is None else None
    if (sock is None and tcp is None) or many_pieces(&vector, thread, thread.a[1], thread.a[2]) == SLOW:
        return SLOW
    if sock is None:
        result = receive_tcp(tcp, thread, &vector)
        return wait_for(<Task?>task, tcp, &vector, 0, read_again) if result == -EAGAIN else result
    result = receive(sock, thread, &vector, 0, &eor, &cut)
    return wait_for(<Task?>task, sock, &vector, 0, read_again) if result == -EAGAIN else result


cdef long writev(object task, GuestThread thread) except? -9001:
    cdef UnixSocket sock = socket_of(<Task?>task, <int>thread.a[0])
    cdef Vector vector
    cdef TcpSocket tcp = tcp_of(<Task?>task, <int>thread.a[0]) if sock is None else None
    if (sock is None and tcp is None) or many_pieces(&vector, thread, thread.a[1], thread.a[2]) == SLOW:
        return SLOW
    return send_tcp(tcp, thread, &vector) if sock is None else send(sock, thread, &vector)


fast("sendto", sendto)
fast("recvfrom", recvfrom)
fast("sendmsg", sendmsg)
fast("recvmsg", recvmsg)
fast("readv", readv)
fast("writev", writev)
