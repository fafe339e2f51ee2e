"""Task (a thread, task_struct) and ThreadGroup (a process, signal_struct)."""

from sentry.abi.signal import UNBLOCKABLE
from sentry.core import leaks
from sentry.core.result import BLOCKED
from sentry.core.waitq import WaitEntry, Waiter, WaitQueue
from sentry.net import netns
from sentry.platform.base import START_ALL, START_CALLS

RLIM_INFINITY = (1 << 64) - 1
(
    RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE,
    RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO,
    RLIMIT_RTTIME,
) = range(16)  # fmt: skip
DEFAULT_RLIMITS = [(RLIM_INFINITY, RLIM_INFINITY)] * 16
DEFAULT_RLIMITS[RLIMIT_STACK] = (8 << 20, RLIM_INFINITY)
DEFAULT_RLIMITS[RLIMIT_CORE] = (0, RLIM_INFINITY)
DEFAULT_RLIMITS[RLIMIT_NOFILE] = (1024, 1048576)
DEFAULT_RLIMITS[RLIMIT_MEMLOCK] = (8 << 20, 8 << 20)
DEFAULT_RLIMITS[RLIMIT_SIGPENDING] = (31000, 31000)
DEFAULT_RLIMITS[RLIMIT_MSGQUEUE] = (819200, 819200)
DEFAULT_RLIMITS[RLIMIT_NICE] = (0, 0)
DEFAULT_RLIMITS[RLIMIT_RTPRIO] = (0, 0)


class ThreadGroup:
    """A process. `leader.tid == pid`; after an exec by another thread the leader is that task."""

    __slots__ = (
        "kernel", "pid", "leader", "tasks", "parent", "children", "pgrp", "session", "exit_signal",
        "sighand", "shared_pending", "rlimits", "child_queue", "exit_status", "group_exiting", "zombie",
        "stop_state", "itimers", "posix_timers", "utime_children", "stime_children", "start_time",
        "oom_score_adj", "subreaper", "did_exec", "container", "pids", "data", "parent_task", "exec_task", "exec_done",
        "unreported_stop", "unreported_continue", "cpu_before", "maxrss", "maxrss_children", "exit_queue", "reaped", "__weakref__",
    )  # fmt: skip

    def __init__(self, kernel, pid, parent=None):
        self.kernel = kernel
        self.pid = pid
        self.leader = None
        self.tasks = []  # live tasks
        self.parent = parent  # ThreadGroup or None (init)
        self.children = []  # ThreadGroups, zombies too
        self.pgrp = None  # kernel/session.py
        self.session = None
        self.exit_signal = 17  # SIGCHLD
        self.sighand = None  # SigHand, shared by CLONE_SIGHAND; kernel/signals.py
        self.shared_pending = None  # Pending; kernel/signals.py
        self.rlimits = list(DEFAULT_RLIMITS)
        self.child_queue = WaitQueue()  # wait4 callers of this group
        self.exit_status = 0  # wait(2) status word once dying
        self.group_exiting = False
        self.zombie = False
        self.stop_state = None  # kernel/signals.py
        self.itimers = None
        self.posix_timers = None
        self.utime_children = self.stime_children = 0  # ns of waited-for children
        self.start_time = 0  # CLOCK_MONOTONIC ns
        self.oom_score_adj = 0
        self.subreaper = False
        self.did_exec = False
        self.container = None  # kernel/container.py
        self.pids = kernel.pids if parent is None else parent.pids  # kernel/pidns.py
        self.parent_task = None  # the thread of `parent` that made this process (PR_SET_PDEATHSIG, __WNOTHREAD)
        self.exec_task = None  # the thread whose exec is ending the others; kernel/exit.py
        self.exec_done = None
        self.unreported_stop = 0  # signal number of a stop that wait has not reported yet; kernel/wait.py
        self.unreported_continue = False
        self.cpu_before = (0, 0)  # user, system ns spent in host processes left by exec; kernel/cputime.py
        self.maxrss = self.maxrss_children = 0  # bytes; kernel/memstat.py
        self.exit_queue = None  # WaitQueue of pidfd pollers, made when first needed
        self.reaped = False
        self.data = {}  # rarely used state of single features, keyed by their module
        leaks.add("process")

    @property
    def kin_ppid(self) -> int:
        return self.parent.pid if self.parent is not None else 0


