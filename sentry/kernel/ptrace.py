"""ptrace(2): what is kept of a traced task, its stops, and how it goes on (kernel/ptrace.c, kernel/signal.c).

A stop is a task that is parked in the kernel with a `TraceStop` as its wait. Its registers, as the tracer shall see
them, are those of its platform thread (`view`, `result_of`); what it does when it is let go is `Tracee.then`. A traced
task passes through here on each way back to guest code (`leave`), and each of its calls traps (`Thread.tell_traced`), so
nothing of this is seen by tasks that are not traced. Before the first stop the program's code is as the file has it
again, for good (`plain_code`): breakpoints and single steps meet Linux's instructions.

The requests are in syscalls/sys_ptrace.py, what tracers read and write of registers in ptrace_regs.py.
"""

from sentry.abi import siginfo
from sentry.abi.errno import EINTR, EIO, ENOSYS, EPERM, ESRCH
from sentry.abi.signal import SA_NOCLDSTOP, SIG_IGN, SIGCHLD, SIGKILL, SIGSEGV, SIGSTOP, SIGTRAP
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.core.waitq import Wait
from sentry.kernel import exit, signals
from sentry.kernel.hooks import TASK_EXIT
from sentry.kernel.ptrace_regs import TF, from_frame, initial_fp
from sentry.kernel.ptrace_watch import Watch, stepped
from sentry.platform.base import OP_SAVE_FP, TASK_LIMIT

O_SYSGOOD, O_EXITKILL, O_MASK = 1, 1 << 20, 0xFF | 1 << 20
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_VFORK_DONE, EVENT_EXIT, EVENT_SECCOMP = 1, 2, 3, 4, 5, 6, 7
EVENT_STOP = 128
MESSAGE_ENTRY, MESSAGE_EXIT = 1, 2
CLONE_VFORK, CLONE_PTRACE, CLONE_UNTRACED = 0x4000, 0x2000, 0x800000
TRAP_BRKPT, TRAP_DEBUG = 1, 1  # si_code; trap number
SAVE_FP = (OP_SAVE_FP,)
MASK64 = (1 << 64) - 1


class Tracee:
    """What ptrace keeps of a traced task (Task.ptrace)."""

    __slots__ = (
        "task", "tracer", "seized", "options", "then", "final", "stopped", "code", "info", "message", "syscalls", "emulate",
        "step", "forced_tf", "emulated", "rechecked", "trap_stop", "trap_notify", "listening", "joined", "stop_signo", "busy", "request", "exiting", "watch",
    )  # fmt: skip

    def __init__(self, task, tracer, seized=False, options=0):
        self.task = task
        self.tracer = tracer  # Task
        self.seized = seized
        self.options = options
        self.then = None  # function(signo): how the stopped task goes on
        self.final = False  # the stop outlives SIGKILL (PTRACE_EVENT_EXIT)
        self.stopped = False
        self.code = 0  # of the stop, until wait(2) has reported it; then the signal to go on with
        self.info = None  # siginfo of the stop; None in a group stop
        self.message = 0  # PTRACE_GETEVENTMSG
        self.syscalls = self.emulate = self.step = False  # how it was let go
        self.forced_tf = False  # the trap flag is the tracer's, the program does not have it
        self.emulated = False  # the call under way is not carried out
        self.rechecked = False  # the call that is being served has been shown to the tracer for a filter
        self.trap_stop = self.trap_notify = False  # a stop is wanted (JOBCTL_TRAP_STOP, JOBCTL_TRAP_NOTIFY)
        self.listening = False
        self.joined = False  # it takes part in the present group stop
        self.stop_signo = 0  # of the last group stop that was begun
        self.busy = False  # the stopped thread carries out memory operations for its tracer
        self.request = None  # the Request that waits for that
        self.exiting = False  # PTRACE_EVENT_EXIT has been reported
        self.watch = Watch()  # debug registers

    def enabled(self, event: int) -> bool:
        return bool(self.options >> event & 1)

    def stop_pending(self) -> bool:
        """Must the task stop before it goes back to guest code, signals aside?"""
        return self.trap_stop or self.trap_notify or bool(self.task.tg.stop_state.signo and not self.joined)


