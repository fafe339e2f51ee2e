"""File locks: POSIX record locks, open-file-description locks, flock (fs/locks.c).

`Inode.locks` is a FileLocks once a lock has been asked for. The owner of a POSIX lock is a descriptor table, of
the other two kinds an open file description; closing calls `drop_owner`.
"""

from weakref import WeakValueDictionary

from sentry.core.waitq import WaitQueue

F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
END = (1 << 63) - 1


class Lock:
    """One range [start, end] (both included) of one owner."""

    __slots__ = ("owner", "kind", "start", "end", "pid")

    def __init__(self, owner, kind, start, end, pid):
        self.owner = owner
        self.kind = kind  # F_RDLCK, F_WRLCK
        self.start = start
        self.end = end
        self.pid = pid  # for F_GETLK; -1 for locks of open file descriptions

    def hurts(self, other) -> bool:
        """Can `self` not be held together with `other`?"""
        return (
            self.owner is not other.owner
            and (self.kind == F_WRLCK or other.kind == F_WRLCK)
            and self.start <= other.end
            and other.start <= self.end
        )


# owner of POSIX locks -> owner it waits for (posix_locks_deadlock)
waiting_for: "dict[int, tuple]" = {}


def would_deadlock(owner, blocker) -> bool:
    """Would `owner` wait (in the end) for itself if it waited for `blocker`?"""
    for _ in range(10):
        entry = waiting_for.get(id(blocker))
        if entry is None:
            return False
        blocker = entry[0]
        if blocker is owner:
            return True
    return False


class FileLocks:
    """The locks on one inode. `records`: POSIX and description-owned; `flocks`: flock(2)."""

    __slots__ = ("records", "flocks", "queue", "inode_number", "device", "__weakref__")

    def __init__(self, inode):
        self.records = []
        self.flocks = []
        self.queue = WaitQueue()
        self.inode_number = inode.ino
        self.device = inode.fs.dev

    def conflict(self, lock: Lock) -> "Lock | None":
        for other in self.records:
            if lock.hurts(other):
                return other
        return None

    def set(self, lock: Lock) -> None:
        """Put a lock (or F_UNLCK) in place of what its owner holds in that range; there is no conflict."""
        kept = []
        for old in self.records:
            if old.owner is not lock.owner or old.end < lock.start or old.start > lock.end:
                kept.append(old)
                continue
            if old.start < lock.start:
                kept.append(Lock(old.owner, old.kind, old.start, lock.start - 1, old.pid))
            if old.end > lock.end:
                kept.append(Lock(old.owner, old.kind, lock.end + 1, old.end, old.pid))
        if lock.kind != F_UNLCK:
            merged = []
            for old in kept:
                if (
                    old.owner is lock.owner
                    and old.kind == lock.kind
                    and old.start <= lock.end + 1
                    and lock.start <= old.end + 1
                ):
                    lock = Lock(lock.owner, lock.kind, min(old.start, lock.start), max(old.end, lock.end), lock.pid)
                else:
                    merged.append(old)
            kept = merged
            kept.append(lock)
        # owners in order of arrival, each with its locks from the lowest on: the order that F_GETLK looks in
        order = {}
        for each in self.records + kept:
            order.setdefault(id(each.owner), len(order))
        kept.sort(key=lambda each: (order[id(each.owner)], each.start))
        self.records = kept
        self.note()
        self.queue.wake()

    def flock_conflict(self, owner, kind) -> bool:
        return any(o.owner is not owner and (kind == F_WRLCK or o.kind == F_WRLCK) for o in self.flocks)

    def set_flock(self, owner, kind, pid) -> None:
        self.flocks = [o for o in self.flocks if o.owner is not owner]
        if kind != F_UNLCK:
            self.flocks.append(Lock(owner, kind, 0, END, pid))
        self.note()
        self.queue.wake()

    def drop_owner(self, owner) -> None:
        """The table or description is being closed."""
        records = [o for o in self.records if o.owner is not owner]
        flocks = [o for o in self.flocks if o.owner is not owner]
        if len(records) + len(flocks) != len(self.records) + len(self.flocks):
            self.records, self.flocks = records, flocks
            self.note()
            self.queue.wake()

    def note(self) -> None:
        """Keep the list behind /proc/locks."""
        if self.records or self.flocks:
            held[id(self)] = self
        else:
            held.pop(id(self), None)


held: "dict[int, FileLocks]" = {}


def locks_text() -> bytes:
    """/proc/locks."""
    lines = []
    for locks in held.values():
        for lock in locks.records + locks.flocks:
            kind = b"FLOCK" if lock in locks.flocks else b"OFDLCK" if lock.pid < 0 else b"POSIX"
            end = b"EOF" if lock.end == END else b"%d" % lock.end
            lines.append(
                b"%d: %-6s ADVISORY  %s %d 00:%02x:%d %d %s\n"
                % (len(lines) + 1, kind, b"WRITE" if lock.kind == F_WRLCK else b"READ ", lock.pid, locks.device, locks.inode_number, lock.start, end)  # fmt: skip
            )
    return b"".join(lines)


def of(inode) -> FileLocks:
    """The locks of an inode, made if need be."""
    if inode.locks is None:
        key = inode.identity()
        inode.locks = shared.get(key) or FileLocks(inode)
        if isinstance(key, tuple):  # not the only inode of its file
            shared[key] = inode.locks
    return inode.locks


shared = WeakValueDictionary()  # Inode.identity -> FileLocks
