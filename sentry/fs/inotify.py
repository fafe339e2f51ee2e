"""inotify instances and watches (inotify(7)); the events come from vfs/notify.py."""

from _collections import deque
from struct import Struct

from sentry.abi.errno import EAGAIN, EINVAL, ENOTTY, ESPIPE
from sentry.abi.fs import IN_EXCL_UNLINK, IN_IGNORED, IN_ISDIR, IN_ONESHOT, IN_Q_OVERFLOW
from sentry.core.waitq import WaitQueue
from sentry.fs.anon import ANON_INODE
from sentry.vfs import notify
from sentry.vfs.file import POLL_READABLE, File

EVENT = Struct("<iIII")
MAX_EVENTS = 16384  # /proc/sys/fs/inotify/max_queued_events
MAX_WATCHES = 65536
FIONREAD = 0x541B


class Watch:
    """One watched inode of one instance; keeps the dentry, so that the inode object stays the one in use."""

    __slots__ = ("wd", "mask", "dentry", "inode", "owner")

    def __init__(self, owner, wd, dentry, mask):
        self.owner = owner
        self.wd = wd
        self.dentry = dentry
        self.inode = dentry.inode
        self.mask = mask

    def event(self, mask: int, name: bytes, cookie: int) -> None:
        if not mask & self.mask & 0xFFF:
            return
        self.owner.push(self.wd, mask & (0xFFF | IN_ISDIR), cookie, name)
        if self.mask & IN_ONESHOT:
            self.remove()

    def remove(self) -> None:
        """End the watch, with IN_IGNORED."""
        if self.detach():
            self.owner.push(self.wd, IN_IGNORED, 0, b"")

    def detach(self) -> bool:
        watches = self.inode.watches
        if not watches or self not in watches:
            return False
        watches.remove(self)
        if not watches:
            self.inode.watches = None
        del self.owner.watches[self.wd]
        notify.active -= 1
        return True


class InotifyFile(File):
    __slots__ = ("watches", "next_wd", "events")

    def __init__(self, flags):
        File.__init__(self, flags, ANON_INODE, None, WaitQueue())
        self.watches = {}  # wd -> Watch
        self.next_wd = 1
        self.events = deque()  # bytes, as read

    def anon_name(self):
        return b"anon_inode:inotify"

    def release(self):
        for watch in tuple(self.watches.values()):
            watch.detach()
        self.events.clear()

    def find(self, inode) -> "Watch | None":
        for watch in inode.watches or ():
            if watch.owner is self:
                return watch
        return None

    def add(self, dentry, mask: int) -> int:
        """A new watch: its descriptor."""
        wd = self.next_wd
        self.next_wd += 1
        watch = Watch(self, wd, dentry, mask)
        self.watches[wd] = watch
        inode = dentry.inode
        if inode.watches is None:
            inode.watches = []
        inode.watches.append(watch)
        notify.active += 1
        return wd

    def push(self, wd: int, mask: int, cookie: int, name: bytes) -> None:
        events = self.events
        if len(events) >= MAX_EVENTS:
            if len(events) > MAX_EVENTS:
                return
            wd, mask, cookie, name = -1, IN_Q_OVERFLOW, 0, b""
        padded = name.ljust((len(name) + 16) & ~15, b"\0") if name else b""
        record = EVENT.pack(wd, mask, cookie, len(padded)) + padded
        if events and events[-1] == record:
            return
        events.append(record)
        self.queue.wake(POLL_READABLE)

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        events = self.events
        if not events:
            return -EAGAIN
        out = []
        while events and len(events[0]) <= count:
            record = events.popleft()
            count -= len(record)
            out.append(record)
        return b"".join(out) if out else -EINVAL

    def async_events(self):
        return POLL_READABLE

    def poll(self):
        return POLL_READABLE if self.events else 0

    def ioctl(self, t, cmd, arg):
        if cmd != FIONREAD:
            return -ENOTTY
        t.write(arg, sum(map(len, self.events)).to_bytes(4, "little"))
        return 0

    def fdinfo(self):
        return b"".join(
            b"inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0 fhandle-bytes:0 fhandle-type:0 f_handle:\n"
            % (watch.wd, watch.inode.ino, watch.inode.fs.dev, watch.mask & ~IN_EXCL_UNLINK)
            for watch in self.watches.values()
        )
