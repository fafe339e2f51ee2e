"""Socket calls (socket(7), send(2), recv(2), recvmsg(2))."""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import (
    EAGAIN,
    EBADF,
    EFAULT,
    EINTR,
    EINVAL,
    EMSGSIZE,
    ENODATA,
    ENOTSOCK,
    EPIPE,
    ERANGE,
    ERESTARTSYS,
)
from sentry.abi.time import FOREVER, get_timespec
from sentry.core.result import BLOCKED
from sentry.core.syscall import (
    PARTIAL,
    U32,
    Fd,
    Flags,
    InBuf,
    InMsg,
    InOutStruct,
    Int,
    OutBuf,
    OutMsg,
    OutStruct,
    Ptr,
    Size,
    syscall,
)
from sentry.core.waitq import Wait, WaitEntry
from sentry.net import inet_families, netdev, rtnetlink, sockdiag, socket, socket_filter, unix  # noqa: F401  (families register themselves)
from sentry.net.socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_WAITFORONE,
    SHUT_RD,
    SHUT_WR,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SO_PEERPIDFD,
    SOCK_STREAM,
    SOL_SOCKET,
    UCRED,
    Socket,
)
from sentry.platform.base import MemFault
from sentry.syscalls.fdpair import install_new, install_pair
from sentry.syscalls.fileio import READ_EVENTS, WRITE_EVENTS, buffer, gather, scatter, total_of
from sentry.syscalls.sockmsg import (
    INT,
    install_pidfd,
    read_address,
    read_control,
    read_header,
    write_address,
    write_header,
)
from sentry.vfs.file import O_CLOEXEC, O_NONBLOCK, O_PATH, POLL_READABLE, POLL_WRITABLE

SOCK_TYPE_MASK = 15
MMSGHDR_SIZE = 64
CHUNK = 1 << 20
LONG = Struct("<q")


def get_socket(t, fd) -> "Socket | int":
    file = t.files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    return file if isinstance(file, Socket) else -ENOTSOCK


@syscall("socket", 41, (Int, Int, Int), level=PARTIAL, note="AF_UNIX, AF_INET, AF_INET6, AF_NETLINK")
def sys_socket(t, family, type_, protocol):
    flags = type_ & ~SOCK_TYPE_MASK
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    sock = socket.create(t, family, type_ & SOCK_TYPE_MASK, protocol, flags & O_NONBLOCK)
    return sock if isinstance(sock, int) else install_new(t, sock, bool(flags & O_CLOEXEC))


@syscall("socketpair", 53, (Int, Int, Int, OutStruct(8)))
def sys_socketpair(t, family, type_, protocol, addr):
    flags = type_ & ~SOCK_TYPE_MASK
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    pair = socket.create_pair(t, family, type_ & SOCK_TYPE_MASK, protocol, flags & O_NONBLOCK)
    return pair if isinstance(pair, int) else install_pair(t, pair, addr, bool(flags & O_CLOEXEC))


@syscall("bind", 49, (Fd, InBuf(2), Int))
def sys_bind(t, fd, addr, length):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    name = read_address(t, addr, length)
    return name if isinstance(name, int) else sock.bind(t, name)


@syscall("listen", 50, (Fd, Int))
def sys_listen(t, fd, backlog):
    sock = get_socket(t, fd)
    return sock if isinstance(sock, int) else sock.listen(t, backlog)


class SocketWait(Wait):
    """Common part: a pinned socket, and EINTR instead of a restart where a timeout is set (signal(7))."""

    __slots__ = ("sock", "restart")

    def __init__(self, sock, timed):
        self.sock = sock.incref()
        self.restart = -EINTR if timed else -ERESTARTSYS

    def timeout(self, t):
        return -EAGAIN

    def release(self, t):
        self.sock.decref()


class ConnectWait(SocketWait):
    """A connect that waits for room in the listener's backlog."""

    __slots__ = ("addr",)

    def poll(self, t):
        result = self.sock.connect(t, self.addr)
        return BLOCKED if result == -EAGAIN else result


