"""Messages of sockets in guest memory: struct msghdr, control data, socket addresses (recvmsg(2), cmsg(3))."""

from struct import Struct

from sentry.abi.errno import EBADF, EFAULT, EINVAL, EMSGSIZE, ENOBUFS, EPERM, ESRCH
from sentry.core.creds import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from sentry.kernel.pidfd import PidFd
from sentry.kernel.task import RLIMIT_NOFILE
from sentry.net.socket import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SO_PASSCRED,
    SO_PASSPIDFD,
    SOL_SOCKET,
    UCRED,
    drop,
    ucred,
)
from sentry.syscalls.fileio import read_iov

MSGHDR = Struct("<QI4xQQQQI4x")  # name namelen iov iovlen control controllen flags
CMSG = Struct("<Qii")
INT = Struct("<i")
SCM_RIGHTS, SCM_CREDENTIALS, SCM_PIDFD = 1, 2, 4
SCM_MAX_FD = 253
ADDR_MAX = 128
CONTROL_MAX = 20480  # net.core.optmem_max


class Header:
    """A struct msghdr, read once. `iov`: [(address, length)]."""

    __slots__ = ("addr", "name", "name_length", "iov", "control", "control_length")


def read_header(t, addr: int) -> "Header | int":
    name, name_length, iov, count, control, control_length, _ = MSGHDR.unpack(t.read(addr, MSGHDR.size))
    header = Header()
    header.addr = addr
    header.name = name
    header.name_length = name_length - (1 << 32) if name_length >> 31 else name_length
    if header.name_length < 0:
        return -EINVAL
    if count > 1024:
        return -EMSGSIZE
    vector = read_iov(t, iov, count)
    if type(vector) is int:
        return vector
    header.iov = vector
    header.control = control
    header.control_length = control_length
    return header


def read_address(t, addr: int, length: int) -> "bytes | int":
    """A socket address argument (move_addr_to_kernel)."""
    if not 0 <= length <= ADDR_MAX:
        return -EINVAL
    return t.read(addr, length) if length else b""


def write_address(t, addr: int, length_addr: int, value: bytes) -> int:
    """A socket address result: cut to the guest's room, with the full length (move_addr_to_user)."""
    (room,) = INT.unpack(t.read(length_addr, 4))
    if room < 0:
        return -EINVAL
    if room and value:
        t.write(addr, value[:room])
    t.write(length_addr, INT.pack(len(value)))
    return 0


def read_control(t, addr: int, length: int):
    """Control data of a send: (rights, creds, others) or -errno. `rights`: Files with references of their own, or None;
    `others`: what is not of SOL_SOCKET, [(level, type, body)], or None."""
    if not addr or not length:
        return None, None, None
    if length > CONTROL_MAX:
        return -ENOBUFS
    data = t.read(addr, length)
    rights, creds, others = None, None, None
    at = 0
    while at + CMSG.size <= length:
        size, level, kind = CMSG.unpack_from(data, at)
        if size < CMSG.size or size > length - at:
            drop(rights)
            return -EINVAL
        body = data[at + CMSG.size : at + size]
        if level == SOL_SOCKET:
            if kind == SCM_RIGHTS:
                error, rights = take_rights(t, body, rights)
            elif kind == SCM_CREDENTIALS:
                error, creds = check_creds(t, body)
            else:
                error = -EINVAL
            if error:
                drop(rights)
                return error
        elif others is None:
            others = [(level, kind, body)]
        else:
            others.append((level, kind, body))
        at += (size + 7) & ~7
    return rights, creds, others


def take_rights(t, body: bytes, rights):
    count = len(body) // 4
    rights = rights if rights is not None else []
    if len(rights) + count > SCM_MAX_FD:
        return -EINVAL, rights
    for (fd,) in INT.iter_unpack(body[: 4 * count]):
        file = t.files.get(fd)
        if file is None:
            return -EBADF, rights
        rights.append(file.incref())
    return 0, rights or None


