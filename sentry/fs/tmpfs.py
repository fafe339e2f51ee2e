"""tmpfs: everything in the Sentry's memory (tmpfs(5)).

Small files are a bytearray. At the first mapping, or when they grow (or jump) past SMALL, they move into a
memfd of their own, so that a mapping in a guest shows exactly one file and holes cost nothing.
"""

import os

from sentry.abi.errno import (
    EEXIST,
    EFBIG,
    EINVAL,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENODATA,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOTEMPTY,
    ENXIO,
    EOPNOTSUPP,
)
from sentry.abi.fs import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_WHITEOUT,
    S_IFCHR,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    XATTR_CREATE,
    XATTR_REPLACE,
)
from sentry.core import leaks
from sentry.fs.hostdata import punch
from sentry.vfs.clock import file_time
from sentry.vfs.inode import FileSystem, Inode
from sentry.vfs.mount import register_filesystem
from sentry.vfs.regular import open_node

TMPFS_MAGIC = 0x01021994
PAGE = 4096
SMALL = 1 << 18
ENTRY_COST = 20  # st_size of a directory grows by this per name (mm/shmem.c: BOGO_DIRENT_SIZE)
INODE_COST = 512  # what an inode costs the Sentry, about


def pages(size: int) -> int:
    return (size + PAGE - 1) // PAGE


class TmpfsFS(FileSystem):
    """`limit`: bytes that files may take (0: no limit); `inodes`: how many there may be (0: no limit)."""

    type_name = "tmpfs"
    magic = TMPFS_MAGIC

    def __init__(self, mode=0o1777, uid=0, gid=0, limit=0, inodes=0, options=b""):
        FileSystem.__init__(self)
        self.source = b"tmpfs"
        self.limit_pages = pages(limit)
        self.used_pages = 0
        self.inode_limit = inodes
        self.inode_count = 0
        self.next_ino = 0
        self.options = options
        self.root = TmpfsDir(self, S_IFDIR | mode, uid, gid)

    def unmounted(self):
        FileSystem.unmounted(self)
        self.root = None

    def new_ino(self) -> int:
        self.next_ino += 1
        return self.next_ino

    def charge(self, count: int) -> int:
        """Take `count` pages, or as many as there are: how many."""
        if self.limit_pages:
            count = min(count, self.limit_pages - self.used_pages)
            if count <= 0:
                return 0
        self.used_pages += count
        return count

    def full(self) -> bool:
        """Is there no inode left?"""
        return bool(self.inode_limit) and self.inode_count >= self.inode_limit

    def statfs(self):
        total, used = self.limit_pages, self.used_pages
        free = max(total - used, 0)
        files = self.inode_limit
        return (self.magic, PAGE, total, free, free, files, max(files - self.inode_count, 0), 255, PAGE)


class TmpfsInode(Inode):
    """Common part: extended attributes."""

    __slots__ = ("xattrs",)

    def __init__(self, fs, mode, uid, gid):
        Inode.__init__(self, fs, fs.new_ino(), mode, uid, gid)
        self.xattrs = None
        fs.inode_count += 1
        leaks.add("tmpfs inode")

    def __del__(self):
        self.fs.inode_count -= 1
        leaks.drop("tmpfs inode")

    def getxattr(self, name):
        if not name.startswith((b"user.", b"trusted.", b"security.")):
            return -EOPNOTSUPP
        if self.xattrs is None:
            return -ENODATA
        return self.xattrs.get(name, -ENODATA)

    def setxattr(self, name, value, flags):
        if not name.startswith((b"user.", b"trusted.", b"security.")):
            return -EOPNOTSUPP
        xattrs = self.xattrs
        if xattrs is None:
            xattrs = self.xattrs = {}
        if name in xattrs:
            if flags & XATTR_CREATE:
                return -EEXIST
        elif flags & XATTR_REPLACE:
            return -ENODATA
        if sum(map(len, xattrs.values())) + len(value) > 1 << 20 or len(xattrs) > 1000:
            return -ENOSPC
        xattrs[name] = value
        self.ctime = file_time()
        return 0

    def listxattr(self):
        return list(self.xattrs) if self.xattrs else []

    def removexattr(self, name):
        if not name.startswith((b"user.", b"trusted.", b"security.")):
            return -EOPNOTSUPP
        if not self.xattrs or name not in self.xattrs:
            return -ENODATA
        del self.xattrs[name]
        self.ctime = file_time()
        return 0

    def blocks(self):
        return 0

    def gone(self) -> None:
        """The last name has been removed."""


