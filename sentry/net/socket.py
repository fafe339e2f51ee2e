"""The base of all sockets: options of SOL_SOCKET, and what the system calls (syscalls/sys_socket.py) ask a family for.

Nothing here blocks: what would, answers -EAGAIN, and the calls wait on `File.queue`.
"""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import (
    EAFNOSUPPORT,
    EDOM,
    EINVAL,
    ENOPROTOOPT,
    ENOTCONN,
    ENOTTY,
    EOPNOTSUPP,
    EPERM,
    ESPIPE,
)
from sentry.abi.fs import S_IFSOCK
from sentry.abi.time import FOREVER, NSEC
from sentry.core.creds import CAP_NET_ADMIN, CAP_NET_RAW
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import SOCKFS
from sentry.net import socket_filter
from sentry.vfs.file import O_RDWR, POLL_READABLE, POLL_WRITABLE, POLLPRI, File

AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 0, 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET = 1, 2, 3, 5
SHUT_RD, SHUT_WR = 1, 2  # bits; shutdown(2) numbers them from 0

MSG_OOB, MSG_PEEK, MSG_CTRUNC, MSG_TRUNC, MSG_DONTWAIT, MSG_EOR = 1, 2, 8, 0x20, 0x40, 0x80
MSG_WAITALL, MSG_ERRQUEUE, MSG_NOSIGNAL, MSG_MORE, MSG_WAITFORONE = 0x100, 0x2000, 0x4000, 0x8000, 0x10000
MSG_CMSG_CLOEXEC = 0x40000000

SOL_SOCKET = 1
(
    SO_DEBUG, SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE,
    SO_OOBINLINE, SO_NO_CHECK, SO_PRIORITY, SO_LINGER, SO_BSDCOMPAT, SO_REUSEPORT, SO_PASSCRED, SO_PEERCRED, SO_RCVLOWAT,
    SO_SNDLOWAT, SO_RCVTIMEO, SO_SNDTIMEO,
) = range(1, 22)  # fmt: skip
SO_TIMESTAMP, SO_ACCEPTCONN, SO_PEERSEC, SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_PASSSEC = 29, 30, 31, 32, 33, 34
SO_TIMESTAMPNS, SO_RXQ_OVFL, SO_WIFI_STATUS, SO_NOFCS, SO_LOCK_FILTER, SO_SELECT_ERR_QUEUE, SO_BUSY_POLL = 35, 40, 41, 43, 44, 45, 46
SO_INCOMING_CPU, SO_ZEROCOPY, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_PREFER_BUSY_POLL, SO_RCVMARK = 49, 60, 63, 64, 69, 75
SO_RCVPRIORITY, SO_PASSRIGHTS = 82, 83
SO_PEERNAME, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW = 28, 66, 67
SO_MARK, SO_PROTOCOL, SO_DOMAIN, SO_PEEK_OFF, SO_PEERGROUPS, SO_PASSPIDFD, SO_PEERPIDFD = 36, 38, 39, 42, 59, 76, 77
# Options that are on or off, with what they are at first. Families give some of them an effect.
FLAGS = dict.fromkeys(
    (SO_DEBUG, SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_REUSEPORT, SO_TIMESTAMP,
     SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD, SO_RXQ_OVFL, SO_WIFI_STATUS,
     SO_NOFCS, SO_LOCK_FILTER, SO_SELECT_ERR_QUEUE, SO_PREFER_BUSY_POLL, SO_RCVMARK, SO_RCVPRIORITY),
    0,
) | {SO_PASSRIGHTS: 1}  # fmt: skip
STAMPS = (SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW)  # at most one of them is on
NUMBERS = {SO_PRIORITY: 0, SO_MARK: 0, SO_BUSY_POLL: 0, SO_INCOMING_CPU: -1, SO_ZEROCOPY: 0}
PLAIN = FLAGS | NUMBERS
WMEM_DEFAULT = WMEM_MAX = 212992
MIN_SNDBUF, MIN_RCVBUF = 4608, 2304
INT = Struct("<i")
TIMEVAL = Struct("<qq")
LINGER = Struct("<ii")
UCRED = Struct("<iII")
FIONREAD, TIOCOUTQ = 0x541B, 0x5411


# ioctl(t, sock, cmd, arg) of every socket beside its own: net/netdev.py puts itself here.
OTHER_IOCTLS: list = []


def ucred(t, creds) -> bytes:
    """struct ucred for task `t` of (pid, uid, gid) or (pid, uid, gid, PidNamespace): of another namespace no pid is seen."""
    pid, uid, gid, *pids = creds
    return UCRED.pack(pid if not pids or pids[0] is t.tg.pids else 0, uid, gid)


