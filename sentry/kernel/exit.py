"""The end of threads and processes (kernel/exit.c).

Who calls what:
- a fatal signal, exit_group(2): `group_exit(tg, status)` marks every thread `dying` and kicks it; a thread that
  is in the kernel at that moment (the caller) then ends in `exit_task`;
- `signals.user_return` ends a task that is `dying` with `exit_task(task)` before it looks at anything else;
- exec with other threads alive: `kill_other_threads(task, done)`;
- the host process is gone: `group_exit`, then `exit_task` for its threads.

`status` is always the status word of wait(2): code << 8, or signal | 0x80 if core was dumped.
"""

from sentry.abi import siginfo
from sentry.abi.errno import EAGAIN
from sentry.abi.signal import SA_NOCLDWAIT, SIG_IGN, SIGCHLD, SIGKILL
from sentry.core import leaks
from sentry.core.result import NO_RETURN
from sentry.kernel import cputime, futex, memstat, ptrace, session, signals
from sentry.kernel.hooks import GROUP_EXIT, TASK_EXIT
from sentry.platform.base import MemFault


def mark_dying(task) -> None:
    """The task must end as soon as it can; wakes or interrupts it."""
    if not task.dying and not task.dead:
        task.dying = True
        if signals.is_stopped_task(task):
            task.work = True
            signals.wake_stopped(task)
        else:
            task.kick()


def group_exit(tg, status: int) -> None:
    """All threads of the process shall end; the first status given counts (do_group_exit)."""
    if tg.group_exiting or not tg.tasks:
        return
    tg.group_exiting = True
    tg.exit_status = status
    for task in tuple(tg.tasks):
        mark_dying(task)
    check_exec(tg)


def sys_exit_group(task, status: int) -> int:
    """exit_group(2) of a task that is in the kernel."""
    tg = task.tg
    if not tg.group_exiting and tg.exec_task is None:
        tg.group_exiting = True
        tg.exit_status = status
        for other in tuple(tg.tasks):
            if other is not task:
                mark_dying(other)
    exit_task(task, status)
    return NO_RETURN


def kill_other_threads(task, done) -> None:
    """For exec (fs/exec.c:de_thread): end every other thread of the process, then call done(0), perhaps at once;
    `task` has then become the leader, with the process's number. done(-EAGAIN): the process is ending, or another
    thread's exec came first; the caller returns to the guest as from a failed call."""
    tg = task.tg
    if tg.group_exiting or task.dying or tg.exec_task is not None:
        done(-EAGAIN)
        return
    if len(tg.tasks) == 1:
        become_leader(task)
        done(0)
        return
    tg.exec_task = task
    tg.exec_done = done
    for other in tuple(tg.tasks):
        if other is not task:
            mark_dying(other)


def become_leader(task) -> None:
    """The only thread left takes the process's number; of the old leader nothing remains."""
    tg = task.tg
    tg.exit_signal = SIGCHLD
    if task is tg.leader:
        return
    if tg.leader.ptrace is not None:
        ptrace.unlink(tg.leader)
    tasks = tg.pids.tasks
    tasks.pop(task.tid, None)
    task.tid = tg.pid
    tasks[tg.pid] = task
    task.start_time = tg.leader.start_time
    tg.leader = task


def check_exec(tg) -> None:
    """A thread has gone: is it the exec's turn?"""
    task = tg.exec_task
    if task is None or (len(tg.tasks) > 1 and not tg.group_exiting) or task.dead:
        return
    done = tg.exec_done
    tg.exec_task = tg.exec_done = None
    if tg.group_exiting:
        done(-EAGAIN)
        return
    become_leader(task)
    done(0)


def exit_task(task, status: "int | None" = None) -> None:
    """End one thread, which is in the kernel (parked). `status`: of exit(2); None when it was made to end."""
    if task.dead:
        return
    tg = task.tg
    task.dying = True
    if status is None:
        status = tg.exit_status if tg.group_exiting else SIGKILL
    if task.ptrace is not None and ptrace.exit_event(task, status):
        return
    task.exit_code = status
    for hook in TASK_EXIT:
        hook(task)
    last = len(tg.tasks) == 1
    if last:
        if not tg.group_exiting:
            tg.group_exiting = True
            tg.exit_status = tg.leader.exit_code if tg.leader is not task else status
        for hook in GROUP_EXIT:
            hook(tg)
    leave_memory(task)
    task.dead = True
    task.work = False
    tg.tasks.remove(task)
    if task.files is not None:
        files, task.files = task.files, None
        files.users -= 1
        if files.users == 0:
            files.close_all(task)
    if task.fs is not None:
        fs, task.fs = task.fs, None
        fs.release()
    pass_on_children(task)
    if task is not tg.leader:
        tg.pids.tasks.pop(task.tid, None)
        if task.ptrace is not None:
            ptrace.thread_ended(task)
    if last:
        end_group(tg)
    else:
        if tg.exit_queue is not None:  # a PIDFD_THREAD may be about this one
            tg.exit_queue.wake()
        check_exec(tg)
    leaks.drop("task")


def release_address_space(task) -> None:
    """The task is about to leave its address space, by exec or exit: robust futexes, CLEARTID, CPU time, vfork's
    parent (kernel/fork.c:mm_release). The caller then ends the host thread and drops the MM."""
    mm = task.mm
    futex.exit_robust(task)
    clear_child_tid = task.thread.clear_child_tid
    if clear_child_tid and mm.users > 1:
        try:
            task.write(clear_child_tid, b"\0\0\0\0")
        except MemFault:
            pass  # the guest's own bad pointer; the wake is harmless
        futex.wake(task, clear_child_tid, 1)
    if len(task.tg.tasks) == 1:
        cputime.leave(task)
        memstat.leave(task)
    release_vfork(task)


