"""Moving data between files: sendfile, copy_file_range, splice, tee, vmsplice."""

from sentry.abi.errno import EAGAIN, EBADF, EINVAL, EISDIR, EPIPE, ESPIPE, EXDEV
from sentry.abi.fs import S_IFDIR, S_IFMT, S_IFREG, S_IFSOCK
from sentry.core.result import BLOCKED
from sentry.core.syscall import PARTIAL, Fd, InOutStruct, Ptr, Size, U32, ULong, syscall
from sentry.core.waitq import Wait
from sentry.fs.pipe import PipeFile
from sentry.syscalls.fileio import MAX_RW_COUNT, do_read, do_write, read_iov
from sentry.vfs.file import O_APPEND, O_NONBLOCK, POLL_WRITABLE, POLLERR, POLLHUP

CHUNK = 1 << 16
ONE_CALL = 1 << 24  # at most this is moved by one call; the caller goes on
SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE, SPLICE_F_GIFT = 1, 2, 4, 8
SPLICE_KNOWN = 15


class Transfer(Wait):
    """Bytes on their way from one file to another; positions None: the file's own. `whole`: go on until all is
    moved (sendfile), not only until some is (splice)."""

    __slots__ = ("source", "target", "in_pos", "out_pos", "left", "done", "whole", "nonblock", "in_addr", "out_addr", "side")

    def __init__(self, source, target, in_pos, out_pos, count, whole, nonblock, in_addr, out_addr):
        self.source = source.incref()
        self.target = target.incref()
        self.in_pos = in_pos
        self.out_pos = out_pos
        self.left = count
        self.done = 0
        self.whole = whole
        self.nonblock = nonblock
        self.in_addr = in_addr
        self.out_addr = out_addr
        self.side = None  # the file that made it wait

    def step(self, t) -> int:
        """Move what can be moved: 0 when the call is over, -EAGAIN, or another -errno."""
        source, target = self.source, self.target
        while self.left:
            if target.queue is not None and not target.poll() & (POLL_WRITABLE | POLLERR | POLLHUP):
                self.side = target
                return -EAGAIN
            room = room_in(target)
            data = source.read(t, min(self.left, CHUNK, room), self.in_pos)
            if type(data) is int:
                self.side = source
                return data
            if not data:
                return 0
            n = target.write(t, data, self.out_pos)
            moved = max(n, 0)
            if moved < len(data):
                if self.in_pos is None:
                    source.unread(data[moved:])
            if self.in_pos is not None:
                self.in_pos += moved
            if self.out_pos is not None:
                self.out_pos += moved
            self.done += moved
            self.left -= moved
            if n < 0:
                self.side = target
                return n
        return 0

    def run(self, t) -> int:
        error = self.step(t)
        if error == -EAGAIN and (not self.done or self.whole) and not self.nonblock:
            side = self.side
            if side.queue is not None and not side.flags & O_NONBLOCK:
                return BLOCKED
        if error == -EPIPE and not self.done:
            t.send_sigpipe()
        if not self.done and error:
            return error
        return self.result(t)

    def result(self, t) -> int:
        if self.in_addr:
            t.write(self.in_addr, self.in_pos.to_bytes(8, "little"))
        if self.out_addr:
            t.write(self.out_addr, self.out_pos.to_bytes(8, "little"))
        return self.done

    def poll(self, t):
        return self.run(t)

    def interrupted(self, t):
        return self.result(t) if self.done else self.restart

    def release(self, t):
        self.source.decref()
        self.target.decref()


def room_in(target) -> int:
    """How much one write to `target` surely takes, where that is known."""
    if isinstance(target, PipeFile):
        pipe = target.pipe
        return max(pipe.slots - pipe.used, 1) * 4096
    return CHUNK


def transfer(t, source, target, in_pos, out_pos, count, whole, nonblock, in_addr, out_addr):
    move = Transfer(source, target, in_pos, out_pos, min(count, ONE_CALL), whole, nonblock, in_addr, out_addr)
    result = move.run(t)
    if result == BLOCKED:
        queues = [source.queue]
        if target.queue is not source.queue:
            queues.append(target.queue)
        return t.block(move, *queues)
    move.release(t)
    return result


def kind_of(file) -> int:
    return file.inode.mode & S_IFMT if file.inode is not None else 0


def read_offset(t, addr) -> "int | None":
    return int.from_bytes(t.read(addr, 8), "little", signed=True) if addr else None


@syscall("sendfile", 40, (Fd, Fd, InOutStruct(8), Size), blocks=True)
def sys_sendfile(t, out_fd, in_fd, offset_addr, count):
    in_pos = read_offset(t, offset_addr)
    source = t.files.get(in_fd)
    if source is None or not source.can_read:
        return -EBADF
    target = t.files.get(out_fd)
    if kind_of(source) != S_IFREG:
        if offset_addr:
            return -ESPIPE
        if target is None or not target.can_write:
            return -EBADF
        return -EINVAL
    if in_pos is not None and in_pos < 0:
        return -EINVAL
    if target is None or not target.can_write:
        return -EBADF
    if target.flags & O_APPEND:
        return -EINVAL
    if count >= 1 << 63:
        return -EINVAL
    return transfer(t, source, target, in_pos, None, min(count, MAX_RW_COUNT), True, False, offset_addr, 0)


