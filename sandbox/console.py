"""Terminals: the host pty behind a container's terminal, and the proxy between it and the user's own.

The guest's terminal, with its line discipline and job control, is the Sentry's. The host pty only carries bytes: its
slave goes to the Sentry in raw mode, its master to whoever asked for the terminal.
"""

import fcntl
import os
import select
import struct
import termios

import _socket

from sandbox import _host
from sandbox.errors import CliError, os_text

BUFFER = 65536


class Terminal:
    """A host pty. master, slave: descriptors (-1 when closed); name: path of the slave."""

    def __init__(self, master, slave, name):
        self.master = master
        self.slave = slave
        self.name = name

    def size(self) -> "tuple[int, int]":
        """(rows, columns)."""
        return get_size(self.master)

    def proxy(self) -> "Proxy":
        """Carries bytes between this pty and our own terminal."""
        return Proxy(self.master)

    def close_slave(self) -> None:
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        self.close_slave()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def open_terminal(process) -> Terminal:
    """A new pty in raw mode, with the configuration's size, or that of our own terminal. CliError."""
    try:
        terminal = Terminal(*_host.open_pty())
    except OSError as error:
        raise CliError(f"terminal: {os_text(error)}") from None
    make_raw(terminal.slave)
    size = process.get("consoleSize") or {}
    if size:
        set_size(terminal.master, size.get("height") or 0, size.get("width") or 0)
    elif os.isatty(0):
        set_size(terminal.master, *get_size(0))
    return terminal


def make_raw(fd) -> list:
    """cfmakeraw(3); returns the old settings."""
    old = termios.tcgetattr(fd)
    new = list(old)
    new[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    new[1] &= ~termios.OPOST
    new[2] = new[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    new[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    new[6] = list(old[6])
    new[6][termios.VMIN], new[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, new)
    return old


def get_size(fd) -> "tuple[int, int]":
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def set_size(fd, rows, columns) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def send_master(path, terminal) -> None:
    """Send the pty's master, with its slave's name as text, to the Unix socket that the caller listens on."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
        rights = terminal.master.to_bytes(4, "little")
        sock.sendmsg([terminal.name.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    except OSError as error:
        raise CliError(f"--console-socket {path}: {os_text(error)}") from None
    finally:
        sock.close()


class Proxy:
    """Copies between our own terminal (0 and 1) and a pty's master until `done` says so; signals are the caller's
    to receive through `wakeup`, a descriptor on which signal numbers arrive as bytes."""

    def __init__(self, master):
        self.master = master
        self.saved = None
        self.to_master = b""
        self.to_user = b""
        self.input = 0
        self.open = True  # the master's other end

    def start(self) -> None:
        if os.isatty(0):
            self.saved = make_raw(0)
        os.set_blocking(self.master, False)

    def stop(self) -> None:
        if self.saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
            self.saved = None

    def resize(self) -> None:
        """SIGWINCH: our terminal's size becomes the guest's."""
        if os.isatty(0):
            set_size(self.master, *get_size(0))

    def size(self) -> "tuple[int, int]":
        """(rows, columns) of the pty."""
        return get_size(self.master)

    def interest(self, poll) -> None:
        """Register with `poll` (select.poll) what we wait for."""
        if self.input >= 0 and len(self.to_master) < BUFFER:
            poll.register(self.input, select.POLLIN)
        if self.open:
            poll.register(self.master, (select.POLLIN if len(self.to_user) < BUFFER else 0) | (select.POLLOUT if self.to_master else 0))
        if self.to_user:
            poll.register(1, select.POLLOUT)

    def serve(self, fd, events) -> None:
        """`fd` of ours is ready."""
        if fd == self.input:
            data = read(fd)
            if data:
                self.to_master += data
            else:
                self.input = -1
        elif fd == self.master:
            if events & select.POLLOUT and self.to_master:
                try:
                    self.to_master = self.to_master[os.write(fd, self.to_master) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self.open = False
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = read(fd)
                if data:
                    self.to_user += data
                elif data is not None:
                    self.open = False
        elif fd == 1:
            self.to_user = self.to_user[os.write(1, self.to_user) :]

    def drain(self) -> None:
        """The container has ended: bring out what it wrote last."""
        while self.open:
            data = read(self.master)
            if not data:
                break
            self.to_user += data
        while self.to_user:
            self.to_user = self.to_user[os.write(1, self.to_user) :]


def read(fd) -> "bytes | None":
    """What is there; b"" at the end (a pty's other end gone is EIO); None: nothing yet."""
    try:
        return os.read(fd, BUFFER)
    except BlockingIOError:
        return None
    except OSError:
        return b""