class Task(Waiter):
    """A guest thread."""

    __slots__ = (
        "kernel", "tid", "tg", "thread", "mm", "files", "fs", "creds", "comm", "last_sigmask", "saved_sigmask", "pending",
        "stack", "wait", "queued", "work", "restart", "dead", "stopped_ret",
        "vfork_done", "no_new_privs", "dumpable", "pdeath_signal", "start_time", "in_call", "nice", "personality",
        "ptrace", "sched", "exit_code", "dying", "uts", "net", "data", "seccomp", "__weakref__",
    )  # fmt: skip

    def __init__(self, kernel, tid, tg, thread):
        self.kernel = kernel
        self.tid = tid
        self.tg = tg
        self.thread = thread  # platform Thread; thread.task is self
        self.mm = None  # mm.manager.MM
        self.files = None  # vfs.file.FdTable
        self.fs = None  # vfs.context.FsContext
        self.creds = None  # core.creds.Creds
        self.comm = b""
        self.last_sigmask = 0  # while there is no thread, as between two programs
        self.saved_sigmask = None  # mask to restore after sigsuspend/ppoll/… if no handler runs
        self.pending = None  # signals.Pending of this thread
        self.stack = (0, 0, 0)
        self.wait = None  # Wait of the blocked call
        self.queued = False  # in kernel.ready
        self.work = False  # something to do before going back to the guest (signals, stop, end)
        self.restart = None  # Wait to resume by restart_syscall(2)
        self.dead = False
        self.stopped_ret = None
        self.vfork_done = None  # the parent task that vfork suspended
        self.no_new_privs = False
        self.dumpable = 1
        self.pdeath_signal = 0
        self.start_time = 0
        self.in_call = -1  # number of the system call being served, -1 outside
        self.nice = 0
        self.personality = 0
        self.ptrace = None  # kernel/ptrace.py: Tracee, while it is traced
        self.sched = (0, 0)  # policy, priority
        self.exit_code = 0  # wait(2) status word of this thread
        self.dying = False  # must end before it would go back to guest code (SIGKILL, exit_group, exec); work is set
        self.uts = None  # kernel.uts.UTS
        self.net = netns.INIT
        self.seccomp = None  # chain of filters: seccomp_filter.Filter, set by its `attach`
        self.data = {}  # rarely used state of single features, keyed by their module
        leaks.add("task")

    # -- guest memory (platform/base.py: Thread); MemFault becomes EFAULT in the dispatcher
    def read(self, addr: int, length: int) -> bytes:
        return self.thread.read(addr, length)

    def read_upto(self, addr: int, length: int) -> bytes:
        return self.thread.read_upto(addr, length)

    def read_cstr(self, addr: int, limit: int) -> bytes:
        return self.thread.read_cstr(addr, limit)

    def write(self, addr: int, data) -> None:
        self.thread.write(addr, data)

    def write_upto(self, addr: int, data) -> int:
        return self.thread.write_upto(addr, data)

    # -- the thread
    def give_thread(self, thread) -> None:
        """exec: the task goes on in another one."""
        thread.task = self
        thread.signal_mask = self.last_sigmask
        thread.tell_altstack(self.stack)
        thread.tell_start(self.tid, self.start_calls())
        if self.ptrace is not None:
            thread.tell_traced(True)
        self.thread = thread

    def start_calls(self) -> int:
        """What the platform may do on its own of the calls that a thread begins with (bits of base.START_CALLS)."""
        if self.kernel.trace is not None:
            return 0
        may = START_ALL
        if self.seccomp is not None:
            for nr, bit in START_CALLS.items():
                if self.seccomp.bars(nr):
                    may &= ~bit
        return may

    def take_thread(self) -> None:
        """The task has left its thread."""
        self.last_sigmask = self.sigmask
        self.thread.task = None
        self.thread = None

    @property
    def sigmask(self) -> int:
        """The signal mask: bit n-1 is signal n. The platform keeps it, since a running thread may change its own at any
        moment. To be read once where a decision hangs on it."""
        thread = self.thread
        return (self.last_sigmask if thread is None else thread.signal_mask) & ~UNBLOCKABLE

    @sigmask.setter
    def sigmask(self, mask: int) -> None:
        """For a task in the kernel."""
        if self.thread is None:
            self.last_sigmask = mask
        else:
            self.thread.signal_mask = mask

    @property
    def altstack(self) -> tuple:
        """The alternate signal stack: (ss_sp, ss_flags, ss_size)."""
        return self.stack

    @altstack.setter
    def altstack(self, stack: tuple) -> None:
        """For a task in the kernel."""
        self.stack = stack
        if self.thread is not None:
            self.thread.tell_altstack(stack)

    # -- limits, signals
    def rlimit(self, which: int) -> int:
        """Soft limit."""
        return self.tg.rlimits[which][0]

    def signal_pending(self) -> bool:
        """Would a signal (or the end of the task) interrupt a sleep now?"""
        return self.work

    def send_signal(self, signo: int) -> None:
        """The kernel sends a signal to this thread (SIGPIPE, SIGXFSZ)."""
        self.kernel.send_signal(self, signo)

    def send_sigpipe(self) -> None:
        self.kernel.send_signal(self, 13)

    # -- blocking
    def block(self, wait, *queues, deadline: "int | None" = None):
        """Leave `wait` to finish the call later: woken through `queues` (WaitQueue objects, or WaitEntry
        objects whose owner is this task, put in place by the caller), or when `deadline` (CLOCK_MONOTONIC,
        ns) passes. Returns BLOCKED, or at once what `wait.interrupted` says if a signal is pending."""
        if self.work and (self.dying or not wait.killable):
            result = wait.interrupted(self)
            for queue in queues:
                if isinstance(queue, WaitEntry):
                    queue.remove()
            wait.release(self)
            return result
        wait.entries = entries = []
        for queue in queues:
            if isinstance(queue, WaitEntry):
                entries.append(queue)
            elif queue is not None:
                entry = WaitEntry(self)
                queue.add(entry)
                entries.append(entry)
        wait.timer = None
        if deadline is not None:
            wait.timer = self.kernel.timers.add(deadline, self.timed_out)
        self.wait = wait
        return BLOCKED

    def woken(self, entry, mask):
        """A queue that this task waits on has woken."""
        if not self.queued:
            self.queued = True
            self.kernel.ready.append(self)

    def timed_out(self):
        self.kernel.time_out(self)

    def kick(self):
        """Something needs attention before guest code goes on (`work`): wake or interrupt the task."""
        self.work = True
        if self.wait is not None:
            self.woken(None, 0)
        elif not self.dead:
            self.thread.interrupt()
