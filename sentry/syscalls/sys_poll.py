"""poll, ppoll, select, pselect6 (fs/select.c)."""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import EBADF, EINTR, EINVAL, ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from sentry.abi.time import FOREVER, PAIR, get_timespec, timespec, timeval, timeval_ns
from sentry.core.result import BLOCKED
from sentry.core.syscall import U32, InOutStruct, InStruct, Int, Ptr, Size, syscall
from sentry.core.waitq import Wait, WaitEntry
from sentry.kernel import signals
from sentry.kernel.task import RLIMIT_NOFILE
from sentry.platform.base import MemFault
from sentry.syscalls.sys_epoll import get_mask, milliseconds
from sentry.vfs.file import (
    O_PATH,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)

POLLFD = Struct("<ihh")
MASK_PAIR = Struct("<QQ")
CARRIED = 16  # pollfds that the stub brings along, if the memory behind a shorter array is accessible as well
FD_SETSIZE = 1024  # sets of the C library; the stub brings those along
SELECT_IN = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR
SELECT_OUT = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR
SELECT_EX = POLLPRI
POLL_TIMESPEC, SELECT_TIMEVAL, SELECT_TIMESPEC = 1, 2, 3  # how the time left is written back


class ManyWait(Wait):
    """What poll and select share: `files` is a list of (file or None, mask of interest); subclasses turn the poll
    bits into an answer (`scan`) and write it to the guest (`store`). `end`: deadline or None; `left`: address of the timeout to update, or 0; `form`: how."""

    __slots__ = ("files", "end", "left", "form")

    def poll(self, t):
        result = self.scan(t)
        if result == 0:
            return BLOCKED
        return self.finish(t, result)

    def timeout(self, t):
        return self.finish(t, self.scan(t))

    def finish(self, t, result):
        """The end without a signal."""
        signals.restore_mask(t)
        self.write_left(t)
        self.store(t)
        return result

    def write_left(self, t) -> bool:
        """Update the guest's timeout; a fault there is no error (poll_select_finish)."""
        if not self.left:
            return True
        left = max(0, self.end - monotonic_ns())
        try:
            t.write(self.left, timeval(left) if self.form == SELECT_TIMEVAL else timespec(left))
        except MemFault:
            return False
        return True

    def interrupted(self, t):
        return -ERESTARTNOHAND if self.write_left(t) else -EINTR

    def release(self, t):
        for file, _ in self.files:
            if file is not None:
                file.decref()

    def begin(self, t, timeout):
        """First look, then sleep. `timeout`: ns or None; self.files hold references already."""
        result = self.scan(t)
        if result or timeout == 0:
            self.release(t)
            return self.finish(t, result)
        entries = []
        for file, mask in self.files:
            if file is not None and file.queue is not None:
                entry = WaitEntry(t, mask)
                file.queue.add(entry)
                entries.append(entry)
        return t.block(self, *entries, deadline=self.end)


class PollWait(ManyWait):
    """`fds`: [(fd, events)] in the guest's array at `addr`."""

    __slots__ = ("addr", "fds", "restartable", "answer")

    def scan(self, t):
        count = 0
        out = []
        for (fd, events), (file, mask) in zip(self.fds, self.files):
            if fd < 0:
                bits = 0
            elif file is None:
                bits = POLLNVAL
            else:
                bits = file.poll() & mask
            if bits:
                count += 1
            out.append(POLLFD.pack(fd, events, bits - 0x10000 if bits & 0x8000 else bits))
        self.answer = b"".join(out)
        return count

    def store(self, t):
        if self.answer:
            t.write(self.addr, self.answer)

    def interrupted(self, t):
        if not self.restartable:
            return ManyWait.interrupted(self, t)
        t.restart = PollRestart(self.addr, len(self.fds), self.end)
        return -ERESTART_RESTARTBLOCK


class PollRestart:
    """poll(2) to be continued with its old deadline."""

    __slots__ = ("addr", "count", "end")

    def __init__(self, addr, count, end):
        self.addr = addr
        self.count = count
        self.end = end

    def restart_call(self, t):
        timeout = None if self.end is None else max(0, self.end - monotonic_ns())
        return do_poll(t, self.addr, self.count, timeout, None, 0)


def do_poll(t, addr, count, timeout, mask, left):
    if count > t.rlimit(RLIMIT_NOFILE):
        return -EINVAL
    raw = t.read(addr, 8 * count) if count else b""
    wait = PollWait()
    wait.addr, wait.left, wait.form = addr, left, POLL_TIMESPEC
    wait.restartable = mask is None and not left
    wait.end = None if timeout is None else min(monotonic_ns() + timeout, FOREVER)
    wait.fds = fds = []
    wait.files = files = []
    get = t.files.get
    for fd, events, _ in POLLFD.iter_unpack(raw):
        file = get(fd) if fd >= 0 else None
        if file is not None and file.flags & O_PATH:
            file = None
        if file is not None:
            file.refs += 1
        fds.append((fd, events))
        files.append((file, events & 0xFFFF | POLLERR | POLLHUP))
    if mask is not None:
        signals.set_temporary_mask(t, mask)
    return wait.begin(t, timeout)


