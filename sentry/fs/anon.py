"""Inodes of files without a name: pipes, sockets, event files, host descriptors (fs/anon_inodes.c, pipefs, sockfs)."""

from sentry.vfs.file import File
from sentry.vfs.inode import FileSystem, Inode


class AnonFS(FileSystem):
    """One kind of nameless files; never mounted."""

    def __init__(self, type_name: str, magic: int):
        FileSystem.__init__(self)
        self.type_name = type_name
        self.magic = magic
        self.next_ino = 1000

    def new_ino(self) -> int:
        self.next_ino += 1
        return self.next_ino

    def inode(self, mode: int, uid: int = 0, gid: int = 0) -> Inode:
        """A new inode, number and times its own."""
        return Inode(self, self.new_ino(), mode, uid, gid)


PIPEFS = AnonFS("pipefs", 0x50495045)
SOCKFS = AnonFS("sockfs", 0x534F434B)
ANONFS = AnonFS("anon_inodefs", 0x09041934)
# All event files share one inode, as on Linux.
ANON_INODE = ANONFS.inode(0o600)


class AnonFile(File):
    """An event file: lseek succeeds and does nothing (noop_llseek)."""

    __slots__ = ()

    def seek(self, t, offset, whence):
        return self.pos
