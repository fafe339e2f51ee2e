"""Mounts, handles and names: what every handler goes through."""

import errno
import os
import stat

from gofer import protocol as p
from gofer._host import attributes, file_system, open_beneath

PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# Descriptors left for everything but handles: socket, standard ones, listings, a donation on its way.
RESERVED_FDS = 64
LISTINGS = 16  # directories open for reading at a time

MOUNT_ROOT = 0x2000  # STATX_ATTR_MOUNT_ROOT

# File systems whose files are controls of the host kernel (linux/magic.h).  /proc/self/mem alone, opened for
# writing by the gofer, would be the gofer.
KERNEL_FILE_SYSTEMS = frozenset((
    0x9FA0,  # proc
    0x62656572,  # sysfs
    0x64626720,  # debugfs
    0x74726163,  # tracefs
    0x73636673,  # securityfs
    0xF97CFF8C,  # selinuxfs
    0x43415D53,  # smackfs
    0x5A3C69F0,  # apparmorfs
    0x0027E0EB,  # cgroup
    0x63677270,  # cgroup2
    0x07655821,  # resctrl
    0xCAFE4A11,  # bpf
    0x6165676C,  # pstore
    0xDE5E81E4,  # efivarfs
    0x62656570,  # configfs
    0x42494E4D,  # binfmt_misc
    0x6E736673,  # nsfs
    0x50494446,  # pidfs
    0x19800202,  # mqueue
    0x1CD1,  # devpts
    0x65735543,  # fusectl
    0x6C6F6F70,  # binderfs
    0xABBA1974,  # xenfs
    0x6E667364,  # nfsd
    0x67596969,  # rpc_pipefs
    0x09041934,  # anonymous inodes
    0x534F434B,  # sockets
    0x50495045,  # pipes
))  # fmt: skip


def refuse(error):
    """Raise the OSError that the dispatcher turns into the reply -error."""
    raise OSError(error, "")


def must(result):
    """The result of a _host call, or its OSError."""
    if isinstance(result, int) and result < 0:
        raise OSError(-result, "")
    return result


