"""A task without a guest: byte-array memory, credentials, descriptors, and system calls by name.

    s = Sandbox(); s.call("mkdir", b"/d", 0o755); s.call("stat", b"/d", out := bytearray(144))

bytes arguments become NUL-terminated strings in the task's memory, bytearrays buffers that are copied in
before and back after the call.
"""

from sentry.core.creds import Creds
from sentry.core.result import BLOCKED
from sentry.core.syscall import BY_NAME
from sentry.core.timers import Timers
from sentry.core.waitq import WaitEntry, Waiter
from sentry.fs.tmpfs import TmpfsFS
from sentry.platform.base import MemFault
from sentry.syscalls import table  # noqa: F401
from sentry.vfs.context import FsContext
from sentry.vfs.file import FdTable
from sentry.vfs.mount import Mount, MountNamespace

BASE = 0x10000
SIZE = 1 << 22


class FakeGroup:
    def __init__(self, pid):
        self.pid = pid
        self.container = None


class FakeKernel:
    def __init__(self):
        self.timers = Timers()
        self.ready = []


class FakeTask(Waiter):
    last_pid = 0

    def __init__(self, ns=None, root=None, creds=None):
        if ns is None:
            ns = MountNamespace(Mount(root or TmpfsFS(0o755)))
        place = ns.root_path()
        self.fs = FsContext(ns, place, place)
        self.files = FdTable()
        self.creds = creds or Creds()
        FakeTask.last_pid += 1
        self.tid = FakeTask.last_pid
        self.tg = FakeGroup(self.tid)
        self.kernel = FakeKernel()
        self.memory = bytearray(SIZE)
        self.top = 0
        self.limits = {7: 1024, 1: (1 << 64) - 1}
        self.signals = []
        self.wait = None
        self.entries = []
        self.interrupted = False
        self.mm = None

    def read(self, addr, n):
        if n and not (BASE <= addr and addr + n <= BASE + SIZE):
            raise MemFault(addr)
        return bytes(self.memory[addr - BASE : addr - BASE + n])

    def read_upto(self, addr, n):
        if not BASE <= addr < BASE + SIZE:
            return b""
        return bytes(self.memory[addr - BASE : addr - BASE + n])

    def read_cstr(self, addr, limit):
        if not BASE <= addr < BASE + SIZE:
            raise MemFault(addr)
        end = self.memory.find(b"\0", addr - BASE, addr - BASE + limit)
        return bytes(self.memory[addr - BASE : addr - BASE + limit if end < 0 else end])

    def write(self, addr, data):
        if data and not (BASE <= addr and addr + len(data) <= BASE + SIZE):
            raise MemFault(addr)
        self.memory[addr - BASE : addr - BASE + len(data)] = data

    def write_upto(self, addr, data):
        if not BASE <= addr < BASE + SIZE:
            return 0
        n = min(len(data), BASE + SIZE - addr)
        self.memory[addr - BASE : addr - BASE + n] = data[:n]
        return n

    def rlimit(self, which):
        return self.limits.get(which, (1 << 64) - 1)

    def signal_pending(self):
        return self.interrupted

    def send_signal(self, signo):
        self.signals.append(signo)

    def send_sigpipe(self):
        self.signals.append(13)

    # -- blocking: `resume` plays the dispatcher
    def block(self, wait, *queues, deadline=None):
        self.wait = wait
        for queue in queues:
            entry = queue
            if not isinstance(queue, WaitEntry):
                entry = WaitEntry(self)
                queue.add(entry)
            self.entries.append(entry)
        self.awake = False
        return BLOCKED

    def woken(self, entry, mask):
        self.awake = True

    def finish(self, result):
        wait, self.wait = self.wait, None
        for entry in self.entries:
            entry.remove()
        self.entries = []
        wait.release(self)
        return result

    def resume(self):
        """The result of the blocked call if something woke it and it could finish, else BLOCKED."""
        if not self.awake:
            return BLOCKED
        self.awake = False
        result = self.wait.poll(self)
        return result if result == BLOCKED else self.finish(result)

    def interrupt(self):
        return self.finish(self.wait.interrupted(self))

    # -- calls
    def put(self, data) -> int:
        addr = BASE + self.top
        self.memory[self.top : self.top + len(data)] = data
        self.top += (len(data) + 63) & ~63
        return addr

    def call(self, name, *args):
        self.top = 64
        raw = []
        buffers = []
        for arg in args:
            if isinstance(arg, bytes):
                raw.append(self.put(arg + b"\0"))
            elif isinstance(arg, bytearray):
                addr = self.put(arg)
                buffers.append((addr, arg))
                raw.append(addr)
            else:
                raw.append(arg & (1 << 64) - 1)
        try:
            result = BY_NAME[name].call(self, raw + [0] * (6 - len(raw)))
        except MemFault:
            result = -14
        for addr, buf in buffers:
            buf[:] = self.memory[addr - BASE : addr - BASE + len(buf)]
        return result
