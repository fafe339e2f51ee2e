"""fork vfork clone clone3 exit exit_group unshare setns pidfd_open."""

from struct import unpack_from

from sentry.abi.errno import E2BIG, EBADF, EINVAL, EPERM, ESRCH, EUSERS
from sentry.abi.signal import NSIG, SIGCHLD
from sentry.core import creds as caps
from sentry.core.result import NO_RETURN
from sentry.core.syscall import PARTIAL, U32, Fd, Int, Ptr, Size, ULong, syscall
from sentry.kernel import exit
from sentry.kernel.access import may_access
from sentry.kernel.clone import (
    CLONE_CLEAR_SIGHAND,
    CLONE_DETACHED,
    CLONE_FILES,
    CLONE_FS,
    CLONE_INTO_CGROUP,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWNET,
    CLONE_NEWUTS,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    NEW_NAMESPACES,
    Args,
    check_namespaces,
    do_clone,
)
from sentry.kernel.pidns import PID_MAX
from sentry.kernel.nsfs import CLONE_FLAGS, NsFile, namespace_of
from sentry.kernel.pidfd import PIDFD_THREAD, PidFd
from sentry.kernel.task import RLIMIT_NOFILE
from sentry.net import netns
from sentry.platform.base import PAGE, TASK_LIMIT
from sentry.vfs.file import O_NONBLOCK

CLONE_ARGS_SIZE_VER0, CLONE_ARGS_SIZE_VER2 = 64, 88
NAMESPACES_NOTE = "mount, network and UTS namespaces; others EINVAL, user namespaces EPERM"


@syscall("fork", 57)
def sys_fork(t):
    return do_clone(t, Args(0, SIGCHLD))


@syscall("vfork", 58, blocks=True)
def sys_vfork(t):
    return do_clone(t, Args(CLONE_VFORK | CLONE_VM, SIGCHLD))


@syscall("clone", 56, (U32, Ptr, Ptr, Ptr, ULong), level=PARTIAL, note=NAMESPACES_NOTE, blocks=True)
def sys_clone(t, flags, stack, parent_tid, child_tid, tls):
    # The pidfd goes where the parent's tid would (clone(2)).
    args = Args(flags & ~CSIGNAL, flags & CSIGNAL, stack, tls, parent_tid, child_tid, parent_tid)
    if flags & CLONE_PIDFD and flags & CLONE_PARENT_SETTID:
        return -EINVAL
    return do_clone(t, args)


@syscall("clone3", 435, (Ptr, Size), level=PARTIAL, note=NAMESPACES_NOTE, blocks=True)
def sys_clone3(t, uargs, size):
    # kernel/fork.c:copy_clone_args_from_user, clone3_args_valid
    if size > PAGE:
        return -E2BIG
    if size < CLONE_ARGS_SIZE_VER0:
        return -EINVAL
    data = t.read(uargs, size)
    if any(data[CLONE_ARGS_SIZE_VER2:]):
        return -E2BIG
    data = data[:CLONE_ARGS_SIZE_VER2].ljust(CLONE_ARGS_SIZE_VER2, b"\0")
    (flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
     cgroup) = unpack_from("<11Q", data)  # fmt: skip
    if set_tid_size > 32 or (set_tid_size == 0) != (set_tid == 0):
        return -EINVAL
    if exit_signal & ~CSIGNAL or exit_signal > NSIG:
        return -EINVAL
    if flags & CLONE_INTO_CGROUP and (cgroup > 0x7FFFFFFF or size < CLONE_ARGS_SIZE_VER2):
        return -EINVAL
    tid = 0
    if set_tid_size:
        wanted = unpack_from(f"<{set_tid_size}i", t.read(set_tid, 4 * set_tid_size))
        if set_tid_size > 1:  # one pid namespace
            return -EINVAL
        tid = wanted[0]
    if flags & ~(0xFFFFFFFF | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP):
        return -EINVAL
    if flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME)):
        return -EINVAL
    if flags & CLONE_SIGHAND and flags & CLONE_CLEAR_SIGHAND:
        return -EINVAL
    if flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal:
        return -EINVAL
    if (stack == 0) != (stack_size == 0) or stack + stack_size > TASK_LIMIT:
        return -EINVAL
    if set_tid_size:
        if not 1 <= tid < PID_MAX:
            return -EINVAL
        if not (t.creds.capable(caps.CAP_SYS_ADMIN) or t.creds.capable(caps.CAP_CHECKPOINT_RESTORE)):
            return -EPERM
    sp = stack + stack_size if stack else 0
    return do_clone(t, Args(flags, exit_signal, sp, tls, parent_tid, child_tid, pidfd, tid, cgroup))


