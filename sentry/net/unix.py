"""Unix domain sockets (unix(7), net/unix/af_unix.c): stream, datagram and sequenced packets.

A sender puts messages straight into its peer's queue and is charged for them until they are read. Files in flight
(SCM_RIGHTS) are held by their message; sockets sent through themselves in a cycle are freed only with the sandbox.
"""

from _collections import deque

from sentry.abi.errno import (
    EADDRINUSE,
    EAGAIN,
    ECONNREFUSED,
    ECONNRESET,
    EEXIST,
    EINVAL,
    EISCONN,
    EMSGSIZE,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPIPE,
    EPROTONOSUPPORT,
    EPROTOTYPE,
    ESOCKTNOSUPPORT,
)
from sentry.abi.fs import MAY_WRITE, S_IFMT, S_IFSOCK
from sentry.net.socket import (
    AF_UNIX,
    AF_UNSPEC,
    FAMILIES,
    INT,
    MSG_EOR,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SO_PASSCRED,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    UCRED,
    Received,
    Socket,
    drop,
)
from sentry.vfs import ops, walk
from sentry.vfs.file import POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLRDHUP
from sentry.vfs.perm import inode_permission

AT_FDCWD = -100
PATH_MAX = 108
OVERHEAD = 768  # what Linux charges for a small buffer beside its data
PIECE = 32768  # a stream's data travels in pieces of this size
DGRAM_QUEUE = 10  # net.unix.max_dgram_qlen
BACKLOG_MAX = 4096  # net.core.somaxconn
BOTH = SHUT_RD | SHUT_WR

# Bound sockets: by id of the inode (the socket holds its path, so the id stays its own); by abstract name in their namespace.
BY_INODE: "dict[int, UnixSocket]" = {}


class Message:
    __slots__ = ("data", "offset", "rights", "creds", "addr", "sender", "charge", "eor")

    def __init__(self, data, rights, creds, sender):
        self.data = data
        self.offset = 0
        self.rights = rights
        self.creds = creds  # (pid, uid, gid)
        self.addr = sender.address
        self.sender = sender
        self.charge = len(data) + OVERHEAD
        self.eor = False
        sender.charged += self.charge


def parse_address(addr: bytes) -> "bytes | int":
    """The name in a sockaddr_un: a path, b"\\0" + abstract name, or b"" for none."""
    if len(addr) < 2 or len(addr) > 2 + PATH_MAX or int.from_bytes(addr[:2], "little") != AF_UNIX:
        return -EINVAL
    name = addr[2:]
    if not name or name[0] == 0:
        return name
    return name.split(b"\0", 1)[0]


def make_address(name: bytes) -> bytes:
    """sockaddr_un of a bound name, with the length that Linux gives it."""
    tail = b"" if not name or name[0] == 0 else b"\0"
    return b"\1\0" + name + tail


