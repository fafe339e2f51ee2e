"""Signals: actions, pending sets, sending, choosing a thread, delivery (signal(7), kernel/signal.c).

Where things are:
- `ThreadGroup.sighand` (SigHand): the actions, shared by CLONE_SIGHAND.
- `ThreadGroup.shared_pending`, `Task.pending` (Pending): what waits for the process and for one thread.
- `ThreadGroup.stop_state` (StopState): job control. A stopped task is one whose `wait` is a StopWait.
- `Task.work`: set whenever the task must pass through `user_return` before guest code goes on. It may be set
  needlessly, never missing: whoever makes a signal deliverable sets it (`notify`), only the task itself clears it.

The frames on the guest's stack are made in `signals_frame.py`.
"""

from sentry.abi import siginfo
from sentry.abi.errno import (
    EAGAIN,
    EINTR,
    ERESTART_RESTARTBLOCK,
    ERESTARTNOINTR,
    ERESTARTSYS,
)
from sentry.abi.signal import (
    DEFAULT_CORE,
    DEFAULT_IGNORE,
    NSIG,
    SA_NOCLDSTOP,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIG_DFL,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    SIGSEGV,
    SIGSTOP,
    STOP_SIGNALS,
    SYNCHRONOUS,
    UNBLOCKABLE,
)
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.core.waitq import Wait
from sentry.kernel import exit, membarrier, patching, ptrace, session, signals_frame
from sentry.kernel.hooks import GROUP_EXIT, TASK_EXIT
from sentry.kernel.task import RLIMIT_SIGPENDING
from sentry.platform.base import MemFault

NR_RESTART_SYSCALL = 219
MASK64 = (1 << 64) - 1
DEFAULT_ACTION = (SIG_DFL, 0, 0, 0)


class SigHand:
    """The actions of a process: (handler, flags, restorer, mask) for each signal."""

    __slots__ = ("actions", "users")

    def __init__(self):
        self.actions = [DEFAULT_ACTION] * (NSIG + 1)
        self.users = 1  # thread groups that share it (CLONE_SIGHAND without CLONE_THREAD)

    def copy(self) -> "SigHand":
        """For fork."""
        new = SigHand()
        new.actions = list(self.actions)
        return new

    def reset_handlers(self) -> None:
        """exec, CLONE_CLEAR_SIGHAND: what had a handler gets the default action; ignored stays ignored."""
        for signo in range(1, NSIG + 1):
            if self.actions[signo][0] != SIG_IGN:
                self.actions[signo] = DEFAULT_ACTION
            elif self.actions[signo] != (SIG_IGN, 0, 0, 0):
                self.actions[signo] = (SIG_IGN, 0, 0, 0)


class QueuedSignal:
    """One entry of a pending set. `uid`: whose RLIMIT_SIGPENDING it counts against, None: not counted.
    `source`: object whose `signal_taken(info)` gives the final siginfo (POSIX timers), or None."""

    __slots__ = ("signo", "info", "uid", "source")

    def __init__(self, signo, info, uid, source):
        self.signo = signo
        self.info = info
        self.uid = uid
        self.source = source


class Pending:
    """Signals that wait, for a thread or for a process: a mask, and the queue of those that carry information."""

    __slots__ = ("mask", "queue")

    def __init__(self):
        self.mask = 0
        self.queue = []

    def take(self, kernel, signo: int) -> bytes:
        """Remove the first `signo`, which is pending; returns its siginfo."""
        found = None
        more = False
        for entry in self.queue:
            if entry.signo == signo:
                if found is not None:
                    more = True
                    break
                found = entry
        if not more:
            self.mask &= ~(1 << (signo - 1))
        if found is None:  # the queue was full when it came (kernel/signal.c:collect_signal)
            return siginfo.kill(signo, siginfo.SI_USER, 0, 0)
        self.queue.remove(found)
        uncharge(kernel, found.uid)
        if found.source is not None:
            return found.source.signal_taken(found.info)
        return found.info

    def flush(self, kernel, mask: int) -> None:
        """Forget every signal in `mask`."""
        if not self.mask & mask:
            return
        self.mask &= ~mask
        keep = []
        for entry in self.queue:
            if mask >> (entry.signo - 1) & 1:
                uncharge(kernel, entry.uid)
                if entry.source is not None:
                    entry.source.signal_dropped()
            else:
                keep.append(entry)
        self.queue = keep