class TmpfsSpecial(TmpfsInode):
    """FIFO, socket, device."""

    __slots__ = ()


class TmpfsLink(TmpfsInode):
    __slots__ = ()

    def __init__(self, fs, target, uid, gid):
        TmpfsInode.__init__(self, fs, S_IFLNK | 0o777, uid, gid)
        self.link_text = target
        self.size = len(target)

    def readlink(self, t):
        return self.link_text


class TmpfsRegular(TmpfsInode):
    __slots__ = ("data", "fd", "charged", "sealing", "below")

    def __init__(self, fs, mode, uid, gid, sealing=False):
        self.data = bytearray()  # content as long as fd is -1; may be shorter than the size: zeros follow
        self.fd = -1
        self.charged = 0  # pages counted against the file system
        self.below = None  # the file whose content this still shows (fs/overlay.py)
        self.sealing = sealing  # memfd_create(2) with MFD_ALLOW_SEALING
        TmpfsInode.__init__(self, fs, S_IFREG | mode, uid, gid)

    def __del__(self):
        self.fs.used_pages -= self.charged
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        TmpfsInode.__del__(self)

    open = open_node

    # -- content
    def read_at(self, pos, count):
        size = self.getsize()
        if pos >= size:
            return b""
        if pos + count > size:
            count = size - pos
        if self.fd >= 0:
            return os.pread(self.fd, count, pos)
        data = bytes(memoryview(self.data)[pos : pos + count])
        return data if len(data) == count else data.ljust(count, b"\0")

    def write_at(self, pos, data):
        count = len(data)
        end = pos + count
        if self.fd < 0 and (end > SMALL or pos // PAGE > pages(len(self.data))):
            error = self.to_memfd()
            if error < 0 and end > SMALL:
                return error
        if self.fd >= 0:
            return self.write_memfd(pos, data)
        content = self.data
        have = len(content)
        if end > have:
            short = pages(end) - self.charged
            if short > 0:
                got = self.fs.charge(short)
                self.charged += got
                if got < short:
                    end = self.charged * PAGE
                    if end <= pos:
                        return -ENOSPC
                    count = end - pos
                    data = data[:count]
            if pos > have:
                content.extend(bytes(pos - have))
        content[pos:end] = data
        if end > self.size:
            self.size = end
        self.mtime = self.ctime = file_time()
        return count

    def write_memfd(self, pos, data):
        count = len(data)
        fs = self.fs
        if fs.limit_pages:
            # an upper bound first, then what the host really holds
            room = (fs.limit_pages - fs.used_pages) * PAGE
            inside = min(max(self.charged * PAGE - pos, 0), count) if self.charged * PAGE >= self.size else 0
            if count - inside > room:
                count = inside + room & -PAGE
                if count <= 0:
                    return -ENOSPC
                data = data[:count]
        try:
            done = os.pwrite(self.fd, data, pos)
        except OSError as e:
            return -ENOSPC if e.errno in (ENOMEM, EFBIG) else -e.errno
        if pos + done > self.size:
            self.size = pos + done
        self.recount()
        self.mtime = self.ctime = file_time()
        return done

    def recount(self):
        """Count what the memfd holds against the file system."""
        now = os.fstat(self.fd).st_blocks * 512 // PAGE
        self.fs.used_pages += now - self.charged
        self.charged = now

    def getsize(self) -> int:
        return self.size

    def to_memfd(self) -> int:
        """Move the content into a memfd."""
        try:
            fd = os.memfd_create("tmpfs", os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if self.sealing else 0))
        except OSError as e:
            return -ENOMEM if e.errno in (EMFILE, ENFILE) else -e.errno
        try:
            os.ftruncate(fd, self.size)
            if self.data:
                os.pwrite(fd, self.data, 0)
        except OSError as e:
            os.close(fd)
            return -ENOSPC if e.errno == ENOMEM else -e.errno
        self.fd = fd
        self.data = None
        self.recount()
        return 0

    def truncate(self, size):
        if self.fd < 0 and size > SMALL:
            error = self.to_memfd()
            if error < 0:
                return error
        if self.fd >= 0:
            try:
                os.ftruncate(self.fd, size)
            except OSError as e:
                return -e.errno
            self.recount()
        elif size < len(self.data):
            del self.data[size:]
            self.uncharge(pages(size))
        self.size = size
        self.mtime = file_time()
        return 0

    def uncharge(self, keep):
        if self.charged > keep:
            self.fs.used_pages -= self.charged - keep
            self.charged = keep

    def blocks(self):
        if self.fd >= 0:
            return os.fstat(self.fd).st_blocks
        return pages(len(self.data)) * (PAGE // 512)

    def map_fd(self, shared, writable):
        if self.fd < 0:
            error = self.to_memfd()
            if error < 0:
                return error
        return self.fd, writable

    def seek_data(self, offset, hole):
        if self.fd < 0:
            have = pages(len(self.data)) * PAGE
            if hole:
                return offset if offset >= have else min(have, self.size)
            return offset if offset < have else -ENXIO
        try:
            return os.lseek(self.fd, offset, os.SEEK_HOLE if hole else os.SEEK_DATA)
        except OSError as e:
            return -e.errno

    def allocate(self, mode, offset, length):
        end = offset + length
        if mode & FALLOC_PUNCH_HOLE:
            error = self.punch(offset, min(end, self.size))
            if error < 0:
                return error
        elif mode & ~(FALLOC_KEEP_SIZE | FALLOC_ZERO_RANGE) or mode & FALLOC_ZERO_RANGE:
            return -EOPNOTSUPP
        else:
            fs = self.fs
            need = pages(end) - offset // PAGE
            if fs.limit_pages and need > fs.limit_pages - fs.used_pages + self.charged:
                return -ENOSPC
            if self.fd < 0 and end <= SMALL and offset // PAGE <= pages(len(self.data)):
                grow = pages(end) - self.charged
                if grow > 0:
                    got = fs.charge(grow)
                    self.charged += got
                    if got < grow:
                        return -ENOSPC
                if end > len(self.data):
                    self.data.extend(bytes(end - len(self.data)))
            else:
                if self.fd < 0:
                    error = self.to_memfd()
                    if error < 0:
                        return error
                try:
                    os.posix_fallocate(self.fd, offset, length)
                    if mode & FALLOC_KEEP_SIZE and end > self.size:
                        os.ftruncate(self.fd, self.size)
                except OSError as e:
                    return -ENOSPC if e.errno == ENOMEM else -e.errno
                self.recount()
            if not mode & FALLOC_KEEP_SIZE and end > self.size:
                self.size = end
        self.mtime = self.ctime = file_time()
        return 0

    def punch(self, start, end) -> int:
        """A hole in [start, end)."""
        if end <= start:
            return 0
        if self.fd < 0 and end // PAGE > -(-start // PAGE):
            self.to_memfd()  # if that fails, zeros will do
        if self.fd >= 0:
            error = punch(self.fd, start, end)
            self.recount()
            return error
        end = min(end, len(self.data))
        if start < end:
            self.data[start:end] = bytes(end - start)
        return 0


class TmpfsDir(TmpfsInode):
    """A directory: names in order of creation."""

    __slots__ = ("names",)

    def __init__(self, fs, mode, uid, gid):
        TmpfsInode.__init__(self, fs, mode, uid, gid)
        self.names = {}
        self.nlink = 2
        self.size = 2 * ENTRY_COST

    open = open_node

    def lookup(self, name):
        return self.names.get(name, -ENOENT)

    def entries(self):
        return [(name, inode.ino, inode.mode) for name, inode in self.names.items()]

    def has(self, name) -> bool:
        return name in self.names

    def empty(self) -> bool:
        return not self.names

    def changed_size(self, by: int, inode) -> None:
        """A name has been added (1) or removed (-1)."""
        self.size += by * ENTRY_COST
        self.mtime = self.ctime = file_time()
        if inode.mode & S_IFMT == S_IFDIR:
            self.nlink += by

    def insert(self, name, inode) -> None:
        self.names[name] = inode
        self.changed_size(1, inode)

    def take(self, name, inode) -> None:
        del self.names[name]
        self.changed_size(-1, inode)

    def new(self, name, inode):
        self.insert(name, inode)
        return inode

    def create(self, name, mode, uid, gid):
        if self.has(name):
            return -EEXIST
        if self.fs.full():
            return -ENOSPC
        return self.new(name, TmpfsRegular(self.fs, mode, uid, gid))

    def tmpfile(self, mode, uid, gid):
        if self.fs.full():
            return -ENOSPC
        inode = TmpfsRegular(self.fs, mode, uid, gid)
        inode.nlink = 0
        inode.linkable = True
        return inode

    def mkdir(self, name, mode, uid, gid):
        if self.has(name):
            return -EEXIST
        if self.fs.full():
            return -ENOSPC
        return self.new(name, TmpfsDir(self.fs, S_IFDIR | mode, uid, gid))

    def mknod(self, name, mode, rdev, uid, gid):
        if self.has(name):
            return -EEXIST
        if self.fs.full():
            return -ENOSPC
        inode = TmpfsSpecial(self.fs, mode, uid, gid)
        inode.rdev = rdev
        return self.new(name, inode)

    def symlink(self, name, target, uid, gid):
        if self.has(name):
            return -EEXIST
        if len(target) >= PAGE:
            return -ENAMETOOLONG
        if self.fs.full():
            return -ENOSPC
        return self.new(name, TmpfsLink(self.fs, target, uid, gid))

    def link(self, name, inode):
        if self.has(name):
            return -EEXIST
        inode.nlink += 1
        inode.ctime = file_time()
        self.insert(name, inode)
        return 0

    def unlink(self, name, inode):
        self.take(name, inode)
        inode.nlink -= 1
        inode.ctime = self.ctime
        if not inode.nlink:
            inode.gone()
        return 0

    def rmdir(self, name, inode):
        if not inode.empty():
            return -ENOTEMPTY
        self.take(name, inode)
        inode.nlink = 0
        inode.ctime = self.ctime
        return 0

    def rename(self, name, inode, new_dir, new_name, target, flags):
        if not isinstance(new_dir, TmpfsDir):
            return -EINVAL
        if flags & RENAME_EXCHANGE:
            self.take(name, inode)
            new_dir.take(new_name, target)
            self.insert(name, target)
            new_dir.insert(new_name, inode)
            target.ctime = inode.ctime = self.ctime
            return 0
        if target is not None:
            if target.mode & S_IFMT == S_IFDIR:
                if not target.empty():
                    return -ENOTEMPTY
                new_dir.rmdir(new_name, target)
            else:
                new_dir.unlink(new_name, target)
        self.take(name, inode)
        new_dir.insert(new_name, inode)
        inode.ctime = self.ctime
        if flags & RENAME_WHITEOUT:
            self.insert(name, TmpfsSpecial(self.fs, S_IFCHR, inode.uid, inode.gid))
        return 0


def parse_size(text: bytes, memory: int) -> "int | None":
    """Bytes that a size option means ("64m", "50%" of `memory`), or None."""
    unit = 1
    if text.endswith(b"%"):
        return memory * int(text[:-1]) // 100 if text[:-1].isdigit() else None
    if text[-1:].lower() in (b"k", b"m", b"g", b"t"):
        unit = 1 << 10 * (b"kmgt".index(text[-1:].lower()) + 1)
        text = text[:-1]
    return int(text) * unit if text.isdigit() else None


def new_tmpfs(t, source: bytes, data: bytes) -> "TmpfsFS | int":
    """For mount(2): options size, nr_blocks, nr_inodes, mode, uid, gid (tmpfs(5)); others of tmpfs are accepted
    without effect (huge, mpol, inode32, inode64, noswap)."""
    memory = host_memory()
    limit, inodes, mode, uid, gid = memory // 2, 0, 0o1777, None, None
    shown = []
    for option in data.split(b","):
        key, _, value = option.partition(b"=")
        if not key:
            continue
        if key in (b"size", b"nr_blocks"):
            size = parse_size(value, memory)
            if size is None:
                return -EINVAL
            limit = size * PAGE if key == b"nr_blocks" else size
            shown.append(b"size=%dk" % (pages(limit) * 4))
        elif key == b"nr_inodes":
            inodes = parse_size(value, memory)
            if inodes is None:
                return -EINVAL
            shown.append(b"nr_inodes=%d" % inodes)
        elif key == b"mode":
            try:
                mode = int(value, 8) & 0o7777
            except ValueError:
                return -EINVAL
            shown.append(b"mode=%o" % mode)
        elif key in (b"uid", b"gid"):
            if not value.isdigit():
                return -EINVAL
            if key == b"uid":
                uid = int(value)
            else:
                gid = int(value)
            shown.append(option)
        elif key not in (b"huge", b"mpol", b"inode32", b"inode64", b"noswap"):
            return -EINVAL
    creds = t.creds
    uid = creds.fsuid if uid is None else uid
    gid = creds.fsgid if gid is None else gid
    fs = TmpfsFS(mode, uid, gid, limit, inodes, b",".join(shown))
    if source:
        fs.source = source
    return fs


_memory = 0


def host_memory() -> int:
    """Bytes of memory that sizes in percent refer to."""
    return _memory or 1 << 30


def set_memory(size: int) -> None:
    """What the sandbox has (called once at start)."""
    global _memory
    _memory = size


register_filesystem("tmpfs", new_tmpfs)
