"""open and its kin, close."""

from sentry.abi.errno import E2BIG, EAGAIN, EINTR, EINVAL, EOPNOTSUPP, EPERM, ERESTARTSYS
from sentry.abi.fs import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    S_IALLUGO,
)
from sentry.core.result import BLOCKED
from sentry.core.syscall import Fd, Flags, Mode, Ptr, Size, Str, U32, syscall
from sentry.core.waitq import Wait
from sentry.vfs import ops
from sentry.vfs.file import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_LARGEFILE,
    O_PATH,
    O_RDONLY,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
)

O_KNOWN = 0o37777703  # every flag of open(2) on x86-64, access mode included
O_PATH_FLAGS = O_DIRECTORY | 0o400000 | O_PATH | O_CLOEXEC
TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY
RLIMIT_NOFILE = 7
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4


class OpenWait(Wait):
    """The open of a FIFO whose other end nobody has opened (fifo(7))."""

    __slots__ = ("file", "cloexec")

    def __init__(self, file, cloexec):
        self.file = file
        self.cloexec = cloexec

    def poll(self, t):
        if self.file.opening() is not None:
            return BLOCKED
        file, self.file = self.file, None
        return install(t, file, self.cloexec)

    def release(self, t):
        if self.file is not None:
            self.file.decref()
            self.file = None


def install(t, file, cloexec) -> int:
    """Give `file` (the caller's reference) a descriptor; on failure the reference is dropped."""
    fd = t.files.install(file, t.rlimit(RLIMIT_NOFILE), cloexec)
    if fd < 0:
        file.decref()
    return fd


def check_flags(flags: int) -> int:
    """Combinations that open(2) refuses (fs/open.c:build_open_flags)."""
    if flags & TMPFILE_BIT:
        if flags & O_TMPFILE != O_TMPFILE or flags & O_CREAT:
            return -EINVAL
        if flags & O_ACCMODE == O_RDONLY:
            return -EINVAL
    elif flags & O_CREAT and flags & O_DIRECTORY:
        return -EINVAL
    return 0


def do_open(t, dirfd, path_addr, flags, mode, resolve=0):
    if not flags & O_PATH:
        error = check_flags(flags)
        if error:
            return error
    path = t.read_cstr(path_addr, 4096)
    file = ops.open(t, dirfd, path, flags, mode, resolve)
    if type(file) is int:
        return file
    cloexec = bool(flags & O_CLOEXEC)
    queue = file.opening()
    if queue is not None:
        return t.block(OpenWait(file, cloexec), queue)
    return install(t, file, cloexec)


@syscall("open", 2, (Str, Flags, Mode), blocks=True)
def sys_open(t, path, flags, mode):
    return do_open(t, AT_FDCWD, path, flags & O_KNOWN | O_LARGEFILE, mode)


@syscall("openat", 257, (Fd, Str, Flags, Mode), blocks=True)
def sys_openat(t, dirfd, path, flags, mode):
    return do_open(t, dirfd, path, flags & O_KNOWN | O_LARGEFILE, mode)


@syscall("creat", 85, (Str, Mode), blocks=True)
def sys_creat(t, path, mode):
    return do_open(t, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode)


@syscall("openat2", 437, (Fd, Str, Ptr, Size), blocks=True)
def sys_openat2(t, dirfd, path, how, size):
    if size < 24:
        return -EINVAL
    if size > 4096:
        return -E2BIG
    raw = t.read(how, size)
    if raw[24:].strip(b"\0"):
        return -E2BIG
    flags = int.from_bytes(raw[:8], "little")
    mode = int.from_bytes(raw[8:16], "little")
    resolve = int.from_bytes(raw[16:24], "little")
    if flags & ~O_KNOWN or resolve & ~63:
        return -EINVAL
    if resolve & RESOLVE_BENEATH and resolve & RESOLVE_IN_ROOT:
        return -EINVAL
    if flags & (O_CREAT | TMPFILE_BIT):
        if mode & ~S_IALLUGO:
            return -EINVAL
    elif mode:
        return -EINVAL
    if flags & O_PATH and flags & ~O_PATH_FLAGS:
        return -EINVAL
    if resolve & RESOLVE_CACHED and flags & (O_TRUNC | O_CREAT | TMPFILE_BIT):
        return -EAGAIN
    return do_open(t, dirfd, path, flags | O_LARGEFILE, mode, resolve)


@syscall("close", 3, (Fd,))
def sys_close(t, fd):
    error = t.files.close(t, fd)
    return -EINTR if error == -ERESTARTSYS else error


@syscall("close_range", 436, (U32, U32, U32))
def sys_close_range(t, first, last, flags):
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
        return -EINVAL
    files = t.files
    if flags & CLOSE_RANGE_UNSHARE and files.users > 1:
        files.users -= 1
        files = t.files = files.copy()
    for fd in range(first, min(last + 1, len(files.slots))):
        if files.slots[fd] is None:
            continue
        if flags & CLOSE_RANGE_CLOEXEC:
            files.cloexec.add(fd)
        else:
            files.close(t, fd)
    return 0


@syscall("name_to_handle_at", 303, (Fd, Str, Ptr, Ptr, Flags), level="partial", note="EOPNOTSUPP")
def sys_name_to_handle_at(t, dirfd, path, handle, mount_id, flags):
    return -EOPNOTSUPP


@syscall("open_by_handle_at", 304, (Fd, Ptr, Flags), level="partial", note="EPERM")
def sys_open_by_handle_at(t, mount_fd, handle, flags):
    return -EPERM  # CAP_DAC_READ_SEARCH in the initial user namespace


