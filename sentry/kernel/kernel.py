"""The kernel of one sandbox: its tasks and the dispatcher loop."""

from _collections import deque
from time import monotonic_ns

from sentry.abi.errno import EFAULT, EIO, ENOSYS
from sentry.core import counters, hostinfo, log
from sentry.core.result import BLOCKED, NO_RETURN, SysErr
from sentry.core.syscall import NR_MAX, TABLE
from sentry.core.timers import Timers
from sentry.core.waitq import WaitQueue
from sentry.kernel import fastroad, patching, ptrace, seccomp, signals
from sentry.kernel.pidns import PidNamespace
from sentry.platform.base import (
    EV_DEAD,
    EV_FAULT,
    EV_FRAME_FAULT,
    EV_INTERRUPT,
    EV_OPS,
    EV_SYSCALL,
    MemFault,
)


class Kernel:
    def __init__(self, platform):
        self.platform = platform
        self.timers = Timers()
        self.ready = deque()  # tasks whose wait should be polled
        self.pids = PidNamespace()  # the first one
        self.pid_namespaces = [self.pids]
        self.host = hostinfo.MINIMAL  # hardware facts; the real ones come from hostinfo.capture()
        self.boot_time = monotonic_ns()
        self.load = None  # kernel/loadavg.py
        self.boot_id = None  # /proc/sys/kernel/random/boot_id
        self.forks = 0  # processes and threads made since the start
        self.stopping = False
        self.futexes = {}  # key -> waiters, kernel/futex.py
        self.signalfds = WaitQueue()  # readers and pollers of signalfds: woken whenever a signal is sent
        self.sig_queued = {}  # uid -> queued signals that count against RLIMIT_SIGPENDING
        self.core_dump = None  # function(task, signo) -> bool: writes a core file; None: dumps are never made
        self.patcher = None  # kernel/patching.py, where the platform has a second way in
        self.held = {}  # MM -> [(task, result)]: would go back to guest code, but a rewriting wants them to wait
        self.frozen = {}  # Container -> [(task, result)]: the same while a container is paused, kernel/freeze.py
        self.trace = None  # strace-like tracer: called with (task, row, args, result)
        self.go_on = None  # finishes calls of woken tasks that need no Python frame, kernel/fastroad.pyx
        self.profile = None  # counters.Profile while profiling is switched on, kernel/statistics.py

    def all_tasks(self) -> list:
        """Every Task of every PID namespace."""
        return [task for pids in self.pid_namespaces for task in pids.tasks.values()]

    def send_signal(self, task, signo: int) -> None:
        signals.send(task, signo)

    # -- the dispatcher
    def run(self) -> None:
        """Serve the guests until `stopping` is set."""
        fastroad.install(self)
        try:
            self.loop()
        finally:
            fastroad.remove()

    def loop(self) -> None:
        platform, timers, ready = self.platform, self.timers, self.ready
        while not self.stopping:
            if self.profile is not None:
                self.profile.look()
            threads = platform.wait(timers.next_deadline())
            if self.profile is not None:
                self.profile.found()
            for thread in threads:
                self.dispatch(thread)
            timers.expire()
            if ready and self.go_on is not None:
                self.go_on()
            while ready:
                task = ready.popleft()
                task.queued = False
                if task.wait is not None:
                    self.poll_wait(task)

    def dispatch(self, thread) -> None:
        """One event of a guest thread."""
        task = thread.task
        event = thread.event
        if event == EV_SYSCALL:
            self.system_call(task, thread)
        elif event == EV_INTERRUPT:
            if task.mm.patches is not None:
                self.patcher.interrupted(task, thread)
            if task.ptrace is not None:
                ptrace.arrived(task, thread)
            signals.mask_changed(task)
            self.back_to_guest(task, None)
        elif event == EV_OPS:
            task.mm.ops_finished(task, thread.ops_done, thread.ops_errno)
        elif event == EV_FAULT:
            fault = thread.fault
            if task.mm.patches is not None:
                fault = self.patcher.fault(task, thread, fault)
            if fault is not None and task.ptrace is not None:
                fault = ptrace.faulted(task, thread, fault)
            if fault is not None:
                self.guarded(task, signals.fault, task, fault)
        elif event == EV_FRAME_FAULT:
            signals.frame_fault(task)
        elif event == EV_DEAD and task is not None:  # None: another thread's end has been this one's as well
            signals.host_death(task)

    def guarded(self, task, function, *args):
        """Run a handler; what it raises becomes an errno."""
        try:
            return function(*args)
        except MemFault:
            return -EFAULT
        except SysErr as error:
            return -error.errno
        except Exception:
            log.exception(f"internal error serving call {task.in_call} of task {task.tid} ({task.comm!r})")
            return -EIO

    def count_traps(self) -> None:
        """From now on calls that trap come to `system_call`."""
        fastroad.count_traps()

    def system_call(self, task, thread) -> None:
        if task.ptrace is not None and ptrace.enter(task, thread):
            return
        if task.mm.patches is None or not thread.trapped or not self.patcher.trapped(task, thread):
            self.serve(task, thread)

    def serve(self, task, thread) -> None:
        profile = self.profile
        if profile is not None:
            profile.begin()
        nr = thread.nr
        counters.called(nr)
        task.in_call = nr
        row = TABLE[nr] if 0 <= nr < NR_MAX else None
        verdict = None if task.seccomp is None else seccomp.check(task, thread)
        if verdict is not None:
            result = verdict
        elif row is None:
            log.once(nr, log.INFO, f"system call {nr} is not implemented")
            result = -ENOSYS
        else:
            result = self.guarded(task, row.call, task, thread.args)
            if row.lasting and self.trace is None and not seccomp.asks(task, nr):
                thread.remember(nr, result)
        if profile is not None:
            profile.handled(nr)
        if self.trace is not None and task.thread is thread:
            self.trace(task, nr, row, thread, result)
        if result == BLOCKED:
            counters.waited(nr)
            return
        if result != NO_RETURN:
            self.back_to_guest(task, result)
        if profile is not None:
            profile.replied()

    def poll_wait(self, task) -> None:
        """A blocked task was woken: try its call again; a signal ends it if it still cannot go on."""
        wait = task.wait
        result = self.guarded(task, wait.poll, task)
        if result == BLOCKED and task.wait is wait:
            if not task.work or (wait.killable and not task.dying):
                return
            result = self.guarded(task, wait.interrupted, task)
        self.end_wait(task, wait, result)

    def time_out(self, task) -> None:
        """The deadline of a blocked task has passed."""
        wait = task.wait
        if wait is not None:
            self.end_wait(task, wait, self.guarded(task, wait.timeout, task))

    def end_wait(self, task, wait, result) -> None:
        """`wait` is over; the blocked call has `result`: BLOCKED if it went on to another wait by `Task.block`."""
        if task.wait is wait:
            task.wait = None
        for entry in wait.entries:
            entry.remove()
        if wait.timer is not None:
            wait.timer.cancel()
        wait.release(task)
        if result == BLOCKED:
            return
        if self.trace is not None:
            self.trace(task, task.in_call, None, None, result)
        if result != NO_RETURN:  # else the call has dealt with the thread
            self.back_to_guest(task, result)

    def out_of_stack(self, task, addr: int) -> None:
        """An area that grows down could not be extended by the host: the access is a fault after all."""
        signals.fault(task, (signals.SIGSEGV, signals.SEGV_ACCERR, addr, 14, 6))

    def back_to_guest(self, task, result: "int | None") -> None:
        """Return to guest code: from a system call with `result`, or from an interrupt or fault (None)."""
        if self.frozen and task.tg.container in self.frozen:
            self.frozen[task.tg.container].append((task, result))
        elif self.held and task.mm in self.held:
            self.held[task.mm].append((task, result))
        elif task.ptrace is not None:
            ptrace.leave(task, result)
        elif task.work:
            signals.user_return(task, result)
        elif result is None:
            patching.resume_point(task)
            task.thread.resume()
        else:
            task.in_call = -1
            task.thread.ret(result)
