"""Unix domain sockets (unix(7), net/unix/af_unix.c): stream, datagram and sequenced packets.

A sender puts messages straight into its peer's queue and is charged for them until they are read. Names are the business of
unix_names.py, files in messages (SCM_RIGHTS) that of unix_flight.py.
"""

from _collections import deque
from time import time_ns

from sentry.abi.errno import (
    EAGAIN,
    ECONNREFUSED,
    ECONNRESET,
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
    ETOOMANYREFS,
)
from sentry.abi.time import NSEC
from sentry.net import socket_filter, unix_flight, unix_names
from sentry.net.socket import (
    AF_UNIX,
    AF_UNSPEC,
    FAMILIES,
    INT,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SO_OOBINLINE,
    SO_PASSCRED,
    SO_PASSPIDFD,
    SO_PASSRIGHTS,
    SO_PEEK_OFF,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SO_REUSEPORT,
    SO_TIMESTAMPNS,
    SO_TIMESTAMPNS_NEW,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    STAMPS,
    TIMEVAL,
    UCRED,
    Received,
    Socket,
    drop,
    ucred,
)
from sentry.vfs.file import O_NONBLOCK, POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLPRI, POLLRDHUP

PIECE = 36544  # a stream's data travels in pieces of at most this size
DGRAM_QUEUE = 10  # net.unix.max_dgram_qlen
BACKLOG_MAX = 4096  # net.core.somaxconn
BOTH = SHUT_RD | SHUT_WR
NOBODY = (0, 65534, 65534)  # credentials that nobody recorded
SIOCATMARK = 0x8905


class Message:
    """`creds`: (pid, uid, gid), recorded where an end asks for them, else None; `rights`: Files or None."""

    __slots__ = ("data", "offset", "rights", "creds", "addr", "sender", "charge", "uid", "eor", "oob", "time")

    def __init__(self, data, creds, sender, charge):
        self.data = data
        self.offset = 0
        self.rights = None
        self.creds = creds
        self.addr = sender.address
        self.sender = sender
        self.charge = charge
        self.uid = 0  # who is charged for the rights
        self.eor = False
        self.time = 0  # CLOCK_REALTIME, ns, where the receiver wants to know
        self.oob = False  # the urgent byte of a stream, or what is left of it
        sender.charged += charge


def charge_of(type_: int, length: int) -> int:
    """What the buffer of a message counts against SO_SNDBUF: a head out of a slab, pages behind it, and its descriptor
    (net/core/skbuff.c, sock_alloc_send_pskb)."""
    pages = 0
    if type_ == SOCK_STREAM:
        if length > 3776:
            pages = min(length, (length - 3776 + 4095) & ~4095)
    elif length > 16064:
        pages = min(length, (length - 16064 + 4095) & ~4095)
    head = ((length - pages + 63) & ~63) + 320
    size = 512
    while size < head:
        size *= 2
    return size + 256 + ((pages + 4095) & ~4095)


