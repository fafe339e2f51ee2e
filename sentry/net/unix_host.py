"""Unix sockets of the host in volumes (--host-uds): the gofer connects or binds, and donates the descriptor.

A guest's socket stays what it is. Its peer is an end of ours, and a joint carries messages from that one's queue to the host's
descriptor, and back: buffers, readiness and errors are those of unix.py, and nothing waits for the host. Files cannot go along
(EINVAL), those that the host sends are dropped, and datagrams have no sender's address.
"""

import os
from time import monotonic_ns

from sentry.abi.errno import EAGAIN, ECONNREFUSED, EINVAL, EISCONN, EPIPE
from sentry.core import log
from sentry.core.waitq import WaitEntry, Waiter
from sentry.fs.gofer import BINDING, GoferInode
from sentry.net import hostcalls, unix_names
from sentry.net.socket import SHUT_RD, SHUT_WR, SOCK_DGRAM, SOCK_STREAM, drop
from sentry.net.unix import DGRAM_QUEUE, NOBODY, PIECE, UnixSocket, join
from sentry.vfs import ops
from sentry.vfs.file import POLL_READABLE, POLL_WRITABLE, POLLHUP, POLLIN

AT_FDCWD = -100
WATCHED = 0x80002005  # EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET
RETRY = 10000000  # ns until a full backlog of the host is tried again
TURN = 64  # messages that a joint carries before others have theirs
FIONREAD = 0x541B
MESSAGE_MOST = 1 << 22


class Joint(Waiter):
    """A host descriptor `fd`, which is ours and never blocks, and `end`, an unnamed socket of ours that stands for who is
    behind it. `who`: a task, or what has its `kernel`, `creds` and `net`."""

    def __init__(self, who, type_, fd):
        self.platform = who.kernel.platform
        self.timers = who.kernel.timers
        self.fd = fd
        self.end = UnixSocket(who, type_, 0)
        self.end.attached = [self]
        self.end.peer_creds = NOBODY
        self.entry = WaitEntry(self)
        self.end.queue.add(self.entry)
        self.moving = False
        self.platform.watch(fd, WATCHED, self.ready)

    def woken(self, entry, mask):
        self.move()

    def ready(self, _fd, events):
        self.move()

    def move(self) -> None:
        """Carry what can be carried now."""
        if self.moving or self.fd < 0:
            return
        self.moving = True
        more = self.carry()
        self.moving = False
        if more and self.fd >= 0:
            self.timers.add(monotonic_ns(), self.move)

    def carry(self) -> bool:
        """Is there more?"""
        raise NotImplementedError

    def carried(self) -> None:
        """The first message of the guest is the host's."""
        end = self.end
        end.uncharge(end.messages.popleft())
        end.wake_blocked()

    def listen(self, backlog) -> int:
        return 0

    def close(self) -> None:
        if self.fd < 0:
            return
        self.platform.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1
        self.entry.remove()
        self.end.attached = None
        self.end.decref()  # which tells its peer


class Connection(Joint):
    """Of a stream or of sequenced packets: the peer of `end` is the guest's socket."""

    def __init__(self, who, type_, fd):
        Joint.__init__(self, who, type_, fd)
        self.told = False  # the host knows that the guest sends no more
        self.broken = False  # the host receives no more

    def meet(self, sock, address: bytes) -> int:
        """connect(2) of `sock` has led here; `address`: the sockaddr_un by which it did."""
        self.end.address = address
        join(sock, self.end)
        sock.peer_creds = NOBODY
        self.move()
        return 0

    def carry(self):
        more = self.out()
        more = self.back() or more
        if self.end.peer is None and not self.end.messages:
            self.close()
        return more

    def out(self) -> bool:
        """From the guest to the host."""
        end = self.end
        for _ in range(TURN):
            if not end.messages:
                break
            if self.broken:
                drop(end.empty())
                break
            message = end.messages[0]
            n = hostcalls.send(self.fd, message.data[message.offset :], None, None, 0)
            if n == -EAGAIN:
                return False  # the host tells when there is room
            if n < 0:
                self.broken = True
                if end.peer is not None:
                    end.peer.shut |= SHUT_WR
                    if n != -EPIPE:
                        end.peer.error = -n
                continue
            message.offset += n
            if end.type != SOCK_STREAM or message.offset >= len(message.data):
                self.carried()
        if end.shut & SHUT_RD and not end.messages and not self.told:
            self.told = True
            hostcalls.shutdown(self.fd, SHUT_WR - 1)
        return bool(end.messages)

    def back(self) -> bool:
        """From the host to the guest."""
        end = self.end
        for _ in range(TURN):
            sock = end.peer
            if sock is None or end.shut & SHUT_WR or end.charged >= end.sndbuf:
                return False  # the guest's reading wakes us
            data = receive(self.fd, end.type)
            if data == -EAGAIN:
                return False
            if data == b"" and not hostcalls.ready(self.fd) & POLLHUP:
                end.shutdown(None, SHUT_WR)
                return False
            if not data or type(data) is int:
                if data:
                    sock.error = -data
                self.close()
                return False
            end.put(None, sock, data, None, NOBODY)
        return True


