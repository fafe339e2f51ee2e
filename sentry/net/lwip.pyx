"""The packet stack: lwIP (native/lwip) behind the interfaces that have a link.

It carries TCP connections that leave the sandbox, and takes UDP and raw messages to and from the interfaces; everything
runs on the dispatcher, called by it when a frame or a tick is there, or by a socket.
"""

from libc.stdint cimport uint8_t, uint32_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from sentry.net.tcp cimport TcpSocket
from sentry.net.wire cimport Wire as Base

from time import monotonic_ns

from sentry.abi.errno import EAGAIN, ECONNREFUSED, ECONNRESET, ETIMEDOUT
from sentry.core import log
from sentry.net import icmp_errors, raw, udp, udplite
from sentry.net import inet_options as opt
from sentry.net.inet_addr import is_any, is_multicast
from sentry.net.netns import INIT
from sentry.net.socket import MSG_MORE, SO_KEEPALIVE
from sentry.net.stack import STACK
from sentry.net.tcp import SYN_SENT


cdef extern from "port.h" nogil:
    struct tcp_pcb:
        pass
    struct wire_calls:
        void (*connected)(void *arg) noexcept
        void (*data)(void *arg, const char *data, long length, int more) noexcept
        void (*fin)(void *arg) noexcept
        void (*room)(void *arg) noexcept
        void (*failed)(void *arg, int error) noexcept
        int (*full)(void *listener) noexcept
        void *(*accepted)(void *listener, tcp_pcb *pcb, const uint8_t *local, const uint8_t *remote, int length, int port, int link) noexcept
        int (*message)(int protocol, const char *header, int header_length, const char *data, long length, const uint8_t *source,
                       const uint8_t *host, int address_length, int ttl, int tos, int link) noexcept
    void wire_start(const wire_calls *calls)
    int wire_add_link(int index, int fd, const uint8_t *mac, int mtu)
    int wire_add_address(int index, const uint8_t *address, int length, int bits)
    int wire_add_route(const uint8_t *network, int length, int bits, int index, const uint8_t *gateway)
    int wire_add_neighbour(int index, const uint8_t *address, const uint8_t *mac)
    int wire_group(int index, const uint8_t *group, int length, int join)
    int wire_poll(int index, int frames)
    int wire_tick(int count)
    void wire_age(int seconds)
    void wire_limit(long pending)
    int wire_send(int protocol, const char *data, long length, const uint8_t *source, const uint8_t *host, int address_length,
                  int ttl, int tos, int link, int cut)
    int wire_send_udp(const char *data, long length, const uint8_t *source, int source_port, const uint8_t *host, int port,
                      int address_length, int ttl, int tos, int link, int cut)
    tcp_pcb *wire_connect(void *arg, const uint8_t *local, int local_port, const uint8_t *remote, int port, int length, int link, int *error)
    tcp_pcb *wire_listen(void *arg, const uint8_t *local, int length, int port)
    long wire_write(tcp_pcb *pcb, const char *data, long length, int more)
    long wire_writable(tcp_pcb *pcb)
    long wire_unsent(tcp_pcb *pcb)
    long wire_rtt(tcp_pcb *pcb)
    void wire_took(tcp_pcb *pcb, long count)
    void wire_shutdown(tcp_pcb *pcb)
    void wire_detach(tcp_pcb *pcb, int reset)
    void wire_forget(tcp_pcb *pcb)
    void wire_stop_listening(tcp_pcb *pcb)
    uint32_t wire_acknowledged(tcp_pcb *pcb)
    void wire_flush(tcp_pcb *pcb)
    int wire_resolved(const uint8_t *host, int length, int link)
    void wire_manner(tcp_pcb *pcb, int may_be_cut, int prompt, int linger)
    int wire_path_mtu(const uint8_t *host, int length, int mtu)
    int wire_learn_mtu(const uint8_t *host, int mtu)
    void wire_too_big(const uint8_t *source, int port, const uint8_t *host, int peer, uint32_t sequence, int mtu)
    int wire_neighbour(int at, int *link, uint8_t *address, int *length, uint8_t *mac, int *state)
    void wire_configure(tcp_pcb *pcb, int nodelay, int keepalive, int idle, int interval, int count, int ttl, int tos)

