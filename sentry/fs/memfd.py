"""Files of memfd_create(2): tmpfs files without a name, with seals."""

import fcntl

from sentry.abi.errno import EINVAL, EPERM
from sentry.abi.fs import FALLOC_PUNCH_HOLE
from sentry.fs.tmpfs import TmpfsFS, TmpfsRegular
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.regular import RegularFile

F_ADD_SEALS = 1033
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_EXEC = 1, 2, 4, 8, 16, 32
KNOWN = 63
HOST_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE

_internal = []


def internal_mount() -> TmpfsFS:
    """What holds them all, made when first needed; limits are those of the Sentry's memory."""
    if not _internal:
        _internal.append(TmpfsFS(0o777))
    return _internal[0]


class MemfdInode(TmpfsRegular):
    """`seals`: F_SEAL_* so far. Those about content are set on the host's memfd, which then refuses for us, and
    knows whether a guest still has a writable mapping (EBUSY)."""

    __slots__ = ("seals",)

    def __init__(self, uid, gid, mode, seals):
        TmpfsRegular.__init__(self, internal_mount(), mode, uid, gid, sealing=True)
        self.seals = seals
        self.nlink = 0

    def add_seals(self, seals):
        if seals & ~KNOWN:
            return -EINVAL
        if self.seals & F_SEAL_SEAL:
            return -EPERM
        if seals & F_SEAL_EXEC and self.mode & 0o111:
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
        if seals & HOST_SEALS:
            if self.fd < 0:
                error = self.to_memfd()
                if error < 0:
                    return error
            try:
                fcntl.fcntl(self.fd, F_ADD_SEALS, seals & HOST_SEALS)
            except OSError as e:
                return -e.errno
        self.seals |= seals
        return 0

    def get_seals(self):
        return self.seals

    def setattr(self, *, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        if mode is not None and self.seals & F_SEAL_EXEC and (mode ^ self.mode) & 0o111:
            return -EPERM
        return TmpfsRegular.setattr(self, mode=mode, uid=uid, gid=gid, size=size, atime=atime, mtime=mtime)

    def write_at(self, pos, data):
        if self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -EPERM
        return TmpfsRegular.write_at(self, pos, data)

    def allocate(self, mode, offset, length):
        if mode & FALLOC_PUNCH_HOLE and self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -EPERM
        return TmpfsRegular.allocate(self, mode, offset, length)

    def open(self, t, path, flags):
        return MemfdFile(flags, self, path)


class MemfdFile(RegularFile):
    __slots__ = ()

    def host_mapping(self, t, shared, writable):
        if shared and self.inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            if writable:
                return -EPERM
            return self.inode.map_fd(True, False)  # it may only be read, now and later (mm/memfd.c)
        return RegularFile.host_mapping(self, t, shared, writable)


def new_memfd(uid: int, gid: int, name: bytes, mode: int, seals: int) -> "tuple[MemfdInode, Path]":
    """An inode and the Path under which /proc/pid/fd shows it."""
    inode = MemfdInode(uid, gid, mode, seals)
    d = Dentry(None, b"/memfd:" + name, inode)
    d.dead = True
    return inode, Path(None, d)