class TraceStop(Wait):
    """A task is stopped for its tracer."""

    __slots__ = ("trace",)
    killable = True

    def __init__(self, trace):
        self.trace = trace
        self.entries = []
        self.timer = None

    def poll(self, t):
        trace = self.trace
        if trace.busy or (trace.stopped and (trace.final or not t.dying)):
            return BLOCKED
        then, trace.then = trace.then, None
        signo = 0 if trace.stopped else trace.code
        trace.stopped = trace.final = trace.listening = False
        trace.code = trace.message = 0
        t.wait = None
        then(signo)
        return NO_RETURN

    def interrupted(self, t):
        """The task is to end, but not before `poll` says so."""
        t.wait = TraceStop(self.trace)
        return BLOCKED


# -- who traces whom -------------------------------------------------------------------------------


def tracees(tg) -> dict:
    """The tasks that the threads of a process trace, as keys."""
    return tg.data.setdefault("tracees", {})


def link(task, tracer, seized: bool, options: int) -> Tracee:
    task.kernel.count_traps()
    task.ptrace = trace = Tracee(task, tracer, seized, options)
    tracees(tracer.tg)[task] = None
    if task.thread is not None:
        task.thread.tell_traced(True)
    return trace


def unlink(task) -> None:
    """The task is not traced any more; a stop of its goes on."""
    trace, task.ptrace = task.ptrace, None
    tracees(trace.tracer.tg).pop(task, None)
    if task.thread is not None:
        task.thread.tell_traced(False)
        if trace.forced_tf:
            task.thread.regs.eflags &= ~TF
    trace.step = trace.syscalls = trace.emulate = False
    if trace.stopped:
        release(trace)
    elif task.tg.stop_state.signo and not task.dead:
        task.kick()


def reparented(task) -> bool:
    """Is the tracer another process than the parent?"""
    return task.ptrace.tracer.tg is not task.tg.parent


def traceme(task) -> int:
    if task.ptrace is not None:
        return -EPERM
    parent = task.tg.parent_task
    if parent is None:
        return -EPERM
    if not parent.dead and not parent.dying:
        link(task, parent, False, 0)
    return 0


def attach(t, task, seized: bool, options: int) -> None:
    """PTRACE_ATTACH, PTRACE_SEIZE, after the checks."""
    trace = link(task, t, seized, options)
    if not seized:
        signals.send(task, SIGSTOP, siginfo.kernel(SIGSTOP))
    if signals.is_stopped_task(task):
        trace.joined = trace.trap_stop = True
        signals.wake_stopped(task)
    elif seized and task.wait is None:
        task.thread.interrupt()  # its calls trap from the next one on, also when it is on its way out of one


def detach(task, signo: int) -> None:
    task.ptrace.code = signo
    unlink(task)


def task_exit(task) -> None:
    """A task ends: its tracees are let go, or killed; a tracer that waits for it need not."""
    for tracee in [tracee for tracee in task.tg.data.get("tracees", ()) if tracee.ptrace.tracer is task]:
        trace = tracee.ptrace
        if trace.options & O_EXITKILL and not tracee.dead:
            signals.send(tracee.tg, SIGKILL, siginfo.kernel(SIGKILL), force=True)
        let_go(tracee)
    if task.ptrace is not None and task.ptrace.request is not None:
        task.ptrace.request.finish(-ESRCH)


TASK_EXIT.append(task_exit)


def let_go(tracee) -> None:
    """The tracer is no more, or has heard of the end of the tracee: if that is a zombie, its parent's turn has come."""
    other = reparented(tracee)
    unlink(tracee)
    tg = tracee.tg
    if tracee is tg.leader and tg.zombie and other and not tg.reaped:
        exit.notify_parent(tg)


# -- stops -----------------------------------------------------------------------------------------


def plain_code(task, then) -> bool:
    """Bring back the program's own code where call sites have been rewritten, and keep it so. False: it is like that;
    else then() is called when it is."""
    mm = task.mm
    patches = mm.patches if mm is not None else None
    if patches is None or patches.plain:
        return False
    patches.plain = True
    if patches.busy:
        patches.after.append(lambda: restore_code(task, then))
        return True
    return restore_code(task, then)


