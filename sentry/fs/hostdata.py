"""Holes in files behind host descriptors."""

import os
from mmap import MADV_REMOVE, MAP_SHARED, PAGESIZE, PROT_READ, PROT_WRITE, mmap

CHUNK = 1 << 20
SPAN = 1 << 30  # at most this is mapped at once


def punch(fd: int, start: int, end: int) -> int:
    """Make a hole of the bytes [start, end), all below the file's size: zeros to read, no memory taken (where the
    host's file system can). `fd` is open for reading and writing. 0 or -errno.

    Python has no fallocate(2) with flags; MADV_REMOVE does the same through a mapping that is never touched."""
    try:
        while start < end:
            try:
                start = os.lseek(fd, start, os.SEEK_DATA)
            except OSError:
                return 0  # ENXIO: no data from here on
            if start >= end:
                return 0
            stop = min(os.lseek(fd, start, os.SEEK_HOLE), end, start + SPAN)
            first, last = -(-start // PAGESIZE) * PAGESIZE, stop // PAGESIZE * PAGESIZE
            if first >= last:
                zero(fd, start, stop)
            else:
                zero(fd, start, first)
                view = mmap(fd, last - first, MAP_SHARED, PROT_READ | PROT_WRITE, offset=first)
                try:
                    view.madvise(MADV_REMOVE)
                except OSError:
                    zero(fd, first, last)
                finally:
                    view.close()
                zero(fd, last, stop)
            start = stop
    except OSError as e:
        return -e.errno
    return 0


def zero(fd: int, start: int, end: int) -> None:
    while start < end:
        start += os.pwrite(fd, bytes(min(end - start, CHUNK)), start)