class Received:
    """What a receive found. `rights`: list of Files (references go with it) or None; `creds`: (pid, uid, gid) or None;
    `addr`: sender's address or b""; `flags`: MSG_TRUNC, MSG_EOR …; `length`: real length with MSG_TRUNC; `control`:
    further ancillary data, [(level, type, body)], or None."""

    __slots__ = ("data", "rights", "creds", "addr", "flags", "length", "control")

    def __init__(self, data, addr=b"", rights=None, creds=None, flags=0, length=None):
        self.data = data
        self.rights = rights
        self.creds = creds
        self.addr = addr
        self.flags = flags
        self.length = len(data) if length is None else length
        self.control = None


class Socket(File):
    __slots__ = ("family", "type", "protocol", "options", "sndbuf", "rcvbuf", "rcvlowat", "rcvtimeo", "sndtimeo", "linger", "error",
                 "net", "bpf")  # fmt: skip

    def __init__(self, t, family, type_, protocol, flags):
        inode = SOCKFS.inode(S_IFSOCK | 0o777, t.creds.fsuid, t.creds.fsgid)
        File.__init__(self, O_RDWR | flags, inode, None, WaitQueue())
        self.family = family
        self.type = type_
        self.protocol = protocol
        self.options = {}
        self.sndbuf = self.rcvbuf = WMEM_DEFAULT
        self.rcvlowat = 1
        self.rcvtimeo = self.sndtimeo = 0  # ns, 0: for ever
        self.linger = (0, 0)
        self.error = 0  # positive errno, reported once
        self.net = t.net  # netns.NetNamespace
        self.bpf = None  # cbpf.SocketProgram, if there is one

    def anon_name(self):
        return b"socket:[%d]" % self.inode.ino

    def io_deadline(self, writing):
        timeout = self.sndtimeo if writing else self.rcvtimeo
        return min(monotonic_ns() + timeout, FOREVER) if timeout else None

    # -- as a file
    def async_events(self):
        return POLL_READABLE | POLL_WRITABLE | POLLPRI

    def tells_sigpipe(self):
        return self.type == SOCK_STREAM

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        got = self.receive(t, count, 0)
        if isinstance(got, int):
            return got
        drop(got.rights)
        return got.data

    def write(self, t, data, pos):
        return -ESPIPE if pos is not None else self.send(t, data, None, 0, None, None)

    def ioctl(self, t, cmd, arg):
        if cmd == FIONREAD:
            n = self.readable_bytes()
        elif cmd == TIOCOUTQ:
            n = self.unsent_bytes()
        else:
            return OTHER_IOCTLS[0](t, self, cmd, arg) if OTHER_IOCTLS else -ENOTTY
        if n < 0:
            return n
        t.write(arg, INT.pack(n))
        return 0

    # -- what families implement; addresses are struct sockaddr as bytes
    def bind(self, t, addr: bytes) -> int:
        return -EOPNOTSUPP

    def connect(self, t, addr: bytes) -> int:
        """0, -errno, -EAGAIN if it must wait; `connect_queue` says on what."""
        return -EOPNOTSUPP

    def connect_queue(self):
        return self.queue

    def listen(self, t, backlog: int) -> int:
        return -EOPNOTSUPP

    def accept(self, t, flags: int) -> "Socket | int":
        return -EOPNOTSUPP

    def send(self, t, data: bytes, addr: "bytes | None", flags: int, rights: "list | None", creds: "tuple | None") -> int:
        """Bytes sent. References in `rights` are taken over only on success (> 0, or 0 for an empty datagram)."""
        return -EOPNOTSUPP

    def send_with(self, t, data: bytes, addr: "bytes | None", flags: int, control: "list[tuple[int, int, bytes]]") -> int:
        """As `send`, with control data (level, type, body) beside that of SOL_SOCKET; most families have none."""
        return self.send(t, data, addr, flags, None, None)

    def receive(self, t, count: int, flags: int) -> "Received | int":
        return -EOPNOTSUPP

    def shutdown(self, t, how: int) -> int:
        """how: SHUT_RD | SHUT_WR bits."""
        return -EOPNOTSUPP

    def name(self) -> "bytes | int":
        return -EOPNOTSUPP

    def peer_name(self) -> "bytes | int":
        return -ENOTCONN

    def readable_bytes(self) -> int:
        return -EINVAL

    def unsent_bytes(self) -> int:
        return -EINVAL

    def listening(self) -> bool:
        return False

    def take_error(self) -> int:
        """The pending error as -errno (0: none), which is forgotten."""
        error, self.error = self.error, 0
        return -error

    # -- options
    def getsockopt(self, t, level: int, option: int) -> "bytes | int":
        if level != SOL_SOCKET:
            return -EOPNOTSUPP
        if option == SO_TIMESTAMP_NEW and self.options.get(SO_TIMESTAMPNS_NEW):
            return INT.pack(1)  # sk_getsockopt asks for the form alone
        if option in PLAIN:
            return INT.pack(self.options.get(option, PLAIN[option]))
        if option == SO_TYPE:
            return INT.pack(self.type)
        if option == SO_ERROR:
            return INT.pack(-self.take_error())
        if option == SO_DOMAIN:
            return INT.pack(self.family)
        if option == SO_PROTOCOL:
            return INT.pack(self.protocol)
        if option == SO_SNDBUF:
            return INT.pack(self.sndbuf)
        if option == SO_RCVBUF:
            return INT.pack(self.rcvbuf)
        if option == SO_LINGER:
            return LINGER.pack(*self.linger)
        if option == SO_RCVLOWAT:
            return INT.pack(self.rcvlowat)
        if option in (SO_SNDLOWAT, SO_BSDCOMPAT):
            return INT.pack(1 if option == SO_SNDLOWAT else 0)
        if option == SO_PEERNAME:
            return self.peer_name()
        if option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
            ns = self.rcvtimeo if option in (SO_RCVTIMEO, SO_RCVTIMEO_NEW) else self.sndtimeo
            return TIMEVAL.pack(ns // NSEC, ns % NSEC // 1000)
        if option == SO_ACCEPTCONN:
            return INT.pack(self.listening())
        return -ENOPROTOOPT

    def setsockopt(self, t, level: int, option: int, data: bytes) -> int:
        if level != SOL_SOCKET:
            return -ENOPROTOOPT
        if len(data) < 4:
            return -EINVAL
        (value,) = INT.unpack_from(data)
        if option in FLAGS:
            if option == SO_LOCK_FILTER and not value and self.options.get(option):
                return -EPERM
            if option in STAMPS and value:
                for other in STAMPS:
                    self.options.pop(other, None)
            self.options[option] = int(value != 0)
        elif option in NUMBERS:
            return self.set_number(t, option, value)
        elif option in socket_filter.OPTIONS:
            return socket_filter.set_option(self, t, option, data)
        elif option in (SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            forced = option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE)
            if forced and not t.creds.capable(CAP_NET_ADMIN):
                return -EPERM
            # socket(7): the value is doubled; the limit holds before doubling.
            value = max(0, value) if forced else min(value & 0xFFFFFFFF, WMEM_MAX)
            if option in (SO_SNDBUF, SO_SNDBUFFORCE):
                self.sndbuf = min(max(value * 2, MIN_SNDBUF), 1 << 30)
            else:
                self.rcvbuf = min(max(value * 2, MIN_RCVBUF), 1 << 30)
        elif option == SO_LINGER:
            if len(data) < 8:
                return -EINVAL
            self.linger = LINGER.unpack_from(data)
        elif option == SO_RCVLOWAT:
            self.rcvlowat = max(1, value) if value >= 0 else 0x7FFFFFFF
        elif option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
            if len(data) < 16:
                return -EINVAL
            sec, usec = TIMEVAL.unpack_from(data)
            if not 0 <= usec < 1000000:
                return -EDOM
            ns = 0 if sec < 0 else min(sec * NSEC + usec * 1000, FOREVER)
            if option in (SO_RCVTIMEO, SO_RCVTIMEO_NEW):
                self.rcvtimeo = ns
            else:
                self.sndtimeo = ns
        elif option != SO_BSDCOMPAT:
            return -ENOPROTOOPT
        return 0

    def set_number(self, t, option: int, value: int) -> int:
        admin = t.creds.capable(CAP_NET_ADMIN)
        if option == SO_PRIORITY and not 0 <= value <= 6 and not admin:
            return -EPERM
        if option == SO_MARK and not admin and not t.creds.capable(CAP_NET_RAW):
            return -EPERM
        if option == SO_BUSY_POLL and value < 0:
            return -EINVAL
        if option == SO_BUSY_POLL and value > self.options.get(option, 0) and not admin:
            return -EPERM
        if option == SO_ZEROCOPY:
            return -EOPNOTSUPP if self.family not in (AF_INET, AF_INET6) else 0 if value in (0, 1) else -EINVAL
        self.options[option] = value
        return 0


DROPPED = []  # files to let go of
dropping = False


def drop(rights) -> None:
    """Let go of files that nobody received. Sockets among them have messages of their own, with further files: these wait for
    their turn, so that a long chain takes no deep recursion."""
    global dropping
    if not rights:
        return
    DROPPED.extend(rights)
    if dropping:
        return
    dropping = True
    try:
        while DROPPED:
            DROPPED.pop().decref()
    finally:
        dropping = False


# family -> (create(t, type, protocol, flags) -> Socket | -errno, pair(t, type, protocol, flags) -> (a, b) | -errno)
FAMILIES: "dict[int, tuple]" = {}


def create(t, family: int, type_: int, protocol: int, flags: int) -> "Socket | int":
    entry = FAMILIES.get(family)
    return -EAFNOSUPPORT if entry is None else entry[0](t, type_, protocol, flags)


def create_pair(t, family: int, type_: int, protocol: int, flags: int):
    entry = FAMILIES.get(family)
    if entry is None:
        return -EOPNOTSUPP if family in (AF_INET, AF_INET6) else -EAFNOSUPPORT
    return -EOPNOTSUPP if entry[1] is None else entry[1](t, type_, protocol, flags)
