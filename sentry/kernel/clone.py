"""fork, vfork, clone: new threads and processes (kernel/fork.c)."""

from time import monotonic_ns

from sentry.abi.errno import EAGAIN, EBADF, EEXIST, EINTR, EINVAL, EMFILE, ENOSYS, EOPNOTSUPP, EPERM
from sentry.abi.signal import SS_DISABLE
from sentry.core import creds as caps
from sentry.core import leaks, log
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.core.waitq import Wait
from sentry.kernel import cpulimit, cputime, ptrace, seccomp_filter, session, signals
from sentry.kernel.pidfd import PidFd
from sentry.kernel.task import RLIM_INFINITY, RLIMIT_NOFILE, RLIMIT_NPROC, Task, ThreadGroup
from sentry.mm.vma import PROT_WRITE
from sentry.net import netns
from sentry.platform.base import MemFault

CSIGNAL = 0xFF
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
CLONE_PIDFD, CLONE_PTRACE, CLONE_VFORK, CLONE_PARENT = 0x1000, 0x2000, 0x4000, 0x8000
CLONE_THREAD, CLONE_NEWNS, CLONE_SYSVSEM, CLONE_SETTLS = 0x10000, 0x20000, 0x40000, 0x80000
CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_DETACHED = 0x100000, 0x200000, 0x400000
CLONE_UNTRACED, CLONE_CHILD_SETTID, CLONE_NEWCGROUP = 0x800000, 0x1000000, 0x2000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x4000000, 0x8000000, 0x10000000, 0x20000000
CLONE_NEWNET, CLONE_IO = 0x40000000, 0x80000000
CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CLONE_NEWTIME = 1 << 32, 1 << 33, 0x80

NEW_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME
)
SUPPORTED_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET

# Task.data entries that a new task begins with: keys of features whose state is inherited.
INHERITED_DATA = []


class Args:
    """What clone and clone3 ask for (struct clone_args); `stack` is the stack pointer, 0: the parent's."""

    __slots__ = ("flags", "exit_signal", "stack", "tls", "parent_tid", "child_tid", "pidfd", "set_tid", "cgroup")

    def __init__(self, flags, exit_signal, stack=0, tls=0, parent_tid=0, child_tid=0, pidfd=0, set_tid=0, cgroup=-1):
        self.flags = flags
        self.exit_signal = exit_signal
        self.stack = stack
        self.tls = tls
        self.parent_tid = parent_tid
        self.child_tid = child_tid
        self.pidfd = pidfd
        self.set_tid = set_tid
        self.cgroup = cgroup


def check_flags(task, flags) -> int:
    """0 or -errno, in the order of kernel/fork.c:copy_process."""
    if flags & CLONE_FS and flags & (CLONE_NEWNS | CLONE_NEWUSER):
        return -EINVAL
    if flags & CLONE_THREAD and not flags & CLONE_SIGHAND:
        return -EINVAL
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        return -EINVAL
    if flags & CLONE_PARENT and task.tg is first_process(task):
        return -EINVAL
    if flags & CLONE_THREAD and flags & (CLONE_NEWUSER | CLONE_NEWPID):
        return -EINVAL
    if flags & CLONE_PIDFD and flags & CLONE_DETACHED:
        return -EINVAL
    if too_many_processes(task):
        return -EAGAIN
    return check_namespaces(task, flags)


def check_namespaces(task, flags) -> int:
    """May the task have these new namespaces? Mount, network and UTS namespaces exist; user namespaces are refused as
    where user.max_user_namespaces forbids them, the others as by a kernel built without them."""
    if flags & CLONE_NEWUSER:
        log.once("newuser", log.INFO, "a user namespace was asked for and refused")
        return -EPERM
    wanted = flags & NEW_NAMESPACES
    if not wanted:
        return 0
    if not task.creds.capable(caps.CAP_SYS_ADMIN):
        return -EPERM
    if flags & CLONE_NEWIPC and flags & CLONE_SYSVSEM:
        return -EINVAL
    if wanted & ~SUPPORTED_NAMESPACES:
        log.once(("namespace", wanted), log.INFO, f"namespaces {wanted:#x} are not implemented")
        return -EINVAL
    return 0


