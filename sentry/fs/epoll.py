"""epoll instances (epoll(7), fs/eventpoll.c).

Each watched file has an Item with one entry in the file's wait queue. A wake-up puts the item into the instance's
ready list; epoll_wait asks only the files in that list. Level-triggered items stay in it while their file is ready.
"""

from sentry.abi.errno import EEXIST, EINVAL, ELOOP, ENOENT, EPERM
from sentry.core.waitq import WaitEntry, Waiter, WaitQueue
from sentry.fs.anon import ANON_INODE, AnonFile
from sentry.vfs.file import O_RDWR, POLL_READABLE, POLLERR, POLLHUP

EPOLLEXCLUSIVE, EPOLLWAKEUP, EPOLLONESHOT, EPOLLET = 1 << 28, 1 << 29, 1 << 30, 1 << 31
PRIVATE_BITS = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET
EXCLUSIVE_OK = 0x7 | 0x18 | 0xC0 | 0x300 | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
ALWAYS = POLLERR | POLLHUP
MAX_NESTING = 4  # instances below the outermost


class Item(Waiter):
    """One registration. Owner of its entry in the file's queue."""

    __slots__ = ("epoll", "file", "fd", "events", "data", "entry")

    def __init__(self, epoll, file, fd, events, data):
        self.epoll = epoll
        self.file = file  # no reference is held: the file's end removes the item
        self.fd = fd
        self.events = events
        self.data = data
        self.entry = None

    def woken(self, entry, mask):
        epoll = self.epoll
        if not self.events & ~PRIVATE_BITS:
            return  # disabled by EPOLLONESHOT
        if self not in epoll.ready:
            epoll.ready[self] = None
        if epoll.queue.entries:
            epoll.queue.wake(POLL_READABLE)

    def current(self) -> int:
        """The poll bits that are asked for and there."""
        wanted = self.events & ~PRIVATE_BITS
        return self.file.poll() & (wanted | ALWAYS) if wanted else 0

    def file_closed(self):
        self.epoll.remove(self)


class EpollFile(AnonFile):
    """`items`: (file, fd) -> Item; `ready`: items in the order they became ready (a dict as ordered set)."""

    __slots__ = ("items", "ready")

    def __init__(self):
        AnonFile.__init__(self, O_RDWR, ANON_INODE, None, WaitQueue())
        self.items = {}
        self.ready = {}

    def anon_name(self):
        return b"anon_inode:[eventpoll]"

    def release(self):
        for item in tuple(self.items.values()):
            self.remove(item)

    def poll(self):
        for item in tuple(self.ready):
            if item.current():
                return POLL_READABLE
            self.ready.pop(item, None)
        return 0

    # -- epoll_ctl
    def add(self, file, fd: int, events: int, data: int) -> int:
        if (file, fd) in self.items:
            return -EEXIST
        if file.queue is None:
            return -EPERM
        if isinstance(file, EpollFile):
            if events & EPOLLEXCLUSIVE:
                return -EINVAL
            if reaches(file, self) or depth(file) + height(self) > MAX_NESTING:
                return -ELOOP
        if events & ~PRIVATE_BITS or not events & EPOLLONESHOT:
            events |= ALWAYS
        item = Item(self, file, fd, events, data)
        self.items[file, fd] = item
        if file.epolls is None:
            file.epolls = []
        file.epolls.append(item)
        item.entry = WaitEntry(item, events & 0xFFFF | ALWAYS, bool(events & EPOLLEXCLUSIVE))
        bits = item.current()  # before queueing: a poll may begin to watch, and wake
        if file.queue is None:
            self.remove(item)
            return -EPERM
        file.queue.add(item.entry)
        if bits:
            item.woken(None, bits)
        return 0

    def modify(self, file, fd: int, events: int, data: int) -> int:
        item = self.items.get((file, fd))
        if item is None:
            return -ENOENT
        if (item.events | events) & EPOLLEXCLUSIVE:
            return -EINVAL
        item.events = events | ALWAYS
        item.data = data
        item.entry.mask = item.events & 0xFFFF
        bits = item.current()
        if bits:
            item.woken(None, bits)
        return 0

    def delete(self, file, fd: int) -> int:
        item = self.items.get((file, fd))
        if item is None:
            return -ENOENT
        self.remove(item)
        return 0

    def remove(self, item) -> None:
        self.items.pop((item.file, item.fd), None)
        self.ready.pop(item, None)
        item.file.epolls.remove(item)
        item.entry.remove()

    # -- epoll_wait
    def collect(self, limit: int) -> "list[tuple[int, int]]":
        """Up to `limit` (events, data) of what is ready."""
        found = []
        ready = self.ready
        again = []
        for item in tuple(ready):
            if len(found) >= limit:
                break
            del ready[item]
            bits = item.current()
            if not bits:
                continue
            found.append((bits, item.data))
            if item.events & EPOLLONESHOT:
                item.events &= PRIVATE_BITS
            elif not item.events & EPOLLET:
                again.append(item)
        for item in again:
            ready[item] = None
        if again and self.queue.entries:
            self.queue.wake(POLL_READABLE)
        return found

    def fdinfo(self):
        lines = []
        for (file, fd), item in self.items.items():
            inode = file.inode
            lines.append(
                b"tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n"
                % (fd, item.events, item.data, file.pos, inode.ino if inode else 0, inode.fs.dev if inode else 0)
            )
        return b"".join(lines)


def reaches(start: EpollFile, target: EpollFile) -> bool:
    """Does `start` watch `target`, directly or through others?"""
    seen = set()
    stack = [start]
    while stack:
        epoll = stack.pop()
        if epoll is target:
            return True
        if id(epoll) in seen:
            continue
        seen.add(id(epoll))
        stack.extend(file for file, _ in epoll.items if isinstance(file, EpollFile))
    return False


def depth(epoll: EpollFile, level: int = 1) -> int:
    """How many instances lie in a chain from this one down (itself counts); stops beyond MAX_NESTING."""
    if level > MAX_NESTING:
        return level
    below = [depth(file, level + 1) for file, _ in epoll.items if isinstance(file, EpollFile)]
    return max(below, default=level)


def height(epoll: EpollFile, level: int = 0) -> int:
    """The same upwards, without itself."""
    if level > MAX_NESTING or not epoll.epolls:
        return level
    return max(height(item.epoll, level + 1) for item in epoll.epolls)
