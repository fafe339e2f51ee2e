"""Standard input and output of programs: containerd's FIFOs, files, and terminals.

A program writes into the FIFOs itself; the shim keeps each readable, so that nobody dies of SIGPIPE while the
reader changes. Input goes through a pipe: containerd's CloseIO ends it, and so does the end of the last writer.
"""

import os
import stat

from sandbox import console
from shim import loop as events
from shim.ttrpc import INVALID_ARGUMENT, RpcError

CHUNK = 65536


def path_of(uri) -> str:
    if uri.startswith("file://"):
        return uri.removeprefix("file://").partition("?")[0]
    if "://" in uri:
        raise RpcError(f"standard output to {uri.partition(':')[0]!r} is not supported (a path or file:// is)", INVALID_ARGUMENT)
    return uri


def open_output(uri) -> "tuple[int, int]":
    """(descriptor to write to, one that keeps a FIFO open or -1). An empty `uri` is nowhere."""
    path = path_of(uri) or "/dev/null"
    create = os.O_CREAT if uri.startswith("file://") else 0
    try:
        is_fifo = stat.S_ISFIFO(os.stat(path).st_mode)
    except FileNotFoundError:
        is_fifo = False
    keeper = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if is_fifo else -1
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | create, 0o644), keeper
    except OSError:
        close(keeper)
        raise


def close(fd) -> None:
    if fd >= 0:
        os.close(fd)


class Copy:
    """Carries bytes from one descriptor to another until the end of the first, and then calls done()."""

    def __init__(self, loop, source, sink, done):
        self.loop = loop
        self.source = source
        self.sink = sink
        self.done = done
        self.data = b""
        self.ending = False
        os.set_blocking(sink, False)
        os.set_blocking(source, False)
        loop.watch(source, events.IN, self.readable)

    def readable(self, mask) -> None:
        try:
            data = os.read(self.source, CHUNK) if mask & events.IN else b""
        except BlockingIOError:
            return
        except OSError:  # EIO: the other end of a terminal is gone
            data = b""
        if not data:
            self.finish()
            return
        self.data += data
        self.push()

    def push(self) -> None:
        """Write what is there; while it does not fit, nothing more is read."""
        try:
            while self.data:
                self.data = self.data[os.write(self.sink, self.data) :]
        except BlockingIOError:
            self.loop.unwatch(self.source)
            self.loop.watch(self.sink, events.OUT, lambda mask: self.push())
            return
        except OSError:  # the program has closed it, or ended
            self.data = b""
            self.finish()
            return
        self.loop.unwatch(self.sink)
        if self.ending:
            self.finish()
        elif self.source >= 0:
            self.loop.watch(self.source, events.IN, self.readable)

    def drain(self) -> None:
        """No more will come: carry what is there, and finish."""
        if self.source < 0:
            return
        while not self.ending:
            try:
                data = os.read(self.source, CHUNK)
            except OSError:
                data = b""
            if not data:
                self.ending = True
            self.data += data
        self.push()

    def finish(self) -> None:
        self.ending = True
        if self.data or self.source < 0:
            return
        self.loop.unwatch(self.source)
        self.loop.unwatch(self.sink)
        os.close(self.source)
        os.close(self.sink)
        self.source = self.sink = -1
        done, self.done = self.done, None
        if done is not None:
            done()


class Stdio:
    """What one program is connected to. Make it with `plain` or `terminal`."""

    def __init__(self, loop, request):
        self.loop = loop
        self.request = request  # has stdin, stdout, stderr
        self.keepers = []
        self.given = []  # ours until the program has them
        self.input = self.output = None
        self.terminal = None

    def plain(self) -> "list[tuple[int, int]]":
        """Pairs (number in the program, descriptor) for 0, 1 and 2; OSError. Then `started` or `close`."""
        pairs = []
        try:
            if self.request.stdin:
                theirs, ours = os.pipe2(os.O_CLOEXEC)
                self.given.append(theirs)
                self.input = Copy(self.loop, self.open_input(), ours, None)
                pairs.append((0, theirs))
            else:
                self.given.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
                pairs.append((0, self.given[-1]))
            for number, uri in ((1, self.request.stdout), (2, self.request.stderr)):
                fd, keeper = open_output(uri)
                self.given.append(fd)
                self.keepers.append(keeper)
                pairs.append((number, fd))
        except BaseException:
            self.close()
            raise
        return pairs

    def open_input(self) -> int:
        return os.open(path_of(self.request.stdin), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def attach(self, terminal) -> None:
        """Connect a console.Terminal's master."""
        self.terminal = terminal
        sink, keeper = open_output(self.request.stdout)
        self.keepers.append(keeper)
        self.output = Copy(self.loop, os.dup(terminal.master), sink, self.release)
        if self.request.stdin:
            self.input = Copy(self.loop, self.open_input(), os.dup(terminal.master), None)

    def started(self) -> None:
        """The program has its own copies."""
        for fd in self.given:
            os.close(fd)
        self.given.clear()

    def resize(self, rows, columns) -> None:
        console.set_size(self.terminal.master, rows, columns)

    def close_input(self) -> None:
        """CloseIO: what has been written comes through, then the program reads end-of-file."""
        if self.input is not None and self.terminal is None:
            self.input.drain()

    def ended(self) -> None:
        """The program has ended: bring out what it wrote last, then let go."""
        if self.output is not None:
            self.output.drain()
        else:
            self.release()
        self.stop_input()

    def stop_input(self) -> None:
        if self.input is not None:
            self.input.data = b""
            self.input.finish()

    def release(self) -> None:
        for keeper in self.keepers:
            close(keeper)
        self.keepers.clear()
        if self.terminal is not None:
            self.terminal.close()
            self.terminal = None

    def close(self) -> None:
        """At once, whatever has not been carried."""
        self.started()
        self.stop_input()
        if self.output is not None:
            self.output.data = b""
            self.output.finish()
        self.release()
