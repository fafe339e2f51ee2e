"""mmap munmap mprotect mremap madvise msync mincore mlock brk and kin."""

import os

from sentry.abi.errno import (
    EACCES,
    EBADF,
    EFAULT,
    EINVAL,
    ENOMEM,
    EBUSY,
    EOPNOTSUPP,
    ESRCH,
    EOVERFLOW,
    EPERM,
    ENOSYS,
)
from sentry.abi.fs import MS_NOEXEC
from sentry.core.creds import CAP_IPC_LOCK
from sentry.core.syscall import PARTIAL, UNSUPPORTED, Fd, Flags, Int, Off, Ptr, Size, ULong, syscall
from sentry.mm.manager import MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_TYPE, page_up
from sentry.mm.vma import PROT_EXEC, PROT_WRITE, VMA, SharedAnon
from sentry.platform.base import OP_MADVISE, OP_MMAP_FD, PAGE, TASK_LIMIT
from sentry.vfs.file import O_ACCMODE, O_PATH, O_RDWR, O_WRONLY

MAP_ANONYMOUS, MAP_HUGETLB, MAP_FIXED = 0x20, 0x40000, 0x10
PROT_ALL = 0xF  # READ WRITE EXEC SEM
PROT_GROWSDOWN, PROT_GROWSUP = 0x01000000, 0x02000000
RLIMIT_MEMLOCK = 8
# The flags that mmap(2) has always had: all that MAP_SHARED_VALIDATE accepts here.
LEGACY_MAP_MASK = 0x1 | 0x2 | 0x10 | 0x20 | 0x40 | 0x100 | 0x800 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x40000


@syscall("mmap", 9, (ULong, Size, ULong, ULong, Fd, Off))
def sys_mmap(t, addr, length, prot, flags, fd, offset):
    if offset & (PAGE - 1):
        return -EINVAL
    file = None
    if not flags & MAP_ANONYMOUS:
        file = t.files.get(fd)
        if file is None or file.flags & O_PATH:
            return -EBADF
    elif flags & MAP_HUGETLB:
        return -ENOMEM  # no huge page pool, as on a machine with nr_hugepages = 0
    if length == 0:
        return -EINVAL
    length = page_up(length)
    if length == 0 or length > TASK_LIMIT:
        return -ENOMEM
    kind = flags & MAP_TYPE
    prot &= 7
    if file is None:
        if kind not in (MAP_SHARED, MAP_PRIVATE):
            return -EINVAL
        return t.mm.mmap(t, addr, length, prot, flags, None, 0)
    if offset < 0 or offset + length >= 1 << 63:
        return -EOVERFLOW
    if kind == MAP_SHARED_VALIDATE and flags & ~LEGACY_MAP_MASK:
        return -EOPNOTSUPP
    mode = file.flags & O_ACCMODE
    if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
        if prot & PROT_WRITE and mode != O_RDWR:
            return -EACCES
    elif kind != MAP_PRIVATE:
        return -EINVAL
    if mode == O_WRONLY:
        return -EACCES
    if prot & 4 and file.path is not None and file.path.mount.flags & MS_NOEXEC:
        return -EPERM
    if file.inode is not None and file.inode.mode & 0o170000 == 0o20000 and file.inode.rdev == 0x105:
        return t.mm.mmap(t, addr, length, prot, flags | MAP_ANONYMOUS, None, 0)  # /dev/zero
    return t.mm.mmap(t, addr, length, prot, flags, file, offset)


@syscall("munmap", 11, (ULong, Size))
def sys_munmap(t, addr, length):
    if addr & (PAGE - 1) or length == 0 or addr > TASK_LIMIT or length > TASK_LIMIT - addr:
        return -EINVAL
    return t.mm.munmap(t, addr, page_up(length))