def first_process(task):
    """The ThreadGroup that is `init` to this task."""
    return task.tg.pids.init


def too_many_processes(task) -> bool:
    """pids.limit of the container; RLIMIT_NPROC (setrlimit(2)): threads of the real user, unless root or with one of two
    capabilities."""
    container = task.tg.container
    if container is not None and container.machine.pids and container.machine.full(container):
        return True
    limit = task.rlimit(RLIMIT_NPROC)
    creds = task.creds
    if limit == RLIM_INFINITY or creds.uid == 0:
        return False
    if creds.capable(caps.CAP_SYS_RESOURCE) or creds.capable(caps.CAP_SYS_ADMIN):
        return False
    return user_tasks(task.kernel, creds.uid) >= limit


def user_tasks(kernel, uid: int) -> int:
    return sum(1 for other in kernel.all_tasks() if other.creds.uid == uid)


def do_clone(task, args) -> int:
    """Begin a clone of `task`, which is in the kernel. -errno, or NO_RETURN: the rest happens when the
    platform has made the thread."""
    flags = args.flags
    # kernel/fork.c:kernel_clone
    if flags & CLONE_PIDFD and flags & CLONE_PARENT_SETTID and args.pidfd == args.parent_tid:
        return -EINVAL
    error = check_flags(task, flags)
    if error:
        return error
    if flags & CLONE_INTO_CGROUP:
        return -EBADF if task.files.get(args.cgroup) is None else -EOPNOTSUPP
    if args.set_tid:
        if task.tg.pids.taken(args.set_tid):
            return -EEXIST
    cloning = Cloning(task, args)
    if flags & CLONE_VM:
        task.thread.spawn(cloning.done)
    elif task.mm.patches is not None and task.mm.patches.busy:
        task.mm.patches.after.append(cloning.fork)
    else:
        cloning.fork()
    return NO_RETURN


