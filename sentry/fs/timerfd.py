"""Timer descriptors (timerfd_create(2))."""

from sentry.abi.errno import EAGAIN, EINVAL, ESPIPE
from sentry.abi.time import NSEC
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import ANON_INODE, AnonFile
from sentry.kernel import clocks
from sentry.vfs.file import POLL_READABLE


class TimerFile(AnonFile):
    """`clock`: host clock number; `expiry`: on it, in ns, the next expiration that `ticks` does not count yet."""

    __slots__ = ("kernel", "clock_id", "clock", "interval", "expiry", "ticks", "timer", "settime_flags")

    def __init__(self, kernel, clock_id, clock, flags):
        AnonFile.__init__(self, flags, ANON_INODE, None, WaitQueue())
        self.kernel = kernel
        self.clock_id = clock_id
        self.clock = clock
        self.interval = 0
        self.expiry = None
        self.ticks = 0  # expirations not read yet
        self.timer = None
        self.settime_flags = 0

    def anon_name(self):
        return b"anon_inode:[timerfd]"

    def release(self):
        self.cancel()

    def cancel(self):
        self.expiry = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def get(self) -> "tuple[int, int]":
        """(interval, time to the next expiration) in ns."""
        if self.expiry is None:
            return self.interval, 0
        self.count()
        return self.interval, 0 if self.expiry is None else self.expiry - clocks.now(self.clock)

    def set(self, interval: int, value: int, absolute: bool, flags: int) -> None:
        self.cancel()
        self.ticks = 0
        self.interval = interval
        self.settime_flags = flags
        if value:
            self.expiry = value if absolute else clocks.now(self.clock) + value
            self.arm()

    def arm(self) -> None:
        self.timer = self.kernel.timers.add(clocks.deadline(self.clock, self.expiry), self.fired)

    def count(self) -> None:
        """Bring `ticks` and `expiry` up to now."""
        if self.expiry is None:
            return
        behind = clocks.now(self.clock) - self.expiry
        if behind < 0:
            return
        if self.interval:
            n = behind // self.interval + 1
            self.ticks += n
            self.expiry += n * self.interval
        else:
            self.ticks += 1
            self.expiry = None

    def fired(self) -> None:
        self.timer = None
        before = self.ticks
        self.count()
        if self.ticks != before:
            self.queue.wake(POLL_READABLE)
        # Once readable, a periodic timer needs no wake-up until somebody reads; edge-triggered pollers do.
        if self.expiry is not None and (not self.interval or self.queue.entries or not self.ticks):
            self.arm()

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        if count < 8:
            return -EINVAL
        self.count()
        if not self.ticks:
            return -EAGAIN
        ticks, self.ticks = self.ticks, 0
        if self.timer is None and self.expiry is not None:
            self.arm()
        return ticks.to_bytes(8, "little")

    def poll(self):
        self.count()
        if self.timer is None and self.expiry is not None:
            self.arm()
        return POLL_READABLE if self.ticks else 0

    def fdinfo(self):
        interval, value = self.get()
        return b"clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n" % (
            self.clock_id, self.ticks, self.settime_flags, value // NSEC, value % NSEC, interval // NSEC, interval % NSEC,
        )  # fmt: skip
