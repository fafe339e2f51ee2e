"""Wait queues and the record a blocked call leaves in its task.

A handler that cannot finish does `return t.block(SomeWait(...), queue, ...)`, which answers BLOCKED. When
a queue wakes, the dispatcher calls `Wait.poll`, which finishes the call or answers BLOCKED again. No
Python stack is kept, so signals and checkpoints see plain data.
"""

from sentry.abi.errno import ERESTARTSYS

ALL = 0xFFFFFFFF


class Waiter:
    """Who may stand in a queue."""

    __slots__ = ()

    def woken(self, entry, mask):
        """The queue of this WaitEntry (None: there is another reason to look) has woken; the entry stays queued."""
        raise NotImplementedError


class WaitEntry:
    """One place of a Waiter in one queue, until its owner removes it."""

    __slots__ = ("queue", "owner", "mask", "exclusive", "data")

    def __init__(self, owner, mask=ALL, exclusive=False, data=None):
        self.queue = None
        self.owner = owner
        self.mask = mask
        self.exclusive = exclusive
        self.data = data

    def remove(self):
        if self.queue is not None:
            self.queue.entries.remove(self)
            self.queue = None


class WaitQueue:
    """FIFO of WaitEntry objects."""

    __slots__ = ("entries",)

    def __init__(self):
        self.entries = []

    def add(self, entry):
        entry.queue = self
        self.entries.append(entry)

    def wake(self, mask=ALL, exclusive=1):
        """Wake every non-exclusive entry whose mask meets `mask` (poll bits, or any bits the queue's
        users agree on) and at most `exclusive` exclusive ones, in order of arrival."""
        entries = self.entries
        if not entries:
            return
        left = exclusive
        if len(entries) == 1:
            entry = entries[0]
            if entry.mask & mask and (left > 0 or not entry.exclusive):
                entry.owner.woken(entry, mask)
            return
        for entry in tuple(entries):
            if entry.mask & mask and entry.queue is self:
                if entry.exclusive:
                    if left <= 0:
                        continue
                    left -= 1
                entry.owner.woken(entry, mask)

    def __bool__(self):
        return bool(self.entries)


class Wait:
    """State of a blocked call. Subclasses add typed fields (no closures: a checkpoint must be able to
    save them) and override what differs. Files they use are pinned (`incref`) and dropped in `release`."""

    __slots__ = ("entries", "timer")
    restart = -ERESTARTSYS  # result when a signal interrupts; -EINTR for calls that never restart
    killable = False  # True: signals wait until the call is over; only the end of the task interrupts it
    stop_restarts = True  # False: the call ends (with `restart`) even if the signal only stops the task

    def poll(self, t):
        """Try to finish: a result, or BLOCKED. Called after any of the queues woke."""
        raise NotImplementedError

    def timeout(self, t):
        """Result when the deadline has passed."""
        return 0

    def interrupted(self, t):
        """Result when a signal (or the end of the task) interrupts; partial counts go here."""
        return self.restart

    def release(self, t):
        """Always called once when the wait is over: drop references."""