class Cloning:
    """A clone on its way: the platform makes the host thread meanwhile."""

    __slots__ = ("task", "args", "child", "mm")

    def __init__(self, task, args):
        self.task = task
        self.args = args
        self.child = self.mm = None

    def fork(self) -> None:
        """No call site is being rewritten, nor will one be until the copy is made."""
        task = self.task
        if task.thread is None:  # it died while it waited for this
            return
        if task.mm.patches is not None:
            task.mm.patches.forks += 1
        task.thread.fork(self.done, self.prepare)

    def prepare(self) -> None:
        """The host is making its copy: meanwhile ours is made, unless other threads or processes could still change it."""
        task, args = self.task, self.args
        if task.dead or task.dying or task.mm.users > 1 or args.flags & (CLONE_VM | CLONE_PARENT):
            return
        self.child = new_task(task, args, args.set_tid or task.tg.pids.new_pid())
        self.mm = task.mm.fork(None)

    def discard(self) -> None:
        """There is no use for what has been prepared."""
        if self.mm is not None:
            self.mm.drop()
            leaks.drop("task")
            leaks.drop("process")
            self.child = self.mm = None

    def done(self, thread, errno) -> None:
        """The platform's answer; both threads are parked."""
        task, args = self.task, self.args
        if not args.flags & CLONE_VM and task.mm is not None and task.mm.patches is not None:
            task.mm.patches.forks -= 1
        if thread is None:
            log.warning(f"task {task.tid}: the host refused a new thread: errno {errno}")
            self.discard()
            task.kernel.back_to_guest(task, -errno)
            return
        if task.dead or task.dying:
            self.undo(thread)
            self.discard()
            if not task.dead:
                task.kernel.back_to_guest(task, -EINTR)
            return
        pidfd = -1
        kernel = task.kernel
        child = self.child
        if child is None:
            child = new_task(task, args, args.set_tid or task.tg.pids.new_pid())
        tid = child.tid
        child.give_thread(thread)
        if args.flags & CLONE_CHILD_CLEARTID:
            thread.clear_child_tid = args.child_tid
        signals.announce(child)
        if args.flags & CLONE_PIDFD:
            pidfd = self.install_pidfd(child)
            if pidfd < 0:
                self.undo(thread)
                self.discard()
                kernel.back_to_guest(task, pidfd)
                return
        self.child = child
        enter_tables(task, child, args, self.mm)
        if args.flags & CLONE_PARENT_SETTID:
            put_tid(task, args.parent_tid, tid)
        if args.flags & CLONE_CHILD_SETTID:
            put_child_tid(child, args.child_tid, tid)
        wait = None
        if args.flags & CLONE_VFORK:
            child.vfork_done = wait = VforkWait(task, tid)
        event = 0 if task.ptrace is None else ptrace.new_child(task, child, args.flags, args.exit_signal)
        ops = [] if args.flags & CLONE_VM else task.mm.fork_ops()  # MADV_DONTFORK, MADV_WIPEONFORK
        if event:
            self.start_child(child, ops)
            ptrace.view(task, -ENOSYS)
            ptrace.event(task, event, tid, lambda: self.parent_goes_on(wait, tid))
        else:
            # The parent first: it goes on while the child still begins, as it mostly does on Linux.
            self.parent_goes_on(wait, tid)
            self.start_child(child, ops)

    def parent_goes_on(self, wait, tid) -> None:
        """`wait`: the VforkWait of a vfork, or None."""
        task = self.task
        result = tid
        if wait is not None:
            result = wait.poll(task) if wait.finished else task.block(wait)
        if result != BLOCKED:
            task.kernel.back_to_guest(task, result)

    def undo(self, thread) -> None:
        if self.args.flags & CLONE_VM:
            thread.exit()
        else:
            thread.aspace.kill()

    def install_pidfd(self, child) -> int:
        task = self.task
        file = PidFd(child.tg, child if self.args.flags & CLONE_THREAD else None)
        fd = task.files.install(file, task.rlimit(RLIMIT_NOFILE), True)
        if fd < 0:
            file.decref()
            return -EMFILE
        try:
            task.write(self.args.pidfd, fd.to_bytes(4, "little"))
        except MemFault:
            task.files.remove(fd).decref()
            raise
        return fd

    def start_child(self, child, ops) -> None:
        args = self.args
        if ops:
            child.mm.submit(child, 0, 1 << 63, ops, then=self.ops_done)
        elif args.stack or args.flags & CLONE_SETTLS:
            self.resume_child()
        else:
            child.kernel.back_to_guest(child, 0)

    def ops_done(self, errno) -> None:
        if errno:
            log.error(f"fork: memory of task {self.child.tid} could not be set up: errno {errno}")
        self.resume_child()

    def resume_child(self) -> None:
        """The child returns 0 on its own stack, with its own thread pointer."""
        child, args = self.child, self.args
        regs = child.thread.regs
        regs.rax = 0
        if args.stack:
            regs.rsp = args.stack
        if args.flags & CLONE_SETTLS:
            regs.fs_base = args.tls
        child.kernel.back_to_guest(child, None)


def put_tid(task, addr, tid) -> None:
    """Errors are ignored, as by kernel/fork.c."""
    try:
        task.write(addr, tid.to_bytes(4, "little"))
    except MemFault:
        pass


def put_child_tid(child, addr, tid) -> None:
    """In the child's memory, on its way to guest code where that is sure to work."""
    area = child.mm.find(addr)
    if area is not None and area.prot & PROT_WRITE and area.end >= addr + 4 and area.backing is None:
        child.thread.write_later(addr, tid.to_bytes(4, "little"))
    else:
        put_tid(child, addr, tid)


