"""Character devices that need no hardware: null, zero, full, random, urandom (mem(4), random(4)).

The nodes themselves live in any file system; what opens them is registered here by number. Terminals are in tty.py
and devpts.py.
"""

import os

from sentry.abi.errno import EINVAL, ENOSPC
from sentry.abi.fs import S_IFCHR, makedev
from sentry.core.waitq import WaitQueue
from sentry.fs.tmpfs import TmpfsFS
from sentry.vfs.devices import register_device
from sentry.vfs.file import File
from sentry.vfs.mount import register_filesystem

MEM_MAJOR = 1
RNDGETENTCNT = 0x80045200


class NullFile(File):
    __slots__ = ()
    discards = True

    def read(self, t, count, pos):
        return b""

    def write(self, t, data, pos):
        return len(data)

    def seek(self, t, offset, whence):
        self.pos = 0
        return 0


class ZeroFile(NullFile):
    __slots__ = ()

    def read(self, t, count, pos):
        return bytes(count)


class FullFile(ZeroFile):
    __slots__ = ()
    discards = False

    def takes(self, count):
        return 0

    def write(self, t, data, pos):
        return -ENOSPC


class RandomFile(NullFile):
    __slots__ = ()
    discards = False

    def __init__(self, flags, inode, path):
        File.__init__(self, flags, inode, path, WaitQueue())

    def read(self, t, count, pos):
        return os.urandom(count)

    def ioctl(self, t, cmd, arg):
        if cmd == RNDGETENTCNT:
            t.write(arg, (256).to_bytes(4, "little"))
            return 0
        return -EINVAL


def opener(cls):
    def open_it(t, inode, path, flags):
        return cls(flags, inode, path)

    return open_it


for minor, cls in ((3, NullFile), (5, ZeroFile), (7, FullFile), (8, RandomFile), (9, RandomFile)):
    register_device(MEM_MAJOR, minor, opener(cls))

NODES = (
    (b"null", 1, 3, 0o666), (b"zero", 1, 5, 0o666), (b"full", 1, 7, 0o666), (b"random", 1, 8, 0o666),
    (b"urandom", 1, 9, 0o666), (b"tty", 5, 0, 0o666), (b"console", 5, 1, 0o600), (b"ptmx", 5, 2, 0o666),
)  # fmt: skip


def new_devtmpfs(t, source: bytes, data: bytes) -> TmpfsFS:
    """For mount -t devtmpfs: a fresh one, with the devices that there are."""
    fs = TmpfsFS(0o755)
    fs.type_name = "devtmpfs"
    fs.source = source or b"devtmpfs"
    for name, major, minor, mode in NODES:
        fs.root.mknod(name, S_IFCHR | mode, makedev(major, minor), 0, 0)
    fs.root.mkdir(b"pts", 0o755, 0, 0)
    fs.root.mkdir(b"shm", 0o1777, 0, 0)
    fs.root.symlink(b"fd", b"/proc/self/fd", 0, 0)
    for number, name in enumerate((b"stdin", b"stdout", b"stderr")):
        fs.root.symlink(name, b"/proc/self/fd/%d" % number, 0, 0)
    return fs


register_filesystem("devtmpfs", new_devtmpfs)
