"""A platform without guests: parked threads over a small memory, for unit tests of the kernel.

    world = World()                       # a kernel with an init process (pid 1)
    t = world.init
    assert world.call(t, "getpid") == 1   # a system call, with what it returned to the guest
    child = world.tasks[world.call(t, "fork")]

`call` returns the value that the guest would see, or PENDING while the call has not returned; `world.result(t)`
asks again later. `world.turn()` runs what is ready and what the fake host has finished.
"""

from collections import deque

from sentry.core.creds import Creds
from sentry.core.syscall import BY_NAME
from sentry.fs.tmpfs import TmpfsFS
from sentry.kernel import session, signals
from sentry.kernel.kernel import Kernel
from sentry.kernel.task import Task, ThreadGroup
from sentry.kernel.uts import UTS
from sentry.platform.base import EV_SYSCALL, MemFault
from sentry.syscalls import table  # noqa: F401  (registers the calls)
from sentry.vfs.context import FsContext
from sentry.vfs.file import FdTable
from sentry.vfs.mount import Mount, MountNamespace

PENDING = "pending"
NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip rsp eflags fs_base gs_base".split()
MEMORY = 0x10000  # the guest's only mapping: [MEMORY, MEMORY + MEMORY_SIZE)
MEMORY_SIZE = 0x40000


class FakeRegs:
    def __init__(self):
        for name in NAMES:
            setattr(self, name, 0)

    def copy(self):
        return tuple(getattr(self, name) for name in NAMES)

    def load(self, values):
        for name, value in zip(NAMES, values, strict=True):
            setattr(self, name, value)


class FakeAspace:
    def __init__(self, platform, memory):
        platform.last_pid += 1
        self.platform = platform
        self.pid = platform.last_pid
        self.memory = memory
        self.threads = []
        self.killed = False

    def span(self, addr, length):
        if not MEMORY <= addr <= addr + length <= MEMORY + MEMORY_SIZE:
            raise MemFault(addr)
        return slice(addr - MEMORY, addr - MEMORY + length)

    def read(self, addr, length):
        return bytes(self.memory[self.span(addr, length)])

    def write(self, addr, data):
        self.memory[self.span(addr, len(data))] = data

    def read_upto(self, addr, length):
        if not MEMORY <= addr < MEMORY + MEMORY_SIZE:
            raise MemFault(addr)
        return self.read(addr, min(length, MEMORY + MEMORY_SIZE - addr))

    def write_upto(self, addr, data):
        if not MEMORY <= addr < MEMORY + MEMORY_SIZE:
            raise MemFault(addr)
        data = bytes(data)[: MEMORY + MEMORY_SIZE - addr]
        self.write(addr, data)
        return len(data)

    def kill(self):
        self.killed = True


class FakeThread:
    """`history`: what the kernel told it, as tuples; `parked`: whether the kernel has it."""

    def remember(self, nr, value):
        pass

    def forget_answers(self):
        pass

    def tell_pending(self, signals):
        pass

    def tell_altstack(self, stack):
        pass

    def tell_start(self, tid, may):
        pass

    def __init__(self, platform, aspace):
        platform.last_pid += 1
        self.tid = platform.last_pid
        self.platform = platform
        self.aspace = aspace
        aspace.threads.append(self)
        self.task = None
        self.signal_mask = self.entered_signal = self.robust_list = self.clear_child_tid = 0
        self.regs = FakeRegs()
        self.parked = True
        self.gone = False
        self.returned = None
        self.interrupted = 0
        self.history = []
        self.event, self.nr, self.args = EV_SYSCALL, -1, (0,) * 6

    def read(self, addr, length):
        return self.aspace.read(addr, length)

    def read_upto(self, addr, length):
        return self.aspace.read_upto(addr, length)

    def write(self, addr, data):
        self.aspace.write(addr, data)

    def write_upto(self, addr, data):
        return self.aspace.write_upto(addr, data)

    def read_cstr(self, addr, limit):
        return self.read_upto(addr, limit).split(b"\0", 1)[0]

    def go(self, *what):
        assert self.parked, f"thread {self.tid} is resumed twice: {self.history[-1:]} then {what}"
        assert not self.gone
        self.parked = False
        self.history.append(what)

    def ret(self, value):
        self.go("ret", value)
        self.returned = value

    def resume(self, fp_reset=False, fp_from=0):
        self.go("resume", self.regs.rip)
        value = self.regs.rax
        self.returned = value - (1 << 64) if value >> 63 else value

    def enter_handler(self, frame_addr, frame, fp_addr):
        self.write(frame_addr, frame)
        self.go("handler", self.regs.rip)

    def run_ops(self, ops, value=None):
        self.go("ops", ops)
        if value is not None:
            self.returned = value

    def fork(self, done, meanwhile=None):
        assert self.parked
        self.platform.later.append(("fork", self, done))
        if meanwhile is not None:
            meanwhile()

    def spawn(self, done):
        assert self.parked
        self.platform.later.append(("spawn", self, done))

    def exit(self):
        self.gone = True

    def interrupt(self):
        self.interrupted += 1