def restore_code(task, then) -> bool:
    if task.dead:
        return True
    mm = task.mm
    ops = mm.patches.reprotect(0, TASK_LIMIT, mm.users > 1)
    if ops:
        mm.submit(task, 0, TASK_LIMIT, ops, then=lambda errno: then())
        return True
    return False


def stop(task, code: int, info, then, message: int = 0, why: int = siginfo.CLD_TRAPPED, final: bool = False) -> None:
    """The task, which is in the kernel, stops. code: what wait(2) reports (status >> 8). then(signo): how it goes on,
    with the signal that the tracer gives; also at once, if it is not traced or about to end."""
    if plain_code(task, lambda: stop(task, code, info, then, message, why, final)):
        return
    trace = task.ptrace
    if trace is None or (task.dying and not final):
        then(0)
        return
    trace.code, trace.info, trace.message, trace.then, trace.final = code, info, message, then, final
    trace.stopped = True
    trace.trap_stop = False
    if code >> 8 == EVENT_STOP:
        trace.trap_notify = False
    task.wait = TraceStop(trace)
    tell_tracer(task, why, task.tg.stop_state.signo if why == siginfo.CLD_STOPPED else code & 0x7F)


def tell_tracer(task, code: int, status: int) -> None:
    """SIGCHLD about a stop (do_notify_parent_cldstop), and wake its wait calls."""
    tracer = task.ptrace.tracer.tg
    if not tracer.tasks:
        return
    handler, flags = signals.disposition(tracer, SIGCHLD)
    if handler != SIG_IGN and not flags & SA_NOCLDSTOP:
        signals.send(tracer, SIGCHLD, child_info(task, code, status))
    tracer.child_queue.wake()


def child_info(task, code: int, status: int) -> bytes:
    return siginfo.chld(SIGCHLD, code, task.tid, task.creds.uid, status)


def own_info(task, code: int) -> bytes:
    """siginfo of stops that are no signal's (ptrace_do_notify)."""
    signo = code & 0x7F
    return siginfo.kill(signo, code, task.tid, task.creds.uid)


def event(task, which: int, message: int, then) -> None:
    """PTRACE_EVENT_*, if it is wanted; then() follows in any case."""
    trace = task.ptrace
    if trace is None or not trace.enabled(which):
        then()
        return
    code = which << 8 | SIGTRAP
    stop(task, code, own_info(task, code), lambda signo: then(), message)


def release(trace) -> None:
    """Let a stopped task go on; `code` is the signal."""
    trace.stopped = False
    trace.task.woken(None, 0)


def resume(trace, signo: int, syscalls=False, emulate=False, step=False) -> None:
    """PTRACE_CONT and its kin."""
    trace.syscalls, trace.emulate, trace.step = syscalls, emulate, step
    trace.code = signo
    release(trace)


def interrupt(trace) -> None:
    """PTRACE_INTERRUPT."""
    trace.trap_stop = True
    if trace.listening:
        retrap(trace)
    else:
        trace.task.kick()


def listen(trace) -> None:
    """PTRACE_LISTEN."""
    trace.listening = True
    if trace.trap_notify:
        retrap(trace)


def retrap(trace) -> None:
    """A listening task stops anew."""
    trace.listening = False
    trace.code = 0
    release(trace)


def notify_continued(tg) -> None:
    """SIGCONT was sent to the process (ptrace_trap_notify)."""
    for task in tg.tasks:
        trace = task.ptrace
        if trace is not None:
            trace.joined = False
            if trace.seized:
                notify(trace)


def notify(trace) -> None:
    trace.trap_notify = True
    if trace.listening:
        retrap(trace)
    else:
        trace.task.kick()


# -- registers -------------------------------------------------------------------------------------


def signed(value: int) -> int:
    return value - (value >> 63 << 64)


def view(task, result) -> None:
    """Put into the registers what a tracer sees: a call's result before it is decided whether it begins anew."""
    regs = task.thread.regs
    if result is None:
        regs.orig_rax = MASK64
    else:
        regs.rax = result & MASK64
        regs.orig_rax = task.in_call & MASK64


