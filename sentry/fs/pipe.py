"""Pipes and FIFOs (pipe(7), fifo(7), fs/pipe.c)."""

from _collections import deque

from sentry.abi.errno import EAGAIN, EBUSY, EINVAL, ENOTTY, ENXIO, EPERM, EPIPE, ESPIPE
from sentry.abi.fs import S_IFIFO
from sentry.core.creds import CAP_SYS_RESOURCE
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import PIPEFS
from sentry.vfs.devices import register_fifo
from sentry.vfs.file import (
    O_ACCMODE,
    O_DIRECT,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    POLL_READABLE,
    POLL_WRITABLE,
    POLLERR,
    POLLHUP,
    File,
)

PAGE = 4096
DEFAULT_SLOTS = 16
MAX_SIZE = 1 << 20  # /proc/sys/fs/pipe-max-size
FIONREAD = 0x541B


class Chunk:
    """What one write left. It takes as many page slots of the pipe as Linux would use, until they are drained."""

    __slots__ = ("data", "offset", "packet")

    def __init__(self, data, packet):
        self.data = data
        self.offset = 0
        self.packet = packet  # written with O_DIRECT: read as a unit

    def slots(self) -> int:
        return (len(self.data) + PAGE - 1) // PAGE - self.offset // PAGE


class Pipe:
    """The buffer between the ends. `queue` serves both: its wake-ups carry poll bits."""

    __slots__ = ("chunks", "used", "slots", "readers", "writers", "reader_opens", "writer_opens", "queue", "inode", "key", "packet")

    def __init__(self, inode, key=None):
        self.chunks = deque()
        self.used = 0  # slots taken
        self.slots = DEFAULT_SLOTS
        self.readers = 0
        self.writers = 0
        self.reader_opens = 0  # how often an end was opened: fifo(7) opens wait for a change
        self.writer_opens = 0
        self.queue = WaitQueue()
        self.inode = inode
        self.key = key  # in FIFOS
        self.packet = None  # what the last read ended with, if that was a packet

    def content(self) -> int:
        return sum(len(chunk.data) - chunk.offset for chunk in self.chunks)

    def read(self, count: int) -> "bytes | int":
        chunks = self.chunks
        if not chunks:
            return -EAGAIN if self.writers else b""
        was_full = self.used >= self.slots
        self.packet = None
        parts = []
        while chunks and count:
            chunk = chunks[0]
            before = chunk.slots()
            start = chunk.offset
            have = len(chunk.data)
            end = min(have, start + count)
            part = chunk.data if end - start == have else chunk.data[start:end]
            parts.append(part)
            count -= end - start
            if end == have or chunk.packet:
                chunks.popleft()
                self.used -= before
                if chunk.packet:
                    self.packet = chunk
                    break
            else:
                chunk.offset = end
                self.used -= before - chunk.slots()
        if was_full and self.used < self.slots and self.queue.entries:
            self.queue.wake(POLL_WRITABLE)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def write(self, data, packet: bool) -> int:
        total = len(data)
        if not total:
            return 0
        if not self.readers:
            return -EPIPE
        done = 0
        chunks = self.chunks
        head = total % PAGE
        if head and chunks and not packet and not chunks[-1].packet:
            last = chunks[-1]
            if len(last.data) % PAGE and len(last.data) % PAGE + head <= PAGE:
                if type(last.data) is not bytearray:
                    last.data = bytearray(last.data)
                last.data += data[:head]
                done = head
        free = self.slots - self.used
        while done < total and free > 0:
            if packet:
                part = data[done : done + PAGE]
            else:
                part = data[done : done + free * PAGE] if done or total > free * PAGE else data
            chunk = Chunk(part, packet)
            chunks.append(chunk)
            taken = chunk.slots()
            self.used += taken
            free -= taken
            done += len(part)
        if not done:
            return -EAGAIN
        if self.queue.entries:
            self.queue.wake(POLL_READABLE)
        return done

    def resize(self, t, size: int) -> int:
        """F_SETPIPE_SZ."""
        if size > 1 << 31:
            return -EINVAL
        pages = 1
        while pages * PAGE < size:
            pages *= 2
        if pages > self.slots and pages * PAGE > MAX_SIZE and not t.creds.capable(CAP_SYS_RESOURCE):
            return -EPERM
        if self.used > pages:
            return -EBUSY
        grown = pages > self.slots
        self.slots = pages
        if grown:
            self.queue.wake(POLL_WRITABLE)
        return pages * PAGE


