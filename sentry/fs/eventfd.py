"""Event counters (eventfd(2))."""

from sentry.abi.errno import EAGAIN, EINVAL, ESPIPE
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import ANON_INODE, AnonFile
from sentry.vfs.file import O_RDWR, POLL_READABLE, POLL_WRITABLE

LIMIT = (1 << 64) - 1  # the counter stays below


class EventFile(AnonFile):
    __slots__ = ("count", "semaphore")

    def __init__(self, count, semaphore, flags):
        AnonFile.__init__(self, O_RDWR | flags, ANON_INODE, None, WaitQueue())
        self.count = count
        self.semaphore = semaphore

    def anon_name(self):
        return b"anon_inode:[eventfd]"

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        if count < 8:
            return -EINVAL
        if not self.count:
            return -EAGAIN
        value = 1 if self.semaphore else self.count
        self.count -= value
        if self.queue.entries:
            self.queue.wake(POLL_WRITABLE)
        return value.to_bytes(8, "little")

    def write(self, t, data, pos):
        if pos is not None:
            return -ESPIPE
        if len(data) != 8:
            return -EINVAL
        value = int.from_bytes(data, "little")
        if value == LIMIT:
            return -EINVAL
        if self.count + value >= LIMIT:
            return -EAGAIN
        self.count += value
        if self.queue.entries:
            self.queue.wake(POLL_READABLE)
        return 8

    def poll(self):
        return (POLL_READABLE if self.count else 0) | (POLL_WRITABLE if self.count < LIMIT - 1 else 0)

    def fdinfo(self):
        return b"eventfd-count: %16x\neventfd-id: %d\neventfd-semaphore: %d\n" % (self.count, id(self) & 0xFFFF, self.semaphore)
