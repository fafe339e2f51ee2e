"""Inodes: what every file system implements.

Methods return a value or a negative errno; they do not check permissions, mounts or name syntax: the path
walk (`walk.py`) and the operations in `ops.py` have done so. Names are bytes. Times are ns since the epoch.
"""

from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, S_ISDIR, S_ISLNK, S_ISREG

from sentry.abi.errno import EINVAL, ENODATA, ENODEV, ENOTDIR, ENOTSUP, ENXIO, EOPNOTSUPP, EPERM
from sentry.vfs import devices
from sentry.vfs.clock import file_time


class FileSystem:
    """A mounted file-system instance (super_block)."""

    type_name = "none"  # as in /proc/mounts
    magic = 0  # statfs f_type
    read_only = False
    fixed_read_only = False  # cannot be remounted writable
    # False: dentries below may be cached for ever (only the guest changes them). True: each walk asks
    # `Inode.lookup` again (a shared volume, /proc).
    revalidate = False
    next_dev = 0x20

    def __init__(self):
        FileSystem.next_dev += 1
        self.dev = FileSystem.next_dev  # st_dev: anonymous device numbers (0, minor)
        self.root = None  # Inode
        self.source = b"none"
        self.options = b""  # file-system specific options of /proc/mounts
        self.root_dentry = None  # made by the first mount
        self.mounts = 0

    def statfs(self) -> "tuple":
        """(type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize) or -errno."""
        return (self.magic, 4096, 0, 0, 0, 0, 0, 255, 4096)

    def sync(self) -> int:
        return 0

    def unmounted(self) -> None:
        """The last mount has gone and nothing is open: break the reference cycles."""
        if self.root_dentry is not None:
            self.root_dentry.forget()
            self.root_dentry = None


