"""getrlimit setrlimit prlimit64 getpriority setpriority ioprio_get ioprio_set."""

from struct import pack, unpack

from sentry.abi.errno import EACCES, EINVAL, EPERM, ESRCH
from sentry.core.creds import CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE
from sentry.core.syscall import PARTIAL, U32, InStruct, Int, OutStruct, syscall
from sentry.kernel import cpulimit
from sentry.kernel.clone import INHERITED_DATA
from sentry.kernel.task import RLIMIT_CPU, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_STACK

RLIM_NLIMITS = 16
NR_OPEN = 1048576
PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2

INHERITED_DATA.append("ioprio")


def check_limit(t, tg, resource, soft, hard) -> int:
    """May the limit be set to this (kernel/sys.c:do_prlimit)? 0 or -errno."""
    if soft > hard:
        return -EINVAL
    if resource == RLIMIT_NOFILE and hard > NR_OPEN:
        return -EPERM
    if hard > tg.rlimits[resource][1] and not t.creds.capable(CAP_SYS_RESOURCE):
        return -EPERM
    return 0


def set_limit(t, tg, resource, soft, hard) -> int:
    """Set a limit that has been checked."""
    tg.rlimits[resource] = (soft, hard)
    if resource == RLIMIT_CPU:
        cpulimit.watch(tg)
    if resource == RLIMIT_STACK and tg is t.tg:
        return t.mm.limit_stack(t, soft)
    return 0


@syscall("getrlimit", 97, (U32, OutStruct(16)))
def sys_getrlimit(t, resource, addr):
    if resource >= RLIM_NLIMITS:
        return -EINVAL
    t.write(addr, pack("<QQ", *t.tg.rlimits[resource]))
    return 0


@syscall("setrlimit", 160, (U32, InStruct(16)))
def sys_setrlimit(t, resource, addr):
    soft, hard = unpack("<QQ", t.read(addr, 16))
    if resource >= RLIM_NLIMITS:
        return -EINVAL
    return check_limit(t, t.tg, resource, soft, hard) or set_limit(t, t.tg, resource, soft, hard)


def may_change_limits(t, target) -> bool:
    """kernel/sys.c:check_prlimit_permission."""
    if target.tg is t.tg:
        return True
    mine, theirs = t.creds, target.creds
    ids = (mine.uid,) * 3 == (theirs.euid, theirs.suid, theirs.uid)
    ids = ids and (mine.gid,) * 3 == (theirs.egid, theirs.sgid, theirs.gid)
    return ids or mine.capable(CAP_SYS_RESOURCE)


@syscall("prlimit64", 302, (Int, U32, InStruct(16), OutStruct(16)))
def sys_prlimit64(t, pid, resource, new, old):
    values = unpack("<QQ", t.read(new, 16)) if new else None
    target = t if pid == 0 else t.tg.pids.tasks.get(pid)
    if target is None:
        return -ESRCH
    if not may_change_limits(t, target):
        return -EPERM
    if resource >= RLIM_NLIMITS:
        return -EINVAL
    before = target.tg.rlimits[resource]
    if values is not None:
        error = check_limit(t, target.tg, resource, *values)
        if error:
            return error
    if old:
        t.write(old, pack("<QQ", *before))
    return set_limit(t, target.tg, resource, *values) if values is not None else 0


def chosen_tasks(t, which, who):
    """The tasks that PRIO_PROCESS, PRIO_PGRP, PRIO_USER with `who` mean (getpriority(2))."""
    pids = t.tg.pids
    if which == PRIO_PROCESS:
        task = t if who == 0 else pids.tasks.get(who)
        return [task] if task is not None else []
    if which == PRIO_PGRP:
        group = t.tg.pgrp if who == 0 else pids.pgrps.get(who)
        return [task for tg in group.members for task in tg.tasks] if group is not None else []
    uid = who & 0xFFFFFFFF or t.creds.uid
    return [task for task in pids.tasks.values() if task.creds.uid == uid and not task.dead]


@syscall("getpriority", 140, (Int, Int))
def sys_getpriority(t, which, who):
    if not 0 <= which <= 2:
        return -EINVAL
    tasks = chosen_tasks(t, which, who)
    if not tasks:
        return -ESRCH
    return max(20 - task.nice for task in tasks)


@syscall("setpriority", 141, (Int, Int, Int), level=PARTIAL, note="recorded; the host's scheduler does not learn of it")
def sys_setpriority(t, which, who, nice):
    if not 0 <= which <= 2:
        return -EINVAL
    nice = max(-20, min(19, nice))
    error = -ESRCH
    for task in chosen_tasks(t, which, who):
        # kernel/sys.c:set_one_prio
        if not may_schedule(t, task):
            error = -EPERM
        elif nice < task.nice and not can_nice(t, task, nice):
            error = -EACCES
        else:
            if error == -ESRCH:
                error = 0
            task.nice = nice
    return error


def may_schedule(t, target) -> bool:
    mine, theirs = t.creds, target.creds
    return mine.euid in (theirs.uid, theirs.euid) or mine.capable(CAP_SYS_NICE)


def can_nice(t, task, nice) -> bool:
    return 20 - nice <= task.tg.rlimits[RLIMIT_NICE][0] or t.creds.capable(CAP_SYS_NICE)


IOPRIO_CLASS_SHIFT = 13
IOPRIO_NONE, IOPRIO_RT, IOPRIO_BE, IOPRIO_IDLE = 0, 1, 2, 3


def ioprio_tasks(t, which, who):
    """ioprio_set(2): IOPRIO_WHO_PROCESS 1, PGRP 2, USER 3."""
    return chosen_tasks(t, which - 1, who) if 1 <= which <= 3 else None


@syscall("ioprio_get", 252, (Int, Int))
def sys_ioprio_get(t, which, who):
    tasks = ioprio_tasks(t, which, who)
    if tasks is None:
        return -EINVAL
    if not tasks:
        return -ESRCH
    values = [task.data.get("ioprio", 0) for task in tasks]
    set_ones = [value for value in values if value >> IOPRIO_CLASS_SHIFT]
    if set_ones:
        return min(set_ones)
    # Nothing set: best effort, level from the nice value (block/ioprio.c:get_task_ioprio).
    return min(IOPRIO_BE << IOPRIO_CLASS_SHIFT | (task.nice + 20) // 5 for task in tasks)


@syscall("ioprio_set", 251, (Int, Int, Int), level=PARTIAL, note="recorded only")
def sys_ioprio_set(t, which, who, ioprio):
    kind, level = ioprio >> IOPRIO_CLASS_SHIFT & 7, ioprio & 7
    if kind == IOPRIO_RT:
        if not t.creds.capable(CAP_SYS_ADMIN) and not t.creds.capable(CAP_SYS_NICE):
            return -EPERM
    elif kind == IOPRIO_NONE:
        if level:
            return -EINVAL
    elif kind not in (IOPRIO_BE, IOPRIO_IDLE):
        return -EINVAL
    tasks = ioprio_tasks(t, which, who)
    if tasks is None:
        return -EINVAL
    if not tasks:
        return -ESRCH
    for task in tasks:
        if t.creds.uid not in (task.creds.euid, task.creds.uid) and not t.creds.capable(CAP_SYS_NICE):
            return -EPERM
        task.data["ioprio"] = ioprio & 0xFFFF
    return 0
