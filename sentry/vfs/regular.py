"""Open regular files and directories of file systems whose inodes have `read_at`, `write_at`, `entries` …"""

from struct import Struct

from sentry.abi.errno import EFBIG, EINVAL, EISDIR, ENOENT, ENXIO, EPERM
from sentry.abi.fs import (
    IN_ACCESS,
    IN_CLOSE_NOWRITE,
    IN_CLOSE_WRITE,
    IN_MODIFY,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from sentry.vfs import notify
from sentry.vfs.atime import touch
from sentry.vfs.file import O_ACCMODE, O_APPEND, O_NOATIME, O_RDONLY, File
from sentry.vfs.inode import open_special
from sentry.vfs.ops import drop_privilege

MAX_SIZE = (1 << 63) - 1
RLIMIT_FSIZE = 1
SIGXFSZ = 25
DIRENT = Struct("<QqHB")


def open_node(inode, t, path, flags: int) -> "File | int":
    """The usual Inode.open (`open = open_node` in a class)."""
    kind = inode.mode & S_IFMT
    if kind == S_IFREG:
        return RegularFile(flags, inode, path)
    if kind == S_IFDIR:
        return DirFile(flags, inode, path)
    return open_special(t, inode, path, flags)


def accessed(file) -> None:
    """The content of `file` has been read."""
    if file.flags & O_NOATIME:
        return
    touch(file.path.mount if file.path is not None else None, file.inode)


def size_limit(t, offset: int, count: int) -> int:
    """How many of `count` bytes may be written at `offset`: RLIMIT_FSIZE (with SIGXFSZ) and the largest file;
    -EFBIG (generic_write_checks)."""
    limit = t.rlimit(RLIMIT_FSIZE)
    if offset + count > limit:
        if offset >= limit:
            t.send_signal(SIGXFSZ)
            return -EFBIG
        count = limit - offset
    if offset + count > MAX_SIZE:
        if offset >= MAX_SIZE:
            return -EFBIG
        count = MAX_SIZE - offset
    return count


class RegularFile(File):
    """An open regular file. Its position moves with reads and writes that give none."""

    __slots__ = ()

    def __init__(self, flags, inode, path):
        File.__init__(self, flags, inode, path)
        if flags & O_ACCMODE != O_RDONLY:
            inode.writers += 1
            self.claim = 1
        inode.opens += 1

    def release(self):
        self.inode.opens -= 1
        if notify.active and self.path is not None:
            notify.changed(self.path.dentry, IN_CLOSE_WRITE if self.flags & O_ACCMODE else IN_CLOSE_NOWRITE)
            notify.closed(self.inode)

    def read(self, t, count, pos):
        data = self.inode.read_at(self.pos if pos is None else pos, count)
        if type(data) is int:
            return data
        if pos is None:
            self.pos += len(data)
        accessed(self)
        if notify.active and data:
            notify.changed(self.path.dentry, IN_ACCESS)
        return data

    def unread(self, data):
        self.pos -= len(data)

    def write(self, t, data, pos):
        inode = self.inode
        count = len(data)
        if not count:
            return 0
        if self.flags & O_APPEND:
            error = inode.getattr()
            if error < 0:
                return error
            offset = inode.size
        else:
            offset = self.pos if pos is None else pos
        allowed = size_limit(t, offset, count)
        if allowed < 0:
            return allowed
        if allowed < count:
            data = data[:allowed]
        if inode.mode & 0o6000:
            error = drop_privilege(t, inode)
            if error < 0:
                return error
        done = inode.append(offset, data) if self.flags & O_APPEND else inode.write_at(offset, data)
        if done < 0:
            return done
        if pos is None:
            self.pos = offset + done
        if notify.active and self.path is not None:
            notify.changed(self.path.dentry, IN_MODIFY)
        return done

    def seek(self, t, offset, whence):
        if whence == SEEK_CUR:
            offset += self.pos
        elif whence != SEEK_SET:
            inode = self.inode
            error = inode.getattr()
            if error < 0:
                return error
            if whence == SEEK_END:
                offset += inode.size
            elif whence == SEEK_DATA or whence == SEEK_HOLE:
                if offset < 0 or offset >= inode.size:
                    return -ENXIO
                offset = inode.seek_data(offset, whence == SEEK_HOLE)
                if offset < 0:
                    return offset
            else:
                return -EINVAL
        if offset < 0 or offset > MAX_SIZE:
            return -EINVAL
        self.pos = offset
        return offset

    def truncate(self, t, size):
        inode = self.inode
        error = inode.getattr()
        if error < 0:
            return error
        if size > inode.size:
            allowed = size_limit(t, 0, size)
            if allowed < size:
                if allowed >= 0:
                    t.send_signal(SIGXFSZ)
                return -EFBIG
        error = inode.setattr(size=size)
        if error < 0:
            return error
        if notify.active and self.path is not None:
            notify.changed(self.path.dentry, IN_MODIFY)
        return drop_privilege(t, inode) if inode.mode & 0o6000 else 0

    def fsync(self, t, datasync):
        return self.inode.sync(datasync)

    def fallocate(self, t, mode, offset, length):
        inode = self.inode
        if mode & 1 == 0 and offset + length > inode.size:
            allowed = size_limit(t, offset, length)
            if allowed < length:
                return -EFBIG
        error = inode.allocate(mode, offset, length)
        if error == 0:
            if inode.mode & 0o6000:
                drop_privilege(t, inode)
            if notify.active and self.path is not None:
                notify.changed(self.path.dentry, IN_MODIFY)
        return error

    def host_mapping(self, t, shared, writable):
        """May be written through a shared mapping only if this is open for writing; the mapping of anything else
        is made private on the host: as nothing is written through it, it shows the same content, and cannot be
        turned into a writable view of the file."""
        if self.inode.fs.read_only or not self.can_write:
            mapping = self.inode.map_fd(shared, False)
            return mapping if type(mapping) is int else (mapping[0], False)
        return self.inode.map_fd(shared, shared)


class DirFile(File):
    """An open directory. `pos` counts entries; 0 and 1 are "." and ".."."""

    __slots__ = ("snapshot",)

    def __init__(self, flags, inode, path):
        File.__init__(self, flags, inode, path)
        self.snapshot = None
        inode.opens += 1

    def release(self):
        self.inode.opens -= 1
        if notify.active and self.path is not None:
            notify.changed(self.path.dentry, IN_CLOSE_NOWRITE)
            notify.closed(self.inode)

    def read(self, t, count, pos):
        return -EISDIR

    def seek(self, t, offset, whence):
        if whence == SEEK_CUR:
            offset += self.pos
        elif whence != SEEK_SET:
            return -EINVAL
        if offset < 0 or offset > MAX_SIZE:
            return -EINVAL
        if offset == 0:
            self.snapshot = None
        self.pos = offset
        return offset

    def take_snapshot(self) -> int:
        """Fill `snapshot` with what one pass over the directory reads. 0 or -errno."""
        entries = self.inode.entries()
        if type(entries) is int:
            return entries
        inode, parent = self.inode, self.path.dentry.parent
        up = parent.inode.ino if parent is not None else inode.ino
        self.snapshot = [(b".", inode.ino, S_IFDIR), (b"..", up, S_IFDIR), *entries]
        return 0

    def getdents(self, t, space):
        d = self.path.dentry
        if d.dead:
            return -ENOENT
        if self.snapshot is None:
            error = self.take_snapshot()
            if error:
                return error
        snapshot = self.snapshot
        at = self.pos
        out = []
        pack = DIRENT.pack
        for name, ino, mode in snapshot[at:]:
            length = (len(name) + 27) & ~7  # 19 bytes before the name, its NUL, padding to 8
            if length > space:
                if not out:
                    return -EINVAL
                break
            space -= length
            at += 1
            out.append(pack(ino, at, length, mode >> 12 & 15) + name.ljust(length - 19, b"\0"))
        self.pos = at
        accessed(self)
        return b"".join(out)

    def fsync(self, t, datasync):
        return self.inode.sync(datasync)

    def write(self, t, data, pos):
        return -EPERM  # not reached: directories cannot be opened for writing
