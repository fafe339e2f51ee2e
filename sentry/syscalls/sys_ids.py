"""Numbers of tasks, process groups and sessions: getpid gettid getppid getpgid setpgid getpgrp setsid getsid
set_tid_address."""

from sentry.abi.errno import EACCES, EINVAL, EPERM, ESRCH
from sentry.core.syscall import Int, Ptr, syscall
from sentry.kernel import session


@syscall("getpid", 39, lasting=True)
def sys_getpid(t):
    return t.tg.pid


@syscall("gettid", 186, lasting=True)
def sys_gettid(t):
    return t.tid


@syscall("getppid", 110, lasting=True)
def sys_getppid(t):
    return t.tg.kin_ppid


@syscall("getpgrp", 111)
def sys_getpgrp(t):
    return t.tg.pgrp.pgid


def process_of(t, pid):
    """The process of thread `pid` (0: the caller's), zombies too; None if there is none."""
    if pid == 0:
        return t.tg
    task = t.tg.pids.tasks.get(pid)
    return task.tg if task is not None else None


@syscall("getpgid", 121, (Int,))
def sys_getpgid(t, pid):
    tg = process_of(t, pid)
    return -ESRCH if tg is None or tg.pgrp is None else tg.pgrp.pgid


@syscall("getsid", 124, (Int,))
def sys_getsid(t, pid):
    tg = process_of(t, pid)
    return -ESRCH if tg is None or tg.session is None else tg.session.sid


@syscall("setpgid", 109, (Int, Int))
def sys_setpgid(t, pid, pgid):
    # kernel/sys.c:setpgid
    me, pids = t.tg, t.tg.pids
    pid = pid or me.pid
    pgid = pgid or pid
    if pgid < 0:
        return -EINVAL
    tg = pids.groups.get(pid)
    if tg is None:
        return -EINVAL if pid in pids.tasks else -ESRCH
    if tg.parent is me:
        if tg.session is not me.session:
            return -EPERM
        if tg.did_exec:
            return -EACCES
    elif tg is not me:
        return -ESRCH
    if tg.session is not None and tg.session.leader is tg:
        return -EPERM
    if pgid == pid:
        group = pids.pgrps.get(pid)
        if group is None:
            group = session.new_group(pids, pid, me.session)
    else:
        group = pids.pgrps.get(pgid)
        if group is None or group.session is not me.session:
            return -EPERM
    if group is not tg.pgrp:
        session.enter_group(tg, group)
    return 0


@syscall("setsid", 112)
def sys_setsid(t):
    tg = t.tg
    if tg.session.leader is tg or tg.pid in tg.pids.pgrps:
        return -EPERM
    session.new_session(tg)
    return tg.pid


@syscall("set_tid_address", 218, (Ptr,))
def sys_set_tid_address(t, addr):
    t.thread.clear_child_tid = addr
    return t.tid
