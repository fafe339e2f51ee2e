"""Descriptors of processes (pidfd_open(2))."""

from sentry.core.waitq import WaitQueue
from sentry.vfs.file import O_RDWR, POLL_READABLE, POLLHUP, File

PIDFD_THREAD = 0o200  # O_EXCL


class PidFd(File):
    """Refers to a process (`tg`), or with PIDFD_THREAD to one thread (`task`). Readable once that has ended."""

    __slots__ = ("tg", "task")

    def __init__(self, tg, task=None, flags=0):
        if tg.exit_queue is None:
            tg.exit_queue = WaitQueue()
        super().__init__(O_RDWR | flags, queue=tg.exit_queue)
        self.tg = tg
        self.task = task

    def poll(self) -> int:
        tg = self.tg
        ended = tg.zombie or tg.reaped or (self.task is not None and self.task.dead)
        return (POLL_READABLE if ended else 0) | (POLLHUP if tg.reaped else 0)

    def fdinfo(self) -> bytes:
        tg = self.tg
        pid = -1 if tg.reaped else (self.task.tid if self.task is not None else tg.pid)
        return b"Pid:\t%d\nNSpid:\t%d\n" % (pid, pid)
