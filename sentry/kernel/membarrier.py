"""membarrier(2): every thread of a process that runs guest code is interrupted once; a host signal and the return
from it order memory and serialize the instruction stream. Threads that are in the kernel meet barriers of their own
in the hand-off."""

from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait
from sentry.kernel.hooks import TASK_EXIT


class BarrierWait(Wait):
    """The caller waits until each task in `missing` has been in the kernel."""

    __slots__ = ("task", "missing")
    killable = True

    def __init__(self, task, missing):
        self.task = task
        self.missing = missing

    def poll(self, t):
        return BLOCKED if self.missing else 0

    def passed(self, task) -> None:
        self.missing.discard(task)
        if not self.missing and self.task.wait is self:
            self.task.woken(None, 0)

    def release(self, t):
        for task in self.missing:
            task.data["barriers"].remove(self)


def barrier(t, tasks) -> int:
    """A barrier in all of `tasks` but `t`."""
    missing = {task for task in tasks if task is not t and not task.dead and task.wait is None}
    if not missing:
        return 0
    wait = BarrierWait(t, missing)
    for task in missing:
        task.data.setdefault("barriers", []).append(wait)
        task.kick()
    return t.block(wait)


def passed(task) -> None:
    """The task is in the kernel, or ends."""
    for wait in task.data.pop("barriers", ()):
        wait.passed(task)


TASK_EXIT.append(passed)