class Datagrams(Joint):
    """From the guest's socket `sock` to the host's datagram socket at `inode`; none come back."""

    def __init__(self, who, sock, fd, inode):
        Joint.__init__(self, who, SOCK_DGRAM, fd)
        self.sock = sock
        self.inode = inode
        attach(sock, self)

    def meet(self, sock, address) -> int:
        return -EINVAL  # not for streams

    def carry(self):
        end = self.end
        for _ in range(TURN):
            if not end.messages:
                return False
            n = hostcalls.send(self.fd, end.messages[0].data, None, None, 0)
            if n == -EAGAIN:
                return False
            if n < 0:  # nobody is there any more: the next connect(2) or sendto(2) looks again
                self.sock.error = -n
                drop(end.empty())
                end.wake_blocked()
                self.close()
                return False
            self.carried()
        return True

    def close(self):
        Joint.close(self)
        if self.sock.attached and self in self.sock.attached:
            self.sock.attached.remove(self)


class Bound(Joint):
    """The guest's socket `sock` is bound to a host name; `inode` is that of the name. Its own descriptor is watched for
    connections, or for datagrams, which `end` seems to send."""

    def __init__(self, t, sock, fd):
        self.kernel, self.creds, self.net = t.kernel, t.creds, t.net
        Joint.__init__(self, self, sock.type, fd)
        self.end.attached = None
        self.sock = sock
        self.inode = None
        self.accepted = WaitEntry(self, POLL_WRITABLE)
        attach(sock, self)
        if sock.type != SOCK_DGRAM:
            sock.queue.add(self.accepted)

    def listen(self, backlog):
        return self.inode.listen(backlog)

    def carry(self):
        sock = self.sock
        if sock.dead:
            return False
        if sock.type == SOCK_DGRAM:
            return self.collect(sock)
        while sock.backlog is not None and len(sock.pending) <= sock.backlog:
            fd = hostcalls.accept(self.fd)
            if fd < 0:
                break
            joint = Connection(self, sock.type, fd)
            embryo = UnixSocket(self, sock.type, 0)
            embryo.address = sock.address
            embryo.options = dict(sock.options)
            embryo.passcred = sock.passcred
            embryo.listener = sock
            embryo.peer_creds = NOBODY
            join(joint.end, embryo)
            sock.pending.append(embryo)
            sock.queue.wake(POLL_READABLE)
            joint.move()
        return False

    def collect(self, sock) -> bool:
        """Datagrams for the guest."""
        end = self.end
        for _ in range(TURN):
            if len(sock.messages) > DGRAM_QUEUE:
                if sock.blocked is None:
                    sock.blocked = []
                if end not in sock.blocked:
                    sock.blocked.append(end)
                return False
            data = receive(self.fd, SOCK_DGRAM)
            if type(data) is int:
                return False
            end.put(None, sock, data, None, NOBODY)
        return True

    def close(self):
        self.accepted.remove()
        Joint.close(self)


def attach(sock, joint) -> None:
    if sock.attached is None:
        sock.attached = []
    sock.attached.append(joint)


def receive(fd: int, type_: int) -> "bytes | int":
    """What waits in a host socket, whole; b"" at the end of a connection; -errno."""
    count = PIECE
    if type_ != SOCK_STREAM:
        if not hostcalls.ready(fd) & (POLLIN | POLLHUP):
            return -EAGAIN  # asked first: what comes between the two next calls would be cut off
        count = min(max(hostcalls.number(fd, FIONREAD), 0) + 1, MESSAGE_MOST)
    try:
        return os.read(fd, count)  # without room for files: the host keeps them from us
    except OSError as e:
        return -e.errno


def find(t, sock, inode) -> "UnixSocket | int":
    """What stands for the host's socket `inode` and can be connected or sent to by `sock`; -errno. Nobody of the sandbox is
    bound to it."""
    if not isinstance(inode, GoferInode):
        return -ECONNREFUSED
    if not inode.fs.sockets:
        log.once("host socket", log.WARNING, "a connection to a socket of the host was refused: --host-uds=open would allow it")
        return -ECONNREFUSED
    if sock.type == SOCK_DGRAM:
        for joint in sock.attached or ():
            if type(joint) is Datagrams and joint.inode is inode:
                return joint.end
    elif sock.connected:
        return -EISCONN
    elif sock.backlog is not None:
        return -EINVAL
    fd = inode.connect(sock.type)
    if fd == -EAGAIN:
        sock.listener = None
        t.kernel.timers.add(monotonic_ns() + RETRY, sock.queue.wake)
    if fd < 0:
        return fd
    return Datagrams(t, sock, fd, inode).end if sock.type == SOCK_DGRAM else Connection(t, sock.type, fd).end


def mknod(t, sock, name: bytes, mode: int) -> int:
    """Make the file that `sock` is bound to: ops.mknod, by the host where it may be there. 0 or -errno."""
    BINDING.kind = 0 if sock.address else sock.type
    try:
        error = ops.mknod(t, AT_FDCWD, name, mode, 0)
        fd = BINDING.fd
    finally:
        BINDING.kind, BINDING.fd = 0, -1
    if fd >= 0:
        if error:
            os.close(fd)
        else:
            Bound(t, sock, fd)
    return error


def bound(sock, inode) -> None:
    """`sock` has its name now."""
    for joint in sock.attached or ():
        if type(joint) is Bound:
            joint.inode = inode
            if sock.type == SOCK_DGRAM:
                joint.move()


def register() -> None:
    """From now on names in volumes lead to the host's sockets, where the volume allows it."""
    unix_names.HOST.append((find, mknod, bound))