def result_of(task) -> "int | None":
    """The call's result as the registers have it after a stop; None: there is no call, rax is what it is."""
    regs = task.thread.regs
    nr = signed(regs.orig_rax)
    if nr < 0:
        task.in_call = -1
        return None
    task.in_call = nr
    return signed(regs.rax)


def arrived(task, thread) -> None:
    """The thread has come from guest code: its trap flag may be the tracer's."""
    trace = task.ptrace
    if trace.forced_tf:
        trace.forced_tf = False
        thread.regs.eflags &= ~TF


def faulted(task, thread, fault) -> "tuple | None":
    """Likewise, by a fault; None: it was a step that nobody shall see, and the thread goes on."""
    trace = task.ptrace
    step = trace.forced_tf and fault[0] == SIGTRAP and fault[3] == TRAP_DEBUG
    arrived(task, thread)
    if step:
        fault = stepped(trace.watch, task, fault, thread.regs.rip, trace.step)
        if fault is None:
            task.kernel.back_to_guest(task, None)
    return fault


def departing(task) -> None:
    """The thread is about to go to guest code."""
    trace = task.ptrace
    regs = task.thread.regs
    watch = trace.watch
    if watch.active:
        watch.look(task)
    if (trace.step or watch.active) and not regs.eflags & TF:
        regs.eflags |= TF
        trace.forced_tf = True


def with_fp(task, then) -> None:
    """then() when `thread.fp` can be read and set."""
    task.mm.submit(task, 0, 0, [SAVE_FP], then=lambda errno: then())


# -- system calls ----------------------------------------------------------------------------------


def syscall_code(trace) -> int:
    return SIGTRAP | (0x80 if trace.options & O_SYSGOOD else 0)


def send_extra(task, signo: int) -> None:
    """The signal that the tracer has given at a stop that is no signal's."""
    if signo:
        signals.send(task, signo, siginfo.kernel(signo))


def enter(task, thread) -> bool:
    """A traced task has made a call. True: it stops, and the call is served afterwards."""
    trace = task.ptrace
    arrived(task, thread)
    trace.emulated = trace.emulate
    if not trace.syscalls and not trace.emulate:
        return False
    task.in_call = thread.nr
    view(task, -ENOSYS)
    code = syscall_code(trace)
    stop(task, code, own_info(task, code), lambda signo: entered(task, trace, signo), MESSAGE_ENTRY)
    return True


def entered(task, trace, signo: int) -> None:
    send_extra(task, signo)
    thread = task.thread
    thread.reload_call()
    task.in_call = thread.nr
    if trace.emulated or task.dying or thread.nr == -1:
        leave(task, signed(thread.regs.rax))
    else:
        task.kernel.serve(task, thread)


def seccomp_event(task, data: int) -> "int | None":
    """A filter leaves the call to the tracer. None: the tracer has let it through already."""
    trace = task.ptrace
    if trace.rechecked:
        return None
    view(task, -ENOSYS)
    event(task, EVENT_SECCOMP, data, lambda: recheck(task, trace))
    return NO_RETURN


def recheck(task, trace) -> None:
    """The call may be another one now; filters are asked again."""
    thread = task.thread
    thread.reload_call()
    task.in_call = thread.nr
    if task.dying or thread.nr == -1:
        leave(task, signed(thread.regs.rax))
        return
    trace.rechecked = True
    task.kernel.serve(task, thread)
    trace.rechecked = False


def leave(task, result) -> None:
    """A traced task would go back to guest code; `result` as for Kernel.back_to_guest."""
    if result is not None:
        view(task, result)
        leave_call(task, result)
    else:
        signals.user_return(task, None)


def leave_call(task, result) -> None:
    """The end of a call; `result` None: it was rt_sigreturn, or another that has set the registers."""
    trace = task.ptrace
    emulated, trace.emulated = trace.emulated, False
    if trace.step and not emulated:
        signals.force(task, SIGTRAP, siginfo.fault(SIGTRAP, TRAP_BRKPT, task.thread.regs.rip))
    elif trace.syscalls and not task.dying:
        code = syscall_code(trace)
        stop(task, code, own_info(task, code), lambda signo: left(task, signo), MESSAGE_EXIT)
        return
    signals.user_return(task, result)