cdef enum:
    FRAMES = 64  # of one link, before others get their turn
    SNDBUF = 2 << 20  # TCP_SND_BUF
    TICK = 50000000
    HOLD = 200000000  # ns that data may be held back for (tcp(7), TCP_CORK)
    QUIET = 200  # ticks without a frame or a connection after which the clock stops
    EPOLLIN = 1

cdef set LIVE = set()  # what lwIP holds pointers to
cdef set HELD = set()  # connections with TCP_CORK or MSG_MORE that may hold data back
cdef set LIMITED = set()  # with TCP_USER_TIMEOUT
cdef long pending = 0  # bytes received and not read


cdef class Conn(Base):
    """The packet stack's end of a connection, until either side forgets it."""

    cdef tcp_pcb *pcb
    cdef object sock
    cdef bint cork
    cdef long held  # CLOCK_MONOTONIC ns since when data may be held back
    cdef long limit, stuck  # ns: TCP_USER_TIMEOUT or 0; since when nothing has been acknowledged, 0: nothing waits
    cdef uint32_t acknowledged

    def send(self, bytes data, flags):
        return self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), flags & MSG_MORE)

    cdef long push(self, const char *data, long length) except? -1:
        return self.put(data, length, 0)

    cdef long put(self, const char *data, long length, int more) except? -1:
        cdef TcpSocket sock = <TcpSocket?>self.sock
        cdef long n, limit
        if sock.set_sndbuf:
            limit = sock.sndbuf - wire_unsent(self.pcb)
            if limit <= 0:
                return -EAGAIN
            length = min(length, limit)
        if self.cork or more:
            more = 1
            if self not in HELD:
                HELD.add(self)
                self.held = monotonic_ns()
        n = wire_write(self.pcb, data, length, more)
        WIRE.arm()
        if n == 0:
            return -EAGAIN
        sock.sent += n
        return n

    def writable(self):
        if self.sock.set_sndbuf:
            return wire_unsent(self.pcb) * 3 <= self.sock.sndbuf * 2
        return wire_writable(self.pcb) * 3 >= SNDBUF

    def unsent(self):
        return wire_unsent(self.pcb)

    def rtt(self):
        return wire_rtt(self.pcb)

    def took(self, long n):
        global pending
        pending -= n
        wire_limit(pending)
        wire_took(self.pcb, n)

    def shutdown(self):
        wire_shutdown(self.pcb)
        WIRE.arm()

    def detach(self, bint reset):
        """The socket is closed: the stack finishes what is left."""
        cdef tcp_pcb *pcb = self.pcb
        self.gone()
        if pcb != NULL:
            wire_detach(pcb, reset)
            WIRE.arm()

    def configure(self, sock):
        table, level = opt.TCP_TABLE, opt.SOL_TCP
        ttl, tos = sock.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_TTL), sock.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_TOS)
        if len(sock.remote) == 16:
            ttl = sock.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_UNICAST_HOPS)
            tos = sock.option(opt.SOL_IPV6, opt.IPV6_TABLE, opt.IPV6_TCLASS)
        wire_configure(
            self.pcb, sock.option(level, table, opt.TCP_NODELAY), bool(sock.options.get(SO_KEEPALIVE)),
            sock.option(level, table, opt.TCP_KEEPIDLE), sock.option(level, table, opt.TCP_KEEPINTVL),
            sock.option(level, table, opt.TCP_KEEPCNT), ttl, tos,
        )
        wire_manner(
            self.pcb, sock.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_MTU_DISCOVER) not in (opt.IP_PMTUDISC_WANT, opt.IP_PMTUDISC_DO),
            sock.values.get((level, opt.TCP_QUICKACK), 0), sock.values.get((level, opt.TCP_LINGER2), 0),
        )
        cork = bool(sock.option(level, table, opt.TCP_CORK))
        if self.cork and not cork or sock.option(level, table, opt.TCP_NODELAY):
            wire_flush(self.pcb)
        self.cork = cork
        self.limit = sock.option(level, table, opt.TCP_USER_TIMEOUT) * 1000000
        if self.limit:
            LIMITED.add(self)
        else:
            LIMITED.discard(self)

    def resolved(self):
        """Does the next hop answer?"""
        return wire_resolved(octets(self.sock.remote), len(self.sock.remote), self.sock.scope)

    cdef bint late(self, long now):
        """Has what was sent waited for an acknowledgement for longer than TCP_USER_TIMEOUT?"""
        cdef uint32_t acknowledged = wire_acknowledged(self.pcb)
        if not wire_unsent(self.pcb):
            self.stuck = 0
        elif not self.stuck or acknowledged != self.acknowledged:
            self.stuck = now
        self.acknowledged = acknowledged
        return self.stuck and now - self.stuck > self.limit

    cdef gone(self):
        """No pointer to this is left at lwIP's."""
        global pending
        if self.sock is not None:
            pending -= self.sock.rx_bytes
            wire_limit(pending)
        LIVE.discard(self)
        HELD.discard(self)
        LIMITED.discard(self)
        self.pcb = NULL
        self.sock = None