@syscall("connect", 42, (Fd, InBuf(2), Int), blocks=True)
def sys_connect(t, fd, addr, length):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    name = read_address(t, addr, length)
    if isinstance(name, int):
        return name
    result = sock.connect(t, name)
    if result != -EAGAIN or sock.flags & O_NONBLOCK:
        return result
    deadline = sock.io_deadline(True)
    wait = ConnectWait(sock, deadline is not None)
    wait.addr = name
    entry = WaitEntry(t, POLL_WRITABLE)
    sock.connect_queue().add(entry)
    return t.block(wait, entry, deadline=deadline)


class AcceptWait(SocketWait):
    __slots__ = ("addr", "length_addr", "flags")

    def poll(self, t):
        new = self.sock.accept(t, self.flags & O_NONBLOCK)
        if new == -EAGAIN:
            return BLOCKED
        return accepted(t, new, self.addr, self.length_addr, self.flags)


def accepted(t, new, addr, length_addr, flags):
    if isinstance(new, int):
        return new
    if addr:
        name = new.peer_name()
        try:
            error = write_address(t, addr, length_addr, name if isinstance(name, bytes) else b"")
        except BaseException:
            new.decref()
            raise
        if error:
            new.decref()
            return error
    return install_new(t, new, bool(flags & O_CLOEXEC))


def do_accept(t, fd, addr, length_addr, flags):
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    new = sock.accept(t, flags & O_NONBLOCK)
    if new != -EAGAIN or sock.flags & O_NONBLOCK:
        return accepted(t, new, addr, length_addr, flags)
    deadline = sock.io_deadline(False)
    wait = AcceptWait(sock, deadline is not None)
    wait.addr, wait.length_addr, wait.flags = addr, length_addr, flags
    entry = WaitEntry(t, POLL_READABLE, True)
    sock.queue.add(entry)
    return t.block(wait, entry, deadline=deadline)


@syscall("accept", 43, (Fd, Ptr, InOutStruct(4)), blocks=True)
def sys_accept(t, fd, addr, length_addr):
    return do_accept(t, fd, addr, length_addr, 0)


@syscall("accept4", 288, (Fd, Ptr, InOutStruct(4), Flags), blocks=True)
def sys_accept4(t, fd, addr, length_addr, flags):
    return do_accept(t, fd, addr, length_addr, flags)


@syscall("getsockname", 51, (Fd, Ptr, InOutStruct(4)))
def sys_getsockname(t, fd, addr, length_addr):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    name = sock.name()
    return name if isinstance(name, int) else write_address(t, addr, length_addr, name)


@syscall("getpeername", 52, (Fd, Ptr, InOutStruct(4)))
def sys_getpeername(t, fd, addr, length_addr):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    name = sock.peer_name()
    return name if isinstance(name, int) else write_address(t, addr, length_addr, name)


@syscall("shutdown", 48, (Fd, Int))
def sys_shutdown(t, fd, how):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    if not 0 <= how <= 2:
        return -EINVAL
    return sock.shutdown(t, (SHUT_RD, SHUT_WR, SHUT_RD | SHUT_WR)[how])


@syscall("getsockopt", 55, (Fd, Int, Int, Ptr, InOutStruct(4)))
def sys_getsockopt(t, fd, level, option, addr, length_addr):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    (room,) = INT.unpack(t.read(length_addr, 4))
    if room < 0:
        return -EINVAL
    if level == SOL_SOCKET and option == socket_filter.SO_ATTACH_FILTER:
        count = socket_filter.get(sock, t, addr, room)
        if count >= 0:
            t.write(length_addr, INT.pack(count))
        return min(count, 0)
    value = sock.getsockopt(t, level, option) if (level, option) != (SOL_SOCKET, SO_PEERPIDFD) else peer_pidfd(t, sock)
    if isinstance(value, int):
        return value
    if option == SO_PEERGROUPS and level == SOL_SOCKET and room < len(value):
        t.write(length_addr, INT.pack(len(value)))
        return -ERANGE
    value = value[:room]
    t.write(addr, value)
    t.write(length_addr, INT.pack(len(value)))
    return 0