class Inode:
    """A file. In-memory file systems use the attributes as the truth; others refresh them in `getattr`."""

    __slots__ = ("fs", "ino", "mode", "uid", "gid", "nlink", "size", "rdev", "atime", "mtime", "ctime", "btime", "locks", "watches", "writers", "opens", "linkable", "link_text", "__weakref__")  # fmt: skip

    def __init__(self, fs, ino, mode, uid=0, gid=0):
        self.fs = fs
        self.ino = ino
        self.mode = mode  # type and permission bits
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.size = 0
        self.rdev = 0  # makedev form of stat(2)
        self.atime = self.mtime = self.ctime = self.btime = file_time()
        self.locks = None  # file locks, vfs/locks.py
        self.watches = None  # inotify watches
        self.linkable = False  # made by O_TMPFILE without O_EXCL: link(2) works though nlink is 0
        self.link_text = None  # the target of a symbolic link that never changes, once it is known
        self.opens = 0  # open files (of regular files and directories)
        self.writers = 0  # open files that may write; below 0: programs being executed

    def identity(self):
        """What is equal for inodes that are one file, hashable. Containers of a pod that share a volume have different inodes for
        its files: sockets, FIFOs and locks are found by this."""
        return id(self)

    # -- attributes
    def getattr(self) -> int:
        """Bring the attributes up to date. 0 or -errno."""
        return 0

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None) -> int:
        """Change what is not None, and ctime. `mode`: permission bits only."""
        if size is not None:
            error = self.truncate(size)
            if error < 0:
                return error
        if mode is not None:
            self.mode = S_IFMT(self.mode) | mode
        if uid is not None:
            self.uid = uid
        if gid is not None:
            self.gid = gid
        if atime is not None:
            self.atime = atime
        if mtime is not None:
            self.mtime = mtime
        self.ctime = file_time()
        return 0

    def truncate(self, size: int) -> int:
        return -EINVAL

    def blocks(self) -> int:
        """st_blocks, in units of 512 bytes."""
        return (self.size >> 9) + (self.size & 511 != 0)

    def getxattr(self, name: bytes) -> "bytes | int":
        return -ENOTSUP

    def setxattr(self, name: bytes, value: bytes, flags: int) -> int:
        return -ENOTSUP

    def listxattr(self) -> "list[bytes] | int":
        return -ENOTSUP

    def removexattr(self, name: bytes) -> int:
        return -ENOTSUP

    # -- content of regular files, as vfs/regular.py uses it
    def read_at(self, pos: int, count: int) -> "bytes | int":
        """Up to `count` bytes at `pos`; b"" at or after the end."""
        return -EINVAL

    def write_at(self, pos: int, data: bytes) -> int:
        """Write all of `data` at `pos` (fewer only when space ran out); size and times move on."""
        return -EINVAL

    def append(self, pos: int, data: bytes) -> int:
        """write_at for O_APPEND; `pos`: the end, as far as we know."""
        return self.write_at(pos, data)

    def constant(self) -> "Inode | None":
        """The inode that has this one's content, as mappings made now show it, if nothing ever changes that; it keeps in
        `image` what exec has found out about it (mm.elf.Image)."""
        return None

    def map_fd(self, shared: bool, writable: bool) -> "int | tuple[int, bool]":
        """See File.host_mapping."""
        return -ENODEV

    def allocate(self, mode: int, offset: int, length: int) -> int:
        """fallocate(2); `mode` has been checked for nonsense."""
        return -ENOTSUP

    def seek_data(self, offset: int, hole: bool) -> int:
        """SEEK_DATA / SEEK_HOLE; offset is below the size. Without knowledge of holes: all is data."""
        return self.size if hole else offset

    def sync(self, datasync: bool) -> int:
        return 0

    def add_seals(self, seals: int) -> int:
        """F_ADD_SEALS (memfd_create(2))."""
        return -EINVAL

    def get_seals(self) -> int:
        return -EINVAL

    def touch_atime(self, now: int) -> None:
        """The content has been read, and the mount's rules want the time kept."""
        self.atime = now

    # -- directories (only called on directories)
    def lookup(self, name: bytes) -> "Inode | int":
        """The child, or -ENOENT."""
        return -ENOTDIR

    def create(self, name: bytes, mode: int, uid: int, gid: int) -> "Inode | int":
        """A new regular file; the name does not exist (-EEXIST if it turns out to)."""
        return -EPERM

    def mkdir(self, name: bytes, mode: int, uid: int, gid: int) -> "Inode | int":
        return -EPERM

    def mknod(self, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> "Inode | int":
        """FIFO, socket, device. `mode` with type bits."""
        return -EPERM

    def symlink(self, name: bytes, target: bytes, uid: int, gid: int) -> "Inode | int":
        return -EPERM

    def link(self, name: bytes, inode: "Inode") -> int:
        return -EPERM

    def tmpfile(self, mode: int, uid: int, gid: int) -> "Inode | int":
        """A regular file without a name (O_TMPFILE), which link may give one."""
        return -EOPNOTSUPP

    def unlink(self, name: bytes, inode: "Inode") -> int:
        return -EPERM

    def rmdir(self, name: bytes, inode: "Inode") -> int:
        return -EPERM

    def rename(self, name: bytes, inode: "Inode", new_dir: "Inode", new_name: bytes, target: "Inode | None", flags: int) -> int:
        """flags: 0, RENAME_EXCHANGE, RENAME_WHITEOUT (NOREPLACE has been dealt with)."""
        return -EPERM

    def entries(self) -> "list[tuple[bytes, int, int]] | int":
        """The directory's content without "." and "..": (name, ino, mode). Called at the first getdents and
        after a rewind; the result is the snapshot that one pass over the directory reads."""
        return -ENOTDIR

    # -- other types
    def readlink(self, t) -> "bytes | int":
        """Target of a symbolic link. Magic links (/proc/self/fd/N) override `follow` as well."""
        return -EINVAL

    def follow(self, t):
        """Magic links: the Path they lead to, or -errno; None for an ordinary link (use readlink)."""
        return None

    def open(self, t, path, flags: int) -> "File | int":  # noqa: F821
        """A new open file description for `path` (vfs Path of this inode). O_CREAT, O_EXCL, O_TRUNC and
        permission have been handled. File systems whose regular files have read_at/write_at and whose
        directories have entries() use `regular.open_node`."""
        return open_special(t, self, path, flags)

    def evict(self) -> None:
        """The last link and the last reference are gone: free what it holds."""

    @property
    def is_dir(self) -> bool:
        return S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return S_ISLNK(self.mode)

    @property
    def is_regular(self) -> bool:
        return S_ISREG(self.mode)


def open_special(t, inode, path, flags: int):
    """Open a device, FIFO or socket node."""
    kind = S_IFMT(inode.mode)
    if kind == S_IFCHR or kind == S_IFBLK:
        return devices.open_device(t, inode, path, flags, kind == S_IFBLK)
    if kind == S_IFIFO:
        return devices.open_fifo(t, inode, path, flags)
    return -ENXIO


class NoXattr:
    """Mixin of file systems that have extended attributes but no value for any name."""

    __slots__ = ()

    def getxattr(self, name):
        return -ENODATA

    def listxattr(self):
        return []