class PipeFile(File):
    """One end, or with O_RDWR both."""

    __slots__ = ("pipe", "partner", "no_writer_yet")

    def __init__(self, pipe, flags, path=None):
        File.__init__(self, flags, pipe.inode, path, pipe.queue)
        self.pipe = pipe
        self.partner = None  # the other side's count of opens that this open waits to see change
        self.no_writer_yet = -1  # count of writers' opens when a FIFO was opened without any
        mode = flags & O_ACCMODE
        if mode != O_WRONLY:
            pipe.readers += 1
            pipe.reader_opens += 1
        if mode != O_RDONLY:
            pipe.writers += 1
            pipe.writer_opens += 1

    def anon_name(self):
        return b"pipe:[%d]" % self.inode.ino

    def async_events(self):
        mode = self.flags & O_ACCMODE
        return (POLL_READABLE if mode != O_WRONLY else 0) | (POLL_WRITABLE if mode != O_RDONLY else 0)

    def opening(self):
        if self.partner is None:
            return None
        pipe = self.pipe
        now = pipe.writer_opens if self.flags & O_ACCMODE == O_RDONLY else pipe.reader_opens
        if now == self.partner and not self.flags & O_NONBLOCK:
            return pipe.queue
        self.partner = None
        return None

    def release(self):
        pipe = self.pipe
        mode = self.flags & O_ACCMODE
        if mode != O_WRONLY:
            pipe.readers -= 1
        if mode != O_RDONLY:
            pipe.writers -= 1
        if not pipe.readers and not pipe.writers:
            pipe.chunks.clear()
            pipe.used = 0
            if pipe.key is not None:
                FIFOS.pop(pipe.key, None)
        elif not pipe.readers or not pipe.writers:
            pipe.queue.wake(POLL_READABLE | POLL_WRITABLE | POLLERR | POLLHUP)

    def read(self, t, count, pos):
        return -ESPIPE if pos is not None else self.pipe.read(count)

    def takes(self, count):
        pipe = self.pipe
        most = max(pipe.slots - pipe.used, 1) * PAGE + count % PAGE
        return count if count < most else most

    def unread(self, data):
        chunk = self.pipe.packet or Chunk(data, False)  # a packet is not read in part
        self.pipe.packet = None
        self.pipe.chunks.appendleft(chunk)
        self.pipe.used += chunk.slots()

    def write(self, t, data, pos):
        return -ESPIPE if pos is not None else self.pipe.write(data, bool(self.flags & O_DIRECT))

    def poll(self):
        pipe = self.pipe
        mode = self.flags & O_ACCMODE
        bits = 0
        if mode != O_WRONLY:
            if pipe.chunks:
                bits = POLL_READABLE
            # A FIFO opened before its first writer shows no hang-up until one has come and gone.
            if not pipe.writers and self.no_writer_yet != pipe.writer_opens:
                bits |= POLLHUP
        if mode != O_RDONLY:
            if pipe.used < pipe.slots:
                bits |= POLL_WRITABLE
            if not pipe.readers:
                bits |= POLLERR
        return bits

    def ioctl(self, t, cmd, arg):
        if cmd == FIONREAD:
            t.write(arg, self.pipe.content().to_bytes(4, "little"))
            return 0
        return -ENOTTY

    def pipe_size(self, t, size):
        return self.pipe.slots * PAGE if size is None else self.pipe.resize(t, size)


def new_pipe(t, flags: int) -> "tuple[PipeFile, PipeFile]":
    """pipe2(2): read end and write end. flags: O_NONBLOCK, O_DIRECT."""
    inode = PIPEFS.inode(S_IFIFO | 0o600, t.creds.fsuid, t.creds.fsgid)
    pipe = FIFOS[id(inode)] = Pipe(inode, id(inode))
    return PipeFile(pipe, O_RDONLY | flags & O_NONBLOCK), PipeFile(pipe, O_WRONLY | flags)


# identity of the inode -> Pipe, for those with an open end (the Pipe keeps the inode, so that stays its own)
FIFOS: "dict[int | tuple, Pipe]" = {}


def open_fifo(t, inode, path, flags: int):
    """Open a named FIFO; the File's `opening` says whether open(2) must wait for the other side."""
    mode = flags & O_ACCMODE
    key = inode.identity()
    pipe = FIFOS.get(key)
    if mode == O_WRONLY and flags & O_NONBLOCK and (pipe is None or not pipe.readers):
        return -ENXIO
    if pipe is None:
        pipe = FIFOS[key] = Pipe(inode, key)
    file = PipeFile(pipe, flags, path)
    if mode == O_RDONLY and not pipe.writers:
        file.partner = file.no_writer_yet = pipe.writer_opens
    elif mode == O_WRONLY and not pipe.readers:
        file.partner = pipe.reader_opens
    pipe.queue.wake()
    if mode == O_RDWR or inode.fs is PIPEFS:  # a pipe opened through /proc/pid/fd waits for nobody (fs/pipe.c: fifo_open)
        file.partner = None
        file.no_writer_yet = -1
    return file


register_fifo(open_fifo)