def peer_pidfd(t, sock):
    """A pidfd of the process that SO_PEERCRED tells of."""
    creds = sock.getsockopt(t, SOL_SOCKET, SO_PEERCRED)
    if isinstance(creds, int):
        return creds
    pid = UCRED.unpack(creds)[0]
    fd = install_pidfd(t, pid) if pid else -ENODATA
    return fd if fd < 0 else INT.pack(fd)


@syscall("setsockopt", 54, (Fd, Int, Int, InBuf(4), Int))
def sys_setsockopt(t, fd, level, option, addr, length):
    if length < 0:
        return -EINVAL
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    return sock.setsockopt(t, level, option, t.read(addr, min(length, 4096)))


# -- sending
class SendWait(SocketWait):
    """`message`: what is left to send; `done`: bytes that have gone."""

    __slots__ = ("message", "done", "then")

    def poll(self, t):
        result, self.done = send_now(t, self.sock, self.message, self.done)
        if result == -EAGAIN:
            return BLOCKED
        return self.finish(t, result)

    def finish(self, t, result):
        result = end_send(t, self.sock, self.message, result, self.done)
        return result if self.then is None else self.then(t, result)

    def timeout(self, t):
        return self.finish(t, -EAGAIN)

    def interrupted(self, t):
        return self.finish(t, self.restart)

    def release(self, t):
        self.message.drop()
        self.sock.decref()


class Outgoing:
    __slots__ = ("iov", "count", "addr", "flags", "rights", "creds", "control")

    def __init__(self, iov, addr, flags, rights=None, creds=None, control=None):
        self.iov = iov
        self.count = total_of(iov) if iov else 0
        self.addr = addr
        self.flags = flags
        self.rights = rights
        self.creds = creds
        self.control = control

    def drop(self):
        rights, self.rights = self.rights, None
        socket.drop(rights)


def send_now(t, sock, message, done):
    """(0 or the -errno that ended it, bytes done)."""
    while True:
        want = message.count - done
        if sock.type == SOCK_STREAM:
            want = min(want, CHUNK)
            if not message.flags & MSG_OOB:
                want = sock.takes(want)
        elif want > 1 << 24:
            return -EMSGSIZE, done  # no socket buffer is that large
        data = gather(t, message.iov, done, want) if want else b""
        if len(data) < want:
            return -EFAULT, done
        if message.control is None or sock.family == AF_UNIX:
            n = sock.send(t, data, message.addr, message.flags, message.rights, message.creds)
        else:
            n = sock.send_with(t, data, message.addr, message.flags, message.control)
        if n < 0:
            return n, done
        if sock.family == AF_UNIX:
            message.rights = None  # taken over; other families pay no heed to them
        done += n
        if done >= message.count:
            return 0, done


def end_send(t, sock, message, error, done):
    if error == -EPIPE and not message.flags & MSG_NOSIGNAL and not done and sock.tells_sigpipe():
        t.send_sigpipe()
    return done or error


def do_send(t, sock, message, then=None, done=0):
    error, done = send_now(t, sock, message, done)
    if error != -EAGAIN or sock.flags & O_NONBLOCK or message.flags & MSG_DONTWAIT:
        message.drop()
        return end_send(t, sock, message, error, done)
    if t.work and then is not None:
        message.drop()
        return done or -ERESTARTSYS
    deadline = sock.io_deadline(True)
    wait = SendWait(sock, deadline is not None)
    wait.message, wait.done, wait.then = message, done, then
    entry = WaitEntry(t, WRITE_EVENTS)
    sock.queue.add(entry)
    return t.block(wait, entry, deadline=deadline)


def go_on(t, sock, iov, flags, done):
    """A fast handler has sent `done` bytes of the vector and there is no more room."""
    return do_send(t, sock, Outgoing(iov, None, flags), None, done)


@syscall("sendto", 44, (Fd, InBuf(2), Size, Flags, Ptr, Int), blocks=True)
def sys_sendto(t, fd, buf, count, flags, addr, length):
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    name = None
    if addr:
        name = read_address(t, addr, length)
        if isinstance(name, int):
            return name
    return do_send(t, sock, Outgoing(iov, name, flags))


