"""Signal system calls (signal(7))."""

from struct import Struct
from time import monotonic_ns

from sentry.abi import siginfo
from sentry.abi.errno import (
    E2BIG,
    EAGAIN,
    EBADF,
    EINTR,
    EINVAL,
    EPERM,
    ERESTARTNOHAND,
    ESRCH,
)
from sentry.abi.signal import (
    MINSIGSTKSZ,
    NSIG,
    SA_ALL,
    SIG_DFL,
    SIG_IGN,
    SIGCONT,
    SIGSEGV,
    SS_AUTODISARM,
    SS_DISABLE,
    UNBLOCKABLE,
)
from sentry.abi.time import get_timespec
from sentry.core.creds import CAP_KILL
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.core.syscall import U32, Fd, InStruct, Int, OutBuf, OutStruct, Ptr, Size, syscall
from sentry.core.waitq import Wait
from sentry.fs.procfs import TaskDir
from sentry.kernel import patching, ptrace, signals, signals_frame
from sentry.kernel.pidfd import PidFd
from sentry.platform.base import MemFault
from sentry.vfs.file import O_PATH

SIGACTION = Struct("<QQQQ")  # handler flags restorer mask
MASK = Struct("<Q")
STACK = Struct("<Qi4xQ")
HEAD = Struct("<iii")  # signo errno code
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2


def may_signal(t, tg, signo: int) -> bool:
    """kill(2), "permission to send" (kernel/signal.c:check_kill_permission)."""
    if tg is t.tg:
        return True
    mine, theirs = t.creds, tg.leader.creds
    if mine.euid in (theirs.suid, theirs.uid) or mine.uid in (theirs.suid, theirs.uid) or mine.capable(CAP_KILL):
        return True
    return signo == SIGCONT and t.tg.session is tg.session


def check_and_send(t, tg, target, signo: int, info: bytes) -> int:
    """`target`: `tg` itself or one of its tasks."""
    if not 0 <= signo <= NSIG:
        return -EINVAL
    if not may_signal(t, tg, signo):
        return -EPERM
    return signals.send(target, signo, info, uid=t.creds.uid) if signo else 0


@syscall("kill", 62, (Int, Int))
def sys_kill(t, pid, signo):
    pids = t.tg.pids
    info = siginfo.kill(signo, siginfo.SI_USER, t.tg.pid, t.creds.uid)
    if pid > 0:
        tg = pids.groups.get(pid)
        if tg is None:
            task = pids.tasks.get(pid)  # kill(2) takes the number of any thread
            if task is None:
                return -ESRCH
            tg = task.tg
        return check_and_send(t, tg, tg, signo, info)
    if pid == -1:
        result, count = 0, 0
        for tg in tuple(pids.groups.values()):
            if tg.pid > 1 and tg is not t.tg:
                count += 1
                error = check_and_send(t, tg, tg, signo, info)
                if error != -EPERM:
                    result = error
        return result if count else -ESRCH
    group = t.tg.pgrp if pid == 0 else pids.pgrps.get(-pid)
    if group is None:
        return -ESRCH
    result, success = -ESRCH, False
    for tg in tuple(group.members):
        result = check_and_send(t, tg, tg, signo, info)
        success = success or result == 0
    return 0 if success else result


@syscall("tkill", 200, (Int, Int))
def sys_tkill(t, tid, signo):
    if tid <= 0:
        return -EINVAL
    return send_to_thread(t, -1, tid, signo, siginfo.kill(signo, siginfo.SI_TKILL, t.tg.pid, t.creds.uid))


@syscall("tgkill", 234, (Int, Int, Int))
def sys_tgkill(t, pid, tid, signo):
    if pid <= 0 or tid <= 0:
        return -EINVAL
    return send_to_thread(t, pid, tid, signo, siginfo.kill(signo, siginfo.SI_TKILL, t.tg.pid, t.creds.uid))


def send_to_thread(t, pid, tid, signo, info) -> int:
    task = t.tg.pids.tasks.get(tid)
    if task is None or (pid != -1 and task.tg.pid != pid):
        return -ESRCH
    if task.dead:
        return check_and_send(t, task.tg, task, 0, info) if 0 <= signo <= NSIG else -EINVAL
    return check_and_send(t, task.tg, task, signo, info)


def read_info(t, addr: int, signo: int) -> "bytes | int":
    """A siginfo given by the guest; the kernel knows only its first 48 bytes (signal.c:post_copy_siginfo_from_user)."""
    data = t.read(addr, 128)
    if any(data[48:]):
        return -E2BIG
    return signo.to_bytes(4, "little", signed=True) + data[4:]