class UnixSocket(Socket):
    __slots__ = (
        "address", "bound_path", "bound_name", "peer", "peer_address", "messages", "charged", "peek_offset", "shut", "backlog",
        "pending", "connected", "dead", "passcred", "stamps", "peer_creds", "peer_groups", "listener", "blocked", "urgent", "attached",
    )  # fmt: skip

    def __init__(self, t, type_, flags):
        Socket.__init__(self, t, AF_UNIX, type_, 0, flags)
        self.address = b""  # sockaddr_un once bound
        self.bound_path = None
        self.bound_name = None
        self.peer = None  # no reference is held; stream, seqpacket: None when it has ended
        self.peer_address = b""  # kept beyond its end
        self.messages = deque()
        self.charged = 0  # bytes sent and not read yet
        self.peek_offset = -1  # SO_PEEK_OFF
        self.shut = 0
        self.backlog = None  # its length while listening
        self.pending = deque()  # connections not accepted yet
        self.connected = False  # stream, seqpacket: has had a peer
        self.dead = False
        self.passcred = False  # SO_PASSCRED or SO_PASSPIDFD
        self.stamps = 0  # the one of STAMPS that is on
        self.peer_creds = None
        self.peer_groups = ()
        self.listener = None  # while not accepted yet, or while it waits in connect
        self.blocked = None  # senders that found this queue full
        self.urgent = None  # the message with the out-of-band byte
        self.attached = None  # what joins it with sockets of the host (unix_host.py)
        unix_names.ALL[self.inode.ino] = self

    # -- end
    def release(self):
        unix_names.ALL.pop(self.inode.ino, None)
        unix_names.unbind(self)
        self.dead = True
        for joint in self.attached or ():
            joint.close()
        peer = self.peer
        if peer is not None and self.type != SOCK_DGRAM:
            self.peer = None
            peer.shut = BOTH
            if self.messages or self.listener is not None:
                peer.error = ECONNRESET
            peer.peer = None
            peer.queue.wake()
        rights = self.empty()
        self.wake_blocked()
        self.shut = BOTH
        pending, self.pending = self.pending, deque()
        drop(rights)
        drop(list(pending))
        if unix_flight.SOCKETS:
            unix_flight.collect()

    def empty(self) -> list:
        """Forget all messages; the Files of their rights, with their references."""
        rights = []
        while self.messages:
            message = self.messages.popleft()
            self.uncharge(message)
            if message.rights is not None:
                rights.extend(unix_flight.arrive(message))
        self.urgent = None
        return rights

    def uncharge(self, message):
        sender = message.sender
        before = sender.charged
        sender.charged = before - message.charge
        if before * 4 > sender.sndbuf and sender.queue.entries and sender.charged * 4 <= sender.sndbuf:
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
        if self.connected:
            return self.peer_address or b"\1\0"
        if self.peer is None:
            return -ENOTCONN
        return self.peer.address or b"\1\0"

    def bind(self, t, addr):
        error = unix_names.bind(t, self, addr)
        if not error and self.peer is not None and self.connected:
            self.peer.peer_address = self.address
        return error

    # -- connections
    def listen(self, t, backlog):
        if self.type == SOCK_DGRAM:
            return -EOPNOTSUPP
        if not self.address or self.connected:
            return -EINVAL
        backlog = min(backlog if backlog >= 0 else BACKLOG_MAX, BACKLOG_MAX)
        for joint in self.attached or ():
            error = joint.listen(backlog)
            if error:
                return error
        self.backlog = backlog
        self.peer_creds = creds_of(t)
        self.peer_groups = t.creds.groups
        self.queue.wake(POLL_WRITABLE)
        return 0

    def listening(self):
        return self.backlog is not None

    def connect(self, t, addr):
        if self.type == SOCK_DGRAM:
            return self.connect_dgram(t, addr)
        if self.passcred:
            unix_names.autobind(self)
        target = unix_names.find(t, self, addr)
        if isinstance(target, int):
            return target
        if target.type != self.type:
            return -EPROTOTYPE
        if target.attached is not None and target.backlog is None:
            return target.attached[0].meet(self, unix_names.make(unix_names.parse(addr)))
        if target.backlog is None or target.shut & SHUT_RD:
            return -ECONNREFUSED
        if len(target.pending) > target.backlog:
            self.listener = target
            return -EAGAIN
        self.listener = None
        if self.connected:
            return -EISCONN
        if self.backlog is not None:
            return -EINVAL
        embryo = UnixSocket(t, self.type, 0)
        embryo.address = target.address
        embryo.options = dict(target.options)
        embryo.passcred = target.passcred
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
        return self.queue if self.listener is None else self.listener.queue

    def connect_dgram(self, t, addr):
        old = self.peer
        target = None
        if len(addr) < 2 or int.from_bytes(addr[:2], "little") != AF_UNSPEC:
            if self.passcred:
                unix_names.autobind(self)
            target = unix_names.find(t, self, addr)
            if isinstance(target, int):
                return target
            if target.type != self.type:
                return -EPROTOTYPE
            if target.peer is not None and target.peer is not self:
                return -EPERM
            self.peer_creds = creds_of(t)
        self.peer = target
        if old is not None and old is not target:
            self.left(old)
        return 0

    def left(self, old) -> None:
        """A datagram socket no longer belongs to `old`: what that sent is lost, and it hears of it."""
        if self.messages:
            drop(self.empty())
            self.wake_blocked()
            if not old.dead and old.peer is self:
                old.error = ECONNRESET
                old.queue.wake()

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
        if flags & MSG_OOB and self.type != SOCK_STREAM:
            return -EOPNOTSUPP
        if rights is not None and unix_flight.too_many(t):
            return -ETOOMANYREFS
        if rights is not None and addr is None and self.peer is not None and not self.peer.options.get(SO_PASSRIGHTS, 1):
            return -EPERM
        if rights is not None and self.peer is not None and self.peer.attached is not None:
            return -EINVAL  # the host gets no files of ours
        if self.type == SOCK_DGRAM:
            return self.send_dgram(t, data, addr, rights, creds)
        if self.type == SOCK_SEQPACKET:
            return self.send_packet(t, data, flags, rights, creds)
        if flags & MSG_OOB and not data:
            return -EOPNOTSUPP
        if addr is not None:
            return -EISCONN if self.connected else -EOPNOTSUPP
        if not self.connected:
            return -ENOTCONN
        if self.shut & SHUT_WR or self.peer is None:
            return -EPIPE
        if not data:
            return 0
        if flags & MSG_OOB:
            return self.send_urgent(t, data, rights, creds)
        peer = self.peer
        limit = min(PIECE, (self.sndbuf >> 1) - 64)
        sent = 0
        total = len(data)
        while sent < total:
            if self.error:
                return sent or self.take_error()
            if self.charged >= self.sndbuf:
                break
            piece = bytes(data[sent : sent + limit])
            self.put(t, peer, piece, rights, creds)
            rights = None
            sent += len(piece)
        return sent or -EAGAIN

    def takes(self, count):
        if self.type != SOCK_STREAM:
            return count
        room = self.sndbuf - self.charged
        return min(count, room + PIECE if room > 0 else 1)

    def send_urgent(self, t, data, rights, creds):
        """The last byte goes out of band; it counts only if all before it has gone."""
        peer = self.peer
        sent = 0
        if len(data) > 1:
            sent = self.send(t, data[:-1], None, 0, rights, creds)
            if sent < len(data) - 1:
                return sent
            rights = None
        if self.charged >= self.sndbuf:
            return sent or -EAGAIN
        peer.queue.wake(POLLPRI)
        message = self.put(t, peer, bytes(data[-1:]), rights, creds)
        message.oob = True
        if peer.urgent is not None:
            peer.urgent.oob = False  # ordinary data from now on
        peer.urgent = message
        return sent + 1

    def put(self, t, target, data, rights, creds) -> Message:
        """Into the queue of `target`."""
        if creds is None and (self.passcred or target.passcred or target.listener is not None):
            creds = (t.tg.pid, t.creds.uid, t.creds.gid, t.tg.pids)
        message = Message(data, creds, self, charge_of(self.type, len(data)))
        if target.stamps:
            message.time = time_ns()
        if rights is not None:
            message.rights = rights
            unix_flight.depart(message, target, t.creds.uid)
        target.messages.append(message)
        if target.queue.entries:
            target.queue.wake(POLL_READABLE)
        return message

    def send_packet(self, t, data, flags, rights, creds):
        if not self.connected:
            return -ENOTCONN
        if self.passcred:
            unix_names.autobind(self)
        if self.error:
            return self.take_error()
        if self.shut & SHUT_WR or self.peer is None:
            return -EPIPE
        if len(data) > self.sndbuf - 32:
            return -EMSGSIZE
        if self.charged >= self.sndbuf:
            return -EAGAIN
        if self.peer.bpf is not None:
            taken = self.peer.filtered(data, rights)
            if taken is None:
                return len(data)
            self.put(t, self.peer, taken, rights, creds).eor = bool(flags & MSG_EOR)
            return len(data)
        self.put(t, self.peer, data, rights, creds).eor = bool(flags & MSG_EOR)
        return len(data)

    def send_dgram(self, t, data, addr, rights, creds):
        if self.passcred:
            unix_names.autobind(self)
        target = self.peer
        if addr is not None:
            target = unix_names.find(t, self, addr)
            if isinstance(target, int):
                return target
        elif target is None:
            return -ENOTCONN
        if len(data) > self.sndbuf - 32:
            return -EMSGSIZE
        if self.error:
            return self.take_error()
        if self.shut & SHUT_WR:
            return -EPIPE
        if self.charged >= self.sndbuf:
            return -EAGAIN
        if target.type != self.type:
            return -EPROTOTYPE
        length = len(data)
        if target.bpf is not None and not target.dead:
            data = target.filtered(data, rights)
            if data is None:
                return length
        if target.dead:
            self.peer = None
            self.left(target)
            return -ECONNREFUSED
        if target.peer is not None and target.peer is not self:
            return -EPERM
        if target.shut & SHUT_RD:
            return -EPIPE
        if target.peer is not self and target is not self and len(target.messages) > DGRAM_QUEUE:
            if target.blocked is None:
                target.blocked = []
            if self not in target.blocked:
                target.blocked.append(self)
            return -EAGAIN
        self.put(t, target, data, rights, creds)
        return length

    def filtered(self, data, rights):
        """What this socket's filter takes of a message; None: nothing, and `rights` are let go of."""
        data = socket_filter.plain(self.bpf, data)
        if data is None:
            drop(rights)
        return data

    def receive(self, t, count, flags):
        if self.type == SOCK_STREAM:
            if not self.connected:
                return -EINVAL
            return self.receive_urgent(flags) if flags & MSG_OOB else self.receive_stream(count, flags)
        if flags & MSG_OOB:
            return -EOPNOTSUPP
        if self.type == SOCK_SEQPACKET and not self.connected:
            return -ENOTCONN
        peek = flags & MSG_PEEK
        skip = self.peek_offset if peek and self.peek_offset >= 0 else 0
        message = None
        for message in self.messages:
            if skip < len(message.data) or not skip:
                break
            skip -= len(message.data)
            message = None
        if message is None:
            if self.error:
                return self.take_error()
            # a datagram socket without blocking does not tell the end (unix_dgram_recvmsg)
            ended = self.shut & SHUT_RD and (self.type == SOCK_SEQPACKET or not (flags & MSG_DONTWAIT or self.flags & O_NONBLOCK))
            return Received(b"") if ended else -EAGAIN
        data = message.data
        got = Received(data[skip : skip + count], message.addr, None, message.creds or NOBODY, 0, len(data) - skip)
        if len(data) - skip > count:
            got.flags |= MSG_TRUNC
        if message.eor:
            got.flags |= MSG_EOR
        if self.stamps:
            got.control = [(SOL_SOCKET, self.stamps, stamp(self.stamps, message.time or time_ns()))]
        if peek:
            got.rights = [file.incref() for file in message.rights] if message.rights else None
            if self.peek_offset >= 0:
                self.peek_offset += len(got.data)
            return got
        if self.peek_offset >= 0:
            self.peek_offset = max(self.peek_offset - len(data), 0)
        self.messages.popleft()
        if message.rights is not None:
            got.rights = unix_flight.arrive(message)
        self.uncharge(message)
        self.wake_blocked()
        return got

    def receive_stream(self, count, flags):
        peek = flags & MSG_PEEK
        skip = self.peek_offset if peek and self.peek_offset >= 0 else 0
        parts = []
        done = 0
        first = rights = None
        for message in tuple(self.messages):
            if done >= count:
                break
            if message.oob:
                if done:
                    break  # a read ends at the mark
                if message.data and self.options.get(SO_OOBINLINE):
                    if not peek:
                        self.urgent = None
                        message.oob = False
                else:
                    if not peek:  # nobody asked for it
                        if self.urgent is message:
                            self.urgent = None
                        self.messages.popleft()
                        self.uncharge(message)
                    continue
            left = len(message.data) - message.offset
            if skip >= left:
                skip -= left
                continue
            if first is None:
                first = message
            elif self.passcred and message.creds != first.creds:
                break
            start = message.offset + skip
            part = message.data[start : start + count - done]
            skip = 0
            parts.append(part)
            done += len(part)
            if message.rights is not None:
                rights = [file.incref() for file in message.rights] if peek else unix_flight.arrive(message)
            if not peek:
                message.offset += len(part)
                if message.offset < len(message.data):
                    break
                self.messages.popleft()
                self.uncharge(message)
            if rights is not None:
                break
        if self.peek_offset >= 0:
            self.peek_offset = self.peek_offset + done if peek else max(self.peek_offset - done, 0)
        if first is None:
            if self.error:
                return self.take_error()
            return Received(b"") if self.shut & SHUT_RD or (self.messages and not count) else -EAGAIN
        addr = first.addr
        return Received(parts[0] if len(parts) == 1 else b"".join(parts), addr, rights, first.creds or NOBODY)

    def receive_urgent(self, flags):
        message = self.urgent
        if message is None or self.options.get(SO_OOBINLINE):
            return -EINVAL
        got = Received(message.data, message.addr, None, None, MSG_OOB)
        if not flags & MSG_PEEK:
            self.urgent = None
            message.data = b""  # it stays as the mark
        return got

    def unread(self, data):
        """To the front of a stream; datagrams are lost, as on Linux."""
        if self.type == SOCK_STREAM:
            self.messages.appendleft(Message(bytes(data), None, self.peer or self, charge_of(self.type, len(data))))

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
        if self.urgent is not None:
            bits |= POLLPRI
        if self.charged * 4 <= self.sndbuf:
            peer = self.peer
            if self.type == SOCK_DGRAM and peer is not None and peer.peer is not self and len(peer.messages) > DGRAM_QUEUE:
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

    def ioctl(self, t, cmd, arg):
        if cmd != SIOCATMARK:
            return Socket.ioctl(self, t, cmd, arg)
        if self.type != SOCK_STREAM:
            return -EOPNOTSUPP
        t.write(arg, INT.pack(bool(self.messages) and self.messages[0].oob))
        return 0

    def getsockopt(self, t, level, option):
        if level == SOL_SOCKET and option == SO_PEERCRED:
            return ucred(t, self.peer_creds) if self.peer_creds is not None else UCRED.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
        if level == SOL_SOCKET and option == SO_PEERGROUPS:
            return b"".join(INT.pack(gid) for gid in self.peer_groups)
        if level == SOL_SOCKET and option == SO_PEEK_OFF:
            return INT.pack(self.peek_offset)
        return Socket.getsockopt(self, t, level, option)

    def setsockopt(self, t, level, option, data):
        if level == SOL_SOCKET and option == SO_PEEK_OFF:
            if len(data) < 4:
                return -EINVAL
            (self.peek_offset,) = INT.unpack_from(data)
            return 0
        if level != SOL_SOCKET:
            return -EOPNOTSUPP
        if option == SO_REUSEPORT and len(data) >= 4 and any(data[:4]):
            return -EOPNOTSUPP
        result = Socket.setsockopt(self, t, level, option, data)
        self.stamps = next((stamp for stamp in STAMPS if self.options.get(stamp)), 0) if self.type != SOCK_STREAM else 0
        self.passcred = bool(self.options.get(SO_PASSCRED) or self.options.get(SO_PASSPIDFD))
        return result


def stamp(option: int, ns: int) -> bytes:
    """The timestamp that goes with a message: a timeval, or a timespec."""
    unit = 1 if option in (SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW) else 1000
    return TIMEVAL.pack(ns // NSEC, ns % NSEC // unit)


def creds_of(t) -> tuple:
    """What SO_PEERCRED tells of a task."""
    return t.tg.pid, t.creds.euid, t.creds.egid, t.tg.pids


def join(a: UnixSocket, b: UnixSocket) -> None:
    a.peer, b.peer = b, a
    a.peer_address, b.peer_address = b.address, a.address
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
    if type_ == SOCK_DGRAM:
        a.peer, b.peer = b, a
    else:
        join(a, b)
    a.peer_creds = b.peer_creds = creds_of(t)
    a.peer_groups = b.peer_groups = t.creds.groups
    return a, b


FAMILIES[AF_UNIX] = (create, create_pair)