class UnixSocket(Socket):
    __slots__ = (
        "address", "bound_path", "bound_name", "peer", "messages", "charged", "shut", "backlog", "pending", "connected",
        "peer_creds", "peer_groups", "listener", "blocked",
    )  # fmt: skip

    def __init__(self, t, type_, flags):
        Socket.__init__(self, t, AF_UNIX, type_, 0, flags)
        self.address = b""  # sockaddr_un once bound
        self.bound_path = None
        self.bound_name = None
        self.peer = None  # no reference is held: `release` takes it away
        self.messages = deque()
        self.charged = 0  # bytes sent and not read yet
        self.shut = 0
        self.backlog = None  # its length while listening
        self.pending = deque()  # connections not accepted yet
        self.connected = False  # stream, seqpacket: has had a peer
        self.peer_creds = None
        self.peer_groups = ()
        self.listener = None  # while not accepted yet
        self.blocked = None  # senders that found this queue full

    # -- end
    def release(self):
        if self.bound_path is not None:
            BY_INODE.pop(id(self.bound_path.inode), None)
            self.bound_path.decref()
        elif self.bound_name is not None:
            self.net.abstract.pop(self.bound_name, None)
        peer, self.peer = self.peer, None
        if peer is not None and self.type != SOCK_DGRAM:
            peer.shut = BOTH
            if self.messages or self.listener is not None:
                peer.error = ECONNRESET
            peer.peer = None
            peer.queue.wake()
        elif peer is not None and peer.peer is self:
            peer.peer = None
            peer.error = ECONNRESET
            peer.queue.wake()
        for message in self.messages:
            self.uncharge(message)
            drop(message.rights)
        self.messages.clear()
        self.wake_blocked()
        for embryo in self.pending:
            embryo.decref()
        self.pending.clear()
        self.shut = BOTH

    def uncharge(self, message) -> None:
        sender = message.sender
        before = sender.charged
        sender.charged = before - message.charge
        if before * 4 > sender.sndbuf >= sender.charged * 4 and sender.queue.entries:
            sender.queue.wake(POLL_WRITABLE)

    def wake_blocked(self) -> None:
        if self.blocked:
            blocked, self.blocked = self.blocked, None
            for sender in blocked:
                sender.queue.wake(POLL_WRITABLE)

    # -- names
    def name(self):
        return self.address or b"\1\0"

    def peer_name(self):
        if self.peer is None:
            return -ENOTCONN
        return self.peer.address or b"\1\0"

    def bind(self, t, addr):
        name = parse_address(addr)
        if isinstance(name, int):
            return name
        if not name:
            return self.autobind()
        if self.address:
            return -EINVAL
        if name[0] == 0:
            if name in self.net.abstract:
                return -EADDRINUSE
            self.net.abstract[name] = self
            self.bound_name = name
        else:
            error = ops.mknod(t, AT_FDCWD, name, S_IFSOCK | self.inode.mode & 0o777, 0)
            if error:
                return -EADDRINUSE if error == -EEXIST else error
            path = walk.resolve(t, AT_FDCWD, name)
            if isinstance(path, int):
                return path
            self.bound_path = path.incref()
            BY_INODE[id(path.inode)] = self
        self.address = make_address(name)
        return 0

    def autobind(self) -> int:
        """An abstract name of five hexadecimal digits (unix(7), "Autobind feature")."""
        if self.address:
            return 0
        for number in range(1 << 20):
            name = b"\0%05x" % number
            if name not in self.net.abstract:
                self.net.abstract[name] = self
                self.bound_name = name
                self.address = make_address(name)
                return 0
        return -EADDRINUSE

    # -- connections
    def listen(self, t, backlog):
        if self.type == SOCK_DGRAM:
            return -EOPNOTSUPP
        if not self.address or self.connected:
            return -EINVAL
        self.backlog = min(backlog if backlog >= 0 else BACKLOG_MAX, BACKLOG_MAX)
        self.peer_creds = creds_of(t)
        self.peer_groups = t.creds.groups
        self.queue.wake(POLL_WRITABLE)
        return 0

    def listening(self):
        return self.backlog is not None

    def find(self, t, addr) -> "UnixSocket | int":
        name = parse_address(addr)
        if isinstance(name, int):
            return name
        if not name:
            return -ECONNREFUSED
        if name[0] == 0:
            return self.net.abstract.get(name, -ECONNREFUSED)
        path = walk.resolve(t, AT_FDCWD, name)
        if isinstance(path, int):
            return path
        inode = path.inode
        error = inode_permission(t.creds, inode, MAY_WRITE)
        if error:
            return error
        if inode.mode & S_IFMT != S_IFSOCK:
            return -ECONNREFUSED
        return BY_INODE.get(id(inode), -ECONNREFUSED)

    def connect(self, t, addr):
        if self.type == SOCK_DGRAM:
            return self.connect_dgram(t, addr)
        target = self.find(t, addr)
        if isinstance(target, int):
            return target
        if target.type != self.type:
            return -EPROTOTYPE
        if target.backlog is None or target.shut & SHUT_RD:
            return -ECONNREFUSED
        if self.connected:
            return -EISCONN
        if self.backlog is not None:
            return -EINVAL
        if len(target.pending) > target.backlog:
            self.listener = target
            return -EAGAIN
        self.listener = None
        embryo = UnixSocket(t, self.type, 0)
        embryo.address = target.address
        embryo.options = dict(target.options)
        embryo.listener = target
        join(self, embryo)
        embryo.peer_creds = creds_of(t)
        embryo.peer_groups = t.creds.groups
        self.peer_creds = target.peer_creds
        self.peer_groups = target.peer_groups
        target.pending.append(embryo)
        target.queue.wake(POLL_READABLE)
        return 0

    def connect_queue(self):
        return self.listener.queue

    def connect_dgram(self, t, addr):
        old = self.peer
        if len(addr) >= 2 and int.from_bytes(addr[:2], "little") == AF_UNSPEC:
            self.peer = None
            return 0
        target = self.find(t, addr)
        if isinstance(target, int):
            return target
        if target.type != self.type:
            return -EPROTOTYPE
        if target.peer is not None and target.peer is not self:
            return -EPERM
        self.peer = target
        self.peer_creds = creds_of(t)
        if old is not None and old is not target:
            for message in [m for m in self.messages if m.sender is old]:
                self.messages.remove(message)
                self.uncharge(message)
                drop(message.rights)
        return 0

    def accept(self, t, flags):
        if self.type == SOCK_DGRAM:
            return -EOPNOTSUPP
        if self.backlog is None:
            return -EINVAL
        if not self.pending:
            return -EINVAL if self.shut & SHUT_RD else -EAGAIN
        new = self.pending.popleft()
        new.flags |= flags
        new.listener = None
        new.inode.uid, new.inode.gid = t.creds.fsuid, t.creds.fsgid
        self.queue.wake(POLL_WRITABLE)  # connects that found the backlog full
        return new

    def shutdown(self, t, how):
        if self.type != SOCK_DGRAM and not self.connected and self.backlog is None:
            return -ENOTCONN
        self.shut |= how
        peer = self.peer
        if peer is not None and self.type != SOCK_DGRAM:
            peer.shut |= (SHUT_WR if how & SHUT_RD else 0) | (SHUT_RD if how & SHUT_WR else 0)
            peer.queue.wake()
        self.queue.wake()
        return 0

    # -- data
    def send(self, t, data, addr, flags, rights, creds):
        if flags & MSG_OOB:
            return -EOPNOTSUPP
        if creds is None:
            creds = creds_of(t)
        if self.type == SOCK_DGRAM:
            return self.send_dgram(t, data, addr, rights, creds)
        if addr is not None and self.type == SOCK_STREAM:
            return -EISCONN if self.connected else -EOPNOTSUPP
        if not self.connected:
            return -ENOTCONN
        if self.shut & SHUT_WR or self.peer is None:
            return -EPIPE
        peer = self.peer
        if self.type == SOCK_SEQPACKET:
            if self.error:
                return self.take_error()
            if len(data) > self.sndbuf - 32:
                return -EMSGSIZE
            if self.charged >= self.sndbuf:
                return -EAGAIN
            message = Message(data, rights, creds, self)
            message.eor = bool(flags & MSG_EOR)
            peer.messages.append(message)
            peer.queue.wake(POLL_READABLE)
            return len(data)
        if not data:
            return 0
        sent = 0
        total = len(data)
        while sent < total and self.charged < self.sndbuf:
            piece = data if total <= PIECE else data[sent : sent + PIECE]
            last = peer.messages[-1] if peer.messages else None
            if (
                last is not None and rights is None and last.rights is None and last.sender is self
                and last.creds == creds and len(last.data) + len(piece) <= 4096
            ):  # fmt: skip
                # Small writes share a buffer, but are charged as on Linux.
                if type(last.data) is not bytearray:
                    last.data = bytearray(last.data)
                last.data += piece
                last.charge += len(piece) + OVERHEAD
                self.charged += len(piece) + OVERHEAD
            else:
                peer.messages.append(Message(piece, rights, creds, self))
            rights = None
            sent += len(piece)
        if not sent:
            return -EAGAIN
        if peer.queue.entries:
            peer.queue.wake(POLL_READABLE)
        return sent

    def send_dgram(self, t, data, addr, rights, creds):
        if self.shut & SHUT_WR:
            return -EPIPE
        if len(data) > self.sndbuf - 32:
            return -EMSGSIZE
        if addr is not None:
            target = self.find(t, addr)
            if isinstance(target, int):
                return target
            if target.type != self.type:
                return -EPROTOTYPE
        else:
            target = self.peer
            if target is None:
                return self.take_error() and -ECONNREFUSED if self.error else -ENOTCONN
        if target.peer is not None and target.peer is not self:
            return -EPERM
        if target.shut & SHUT_RD:
            return -EPIPE
        if self.charged >= self.sndbuf:
            return -EAGAIN
        if target.peer is not self and len(target.messages) > DGRAM_QUEUE:
            if target.blocked is None:
                target.blocked = []
            target.blocked.append(self)
            return -EAGAIN
        target.messages.append(Message(data, rights, creds, self))
        target.queue.wake(POLL_READABLE)
        return len(data)

    def receive(self, t, count, flags):
        if flags & MSG_OOB:
            return -EINVAL if self.type == SOCK_STREAM else -EOPNOTSUPP
        if self.type == SOCK_STREAM:
            return self.receive_stream(count, flags)
        if self.type == SOCK_SEQPACKET and not self.connected:
            return -ENOTCONN
        if not self.messages:
            if self.error:
                return self.take_error()
            return Received(b"") if self.shut & SHUT_RD else -EAGAIN
        message = self.messages[0]
        data = message.data
        got = Received(data[:count], message.addr, None, message.creds, 0, len(data))
        if len(data) > count:
            got.flags |= MSG_TRUNC
        if message.eor:
            got.flags |= MSG_EOR
        if flags & MSG_PEEK:
            got.rights = [file.incref() for file in message.rights] if message.rights else None
        else:
            self.messages.popleft()
            got.rights = message.rights
            self.uncharge(message)
            self.wake_blocked()
        return got

    def receive_stream(self, count, flags):
        if not self.connected:
            return -EINVAL
        messages = self.messages
        if not messages:
            if self.error:
                return self.take_error()
            return Received(b"") if self.shut & SHUT_RD else -EAGAIN
        peek = flags & MSG_PEEK
        with_creds = bool(self.options.get(SO_PASSCRED))
        first = messages[0]
        if first.offset == 0 and len(first.data) == count and not peek and first.rights is None:
            messages.popleft()
            self.uncharge(first)
            return Received(bytes(first.data), b"", None, first.creds)
        parts = []
        rights = None
        index = 0
        while count and index < len(messages):
            message = messages[index]
            if with_creds and message.creds != first.creds:
                break
            part = message.data[message.offset : message.offset + count]
            parts.append(part)
            count -= len(part)
            if message.rights is not None:
                rights = [file.incref() for file in message.rights] if peek else message.rights
            whole = message.offset + len(part) == len(message.data)
            if peek:
                index += 1
            else:
                message.rights = None
                message.offset += len(part)
                if not whole:
                    break
                messages.popleft()
                self.uncharge(message)
            if rights is not None:
                break
        return Received(b"".join(parts), b"", rights, first.creds)

    def unread(self, data):
        """To the front of a stream; datagrams are lost, as on Linux."""
        if self.type == SOCK_STREAM:
            message = Message(data, None, creds_unknown(self), self)
            self.messages.appendleft(message)

    # -- state
    def poll(self):
        bits = POLLERR if self.error else 0
        if self.type != SOCK_DGRAM:
            if self.backlog is not None:
                return bits | (POLL_READABLE if self.pending else 0)
            if self.shut == BOTH or not self.connected:
                bits |= POLLHUP
        elif self.shut == BOTH:
            bits |= POLLHUP
        if self.shut & SHUT_RD:
            bits |= POLLRDHUP | POLL_READABLE
        if self.messages:
            bits |= POLL_READABLE
        if self.charged * 4 <= self.sndbuf:
            peer = self.peer
            full = self.type == SOCK_DGRAM and peer is not None and peer.peer is not self and len(peer.messages) > DGRAM_QUEUE
            if full:
                if peer.blocked is None:
                    peer.blocked = []
                if self not in peer.blocked:
                    peer.blocked.append(self)
            else:
                bits |= POLL_WRITABLE
        return bits

    def readable_bytes(self):
        if self.backlog is not None:
            return -EINVAL
        if self.type == SOCK_DGRAM:
            return len(self.messages[0].data) if self.messages else 0
        return sum(len(message.data) - message.offset for message in self.messages)

    def unsent_bytes(self):
        return self.charged

    def getsockopt(self, t, level, option):
        if level == SOL_SOCKET and option == SO_PEERCRED:
            return UCRED.pack(*self.peer_creds) if self.peer_creds is not None else UCRED.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
        if level == SOL_SOCKET and option == SO_PEERGROUPS:
            return b"".join(INT.pack(gid) for gid in self.peer_groups)
        return Socket.getsockopt(self, t, level, option)