def new_task(parent, args, tid) -> Task:
    """The child's Task, with everything it shares or copies but memory and files, in no table yet, without a thread."""
    kernel, flags = parent.kernel, args.flags
    if flags & CLONE_THREAD:
        tg = parent.tg
    else:
        tg = new_process(parent, args, tid)
    child = Task(kernel, tid, tg, None)
    child.start_time = monotonic_ns()
    child.creds = parent.creds
    child.comm = parent.comm
    child.sigmask = parent.sigmask
    child.nice = parent.nice
    child.sched = parent.sched
    child.personality = parent.personality
    child.no_new_privs = parent.no_new_privs
    child.dumpable = parent.dumpable
    child.net = netns.new() if flags & CLONE_NEWNET else parent.net
    child.uts = parent.uts.copy() if flags & CLONE_NEWUTS else parent.uts
    for key in INHERITED_DATA:
        if key in parent.data:
            child.data[key] = parent.data[key]
    # A thread must not run its handlers on its creator's alternate stack (sigaltstack(2)).
    if flags & (CLONE_VM | CLONE_VFORK) != CLONE_VM:
        child.altstack = parent.altstack
    else:
        child.altstack = (0, SS_DISABLE, 0)
    signals.init_task(child)
    if not flags & CLONE_THREAD:
        signals.init_group(tg, child_actions(parent, flags))
    seccomp_filter.attach(child, parent.seccomp)
    return child


def child_actions(parent, flags):
    """The SigHand of a new process."""
    old = parent.tg.sighand
    if flags & CLONE_SIGHAND:
        old.users += 1
        return old
    new = old.copy()
    if flags & CLONE_CLEAR_SIGHAND:
        new.reset_handlers()
    return new


def new_process(parent, args, pid) -> ThreadGroup:
    flags, old = args.flags, parent.tg
    if flags & CLONE_PARENT:
        father, creator, exit_signal = old.parent, old.parent_task, old.exit_signal
    else:
        father, creator, exit_signal = old, parent, args.exit_signal
    tg = ThreadGroup(parent.kernel, pid, father)
    tg.parent_task = creator
    tg.exit_signal = exit_signal
    tg.start_time = monotonic_ns()
    tg.rlimits = list(old.rlimits)
    tg.oom_score_adj = old.oom_score_adj
    tg.container = old.container
    return tg


def enter_tables(parent, child, args, mm) -> None:
    """From here on the child exists: it shares or copies the rest (`mm`: a copy of the memory, if there is one already), and
    others can find it."""
    flags, kernel, tg, thread = args.flags, child.kernel, child.tg, child.thread
    if flags & CLONE_VM:
        child.mm = parent.mm.get()
        if not flags & CLONE_THREAD:
            cputime.share(tg, thread.aspace)
    else:
        child.mm = mm if mm is not None else parent.mm.fork(None)
        child.mm.aspace = thread.aspace
    if flags & CLONE_FILES:
        parent.files.users += 1
        child.files = parent.files
    else:
        child.files = parent.files.copy()
    if flags & CLONE_FS:
        parent.fs.users += 1
        child.fs = parent.fs
    else:
        child.fs = parent.fs.copy()
        if flags & CLONE_NEWNS:
            child.fs.unshare_mounts()
    kernel.forks += 1
    tg.pids.tasks[child.tid] = child
    tg.tasks.append(child)
    if tg.stop_state.signo:  # the process began to stop while the host made the thread
        child.work = True
    if not flags & CLONE_THREAD:
        tg.leader = child
        tg.pids.groups[tg.pid] = tg
        if tg.parent is not None:
            tg.parent.children.append(tg)
        if tg.container is not None:
            tg.container.members.add(tg)
        session.enter_group(tg, parent.tg.pgrp)
        cpulimit.watch(tg)
    if tg.group_exiting or tg.exec_task is not None:  # began to end while the host made the thread
        child.dying = child.work = True


class VforkWait(Wait):
    """The parent of a vfork waits until the child has left their common address space."""

    __slots__ = ("task", "pid", "finished")
    killable = True

    def __init__(self, task, pid):
        self.task = task
        self.pid = pid
        self.finished = False

    def poll(self, t):
        if not self.finished:
            return BLOCKED
        return self.pid if t.ptrace is None else ptrace.vfork_done(t, self.pid)

    def interrupted(self, t):
        return -EINTR

    def child_gone(self) -> None:
        self.finished = True
        if self.task.wait is self:
            self.task.woken(None, 0)