class StopState:
    """Job control of a process. `signo`: the stop signal while a stop is wanted or complete, else 0;
    `complete`: every thread has stopped, the parent has been told."""

    __slots__ = ("signo", "complete")

    def __init__(self):
        self.signo = 0
        self.complete = False


class StopWait(Wait):
    """The task is stopped. `result`: what its system call was about to return, or None."""

    __slots__ = ("result",)
    killable = True

    def __init__(self, result):
        self.result = result

    def poll(self, t):
        if t.ptrace is not None:  # begun to be since: the stop becomes one for the tracer
            t.wait = None
            ptrace.view(t, self.result)
            user_return(t, self.result)
            return NO_RETURN
        if not t.dying and t.tg.stop_state.signo:
            return BLOCKED
        t.work = True  # the result may be a restart code, so it must pass through user_return
        return self.result

    def interrupted(self, t):
        return self.result


def charge(kernel, uid: int, limit: int) -> bool:
    """Count one more queued signal of a user; False if that is over the limit."""
    counts = kernel.sig_queued
    n = counts.get(uid, 0)
    if n >= limit:
        return False
    counts[uid] = n + 1
    return True


def uncharge(kernel, uid) -> None:
    if uid is not None:
        counts = kernel.sig_queued
        n = counts[uid] - 1
        if n:
            counts[uid] = n
        else:
            del counts[uid]


# -- life cycle (called by clone, exec, exit) ------------------------------------------------------


def init_group(tg, sighand=None) -> None:
    """A new process; `sighand`: the actions it gets (the caller has copied them, or counted one more user)."""
    tg.sighand = sighand if sighand is not None else SigHand()
    tg.shared_pending = Pending()
    tg.stop_state = StopState()


def init_task(task) -> None:
    task.pending = Pending()


def on_exec(task) -> None:
    """execve(2): actions unshared and reset, no alternate stack. Pending signals and the mask stay."""
    tg = task.tg
    if tg.sighand.users > 1:
        tg.sighand.users -= 1
        tg.sighand = tg.sighand.copy()
    tg.sighand.reset_handlers()
    task.altstack = (0, task.altstack[1], 0)  # the flags stay, as begin_new_exec leaves them
    announce(task)


def task_exit(task) -> None:
    """A thread ends: its own pending signals go, those of the process find another thread; a stop that waited
    only for it is complete."""
    task.pending.flush(task.kernel, MASK64)
    tg = task.tg
    retarget(task, tg.shared_pending.mask & ~task.sigmask)
    state = tg.stop_state
    if state.signo and not state.complete and not tg.group_exiting:
        check_stopped(tg, without=task)


def group_exit(tg) -> None:
    """The last thread has ended."""
    tg.shared_pending.flush(tg.kernel, MASK64)
    tg.sighand.users -= 1


TASK_EXIT.append(task_exit)
GROUP_EXIT.append(group_exit)


# -- sending ---------------------------------------------------------------------------------------


def send_from_outside(tg, signo: int) -> None:
    """A signal from whoever manages the container."""
    send(tg, signo, siginfo.kill(signo, siginfo.SI_USER, 0, 0), force=True)


def is_init(tg) -> bool:
    """The first process of a PID namespace: signals without a handler do not touch it (SIGNAL_UNKILLABLE)."""
    return tg is tg.pids.init and "killable" not in tg.data


def default_ignored(signo: int) -> bool:
    return bool(DEFAULT_IGNORE >> (signo - 1) & 1)


def is_ignored(tg, task, signo: int, force: bool) -> bool:
    """Would the signal have no effect at all (kernel/signal.c:sig_ignored)? `task`: the one it is for, or the leader."""
    if (task.sigmask | (task.saved_sigmask or 0)) >> (signo - 1) & 1:
        return False  # blocked signals are kept: a handler may come before they are let through
    if task.ptrace is not None and signo != SIGKILL:
        return False  # the tracer decides
    handler = tg.sighand.actions[signo][0]
    if handler == SIG_DFL and is_init(tg) and not (force and UNBLOCKABLE >> (signo - 1) & 1):
        return True
    return handler == SIG_IGN or (handler == SIG_DFL and default_ignored(signo))