def read_outgoing(t, addr, flags) -> "Outgoing | int":
    header = read_header(t, addr)
    if isinstance(header, int):
        return header
    name = None
    if header.name and header.name_length:
        name = read_address(t, header.name, min(header.name_length, 128))
    control = read_control(t, header.control, header.control_length)
    if isinstance(control, int):
        return control
    return Outgoing(header.iov, name, flags, *control)


@syscall("sendmsg", 46, (Fd, InMsg, Flags), blocks=True)
def sys_sendmsg(t, fd, addr, flags):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    message = read_outgoing(t, addr, flags)
    return message if isinstance(message, int) else do_send(t, sock, message)


def put_count(t, many, count: int) -> bool:
    """msg_len of the message that a sendmmsg or recvmmsg has just finished."""
    try:
        t.write(many.addr + many.index * MMSGHDR_SIZE + 56, INT.pack(count))
    except MemFault:
        return False
    return True


class SendMany:
    """sendmmsg(2) in progress: continues with the next message when one has gone."""

    __slots__ = ("fd", "addr", "count", "flags", "index")

    def __call__(self, t, result):
        while True:
            if result < 0 or not put_count(t, self, result):
                return self.index or (result if result < 0 else -EFAULT)
            self.index += 1
            if self.index >= self.count:
                return self.index
            try:
                result = self.step(t)
            except MemFault:
                return self.index
            if result == BLOCKED:
                return BLOCKED

    def step(self, t):
        sock = get_socket(t, self.fd)
        if isinstance(sock, int):
            return sock
        message = read_outgoing(t, self.addr + self.index * MMSGHDR_SIZE, self.flags)
        return message if isinstance(message, int) else do_send(t, sock, message, self)


@syscall("sendmmsg", 307, (Fd, Ptr, U32, Flags), blocks=True)
def sys_sendmmsg(t, fd, addr, count, flags):
    many = SendMany()
    many.fd, many.addr, many.count, many.flags, many.index = fd, addr, min(count, 1024), flags, 0
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    if not count:
        return 0
    result = many.step(t)
    return result if result == BLOCKED else many(t, result)


# -- receiving
class Incoming:
    """Where a receive puts things. `header`: of recvmsg, or None; `addr`, `length_addr`: of recvfrom."""

    __slots__ = ("iov", "count", "flags", "header", "addr", "length_addr")

    def __init__(self, iov, flags, header=None, addr=0, length_addr=0):
        self.iov = iov
        self.count = total_of(iov) if iov else 0
        self.flags = flags
        self.header = header
        self.addr = addr
        self.length_addr = length_addr


def receive_now(t, sock, into, done):
    """Take what is there: (result or -EAGAIN, bytes done before it); the call ends unless it is -EAGAIN."""
    while True:
        want = into.count - done
        if sock.type == SOCK_STREAM:
            want = min(want, CHUNK)
            if not into.count and sock.family != AF_UNIX:
                return (finish_receive(t, sock, into, socket.Received(b""), 0)), done
        got = sock.receive(t, want, into.flags)
        if isinstance(got, int):
            return (done or got) if got != -EAGAIN else got, done
        data = got.data
        copied = scatter(t, into.iov, done, data) if data else 0
        if copied < len(data):
            socket.drop(got.rights)
            if not into.flags & MSG_PEEK:
                sock.unread(data)  # a stream's
            return done or -EFAULT, done
        done += len(data)
        if sock.type == SOCK_STREAM and into.flags & MSG_WAITALL and not into.flags & MSG_PEEK:
            if data and done < into.count and got.rights is None:
                continue
        return finish_receive(t, sock, into, got, done), done


def finish_receive(t, sock, into, got, done):
    if into.header is not None:
        error = write_header(t, into.header, got, sock, into.flags)
        if error:
            return error
    else:
        socket.drop(got.rights)
        if into.addr and into.length_addr:
            error = write_address(t, into.addr, into.length_addr, got.addr)
            if error:
                return error
    if into.flags & MSG_TRUNC and (sock.type != SOCK_STREAM or not done):
        return got.length
    return done