def forged(t, info: bytes, tid: int) -> bool:
    """Only towards itself may a process use codes that the kernel or kill(2) would use."""
    code = HEAD.unpack_from(info)[2]
    return (code >= 0 or code == siginfo.SI_TKILL) and tid != t.tg.pid


@syscall("rt_sigqueueinfo", 129, (Int, Int, InStruct(128)))
def sys_rt_sigqueueinfo(t, pid, signo, addr):
    info = read_info(t, addr, signo)
    if isinstance(info, int):
        return info
    if forged(t, info, pid):
        return -EPERM
    tg = t.tg.pids.groups.get(pid)
    if tg is None:
        return -ESRCH
    return check_and_send(t, tg, tg, signo, info)


@syscall("rt_tgsigqueueinfo", 297, (Int, Int, Int, InStruct(128)))
def sys_rt_tgsigqueueinfo(t, pid, tid, signo, addr):
    info = read_info(t, addr, signo)
    if isinstance(info, int):
        return info
    if pid <= 0 or tid <= 0:
        return -EINVAL
    code = HEAD.unpack_from(info)[2]
    if (code >= 0 or code == siginfo.SI_TKILL) and tid != t.tid:
        return -EPERM
    return send_to_thread(t, pid, tid, signo, info)


@syscall("pidfd_send_signal", 424, (Fd, Int, Ptr, U32))
def sys_pidfd_send_signal(t, fd, signo, addr, flags):
    if flags & ~7 or flags & (flags - 1):
        return -EINVAL
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    if isinstance(file, PidFd):
        tg = file.tg
    elif isinstance(file.inode, TaskDir) and file.inode.whole and not file.flags & O_PATH:
        tg = file.inode.tg
    else:
        return -EBADF
    if addr:
        info = read_info(t, addr, HEAD.unpack(t.read(addr, 12))[0])
        if isinstance(info, int):
            return info
        if HEAD.unpack_from(info)[0] != signo:
            return -EINVAL
        if forged(t, info, tg.pid):
            return -EPERM
    else:
        info = siginfo.kill(signo, siginfo.SI_USER, t.tg.pid, t.creds.uid)
    if flags & 4:  # PIDFD_SIGNAL_PROCESS_GROUP
        result = -ESRCH
        for member in tuple(tg.pgrp.members) if tg.pgrp is not None else ():
            error = check_and_send(t, member, member, signo, info)
            result = 0 if 0 in (result, error) else error
        return result
    if tg.reaped:
        return -ESRCH
    return check_and_send(t, tg, tg, signo, info)


@syscall("rt_sigaction", 13, (Int, InStruct(32), OutStruct(32), Size))
def sys_rt_sigaction(t, signo, act, oldact, size):
    if size != 8:
        return -EINVAL
    if act:
        handler, flags, restorer, mask = SIGACTION.unpack(t.read(act, 32))
    if not 1 <= signo <= NSIG or (act and UNBLOCKABLE >> (signo - 1) & 1):
        return -EINVAL
    sighand = t.tg.sighand
    old = sighand.actions[signo]
    if act:
        sighand.actions[signo] = (handler, flags & SA_ALL, restorer, mask & ~UNBLOCKABLE)
        if handler == SIG_IGN or (handler == SIG_DFL and signals.default_ignored(signo)):
            # POSIX 3.3.1.3: what is pending and becomes ignored is discarded.
            signals.flush(t.tg, 1 << (signo - 1))
    if oldact:
        t.write(oldact, SIGACTION.pack(*old))
    return 0


@syscall("rt_sigprocmask", 14, (Int, InStruct(8), OutStruct(8), Size))
def sys_rt_sigprocmask(t, how, new, old, size):
    if size != 8:
        return -EINVAL
    before = t.sigmask
    if new:
        (mask,) = MASK.unpack(t.read(new, 8))
        if how == SIG_BLOCK:
            mask |= before
        elif how == SIG_UNBLOCK:
            mask = before & ~mask
        elif how != SIG_SETMASK:
            return -EINVAL
        signals.set_mask(t, mask)
    if old:
        t.write(old, MASK.pack(before))
    return 0


@syscall("rt_sigpending", 127, (OutBuf(1), Size))
def sys_rt_sigpending(t, addr, size):
    if size > 8:
        return -EINVAL
    pending = (t.pending.mask | t.tg.shared_pending.mask) & t.sigmask
    t.write(addr, MASK.pack(pending)[:size])
    return 0