def send(target, signo: int, info: "bytes | None" = None, *, force: bool = False, uid: "int | None" = None, source=None) -> int:
    """Send a signal to a ThreadGroup (the process) or a Task (that thread). No permission check.

    info: siginfo, None for one from the kernel itself. force: the sender stands outside the container, so that
    SIGKILL and SIGSTOP work on its first process. uid: the sender's real uid, whom the queue entry counts
    against (None: the receiver's). source: see QueuedSignal; the entry is then never refused.
    Returns 0, or -EAGAIN if the queue limit refuses a signal that carries data.
    """
    if hasattr(target, "tasks"):
        tg, task = target, None
        pending = tg.shared_pending
    else:
        tg, task = target.tg, target
        pending = task.pending
    if not tg.tasks:
        return 0
    main = task or (tg.leader if not tg.leader.dead else tg.tasks[0])
    if not prepare(tg, main, signo, force):
        return 0
    if signo == SIGKILL:
        exit.group_exit(tg, SIGKILL)
        return 0
    here = 1 << (signo - 1)
    if signo < SIGRTMIN and pending.mask & here:
        return 0  # a standard signal is pending once
    kernel = tg.kernel
    if info is None:
        info = siginfo.kernel(signo)
    if source is not None:
        pending.queue.append(QueuedSignal(signo, info, None, source))
    else:
        if uid is None:
            uid = main.creds.uid
        if charge(kernel, uid, main.rlimit(RLIMIT_SIGPENDING)):
            pending.queue.append(QueuedSignal(signo, info, uid, None))
        else:
            code = int.from_bytes(info[8:12], "little", signed=True)
            if signo >= SIGRTMIN and code != siginfo.SI_USER:
                return -EAGAIN
            if code >= 0:
                # Kernel signals always get through with what they carry (override_rlimit).
                pending.queue.append(QueuedSignal(signo, info, None, None))
    pending.mask |= here
    for receiver in tg.tasks if task is None else (task,):
        announce(receiver)
    if kernel.signalfds.entries:
        kernel.signalfds.wake()
    complete_signal(tg, task, main, signo)
    return 0


def prepare(tg, task, signo: int, force: bool) -> bool:
    """Effects of a signal at the moment it is sent (kernel/signal.c:prepare_signal): stop signals and SIGCONT
    cancel each other, SIGCONT continues the process. False: it is ignored."""
    if tg.group_exiting:
        return signo == SIGKILL
    if STOP_SIGNALS >> (signo - 1) & 1:
        flush(tg, 1 << (SIGCONT - 1))
    elif signo == SIGCONT:
        flush(tg, STOP_SIGNALS)
        continue_group(tg)
        ptrace.notify_continued(tg)
    return not is_ignored(tg, task, signo, force)


def flush(tg, mask: int) -> None:
    """Drop pending signals everywhere in the process."""
    tg.shared_pending.flush(tg.kernel, mask)
    for task in tg.tasks:
        task.pending.flush(tg.kernel, mask)


def wants(task, signo: int) -> bool:
    """May this thread be chosen for a signal to the process (kernel/signal.c:wants_signal)?"""
    if task.dying or task.dead or task.work or is_stopped_task(task) or (task.ptrace is not None and task.ptrace.stopped):
        return False
    return not task.sigmask >> (signo - 1) & 1 or awaits(task, signo)


def awaits(task, signo: int) -> bool:
    """Does the task sleep in sigtimedwait for this signal?"""
    return task.wait is not None and bool(getattr(task.wait, "signals", 0) >> (signo - 1) & 1)


def complete_signal(tg, task, main, signo: int) -> None:
    """Wake the thread that shall take the signal."""
    if task is not None:
        notify(task, signo)
        return
    for other in (main, *tg.tasks):
        if wants(other, signo):
            if is_fatal(tg, signo) and not other.sigmask >> (signo - 1) & 1 and other.ptrace is None:
                # The whole process dies now, whatever its threads wait for (kernel/signal.c:complete_signal).
                exit.group_exit(tg, signo)
            else:
                notify(other, signo)
            return
    # Nobody is free at once: whoever could take it later must look before going back to guest code.
    for other in tg.tasks:
        if not other.sigmask >> (signo - 1) & 1:
            notify(other, signo)


