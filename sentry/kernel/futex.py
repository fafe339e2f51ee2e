"""Futexes (futex(2), kernel/futex/): all operations are served here, none on the host.

A waiter is found by the key of its word: private words by address space and address, others by what
`MM.futex_key` says. Guest code changes words at any time, but each WAIT and WAKE reaches the dispatcher in order, so
comparing and queueing in one step loses no wake-up.
"""

from struct import Struct

from sentry.abi.errno import EAGAIN, EFAULT, EINVAL, ERESTART_RESTARTBLOCK, ERESTARTSYS, ETIMEDOUT
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait
from sentry.platform.base import MemFault

FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK = 0x80000000, 0x40000000, 0x3FFFFFFF
ROBUST_LIST_LIMIT = 2048
MATCH_ANY = 0xFFFFFFFF
MASK64 = (1 << 64) - 1
WORD = Struct("<I")
NEXT = Struct("<Q")
HEAD = Struct("<QqQ")  # list.next, futex_offset, list_op_pending


class Waiter:
    """One word that one task sleeps on."""

    __slots__ = ("key", "bitset", "wait", "index")

    def __init__(self, key, bitset, wait, index=0):
        self.key = key
        self.bitset = bitset
        self.wait = wait
        self.index = index


class FutexWait(Wait):
    """FUTEX_WAIT, FUTEX_WAIT_BITSET and futex_waitv. `result`: set by the waker. `deadline`: CLOCK_MONOTONIC ns or
    None; `again`: (address, expected value, bitset, private) for a restart, None for futex_waitv."""

    __slots__ = ("task", "waiters", "result", "deadline", "again")

    def __init__(self, task, deadline, again):
        self.task = task
        self.waiters = []
        self.result = None
        self.deadline = deadline
        self.again = again

    def poll(self, t):
        return BLOCKED if self.result is None else self.result

    def timeout(self, t):
        return -ETIMEDOUT if self.result is None else self.result

    def interrupted(self, t):
        if self.deadline is None or self.again is None:
            return -ERESTARTSYS
        t.restart = self
        return -ERESTART_RESTARTBLOCK

    def release(self, t):
        table = t.kernel.futexes
        for waiter in self.waiters:
            unqueue(table, waiter)

    def restart_call(self, t):
        addr, value, bitset, private = self.again
        return wait(t, addr, value, bitset, private, self.deadline)


def unqueue(table, waiter) -> None:
    queue = table.get(waiter.key)
    if queue is not None and waiter in queue:
        queue.remove(waiter)
        if not queue:
            del table[waiter.key]


def key_of(task, addr: int, private: bool) -> "tuple | int":
    """The key of a word, or -errno."""
    if addr & 3:
        return -EINVAL
    if addr >> 47:
        return -EFAULT
    return (id(task.mm), addr) if private else task.mm.futex_key(addr)


def wait(t, addr: int, value: int, bitset: int, private: bool, deadline: "int | None"):
    """Sleep if the word at `addr` is `value`; `deadline` on CLOCK_MONOTONIC in ns."""
    if not bitset:
        return -EINVAL
    key = key_of(t, addr, private)
    if isinstance(key, int):
        return key
    if WORD.unpack(t.read(addr, 4))[0] != value:
        return -EAGAIN
    record = FutexWait(t, deadline, (addr, value, bitset, private))
    waiter = Waiter(key, bitset, record)
    record.waiters.append(waiter)
    t.kernel.futexes.setdefault(key, []).append(waiter)
    return t.block(record, deadline=deadline)


def wait_many(t, words: "list[tuple[int, int, bool]]", deadline: "int | None"):
    """futex_waitv: `words` are (address, value, private). The result is the index of the one that was woken."""
    keys = []
    for addr, value, private in words:
        key = key_of(t, addr, private)
        if isinstance(key, int):
            return key
        if WORD.unpack(t.read(addr, 4))[0] != value:
            return -EAGAIN
        keys.append(key)
    record = FutexWait(t, deadline, None)
    for index, key in enumerate(keys):
        waiter = Waiter(key, MATCH_ANY, record, index)
        record.waiters.append(waiter)
        t.kernel.futexes.setdefault(key, []).append(waiter)
    return t.block(record, deadline=deadline)


def wake_waiter(waiter) -> bool:
    """Deliver the wake-up; the caller has taken the waiter out of its queue. False: the task was awake already
    (another word of a futex_waitv)."""
    record = waiter.wait
    if record.result is not None:
        return False
    record.result = waiter.index
    record.task.woken(None, 0)
    return True


def wake_key(kernel, key, count: int, bitset: int = MATCH_ANY) -> int:
    """Wake up to `count` waiters, at least one, oldest first; returns their number."""
    table = kernel.futexes
    queue = table.get(key)
    if queue is None:
        return 0
    woken = 0
    for waiter in tuple(queue):
        if waiter.bitset & bitset:
            queue.remove(waiter)
            woken += wake_waiter(waiter)
            if woken >= count:
                break
    if not queue:
        del table[key]
    return woken


def wake(task, addr: int, count: int) -> int:
    """FUTEX_WAKE on a word that may be shared, for the kernel's own purposes (CLONE_CHILD_CLEARTID)."""
    return -EINVAL if addr & 3 else wake_key(task.kernel, task.mm.futex_key(addr), count)


def requeue(kernel, key1, key2, wake_count: int, move_count: int) -> int:
    """Wake `wake_count` waiters of key1, move up to `move_count` others to key2; the number of both."""
    table = kernel.futexes
    queue = table.get(key1)
    if queue is None:
        return 0
    done = 0
    for waiter in tuple(queue):
        if done >= wake_count + move_count:
            break
        if done < wake_count:
            queue.remove(waiter)
            if not wake_waiter(waiter):
                continue
        elif key1 != key2:
            queue.remove(waiter)
            waiter.key = key2
            table.setdefault(key2, []).append(waiter)
        done += 1
    if not queue:
        del table[key1]
    return done


def exit_robust(task) -> None:
    """Mark the robust futexes that the ending thread holds (set_robust_list(2), kernel/futex/core.c:exit_robust_list).
    Everything read here is the guest's: limits and faults end the walk."""
    head = task.thread.robust_list
    task.thread.robust_list = 0
    if not head:
        return
    try:
        entry, offset, pending = HEAD.unpack(task.read(head, HEAD.size))
        pending_entry = pending & ~1
        limit = ROBUST_LIST_LIMIT
        while entry & ~1 != head and limit:
            limit -= 1
            address = entry & ~1
            (following,) = NEXT.unpack(task.read(address, 8))
            # The pending one comes last: user code may be inserting or removing it.
            if address != pending_entry and not mark_dead(task, (address + offset) & MASK64, False):
                return
            entry = following
        if pending_entry:
            mark_dead(task, (pending_entry + offset) & MASK64, True)
    except MemFault:
        return


def mark_dead(task, addr: int, pending: bool) -> bool:
    """kernel/futex/core.c:handle_futex_death; False ends the walk."""
    if addr & 3:
        return False
    (value,) = WORD.unpack(task.read(addr, 4))
    if pending and not value:
        # The owner unlocked it, and died before it could wake the next.
        wake(task, addr, 1)
        return True
    if value & FUTEX_TID_MASK != task.tid:
        return True
    task.write(addr, WORD.pack(value & FUTEX_WAITERS | FUTEX_OWNER_DIED))
    if value & FUTEX_WAITERS:
        wake(task, addr, 1)
    return True
