"""Descriptors given from outside (stdio of a container): pipes, sockets, files and terminals of the host.

The open file description is shared with whoever gave it, so its O_NONBLOCK stays as it is: pipes and sockets are
read and written with RWF_NOWAIT, everything else only after poll(2) said that it is ready.
Readiness comes from `Platform.watch`, edge-triggered, so that a busy descriptor nobody waits for costs nothing.
"""

import os
import select
import stat
from fcntl import F_GETFL, fcntl, ioctl

from sentry.abi.errno import EACCES, EAGAIN, EINVAL, ENODEV, ENOTTY, EOPNOTSUPP, EPERM, ESPIPE
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import AnonFS
from sentry.vfs.file import O_ACCMODE, O_APPEND, O_RDWR, POLL_READABLE, POLL_WRITABLE, File
from sentry.vfs.inode import Inode

HOSTFS = AnonFS("hostfs", 0x686F7374)
WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
ASKED = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
ATOMIC = 4096  # what a pipe that polls writable takes without blocking
TTY_CHUNK = 1024

FIONREAD = 0x541B
TCSBRK, TCXONC, TCFLSH = 0x5409, 0x540A, 0x540B
# Terminal requests passed on to a host terminal: request -> (bytes in, bytes out). Sessions and process groups are
# the guest's own and mean nothing to the host.
TTY_REQUESTS = {
    0x5401: (0, 36),  # TCGETS
    0x5402: (36, 0),  # TCSETS
    0x5403: (36, 0),  # TCSETSW
    0x5404: (36, 0),  # TCSETSF
    0x5413: (0, 8),  # TIOCGWINSZ
    0x5414: (8, 0),  # TIOCSWINSZ
    0x5411: (0, 4),  # TIOCOUTQ
    0x802C542A: (0, 44),  # TCGETS2
    0x402C542B: (44, 0),  # TCSETS2
    0x402C542C: (44, 0),  # TCSETSW2
    0x402C542D: (44, 0),  # TCSETSF2
}


class HostInode(Inode):
    """Attributes are the host's, asked anew each time."""

    __slots__ = ("fd", "platform")

    def __init__(self, fd, platform):
        Inode.__init__(self, HOSTFS, 0, 0)
        self.fd = fd
        self.platform = platform
        self.getattr()

    def getattr(self):
        try:
            st = os.fstat(self.fd)
        except OSError as e:
            return -e.errno
        self.ino, self.mode, self.nlink, self.size, self.rdev = st.st_ino, st.st_mode, st.st_nlink, st.st_size, st.st_rdev
        self.uid, self.gid = st.st_uid, st.st_gid
        self.atime, self.mtime, self.ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns
        return 0

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        if size is not None:
            return self.truncate(size) if stat.S_ISREG(self.mode) else -EINVAL
        return -EPERM  # whose file it is outside is not the guest's business

    def truncate(self, size):
        try:
            os.ftruncate(self.fd, size)
        except OSError as e:
            return -e.errno
        return 0

    def open(self, t, path, flags):
        """Through /proc/self/fd: another File for the same description, with no more rights than it has."""
        have = fcntl(self.fd, F_GETFL) & O_ACCMODE
        if have != O_RDWR and flags & O_ACCMODE != have:
            return -EACCES
        return HostFile(self.platform, os.dup(self.fd), flags)

    def blocks(self):
        return os.fstat(self.fd).st_blocks