def leave_memory(task) -> None:
    """The end of the task's use of its address space and host thread."""
    thread, mm = task.thread, task.mm
    if thread is None:
        return
    if mm is None:
        thread.exit()
    else:
        release_address_space(task)
        mm.forget(task)
        task.mm = None
        if mm.users > 1:
            thread.exit()
        mm.drop()
    task.take_thread()


def release_vfork(task) -> None:
    """Let the parent of a vfork go on."""
    wait = task.vfork_done
    if wait is not None:
        task.vfork_done = None
        wait.child_gone()


def pass_on_children(task) -> None:
    """The children that this thread made get another thread as parent, or another process
    (kernel/exit.c:forget_original_parent); PR_SET_PDEATHSIG."""
    tg = task.tg
    if not tg.children:
        return
    successor = tg.tasks[0] if tg.tasks else None
    for child in tuple(tg.children):
        if successor is None:
            reaper = find_reaper(tg)
            reparent(child, reaper)
        elif child.parent_task is not task:
            continue
        else:
            child.parent_task = successor
        for member in child.tasks:
            if member.pdeath_signal:
                info = siginfo.kill(member.pdeath_signal, siginfo.SI_USER, tg.pid, task.creds.uid)
                signals.send(child, member.pdeath_signal, info)


def find_reaper(tg):
    """The nearest living ancestor that asked to be a subreaper, else the first process of the PID namespace, or None."""
    ancestor = tg.parent
    while ancestor is not None:
        if ancestor.subreaper and ancestor.tasks:
            return ancestor
        ancestor = ancestor.parent
    init = tg.pids.init
    return init if init is not None and init is not tg and init.tasks else None


def reparent(child, reaper) -> None:
    father = child.parent
    father.children.remove(child)
    child.parent = reaper
    for task in child.tasks:
        task.thread.forget_answers()  # getppid
    child.exit_signal = SIGCHLD
    if reaper is None:
        child.parent_task = None
        if child.zombie:
            reap(child)
    else:
        child.parent_task = reaper.tasks[0]
        reaper.children.append(child)
        if child.zombie:
            notify_parent(child)
    if child.pgrp is not None:
        session.hang_up_if_orphaned(child, father)


def end_group(tg) -> None:
    """The last thread has gone: the process is a zombie, or vanishes at once."""
    tg.zombie = True
    sess = tg.session
    if sess is not None and sess.leader is tg:
        sess.leader = None
        if sess.tty is not None:
            sess.tty.session_leader_exit(sess)
    session.hang_up_if_orphaned(tg, None)
    container = tg.container
    if container is not None:
        container.process_exited(tg)
    elif tg is tg.pids.init:
        tg.kernel.stopping = True
    if tg.exit_queue is not None:
        tg.exit_queue.wake()
    notify_parent(tg)


def notify_parent(tg) -> None:
    """Tell the parent of a new zombie (kernel/signal.c:do_notify_parent), or reap it for a parent that does not
    want to know."""
    parent = tg.parent
    traced = tg.leader.ptrace is not None
    if traced and ptrace.reparented(tg.leader):
        ptrace.tell_tracer_of_end(tg.leader, *exit_code_and_status(tg))
        return
    if parent is None or not parent.tasks:
        if parent is None:
            reap(tg)
        return
    signo = tg.exit_signal
    ignored = False
    if signo == SIGCHLD:
        handler, flags = signals.disposition(parent, SIGCHLD)
        ignored = (handler == SIG_IGN or flags & SA_NOCLDWAIT) and not traced
        if handler == SIG_IGN:
            signo = 0
    if signo:
        signals.send(parent, signo, child_info(tg, signo, *exit_code_and_status(tg)))
    if ignored:
        reap(tg)
    parent.child_queue.wake()


def exit_code_and_status(tg) -> "tuple[int, int]":
    """si_code and si_status of a zombie."""
    return code_and_status(tg.exit_status)


def code_and_status(status: int) -> "tuple[int, int]":
    """si_code and si_status for a status word."""
    if status & 0x7F:
        return (siginfo.CLD_DUMPED if status & 0x80 else siginfo.CLD_KILLED), status & 0x7F
    return siginfo.CLD_EXITED, status >> 8


def child_info(tg, signo: int, code: int, status: int) -> bytes:
    """siginfo about the child `tg` for its parent."""
    user, system = cputime.process(tg)
    uid = tg.leader.creds.uid
    return siginfo.chld(signo, code, tg.pid, uid, status, user // 10_000_000, system // 10_000_000)


def reap(tg) -> None:
    """Release a zombie: its number is free again."""
    if tg.reaped:
        return
    tg.reaped = True
    if tg.leader.ptrace is not None:
        ptrace.unlink(tg.leader)
    parent = tg.parent
    if parent is not None:
        parent.children.remove(tg)
    session.leave_group(tg)
    pids = tg.pids
    pids.groups.pop(tg.pid, None)
    if pids.tasks.get(tg.pid) is tg.leader:
        pids.tasks.pop(tg.pid, None)
    tg.parent = tg.parent_task = None
    if tg.exit_queue is not None:
        tg.exit_queue.wake()
    leaks.drop("process")
