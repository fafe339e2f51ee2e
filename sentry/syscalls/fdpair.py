"""Descriptors for new files: one, or two at once."""

from struct import Struct

from sentry.kernel.task import RLIMIT_NOFILE
from sentry.platform.base import MemFault

PAIR = Struct("<ii")


def install_new(t, file, cloexec: bool) -> int:
    """A descriptor for `file`, whose reference is the caller's; dropped on failure."""
    fd = t.files.install(file, t.rlimit(RLIMIT_NOFILE), cloexec)
    if fd < 0:
        file.decref()
    return fd


def install_pair(t, files, addr: int, cloexec: bool) -> int:
    """Two descriptors, written to the int[2] at `addr`. All or nothing: on a fault they are taken back."""
    limit = t.rlimit(RLIMIT_NOFILE)
    table = t.files
    first, second = files
    fd1 = table.install(first, limit, cloexec)
    fd2 = table.install(second, limit, cloexec) if fd1 >= 0 else fd1
    if fd2 >= 0:
        try:
            t.write(addr, PAIR.pack(fd1, fd2))
            return 0
        except MemFault:
            table.remove(fd1)
            table.remove(fd2)
            close_new(t, first, second)
            raise
    if fd1 >= 0:
        table.remove(fd1)
    close_new(t, first, second)
    return fd2


def close_new(t, *files) -> None:
    for file in files:
        file.decref()
