"""A container's terminal: a pseudo-terminal of the guest whose other end is a raw terminal of the host.

The host descriptor is the slave of a pty in raw mode that nobody else reads, so it may be non-blocking. Line
discipline, job control and signals all happen in the guest's terminal.

A command that stays attached tells of changes of the window's size. Who was given the pty's master (--console-socket)
sets the size there, of which the kernel tells the slave's session only; so the slave is asked now and then.
"""

import os
import select
from fcntl import ioctl
from struct import unpack
from time import monotonic_ns

from sentry.abi.errno import EAGAIN
from sentry.core.waitq import WaitEntry, Waiter
from sentry.fs.devpts import DevptsFS
from sentry.fs.tty import TtyFile
from sentry.vfs import walk
from sentry.vfs.file import O_RDWR, POLL_READABLE, POLL_WRITABLE

AT_FDCWD = -100
CHUNK = 4096
TIOCGWINSZ = 0x5413
LOOK_EVERY = 500000000  # ns


class HostTerminal(Waiter):
    """Moves bytes between `fd`, which it owns, and `terminal`."""

    __slots__ = ("platform", "fd", "node", "terminal", "entry", "closed", "full", "timers", "host_size")

    def __init__(self, platform, fd: int, node, winsize):
        self.platform = platform
        self.fd = fd
        self.node = node
        self.terminal = node.terminal
        self.terminal.winsize = winsize
        self.closed = False
        self.full = False  # the guest's input buffer: reading waits
        self.timers = None  # of the kernel, if the size is to be followed
        self.host_size = winsize
        os.set_blocking(fd, False)
        self.entry = WaitEntry(self, POLL_READABLE | POLL_WRITABLE)
        self.terminal.master_queue.add(self.entry)
        platform.watch(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET, self.host_ready)

    def resize(self, rows: int, columns: int) -> None:
        self.terminal.set_size((rows, columns, 0, 0))

    def follow_size(self, timers) -> None:
        """Take over changes of the host terminal's size from now on."""
        self.timers = timers
        self.look()

    def look(self) -> None:
        if not self.closed:
            self.take_size()
            self.timers.add(monotonic_ns() + LOOK_EVERY, self.look)

    def take_size(self) -> None:
        try:
            size = unpack("HHHH", ioctl(self.fd, TIOCGWINSZ, bytes(8)))
        except OSError:
            return  # hung up; a read will tell
        if size != self.host_size:
            self.host_size = size
            self.terminal.set_size(size)

    def host_ready(self, _fd, events) -> None:
        if self.timers is not None:
            self.take_size()
        self.flush()
        self.fill()

    def woken(self, entry, mask) -> None:
        """The terminal has output, or room for input."""
        if mask & POLL_READABLE:
            self.flush()
        if mask & POLL_WRITABLE and self.full:
            self.fill()

    def flush(self) -> None:
        """Output to the host, as much as it takes."""
        terminal = self.terminal
        while terminal.out and not self.closed:
            try:
                n = os.write(self.fd, bytes(terminal.out[:CHUNK]))
            except OSError as e:
                if e.errno != EAGAIN:
                    self.close()
                return
            terminal.take_out(n)

    def fill(self) -> None:
        """Input from the host, as much as the terminal takes."""
        while not self.closed:
            room = min(self.terminal.ldisc.room(), CHUNK)
            self.full = not room
            if self.full:
                return
            try:
                data = os.read(self.fd, room)
            except OSError as e:
                if e.errno != EAGAIN:
                    self.close()
                return
            if not data:
                self.close()
                return
            self.terminal.type_in(data)

    def close(self) -> None:
        """The host's end is gone, or the container is: hang up."""
        if self.closed:
            return
        self.closed = True
        self.platform.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1
        self.entry.remove()
        self.terminal.hang_up()
        self.node.fs.drop_node(self.node)


def open_host_terminal(kernel, actor, fd: int, rows: int, columns: int) -> "tuple[HostTerminal, TtyFile] | int":
    """A terminal over host descriptor `fd` for a container whose tree `actor` (vfs.context.Actor) sees: the bridge, and an
    open File for stdin, stdout and stderr (one reference). Its node is in the container's devpts if that is mounted on
    /dev/pts. The caller makes it the controlling terminal: `bridge.terminal.make_controlling(tg)`."""
    place = walk.resolve(actor, AT_FDCWD, b"/dev/pts")
    fs = None if isinstance(place, int) else place.inode.fs
    mounted = isinstance(fs, DevptsFS)
    if not mounted:
        fs = DevptsFS(0o620, None, 5)
    node = fs.new_node(actor, kernel.timers)
    if isinstance(node, int):
        return node
    node.locked = False
    path = walk.resolve(actor, AT_FDCWD, b"/dev/pts/%d" % node.terminal.index) if mounted else None
    bridge = HostTerminal(kernel.platform, fd, node, (rows, columns, 0, 0))
    return bridge, TtyFile(node.terminal, O_RDWR, node, None if isinstance(path, int) else path)