def is_fatal(tg, signo: int) -> bool:
    """Is the action to end the process, without a core dump?"""
    return (
        tg.sighand.actions[signo][0] == SIG_DFL
        and not (DEFAULT_IGNORE | DEFAULT_CORE | STOP_SIGNALS) >> (signo - 1) & 1
        and not is_init(tg)
    )


def notify(task, signo: int) -> None:
    """A signal became pending for the task."""
    if task.sigmask >> (signo - 1) & 1:
        if awaits(task, signo):
            task.woken(None, 0)
        return
    if task.dead:
        return
    if is_stopped_task(task):
        task.work = True
    elif not task.work or task.wait is not None:
        task.kick()


def retarget(task, mask: int) -> None:
    """The task will not take the signals in `mask` that are pending for its process (it blocked them, or ends):
    let other threads look (kernel/signal.c:retarget_shared_pending)."""
    tg = task.tg
    mask &= tg.shared_pending.mask
    if not mask:
        return
    for other in tg.tasks:
        if other is not task and mask & ~other.sigmask and not other.dead and not other.work:
            mask &= other.sigmask
            other.kick()
            if not mask:
                return


def force(task, signo: int, info: "bytes | None" = None) -> None:
    """A signal that the thread cannot escape, caused by itself (force_sig_info): blocked or ignored means the
    default action, also for a container's first process."""
    sighand = task.tg.sighand
    here = 1 << (signo - 1)
    blocked = bool(task.sigmask & here)
    if blocked or sighand.actions[signo][0] == SIG_IGN:
        sighand.actions[signo] = DEFAULT_ACTION
        task.sigmask &= ~here
    if sighand.actions[signo][0] == SIG_DFL:
        task.tg.data["killable"] = True
    pending = task.pending
    if not pending.mask & here:
        pending.mask |= here
        pending.queue.append(QueuedSignal(signo, info if info is not None else siginfo.kernel(signo), None, None))
        announce(task)
    task.work = True


def disposition(tg, signo: int) -> "tuple[int, int]":
    """(handler, flags) of a process's action."""
    action = tg.sighand.actions[signo]
    return action[0], action[1]


# -- masks -----------------------------------------------------------------------------------------


def announce(task) -> None:
    """Tell the task's thread what is pending for it, before its mask is looked at: it may change that on its own otherwise."""
    if task.thread is not None and task.kernel.trace is None:
        pending = task.pending.mask | task.tg.shared_pending.mask
        if task.seccomp is not None and task.seccomp.guards_masks:
            pending = MASK64
        task.thread.tell_pending(pending)


def mask_changed(task) -> None:
    """The thread has changed its mask while a signal came that this concerns; it may be one to take now, or not any more."""
    mask = task.sigmask
    pending = task.pending.mask | task.tg.shared_pending.mask
    if pending & ~mask:
        task.work = True
    retarget(task, pending & mask)


def set_mask(task, mask: int) -> None:
    """Change the task's signal mask (also from its own system call)."""
    mask &= ~UNBLOCKABLE
    newly_blocked = mask & ~task.sigmask
    task.sigmask = mask
    if newly_blocked:
        retarget(task, newly_blocked)
    recalculate(task)


def set_temporary_mask(task, mask: int) -> None:
    """sigsuspend, ppoll and the like: `mask` while the call sleeps. The call ends with `restore_mask`, unless it
    was interrupted: then the handler runs under `mask` and `user_return` restores the old one."""
    task.saved_sigmask = task.sigmask
    set_mask(task, mask)


def restore_mask(task) -> None:
    if task.saved_sigmask is not None:
        mask, task.saved_sigmask = task.saved_sigmask, None
        set_mask(task, mask)


def deliverable(task) -> int:
    """Mask of the signals that the task could take now."""
    return (task.pending.mask | task.tg.shared_pending.mask) & ~task.sigmask


def recalculate(task) -> None:
    """Set `work` for the task that is in the kernel."""
    task.work = bool(task.dying or stop_wanted(task) or deliverable(task))
    announce(task)


