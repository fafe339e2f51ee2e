"""Namespaces as files: /proc/PID/ns/*, setns(2) (namespaces(7), fs/nsfs.c). Mount, network and UTS namespaces are objects;
of the other kinds there is one for everybody, with the number that Linux gives to its first."""

from stat import S_IFREG

from sentry.abi.errno import EBADF, EINVAL, ESRCH
from sentry.net import netns
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.file import File
from sentry.vfs.inode import FileSystem, Inode

NSFS_MAGIC = 0x6E736673
NS_NAMES = (b"cgroup", b"ipc", b"mnt", b"net", b"pid", b"pid_for_children", b"time", b"time_for_children", b"user", b"uts")
# include/linux/proc_ns.h
SHARED = {b"ipc": 0xEFFFFFFF, b"user": 0xEFFFFFFD, b"pid": 0xEFFFFFFC, b"cgroup": 0xEFFFFFFB, b"time": 0xEFFFFFFA}
CLONE_FLAGS = {b"cgroup": 0x02000000, b"ipc": 0x08000000, b"mnt": 0x00020000, b"net": 0x40000000, b"pid": 0x20000000,
               b"time": 0x80, b"user": 0x10000000, b"uts": 0x04000000}  # fmt: skip

_next_mount_ns = 0xF0000000


def namespace_of(task, kind: bytes):
    """(kind without "_for_children", object or None for the one shared by all, inode number)."""
    global _next_mount_ns
    kind = kind.partition(b"_")[0]
    if kind == b"mnt":
        ns = task.fs.ns
        if not ns.ino:
            _next_mount_ns += 1
            ns.ino = _next_mount_ns
        return kind, ns, ns.ino
    if kind == b"uts":
        return kind, task.uts, task.uts.ino
    if kind == b"net":
        return kind, task.net, task.net.ino
    if kind == b"pid":
        return kind, None, task.tg.pids.ino
    return kind, None, SHARED[kind]


def namespace_text(task, kind: bytes) -> bytes:
    name, _, ino = namespace_of(task, kind)
    return b"%s:[%d]" % (name, ino)


def namespace_path(task, kind: bytes) -> Path:
    name, ns, ino = namespace_of(task, kind)
    return Path(None, Dentry(None, b"%s:[%d]" % (name, ino), NsInode(name, ns, ino)))


class NsFS(FileSystem):
    type_name = "nsfs"
    magic = NSFS_MAGIC


NSFS = NsFS()


class NsInode(Inode):
    __slots__ = ("kind", "ns")

    def __init__(self, kind, ns, ino):
        Inode.__init__(self, NSFS, ino, S_IFREG | 0o444)
        self.kind = kind
        self.ns = ns

    def open(self, t, path, flags):
        return NsFile(flags, self, path)


class NsFile(File):
    """A descriptor of a namespace; keeps a mount namespace alive."""

    __slots__ = ()

    def __init__(self, flags, inode, path):
        File.__init__(self, flags, inode, path)
        if inode.kind == b"mnt":
            inode.ns.users += 1

    def release(self):
        if self.inode.kind == b"mnt":
            self.inode.ns.release()

    def ioctl(self, t, cmd, arg):
        if cmd == 0xB703:  # NS_GET_NSTYPE
            return CLONE_FLAGS[self.inode.kind]
        return File.ioctl(self, t, cmd, arg)


def net_by_descriptor(t, fd: int):
    file = t.files.get(fd)
    if file is None:
        return -EBADF
    return file.inode.ns if isinstance(file, NsFile) and file.inode.kind == b"net" else -EINVAL


def net_by_process(t, pid: int):
    task = t.tg.pids.tasks.get(pid)
    return task.net if task is not None and task.net is not None else -ESRCH


netns.FINDERS[:] = net_by_descriptor, net_by_process