@syscall("copy_file_range", 326, (Fd, InOutStruct(8), Fd, InOutStruct(8), Size, U32))
def sys_copy_file_range(t, in_fd, in_addr, out_fd, out_addr, count, flags):
    source = t.files.get(in_fd)
    target = t.files.get(out_fd)
    if source is None or target is None:
        return -EBADF
    in_pos = read_offset(t, in_addr)
    out_pos = read_offset(t, out_addr)
    if flags:
        return -EINVAL
    kinds = kind_of(source), kind_of(target)
    if S_IFDIR in kinds:
        return -EISDIR
    if kinds != (S_IFREG, S_IFREG):
        return -EINVAL
    if not source.can_read or not target.can_write or target.flags & O_APPEND:
        return -EBADF
    if source.inode.fs.type_name != target.inode.fs.type_name:
        return -EXDEV
    start_in = source.pos if in_pos is None else in_pos
    start_out = target.pos if out_pos is None else out_pos
    if start_in < 0 or start_out < 0:
        return -EINVAL
    if source.inode is target.inode and start_in < start_out + count and start_out < start_in + count:
        return -EINVAL
    return transfer(t, source, target, in_pos, out_pos, min(count, MAX_RW_COUNT), True, True, in_addr, out_addr)


@syscall("splice", 275, (Fd, InOutStruct(8), Fd, InOutStruct(8), Size, U32), blocks=True)
def sys_splice(t, in_fd, in_addr, out_fd, out_addr, count, flags):
    if flags & ~SPLICE_KNOWN:
        return -EINVAL
    if not count:
        return 0
    source = t.files.get(in_fd)
    target = t.files.get(out_fd)
    if source is None or target is None or not source.can_read or not target.can_write:
        return -EBADF
    from_pipe, to_pipe = isinstance(source, PipeFile), isinstance(target, PipeFile)
    if (from_pipe and in_addr) or (to_pipe and out_addr):
        return -ESPIPE
    if not from_pipe and not to_pipe:
        return -EINVAL
    if (in_addr and kind_of(source) == S_IFSOCK) or (out_addr and kind_of(target) == S_IFSOCK):
        return -EINVAL
    if from_pipe and to_pipe and source.pipe is target.pipe:
        return -EINVAL
    if not to_pipe and target.flags & O_APPEND:
        return -EINVAL
    if kind_of(source) == S_IFDIR:
        return -EINVAL
    in_pos = read_offset(t, in_addr)
    out_pos = read_offset(t, out_addr)
    if (in_pos or 0) < 0 or (out_pos or 0) < 0:
        return -EINVAL
    nonblock = bool(flags & SPLICE_F_NONBLOCK)
    return transfer(t, source, target, in_pos, out_pos, min(count, MAX_RW_COUNT), False, nonblock, in_addr, out_addr)


class TeeWait(Wait):
    __slots__ = ("source", "target", "count")

    def __init__(self, source, target, count):
        self.source = source.incref()
        self.target = target.incref()
        self.count = count

    def poll(self, t):
        result = tee_now(t, self.source, self.target, self.count)
        return BLOCKED if result == -EAGAIN else result

    def release(self, t):
        self.source.decref()
        self.target.decref()


def tee_now(t, source, target, count) -> int:
    pipe = source.pipe
    if not pipe.chunks:
        return -EAGAIN if pipe.writers else 0
    count = min(count, room_in(target))
    if target.pipe.readers and target.pipe.used >= target.pipe.slots:
        return -EAGAIN
    parts = []
    for chunk in pipe.chunks:
        part = bytes(chunk.data[chunk.offset : chunk.offset + count])
        parts.append(part)
        count -= len(part)
        if not count:
            break
    n = target.write(t, b"".join(parts), None)
    if n == -EPIPE:
        t.send_sigpipe()
    return n


@syscall("tee", 276, (Fd, Fd, Size, U32), blocks=True)
def sys_tee(t, in_fd, out_fd, count, flags):
    if flags & ~SPLICE_KNOWN:
        return -EINVAL
    if not count:
        return 0
    source = t.files.get(in_fd)
    target = t.files.get(out_fd)
    if source is None or target is None or not source.can_read or not target.can_write:
        return -EBADF
    if not isinstance(source, PipeFile) or not isinstance(target, PipeFile) or source.pipe is target.pipe:
        return -EINVAL
    result = tee_now(t, source, target, count)
    if result == -EAGAIN and not flags & SPLICE_F_NONBLOCK and not (source.flags | target.flags) & O_NONBLOCK:
        return t.block(TeeWait(source, target, count), source.queue, target.queue)
    return result


@syscall("vmsplice", 278, (Fd, Ptr, ULong, U32), blocks=True, level=PARTIAL, note="copies")
def sys_vmsplice(t, fd, vec, count, flags):
    if flags & ~SPLICE_KNOWN:
        return -EINVAL
    file = t.files.get(fd)
    if file is None or not isinstance(file, PipeFile):
        return -EBADF
    iov = read_iov(t, vec, count)
    if type(iov) is int:
        return iov
    if not iov:
        return 0
    nowait = bool(flags & SPLICE_F_NONBLOCK)
    if file.can_write:
        return do_write(t, file, iov, None, nowait)
    return do_read(t, file, iov, None, nowait)