def take_signal(task, mask: int) -> "tuple[int, bytes] | None":
    """Dequeue the next signal in `mask`: (signo, siginfo). Synchronous ones first, the thread's before the
    process's, low numbers first (kernel/signal.c:dequeue_signal)."""
    for pending in (task.pending, task.tg.shared_pending):
        ready = pending.mask & mask
        if ready:
            first = ready & SYNCHRONOUS or ready
            signo = (first & -first).bit_length()
            return signo, pending.take(task.kernel, signo)
    return None


# -- stopping --------------------------------------------------------------------------------------


def stop_wanted(task) -> bool:
    """Must the task stop before it goes back to guest code?"""
    trace = task.ptrace
    return bool(task.tg.stop_state.signo) if trace is None else trace.stop_pending()


def is_stopped_task(task) -> bool:
    return type(task.wait) is StopWait


def is_stopped(tg) -> bool:
    """Is the whole process stopped by job control?"""
    return tg.stop_state.complete


def wake_stopped(task) -> None:
    """Let a stopped task look whether it may go on."""
    task.woken(None, 0)


def stop_group(tg, signo: int) -> None:
    """Default action of a stop signal: every thread stops (do_signal_stop)."""
    state = tg.stop_state
    for task in tg.tasks:
        if task.ptrace is not None:
            task.ptrace.stop_signo = signo
    if not state.signo:
        state.signo = signo
        for task in tg.tasks:
            if not task.work or task.wait is not None:
                task.kick()
    else:
        for task in tg.tasks:  # a traced thread may run although its process is stopped
            if task.ptrace is not None and not task.ptrace.stopped:
                task.ptrace.joined = False
                task.kick()


def stop_task(task, result) -> None:
    """The task, in the kernel, stops; `result` as for user_return."""
    task.block(StopWait(result))
    if task.wait is None:  # block() looked at task.work
        raise AssertionError("stopped task did not block")
    if not task.tg.stop_state.complete:
        check_stopped(task.tg)


def check_stopped(tg, without=None) -> None:
    """Has every thread stopped? Then the parent learns of it."""
    tasks = [task for task in tg.tasks if task is not without]
    if tasks and all(is_stopped_task(task) if task.ptrace is None else task.ptrace.joined for task in tasks):
        state = tg.stop_state
        state.complete = True
        tg.unreported_stop = state.signo
        tg.unreported_continue = False
        tell_parent(tg, siginfo.CLD_STOPPED, state.signo)


def continue_group(tg) -> None:
    """SIGCONT was sent: the process goes on, whatever becomes of the signal itself."""
    state = tg.stop_state
    if not state.signo:
        return
    complete = state.complete
    state.signo = 0
    state.complete = False
    tg.unreported_stop = 0
    for task in tg.tasks:
        if is_stopped_task(task):
            wake_stopped(task)
    if complete:
        tg.unreported_continue = True
        tell_parent(tg, siginfo.CLD_CONTINUED, SIGCONT)


def tell_parent(tg, code: int, status: int) -> None:
    """SIGCHLD about a stop or continue (do_notify_parent_cldstop), and wake the parent's wait calls."""
    parent = tg.parent
    if parent is None or not parent.tasks:
        return
    handler, flags = disposition(parent, SIGCHLD)
    if handler != SIG_IGN and not flags & SA_NOCLDSTOP:
        send(parent, SIGCHLD, exit.child_info(tg, SIGCHLD, code, status))
    parent.child_queue.wake()


# -- delivery --------------------------------------------------------------------------------------