@syscall("exit", 60, (Int,))
def sys_exit(t, code):
    exit.exit_task(t, (code & 0xFF) << 8)
    return NO_RETURN


@syscall("exit_group", 231, (Int,))
def sys_exit_group(t, code):
    return exit.sys_exit_group(t, (code & 0xFF) << 8)


UNSHARE_FLAGS = (
    CLONE_THREAD | CLONE_FS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM | CLONE_NEWUSER | NEW_NAMESPACES
)


@syscall("unshare", 272, (ULong,), level=PARTIAL, note=NAMESPACES_NOTE)
def sys_unshare(t, flags):
    # kernel/fork.c:ksys_unshare
    if flags & CLONE_NEWUSER:
        flags |= CLONE_THREAD | CLONE_FS
    if flags & CLONE_VM:
        flags |= CLONE_SIGHAND
    if flags & CLONE_SIGHAND:
        flags |= CLONE_THREAD
    if flags & CLONE_NEWNS:
        flags |= CLONE_FS
    if flags & ~UNSHARE_FLAGS:
        return -EINVAL
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and len(t.tg.tasks) > 1:
        return -EINVAL
    if flags & (CLONE_SIGHAND | CLONE_VM) and t.tg.sighand.users > 1:
        return -EINVAL
    if flags & CLONE_VM and t.mm.users > 1:
        return -EINVAL
    error = check_namespaces(t, flags)
    if error:
        return error
    if flags & CLONE_FS and t.fs.users > 1:
        fs = t.fs.copy()
        t.fs.release()
        t.fs = fs
    if flags & CLONE_NEWNS:
        t.fs.unshare_mounts()
    if flags & CLONE_FILES and t.files.users > 1:
        files = t.files.copy()
        t.files.users -= 1
        t.files = files
    if flags & CLONE_NEWUTS:
        t.uts = t.uts.copy()
    if flags & CLONE_NEWNET:
        t.net = netns.new()
    return 0


@syscall("setns", 308, (Fd, Int), level=PARTIAL, note="mount, network and UTS namespaces; of the others there is only one each")
def sys_setns(t, fd, flags):
    # kernel/nsproxy.c
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if isinstance(file, NsFile):
        inode = file.inode
        if flags and CLONE_FLAGS[inode.kind] != flags:
            return -EINVAL
        return enter_namespace(t, inode.kind, inode.ns, True)
    if isinstance(file, PidFd):
        if not flags or flags & ~(NEW_NAMESPACES | CLONE_NEWUSER):
            return -EINVAL
        target = file.tg.leader
        if file.tg.zombie or target.dead:
            return -ESRCH
        if not may_access(t, target, True):
            return -EPERM
        wanted = [kind for kind, bit in CLONE_FLAGS.items() if flags & bit]
        for kind in wanted:
            error = enter_namespace(t, kind, None, False)
            if error:
                return error
        for kind in wanted:
            enter_namespace(t, kind, namespace_of(target, kind)[1], True)
        return 0
    return -EINVAL


def enter_namespace(t, kind, ns, really) -> int:
    """setns(2) into one namespace; `really` False: only check."""
    creds = t.creds
    if kind == b"user":
        return -EINVAL  # its own
    if not creds.capable(caps.CAP_SYS_ADMIN) or (kind == b"mnt" and not creds.capable(caps.CAP_SYS_CHROOT)):
        return -EPERM
    if kind == b"mnt":
        if t.fs.users > 1:
            return -EINVAL
        if really:
            t.fs.set_namespace(ns)
    elif kind == b"uts" and really:
        t.uts = ns
    elif kind == b"net" and really:
        t.net = ns
    elif kind == b"time" and len(t.tg.tasks) > 1:
        return -EUSERS
    return 0


@syscall("pidfd_open", 434, (Int, U32))
def sys_pidfd_open(t, pid, flags):
    if flags & ~(O_NONBLOCK | PIDFD_THREAD):
        return -EINVAL
    if pid <= 0:
        return -EINVAL
    pids = t.tg.pids
    if flags & PIDFD_THREAD:
        task = pids.tasks.get(pid)
        if task is None:
            return -ESRCH
        file = PidFd(task.tg, task, flags & O_NONBLOCK)
    else:
        tg = pids.groups.get(pid)
        if tg is None:
            # A thread that leads no process: EINVAL up to Linux 6.14, ENOENT later (pidfd_open(2)).
            return -EINVAL if pid in pids.tasks else -ESRCH
        file = PidFd(tg, None, flags & O_NONBLOCK)
    fd = t.files.install(file, t.rlimit(RLIMIT_NOFILE), True)
    if fd < 0:
        file.decref()
    return fd