def left(task, signo: int) -> None:
    send_extra(task, signo)
    signals.user_return(task, result_of(task))


def sigreturn(task, frame: "bytes | None") -> None:
    """rt_sigreturn has set the registers; frame: the FP state in the guest's signal frame, None: the initial one."""

    def saved():
        fp = task.thread.fp
        image = initial_fp(fp) if frame is None else from_frame(fp, frame)
        if image is None:
            signals.force(task, SIGSEGV)
            signals.user_return(task, None)
            return
        task.thread.fp = image
        if task.ptrace is None:
            signals.user_return(task, None)
        else:
            task.thread.regs.orig_rax = MASK64
            leave_call(task, None)

    with_fp(task, saved)


# -- signals ---------------------------------------------------------------------------------------


def signal_stop(task, signo: int, info: bytes, result) -> None:
    """A signal is about to be delivered: signal-delivery-stop."""
    trace = task.ptrace
    view(task, result)
    stop(task, signo, info, lambda given: signal_resumed(task, trace, given))


def signal_resumed(task, trace, signo: int) -> None:
    """kernel/signal.c:ptrace_signal"""
    result = result_of(task)
    info = trace.info
    taken = None
    if signo:
        if signo != int.from_bytes(info[:4], "little"):
            tracer = trace.tracer
            info = siginfo.kill(signo, siginfo.SI_USER, tracer.tid, tracer.creds.uid)
        if task.sigmask >> (signo - 1) & 1:
            signals.send(task, signo, info)
        else:
            taken = (signo, info)
    signals.user_return(task, result, taken)


def job_stop(task, result) -> bool:
    """Group stops, PTRACE_INTERRUPT, PTRACE_EVENT_STOP (do_jobctl_trap). True: the task stops."""
    trace = task.ptrace
    state = task.tg.stop_state
    wanted = bool(state.signo and not trace.joined)
    if not (wanted or trace.trap_stop or trace.trap_notify):
        return False
    if plain_code(task, lambda: signals.user_return(task, result)):
        return True  # what kind of stop it is may have changed by then
    if wanted:
        trace.joined = True
    signo = state.signo and (trace.stop_signo or state.signo)
    if trace.seized:
        code = (signo or SIGTRAP) | EVENT_STOP << 8
        info = own_info(task, code)
    elif signo:
        code, info = signo, None
    else:  # a stop that has ended meanwhile
        trace.trap_stop = trace.trap_notify = False
        return False
    view(task, result)
    stop(task, code, info, lambda signo: signals.user_return(task, result_of(task)), why=siginfo.CLD_STOPPED)
    if wanted and not state.complete:
        signals.check_stopped(task.tg)
    return True


def deliver_with_fp(task, signo, info, result) -> None:
    """Signal handlers of traced tasks: the frame is written at once, so that the tracer may see the task in it."""
    with_fp(task, lambda: signals.deliver(task, signo, info, result, task.thread.fp))


def in_handler(task) -> None:
    """The frame is there and the registers are the handler's."""
    task.thread.fp = initial_fp(task.thread.fp)
    trace = task.ptrace
    if trace is not None and trace.step:  # signal_setup_done
        task.thread.regs.orig_rax = MASK64
        stop(task, SIGTRAP, own_info(task, SIGTRAP), lambda signo: signals.user_return(task, result_of(task)))
    else:
        signals.user_return(task, None)


# -- fork, exec, exit ------------------------------------------------------------------------------


def new_child(task, child, flags: int, exit_signal: int) -> int:
    """A traced task has made `child`, which does not run yet: whether it is traced too. The event to report, or 0."""
    trace = task.ptrace
    which = 0
    if not flags & CLONE_UNTRACED:
        which = EVENT_VFORK if flags & CLONE_VFORK else EVENT_CLONE if exit_signal != SIGCHLD else EVENT_FORK
        if not trace.enabled(which):
            which = 0
    if which or flags & CLONE_PTRACE:
        new = link(child, trace.tracer, trace.seized, trace.options)
        child.in_call = task.in_call
        if trace.seized:
            new.trap_stop = True
        else:
            child.pending.mask |= 1 << (SIGSTOP - 1)
            signals.announce(child)
        child.work = True
    return which


