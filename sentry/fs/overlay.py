"""The overlay root: an immutable file system below, changes in the Sentry's memory above (overlayfs).

It is a tmpfs whose content begins as what lies below and is fetched when it is needed. A directory keeps only
the names that differ from its lower directory (None: removed); a file keeps its lower file until its content
changes. So renaming a lower directory moves one object, hard links below stay linked after a change, inode
numbers never change, and a file opened before its copy-up shows what is written later, all of which
overlayfs(5) does not promise.

A node made for a lower file lives as long as somebody looks at it; once it differs from below, it is pinned into
its directory, and that one into its own, up to the root.
"""

from weakref import WeakValueDictionary

from sentry.abi.errno import EEXIST, ENODATA, ENOENT, EOPNOTSUPP
from sentry.abi.fs import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from sentry.fs.tmpfs import (
    TmpfsDir,
    TmpfsFS,
    TmpfsInode,
    TmpfsLink,
    TmpfsRegular,
    TmpfsSpecial,
)
from sentry.vfs.inode import Inode

OVERLAYFS_MAGIC = 0x794C7630
FIRST_INO = 1 << 33  # inode numbers of new files, above those of the lower file system
COPY = 1 << 20


class OverlayFS(TmpfsFS):
    """`lower`: a FileSystem that nothing changes; `limit`: bytes that changes may take (0: no limit)."""

    type_name = "overlay"
    magic = OVERLAYFS_MAGIC

    def __init__(self, lower, limit: int = 0, inodes: int = 0):
        self.nodes = WeakValueDictionary()  # lower inode with several names -> its node
        self.changed = {}  # the same, once changed
        TmpfsFS.__init__(self, limit=limit, inodes=inodes)
        self.lower = lower
        lower.mounts += 1
        self.source = b"overlay"
        self.options = b"lowerdir=/lower,upperdir=/upper,workdir=/work"
        self.next_ino = FIRST_INO
        self.root = OverlayDir(self, lower.root, None, b"")

    def unmounted(self):
        TmpfsFS.unmounted(self)
        self.changed.clear()
        lower, self.lower = self.lower, None
        lower.mounts -= 1
        if lower.mounts == 0:
            lower.unmounted()

    def node(self, lower, up, name):
        """The node of a lower inode that has been found as `name` in directory `up`."""
        kind = lower.mode & S_IFMT
        if kind == S_IFDIR:
            return OverlayDir(self, lower, up, name)
        several = lower.nlink > 1
        if several:
            node = self.nodes.get(lower)
            if node is not None:
                return node
            up = None  # it has no one place; `changed` keeps it
        if kind == S_IFREG:
            node = OverlayRegular(self, lower, up, name)
        elif kind == S_IFLNK:
            node = OverlayLink(self, lower, up, name)
        else:
            node = OverlaySpecial(self, lower, up, name)
        if several:
            self.nodes[lower] = node
        return node

    def statfs(self):
        values = self.lower.statfs()
        if type(values) is int or self.limit_pages:
            return TmpfsFS.statfs(self)
        return (self.magic,) + values[1:]


def begin(node, fs, lower, up, name) -> None:
    """Common part of the constructors: the attributes of the lower inode."""
    node.ino = lower.ino
    node.nlink = lower.nlink
    node.size = lower.size
    node.rdev = lower.rdev
    node.atime, node.mtime, node.ctime, node.btime = lower.atime, lower.mtime, lower.ctime, lower.btime
    node.origin = lower
    node.up = up
    node.name = name


class Lowered:
    """What nodes with something below have in common. `origin`: the lower inode; `up`, `name`: where to pin this
    when it changes (None: it is pinned, the root, or known by its lower inode because that has several names)."""

    __slots__ = ()

    def pin(self) -> None:
        node = self
        if node.up is None:
            if node.origin.nlink > 1 and node.mode & S_IFMT != S_IFDIR and node.nlink:
                node.fs.changed[node.origin] = node
            return
        while node.up is not None:
            up, node.up = node.up, None
            if node.name not in up.names:
                up.names[node.name] = node
                up.hidden.add(node.name)
            node = up

    def detach(self) -> None:
        """Its name goes (removed, or renamed): it is no longer found through the lower directory."""
        self.up = None
        self.pin()

    def gone(self) -> None:
        self.fs.changed.pop(self.origin, None)

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        self.pin()
        return Inode.setattr(self, mode=mode, uid=uid, gid=gid, size=size, atime=atime, mtime=mtime)

    def getxattr(self, name):
        if self.xattrs is not None:
            return TmpfsInode.getxattr(self, name)
        value = self.origin.getxattr(name)
        return -ENODATA if value == -EOPNOTSUPP and name.startswith((b"user.", b"trusted.", b"security.")) else value

    def listxattr(self):
        if self.xattrs is not None:
            return TmpfsInode.listxattr(self)
        names = self.origin.listxattr()
        return [] if names == -EOPNOTSUPP else names

    def copy_xattrs(self) -> int:
        """Bring the extended attributes up."""
        if self.xattrs is None:
            names = self.listxattr()
            if type(names) is int:
                return names
            values = {}
            for name in names:
                value = self.origin.getxattr(name)
                if type(value) is bytes:
                    values[name] = value
            self.xattrs = values
        return 0

    def setxattr(self, name, value, flags):
        error = self.copy_xattrs()
        if error < 0:
            return error
        self.pin()
        return TmpfsInode.setxattr(self, name, value, flags)

    def removexattr(self, name):
        if self.getxattr(name) == -ENODATA:
            return -ENODATA
        error = self.copy_xattrs()
        if error < 0:
            return error
        self.pin()
        return TmpfsInode.removexattr(self, name)