def user_return(task, result, taken=None) -> None:
    """`task.work` is set and the task is about to return to guest code. `result`: of the system call (may be a
    restart code), or None after an interrupt or fault. Delivers signals, stops, ends the task, or resumes it.
    taken: (signo, siginfo) of a signal that its tracer has let through."""
    tg = task.tg
    actions = tg.sighand.actions
    if "barriers" in task.data:
        membarrier.passed(task)
    while True:
        if task.dying:
            exit.exit_task(task)
            return
        if taken is None:
            if task.ptrace is not None:
                if ptrace.job_stop(task, result):
                    return
            elif tg.stop_state.signo:
                stop_task(task, result)
                return
            taken = take_signal(task, ~task.sigmask)
            if taken is None:
                break
            if task.ptrace is not None:
                ptrace.signal_stop(task, taken[0], taken[1], result)
                return
        signo, info = taken
        taken = None
        handler = actions[signo][0]
        if handler > SIG_IGN:
            deliver(task, signo, info, result)
            return
        if handler == SIG_DFL:
            default_action(task, signo)
    task.work = False
    regs = task.thread.regs
    if result is not None:
        if -ERESTART_RESTARTBLOCK <= result <= -ERESTARTSYS:
            nr = NR_RESTART_SYSCALL if result == -ERESTART_RESTARTBLOCK else task.in_call
            regs.rax = nr
            regs.rip -= 2
        else:
            regs.rax = result & MASK64
        task.in_call = -1
    if task.saved_sigmask is not None:
        restore_mask(task)
        if task.work:
            user_return(task, None)
            return
    if task.ptrace is not None:
        ptrace.departing(task)
    patching.resume_point(task)
    task.thread.resume()


def default_action(task, signo: int) -> None:
    """SIG_DFL. Afterwards the task may be dying, or its process stopping."""
    here = 1 << (signo - 1)
    tg = task.tg
    if here & DEFAULT_IGNORE:
        return
    if is_init(tg) and not here & UNBLOCKABLE:
        return
    if here & STOP_SIGNALS:
        if signo != SIGSTOP and session.is_orphaned(tg.pgrp):
            return  # nobody could continue it
        stop_group(tg, signo)
        return
    status = signo
    if here & DEFAULT_CORE and tg.kernel.core_dump is not None and tg.kernel.core_dump(task, signo):
        status |= 0x80
    exit.group_exit(tg, status)


def end_at_sigreturn(task) -> bool:
    """Whether the task ends here, before a handler that is due as well: it is dying, or gets a signal that ends its process."""
    actions = task.tg.sighand.actions
    ready = deliverable(task) & ~(DEFAULT_IGNORE | STOP_SIGNALS)
    for signo in range(1, NSIG + 1):
        if task.dying:
            break
        if ready >> (signo - 1) & 1 and actions[signo][0] == SIG_DFL and not is_init(task.tg):
            take_signal(task, 1 << (signo - 1))
            default_action(task, signo)
    return task.dying


def deliver_at_sigreturn(task, fp_source: int) -> bool:
    """rt_sigreturn has restored everything but the FP state, which is in guest memory at `fp_source` (0: initial).
    If a handler is to run before the interrupted code goes on, enter it: the new frame gets a copy of that FP state."""
    mask = handled_signals(task)
    if task.dying or task.tg.stop_state.signo or not mask:
        return False
    fp_state = task.read(fp_source, task.kernel.platform.fp_size) if fp_source else b""
    signo, info = take_signal(task, mask)
    deliver(task, signo, info, None, fp_state)
    return True


def handled_signals(task) -> int:
    """Those of the deliverable signals that have a handler, as a mask."""
    actions = task.tg.sighand.actions
    handled = 0
    ready = deliverable(task)
    while ready:
        low = ready & -ready
        ready ^= low
        if actions[low.bit_length()][0] > SIG_IGN:
            handled |= low
    return handled


