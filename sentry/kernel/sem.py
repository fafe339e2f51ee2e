"""System V semaphores (semop(2), ipc/sem.c). A call that must wait stands in the set's list, in order of arrival; who changes a
value carries out the calls that have become possible, and tells them their result."""

from time import time

from sentry.abi.errno import EAGAIN, EFBIG, EIDRM, EINTR, EINVAL, ENOSPC, ERANGE
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait
from sentry.kernel import ipc
from sentry.kernel.hooks import GROUP_EXIT

SEMMNI, SEMMSL, SEMMNS, SEMOPM, SEMVMX = ipc.MAX_OF_KIND, 32000, 1024000000, 500, 32767
SEM_UNDO = 0x1000

TABLE = ipc.Table(SEMMNI)


class Set(ipc.Object):
    """`values`, `pids`: of each semaphore; `undo`: process -> what its end adds to each value."""

    def __init__(self, t, number, key, mode, count):
        ipc.Object.__init__(self, t, number, key, mode)
        self.values = [0] * count
        self.pids = [0] * count
        self.otime = 0
        self.undo = {}
        self.waiting = []

    def attempt(self, ops, tg) -> "int | tuple":
        """Carry out all of `ops` ((number, change, flags) each) for process `tg`, or nothing: 0 or -errno; the one that must wait."""
        values = list(self.values)
        undo = None
        for op in ops:
            number, change, flags = op
            new = values[number] + change
            if (values[number] if not change else new < 0):
                return -EAGAIN if flags & ipc.IPC_NOWAIT else op
            if new > SEMVMX:
                return -ERANGE
            if flags & SEM_UNDO:
                if undo is None:
                    undo = list(self.undo.get(tg) or [0] * len(values))
                undo[number] -= change
                if not -SEMVMX - 1 <= undo[number] <= SEMVMX:
                    return -ERANGE
            values[number] = new
        self.values = values
        for number, _, _ in ops:
            self.pids[number] = tg.pid
        if undo is not None:
            self.undo[tg] = undo
        self.otime = int(time())
        return 0

    def changed(self) -> None:
        """Values may let calls that wait go on; those that wait for zero first, then in order."""
        again = True
        while again:
            again = False
            for wait in sorted(self.waiting, key=lambda wait: wait.alters):
                result = self.attempt(wait.ops, wait.tg)
                if type(result) is tuple:
                    wait.blocker = result
                    continue
                wait.finish(result)
                if result == 0 and wait.alters:
                    again = True
                    break

    def count(self, number: int, zero: bool) -> int:
        """GETNCNT, GETZCNT: calls that wait for this semaphore."""
        return sum(wait.blocker[0] == number and (wait.blocker[1] == 0) == zero for wait in self.waiting)

    def forget_undo(self, number: "int | None") -> None:
        """SETVAL, SETALL."""
        for undo in self.undo.values():
            for index in range(len(undo)) if number is None else (number,):
                undo[index] = 0

    def remove(self) -> None:
        TABLE.remove(self)
        self.undo.clear()
        for wait in tuple(self.waiting):
            wait.finish(-EIDRM)


class SemWait(Wait):
    """`blocker`: the operation that cannot be carried out yet."""

    __slots__ = ("set", "task", "tg", "ops", "alters", "blocker", "result")
    restart = -EINTR
    stop_restarts = False  # signal(7)

    def __init__(self, set_, t, ops, blocker):
        self.set = set_
        self.task = t
        self.tg = t.tg
        self.ops = ops
        self.alters = any(change for _, change, _ in ops)
        self.blocker = blocker
        self.result = None
        set_.waiting.append(self)

    def finish(self, result) -> None:
        self.result = result
        self.set.waiting.remove(self)
        self.task.woken(None, 0)

    def poll(self, t):
        return BLOCKED if self.result is None else self.result

    def timeout(self, t):
        return -EAGAIN if self.result is None else self.result

    def interrupted(self, t):
        return -EINTR if self.result is None else self.result

    def release(self, t):
        if self in self.set.waiting:
            self.set.waiting.remove(self)


def get(t, key: int, count: int, flags: int) -> int:
    """semget(2): an id or -errno."""
    if not 0 <= count <= SEMMSL:
        return -EINVAL

    def create(number):
        if not count:
            return -EINVAL
        if count + sum(len(found.values) for found in TABLE.all()) > SEMMNS:
            return -ENOSPC
        return Set(t, number, key, flags & 0o777, count)

    return TABLE.open(t, key, flags, lambda found: count <= len(found.values), create)


def operate(t, found: Set, ops: list, deadline: "int | None"):
    """semtimedop(2) on a set that permits it; what a handler answers."""
    if max(number for number, _, _ in ops) >= len(found.values):
        return -EFBIG
    result = found.attempt(ops, t.tg)
    if type(result) is tuple:
        return t.block(SemWait(found, t, ops, result), deadline=deadline)
    if result == 0:
        found.changed()
    return result


def exit_process(tg) -> None:
    """The end of a process undoes what it asked for with SEM_UNDO (ipc/sem.c: exit_sem)."""
    for found in TABLE.all():
        undo = found.undo.pop(tg, None)
        if undo is None or not any(undo):
            continue
        for number, change in enumerate(undo):
            if change:
                found.values[number] = min(max(found.values[number] + change, 0), SEMVMX)
                found.pids[number] = tg.pid
        found.otime = int(time())
        found.changed()


GROUP_EXIT.append(exit_process)
