"""System V shared memory: shmget shmat shmdt shmctl (shmop(2), shmctl(2))."""

from struct import Struct
from time import time

from sentry.abi.errno import EACCES, EFAULT, EINVAL, EPERM
from sentry.core.creds import CAP_IPC_LOCK, CAP_SYS_ADMIN
from sentry.core.syscall import Int, Ptr, Size, ULong, syscall
from sentry.kernel import shm
from sentry.mm.manager import page_up
from sentry.mm.vma import PROT_EXEC, PROT_READ, PROT_WRITE
from sentry.platform.base import MemFault, PAGE, TASK_LIMIT

SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
SHMID_DS = Struct("<iIIIIIH2xI16xQqqqiiQ16x")
SHMINFO = Struct("<QQQQQ32x")
SHM_INFO_STRUCT = Struct("<i4xQQQQQ")
RLIMIT_MEMLOCK = 8


@syscall("shmget", 29, (Int, Size, Int))
def sys_shmget(t, key, size, flags):
    return shm.get(t, key, size, flags)


@syscall("shmat", 30, (Int, ULong, Int))
def sys_shmat(t, number, addr, flags):
    if number < 0:
        return -EINVAL
    if addr:
        if addr & (PAGE - 1):
            if not flags & SHM_RND:
                return -EINVAL
            addr &= -PAGE
            if not addr and flags & SHM_REMAP:
                return -EINVAL
    elif flags & SHM_REMAP:
        return -EINVAL
    prot, wanted = (PROT_READ, 0o444) if flags & SHM_RDONLY else (PROT_READ | PROT_WRITE, 0o666)
    if flags & SHM_EXEC:
        prot, wanted = prot | PROT_EXEC, wanted | 0o111
    segment = shm.find(number)
    if segment is None:
        return -EINVAL
    if not segment.permits(t.creds, wanted):
        return -EACCES
    length = page_up(segment.size)
    if addr:
        if addr > TASK_LIMIT - length or not flags & SHM_REMAP and t.mm.vmas.within(addr, addr + length):
            return -EINVAL
    segment.atime = int(time())
    segment.lpid = t.tg.pid
    return t.mm.attach(t, addr, length, prot, segment.memory, not flags & SHM_RDONLY, segment.name)


@syscall("shmdt", 67, (ULong,))
def sys_shmdt(t, addr):
    if addr & (PAGE - 1):
        return -EINVAL
    by_memory = {id(segment.memory): segment for segment in shm.segments()}
    for area in t.mm.vmas.within(addr, TASK_LIMIT):
        segment = by_memory.get(id(area.backing))
        if segment is not None and area.start - area.offset == addr:
            break
    else:
        return -EINVAL
    segment.dtime = int(time())
    segment.lpid = t.tg.pid
    return t.mm.detach(t, addr, page_up(segment.size), segment.memory)


def status(t, segment) -> bytes:
    return SHMID_DS.pack(
        segment.key, segment.uid, segment.gid, segment.cuid, segment.cgid, segment.mode, segment.id >> shm.INDEX_BITS & 0xFFFF, 0,
        segment.size, segment.atime, segment.dtime, segment.ctime, segment.cpid, segment.lpid, segment.attached(t.kernel),
    )  # fmt: skip


@syscall("shmctl", 31, (Int, Int, Ptr))
def sys_shmctl(t, number, command, addr):
    if number < 0 or command < 0:
        return -EINVAL
    known = shm.segments()
    highest = max((segment.id & (1 << shm.INDEX_BITS) - 1 for segment in known), default=0)
    if command == IPC_INFO:
        t.write(addr, SHMINFO.pack(shm.SHMMAX, shm.SHMMIN, shm.SHMMNI, shm.SHMMNI, shm.SHMALL))
        return highest
    if command == SHM_INFO:
        pages = sum(page_up(segment.size) // PAGE for segment in known)
        t.write(addr, SHM_INFO_STRUCT.pack(len(known), pages, pages, 0, 0, 0))
        return highest
    if command in (SHM_STAT, SHM_STAT_ANY):  # here the number is an index
        segment = next((s for s in known if s.id & (1 << shm.INDEX_BITS) - 1 == number), None)
    else:
        segment = shm.find(number)
    if command == IPC_SET:
        new = t.read(addr, SHMID_DS.size)
    elif command not in (IPC_RMID, IPC_STAT, SHM_STAT, SHM_STAT_ANY, SHM_LOCK, SHM_UNLOCK):
        return -EINVAL
    if segment is None:
        return -EINVAL
    if command in (IPC_STAT, SHM_STAT, SHM_STAT_ANY):
        if command != SHM_STAT_ANY and not segment.permits(t.creds, 0o444):
            return -EACCES
        try:
            t.write(addr, status(t, segment))
        except MemFault:
            return -EFAULT
        return 0 if command == IPC_STAT else segment.id
    owner = segment.owned_by(t.creds)
    if command in (SHM_LOCK, SHM_UNLOCK):
        if not t.creds.capable(CAP_IPC_LOCK) and (not owner or command == SHM_LOCK and not t.rlimit(RLIMIT_MEMLOCK)):
            return -EPERM
        segment.mode = segment.mode | shm.SHM_LOCKED if command == SHM_LOCK else segment.mode & ~shm.SHM_LOCKED
        return 0
    if not owner and not t.creds.capable(CAP_SYS_ADMIN):
        return -EPERM
    if command == IPC_RMID:
        segment.remove()
        return 0
    _, segment.uid, segment.gid, _, _, mode, *_ = SHMID_DS.unpack(new)
    segment.mode = segment.mode & ~0o777 | mode & 0o777
    segment.ctime = int(time())
    return 0