@syscall("poll", 7, (InOutStruct(8 * CARRIED), U32, Int), blocks=True)
def sys_poll(t, addr, count, timeout):
    return do_poll(t, addr, count, milliseconds(timeout), None, 0)


@syscall("ppoll", 271, (InOutStruct(8 * CARRIED), U32, InOutStruct(16), InStruct(8), Size), blocks=True)
def sys_ppoll(t, addr, count, timeout_addr, mask_addr, size):
    timeout = None
    if timeout_addr:
        timeout = get_timespec(t, timeout_addr)
        if timeout < 0:
            return timeout
    mask = get_mask(t, mask_addr, size)
    if mask == -EINVAL:
        return -EINVAL
    return do_poll(t, addr, count, timeout, t.sigmask if mask is None else mask, timeout_addr)


class SelectWait(ManyWait):
    """`asked`: (index into files, fd, in, out, ex); `addrs`: the three sets in guest memory; `size`: bytes of each."""

    __slots__ = ("asked", "addrs", "size", "answer")

    def scan(self, t):
        count = 0
        sets = [0, 0, 0]
        for index, fd, want_in, want_out, want_ex in self.asked:
            bits = self.files[index][0].poll()
            here = 1 << fd
            if want_in and bits & SELECT_IN:
                sets[0] |= here
                count += 1
            if want_out and bits & SELECT_OUT:
                sets[1] |= here
                count += 1
            if want_ex and bits & SELECT_EX:
                sets[2] |= here
                count += 1
        self.answer = sets
        return count

    def store(self, t):
        for addr, bits in zip(self.addrs, self.answer):
            if addr:
                t.write(addr, bits.to_bytes(self.size, "little"))


def do_select(t, count, addrs, timeout, mask, left, form):
    if count < 0:
        return -EINVAL
    table = t.files
    room = 64
    while room < len(table.slots):
        room *= 2
    count = min(count, room)
    size = (count + 63) // 64 * 8
    limit = (1 << count) - 1
    sets = [int.from_bytes(t.read(addr, size), "little") & limit if addr else 0 for addr in addrs]
    wait = SelectWait()
    wait.addrs, wait.size, wait.left, wait.form = addrs, size, left, form
    wait.end = None if timeout is None else min(monotonic_ns() + timeout, FOREVER)
    wait.files = files = []
    wait.asked = asked = []
    every = sets[0] | sets[1] | sets[2]
    while every:
        here = every & -every
        every ^= here
        fd = here.bit_length() - 1
        file = table.get(fd)
        if file is None or file.flags & O_PATH:
            wait.release(t)
            return -EBADF
        want_in, want_out, want_ex = bool(sets[0] & here), bool(sets[1] & here), bool(sets[2] & here)
        interest = (SELECT_IN if want_in else 0) | (SELECT_OUT if want_out else 0) | (SELECT_EX if want_ex else 0)
        asked.append((len(files), fd, want_in, want_out, want_ex))
        files.append((file.incref(), interest))
    if mask is not None:
        signals.set_temporary_mask(t, mask)
    return wait.begin(t, timeout)


@syscall("select", 23, (Int, InOutStruct(FD_SETSIZE // 8), InOutStruct(FD_SETSIZE // 8), Ptr, InOutStruct(16)), blocks=True)
def sys_select(t, count, read_addr, write_addr, except_addr, timeout_addr):
    timeout = None
    if timeout_addr:
        sec, usec = PAIR.unpack(t.read(timeout_addr, 16))
        # Linux carries excess microseconds over into seconds here.
        timeout = timeval_ns(sec + usec // 1000000, usec % 1000000)
        if timeout < 0:
            return timeout
    return do_select(t, count, (read_addr, write_addr, except_addr), timeout, None, timeout_addr, SELECT_TIMEVAL)


@syscall("pselect6", 270, (Int, InOutStruct(FD_SETSIZE // 8), InOutStruct(FD_SETSIZE // 8), Ptr, InOutStruct(16), InStruct(16)), blocks=True)
def sys_pselect6(t, count, read_addr, write_addr, except_addr, timeout_addr, mask_pair):
    mask = None
    if mask_pair:
        mask_addr, size = MASK_PAIR.unpack(t.read(mask_pair, 16))
        mask = get_mask(t, mask_addr, size)
    timeout = None
    if timeout_addr:
        timeout = get_timespec(t, timeout_addr)
        if timeout < 0:
            return timeout
    if mask == -EINVAL:
        return -EINVAL
    return do_select(t, count, (read_addr, write_addr, except_addr), timeout, mask, timeout_addr, SELECT_TIMESPEC)