class FakePlatform:
    name = "fake"
    fp_size = 512

    def __init__(self):
        self.last_pid = 1000
        self.later = deque()  # requests that the fake host has not finished
        self.fail = 0  # errno for the next fork or spawn

    def new_aspace(self, done, nursery=None):
        self.later.append(("new", None, done))

    def finish(self):
        """Carry out what was asked for."""
        while self.later:
            kind, thread, done = self.later.popleft()
            if self.fail:
                error, self.fail = self.fail, 0
                done(None, error)
                continue
            if kind == "new":
                child = FakeThread(self, FakeAspace(self, bytearray(MEMORY_SIZE)))
            elif kind == "fork":
                child = FakeThread(self, FakeAspace(self, bytearray(thread.aspace.memory)))
            else:
                child = FakeThread(self, thread.aspace)
            if thread is not None:
                child.regs.load(thread.regs.copy())
            done(child, 0)

    def watch(self, fd, events, callback):
        pass

    def unwatch(self, fd):
        pass


class FakeAreas(list):
    areas = property(lambda self: self)


class FakeMM:
    patches = None

    def peek(self, addr, length):
        return self.aspace.read_upto(addr, length)

    def __init__(self, aspace):
        self.aspace = aspace
        self.users = 1
        self.vmas = FakeAreas()
        self.exe = None
        self.auxv = b""
        self.peak_total = self.membarrier = 0
        self.start_code = self.end_code = self.start_data = self.end_data = self.start_stack = self.brk_start = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0

    def get(self):
        self.users += 1
        return self

    def drop(self):
        self.users -= 1
        if not self.users:
            if self.aspace is not None:
                self.aspace.kill()

    def fork(self, aspace):
        return FakeMM(aspace)

    def fork_ops(self):
        return []

    def forget(self, task):
        pass

    def find(self, addr):
        return None

    def futex_key(self, addr):
        return (id(self), addr)


class World:
    def __init__(self, creds=None):
        self.platform = FakePlatform()
        self.kernel = Kernel(self.platform)
        self.tasks = self.kernel.pids.tasks
        self.groups = self.kernel.pids.groups
        self.ns = MountNamespace(Mount(TmpfsFS(0o755)))
        self.init = self.new_process(creds)
        self.kernel.pids.init = self.init.tg
        self.next_free = MEMORY

    def new_process(self, creds=None):
        """A process without a parent, in a session of its own."""
        kernel = self.kernel
        pid = kernel.pids.new_pid()
        tg = ThreadGroup(kernel, pid)
        thread = FakeThread(self.platform, FakeAspace(self.platform, bytearray(MEMORY_SIZE)))
        task = Task(kernel, pid, tg, thread)
        thread.task = task
        thread.parked = False
        tg.leader = task
        tg.tasks.append(task)
        task.mm = FakeMM(thread.aspace)
        task.files = FdTable()
        place = self.ns.root_path()
        task.fs = FsContext(self.ns, place, place)
        task.creds = creds or Creds()
        task.uts = UTS()
        task.comm = b"test"
        signals.init_group(tg)
        signals.init_task(task)
        kernel.pids.tasks[pid] = task
        kernel.pids.groups[pid] = tg
        session.new_session(tg)
        return task

    def memory(self, data) -> int:
        """The address of a fresh piece of guest memory with `data` (bytes), or of so many zero bytes (int);
        the same in every process."""
        if isinstance(data, int):
            data = bytes(data)
        addr = self.next_free
        self.next_free += (len(data) + 15) & -16
        for task in self.tasks.values():
            if task.thread is not None:
                task.thread.write(addr, data)
        return addr

    def start(self, task, name, *args) -> None:
        """Begin a system call."""
        thread = task.thread
        assert not thread.parked, "the task is in the kernel"
        thread.parked = True
        thread.event = EV_SYSCALL
        thread.nr = BY_NAME[name].nr
        thread.regs.orig_rax = thread.nr
        thread.args = tuple(arg & 0xFFFFFFFFFFFFFFFF for arg in args) + (0,) * (6 - len(args))
        thread.returned = PENDING
        self.kernel.dispatch(thread)

    def turn(self) -> None:
        """Let the fake host and the dispatcher finish what they can."""
        kernel = self.kernel
        while self.platform.later or kernel.ready:
            self.platform.finish()
            kernel.timers.expire()
            while kernel.ready:
                task = kernel.ready.popleft()
                task.queued = False
                if task.wait is not None:
                    kernel.poll_wait(task)

    def result(self, task):
        self.turn()
        return task.thread.returned if task.thread is not None else None

    def call(self, task, name, *args):
        """A system call; what it returned, PENDING, or None if the task has ended."""
        self.start(task, name, *args)
        return self.result(task)

    def interrupt(self, task) -> None:
        """The answer to an interrupt that the kernel asked for (EV_INTERRUPT)."""
        thread = task.thread
        assert thread.interrupted and not thread.parked
        thread.interrupted = 0
        thread.parked = True
        self.kernel.back_to_guest(task, None)
        self.turn()

    def fork(self, task):
        """A forked child, as Task."""
        pid = self.call(task, "fork")
        assert isinstance(pid, int) and pid > 0, pid
        return self.tasks[pid]

    def clone_thread(self, task):
        pid = self.call(task, "clone", 0x3D0F00 & ~0x200000, 0x12000, 0, 0, 0)
        assert isinstance(pid, int) and pid > 0, pid
        return self.tasks[pid]