def creds_of(t) -> "tuple[int, int, int]":
    return t.tg.pid, t.creds.euid, t.creds.egid


def creds_unknown(sock) -> "tuple[int, int, int]":
    return sock.peer_creds or (0, 0xFFFFFFFF, 0xFFFFFFFF)


def join(a: UnixSocket, b: UnixSocket) -> None:
    a.peer, b.peer = b, a
    a.connected = b.connected = True


def real_type(type_: int, protocol: int) -> int:
    if protocol not in (0, AF_UNIX):
        return -EPROTONOSUPPORT
    if type_ == SOCK_RAW:
        return SOCK_DGRAM  # historical (net/unix/af_unix.c:unix_create)
    return type_ if type_ in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET) else -ESOCKTNOSUPPORT


def create(t, type_, protocol, flags):
    type_ = real_type(type_, protocol)
    return type_ if type_ < 0 else UnixSocket(t, type_, flags)


def create_pair(t, type_, protocol, flags):
    type_ = real_type(type_, protocol)
    if type_ < 0:
        return type_
    a, b = UnixSocket(t, type_, flags), UnixSocket(t, type_, flags)
    join(a, b)
    a.peer_creds = b.peer_creds = creds_of(t)
    a.peer_groups = b.peer_groups = t.creds.groups
    return a, b


FAMILIES[AF_UNIX] = (create, create_pair)
