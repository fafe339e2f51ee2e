"""futex(2), futex_waitv(2), robust lists."""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import EAGAIN, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH
from sentry.abi.time import FOREVER, get_timespec
from sentry.core.creds import CAP_SYS_PTRACE
from sentry.core.syscall import PARTIAL, U32, InStruct, Int, OutStruct, Ptr, Size, syscall
from sentry.kernel import clocks, futex
from sentry.kernel.futex import MATCH_ANY, WORD, key_of

(
    FUTEX_WAIT, FUTEX_WAKE, FUTEX_FD, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_LOCK_PI, FUTEX_UNLOCK_PI,
    FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2,
) = range(14)  # fmt: skip
FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME = 128, 256
FUTEX2_SIZE_U32, FUTEX2_PRIVATE = 2, 128
TIMED = (FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI)
CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1
WAITV = Struct("<QQII")


def monotonic(deadline: int, realtime: bool) -> int:
    """An absolute time of the guest as a CLOCK_MONOTONIC deadline (a later step of the real-time clock is not seen)."""
    return clocks.deadline(CLOCK_REALTIME if realtime else CLOCK_MONOTONIC, deadline)


@syscall(
    "futex", 202, (Ptr, Int, U32, Ptr, Ptr, U32), blocks=True, level=PARTIAL,
    note="no priority inheritance (ENOSYS); FUTEX_WAKE_OP is not atomic against guest code",
)  # fmt: skip
def sys_futex(t, addr, op, value, timeout, addr2, value3):
    command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    private = bool(op & FUTEX_PRIVATE_FLAG)
    realtime = bool(op & FUTEX_CLOCK_REALTIME)
    deadline = None
    if timeout and command in TIMED:
        deadline = get_timespec(t, timeout)
        if deadline < 0:
            return deadline
        if command == FUTEX_WAIT:
            deadline = min(monotonic_ns() + deadline, FOREVER)
        else:
            deadline = monotonic(deadline, realtime)
    if realtime and command not in (FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2):
        return -ENOSYS
    if command == FUTEX_WAIT:
        return futex.wait(t, addr, value, MATCH_ANY, private, deadline)
    if command == FUTEX_WAIT_BITSET:
        return futex.wait(t, addr, value, value3, private, deadline)
    count = value - (1 << 32) if value >> 31 else value
    if command == FUTEX_WAKE:
        return wake_bitset(t, addr, private, count, MATCH_ANY)
    if command == FUTEX_WAKE_BITSET:
        return wake_bitset(t, addr, private, count, value3)
    count2 = timeout & 0xFFFFFFFF
    count2 = count2 - (1 << 32) if count2 >> 31 else count2
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        if count < 0 or count2 < 0:
            return -EINVAL
        key1, key2 = key_of(t, addr, private), key_of(t, addr2, private)
        for key in (key1, key2):
            if isinstance(key, int):
                return key
        if command == FUTEX_CMP_REQUEUE and WORD.unpack(t.read(addr, 4))[0] != value3:
            return -EAGAIN
        return futex.requeue(t.kernel, key1, key2, count, count2)
    if command == FUTEX_WAKE_OP:
        return wake_op(t, addr, addr2, private, count, count2, value3)
    return -ENOSYS


def wake_bitset(t, addr, private, count, bitset):
    if not bitset:
        return -EINVAL
    key = key_of(t, addr, private)
    if isinstance(key, int):
        return key
    if not private and t.mm.find(addr) is None:
        return -EFAULT
    return futex.wake_key(t.kernel, key, count, bitset)


def signed(value, width):
    return value - (1 << width) if value >> (width - 1) else value


def wake_op(t, addr, addr2, private, count, count2, encoded):
    """FUTEX_WAKE_OP: change the word at addr2, wake waiters of addr, and those of addr2 if its old value compares."""
    key1, key2 = key_of(t, addr, private), key_of(t, addr2, private)
    for key in (key1, key2):
        if isinstance(key, int):
            return key
    op, cmp = encoded >> 28 & 7, encoded >> 24 & 15
    oparg, cmparg = signed(encoded >> 12 & 0xFFF, 12), signed(encoded & 0xFFF, 12)
    if encoded >> 31:
        oparg = 1 << (oparg & 31)
    (old,) = WORD.unpack(t.read(addr2, 4))
    if op > 4:
        return -ENOSYS
    new = (oparg, old + oparg, old | oparg, old & ~oparg, old ^ oparg)[op] & 0xFFFFFFFF
    t.write(addr2, WORD.pack(new))
    if cmp > 5:
        return -ENOSYS
    before = signed(old, 32)
    holds = (
        before == cmparg, before != cmparg, before < cmparg, before <= cmparg, before > cmparg, before >= cmparg
    )[cmp]  # fmt: skip
    woken = futex.wake_key(t.kernel, key1, count)
    if holds:
        woken += futex.wake_key(t.kernel, key2, count2)
    return woken


@syscall("futex_waitv", 449, (Ptr, U32, U32, InStruct(16), Int), blocks=True)
def sys_futex_waitv(t, addr, count, flags, timeout, clock):
    if flags or not 1 <= count <= 128 or not addr:
        return -EINVAL
    deadline = None
    if timeout:
        if clock not in (CLOCK_REALTIME, CLOCK_MONOTONIC):
            return -EINVAL
        deadline = get_timespec(t, timeout)
        if deadline < 0:
            return deadline
        deadline = monotonic(deadline, clock == CLOCK_REALTIME)
    words = []
    for value, word, how, reserved in WAITV.iter_unpack(t.read(addr, count * WAITV.size)):
        if how & ~(3 | FUTEX2_PRIVATE) or how & 3 != FUTEX2_SIZE_U32 or reserved or value >> 32:
            return -EINVAL
        words.append((word, value, bool(how & FUTEX2_PRIVATE)))
    if deadline is not None and deadline <= monotonic_ns():
        deadline = monotonic_ns()
    return futex.wait_many(t, words, deadline)


@syscall("set_robust_list", 273, (Ptr, Size))
def sys_set_robust_list(t, head, length):
    if length != 24:
        return -EINVAL
    t.thread.robust_list = head
    return 0


@syscall("get_robust_list", 274, (Int, OutStruct(8), OutStruct(8)))
def sys_get_robust_list(t, tid, head_addr, length_addr):
    task = t if tid == 0 else t.tg.pids.tasks.get(tid)
    if task is None or task.dead:
        return -ESRCH
    mine, theirs = t.creds, task.creds
    ids = (theirs.uid, theirs.euid, theirs.suid, theirs.gid, theirs.egid, theirs.sgid)
    if task.tg is not t.tg and ids != (mine.fsuid,) * 3 + (mine.fsgid,) * 3 and not mine.capable(CAP_SYS_PTRACE):
        return -EPERM
    t.write(length_addr, (24).to_bytes(8, "little"))
    t.write(head_addr, task.thread.robust_list.to_bytes(8, "little"))
    return 0
