"""Base of the file systems whose files are made up when they are read: proc and sysfs (fs/seq_file.c, fs/kernfs)."""

from stat import S_IFDIR, S_IFLNK, S_IFREG

from sentry.abi.errno import EINVAL, ENOENT, EPERM
from sentry.vfs.file import File
from sentry.vfs.inode import Inode
from sentry.vfs.regular import open_node

MAX_POS = (1 << 63) - 1


class PseudoInode(Inode):
    """Attributes cannot be changed; truncation is ignored, so that `echo x > file` works."""

    __slots__ = ()

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        return -EPERM if mode is not None or uid is not None or gid is not None else 0

    def truncate(self, size):
        return 0

    def touch_atime(self, now):
        pass

    def blocks(self):
        return 0

    # fs/proc: its look-up says ENOENT before anybody asks whether the directory could be written.
    def create(self, name, mode, uid, gid):
        return -ENOENT

    def mkdir(self, name, mode, uid, gid):
        return -ENOENT

    def mknod(self, name, mode, rdev, uid, gid):
        return -ENOENT

    def symlink(self, name, target, uid, gid):
        return -ENOENT

    def link(self, name, inode):
        return -ENOENT


class PseudoDir(PseudoInode):
    """A directory with fixed content: `names` maps bytes to inodes."""

    __slots__ = ("names",)

    def __init__(self, fs, mode=0o555, uid=0, gid=0):
        PseudoInode.__init__(self, fs, fs.new_ino(), S_IFDIR | mode, uid, gid)
        self.names = {}
        self.nlink = 2

    open = open_node

    def lookup(self, name):
        return self.names.get(name, -ENOENT)

    def entries(self):
        return [(name, inode.ino, inode.mode) for name, inode in self.names.items()]

    def add(self, name: bytes, inode):
        self.names[name] = inode
        if inode.is_dir:
            self.nlink += 1
        return inode

    def directory(self, path: bytes) -> "PseudoDir":
        """The directory at `path` below this one, made with all above it as far as needed."""
        at = self
        for name in path.split(b"/"):
            if name:
                below = at.names.get(name)
                at = below if below is not None else at.add(name, PseudoDir(self.fs))
        return at


class LazyDir(PseudoDir):
    """A directory that `fill(directory)` gives its content when somebody first looks: most containers never do."""

    __slots__ = ("fill",)

    def __init__(self, fs, fill):
        PseudoDir.__init__(self, fs)
        self.fill = fill

    def load(self) -> None:
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)

    def getattr(self):
        self.load()  # for the number of links
        return 0

    def lookup(self, name):
        self.load()
        return PseudoDir.lookup(self, name)

    def entries(self):
        self.load()
        return PseudoDir.entries(self)


class PseudoLink(PseudoInode):
    """A symbolic link with a fixed target."""

    __slots__ = ("target",)

    def __init__(self, fs, target: bytes):
        PseudoInode.__init__(self, fs, fs.new_ino(), S_IFLNK | 0o777)
        self.target = target
        self.size = len(target)

    def readlink(self, t):
        return self.target


class TextInode(PseudoInode):
    """A file whose content is generated. `show(t)` answers bytes or -errno; `store(t, data)`, None for read-only
    files, answers the number of bytes taken or -errno."""

    __slots__ = ("show", "store")

    def __init__(self, fs, mode, show, store=None, ino=0, uid=0, gid=0):
        PseudoInode.__init__(self, fs, ino or fs.new_ino(), S_IFREG | mode, uid, gid)
        self.show = show
        self.store = store

    def open(self, t, path, flags):
        return TextFile(flags, self, path)

    def content(self, t):
        return self.show(t)

    def take(self, t, data):
        return -EINVAL if self.store is None else self.store(t, data)


class TextFile(File):
    """An open generated file: made anew at each read from position 0, so that one pass sees one state."""

    __slots__ = ("text",)

    def __init__(self, flags, inode, path):
        File.__init__(self, flags, inode, path)
        self.text = None

    def read(self, t, count, pos):
        at = self.pos if pos is None else pos
        if at == 0 or self.text is None:
            text = self.inode.content(t)
            if type(text) is int:
                return text
            self.text = text
        data = self.text[at : at + count]
        if pos is None:
            self.pos += len(data)
        return data

    def write(self, t, data, pos):
        result = self.inode.take(t, bytes(data))
        if result > 0 and pos is None:
            self.pos += result
        return result

    def truncate(self, t, size):
        return 0

    def seek(self, t, offset, whence):
        # fs/seq_file.c:seq_lseek
        if whence == 1:
            offset += self.pos
        elif whence != 0:
            return -EINVAL
        if not 0 <= offset <= MAX_POS:
            return -EINVAL
        self.pos = offset
        return offset


def fixed(text: bytes):
    """A `show` that always answers `text`."""
    return lambda t: text
