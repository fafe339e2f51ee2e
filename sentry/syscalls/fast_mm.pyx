"""Fast twins of sys_mm.py: private anonymous memory of a process with one thread, away from code.

The stub carries the operation out on its way back to the guest and speaks up only if it fails (mm/manager.py: begin).
"""

from sentry.core.guest cimport SENT, SLOW, GuestThread
from sentry.kernel.task cimport Task
from sentry.mm.manager cimport MM, Pending
from sentry.mm.vma cimport VMA
from sentry.syscalls.fast cimport fast

from sentry.mm import manager
from sentry.platform import base
from sentry.syscalls.fileio import read_now

cdef enum:
    EINVAL = 22
    PROT_WRITE = 2
    PROT_EXEC = 4
    MAP_PRIVATE_ANON = 0x22
    MAP_NORESERVE = 0x4000
    MAP_STACK = 0x20000
    MADV_DONTNEED = 4
    LOCKED = 2  # VMA.flags
    NORESERVE = 4
    COPIED = 128
    RLIMIT_DATA = 2
    RLIMIT_AS = 9
    MOST_AREAS = 60000  # well below manager.MAX_MAP_COUNT, which the plain handler knows

cdef int OP_MMAP_ANON = base.OP_MMAP_ANON, OP_MUNMAP = base.OP_MUNMAP
cdef int OP_MPROTECT = base.OP_MPROTECT, OP_MADVISE = base.OP_MADVISE, OP_ZERO = base.OP_ZERO
cdef long long LIMIT = base.TASK_LIMIT, LOWEST = manager.MMAP_MIN_ADDR
cdef object UNLIMITED = 1 << 62


cdef MM alone(Task task):
    """The address space, if nobody else uses it and nothing is under way in it; else None."""
    if type(task.mm) is not MM:
        return None
    cdef MM mm = <MM?>task.mm
    if mm.users != 1 or mm.first or mm.pending or mm.queue or mm.locked_future:
        return None
    return mm


cdef bint unlimited(Task task) except -1:
    cdef list limits = task.tg.rlimits
    return limits[RLIMIT_AS][0] >= UNLIMITED and limits[RLIMIT_DATA][0] >= UNLIMITED


cdef bint hidden(MM mm, long long start, long long end) except -1:
    """Whether a page that only we know of lies in there (mm/patches.py)."""
    cdef long long page
    if mm.patches is None:
        return False
    for at in <dict?>mm.patches.pages:
        page = at
        if page < end and start < page + 4096:
            return True
    return False


cdef int send(Task task, MM mm, GuestThread thread, int op, long long start, long long end, int a, bint noreserve,
              long value, bint fresh) except -1:
    mm.silent = Pending(task, start, end, [(op, start, end - start)], value, (start, end) if fresh else None, None)
    return thread.operate(op, <unsigned long long>start, <unsigned long long>(end - start), a, noreserve, value)


cdef int enter(MM mm, long long start, long long end, int prot, object name, int flags) except -1:
    mm.total += end - start
    if mm.total > mm.peak_total:
        mm.peak_total = mm.total
    mm.vmas.insert(VMA(start, end, prot, False, None, 0, name, True, flags))
    return 0


cdef long mmap(object task_, GuestThread thread) except? -9001:
    cdef Task task = <Task?>task_
    cdef MM mm
    cdef unsigned long long length = thread.a[1], flags = thread.a[3]
    cdef int prot = <int>(thread.a[2] & 7)
    cdef bint noreserve = flags & MAP_NORESERVE != 0
    cdef long long addr
    if thread.a[0] or flags & ~<unsigned long long>(MAP_NORESERVE | MAP_STACK) != MAP_PRIVATE_ANON:
        return SLOW
    if thread.a[5] or length == 0 or length > <unsigned long long>LIMIT - 4096:
        return SLOW
    mm = alone(task)
    if mm is None or not unlimited(task) or len(mm.vmas.areas) > MOST_AREAS:
        return SLOW
    length = (length + 4095) & ~<unsigned long long>4095
    found = mm.vmas.gap_below(mm.mmap_top, LOWEST, length)
    if found is None:
        return SLOW
    addr = found
    if hidden(mm, addr, addr + <long long>length):
        return SLOW
    enter(mm, addr, addr + <long long>length, prot, b"", NORESERVE if noreserve else 0)
    send(task, mm, thread, OP_MMAP_ANON, addr, addr + <long long>length, prot, noreserve, addr, True)
    return SENT


