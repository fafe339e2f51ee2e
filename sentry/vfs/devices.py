"""Character and block devices: which driver opens which number."""

from sentry.abi.errno import ENXIO
from sentry.abi.fs import major, minor

_drivers: "dict[tuple[bool, int, int | None], object]" = {}


def register_device(major_nr: int, minor_nr: "int | None", open_fn, block: bool = False) -> None:
    """`open_fn(t, inode, path, flags) -> File | -errno` opens device (major, minor); minor None: all others of
    that major."""
    _drivers[block, major_nr, minor_nr] = open_fn


def open_device(t, inode, path, flags: int, block: bool):
    """Open the device that `inode` (any file system's) stands for; -ENXIO if there is no driver."""
    number = major(inode.rdev)
    driver = _drivers.get((block, number, minor(inode.rdev))) or _drivers.get((block, number, None))
    return -ENXIO if driver is None else driver(t, inode, path, flags)


_fifo = None


def register_fifo(open_fn) -> None:
    """`open_fn(t, inode, path, flags) -> File | -errno` opens FIFOs of all file systems (fs/pipe.py). The pipe
    object is kept per inode by weak reference; a File that must wait for the other end says so by `opening()`."""
    global _fifo
    _fifo = open_fn


def open_fifo(t, inode, path, flags: int):
    return -ENXIO if _fifo is None else _fifo(t, inode, path, flags)