def check_name(name):
    """Refuse what is not one path component (bytes)."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        refuse(errno.EINVAL)
    if len(name) > p.NAME_MAX:
        refuse(errno.ENAMETOOLONG)


class Mount:
    """One tree that is served.  fd: its directory or file; flags: MOUNT_*.  Immutable."""

    __slots__ = ("fd", "flags")

    def __init__(self, fd, flags):
        self.fd = fd
        self.flags = flags


class Node:
    """One inode that the client has a handle of.

    fd: O_PATH descriptor, owned.  type: S_IFMT bits; an inode's type never changes.  closed_off: the root of a host
    mount that is not entered.  listing: descriptor for reading the directory while a READDIR pass is on, else -1.
    socket: the socket that is bound to it, if BIND made it, else -1.
    """

    __slots__ = ("fd", "mount", "type", "closed_off", "listing", "socket")

    def __init__(self, fd, mount, mode, closed_off):
        self.fd = fd
        self.mount = mount
        self.type = stat.S_IFMT(mode)
        self.closed_off = closed_off
        self.listing = -1
        self.socket = -1

    def path(self):
        """Relative path of the inode from the working directory /proc/self/fd; following it ends at the inode itself."""
        return b"%d" % self.fd

    def open(self, flags):
        """A new open file description of the inode."""
        return os.open(self.path(), flags | os.O_CLOEXEC | os.O_NOCTTY)

    def end_listing(self):
        if self.listing >= 0:
            os.close(self.listing)
            self.listing = -1

    def close(self):
        self.end_listing()
        if self.socket >= 0:
            os.close(self.socket)
        os.close(self.fd)


class Nodes:
    """The handle table of a conversation.

    Handles count up from 1 and come back only after 2^32 others, so a stale one is EBADF and not another inode.
    """

    def __init__(self, mounts, limit):
        """mounts: list of Mount.  limit: handles at a time (ENFILE beyond)."""
        self.mounts = mounts
        self.limit = limit
        self.table = {}
        self.last = 0
        self.listed = []  # nodes that may hold a listing, oldest first

    def get(self, handle):
        """Node of a handle (EBADF)."""
        node = self.table.get(handle)
        if node is None:
            refuse(errno.EBADF)
        return node

    def directory(self, handle):
        """Node of a handle that names a directory whose entries may be touched (ENOTDIR, EACCES)."""
        node = self.get(handle)
        if node.type != stat.S_IFDIR:
            refuse(errno.ENOTDIR)
        if node.closed_off:
            refuse(errno.EACCES)
        return node

    def writable(self, handle):
        """Node of a handle that names an inode which may be changed (EROFS, EACCES)."""
        return self.check_writable(self.get(handle))

    def check_writable(self, node):
        """The node, if it may be changed (EROFS, EACCES)."""
        if node.mount.flags & p.MOUNT_RDONLY:
            refuse(errno.EROFS)
        if node.closed_off:
            refuse(errno.EACCES)
        return node

    def writable_directory(self, handle, name):
        """Node of a directory whose entry `name` may be made, changed or removed."""
        node = self.writable(handle)
        if node.type != stat.S_IFDIR:
            refuse(errno.ENOTDIR)
        check_name(name)
        return node

    def add(self, node):
        """Take the node into the table -> its handle.  On ENFILE the node is closed."""
        if len(self.table) >= self.limit:
            node.close()
            refuse(errno.ENFILE)
        handle = self.last
        while True:
            handle = handle % 0xFFFFFFFF + 1
            if handle not in self.table:
                break
        self.last = handle
        self.table[handle] = node
        return handle

    def close(self, handle):
        """Forget a handle; an unknown one is no error."""
        node = self.table.pop(handle, None)
        if node is not None:
            self.end_listing(node)
            node.close()

    def close_all(self):
        for node in self.table.values():
            node.close()
        self.table.clear()

    def find(self, parent, name):
        """Entry `name` (checked) of the directory node `parent` -> (Node not in the table yet, ATTR bytes)."""
        if parent.closed_off:
            refuse(errno.ENOENT)
        return self.adopt(must(open_beneath(parent.fd, name, os.O_PATH)), parent.mount)

    def reach(self, handle, names):
        """Node of `handle`, or if `names` (separated by NUL) is not empty a new one, for the caller to close, of what they
        lead to below it.  ENOENT, ENOTDIR, also for a symlink on the way."""
        node = self.get(handle)
        passed = None
        try:
            for name in names.split(b"\0", p.WALK_MAX) if names else ():
                check_name(name)
                if node.type != stat.S_IFDIR:
                    refuse(errno.ENOTDIR)
                node, _ = self.find(node, name)
                if passed is not None:
                    passed.close()
                passed = node
        except OSError:
            if passed is not None:
                passed.close()
            raise
        return node

    def adopt(self, fd, mount):
        """The O_PATH descriptor fd, which this takes over, as a node of `mount` -> (Node, ATTR bytes)."""
        attr = attributes(fd)
        if isinstance(attr, int):
            os.close(fd)
            refuse(-attr)
        fields = p.ATTR.unpack(attr)
        # mount roots are rare, so the question which file system it is costs nothing elsewhere
        closed_off = bool(fields[5] & MOUNT_ROOT) and not self._may_enter(fd, mount)
        return Node(fd, mount, fields[0], closed_off), attr

    def root(self, index):
        """The root of a mount -> (Node, ATTR bytes, flags).  EACCES: a kernel file system without MOUNT_PSEUDO."""
        if index >= len(self.mounts):
            refuse(errno.ENOENT)
        mount = self.mounts[index]
        fd = os.open(b"%d" % mount.fd, os.O_PATH | os.O_CLOEXEC)
        attr = attributes(fd)
        fs = file_system(fd)
        if isinstance(attr, int) or isinstance(fs, int):
            os.close(fd)
            refuse(errno.EIO)
        if fs[0] in KERNEL_FILE_SYSTEMS and not mount.flags & p.MOUNT_PSEUDO:
            os.close(fd)
            refuse(errno.EACCES)
        return Node(fd, mount, p.ATTR.unpack(attr)[0], False), attr, mount.flags

    def listing(self, node):
        """Descriptor for reading the directory `node`, kept for the next READDIR.

        The cookies are the host's, so a pass whose descriptor had to go for newer ones goes on with another."""
        if node.listing < 0:
            if len(self.listed) >= LISTINGS:
                self.listed.pop(0).end_listing()
            node.listing = node.open(os.O_RDONLY | os.O_DIRECTORY)
            self.listed.append(node)
        return node.listing

    def end_listing(self, node):
        """The pass over `node` is over."""
        if node.listing >= 0:
            self.listed.remove(node)
            node.end_listing()

    def _may_enter(self, fd, mount):
        if not mount.flags & p.MOUNT_CROSS:
            return False
        fs = file_system(fd)
        return not isinstance(fs, int) and fs[0] not in KERNEL_FILE_SYSTEMS