@syscall("mprotect", 10, (ULong, Size, ULong))
def sys_mprotect(t, addr, length, prot):
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or addr & (PAGE - 1):
        return -EINVAL
    if length == 0:
        return 0
    length = page_up(length)
    if length == 0 or addr + length > 1 << 64:
        return -ENOMEM
    if prot & ~PROT_ALL:
        return -EINVAL
    if grows:
        area = t.mm.find(addr)
        if area is None:
            return -ENOMEM
        if grows == PROT_GROWSUP or not area.flags & VMA.GROWSDOWN:
            return -EINVAL
        length = addr + length - area.start
        addr = area.start
    return t.mm.mprotect(t, addr, length, prot & 7)


@syscall("mremap", 25, (ULong, Size, Size, ULong, ULong))
def sys_mremap(t, old, old_len, new_len, flags, new_addr):
    maymove, fixed, dontunmap = flags & 1, flags & 2, flags & 4
    if flags & ~7 or (fixed and not maymove) or (dontunmap and not maymove):
        return -EINVAL
    if old & (PAGE - 1) or new_len == 0:
        return -EINVAL
    old_len, new_len = page_up(old_len), page_up(new_len)
    if not new_len or new_len > TASK_LIMIT or old_len > TASK_LIMIT:
        return -EINVAL
    if fixed:
        if new_addr & (PAGE - 1) or new_addr > TASK_LIMIT - new_len:
            return -EINVAL
        if old < new_addr + new_len and new_addr < old + old_len:
            return -EINVAL
    return t.mm.mremap(t, old, old_len, new_len, flags, new_addr)


@syscall("brk", 12, (ULong,))
def sys_brk(t, addr):
    return t.mm.set_brk(t, addr)


MADV_DONTNEED, MADV_REMOVE, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 4, 9, 8, 14, 15
# Advice that sets or clears a bit of the area.
MADV_BITS = {
    10: (VMA.DONTFORK, True), 11: (VMA.DONTFORK, False),
    18: (VMA.WIPEONFORK, True), 19: (VMA.WIPEONFORK, False),
    16: (VMA.DONTDUMP, True), 17: (VMA.DONTDUMP, False),
}  # fmt: skip
# NORMAL RANDOM SEQUENTIAL WILLNEED MERGEABLE UNMERGEABLE COLD PAGEOUT POPULATE_READ POPULATE_WRITE COLLAPSE:
# hints about cost, which change nothing that a program can see.
MADV_HINTS = frozenset((0, 1, 2, 3, 12, 13, 20, 21, 22, 23, 25))


@syscall("madvise", 28, (ULong, Size, Int), level=PARTIAL, note="hints about cost are accepted and ignored")
def sys_madvise(t, addr, length, advice):
    acts = advice in (MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_REMOVE)
    if not acts and advice not in MADV_BITS and advice not in MADV_HINTS:
        return -EINVAL
    if addr & (PAGE - 1):
        return -EINVAL
    size = page_up(length)
    if length and not size or addr + size > 1 << 64:
        return -EINVAL
    if size == 0:
        return 0
    end = addr + size
    vmas = t.mm.vmas
    areas = vmas.within(addr, end)
    # Linux works through the areas there are and reports a hole only afterwards.
    result = 0 if vmas.covered(addr, end) else -ENOMEM
    ops = []
    for area in areas:
        start, stop = max(addr, area.start), min(end, area.end)
        if advice == MADV_DONTNEED or advice == MADV_FREE:
            if area.flags & VMA.LOCKED or (advice == MADV_FREE and area.backing is not None):
                result = -EINVAL
                break
            if area.flags & VMA.COPIED:
                fd = t.mm.host_fd(t, area)
                if fd < 0:
                    return fd
                ops.append((OP_MMAP_FD, start, stop - start, area.prot, False, fd, area.offset + start - area.start))
            else:
                ops.append((OP_MADVISE, start, stop - start, advice))
            if area.prot & PROT_EXEC and t.mm.patches is not None:
                t.mm.patches.forget(start, stop)
        elif advice == 10 and area.prot & PROT_EXEC and t.mm.patches is not None:
            # The child shall have no jump to a trampoline that it does not have, nor the other way round.
            ops += t.mm.patches.reprotect(start, stop, t.mm.users > 1)
        elif advice == MADV_REMOVE:
            result = remove(t, area, start, stop) or result
            if result not in (0, -ENOMEM):
                break
        elif acts:
            ops.append((OP_MADVISE, start, stop - start, advice))
        elif advice == 18 and (area.shared or area.backing is not None):
            return -EINVAL
    if advice in MADV_BITS and areas:
        bit, on = MADV_BITS[advice]
        vmas.split(addr)
        vmas.split(end)
        for area in vmas.within(addr, end):
            area.flags = area.flags | bit if on else area.flags & ~bit
        vmas.join(addr, end)
    if ops:
        return t.mm.submit(t, addr, end, ops, result)
    return result