cdef long munmap(object task_, GuestThread thread) except? -9001:
    cdef Task task = <Task?>task_
    cdef MM mm
    cdef VMA area
    cdef unsigned long long addr = thread.a[0], length = thread.a[1]
    cdef long long start, end, gone = 0
    if addr & 4095 or length == 0 or addr > <unsigned long long>LIMIT or length > <unsigned long long>LIMIT - addr:
        return -EINVAL
    mm = alone(task)
    if mm is None:
        return SLOW
    start = <long long>addr
    end = <long long>(addr + ((length + 4095) & ~<unsigned long long>4095))
    if hidden(mm, start, end):
        return SLOW
    for found in <list>mm.vmas.within(start, end):
        area = <VMA?>found
        if area.prot & PROT_EXEC:
            return SLOW
        gone += min(end, area.end) - max(start, area.start)
    if not gone:
        return 0
    mm.total -= gone
    mm.vmas.cut(start, end)
    send(task, mm, thread, OP_MUNMAP, start, end, 0, False, 0, False)
    return SENT


cdef long mprotect(object task_, GuestThread thread) except? -9001:
    cdef Task task = <Task?>task_
    cdef MM mm
    cdef VMA area
    cdef unsigned long long addr = thread.a[0], length = thread.a[1], prot = thread.a[2]
    cdef long long start, end
    if addr & 4095 or length == 0 or addr >= <unsigned long long>LIMIT or length > <unsigned long long>LIMIT - addr or prot & ~3ull:
        return SLOW
    mm = alone(task)
    if mm is None:
        return SLOW
    start = <long long>addr
    end = <long long>(addr + ((length + 4095) & ~<unsigned long long>4095))
    area = mm.vmas.find(start)
    if area is None or area.end < end or area.prot & PROT_EXEC or (prot & PROT_WRITE and not area.may_write):
        return SLOW
    mm.vmas.split(start)
    mm.vmas.split(end)
    area = mm.vmas.find(start)
    area.protect(<int>prot)
    mm.vmas.join(start, end)
    send(task, mm, thread, OP_MPROTECT, start, end, <int>prot, False, 0, False)
    return SENT


cdef long brk(object task_, GuestThread thread) except? -9001:
    cdef Task task = <Task?>task_
    cdef MM mm = alone(task)
    cdef unsigned long long wanted = thread.a[0]
    cdef long long new, old_end, new_end
    if mm is None:
        return SLOW
    if wanted < <unsigned long long>mm.brk_start:
        return mm.brk
    if wanted >= <unsigned long long>mm.mmap_top:
        return SLOW
    new = <long long>wanted
    old_end = (mm.brk + 4095) & ~4095
    new_end = (new + 4095) & ~4095
    if new_end == old_end:
        mm.brk = new
        return new
    # Shrinking is rare, and what is there by then may be anything.
    if new_end < old_end or new_end > mm.mmap_top or not unlimited(task) or hidden(mm, old_end, new_end) or mm.vmas.within(old_end, new_end):
        return SLOW
    enter(mm, old_end, new_end, 3, b"[heap]", 0)
    mm.brk = new
    # As in the plain handler, a break that the host refuses is not undone.
    send(task, mm, thread, OP_MMAP_ANON, old_end, new_end, 3, False, new, False)
    return SENT


cdef long madvise(object task_, GuestThread thread) except? -9001:
    cdef Task task = <Task?>task_
    cdef MM mm
    cdef VMA area
    cdef unsigned long long addr = thread.a[0], length = thread.a[1]
    cdef long long start, end
    if <int>thread.a[2] != MADV_DONTNEED or addr & 4095 or length == 0:
        return SLOW
    if addr >= <unsigned long long>LIMIT or length > <unsigned long long>LIMIT - addr:
        return SLOW
    mm = alone(task)
    if mm is None:
        return SLOW
    start = <long long>addr
    end = <long long>(addr + ((length + 4095) & ~<unsigned long long>4095))
    area = mm.vmas.find(start)
    if area is None or area.end < end or area.flags & (LOCKED | COPIED) or area.prot & PROT_EXEC:
        return SLOW
    send(task, mm, thread, OP_MADVISE, start, end, MADV_DONTNEED, False, 0, False)
    return SENT


# ---------------------------------------------------------------- zeros for a reader


cdef class Partly:
    """The plain read, where the stub could not write the whole buffer."""
    cdef Task task
    cdef object file
    cdef object addr, count

    def __call__(self, error):
        self.task.kernel.back_to_guest(self.task, read_now(self.task, self.file, [(self.addr, self.count)], self.count, None))


cdef long read_zeros(Task task, object file, GuestThread thread, unsigned long long addr, unsigned long long count) except? -9001:
    """A read of `count` zeros (below the guest's limit) from `file`: the caller's own stub writes them."""
    cdef MM mm = alone(task)
    cdef Partly partly
    if mm is None:
        return SLOW
    partly = Partly.__new__(Partly)
    partly.task, partly.file, partly.addr, partly.count = task, file, addr, count
    mm.silent = Pending(task, addr, addr + count, [(OP_ZERO, addr, count)], count, None, partly)
    thread.operate(OP_ZERO, addr, count, 0, False, <long>count)
    return SENT


fast("mmap", mmap)
fast("munmap", munmap)
fast("mprotect", mprotect)
fast("brk", brk)
fast("madvise", madvise)
