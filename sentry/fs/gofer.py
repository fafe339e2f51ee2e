"""The file system behind a gofer (fs/gofer_client.py): the image's root, and volumes.

Two modes. *Immutable* (`shared=False`): nobody changes the files while the sandbox runs; attributes, links,
listings, extended attributes and descriptors are kept for ever, and nothing may be written (an overlay is on
top). *Shared*: others may change them; each walk and each stat asks again.

Content moves by pread and pwrite on descriptors that the gofer donated, never through a mapping.
"""

import os
from _collections import deque
from itertools import islice
from time import monotonic_ns
from weakref import WeakKeyDictionary, WeakValueDictionary

from sentry.abi.errno import EIO, EMFILE, ENFILE, ENODATA, ENOENT, ENXIO, EOPNOTSUPP, EROFS, ESTALE
from sentry.abi.fs import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    RENAME_WHITEOUT,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFSOCK,
)
from sentry.core import log
from sentry.fs.hostdata import punch
from sentry.vfs.clock import file_time
from sentry.vfs.dentry import prune
from sentry.vfs.file import O_RDONLY, O_RDWR
from sentry.vfs.inode import FileSystem, Inode
from sentry.vfs.regular import open_node

MOUNT_RDONLY, MOUNT_SOCKETS, MOUNT_BIND = 1, 4, 32
HANDLES_MAX = 8192  # immutable mode: older handles are given back and taken again at need
DESCRIPTORS_MAX = 1024  # older descriptors are closed, and donated again at need, in both modes
LISTED_MAX = 50000  # immutable mode: entries of listings that are kept
LOOKUPS = 16  # immutable mode: so many names looked up in one directory, then its listing answers for the others
LISTING_MAX = 2000  # but only if it has no more entries than this, about
FRESH = 1000000  # ns for which attributes that a walk brought count as up to date
WALK_MAX = 64
OFTEN = 8  # immutable mode: mappings, some two programs', after which new processes have a descriptor of the file


class Binding:
    """A bind(2) under way: sockets that are made meanwhile are the host's, of type `kind` (0: none is under way), where the volume
    allows that. Then `fd` is the bound descriptor, which goes to who asked."""

    __slots__ = ("kind", "fd")

    def __init__(self):
        self.kind = 0
        self.fd = -1


BINDING = Binding()