def check_creds(t, body: bytes):
    """SCM_CREDENTIALS of a send: only the truth, unless privileged (net/core/scm.c:scm_check_creds)."""
    if len(body) != UCRED.size:
        return -EINVAL, None
    pid, uid, gid = UCRED.unpack(body)
    mine = t.creds
    if (
        (pid == t.tg.pid or mine.capable(CAP_SYS_ADMIN))
        and (uid in (mine.uid, mine.euid, mine.suid) or mine.capable(CAP_SETUID))
        and (gid in (mine.gid, mine.egid, mine.sgid) or mine.capable(CAP_SETGID))
    ):
        return (0, (pid, uid, gid, t.tg.pids)) if pid == t.tg.pid or pid in t.tg.pids.tasks or pid in t.tg.pids.groups else (-ESRCH, None)
    return -EPERM, None


def install_pidfd(t, pid: int) -> int:
    """A new descriptor of process `pid`, or -ESRCH, -EMFILE."""
    tg = t.tg.pids.groups.get(pid)
    if tg is None:
        return -ESRCH
    file = PidFd(tg)
    fd = t.files.install(file, t.rlimit(RLIMIT_NOFILE), True)
    if fd < 0:
        file.decref()
    return fd


class ControlWriter:
    """Puts control messages into the guest's buffer; what does not fit sets MSG_CTRUNC."""

    def __init__(self, t, addr: int, length: int):
        self.t = t
        self.addr = addr
        self.room = length if addr else 0
        self.used = 0
        self.flags = 0

    def put(self, level: int, kind: int, body: bytes) -> None:
        if self.room < CMSG.size:
            self.flags |= MSG_CTRUNC
            return
        size = CMSG.size + len(body)
        if size > self.room:
            self.flags |= MSG_CTRUNC
            size = self.room
        self.t.write(self.addr, (CMSG.pack(size, level, kind) + body)[:size])
        space = min((size + 7) & ~7, self.room)
        self.addr += space
        self.room -= space
        self.used += space

    def put_pidfd(self, pid: int) -> None:
        """SCM_PIDFD: a descriptor, or an -errno in its place (net/core/scm.c:scm_pidfd_recv)."""
        if self.room < CMSG.size + 4:
            self.flags |= MSG_CTRUNC
        else:
            self.put(SOL_SOCKET, SCM_PIDFD, INT.pack(install_pidfd(self.t, pid)))

    def put_rights(self, files, flags: int) -> None:
        """Install the files and tell their descriptors; those that do not fit are dropped."""
        fit = max(0, (self.room - CMSG.size) // 4)
        t = self.t
        numbers = []
        limit = t.rlimit(RLIMIT_NOFILE)
        for file in files:
            if len(numbers) < fit:
                fd = t.files.install(file, limit, bool(flags & MSG_CMSG_CLOEXEC))
                if fd >= 0:
                    numbers.append(fd)
                    continue
                fit = len(numbers)
            self.flags |= MSG_CTRUNC
            file.decref()
        if numbers:
            self.put(SOL_SOCKET, SCM_RIGHTS, b"".join(map(INT.pack, numbers)))


def write_header(t, header: Header, got, sock, flags: int) -> int:
    """Everything of a received message but its data; 0 or -errno. Takes over got.rights."""
    control = ControlWriter(t, header.control, header.control_length)
    if got.creds is not None and sock.options.get(SO_PASSCRED):
        control.put(SOL_SOCKET, SCM_CREDENTIALS, ucred(t, got.creds))
    if got.creds is not None and sock.options.get(SO_PASSPIDFD):
        control.put_pidfd(UCRED.unpack(ucred(t, got.creds))[0])
    if got.control:
        for level, kind, body in got.control:
            control.put(level, kind, body)
    if got.rights:
        rights, got.rights = got.rights, None
        control.put_rights(rights, flags)
    addr = header.addr
    if header.name:
        room = min(header.name_length, len(got.addr))
        if room:
            t.write(header.name, got.addr[:room])
        t.write(addr + 8, INT.pack(len(got.addr)))
    t.write(addr + 40, control.used.to_bytes(8, "little"))
    t.write(addr + 48, INT.pack(got.flags | control.flags | flags & MSG_CMSG_CLOEXEC))
    return 0


def fault(copied: int, wanted: int) -> int:
    return -EFAULT if copied < wanted else 0