class OverlaySpecial(Lowered, TmpfsSpecial):
    __slots__ = ("origin", "up", "name")

    def __init__(self, fs, lower, up, name):
        TmpfsSpecial.__init__(self, fs, lower.mode, lower.uid, lower.gid)
        begin(self, fs, lower, up, name)


class OverlayLink(Lowered, TmpfsLink):
    __slots__ = ("origin", "up", "name")

    def __init__(self, fs, lower, up, name):
        TmpfsLink.__init__(self, fs, b"", lower.uid, lower.gid)
        self.link_text = None
        begin(self, fs, lower, up, name)

    def readlink(self, t):
        if self.link_text is None:
            target = self.origin.readlink(t)
            if type(target) is int:
                return target
            self.link_text = target
        return self.link_text


class OverlayRegular(Lowered, TmpfsRegular):
    """A regular file. `below`: the lower file as long as the content is still that file's."""

    __slots__ = ("origin", "up", "name")

    def __init__(self, fs, lower, up, name):
        TmpfsRegular.__init__(self, fs, lower.mode & 0o7777, lower.uid, lower.gid)
        begin(self, fs, lower, up, name)
        self.data = None
        self.below = lower

    def copy_up(self, size: int) -> int:
        """Copy the first `size` bytes of the lower content; from now on the content is our own."""
        self.pin()
        if self.below is None:
            return 0
        lower, whole = self.origin, self.size
        self.below = None
        self.data = bytearray()
        self.size = 0
        times = self.mtime, self.ctime
        size = min(size, whole)
        pos = 0
        error = 0
        while pos < size:
            data = lower.read_at(pos, min(COPY, size - pos))
            if type(data) is int or not data:
                error = data if type(data) is int else 0
                break
            done = len(data)
            if data.count(0) != done:  # holes stay holes
                done = TmpfsRegular.write_at(self, pos, data)
                if done <= 0:
                    error = done
                    break
            pos += done
        if error < 0:
            TmpfsRegular.truncate(self, 0)
            self.below = lower
            self.size = whole
        elif self.size < size:
            error = TmpfsRegular.truncate(self, size)
        self.mtime, self.ctime = times
        return error

    def read_at(self, pos, count):
        return self.origin.read_at(pos, count) if self.below is not None else TmpfsRegular.read_at(self, pos, count)

    def write_at(self, pos, data):
        if self.below is not None:
            error = self.copy_up(self.size)
            if error < 0:
                return error
        return TmpfsRegular.write_at(self, pos, data)

    def truncate(self, size):
        if self.below is not None:
            error = self.copy_up(size)
            if error < 0:
                return error
        return TmpfsRegular.truncate(self, size)

    def allocate(self, mode, offset, length):
        if self.below is not None:
            error = self.copy_up(self.size)
            if error < 0:
                return error
        return TmpfsRegular.allocate(self, mode, offset, length)

    def constant(self):
        return self.origin.constant() if self.below is not None else None

    def map_fd(self, shared, writable):
        if self.below is not None:
            if not writable:
                return self.origin.map_fd(shared, False)
            error = self.copy_up(self.size)
            if error < 0:
                return error
        return TmpfsRegular.map_fd(self, shared, writable)

    def seek_data(self, offset, hole):
        return self.origin.seek_data(offset, hole) if self.below is not None else TmpfsRegular.seek_data(self, offset, hole)

    def blocks(self):
        return self.origin.blocks() if self.below is not None else TmpfsRegular.blocks(self)


class OverlayDir(Lowered, TmpfsDir):
    """A directory with one below. `names`: what differs from there; None: removed."""

    __slots__ = ("origin", "up", "name", "hidden")

    def __init__(self, fs, lower, up, name):
        self.hidden = set()  # names that are below, too: removing ours leaves None
        TmpfsDir.__init__(self, fs, lower.mode, lower.uid, lower.gid)
        begin(self, fs, lower, up, name)

    def lookup(self, name):
        found = self.names.get(name, self)
        if found is not self:
            return -ENOENT if found is None else found
        lower = self.origin.lookup(name)
        if type(lower) is int:
            return lower
        fs = self.fs
        if lower.nlink > 1:
            node = fs.changed.get(lower)
            if node is not None:
                return node
        return fs.node(lower, self, name)

    def entries(self):
        below = self.origin.entries()
        if type(below) is int:
            return below
        names = self.names
        if not names:
            return below
        out = [entry for entry in below if entry[0] not in names]
        out += [(name, inode.ino, inode.mode) for name, inode in names.items() if inode is not None]
        return out

    def has(self, name):
        return self.names.get(name) is not None

    def empty(self):
        entries = self.entries()
        return type(entries) is int or not entries

    def insert(self, name, inode):
        self.pin()
        TmpfsDir.insert(self, name, inode)

    def link(self, name, inode):
        if self.has(name):
            return -EEXIST
        if isinstance(inode, Lowered):
            inode.pin()  # or its first name would find another node one day
        return TmpfsDir.link(self, name, inode)

    def take(self, name, inode):
        self.pin()
        if isinstance(inode, Lowered):
            inode.detach()
        if name in self.names and name not in self.hidden:
            del self.names[name]
        else:
            self.hidden.add(name)
            self.names[name] = None
        self.changed_size(-1, inode)