class GoferFS(FileSystem):
    """Mount number `index` of a gofer. `client`: GoferClient."""

    type_name = "9p"  # what other sandboxes call it, and what programs know as "some remote files"
    magic = 0x01021997

    def __init__(self, client, index: int, shared: bool):
        FileSystem.__init__(self)
        self.client = client
        self.shared = shared
        self.revalidate = shared
        self.inodes = WeakValueDictionary()  # (dev, ino) -> inode; immutable: only those with several names
        self.devices = {}  # host device -> index, part of inode numbers
        self.handles = deque()
        # inode -> None: those with a descriptor, least recently mapped or opened first; weak, as a removed file's must go
        self.descriptors = WeakKeyDictionary()
        self.listings = {}  # directory -> None: those with a listing, oldest first
        self.listed = 0  # entries in them
        self.source = b"none"
        answer = client.attach(index)
        if isinstance(answer, int):
            raise OSError(-answer, "attach of gofer mount %d" % index)
        handle, attr, flags = answer
        self.sockets = bool(flags & MOUNT_SOCKETS)  # those of the host can be connected to
        self.binds = bool(flags & MOUNT_BIND)  # and made
        self.read_only = self.fixed_read_only = bool(flags & MOUNT_RDONLY)
        self.root = GoferInode(self, attr, handle, None, b"")

    def unmounted(self):
        FileSystem.unmounted(self)
        self.root = None
        self.handles.clear()
        self.listings.clear()

    def node(self, attr, handle: int, parent, name: bytes) -> "GoferInode":
        """The inode with these attributes; `handle` (0: none yet) is ours now."""
        key = None
        if self.shared or (attr.nlink > 1 and attr.mode & S_IFMT != S_IFDIR):
            key = (attr.dev, attr.ino)
            inode = self.inodes.get(key)
            if inode is not None and (inode.mode ^ attr.mode) & S_IFMT == 0:
                if handle:
                    if inode.handle:
                        self.client.release(handle)
                    else:
                        inode.handle = handle
                inode.apply(attr)
                return inode
        inode = GoferInode(self, attr, handle, parent, name)
        if key is not None:
            self.inodes[key] = inode
        if handle and not self.shared:
            self.keep_handle(inode)
        return inode

    def keep_handle(self, inode) -> None:
        handles = self.handles
        handles.append(inode)
        if len(handles) > HANDLES_MAX:
            old = handles.popleft()
            old.give_back()

    def keep_descriptor(self, inode) -> None:
        """`inode` has got a descriptor, or has handed it out for a mapping that is about to be made."""
        descriptors = self.descriptors
        descriptors.pop(inode, None)
        descriptors[inode] = None
        if len(descriptors) > DESCRIPTORS_MAX:
            self.close_descriptors(1)

    def close_descriptors(self, count: int) -> None:
        for old in list(islice(self.descriptors.keys(), count)):
            del self.descriptors[old]
            os.close(old.fd)
            old.fd = -1

    def keep_listing(self, inode) -> None:
        """`inode` has got a listing: the oldest ones go if there are too many."""
        self.listings[inode] = None
        self.listed += len(inode.cache)
        while self.listed > LISTED_MAX and len(self.listings) > 1:
            old = next(iter(self.listings))
            del self.listings[old]
            self.listed -= len(old.cache)
            old.cache = None

    def make_room(self) -> None:
        """We or the gofer have no descriptor left: let go of what can be had again."""
        log.once("gofer descriptors", log.WARNING, "descriptors run out (RLIMIT_NOFILE): caches of files are dropped")
        prune()
        handles = self.handles
        for _ in range(len(handles) // 2):
            handles.popleft().give_back()
        self.close_descriptors((len(self.descriptors) + 1) // 2)
        self.client.flush()

    def number(self, dev: int, ino: int) -> int:
        """Inode number: the host's, made different for files of other host file systems."""
        index = self.devices.setdefault(dev, len(self.devices))
        return ino if not index else ino ^ index << 48

    def statfs(self):
        handle = self.root.get_handle()
        s = self.client.statfs(handle) if handle >= 0 else handle
        if isinstance(s, int):
            return s
        return (self.magic, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.namelen, s.frsize)


class GoferInode(Inode):
    """A file of the gofer. `handle` 0: not held; immutable mode takes it again by `name` below `parent`."""

    __slots__ = ("dev", "handle", "parent", "name", "block_count", "fd", "writable", "shared", "cache", "lookups", "fresh", "xattrs", "kept", "mapped", "image")  # fmt: skip

    def __init__(self, fs, attr, handle, parent, name):
        Inode.__init__(self, fs, fs.number(attr.dev, attr.ino), attr.mode, attr.uid, attr.gid)
        self.dev = attr.dev
        self.handle = handle
        self.parent = parent if not fs.shared else None
        self.name = name
        self.fd = -1  # donated descriptor
        self.shared = fs.shared
        self.writable = False  # it is open for reading and writing
        self.cache = None  # immutable: target of a link, listing of a directory
        self.lookups = 0  # immutable: names asked for so far in a directory without listing; -1: it is too long
        self.xattrs = None  # immutable: values asked for so far
        self.kept = None  # immutable: platform.base.Kept, if it is often mapped
        self.image = None  # see Inode.constant
        self.mapped = 0  # how often it has been, about
        self.rdev = attr.rdev
        self.apply(attr)

    def __del__(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.handle:
            client = self.fs.client
            client.release(self.handle)
            self.handle = 0
            if not self.nlink:  # the host frees a removed file's blocks when the last handle goes
                client.flush()

    def identity(self):
        return (self.dev, self.ino ^ self.fs.devices[self.dev] << 48) if self.shared else id(self)

    def give_back(self) -> None:
        """Immutable mode: do without the handle."""
        if self.handle and self.parent is not None:
            self.fs.client.release(self.handle)
            self.handle = 0

    open = open_node

    def apply(self, attr) -> None:
        """Take over attributes that the gofer sent."""
        self.mode = attr.mode
        self.uid = attr.uid
        self.gid = attr.gid
        self.nlink = attr.nlink
        self.size = attr.size
        self.block_count = attr.blocks
        self.atime = attr.atime
        self.mtime = attr.mtime
        self.ctime = attr.ctime
        self.btime = attr.btime
        self.fresh = monotonic_ns() + FRESH if self.fs.shared else 0

    def place(self) -> "tuple[int, list[bytes]]":
        """(handle, names): where requests for this may begin, and the way from there, empty if that is this itself.
        The handle may be -errno."""
        if self.handle:
            return self.handle, []
        if self.parent is None:
            return -ESTALE, []
        names = [self.name]
        node = self.parent
        while not node.handle and node.parent is not None and len(names) < WALK_MAX:
            names.append(node.name)
            node = node.parent
        names.reverse()
        return node.get_handle(), names

    def get_handle(self) -> int:
        """The handle, taken again if it was given back; or -errno."""
        if self.handle:
            return self.handle
        client = self.fs.client
        start, names = self.place()
        walked = client.walk(start, names, True) if start >= 0 else start
        if walked == -ENFILE:
            self.fs.make_room()
            start, names = self.place()
            walked = client.walk(start, names, True) if start >= 0 else start
        if isinstance(walked, int):
            return walked
        if len(walked.nodes) < len(names) or walked.errno:
            if walked.nodes and walked.nodes[-1][0]:
                client.release(walked.nodes[-1][0])
            return -(walked.errno or ESTALE)
        self.handle = walked.nodes[-1][0]
        self.fs.keep_handle(self)
        return self.handle

    def getattr(self):
        if not self.fs.shared or monotonic_ns() < self.fresh:
            return 0
        attr = self.fs.client.getattr(self.handle)
        if isinstance(attr, int):
            return attr
        self.apply(attr)
        return 0

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        if not self.fs.shared:
            return -EROFS
        attr = self.fs.client.setattr(self.handle, mode, uid, gid, size, atime, mtime)
        if isinstance(attr, int):
            return attr
        self.apply(attr)
        return 0

    def touch_atime(self, now):
        """Reading through the descriptor keeps the host's access time already."""

    def blocks(self):
        return self.block_count

    # -- content
    def descriptor(self, write: bool) -> int:
        """A descriptor for reading, or for reading and writing; it stays ours. -errno."""
        if self.fd >= 0 and (self.writable or not write):
            return self.fd
        fs = self.fs
        if write and not fs.shared:
            return -EROFS
        flags = O_RDWR if write else O_RDONLY
        handle, names = self.place()
        fd = fs.client.open(handle, flags, names) if handle >= 0 else handle
        if fd == -EMFILE or fd == -ENFILE:
            fs.make_room()
            handle, names = self.place()
            fd = fs.client.open(handle, flags, names) if handle >= 0 else handle
        if fd < 0:
            return fd
        self.take_descriptor(fd, write)
        return fd

    def take_descriptor(self, fd: int, writable: bool) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = fd
        self.writable = writable
        self.fs.keep_descriptor(self)

    def read_at(self, pos, count):
        fd = self.fd
        if fd < 0:
            fd = self.descriptor(False)
            if fd < 0:
                return fd
        if not self.fs.shared:
            if pos >= self.size:
                return b""
            count = min(count, self.size - pos)
        try:
            return os.pread(fd, count, pos)
        except OSError as e:
            return -e.errno

    def write_at(self, pos, data):
        fd = self.descriptor(True)
        if fd < 0:
            return fd
        try:
            done = os.pwrite(fd, data, pos)
        except OSError as e:
            return -e.errno
        if pos + done > self.size:
            self.size = pos + done
        self.mtime = self.ctime = file_time()
        self.fresh = 0
        return done

    def append(self, pos, data):
        fd = self.descriptor(True)
        if fd < 0:
            return fd
        try:
            # the host finds the end: others may append at the same moment
            done = os.pwritev(fd, (data,), 0, os.RWF_APPEND)
            self.size = os.lseek(fd, 0, os.SEEK_END)
        except OSError as e:
            return -e.errno
        self.mtime = self.ctime = file_time()
        self.fresh = 0
        return done

    def truncate(self, size):
        return self.setattr(size=size)

    def constant(self):
        return None if self.shared else self

    def map_fd(self, shared, writable):
        fd = self.descriptor(writable)
        if fd < 0:
            return fd
        if not self.shared:
            kept = self.kept
            if kept is not None:
                if not kept.lost:
                    return kept, False
                self.kept = None
            self.mapped += 1
            if self.mapped >= OFTEN:
                self.mapped = 0
                if self.mode & 0o004:
                    self.kept = self.fs.client.keep(fd)
        self.fs.keep_descriptor(self)
        return fd, writable

    def seek_data(self, offset, hole):
        fd = self.descriptor(False)
        if fd < 0:
            return fd
        try:
            return os.lseek(fd, offset, os.SEEK_HOLE if hole else os.SEEK_DATA)
        except OSError as e:
            return -e.errno

    def allocate(self, mode, offset, length):
        if mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE):
            return -EOPNOTSUPP
        fd = self.descriptor(True)
        if fd < 0:
            return fd
        self.fresh = 0
        try:
            size = os.fstat(fd).st_size
            if mode & FALLOC_PUNCH_HOLE:
                return punch(fd, offset, min(offset + length, size))
            os.posix_fallocate(fd, offset, length)
            if mode and offset + length > size:
                os.ftruncate(fd, size)
        except OSError as e:
            return -e.errno
        return 0

    def sync(self, datasync):
        if not self.fs.shared:
            return 0
        return self.fs.client.fsync(self.handle, datasync)

    # -- extended attributes
    def getxattr(self, name):
        cache = self.xattrs
        if cache is not None and name in cache:
            return cache[name]
        handle = self.get_handle()
        value = self.fs.client.getxattr(handle, name) if handle >= 0 else handle
        if not self.fs.shared:
            if cache is None:
                cache = self.xattrs = {}
            if type(value) is bytes or value in (-ENODATA, -EOPNOTSUPP):
                cache[name] = value
        return value

    def setxattr(self, name, value, flags):
        return self.fs.client.setxattr(self.handle, name, value, flags) if self.fs.shared else -EROFS

    def listxattr(self):
        handle = self.get_handle()
        return self.fs.client.listxattr(handle) if handle >= 0 else handle

    def removexattr(self, name):
        return self.fs.client.removexattr(self.handle, name) if self.fs.shared else -EROFS

    # -- directories
    def lookup(self, name):
        fs = self.fs
        if not fs.shared:
            cache = self.cache
            if cache is None and self.lookups >= 0:
                self.lookups += 1
                if self.lookups > LOOKUPS:
                    if self.list(LISTING_MAX) is None:
                        self.lookups = -1
                    cache = self.cache
            if cache is not None:
                entry = cache.get(name)
                if entry is None:
                    return -ENOENT
                attr = entry.attr
                # a symlink's target comes with a walk
                if attr is not None and attr.mode & S_IFMT != S_IFLNK:
                    return fs.node(attr, 0, self, name)
        handle = self.get_handle()
        if handle < 0:
            return handle
        walked = fs.client.walk(handle, [name])
        if walked == -ENFILE:
            fs.make_room()
            walked = fs.client.walk(self.get_handle(), [name])
        if isinstance(walked, int):
            return walked
        if not walked.nodes:
            return -(walked.errno or EIO)
        node = walked.nodes[0]
        inode = fs.node(node[1], node[0], self, name)
        if walked.link is not None and not fs.shared:
            inode.cache = walked.link
        return inode

    def list(self, limit: int) -> "dict[bytes, Entry] | int | None":  # noqa: F821
        """The directory's entries by name; -errno; None if there are more than `limit`, about.

        In immutable mode they are kept, if they are not too many, and answer lookups from now on."""
        handle, names = self.place()
        found = {}
        cookie = 0
        while True:
            if handle < 0:
                return handle
            listed = self.fs.client.listing(handle, cookie, names)
            if isinstance(listed, int):
                return listed
            entries, end = listed
            for entry in entries:
                found[entry.name] = entry
            if end:
                break
            if len(found) > limit:
                return None
            cookie = entries[-1].cookie
            handle, names = self.get_handle(), ()  # a handle keeps the host's directory open in between
        if not self.fs.shared and len(found) <= LISTED_MAX:
            self.cache = found
            self.fs.keep_listing(self)
        return found

    def entries(self):
        found = self.cache
        if found is None:
            found = self.list(1 << 62)
            if isinstance(found, int):
                return found
        dev = self.dev
        number = self.fs.number
        return [(e.name, number(dev, e.ino), e.type << 12) for e in found.values()]

    def made(self, answer, name):
        """Result of a request that makes a node."""
        if isinstance(answer, int):
            return answer
        self.fresh = 0
        return self.fs.node(answer[1], answer[0], self, name)

    def create(self, name, mode, uid, gid):
        if not self.fs.shared:
            return -EROFS
        return self.made_open(self.fs.client.create(self.handle, name, O_RDWR, mode, uid, gid), name)

    def tmpfile(self, mode, uid, gid):
        if not self.fs.shared:
            return -EROFS
        return self.made_open(self.fs.client.tmpfile(self.handle, O_RDWR, mode, uid, gid), b"")

    def made_open(self, answer, name):
        """The same where a descriptor came with it."""
        inode = self.made(answer, name)
        if not isinstance(inode, int):
            inode.take_descriptor(answer[2], True)
        return inode

    def mkdir(self, name, mode, uid, gid):
        if not self.fs.shared:
            return -EROFS
        return self.made(self.fs.client.mkdir(self.handle, name, mode, uid, gid), name)

    def symlink(self, name, target, uid, gid):
        if not self.fs.shared:
            return -EROFS
        return self.made(self.fs.client.symlink(self.handle, name, target, uid, gid), name)

    def mknod(self, name, mode, rdev, uid, gid):
        if not self.fs.shared:
            return -EROFS
        binding = BINDING
        if binding.kind and self.fs.binds and mode & S_IFMT == S_IFSOCK:
            answer = self.fs.client.bind(self.handle, name, binding.kind, mode & 0o7777, uid, gid)
            if not isinstance(answer, int):
                binding.fd = answer[2]
            return self.made(answer, name)
        return self.made(self.fs.client.mknod(self.handle, name, mode, uid, gid), name)

    def link(self, name, inode):
        if not self.fs.shared:
            return -EROFS
        attr = self.fs.client.link(inode.handle, self.handle, name)
        if isinstance(attr, int):
            return attr
        inode.apply(attr)
        self.fresh = 0
        return 0

    def remove(self, name, inode, directory):
        if not self.fs.shared:
            return -EROFS
        error = self.fs.client.unlink(self.handle, name, directory)
        if error == 0:
            self.fresh = inode.fresh = 0
            inode.nlink = 0 if directory else max(inode.nlink - 1, 0)
        return error

    def unlink(self, name, inode):
        return self.remove(name, inode, False)

    def rmdir(self, name, inode):
        return self.remove(name, inode, True)

    def rename(self, name, inode, new_dir, new_name, target, flags):
        if not self.fs.shared:
            return -EROFS
        if flags & RENAME_WHITEOUT:
            return -EOPNOTSUPP
        error = self.fs.client.rename(self.handle, name, new_dir.handle, new_name, flags)
        self.fresh = new_dir.fresh = inode.fresh = 0
        if target is not None:
            target.fresh = 0
        return error

    # -- others
    def readlink(self, t):
        if self.mode & S_IFMT != S_IFLNK:
            return Inode.readlink(self, t)
        target = self.cache
        if target is None:
            handle = self.get_handle()
            target = self.fs.client.readlink(handle) if handle >= 0 else handle
            if type(target) is bytes and not self.fs.shared:
                self.cache = target
        return target

    def connect(self, kind: int) -> int:
        """A host descriptor connected to this Unix socket (volumes that allow it), or -errno."""
        if self.mode & S_IFMT != S_IFSOCK:
            return -ENXIO
        handle = self.get_handle()
        return self.fs.client.connect(handle, kind) if handle >= 0 else handle

    def listen(self, backlog: int) -> int:
        """Let the host's programs connect to this socket, which bind(2) has made through us."""
        return self.fs.client.listen(self.handle, backlog)


