"""Scheduling (sched(7)): recorded and checked as by Linux; the host schedules the threads as it likes."""

from struct import pack, unpack

from sentry.abi.errno import E2BIG, EINVAL, EPERM, ESRCH
from sentry.core.creds import CAP_SYS_NICE
from sentry.core.syscall import PARTIAL, U32, Int, OutStruct, Ptr, syscall
from sentry.kernel import machine
from sentry.kernel.clone import INHERITED_DATA
from sentry.kernel.task import RLIMIT_RTPRIO
from sentry.syscalls.sys_limits import can_nice, may_schedule

SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE = 0, 1, 2, 3, 5, 6
RESET_ON_FORK = 0x40000000
REALTIME = (SCHED_FIFO, SCHED_RR)
NOTE = "recorded; the host's scheduler does not learn of it"

INHERITED_DATA.append("affinity")


def target_of(t, pid):
    return t if pid == 0 else t.tg.pids.tasks.get(pid)


@syscall("sched_yield", 24)
def sys_sched_yield(t):
    return 0


def online_mask(t) -> int:
    return sum(1 << cpu for cpu in machine.view(t)["cpus"])


def possible(t) -> int:
    """The highest CPU number of the machine."""
    return max(t.kernel.host["cpus"])


def mask_size(t) -> int:
    """Bytes of the kernel's cpumask: whole words for all possible CPUs."""
    return (possible(t) // 64 + 1) * 8


@syscall("sched_setaffinity", 203, (Int, U32, Ptr), level=PARTIAL, note=NOTE)
def sys_sched_setaffinity(t, pid, length, addr):
    mask = int.from_bytes(t.read(addr, min(length, mask_size(t))), "little")
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    if t.creds.euid not in (task.creds.euid, task.creds.uid) and not t.creds.capable(CAP_SYS_NICE):
        return -EPERM
    mask &= online_mask(t)
    if not mask:
        return -EINVAL
    task.data["affinity"] = mask
    return 0


@syscall("sched_getaffinity", 204, (Int, U32, Ptr))
def sys_sched_getaffinity(t, pid, length, addr):
    # kernel/sched/syscalls.c: in bytes; room for every possible CPU, in whole words
    if length * 8 < possible(t) + 1 or length & 7:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    size = min(length, mask_size(t))
    t.write(addr, task.data.get("affinity", online_mask(t)).to_bytes(mask_size(t), "little")[:size])
    return size


def set_scheduler(t, pid, policy, priority) -> int:
    """policy None: keep it (sched_setparam)."""
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    old_policy, old_priority = task.sched
    reset = False
    if policy is None:
        policy, reset = old_policy, bool(task.data.get("sched_reset"))
    else:
        reset = bool(policy & RESET_ON_FORK)
        policy &= ~RESET_ON_FORK
    # kernel/sched/syscalls.c:__sched_setscheduler, user_check_sched_setscheduler
    if policy not in (SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE):
        return -EINVAL
    if priority > 99 or (policy in REALTIME) != (priority != 0):
        return -EINVAL
    if not t.creds.capable(CAP_SYS_NICE):
        if policy in REALTIME:
            limit = task.rlimit(RLIMIT_RTPRIO)
            if policy != old_policy and not limit:
                return -EPERM
            if priority > old_priority and priority > limit:
                return -EPERM
        if old_policy == SCHED_IDLE and policy != SCHED_IDLE and not can_nice(t, task, task.nice):
            return -EPERM
        if not may_schedule(t, task):
            return -EPERM
        if task.data.get("sched_reset") and not reset:
            return -EPERM
    task.sched = (policy, priority)
    task.data["sched_reset"] = reset
    return 0


@syscall("sched_setscheduler", 144, (Int, Int, Ptr), level=PARTIAL, note=NOTE)
def sys_sched_setscheduler(t, pid, policy, param):
    if policy < 0 or param == 0 or pid < 0:
        return -EINVAL
    (priority,) = unpack("<i", t.read(param, 4))
    return set_scheduler(t, pid, policy, priority & 0xFFFFFFFF)


@syscall("sched_setparam", 142, (Int, Ptr), level=PARTIAL, note=NOTE)
def sys_sched_setparam(t, pid, param):
    if param == 0 or pid < 0:
        return -EINVAL
    (priority,) = unpack("<i", t.read(param, 4))
    return set_scheduler(t, pid, None, priority & 0xFFFFFFFF)


@syscall("sched_getscheduler", 145, (Int,))
def sys_sched_getscheduler(t, pid):
    if pid < 0:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    return task.sched[0] | (RESET_ON_FORK if task.data.get("sched_reset") else 0)


@syscall("sched_getparam", 143, (Int, OutStruct(4)))
def sys_sched_getparam(t, pid, param):
    if param == 0 or pid < 0:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    t.write(param, pack("<i", task.sched[1]))
    return 0


@syscall("sched_get_priority_max", 146, (Int,))
def sys_sched_get_priority_max(t, policy):
    if policy in REALTIME:
        return 99
    return 0 if policy in (SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE) else -EINVAL


@syscall("sched_get_priority_min", 147, (Int,))
def sys_sched_get_priority_min(t, policy):
    if policy in REALTIME:
        return 1
    return 0 if policy in (SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE) else -EINVAL


@syscall("sched_rr_get_interval", 148, (Int, OutStruct(16)))
def sys_sched_rr_get_interval(t, pid, addr):
    if pid < 0:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    policy = task.sched[0]
    # 100 ms of RR_TIMESLICE; other policies: the base slice of the fair scheduler
    ns = 100_000_000 if policy == SCHED_RR else 0 if policy == SCHED_FIFO else 4_000_000
    t.write(addr, pack("<qq", 0, ns))
    return 0


ATTR_SIZE_VER0, ATTR_SIZE = 48, 56
FLAG_RESET_ON_FORK, FLAG_KEEP_POLICY, FLAG_KEEP_PARAMS, FLAG_ALL = 1, 8, 16, 0x7F


@syscall("sched_setattr", 314, (Int, Ptr, U32), level=PARTIAL, note=NOTE + "; no SCHED_DEADLINE")
def sys_sched_setattr(t, pid, addr, flags):
    if addr == 0 or pid < 0 or flags:
        return -EINVAL
    (size,) = unpack("<I", t.read(addr, 4))
    size = size or ATTR_SIZE_VER0
    if size < ATTR_SIZE_VER0 or size > 4096:
        t.write(addr, pack("<I", ATTR_SIZE))
        return -E2BIG
    data = t.read(addr, size)
    if any(data[ATTR_SIZE:]):
        t.write(addr, pack("<I", ATTR_SIZE))
        return -E2BIG
    policy, attr_flags, nice, priority = unpack("<IQiI", data[4:24])
    if attr_flags & ~FLAG_ALL or policy & 0x80000000:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    if attr_flags & FLAG_KEEP_POLICY:
        policy = task.sched[0]
    if attr_flags & FLAG_KEEP_PARAMS:
        priority, nice = task.sched[1], task.nice
    nice = max(-20, min(19, nice))
    fair = policy in (SCHED_OTHER, SCHED_BATCH)
    if fair and nice < task.nice and not can_nice(t, task, nice):
        return -EPERM
    error = set_scheduler(t, pid, policy | (RESET_ON_FORK if attr_flags & FLAG_RESET_ON_FORK else 0), priority)
    if not error and fair:
        task.nice = nice
    return error


@syscall("sched_getattr", 315, (Int, Ptr, U32, U32))
def sys_sched_getattr(t, pid, addr, size, flags):
    if addr == 0 or pid < 0 or not ATTR_SIZE_VER0 <= size <= 4096 or flags:
        return -EINVAL
    task = target_of(t, pid)
    if task is None:
        return -ESRCH
    policy, priority = task.sched
    attr_flags = FLAG_RESET_ON_FORK if task.data.get("sched_reset") else 0
    nice = task.nice if policy not in REALTIME else 0
    size = min(size, ATTR_SIZE)
    data = pack("<IIQiIQQQII", size, policy, attr_flags, nice, priority, 0, 0, 0, 0, 1024)
    t.write(addr, data[:size])
    return 0