def vfork_done(task, pid: int) -> int:
    """The wait for a vfork's child is over; `pid`: the call's result, in the parent."""
    if task.ptrace is None or task.dying or not task.ptrace.enabled(EVENT_VFORK_DONE):
        return pid
    view(task, -ENOSYS)
    event(task, EVENT_VFORK_DONE, pid, lambda: task.kernel.back_to_guest(task, pid))
    return BLOCKED


def exec_done(task, old_tid: int) -> None:
    """A traced task has a new program, and its registers."""
    with_fp(task, lambda: exec_begins(task, old_tid))


def exec_begins(task, old_tid: int) -> None:
    task.thread.fp = initial_fp(task.thread.fp)
    task.in_call = 59
    view(task, 0)
    trace = task.ptrace
    if trace is not None:
        trace.watch = Watch()
    if trace is not None and not trace.enabled(EVENT_EXEC) and not trace.seized:
        signals.send(task, SIGTRAP, siginfo.kill(SIGTRAP, siginfo.SI_USER, task.tid, task.creds.uid))
    event(task, EVENT_EXEC, old_tid, lambda: task.kernel.back_to_guest(task, 0))


def exit_event(task, status: int) -> bool:
    """A traced task is about to end. True: it stops first, and ends afterwards."""
    trace = task.ptrace
    if trace.exiting or not trace.enabled(EVENT_EXIT):
        return False
    trace.exiting = True
    code = EVENT_EXIT << 8 | SIGTRAP
    view(task, None if task.in_call < 0 else -ENOSYS)
    stop(task, code, own_info(task, code), lambda signo: exit.exit_task(task, status), status, final=True)
    return True


def thread_ended(task) -> None:
    """A traced thread that is no leader has ended: its tracer waits for it."""
    code, status = exit.code_and_status(status_of(task))
    tell_tracer_of_end(task, code, status)


def tell_tracer_of_end(task, code: int, status: int) -> None:
    tracer = task.ptrace.tracer.tg
    if tracer.tasks:
        signals.send(tracer, SIGCHLD, child_info(task, code, status))
        tracer.child_queue.wake()


def status_of(task) -> int:
    """The wait(2) status of a thread that has ended."""
    tg = task.tg
    return tg.exit_status if tg.group_exiting else task.exit_code


# -- work that a stopped task does for its tracer ----------------------------------------------------


class Request(Wait):
    """A tracer waits until its tracee has done something for it."""

    __slots__ = ("task", "result")
    killable = True

    def __init__(self, task):
        self.task = task
        self.result = None

    def poll(self, t):
        return BLOCKED if self.result is None else self.result

    def interrupted(self, t):
        return -EINTR

    def finish(self, result: int) -> None:
        self.result = result
        if self.task.wait is self:
            self.task.woken(None, 0)


def in_tracee(t, task, start: int, end: int, ops: list, then) -> int:
    """Have the stopped `task` carry out operations; t's call is answered with then(errno)."""
    trace = task.ptrace
    trace.busy = True
    trace.request = request = Request(t)

    def done(errno):
        trace.busy = False
        trace.request = None
        if not t.dead:
            request.finish(t.kernel.guarded(t, then, errno))
        task.woken(None, 0)  # it may be that it shall go on since

    task.mm.submit(task, start, end, ops, then=done)
    return t.block(request)


def force_write(t, task, addr: int, data: bytes, value: "int | None" = None) -> int:
    """Write into the memory of a stopped tracee, also where that is not writable: t's call is answered with `value` (None: the
    number of bytes), or -EIO."""
    mm = task.mm
    found = mm.forced(addr, data)
    if isinstance(found, int):
        return found
    ops, start, end, count = found
    return in_tracee(t, task, start, end, ops, lambda errno: -EIO if errno else count if value is None else value)


def stopped_in(t, mm) -> "object | None":
    """A task in this address space that `t` traces and that is stopped."""
    for task in t.tg.data.get("tracees", ()):
        trace = task.ptrace
        if task.mm is mm and trace.tracer is t and trace.stopped and not trace.busy:
            return task
    return None
