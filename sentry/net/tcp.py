"""TCP sockets (tcp(7), net/ipv4/tcp.c).

Between two sockets of the sandbox there are no segments: a sender puts its data straight into the receiver's queue, as
much as both buffers would hold, and FIN and RST are calls. What shows is TCP's: names, states, half-closed
connections, resets, errors, TIME_WAIT. Of a connection that leaves the sandbox, `wire` is the packet stack's end.
"""

from _collections import deque
from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAGAIN,
    EALREADY,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTUNREACH,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENETUNREACH,
    ENOENT,
    ENOPROTOOPT,
    ENOTCONN,
    EPIPE,
    EPROTONOSUPPORT,
    ETIMEDOUT,
)
from sentry.net import fabric, inet_addr, tcp_waits
from sentry.net import inet_options as opt
from sentry.net.inet import InetSocket
from sentry.net.inet_addr import ANY4, ANY6, AF_INET, AF_INET6, AF_UNSPEC, LOOPBACK4, LOOPBACK6, is_any, is_link_local, is_multicast
from sentry.net.socket import (
    INT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    SHUT_RD,
    SHUT_WR,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOCK_STREAM,
    Received,
)
from sentry.vfs.file import O_NONBLOCK, POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLPRI, POLLRDHUP

IPPROTO_TCP = 6
BOTH = SHUT_RD | SHUT_WR
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN = range(1, 11)
TIME_WAIT_TIME = tcp_waits.TIME_WAIT
BACKLOG_MAX = 4096  # net.core.somaxconn
RCVBUF, SNDBUF = 131072, 16384  # the middle values of net.ipv4.tcp_rmem and tcp_wmem
SNDBUF_CONNECTED = 2626560  # what a send buffer that nobody set grows to
MSG_FASTOPEN = 0x20000000
MSS_LOOPBACK = {4: 65483, 16: 65463}
CONGESTION = b"cubic"
INFO = Struct("<8B24I4Q6I")
INFO_SIZE = 248
SIOCATMARK = 0x8905