def remove(t, area, start, stop) -> int:
    """MADV_REMOVE: punch a hole into the object behind a shared, writable area."""
    if area.flags & VMA.LOCKED or area.backing is None:
        return -EINVAL
    if not area.shared or not area.may_write:
        return -EACCES
    offset = area.offset + start - area.start
    if isinstance(area.backing, SharedAnon):
        os.pwrite(area.backing.fd, bytes(stop - start), offset)
        return 0
    return area.backing.fallocate(t, 3, offset, stop - start)  # PUNCH_HOLE | KEEP_SIZE


@syscall("msync", 26, (ULong, Size, Int))
def sys_msync(t, addr, length, flags):
    if flags & ~7 or addr & (PAGE - 1) or flags & 5 == 5:
        return -EINVAL
    size = page_up(length)
    if addr + size > 1 << 64 or length and not size:
        return -ENOMEM
    end = addr + size
    for area in t.mm.vmas.within(addr, end):
        if flags & 2 and area.flags & VMA.LOCKED:
            return -EBUSY
        if flags & 4 and area.shared and area.backing is not None and not isinstance(area.backing, SharedAnon):
            error = area.backing.fsync(t, False)
            if error < 0:
                return error
    return 0 if t.mm.vmas.covered(addr, end) else -ENOMEM


@syscall("mincore", 27, (ULong, Size, Ptr), level=PARTIAL, note="every mapped page counts as resident")
def sys_mincore(t, addr, length, vec):
    if addr & (PAGE - 1):
        return -EINVAL
    if addr + length > TASK_LIMIT:
        return -ENOMEM
    pages = page_up(length) // PAGE
    if not t.mm.vmas.covered(addr, addr + pages * PAGE):
        return -ENOMEM
    t.write(vec, b"\1" * pages)
    return 0


def lock(t, addr, length, on):
    """mlock and munlock: memory stays where the host keeps it; only the account is kept (mlock(2))."""
    start = addr & -PAGE
    end = page_up(addr + length)
    if end < start or addr + length >= 1 << 64:
        return -EINVAL
    if on:
        limit = t.rlimit(RLIMIT_MEMLOCK)
        if not t.creds.capable(CAP_IPC_LOCK):
            if limit == 0:
                return -EPERM
            held = sum(a.end - a.start for a in t.mm.vmas if a.flags & VMA.LOCKED)
            held += sum(min(a.end, end) - max(a.start, start) for a in t.mm.vmas.within(start, end) if not a.flags & VMA.LOCKED)
            if held > limit:
                return -ENOMEM
    vmas = t.mm.vmas
    complete = vmas.covered(start, end)
    vmas.split(start)
    vmas.split(end)
    for area in vmas.within(start, end):
        area.flags = area.flags | VMA.LOCKED if on else area.flags & ~VMA.LOCKED
    vmas.join(start, end)
    return 0 if complete or start == end else -ENOMEM


@syscall("mlock", 149, (ULong, Size), level=PARTIAL, note="accounted, not pinned on the host")
def sys_mlock(t, addr, length):
    return lock(t, addr, length, True)


@syscall("mlock2", 325, (ULong, Size, Flags), level=PARTIAL, note="accounted, not pinned on the host")
def sys_mlock2(t, addr, length, flags):
    if flags & ~1:
        return -EINVAL
    return lock(t, addr, length, True)


@syscall("munlock", 150, (ULong, Size))
def sys_munlock(t, addr, length):
    return lock(t, addr, length, False)