def deliver(task, signo: int, info: bytes, result, fp_state: "bytes | None" = None) -> None:
    """Run the handler of `signo`, and before its first instruction those of further signals (their frames lie
    below the first one, so that the last runs first, as on Linux). fp_state: the FP state that the first frame shall
    hold, None: the thread's."""
    if task.ptrace is not None and fp_state is None:
        ptrace.deliver_with_fp(task, signo, info, result)
        return
    thread = task.thread
    regs = thread.regs
    sighand = task.tg.sighand
    fp_addr = 0
    frame = None
    task.work = False
    task.restart = None  # rt_sigreturn does so, but the kernel may not learn of that
    if result is not None:
        flags = sighand.actions[signo][1]
        if result == -ERESTARTNOINTR or (result == -ERESTARTSYS and flags & SA_RESTART):
            regs.rax = task.in_call
            regs.rip -= 2
        elif -ERESTART_RESTARTBLOCK <= result <= -ERESTARTSYS:
            regs.rax = -EINTR & MASK64
        else:
            regs.rax = result & MASK64
        task.in_call = -1
    while True:
        handler, flags, restorer, mask = sighand.actions[signo]
        if flags & SA_RESETHAND:
            sighand.actions[signo] = (SIG_DFL, flags, restorer, mask)
        undo = (signo, regs.copy(), task.sigmask, task.saved_sigmask, task.altstack)
        old_mask = task.saved_sigmask if task.saved_sigmask is not None else task.sigmask
        # Only the first frame holds FP state: the others interrupt handlers at their first instruction.
        fp_size = task.kernel.platform.fp_size if fp_state is None else len(fp_state)
        made = signals_frame.make(
            task, signo, info, handler, flags, restorer, old_mask, 0 if frame is not None else fp_size
        )
        if made is None:
            frame_failed(task, undo)
            break
        if frame is not None:
            try:
                thread.write(frame[0], frame[1])
            except MemFault:
                frame_failed(task, task.data["frame_undo"])
                frame = None
                break
        else:
            fp_addr = made[2]
        task.data["frame_undo"] = undo
        frame = made
        task.saved_sigmask = None
        blocked = task.sigmask | mask
        if not flags & SA_NODEFER:
            blocked |= 1 << (signo - 1)
        set_mask(task, blocked)
        if task.dying or task.tg.stop_state.signo or task.ptrace is not None:
            break
        handled = handled_signals(task)
        if not handled:
            break
        signo, info = take_signal(task, handled)
    if frame is None:
        user_return(task, None)
        return
    if fp_state is None:
        thread.enter_handler(frame[0], frame[1], fp_addr)
    else:
        try:
            thread.write(frame[0], frame[1])
            if fp_state:
                thread.write(fp_addr, fp_state)
        except MemFault:
            frame_failed(task, task.data["frame_undo"])
            user_return(task, None)
            return
        if task.ptrace is not None:
            ptrace.in_handler(task)
            return
        thread.resume(fp_reset=True)
    if task.work:
        thread.interrupt()


def frame_failed(task, undo) -> None:
    """Back to the registers before the frame of `undo`, then force_sigsegv: a handler for SIGSEGV runs unless
    this was its own frame."""
    signo, registers, mask, saved, altstack = undo
    task.thread.regs.load(registers)
    task.sigmask = mask
    task.saved_sigmask = saved
    task.altstack = altstack
    if signo == SIGSEGV:
        task.tg.sighand.actions[SIGSEGV] = DEFAULT_ACTION
    force(task, SIGSEGV)


def frame_fault(task) -> None:
    """A signal frame could not be written (enter_handler), or its FP state not be read (sigreturn): SIGSEGV, forced."""
    undo = task.data.pop("frame_undo", None)
    regs = task.thread.regs
    signo = task.thread.entered_signal
    if signo:  # by a fast handler: the call has returned, and that is all
        regs.rax = 0
        undo = (signo, regs.copy(), task.sigmask, None, task.altstack)
    if undo is not None:
        frame_failed(task, undo)
    else:
        force(task, SIGSEGV)
    user_return(task, None)


def fault(task, info) -> None:
    """A synchronous fault in guest code: info = (signo, code, addr, trapno, error code)."""
    signo, code, addr, trapno, error = info
    task.data["trap"] = (trapno, error, addr)
    if signo == SIGSEGV and code in (SEGV_MAPERR, SEGV_ACCERR):
        # The host's areas are coarser than the guest's (reservations), so the code is ours to find.
        code = SEGV_ACCERR if task.mm.find(addr) is not None else SEGV_MAPERR
        if code == SEGV_MAPERR and task.mm.grow_down(task, addr):
            return
    force(task, signo, siginfo.fault(signo, code, addr))
    user_return(task, None)


def host_death(task) -> None:
    """The host process of the task is gone (killed from outside, out of memory): the group ends as by SIGKILL."""
    exit.group_exit(task.tg, SIGKILL)
    if task.ptrace is not None:
        task.ptrace.exiting = True  # without a stop
        task.ptrace.stopped = False
    blocked = task.wait
    if blocked is not None:
        task.kernel.end_wait(task, blocked, task.kernel.guarded(task, blocked.interrupted, task))
    if not task.dead:
        exit.exit_task(task)