class HostFile(File):
    """An open host descriptor, which this object owns."""

    __slots__ = ("platform", "fd", "kind", "is_tty", "watched", "nowait")

    def __init__(self, platform, fd: int, flags: int):
        inode = HostInode(fd, platform)
        kind = stat.S_IFMT(inode.mode)
        plain = kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFBLK)
        File.__init__(self, flags, inode, None, None if plain else WaitQueue())
        self.platform = platform
        self.fd = fd
        self.kind = kind
        self.is_tty = kind == stat.S_IFCHR and os.isatty(fd)
        self.watched = False
        self.nowait = kind in (stat.S_IFIFO, stat.S_IFSOCK)

    def anon_name(self):
        if self.kind == stat.S_IFIFO:
            return b"pipe:[%d]" % self.inode.ino
        if self.kind == stat.S_IFSOCK:
            return b"socket:[%d]" % self.inode.ino
        return b"/dev/console" if self.is_tty else b"/dev/null" if self.kind == stat.S_IFCHR else b"/host-file"

    def release(self):
        if self.watched:
            self.platform.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1

    # -- readiness
    def ready(self, event: int) -> int:
        poller = select.poll()
        poller.register(self.fd, ASKED if event == 0 else event)
        found = poller.poll(0)
        return found[0][1] if found else 0

    def poll(self):
        if self.queue is None:
            return POLL_READABLE | POLL_WRITABLE
        if not self.watched:
            self.watch()
        bits = self.ready(0)
        if bits & select.POLLIN:
            bits |= POLL_READABLE
        if bits & select.POLLOUT:
            bits |= POLL_WRITABLE
        return bits

    def watch(self) -> None:
        """From now on changes wake the queue. Some devices (/dev/null) cannot be watched: they never block."""
        self.watched = True
        try:
            self.platform.watch(self.fd, WATCHED, self.changed)
        except PermissionError:
            self.watched = False
            self.queue = None

    def changed(self, _fd, events):
        bits = events & 0xFFFF
        if bits & select.EPOLLIN:
            bits |= POLL_READABLE
        if bits & select.EPOLLOUT:
            bits |= POLL_WRITABLE
        self.queue.wake(bits)

    def blocked(self) -> int:
        if not self.watched:
            self.watch()
        return -EAGAIN

    # -- data
    def read(self, t, count, pos):
        fd = self.fd
        try:
            if pos is not None:
                return os.pread(fd, count, pos)
            if self.queue is None or not count:
                return os.read(fd, count)
            if self.nowait:
                count = min(count, 1 << 16)
                buffer = bytearray(count)
                try:
                    n = os.preadv(fd, [buffer], -1, os.RWF_NOWAIT)
                    return bytes(buffer[:n])
                except OSError as e:
                    if e.errno != EOPNOTSUPP:
                        raise
                    self.nowait = False
            if not self.ready(select.POLLIN):
                return self.blocked()
            return os.read(fd, count)
        except OSError as e:
            return self.blocked() if e.errno == EAGAIN else -e.errno

    def write(self, t, data, pos):
        fd = self.fd
        try:
            if pos is not None:
                return os.pwrite(fd, data, pos)
            if self.queue is None:
                if self.flags & O_APPEND:
                    os.lseek(fd, 0, os.SEEK_END)
                return os.write(fd, data)
            if self.nowait:
                try:
                    return os.pwritev(fd, [data], -1, os.RWF_NOWAIT)
                except OSError as e:
                    if e.errno != EOPNOTSUPP:
                        raise
                    self.nowait = False
            if not self.ready(select.POLLOUT):
                return self.blocked()
            return os.write(fd, data[: TTY_CHUNK if self.is_tty else ATOMIC])
        except OSError as e:
            return self.blocked() if e.errno == EAGAIN else -e.errno

    def seek(self, t, offset, whence):
        try:
            return os.lseek(self.fd, offset, whence)
        except OSError as e:
            return -ESPIPE if e.errno == ESPIPE else -e.errno

    def truncate(self, t, size):
        return self.inode.truncate(size)

    def fsync(self, t, datasync):
        try:
            (os.fdatasync if datasync else os.fsync)(self.fd)
        except OSError as e:
            return -e.errno
        return 0

    def host_mapping(self, t, shared, writable):
        return (self.fd, self.can_write) if self.kind == stat.S_IFREG else -ENODEV

    def ioctl(self, t, cmd, arg):
        if cmd == FIONREAD:
            size_in, size_out = 0, 4
        elif not self.is_tty:
            return -ENOTTY
        elif cmd in TTY_REQUESTS:
            size_in, size_out = TTY_REQUESTS[cmd]
        elif cmd in (TCXONC, TCFLSH, TCSBRK):
            try:
                return ioctl(self.fd, cmd, arg & 0xFFFFFFFF)
            except OSError as e:
                return -e.errno
        else:
            return -ENOTTY
        buffer = bytearray(t.read(arg, size_in)) if size_in else bytearray(size_out)
        try:
            result = ioctl(self.fd, cmd, buffer, True)
        except OSError as e:
            return -e.errno
        if size_out:
            t.write(arg, bytes(buffer))
        return result


def open_host_fd(kernel, fd: int, flags: "int | None" = None) -> HostFile:
    """A File for a host descriptor, which belongs to the File from now on. `flags`: access mode and status flags; None:
    as the host has them."""
    if flags is None:
        flags = fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND)
    return HostFile(kernel.platform, fd, flags)
