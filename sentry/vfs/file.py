"""Open file descriptions (`File`) and descriptor tables (`FdTable`).

`read` and `write` never block: they answer -EAGAIN, and the system call layer (`syscalls/sys_rw.py`) waits on
`File.queue` with the poll bits and tries again, or returns EAGAIN for O_NONBLOCK.
"""

from sentry.abi.errno import EBADF, EINVAL, EMFILE, ENODEV, ENOTDIR, ENOTTY, ESPIPE
from sentry.core import leaks

O_ACCMODE, O_RDONLY, O_WRONLY, O_RDWR = 3, 0, 1, 2
O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND, O_NONBLOCK = 0o100, 0o200, 0o400, 0o1000, 0o2000, 0o4000
O_DSYNC, FASYNC, O_DIRECT, O_LARGEFILE, O_DIRECTORY = 0o10000, 0o20000, 0o40000, 0o100000, 0o200000
O_NOFOLLOW, O_NOATIME, O_CLOEXEC, O_SYNC, O_PATH, O_TMPFILE = 0o400000, 0o1000000, 0o2000000, 0o4010000, 0o10000000, 0o20200000

POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 1, 2, 4, 8, 16, 32
POLLRDNORM, POLLRDBAND, POLLWRNORM, POLLWRBAND, POLLMSG, POLLRDHUP = 64, 128, 256, 512, 1024, 0x2000
POLL_READABLE = POLLIN | POLLRDNORM
POLL_WRITABLE = POLLOUT | POLLWRNORM


class File:
    """An open file description (open(2)). Reference-counted: descriptors, pinned calls, mappings, messages."""

    __slots__ = ("flags", "pos", "path", "inode", "refs", "queue", "owner", "epolls", "claim", "__weakref__")

    def __init__(self, flags: int, inode=None, path=None, queue=None):
        self.flags = flags & ~O_NOCTTY  # access mode and status flags (O_CLOEXEC belongs to the descriptor)
        self.pos = 0
        self.path = path  # vfs Path (pinned here), or None for anonymous files
        if path is not None:
            path.incref()
        self.inode = inode
        self.refs = 1
        self.queue = queue  # WaitQueue woken with poll bits, or None: always ready
        self.owner = None  # F_SETOWN
        self.epolls = None  # epoll items watching this file (fs/epoll.py)
        self.claim = 0  # what it added to inode.writers
        leaks.add("file")

    def incref(self) -> "File":
        self.refs += 1
        return self

    def decref(self) -> None:
        self.refs -= 1
        if self.refs == 0:
            leaks.drop("file")
            if self.epolls:
                for item in tuple(self.epolls):
                    item.file_closed()
            inode = self.inode
            if inode is not None and inode.locks is not None:
                inode.locks.drop_owner(self)
            if self.claim:
                inode.writers -= self.claim
            self.release()
            if self.path is not None:
                self.path.decref()

    @property
    def can_read(self) -> bool:
        return self.flags & O_ACCMODE != O_WRONLY and not self.flags & O_PATH

    @property
    def can_write(self) -> bool:
        return self.flags & O_ACCMODE != O_RDONLY and not self.flags & O_PATH

    def deny_writes(self) -> None:
        """It is a program being executed: opening the inode for writing fails with ETXTBSY as long as this lives."""
        self.claim = -1
        self.inode.writers -= 1

    def shown_name(self, root=None) -> bytes:
        """What /proc/pid/fd/N leads to, for a reader with that root (Path)."""
        return self.path.text(root) if self.path is not None else self.anon_name()

    # -- to be overridden
    def anon_name(self) -> bytes:
        """Name of a file without path: b"pipe:[7]", b"socket:[8]", b"anon_inode:[eventfd]"."""
        return b"anon_inode:[file]"

    def opening(self) -> "WaitQueue | None":  # noqa: F821
        """None: open. Else open(2) sleeps on this queue until the answer is None (FIFO without other end)."""
        return None

    def release(self) -> None:
        """The last reference is gone."""

    def flush(self, t) -> int:
        """A descriptor was closed (close(2) returns this)."""
        return 0

    def read(self, t, count: int, pos: "int | None") -> "bytes | int":
        """Up to `count` bytes; b"" at the end; -EAGAIN if it would block. pos None: at self.pos, which
        moves on; else pread (-ESPIPE where there is no position)."""
        return -EINVAL

    def write(self, t, data: bytes, pos: "int | None") -> int:
        """Bytes written (may be fewer); -EAGAIN if it would block. O_APPEND is the file's business."""
        return -EINVAL

    discards = False  # a write takes everything and looks at none of it

    def takes(self, count: int) -> int:
        """How many of `count` bytes a write can take at this moment at most: no more are copied from the caller for it."""
        return count

    def unread(self, data: bytes) -> None:
        """The last bytes of what `read` just gave (at the file's position) could not be delivered: put them back."""

    def io_deadline(self, writing: bool) -> "int | None":
        """When a blocking read or write gives up with EAGAIN (CLOCK_MONOTONIC, ns): SO_RCVTIMEO, SO_SNDTIMEO."""
        return None

    def async_events(self) -> int:
        """Poll bits whose wake-ups send SIGIO where O_ASYNC is set; 0: the file knows no O_ASYNC."""
        return 0

    def tells_sigpipe(self) -> bool:
        """Does a write that fails with EPIPE send SIGPIPE?"""
        return True

    def seek(self, t, offset: int, whence: int) -> int:
        return -ESPIPE

    def poll(self) -> int:
        """Current poll bits."""
        return POLL_READABLE | POLL_WRITABLE

    def ioctl(self, t, cmd: int, arg: int) -> int:
        return -ENOTTY

    def pipe_size(self, t, size: "int | None") -> int:
        """fcntl F_SETPIPE_SZ, or F_GETPIPE_SZ for None. -EBADF: no pipe."""
        return -EBADF

    def getdents(self, t, space: int) -> "bytes | int":
        """linux_dirent64 records of at most `space` bytes; b"" at the end; -EINVAL if not one fits."""
        return -ENOTDIR

    def truncate(self, t, size: int) -> int:
        return -EINVAL

    def fsync(self, t, datasync: bool) -> int:
        return -EINVAL

    def fallocate(self, t, mode: int, offset: int, length: int) -> int:
        return -ESPIPE

    def host_mapping(self, t, shared: bool, writable: bool) -> "tuple[int, bool] | int":
        """For mmap: (host descriptor to map at the file's own offsets, may_write), or -ENODEV / -EACCES.
        The descriptor stays the file's. may_write False: a shared mapping is made MAP_PRIVATE on the host. It shows
        the same content, as nothing is written through it, and mprotect cannot make it a way into the file."""
        return -ENODEV

    def fdinfo(self) -> bytes:
        """Extra lines of /proc/pid/fdinfo/N."""
        return b""