class TcpSocket(InetSocket):
    __slots__ = (
        "state", "peer", "rx", "rx_offset", "rx_bytes", "room", "backlog", "pending", "syns", "listener", "connecting", "done",
        "urgent", "timer", "wire", "active", "set_sndbuf", "set_rcvbuf", "received", "sent", "deferred",
    )  # fmt: skip

    def __init__(self, t, family, flags):
        InetSocket.__init__(self, t, family, SOCK_STREAM, IPPROTO_TCP, flags, t.net.stack.tcp)
        self.rcvbuf, self.sndbuf = RCVBUF, SNDBUF
        self.state = CLOSE
        self.peer = None  # the other end in this sandbox, while it is open; no reference is held
        self.rx = deque()  # bytes received and not read
        self.rx_offset = 0  # read of rx[0]
        self.rx_bytes = 0
        self.room = 0  # of the peer's rx_bytes: how far this end may send
        self.backlog = 0
        self.pending = deque()  # connections not accepted yet
        self.deferred = None  # those that wait for their first data (TCP_DEFER_ACCEPT)
        self.syns = None  # connecting sockets that found the backlog full
        self.listener = None  # while not accepted yet, or in its `syns`
        self.connecting = False  # connect(2) has begun and not reported its end
        self.done = False  # the peer's FIN has come
        self.urgent = None  # the byte of MSG_OOB
        self.timer = None
        self.wire = None
        self.active = False  # this end has sent the first FIN
        self.set_sndbuf = self.set_rcvbuf = False
        self.received = self.sent = 0  # bytes, for TCP_INFO

    # -- end
    def release(self):
        self.net.stack.sockets.discard(self)
        if self.state == LISTEN:
            self.stop_listening()
        elif self.state == SYN_SENT:
            self.stop_connecting()
        elif self.peer is not None:
            if self.rx_bytes or self.linger == (1, 0):
                self.send_reset()
            else:
                self.send_fin()
            if self.peer is not None:
                self.peer.peer = None
                self.peer = None
        elif self.wire is not None:
            wire, self.wire = self.wire, None
            wire.detach(self.rx_bytes > 0 or self.linger == (1, 0))
        if self.active and self.locked:
            waits = tcp_waits.fin_time(self) if self.state == FIN_WAIT2 else TIME_WAIT_TIME
            if waits:
                self.ports.linger(self.local, self.port, self.reuseaddr, waits)
        self.unbind()
        self.rx.clear()
        self.state = CLOSE

    def stop_listening(self):
        self.state = CLOSE
        if self.wire is not None:
            self.wire.detach(False)
            self.wire = None
        while self.deferred:
            sock = self.deferred[0].sock
            self.deferred[0].leave()
            if sock.peer is not None:  # which hears of it when it sends
                sock.peer.peer = sock.peer = None
            self.pending.append(sock)
        for embryo in self.pending:
            embryo.linger = (1, 0)
            embryo.listener = None
            embryo.decref()
        self.pending.clear()
        if self.syns is not None:
            for sock in self.syns:
                sock.listener = None
                sock.fail(ECONNREFUSED)
            self.syns = None
        if self.net.stack.on_listen is not None:
            self.net.stack.on_listen()

    def stop_connecting(self):
        self.stop_timer()
        if self.listener is not None:
            self.listener.syns.remove(self)
            self.listener = None
        if self.wire is not None:
            self.wire.detach(True)
            self.wire = None

    def stop_timer(self):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    # -- what comes from the other end
    def send_fin(self):
        """End our direction."""
        if self.shut & SHUT_WR:
            return
        self.shut |= SHUT_WR
        peer = self.peer
        if self.state == ESTABLISHED:
            self.state = FIN_WAIT2
            self.active = True
        else:  # the other end was first
            self.state = CLOSE
            self.shut = BOTH
        if peer is not None:
            peer.take_fin()

    def take_fin(self):
        self.shut |= SHUT_RD
        self.done = True
        if self.state == ESTABLISHED:
            self.state = CLOSE_WAIT
        else:
            self.state = CLOSE
            self.shut = BOTH
        self.queue.wake()

    def send_reset(self):
        peer, self.peer = self.peer, None
        self.state = CLOSE
        self.shut = BOTH
        self.active = False
        if peer is not None:
            peer.take_reset()

    def take_reset(self):
        self.peer = None
        self.fail(EPIPE if self.state == CLOSE_WAIT else ECONNRESET)

    def fail(self, errno):
        """The connection, or the attempt to make one, is over."""
        self.stop_timer()
        self.error = errno
        self.state = CLOSE
        self.shut = BOTH
        self.active = False
        self.queue.wake()

    # -- the packet stack's calls
    def wire_connected(self):
        self.stop_timer()
        self.state = ESTABLISHED
        self.grow_buffers()
        self.queue.wake(POLL_WRITABLE)

    def wire_data(self, data, more):
        """`more`: another piece follows at once."""
        self.rx.append(data)
        self.rx_bytes += len(data)
        self.received += len(data)
        if not more and self.queue.entries and self.rx_bytes >= self.rcvlowat:
            self.queue.wake(POLL_READABLE)

    def wire_fin(self):
        if self.state == FIN_WAIT2:
            self.wire = None  # what is left is the packet stack's
        self.take_fin()

    def wire_room(self):
        """Data that was sent has been acknowledged."""
        if self.queue.entries and self.writable():
            self.queue.wake(POLL_WRITABLE)

    def wire_failed(self, errno):
        self.wire = None
        if not errno:
            return
        if self.state == CLOSE_WAIT and errno == ECONNRESET:
            errno = EPIPE
        self.fail(errno)

    def wire_accept(self, t, wire, local, remote, remote_port, scope):
        """A connection from outside has been made; the new socket."""
        new = self.embryo(t, local, remote, remote_port)
        new.wire = wire
        new.scope = scope
        self.enqueue(new)
        return new

    # -- connecting
    def listen(self, t, backlog):
        if self.state == LISTEN:
            self.backlog = self.depth(backlog)
            return 0
        if self.state != CLOSE or self.connecting:
            return -EINVAL
        if not self.port:
            if self.net.stack.claim(self.ports, self, self.local, 0):
                return -EADDRINUSE
        elif any(self.clashes(other) for other in self.ports.bound.get(self.port, ())):
            return -EADDRINUSE
        self.backlog = self.depth(backlog)
        self.state = LISTEN
        self.shut = 0
        self.locked = True
        if self.net.stack.wire is not None and not inet_addr.is_loopback(self.local):
            self.wire = self.net.stack.wire.listen(self)
        if self.net.stack.on_listen is not None:
            self.net.stack.on_listen()
        self.queue.wake(POLL_WRITABLE)
        return 0

    @staticmethod
    def depth(backlog):
        return min(backlog if backlog >= 0 else BACKLOG_MAX, BACKLOG_MAX)

    def clashes(self, other):
        if other is self or other.state != LISTEN or (self.reuseport and other.reuseport):
            return False
        return len(other.local) == len(self.local) and (other.local == self.local or is_any(other.local) or is_any(self.local))

    def listening(self):
        return self.state == LISTEN

    def connect(self, t, addr):
        if len(addr) < 2:
            return -EINVAL
        if int.from_bytes(addr[:2], "little") == AF_UNSPEC:
            connected = self.state in (ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2)
            self.disconnect()
            self.error = ECONNRESET if connected else 0
            return 0
        if self.connecting:
            if self.state == SYN_SENT:
                return -EALREADY if self.flags & O_NONBLOCK else -EAGAIN
            self.connecting = False
            if self.state != CLOSE or self.peer is not None:
                return 0
            error = self.take_error() or -ECONNABORTED
            self.disconnect()
            return error
        if self.state != CLOSE or self.remote is not None:
            return -EISCONN
        target = self.target(addr)
        if isinstance(target, int):
            return target
        error = self.begin(t, *target)
        if error:
            return error
        if self.flags & O_NONBLOCK:
            self.connecting = True
            return -EINPROGRESS
        if self.state == SYN_SENT:
            self.connecting = True
            return -EAGAIN
        if self.state == CLOSE:
            error = self.take_error()
            self.disconnect()
            return error
        return 0

    def target(self, addr):
        """(address, port, scope) to connect to, or -errno."""
        parsed = inet_addr.parse(self.family, addr)
        if isinstance(parsed, int):
            return parsed
        host, port, scope = parsed
        if is_any(host):
            host = LOOPBACK4 if len(host) == 4 or len(self.local) == 4 else LOOPBACK6
        if is_multicast(host) or self.net.stack.is_broadcast(host):
            return -ENETUNREACH
        if len(host) == 4 and self.family == AF_INET6 and self.v6only:
            return -ENETUNREACH
        if is_link_local(host) and not (scope or self.device):
            return -EINVAL
        if len(host) != len(self.local) and not is_any(self.local):
            return -EINVAL if len(host) == 4 else -ENETUNREACH
        return host, port, scope or self.device

    def begin(self, t, host, port, scope) -> int:
        """Send the SYN: the state tells what became of it. 0 or -errno."""
        local = self.local
        if is_any(local):
            local = self.net.stack.source(host, self.device, scope)
            if isinstance(local, int):
                return local
        elif not self.net.stack.is_local(host) and inet_addr.is_loopback(local):
            return -EINVAL
        if self.port:
            self.local = local
        elif self.net.stack.claim(self.ports, self, local, 0):
            return -EADDRNOTAVAIL
        self.remote, self.remote_port, self.scope = host, port, scope
        self.shut, self.done, self.error = 0, False, 0
        way = None
        if self.net.stack.linked and not self.net.stack.is_local(host):
            way = fabric.reach(self.net.stack, host, scope or self.device, 64, local)
        if self.net.stack.is_local(host):
            self.arrive(t, self.net.stack, scope)
        elif way is not None:
            self.cross(t, way)
        elif self.net.stack.wire is None:
            self.remote = None
            return -ENETUNREACH
        else:
            self.state = SYN_SENT
            wire = self.net.stack.wire.connect(self)
            if isinstance(wire, int):
                self.state, self.remote = CLOSE, None
                return wire
            self.wire = wire
            self.timer = tcp_waits.Syn(self, t.kernel.timers)
        return 0

    def cross(self, t, way):
        """By a link that a guest has made."""
        back = None
        if way.stack is not None:
            back = fabric.reach(way.stack, self.local)
        if back is not None and back.stack is self.net.stack:
            self.arrive(t, way.stack, way.interface.index)
        elif way.by is not None and way.errno != ETIMEDOUT:
            self.fail(way.errno)
        else:  # no answer: of the neighbours, or of anybody
            self.state = SYN_SENT
            timers = t.kernel.timers
            if way.errno == EHOSTUNREACH:
                self.timer = timers.add(monotonic_ns() + tcp_waits.RESOLVE_TIME, self.no_neighbour)
            else:
                self.timer = timers.add(monotonic_ns() + tcp_waits.syn_time(self), self.time_out)

    def no_neighbour(self):
        self.time_out(unreachable=True)

    def arrive(self, t, stack, scope):
        """At a listener of this sandbox, which may be in another namespace."""
        listener = stack.listener(self.remote, self.remote_port, scope)
        if listener is None:
            self.fail(ECONNREFUSED)
        elif len(listener.pending) > listener.backlog:
            self.state = SYN_SENT
            self.listener = listener
            if listener.syns is None:
                listener.syns = deque()
            listener.syns.append(self)
            self.timer = t.kernel.timers.add(monotonic_ns() + tcp_waits.syn_time(self), self.time_out)
        else:
            self.meet(t, listener)

    def time_out(self, unreachable=False):
        self.timer = None
        self.stop_connecting()
        self.fail(EHOSTUNREACH if unreachable else ETIMEDOUT)

    def meet(self, t, listener):
        """The connection is made."""
        self.stop_timer()
        self.listener = None
        if listener.net is not t.net:
            t = fabric.Stranger(t, listener.net)
        new = listener.embryo(t, self.remote, self.local, self.port)
        new.peer, self.peer = self, new
        self.state = ESTABLISHED
        self.grow_buffers()
        self.room = self.sndbuf + new.rcvbuf
        new.room = new.sndbuf + self.rcvbuf
        listener.enqueue(new)

    def embryo(self, t, local, remote, remote_port):
        """The socket of a connection that this listener got."""
        new = TcpSocket(t, self.family, 0)
        new.local, new.port, new.remote, new.remote_port = local, self.port, remote, remote_port
        self.ports.add(new, self.port)
        new.options = dict(self.options)
        new.values = dict(self.values)
        for name in ("reuseaddr", "reuseport", "v6only", "device", "scope", "linger", "rcvlowat", "rcvtimeo", "sndtimeo", "mark",
                     "sndbuf", "rcvbuf", "set_sndbuf", "set_rcvbuf"):  # fmt: skip
            setattr(new, name, getattr(self, name))
        new.locked = True
        new.listener = self
        new.state = ESTABLISHED
        new.grow_buffers()
        return new

    def enqueue(self, new):
        seconds = self.values.get((opt.SOL_TCP, opt.TCP_DEFER_ACCEPT))
        if seconds and not new.rx:
            if self.deferred is None:
                self.deferred = []
            if len(self.deferred) <= self.backlog:
                tcp_waits.Deferred(self, new, self.net.stack.timers, seconds)
                return
        self.show(new)

    def show(self, new):
        """To accept(2)."""
        self.pending.append(new)
        if self.queue.entries:
            self.queue.wake(POLL_READABLE)

    def grow_buffers(self):
        if not self.set_sndbuf:
            self.sndbuf = SNDBUF_CONNECTED

    def accept(self, t, flags):
        if self.state != LISTEN:
            return -EINVAL
        if not self.pending:
            return -EAGAIN
        new = self.pending.popleft()
        new.flags |= flags
        new.listener = None
        new.inode.uid, new.inode.gid = t.creds.fsuid, t.creds.fsgid
        while self.syns and len(self.pending) <= self.backlog:
            sock = self.syns.popleft()
            sock.meet(t, self)
            sock.queue.wake(POLL_WRITABLE)
        return new

    def disconnect(self):
        """connect(2) with AF_UNSPEC, or after a failure: a socket as new, its bound name kept."""
        if self.state == LISTEN:
            self.stop_listening()
        elif self.state == SYN_SENT:
            self.stop_connecting()
        elif self.peer is not None:
            self.send_reset()
        elif self.wire is not None:
            wire, self.wire = self.wire, None
            wire.detach(True)
        self.state, self.shut, self.done, self.connecting, self.active = CLOSE, 0, False, False, False
        self.remote, self.remote_port = None, 0
        self.rx.clear()
        self.rx_offset = self.rx_bytes = 0
        self.error = 0
        if not self.locked:
            self.unbind()
            self.port = 0
            self.local = ANY4 if self.family == AF_INET else ANY6
        self.queue.wake()
        return 0

    def peer_name(self):
        if self.remote is None or self.state in (CLOSE, SYN_SENT):
            return -ENOTCONN
        return InetSocket.peer_name(self)

    def shutdown(self, t, how):
        state = self.state
        if state == SYN_SENT:
            if how & SHUT_WR:
                self.stop_connecting()
                self.fail(0)
                self.remote, self.connecting = None, False
            return 0
        if state == CLOSE:
            return -ENOTCONN
        if state == LISTEN:
            if how & SHUT_RD:
                self.disconnect()
            return 0
        if how & SHUT_RD:
            self.shut |= SHUT_RD
        if how & SHUT_WR and not self.shut & SHUT_WR:
            if self.wire is not None:
                self.wire.shutdown()
            self.send_fin()
            self.active = self.active or state == ESTABLISHED
        self.queue.wake()
        return 0

    # -- data
    def send(self, t, data, addr, flags, rights, creds):
        state = self.state
        if flags & MSG_FASTOPEN:
            error = self.fast_open(t, addr)
            if error:
                return error
            state = self.state
        if state != ESTABLISHED and state != CLOSE_WAIT:
            if self.error:
                return self.take_error()
            return -EAGAIN if state == SYN_SENT else -EPIPE
        if self.error or self.shut & SHUT_WR:
            return self.take_error() or -EPIPE
        if self.wire is not None:
            return self.wire.send(data, flags) if data else 0
        peer = self.peer
        if peer is None or (peer.shut & SHUT_RD and peer.state != ESTABLISHED):
            # nobody reads any more: a reset is the answer
            if not data:
                return 0
            if peer is not None:
                peer.peer = None
                peer.fail(0)
            self.take_reset()
            return len(data)
        n = len(data)
        if not n:
            return 0
        if flags & MSG_OOB:
            return self.send_urgent(peer, data)
        free = self.room - peer.rx_bytes
        if free <= 0:
            return -EAGAIN
        if n > free:
            data = data[:free]
            n = free
        peer.rx.append(data)
        peer.rx_bytes += n
        peer.received += n
        self.sent += n
        if peer.queue.entries and peer.rx_bytes >= peer.rcvlowat:
            peer.queue.wake(POLL_READABLE)
        return n

    def fast_open(self, t, addr):
        """MSG_FASTOPEN: connect(2) and send in one. Nobody here has a cookie, so the SYN goes first, as on Linux then."""
        if self.connecting and self.state == ESTABLISHED:
            self.connecting = False  # the call that waited for it goes on
            return 0
        if addr is None:
            return -EINVAL if self.state == CLOSE else -EISCONN
        return self.connect(t, addr)

    def send_urgent(self, peer, data):
        """The last byte is the urgent one (tcp(7)): out of the stream unless SO_OOBINLINE."""
        inline = peer.options.get(SO_OOBINLINE)
        body = data if inline else data[:-1]
        if body:
            peer.rx.append(body)
            peer.rx_bytes += len(body)
        if not inline:
            peer.urgent = data[-1:]
        peer.queue.wake(POLLPRI | (POLL_READABLE if body else 0))
        return len(data)

    def receive(self, t, count, flags):
        if flags & MSG_ERRQUEUE:
            return self.receive_error(count)
        if self.state == LISTEN:
            return -ENOTCONN
        if flags & MSG_OOB:
            return self.receive_urgent(flags)
        if not self.rx:
            if self.done:
                return Received(b"")
            if self.error:
                return self.take_error()
            if self.shut & SHUT_RD:
                return Received(b"")
            return -ENOTCONN if self.state == CLOSE else -EAGAIN
        if flags & MSG_PEEK:
            return Received(self.peek(count))
        return Received(self.take(count))

    def receive_urgent(self, flags):
        if self.options.get(SO_OOBINLINE) or self.urgent is None:
            return -EINVAL
        data = self.urgent
        if not flags & MSG_PEEK:
            self.urgent = None
        got = Received(data)
        got.flags |= MSG_OOB
        return got

    def peek(self, count):
        parts, at = [], self.rx_offset
        for data in self.rx:
            part = data[at : at + count]
            at = 0
            parts.append(part)
            count -= len(part)
            if not count:
                break
        return b"".join(parts)

    def take(self, count):
        """Up to `count` bytes out of the queue; there is one at least."""
        rx = self.rx
        first = rx[0]
        size = len(first)
        if self.rx_offset == 0 and (size == count or (size < count and len(rx) == 1)):
            rx.popleft()
            data = first
        elif size - self.rx_offset > count:
            data = first[self.rx_offset : self.rx_offset + count]
            self.rx_offset += count
        else:
            parts = []
            left = count
            while rx and left:
                first = rx[0]
                part = first[self.rx_offset : self.rx_offset + left]
                parts.append(part)
                left -= len(part)
                if self.rx_offset + len(part) == len(first):
                    rx.popleft()
                    self.rx_offset = 0
                else:
                    self.rx_offset += len(part)
            data = b"".join(parts)
        self.took(len(data))
        return data

    def took(self, n):
        """`n` bytes were read: there is room for the sender."""
        before = self.rx_bytes
        self.rx_bytes = before - n
        peer = self.peer
        if peer is not None:
            room = peer.room
            if before * 3 > room * 2 >= self.rx_bytes * 3 and peer.queue.entries:
                peer.queue.wake(POLL_WRITABLE)
        elif self.wire is not None:
            self.wire.took(n)

    def unread(self, data):
        if self.rx_offset:
            first = self.rx.popleft()[self.rx_offset :]
            self.rx.appendleft(first)
            self.rx_offset = 0
        self.rx.appendleft(data)
        self.rx_bytes += len(data)

    # -- state
    def writable(self) -> bool:
        if self.wire is not None:
            return self.wire.writable()
        peer = self.peer
        return peer is None or peer.rx_bytes * 3 <= self.room * 2

    def poll(self):
        state = self.state
        if state == LISTEN:
            return POLL_READABLE if self.pending else 0
        bits = 0
        if self.shut == BOTH or state == CLOSE:
            bits |= POLLHUP
        if self.shut & SHUT_RD:
            bits |= POLL_READABLE | POLLRDHUP
        if state != SYN_SENT:
            if self.rx_bytes >= self.rcvlowat:
                bits |= POLL_READABLE
            if self.shut & SHUT_WR or self.writable():
                bits |= POLL_WRITABLE
            if self.urgent is not None:
                bits |= POLLPRI
        if self.error or self.errors:
            bits |= POLLERR
        return bits

    def readable_bytes(self):
        return -EINVAL if self.state == LISTEN else self.rx_bytes

    def unsent_bytes(self):
        if self.state == LISTEN:
            return -EINVAL
        return self.wire.unsent() if self.wire is not None else 0

    def ioctl(self, t, cmd, arg):
        if cmd == SIOCATMARK:
            t.write(arg, INT.pack(self.urgent is not None and not self.rx))
            return 0
        return InetSocket.ioctl(self, t, cmd, arg)

    # -- options
    def get_own(self, t, level, option):
        if level != opt.SOL_TCP:
            return InetSocket.get_own(self, t, level, option)
        if option in opt.TCP_TABLE:
            return INT.pack(self.option(level, opt.TCP_TABLE, option))
        if option == opt.TCP_MAXSEG:
            return INT.pack(self.mss())
        if option == opt.TCP_CONGESTION:
            return self.values.get((level, option), CONGESTION).ljust(16, b"\0")
        if option == opt.TCP_INFO:
            return self.info()
        return -ENOPROTOOPT

    def mss(self):
        if self.remote is None:
            return self.values.get((opt.SOL_TCP, opt.TCP_MAXSEG), 536)
        if self.wire is not None or not self.net.stack.is_local(self.remote):
            return self.mtu() - (40 if len(self.remote) == 4 else 60)
        return min(MSS_LOOPBACK[len(self.remote)], self.values.get((opt.SOL_TCP, opt.TCP_MAXSEG), 65535))

    def set_own(self, t, level, option, data):
        if level != opt.SOL_TCP:
            return -ENOPROTOOPT
        if option == opt.TCP_CONGESTION:
            name = data.split(b"\0")[0][:15]
            if name not in (b"cubic", b"reno"):
                return -ENOENT
            self.values[level, option] = name
            return 0
        if len(data) < 4:
            return -EINVAL
        (value,) = INT.unpack_from(data)
        if option == opt.TCP_MAXSEG:
            if value and not 88 <= value <= 32767:
                return -EINVAL
            self.values[level, option] = value
            return 0
        if option not in opt.TCP_TABLE:
            return -ENOPROTOOPT
        value = opt.normal(opt.TCP_TABLE, option, value)
        if value is None:
            return -EINVAL
        if option == opt.TCP_DEFER_ACCEPT:
            value = tcp_waits.defer_time(value)
        elif option == opt.TCP_LINGER2:
            value = tcp_waits.linger_time(value)
        self.values[level, option] = value
        if self.wire is not None and self.state != LISTEN:
            self.wire.configure(self)
        return 0

    def set_ip(self, t, option, data):
        error = InetSocket.set_ip(self, t, option, data)
        if not error and self.wire is not None and self.state != LISTEN:
            self.wire.configure(self)
        return error

    def set_socket(self, t, option, data):
        error = InetSocket.set_socket(self, t, option, data)
        if not error:
            if option in (SO_SNDBUF, SO_SNDBUFFORCE):
                self.set_sndbuf = True
            elif option in (SO_RCVBUF, SO_RCVBUFFORCE):
                self.set_rcvbuf = True
            else:
                if self.wire is not None and self.state != LISTEN:
                    self.wire.configure(self)
                return 0
            peer = self.peer
            if peer is not None:
                self.room = self.sndbuf + peer.rcvbuf
                peer.room = peer.sndbuf + self.rcvbuf
        return error

    def info(self):
        """struct tcp_info. Between sockets of the sandbox nothing is lost, and nothing waits for an acknowledgement."""
        state = self.state
        mss = self.mss()
        rtt, unacked = (self.wire.rtt(), self.wire.unsent() // max(mss, 1)) if self.wire is not None and state != LISTEN else (20, 0)
        unacked = len(self.pending) if state == LISTEN else unacked
        return INFO.pack(
            state, 0, 0, 0, 0, 7, 0x77, 0,
            201000, 40000, mss, mss, unacked, self.backlog if state == LISTEN else 0, 0, 0, 0, 0, 0, 0, 0,
            65535, self.rcvbuf // 2, rtt, rtt // 2, 0x7FFFFFFF, 10, mss, 3, 0, self.rcvbuf // 2, 0,
            0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, self.sent, self.received,
            0, 0, 0, rtt, 0, 0,
        ).ljust(INFO_SIZE, b"\0")  # fmt: skip


def create(t, family, protocol, flags):
    if protocol not in (0, IPPROTO_TCP):
        return -EPROTONOSUPPORT
    return TcpSocket(t, family, flags)


