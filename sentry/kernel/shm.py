"""Segments of System V shared memory (svipc(7), ipc/shm.c). One table for the sandbox: it has one IPC namespace.

How often a segment is attached is counted in the areas of all address spaces when somebody asks. The memory is a memfd,
which goes with the last area once the segment is removed.
"""

import os

from sentry.abi.errno import EACCES, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC
from sentry.kernel.ipc import INDEX, INDEX_BITS, IPC_CREAT, IPC_EXCL, Object
from sentry.mm.manager import page_up
from sentry.mm.vma import SharedAnon

SHM_HUGETLB = 0o4000
SHM_DEST, SHM_LOCKED = 0o1000, 0o2000  # in shmid_ds.shm_perm.mode
SHMMIN, SHMMAX, SHMALL, SHMMNI = 1, (1 << 64) - (1 << 24) - 1, (1 << 64) - (1 << 24) - 1, 4096

BY_ID: "dict[int, Segment]" = {}
BY_KEY: "dict[int, Segment]" = {}
_sequence = 0


class Segment(Object):
    """`memory`: a SharedAnon; a reference is ours until the segment is removed. `mode`: nine permission bits, SHM_LOCKED, SHM_DEST."""

    def __init__(self, t, number, key, size, mode, fd):
        Object.__init__(self, t, number, key, mode)
        self.size = size
        self.cpid = t.tg.pid
        self.lpid = 0
        self.atime = self.dtime = 0
        self.memory = SharedAnon(fd, os.close).incref()

    @property
    def name(self) -> bytes:
        return b"/SYSV%08x (deleted)" % (self.key & 0xFFFFFFFF)

    def attached(self, kernel) -> int:
        """Number of areas in all address spaces; Linux counts those, too."""
        spaces = {id(task.mm): task.mm for task in kernel.all_tasks() if task.mm is not None}
        return sum(area.backing is self.memory for mm in spaces.values() for area in mm.vmas.areas)

    def remove(self) -> None:
        """IPC_RMID: no key leads here any more, and the last detachment ends it."""
        if self.mode & SHM_DEST:
            return
        BY_KEY.pop(self.key, None)
        self.key = 0
        self.mode |= SHM_DEST
        self.memory.decref()
        if not self.memory.refs:
            del BY_ID[self.id]


def find(number: int) -> "Segment | None":
    segment = BY_ID.get(number)
    if segment is not None and segment.mode & SHM_DEST and not segment.memory.refs:
        del BY_ID[number]
        return None
    return segment


def segments() -> "list[Segment]":
    return [segment for number in sorted(BY_ID) if (segment := find(number)) is not None]


def get(t, key: int, size: int, flags: int) -> int:
    """shmget(2): an id or -errno."""
    segment = BY_KEY.get(key) if key else None
    if segment is None:
        if key and not flags & IPC_CREAT:
            return -ENOENT
        return create(t, key, size, flags)
    if flags & IPC_CREAT and flags & IPC_EXCL:
        return -EEXIST
    if segment.size < size:
        return -EINVAL
    return segment.id if segment.permits(t.creds, flags) else -EACCES


def create(t, key: int, size: int, flags: int) -> int:
    global _sequence
    if not SHMMIN <= size <= SHMMAX:
        return -EINVAL
    if flags & SHM_HUGETLB:
        return -ENOMEM  # no huge page pool, as on a machine with nr_hugepages = 0
    if len(segments()) >= SHMMNI:
        return -ENOSPC
    fd = -1
    try:
        fd = os.memfd_create("sysv", os.MFD_CLOEXEC)
        os.ftruncate(fd, page_up(size))
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -ENOMEM
    used = {number & INDEX for number in BY_ID}
    index = next(i for i in range(SHMMNI) if i not in used)
    number = (_sequence & 0xFFFF) << INDEX_BITS | index
    _sequence += 1
    segment = BY_ID[number] = Segment(t, number, key, size, flags & 0o777, fd)
    if key:
        BY_KEY[key] = segment
    return number