class FdTable:
    """Descriptor table, shared by CLONE_FILES (`users` counts the tasks). It is also the owner of POSIX locks."""

    __slots__ = ("slots", "cloexec", "users", "lowest")

    def __init__(self):
        self.slots = []  # File or None
        self.cloexec = set()
        self.users = 1
        self.lowest = 0  # no free slot below this

    def get(self, fd: int) -> "File | None":
        """The file, without a new reference; None means EBADF."""
        slots = self.slots
        return slots[fd] if 0 <= fd < len(slots) else None

    def install(self, file: File, limit: int, cloexec: bool = False, minimum: int = 0) -> int:
        """Put the caller's reference into the lowest free slot >= minimum. -EMFILE at `limit` (RLIMIT_NOFILE);
        the reference then stays the caller's."""
        slots = self.slots
        fd = max(minimum, self.lowest)
        n = len(slots)
        while fd < n and slots[fd] is not None:
            fd += 1
        if fd >= limit:
            return -EMFILE
        if minimum <= self.lowest:
            self.lowest = fd + 1
        self.set(fd, file, cloexec)
        return fd

    def set(self, fd: int, file: File, cloexec: bool) -> "File | None":
        """Put the caller's reference at `fd`; returns the file that was there (its reference is the caller's now)."""
        slots = self.slots
        while len(slots) <= fd:
            slots.append(None)
        old = slots[fd]
        slots[fd] = file
        if cloexec:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)
        return old

    def remove(self, fd: int) -> "File | int":
        """Empty the slot; its reference is the caller's now."""
        file = self.get(fd)
        if file is None:
            return -EBADF
        self.slots[fd] = None
        self.cloexec.discard(fd)
        if fd < self.lowest:
            self.lowest = fd
        return file

    def copy(self) -> "FdTable":
        """For fork: same open file descriptions."""
        new = FdTable()
        new.slots = list(self.slots)
        new.cloexec = set(self.cloexec)
        new.lowest = self.lowest
        for file in new.slots:
            if file is not None:
                file.refs += 1
        return new

    def close(self, t, fd: int) -> int:
        """close(2)."""
        file = self.remove(fd)
        if type(file) is int:
            return file
        return self.closed(t, file)

    def closed(self, t, file: File) -> int:
        """A descriptor of `file` has been taken out of the table: drop POSIX locks and the reference."""
        inode = file.inode
        if inode is not None and inode.locks is not None and not file.flags & O_PATH:
            inode.locks.drop_owner(self)
        error = file.flush(t)
        file.decref()
        return error

    def close_on_exec(self, t) -> None:
        for fd in sorted(self.cloexec):
            self.close(t, fd)

    def close_all(self, t) -> None:
        """The last user has gone."""
        slots, self.slots = self.slots, []
        self.cloexec.clear()
        self.lowest = 0
        for file in slots:
            if file is not None:
                self.closed(t, file)

    def items(self) -> "list[tuple[int, File]]":
        return [(fd, file) for fd, file in enumerate(self.slots) if file is not None]