@syscall("sigaltstack", 131, (InStruct(24), OutStruct(24)))
def sys_sigaltstack(t, new, old):
    sp = t.thread.regs.rsp
    base, flags, size = t.altstack
    if new:
        new_base, new_flags, new_size = STACK.unpack(t.read(new, 24))
        error = signals_frame.set_altstack(t, new_base, new_flags & 0xFFFFFFFF, new_size, sp, MINSIGSTKSZ)
        if error:
            return error
    if old:
        state = signals_frame.stack_flags((base, flags, size), sp) | flags & SS_AUTODISARM
        if not size:
            state = SS_DISABLE
        t.write(old, STACK.pack(base, state - (1 << 32) if state >> 31 else state, size))
    return 0


@syscall("rt_sigreturn", 15)
def sys_rt_sigreturn(t):
    thread = t.thread
    t.data.pop("frame_undo", None)
    t.in_call = -1
    try:
        restored = signals_frame.restore(t, t.read((thread.regs.rsp - 8) & signals_frame.MASK64, signals_frame.SIZE))
    except MemFault:
        restored = None
    if restored is None:
        signals.force(t, SIGSEGV)
        signals.user_return(t, None)
        return NO_RETURN
    mask, fp_addr = restored
    t.restart = None
    signals.set_mask(t, mask)
    if t.ptrace is not None:
        return traced_sigreturn(t, fp_addr)
    if t.work:
        if signals.end_at_sigreturn(t):
            signals.user_return(t, None)
            return NO_RETURN
        try:
            if signals.deliver_at_sigreturn(t, fp_addr):
                return NO_RETURN
        except MemFault:
            signals.force(t, SIGSEGV)
            signals.user_return(t, None)
            return NO_RETURN
    patching.resume_point(t)
    if fp_addr:
        thread.resume(fp_from=fp_addr)
    else:
        thread.resume(fp_reset=True)
    if t.work:
        # To stop: the FP state is in guest memory until the thread runs, so that comes by an interrupt.
        thread.interrupt()
    return NO_RETURN


def traced_sigreturn(t, fp_addr) -> int:
    try:
        ptrace.sigreturn(t, t.read_upto(fp_addr, t.kernel.platform.fp_size) if fp_addr else None)
    except MemFault:
        signals.force(t, SIGSEGV)
        signals.user_return(t, None)
    return NO_RETURN


@syscall("restart_syscall", 219)
def sys_restart_syscall(t):
    record = t.restart
    return record.restart_call(t) if record is not None else -EINTR


class SignalWait(Wait):
    """Sleep until a handler has run."""

    __slots__ = ()
    restart = -ERESTARTNOHAND

    def poll(self, t):
        return BLOCKED


@syscall("pause", 34, blocks=True)
def sys_pause(t):
    return t.block(SignalWait())


@syscall("rt_sigsuspend", 130, (InStruct(8), Size), blocks=True)
def sys_rt_sigsuspend(t, addr, size):
    if size != 8:
        return -EINVAL
    (mask,) = MASK.unpack(t.read(addr, 8))
    signals.set_temporary_mask(t, mask)
    return t.block(SignalWait())


class TimedSignalWait(Wait):
    """sigtimedwait: `signals`: mask of the signals waited for (notify looks at it); `addr`: where siginfo goes."""

    __slots__ = ("signals", "addr")
    restart = -EINTR

    def __init__(self, mask, addr):
        self.signals = mask
        self.addr = addr

    def poll(self, t):
        taken = signals.take_signal(t, self.signals)
        if taken is None:
            return BLOCKED
        signo, info = taken
        signals.recalculate(t)
        if self.addr:
            t.write(self.addr, info)
        return signo

    def timeout(self, t):
        return -EAGAIN


@syscall("rt_sigtimedwait", 128, (InStruct(8), OutStruct(128), InStruct(16), Size), blocks=True)
def sys_rt_sigtimedwait(t, set_addr, info_addr, timeout_addr, size):
    if size != 8:
        return -EINVAL
    (mask,) = MASK.unpack(t.read(set_addr, 8))
    timeout = None
    if timeout_addr:
        timeout = get_timespec(t, timeout_addr)
        if timeout < 0:
            return timeout
    wait = TimedSignalWait(mask & ~UNBLOCKABLE, info_addr)
    result = wait.poll(t)
    if result != BLOCKED:
        return result
    if timeout == 0:
        return -EAGAIN
    return t.block(wait, deadline=None if timeout is None else monotonic_ns() + timeout)