cdef class Listening:
    """A listening port at lwIP; sockets that share it by SO_REUSEPORT share this."""

    cdef tcp_pcb *pcb
    cdef object key
    cdef int users

    def detach(self, reset):
        self.users -= 1
        if self.users == 0:
            LIVE.discard(self)
            WIRE.listeners.pop(self.key, None)
            wire_stop_listening(self.pcb)
            self.pcb = NULL


class Stranger:
    """Who makes the sockets of connections from outside, until they are accepted."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.creds = self
        self.fsuid = self.fsgid = 0
        self.net = INIT


cdef void on_connected(void *arg) noexcept:
    try:
        (<Conn?>arg).configure((<Conn?>arg).sock)
        (<Conn?>arg).sock.wire_connected()
    except Exception:
        log.exception("a connection made")


cdef void on_data(void *arg, const char *data, long length, int more) noexcept:
    global pending
    cdef Conn conn = <Conn?>arg
    try:
        pending += length
        wire_limit(pending)
        conn.sock.wire_data(PyBytes_FromStringAndSize(data, length), more)
    except Exception:
        log.exception("data received")


cdef void on_fin(void *arg) noexcept:
    cdef Conn conn = <Conn?>arg
    try:
        sock = conn.sock
        sock.wire_fin()
        if sock.wire is None and conn.pcb != NULL:  # closed by both ends
            wire_forget(conn.pcb)
            conn.gone()
    except Exception:
        log.exception("the end of a connection")


cdef void on_room(void *arg) noexcept:
    try:
        (<Conn?>arg).sock.wire_room()
    except Exception:
        log.exception("room to send")


cdef void on_failed(void *arg, int error) noexcept:
    cdef Conn conn = <Conn?>arg
    try:
        sock = conn.sock
        conn.gone()
        if error == ECONNRESET and sock.state == SYN_SENT:
            error = ECONNREFUSED
        sock.wire_failed(error)
    except Exception:
        log.exception("a connection lost")


cdef int on_full(void *arg) noexcept:
    try:
        _, port, local = (<Listening?>arg).key
        sock = STACK.listener(local, port)
        return sock is not None and len(sock.pending) > sock.backlog
    except Exception:
        log.exception("a connection request")
        return 1


cdef void *on_accepted(void *arg, tcp_pcb *pcb, const uint8_t *local, const uint8_t *remote, int length, int port, int link) noexcept:
    cdef Conn conn
    try:
        to = PyBytes_FromStringAndSize(<const char *>local, length)
        sock = STACK.listener(to, (<Listening?>arg).key[1], link)
        if sock is None:
            return NULL
        conn = Conn.__new__(Conn)
        conn.pcb = pcb
        conn.sock = sock.wire_accept(WIRE.stranger, conn, to, PyBytes_FromStringAndSize(<const char *>remote, length), port, link)
        conn.configure(conn.sock)
        LIVE.add(conn)
        return <void *>conn
    except Exception:
        log.exception("a connection from outside")
        return NULL


cdef int on_message(int protocol, const char *header, int header_length, const char *data, long length, const uint8_t *source,
                    const uint8_t *host, int address_length, int ttl, int tos, int link) noexcept:
    try:
        to = PyBytes_FromStringAndSize(<const char *>host, address_length)
        sender = PyBytes_FromStringAndSize(<const char *>source, address_length)
        body = PyBytes_FromStringAndSize(data, length)
        if protocol == 17:
            packet = (sender, body[0] << 8 | body[1], to, body[2] << 8 | body[3], ttl, tos, link)
            return udp.deliver(STACK, body[8:], packet, is_multicast(to) or STACK.is_broadcast(to))
        if protocol == udp.IPPROTO_UDPLITE:
            udplite.arrive(STACK, body, sender, to, ttl, tos, link)
            return 1
        if protocol == (1 if address_length == 4 else 58):
            icmp_errors.arrive(STACK, body, sender)
        head = PyBytes_FromStringAndSize(header, header_length) if address_length == 4 else None
        raw.arrive(STACK, protocol, body, (sender, 0, to, 0, ttl, tos, link), head)
        return 1
    except Exception:
        log.exception("a message from outside")
        return 1


cdef wire_calls CALLS
CALLS.connected = on_connected
CALLS.data = on_data
CALLS.fin = on_fin
CALLS.room = on_room
CALLS.failed = on_failed
CALLS.full = on_full
CALLS.accepted = on_accepted
CALLS.message = on_message


cdef const uint8_t *octets(bytes data):
    return <const uint8_t *>PyBytes_AS_STRING(data)


class Wire:
    """What sockets and the kernel see of it (`STACK.wire`)."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.stranger = Stranger(kernel)
        self.listeners = {}
        self.timer = None
        self.count = 0
        self.quiet = 0
        self.stopped = monotonic_ns()

    def start(self, interfaces, routes, neighbours):
        """interfaces: stack.Interface with `link`, a packet descriptor; routes: stack.Route, best first;
        neighbours: [(interface index, address, hardware address)] that do not age."""
        wire_start(&CALLS)
        for interface in interfaces:
            error = wire_add_link(interface.index, interface.link, octets(interface.hwaddr), interface.mtu)
            if error:
                log.warning(f"interface {interface.name}: no room for it")
                continue
            for address, bits in interface.addresses:
                if wire_add_address(interface.index, octets(address), len(address), bits):
                    log.warning(f"interface {interface.name}: one of its addresses is left out")
            self.kernel.platform.watch(interface.link, EPOLLIN, self.ready)
        self.indices = {interface.link: interface.index for interface in interfaces}
        for route in routes:
            gateway = octets(route.gateway) if route.gateway is not None else NULL
            if wire_add_route(octets(route.network), len(route.network), route.bits, route.interface.index, gateway):
                log.warning("a route is left out")
        for index, address, hardware in neighbours:
            if len(address) == 4 and wire_add_neighbour(index, octets(address), octets(hardware)):
                log.warning("a neighbour is left out")

    # -- time
    def ready(self, fd, events):
        n = wire_poll(self.indices[fd], FRAMES)
        if n < 0:
            log.warning(f"the link of interface {self.indices[fd]} is gone: errno {-n}")
            self.kernel.platform.unwatch(fd)
        self.arm()

    def arm(self):
        self.quiet = 0
        if self.timer is None:
            now = monotonic_ns()
            wire_age((now - self.stopped) // 10**9)
            self.timer = self.kernel.timers.add(now + TICK, self.tick)

    def tick(self):
        self.timer = None
        self.count += 1
        self.quiet += 1
        if HELD or LIMITED:
            self.watch_over(monotonic_ns())
        if wire_tick(self.count) or self.quiet < QUIET:
            self.timer = self.kernel.timers.add(monotonic_ns() + TICK, self.tick)
        else:
            self.stopped = monotonic_ns()

    def watch_over(self, now):
        """Connections with limits of their own."""
        cdef Conn conn
        for conn in tuple(HELD):
            if now - conn.held > HOLD:
                HELD.discard(conn)
                wire_flush(conn.pcb)
        for conn in tuple(LIMITED):
            if conn.late(now):
                sock = conn.sock
                conn.detach(True)
                sock.wire_failed(ETIMEDOUT)

    # -- for sockets
    def connect(self, sock):
        cdef Conn conn = Conn.__new__(Conn)
        cdef int error = 0
        conn.sock = sock
        conn.pcb = wire_connect(<void *>conn, octets(sock.local), sock.port, octets(sock.remote), sock.remote_port, len(sock.remote),
                                sock.scope, &error)
        if conn.pcb == NULL:
            return -error
        LIVE.add(conn)
        conn.configure(sock)
        self.arm()
        return conn

    def listen(self, sock):
        cdef Listening listening
        local = b"" if len(sock.local) == 16 and is_any(sock.local) and not sock.v6only else sock.local
        key = len(local), sock.port, sock.local
        listening = self.listeners.get(key)
        if listening is None:
            listening = Listening.__new__(Listening)
            listening.key = key
            listening.pcb = wire_listen(<void *>listening, octets(local), len(local), sock.port)
            if listening.pcb == NULL:
                log.warning(f"port {sock.port} cannot be reached from outside")
                return None
            self.listeners[key] = listening
            LIVE.add(listening)
        listening.users += 1
        return listening

    def send_udp(self, data, source, source_port, host, port, ttl, tos, device, cut):
        self.arm()
        return wire_send_udp(PyBytes_AS_STRING(data), len(data), octets(source), source_port, octets(host), port, len(host), ttl, tos,
                             device, cut)

    def send_ip(self, protocol, data, source, host, ttl, tos, device, cut):
        self.arm()
        return wire_send(protocol, PyBytes_AS_STRING(data), len(data), octets(source), octets(host), len(host), ttl, tos, device, cut)

    def neighbours(self):
        """[(interface index, address, hardware address, NUD_*)] of who has answered."""
        cdef int at = 0, link = 0, length = 0, state = 0
        cdef uint8_t address[16]
        cdef uint8_t mac[6]
        rows = []
        while (at := wire_neighbour(at, &link, address, &length, mac, &state)) >= 0:
            rows.append((link, PyBytes_FromStringAndSize(<const char *>address, length), PyBytes_FromStringAndSize(<const char *>mac, 6), state))
        return rows

    def learn_mtu(self, host, mtu):
        """A router has told how large packets to `host` may be."""
        wire_learn_mtu(octets(host), mtu)

    def too_big(self, source, port, host, peer, sequence, mtu):
        """The same about a segment of a connection."""
        wire_too_big(octets(source), port, octets(host), peer, sequence, mtu)

    def path_mtu(self, host, mtu):
        """How large packets to `host` may be. mtu: of the interface."""
        return wire_path_mtu(octets(host), len(host), mtu)

    def join(self, group, index):
        self.arm()
        return wire_group(index, octets(group), len(group), 1)

    def leave(self, group, index):
        self.arm()
        return wire_group(index, octets(group), len(group), 0)


WIRE = None


def start(kernel, interfaces, routes, neighbours):
    """Take the interfaces into the sandbox's network."""
    global WIRE
    WIRE = Wire(kernel)
    STACK.interfaces += interfaces
    for interface in interfaces:
        interface.stack = STACK
    STACK.routes += routes
    STACK.timers = kernel.timers
    STACK.wire = WIRE
    WIRE.start(interfaces, routes, neighbours)