class ReceiveWait(SocketWait):
    __slots__ = ("into", "done", "then")

    def poll(self, t):
        result, self.done = receive_now(t, self.sock, self.into, self.done)
        if result == -EAGAIN:
            return BLOCKED
        return self.finish(t, result)

    def finish(self, t, result):
        return result if self.then is None else self.then(t, result)

    def timeout(self, t):
        return self.finish(t, end_receive(t, self.sock, self.into, self.done, -EAGAIN))

    def interrupted(self, t):
        return self.finish(t, end_receive(t, self.sock, self.into, self.done, self.restart))


def end_receive(t, sock, into, done, error):
    """The result of a receive that got `done` bytes (MSG_WAITALL) and then `error`."""
    return finish_receive(t, sock, into, socket.Received(b""), done) if done else error


def do_receive(t, sock, into, then=None):
    result, done = receive_now(t, sock, into, 0)
    if result != -EAGAIN or sock.flags & O_NONBLOCK or into.flags & MSG_DONTWAIT:
        return end_receive(t, sock, into, done, result) if result == -EAGAIN else result
    if t.work and then is not None:
        return done or -ERESTARTSYS
    deadline = sock.io_deadline(False)
    wait = ReceiveWait(sock, deadline is not None)
    wait.into, wait.done, wait.then = into, done, then
    entry = WaitEntry(t, READ_EVENTS)
    sock.queue.add(entry)
    return t.block(wait, entry, deadline=deadline)


@syscall("recvfrom", 45, (Fd, OutBuf(2), Size, Flags, Ptr, InOutStruct(4)), blocks=True)
def sys_recvfrom(t, fd, buf, count, flags, addr, length_addr):
    iov = buffer(buf, count)
    if type(iov) is int:
        return iov
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    return do_receive(t, sock, Incoming(iov, flags, None, addr, length_addr))


@syscall("recvmsg", 47, (Fd, OutMsg, Flags), blocks=True)
def sys_recvmsg(t, fd, addr, flags):
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    header = read_header(t, addr)
    if isinstance(header, int):
        return header
    return do_receive(t, sock, Incoming(header.iov, flags, header))


class ReceiveMany:
    """recvmmsg(2) in progress. `end`: deadline (checked after each message, as on Linux), or None."""

    __slots__ = ("fd", "addr", "count", "flags", "index", "end")

    def __call__(self, t, result):
        while True:
            if result < 0 or not put_count(t, self, result):
                return self.index or (result if result < 0 else -EFAULT)
            self.index += 1
            if self.flags & MSG_WAITFORONE:
                self.flags |= MSG_DONTWAIT
            if self.index >= self.count or (self.end is not None and monotonic_ns() >= self.end):
                return self.index
            try:
                result = self.step(t)
            except MemFault:
                return self.index
            if result == BLOCKED:
                return BLOCKED

    def step(self, t):
        sock = get_socket(t, self.fd)
        if isinstance(sock, int):
            return sock
        header = read_header(t, self.addr + self.index * MMSGHDR_SIZE)
        if isinstance(header, int):
            return header
        return do_receive(t, sock, Incoming(header.iov, self.flags & ~MSG_WAITFORONE, header), self)


@syscall("recvmmsg", 299, (Fd, Ptr, U32, Flags, InOutStruct(16)), blocks=True)
def sys_recvmmsg(t, fd, addr, count, flags, timeout_addr):
    many = ReceiveMany()
    many.end = None
    if timeout_addr:
        timeout = get_timespec(t, timeout_addr)
        if timeout < 0:
            return timeout
        many.end = min(monotonic_ns() + timeout, FOREVER)
    many.fd, many.addr, many.count, many.flags, many.index = fd, addr, min(count, 1024), flags, 0
    sock = get_socket(t, fd)
    if isinstance(sock, int):
        return sock
    if not count:
        return 0
    result = many.step(t)
    return result if result == BLOCKED else many(t, result)