@syscall("mlockall", 151, (Flags,), level=PARTIAL, note="accounted, not pinned on the host")
def sys_mlockall(t, flags):
    if not flags or flags & ~7 or flags == 4:
        return -EINVAL
    if not t.creds.capable(CAP_IPC_LOCK):
        if t.rlimit(RLIMIT_MEMLOCK) == 0:
            return -EPERM
        if flags & 1 and t.mm.total > t.rlimit(RLIMIT_MEMLOCK):
            return -ENOMEM
    if flags & 1:
        for area in t.mm.vmas:
            area.flags |= VMA.LOCKED
    t.mm.locked_future = bool(flags & 2)
    return 0


@syscall("munlockall", 152)
def sys_munlockall(t):
    for area in t.mm.vmas:
        area.flags &= ~VMA.LOCKED
    t.mm.locked_future = False
    return 0


@syscall("remap_file_pages", 216, (), level=UNSUPPORTED, note="deprecated since Linux 3.16")
def sys_remap_file_pages(t):
    return -ENOSYS


@syscall("pkey_alloc", 330, (), level=UNSUPPORTED, note="no protection keys")
def sys_pkey_alloc(t):
    return -ENOSYS


@syscall("pkey_free", 331, (), level=UNSUPPORTED, note="no protection keys")
def sys_pkey_free(t):
    return -ENOSYS


@syscall("pkey_mprotect", 329, (ULong, Size, ULong, Int), level=PARTIAL, note="only without a key (-1)")
def sys_pkey_mprotect(t, addr, length, prot, pkey):
    if pkey != -1:
        return -EINVAL
    return sys_mprotect(t, addr, length, prot)


@syscall("process_vm_readv", 310, (Int, Ptr, ULong, Ptr, ULong, ULong))
def sys_process_vm_readv(t, pid, local, local_n, remote, remote_n, flags):
    return process_vm(t, pid, local, local_n, remote, remote_n, flags, False)


@syscall("process_vm_writev", 311, (Int, Ptr, ULong, Ptr, ULong, ULong))
def sys_process_vm_writev(t, pid, local, local_n, remote, remote_n, flags):
    return process_vm(t, pid, local, local_n, remote, remote_n, flags, True)


def iovecs(t, addr, count):
    """[(base, length)] of an iovec array."""
    data = t.read(addr, 16 * count) if count else b""
    return [(int.from_bytes(data[i : i + 8], "little"), int.from_bytes(data[i + 8 : i + 16], "little")) for i in range(0, len(data), 16)]


def process_vm(t, pid, local, local_n, remote, remote_n, flags, write):
    if flags or local_n > 1024 or remote_n > 1024:
        return -EINVAL
    mine, theirs = iovecs(t, local, local_n), iovecs(t, remote, remote_n)
    if any(n >= 1 << 63 for _, n in mine + theirs):
        return -EINVAL
    other = t.tg.pids.tasks.get(pid)
    if other is None or other.mm is None:
        return -ESRCH
    if not may_access(t, other):
        return -EPERM
    total = 0
    mine = [[a, n] for a, n in mine if n]
    for addr, left in theirs:
        while left and mine:
            n = min(left, mine[0][1], 1 << 20)
            if write:
                data = t.read_upto(mine[0][0], n)
                done = other.mm.aspace.write_upto(addr, data) if data else 0
            else:
                data = other.mm.peek(addr, n)
                done = t.write_upto(mine[0][0], data) if data else 0
            total += done
            if done < n:
                return total or -EFAULT
            addr += n
            left -= n
            mine[0][0] += n
            mine[0][1] -= n
            if not mine[0][1]:
                mine.pop(0)
    return total


def may_access(t, other) -> bool:
    """ptrace(2), PTRACE_MODE_ATTACH_REALCREDS: same ids and dumpable, or CAP_SYS_PTRACE."""
    if t.tg is other.tg or t.creds.capable(19):
        return True
    c, o = t.creds, other.creds
    same = c.uid == o.uid == o.euid == o.suid and c.gid == o.gid == o.egid == o.sgid
    return same and other.dumpable == 1 and not o.permitted & ~c.permitted
