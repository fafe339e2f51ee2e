"""MM: one guest address space (struct mm_struct)."""

import os
from bisect import bisect_right

from sentry.abi.errno import EACCES, EAGAIN, EEXIST, EFAULT, EINVAL, EIO, ENOMEM, EPERM
from sentry.core import leaks, log
from sentry.core.result import NO_RETURN
from sentry.mm.vma import PROT_EXEC, PROT_READ, PROT_WRITE, VMA, SharedAnon, VMAList
from sentry.platform.base import (
    OP_MMAP_ANON,
    OP_MMAP_FD,
    OP_MPROTECT,
    OP_MREMAP,
    OP_MUNMAP,
    OP_WRITE,
    PAGE,
    TASK_LIMIT,
    Kept,
    MemFault,
)

MMAP_MIN_ADDR = 65536
STACK_GAP = 1 << 20  # kept free below an area that grows down (mm/mmap.c:stack_guard_gap)
STACK_SLACK = 1 << 14  # below the stack pointer: red zone, a signal frame
MAX_MAP_COUNT = 65530
# Bytes of a private mapping of a file that are rather copied: a mapping of a file costs an approval (some 60 us), and those
# that are writable are mostly written at once.
COPY_MOST = 32768
RLIMIT_DATA, RLIMIT_STACK, RLIMIT_AS = 2, 3, 9
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_TYPE = 1, 2, 3, 15


def page_up(n: int) -> int:
    return (n + PAGE - 1) & -PAGE


def copied(task, addr, length, prot, file, offset, steady) -> list:
    """Operations that make anonymous memory with the file's bytes at addr, in place of a private mapping of COPY_MOST
    bytes at most; [] where that could show: the file may change (`steady`: as nobody expects to see), or is too short.
    The area is to be flagged COPIED."""
    inode = file.inode
    if not (inode.constant() is not None or steady and prot & PROT_WRITE) or inode.size <= offset + length - PAGE:
        return []
    data = b""
    while len(data) < length:
        part = inode.read_at(offset + len(data), length - len(data))
        if isinstance(part, int):
            return []
        if not part:
            break
        data += part
    ops = [(OP_MMAP_ANON, addr, length, prot | PROT_WRITE, False), (OP_WRITE, addr, data)]
    if not prot & PROT_WRITE:
        ops.append((OP_MPROTECT, addr, length, prot))
    return ops


class Pending:
    """Memory operations under way in a thread: what they touch, what the call returns."""

    __slots__ = ("task", "start", "end", "ops", "value", "fresh", "then")

    def __init__(self, task, start, end, ops, value, fresh, then):
        self.task = task
        self.start = start
        self.end = end
        self.ops = ops
        self.value = value
        self.fresh = fresh  # (start, end) of an area just entered, which goes again when an operation fails; or None
        self.then = then  # called as then(errno) instead of returning to the guest


VDSO = []  # address and content of the vDSO, which is the same for all guests: set once, empty if there is none


class MM:
    def __init__(self, aspace=None):
        self.aspace = aspace  # platform AddressSpace
        self.users = 1  # tasks that share it
        self.vmas = VMAList()
        self.brk_start = self.brk = 0
        self.mmap_top = TASK_LIMIT - (1 << 30)
        self.total = 0  # bytes of all areas (RLIMIT_AS)
        self.locked_future = False
        self.pending = []  # Pending objects not yet acknowledged
        self.silent = None  # the Pending that a single-threaded guest carries out without acknowledgement
        self.queue = []  # Pending objects that wait for an overlapping one
        self.exe = None  # vfs Path of the program, referenced
        self.start_stack = self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.auxv = b""
        self.peak_total = 0
        self.membarrier = 0  # commands registered with membarrier(2)
        self.patches = None  # mm.patches.Patches, where call sites are rewritten
        self.first = []  # operations that must precede the next ones submitted
        leaks.add("mm")

    # -- life
    def get(self) -> "MM":
        self.users += 1
        return self

    def drop(self) -> None:
        """A task leaves; with the last one the host process ends."""
        self.users -= 1
        if self.users:
            return
        if self.patches is not None:
            self.patches.ended()
        vmas, self.vmas = self.vmas, VMAList()
        for area in vmas:
            area.drop()
        if self.exe is not None:
            self.exe.decref()
            self.exe = None
        if self.aspace is not None:
            self.aspace.kill()
        leaks.drop("mm")

    def fork(self, aspace) -> "MM":
        """The child's copy after the platform has forked the host process."""
        new = MM(aspace)
        vmas = new.vmas
        for area in self.vmas.areas:
            if not area.flags & VMA.DONTFORK:
                twin = area.part(area.start, area.end)
                twin.flags &= ~VMA.LOCKED
                vmas.areas.append(twin)
                vmas.starts.append(twin.start)
        new.brk_start, new.brk, new.mmap_top = self.brk_start, self.brk, self.mmap_top
        new.total, new.peak_total, new.auxv, new.start_stack = self.total, self.peak_total, self.auxv, self.start_stack
        new.arg_start, new.arg_end, new.env_start, new.env_end = self.arg_start, self.arg_end, self.env_start, self.env_end
        new.start_code, new.end_code, new.start_data, new.end_data = self.start_code, self.end_code, self.start_data, self.end_data
        if self.exe is not None:
            new.exe = self.exe.incref()
        if self.patches is not None:
            new.patches = self.patches.copy()
            for area in self.vmas.areas:
                if area.flags & VMA.DONTFORK:
                    new.patches.forget(area.start, area.end)
        return new

    def fork_ops(self) -> list:
        """What a forked child must do to its memory before it runs (MADV_DONTFORK, MADV_WIPEONFORK)."""
        ops = []
        for area in self.vmas:
            if area.flags & VMA.DONTFORK:
                ops.append((OP_MUNMAP, area.start, area.end - area.start))
            elif area.flags & VMA.WIPEONFORK:
                ops.append((OP_MMAP_ANON, area.start, area.end - area.start, area.prot, False))
        return ops

    # -- asking
    def find(self, addr: int) -> "VMA | None":
        return self.vmas.find(addr)

    def futex_key(self, addr: int) -> tuple:
        """Identity of the futex word at addr for FUTEX_* without PRIVATE: shared mappings are known by their
        object and offset, everything else by this address space (futex(2))."""
        area = self.vmas.find(addr)
        if area is not None and area.shared:
            backing = area.backing
            inode = getattr(backing, "inode", None)
            return (id(inode if inode is not None else backing), area.offset + addr - area.start)
        return (id(self), addr)

    # -- carrying out
    def submit(self, task, start, end, ops, value=None, fresh=None, then=None):
        """Carry out memory operations on [start, end) in the thread of `task`, which is in the kernel; the
        guest then goes on with `value` (or `then(errno)` is called). Returns NO_RETURN."""
        if self.first:
            ops, self.first = self.first + ops, []
            start = min(start, min(op[1] for op in ops))
            end = max(end, max(op[1] + (op[2] if op[0] in (OP_MMAP_FD, OP_MUNMAP) else PAGE) for op in ops))
        item = Pending(task, start, end, ops, value, fresh, then)
        for other in self.pending:
            if other.start < end and start < other.end:
                self.queue.append(item)
                return NO_RETURN
        self.begin(item)
        return NO_RETURN

    def lay_out(self, task, thread, ops, then) -> None:
        """The first operations of a fresh address space, in `thread`, which will be the task's: `then` as in submit."""
        self.pending.append(Pending(task, 0, 1 << 63, ops, None, None, then))
        thread.run_ops(ops)

    def begin(self, item) -> None:
        task = item.task
        if self.users > 1 or item.then is not None or task.work or task.ptrace is not None:
            self.pending.append(item)
            task.thread.run_ops(item.ops)
        else:  # nobody else can meet half-done work, so only a failure needs to be heard of
            self.silent = item
            task.thread.run_ops(item.ops, item.value)

    def ops_finished(self, task, done: int, errno: int) -> None:
        """EV_OPS: the operations of `task` are over."""
        item = next((p for p in self.pending if p.task is task), None)
        silent = item is None
        if silent:
            item = self.silent
        if errno == EFAULT and self.halved(item, done):
            task.thread.run_ops(item.ops, item.value if silent else None)
            return
        if not silent:
            self.pending.remove(item)
        if errno:
            log.info(f"memory operation {item.ops[done]} of task {task.tid} failed: errno {errno}")
            if item.fresh is not None:
                self.unmap(*item.fresh)
        for waiting in tuple(self.queue):
            if not any(p.start < waiting.end and waiting.start < p.end for p in self.pending):
                self.queue.remove(waiting)
                if not waiting.task.dead:
                    self.begin(waiting)
        if item.then is not None:
            item.then(errno)
        else:
            task.kernel.back_to_guest(task, -errno if errno else item.value)

    def halved(self, item, done: int) -> bool:
        """A move that the host refuses because what is one area here is several there (one was moved and then grew:
        vma_merge wants the offsets to go on, which a move does not change) is tried in two parts. False: it is not one."""
        op = item.ops[done]
        if op[0] != OP_MREMAP or op[2] <= PAGE:
            return False
        old, old_len, new_len, new = op[1:5]
        half = page_up(old_len // 2)
        parts = [(OP_MREMAP, old, half, half, new), (OP_MREMAP, old + half, old_len - half, new_len - half, new + half)]
        item.ops = parts + item.ops[done + 1 :]
        return True

    def forget(self, task) -> None:
        """The task dies while operations of its are under way."""
        self.pending = [p for p in self.pending if p.task is not task]
        self.queue = [p for p in self.queue if p.task is not task]

    # -- changing
    def room(self, task, length: int, data: bool) -> bool:
        """Would `length` more bytes stay within RLIMIT_AS (and RLIMIT_DATA)."""
        if self.total + length > task.rlimit(RLIMIT_AS):
            return False
        if data and task.rlimit(RLIMIT_DATA) < 1 << 62:
            used = sum(a.end - a.start for a in self.vmas if not a.shared and a.prot & PROT_WRITE and not a.flags & VMA.GROWSDOWN)
            return used + length <= task.rlimit(RLIMIT_DATA)
        return True

    def map(self, area):
        """Enter an area into the list in place of whatever was there."""
        self.unmap(area.start, area.end)
        self.total += area.end - area.start
        self.peak_total = max(self.peak_total, self.total)
        self.vmas.insert(area)

    def unmap(self, start: int, end: int):
        code = 0
        for area in self.vmas.within(start, end):
            self.total -= min(end, area.end) - max(start, area.start)
            code |= area.prot & PROT_EXEC
        if self.patches is not None and (code or self.patches.pages):
            self.first += self.patches.gone(start, end, code, self.users > 1)
        self.vmas.cut(start, end)

    def free_range(self, length: int, below: "int | None" = None) -> "int | None":
        """Where a mapping without MAP_FIXED goes: the highest gap below the mmap base, or else above it."""
        addr = self.gap_below(below or self.mmap_top, MMAP_MIN_ADDR, length)
        if addr is None:
            addr = self.gap_below(TASK_LIMIT, MMAP_MIN_ADDR, length)
        return addr

    def gap_below(self, top: int, bottom: int, length: int) -> "int | None":
        """As VMAList.gap_below; pages that only we know of are not free."""
        while True:
            addr = self.vmas.gap_below(top, bottom, length)
            if addr is None or self.patches is None:
                return addr
            hidden = self.patches.in_hidden(addr, addr + length)
            if not hidden:
                return addr
            top = min(page.start for page in hidden)

    def gap_above(self, bottom: int, top: int, length: int) -> "int | None":
        """Lowest start of a free range of `length` bytes in [bottom, top)."""
        addr = page_up(bottom)
        while addr + length <= top:
            taken = self.vmas.within(addr, addr + length) or self.patches.in_hidden(addr, addr + length)
            if not taken:
                return addr
            last = taken[-1]
            addr = last.end if isinstance(last, VMA) else last.start + PAGE
        return None

    # -- reading and writing as the guest would see it
    def peek(self, addr: int, length: int) -> bytes:
        """As AddressSpace.read_upto, with the bytes of rewritten call sites as they were, and of the vDSO."""
        if addr >= TASK_LIMIT and VDSO:
            start, image = VDSO
            if start <= addr < start + len(image):
                return image[addr - start : addr - start + length]
        data = self.aspace.read_upto(addr, length)
        if self.patches is not None and (self.patches.sites or self.patches.images):
            data = self.patches.original(addr, data)
        return data

    def force(self, task, addr: int, data: bytes) -> int:
        """Write into the task's own private memory that is readable and not writable (mm/gup.c: FOLL_FORCE). How many
        bytes, up to the end of the area: the thread does it and returns from its call with that; or -EIO."""
        found = self.forced(addr, data)
        if isinstance(found, int):
            return found
        ops, start, end, count = found
        self.submit(task, start, end, ops, count)
        return count

    def forced(self, addr: int, data: bytes) -> "tuple | int":
        """What a forced write is made of: (operations, start and end of what they touch, bytes); or -EIO."""
        area = self.vmas.find(addr)
        if area is None or area.shared or area.prot & (PROT_READ | PROT_WRITE) != PROT_READ:
            return -EIO
        data = data[: area.end - addr]
        try:
            data = data[: len(self.peek(addr, len(data)))]  # a file may end before its mapping
        except MemFault:
            return -EIO
        start, end = addr & -PAGE, page_up(addr + len(data))
        area.flags |= VMA.ACCOUNT if area.backing is not None else 0
        if self.patches is not None and area.prot & PROT_EXEC:
            self.first += self.patches.reprotect(start, end, self.users > 1)
        ops = [
            (OP_MPROTECT, start, end - start, area.prot | PROT_WRITE),
            (OP_WRITE, addr, data),
            (OP_MPROTECT, start, end - start, area.prot),
        ]
        return ops, start, end, len(data)

    def mmap(self, task, addr, length, prot, flags, file, offset):
        """mmap(2) after the checks of its arguments; `file` is None for anonymous memory."""
        fixed = flags & 0x100010
        if fixed:
            if addr & (PAGE - 1):
                return -EINVAL
            if addr + length > TASK_LIMIT:
                return -ENOMEM
            if addr < MMAP_MIN_ADDR:
                return -EPERM
            if flags & 0x100000 and self.vmas.within(addr, addr + length):
                return -EEXIST
        else:
            hint = page_up(addr)
            if hint and MMAP_MIN_ADDR <= hint and hint + length <= TASK_LIMIT and not self.vmas.within(hint, hint + length):
                addr = hint
            else:
                below = 0x80000000 if flags & 0x40 else None
                room = 0
                # MAP_DENYWRITE, which means nothing to the kernel, marks the mappings of the dynamic linker.
                if flags & 0x800 and offset == 0 and file is not None and self.patches is not None and not self.patches.plain and not below:
                    room = task.kernel.patcher.room(task, file)
                addr = self.free_range(length + room, below)
                if addr is None:
                    return -ENOMEM
                addr += room
        shared = flags & MAP_TYPE in (MAP_SHARED, MAP_SHARED_VALIDATE)
        if not self.room(task, length, not shared and bool(prot & PROT_WRITE)):
            return -ENOMEM
        if len(self.vmas) >= MAX_MAP_COUNT:
            return -ENOMEM
        bits = (VMA.NORESERVE if flags & 0x4000 else 0) | (VMA.GROWSDOWN if flags & 0x100 else 0)
        if flags & 0x2000 or self.locked_future:
            bits |= VMA.LOCKED
        backing, may_write, fd = file, True, -1
        same = fixed == 0x10 and not shared and file is not None and self.untouched(addr, length, file, offset, bits)
        if file is not None:
            mapping = file.host_mapping(task, shared, bool(prot & PROT_WRITE))
            if isinstance(mapping, int):
                return mapping
            fd, may_write = mapping
            if shared and may_write and self.patches is not None:
                task.kernel.patcher.images.written(fd)
            may_write = may_write or not shared
        elif shared:
            try:
                fd = os.memfd_create("shared", os.MFD_CLOEXEC)
                os.ftruncate(fd, length)
            except OSError:
                if fd >= 0:
                    os.close(fd)
                return -ENOMEM
            backing = SharedAnon(fd, os.close)
        if backing is None:
            ops = [(OP_MMAP_ANON, addr, length, prot, bool(bits & VMA.NORESERVE))]
        elif same:
            ops = [(OP_MPROTECT, addr, length, prot)]
        else:
            ops = [(OP_MMAP_FD, addr, length, prot, shared and may_write, fd, offset)]
            if not shared and not prot & PROT_EXEC and length <= COPY_MOST and type(fd) is not Kept:
                # MAP_DENYWRITE as below: what the dynamic linker maps to be written is not to change with the file.
                copy = copied(task, addr, length, prot, file, offset, flags & 0x800)
                if copy:
                    ops = copy
                    bits |= VMA.COPIED
        area = VMA(addr, addr + length, prot, shared, backing, offset, b"", may_write, bits)
        self.map(area)
        low = addr
        if prot == 5 and not shared and file is not None and self.patches is not None and not self.patches.plain:
            patched = task.kernel.patcher.images.attach(self, fd, addr, length, offset)
            if patched:
                ops = patched
                low = ops[0][1]
        return self.submit(task, low, addr + length, ops, addr, (addr, addr + length))

    def untouched(self, addr, length, file, offset, flags) -> bool:
        """Is [addr, addr + length) a private mapping of just this part of the file, never writable? Then a change of its
        protection makes of it what a new mapping would, and needs no approval."""
        area = self.vmas.find(addr)
        return (
            area is not None
            and area.end >= addr + length
            and area.backing is file
            and not area.shared
            and area.offset + addr - area.start == offset
            and area.flags == flags
            and not area.prot & PROT_EXEC
        )

    def attach(self, task, addr, length, prot, memory, may_write, name):
        """Map a SharedAnon of somebody else's whole, at `addr` or, if that is 0, where there is room (shmat(2))."""
        if not addr:
            addr = self.free_range(length)
            if addr is None:
                return -ENOMEM
        if not self.room(task, length, False) or len(self.vmas) >= MAX_MAP_COUNT:
            return -ENOMEM
        self.map(VMA(addr, addr + length, prot, True, memory, 0, name, may_write))
        # Who may not write gets a private mapping, as nothing else keeps the guest from making it writable.
        ops = [(OP_MMAP_FD, addr, length, prot, may_write, memory.fd, 0)]
        return self.submit(task, addr, addr + length, ops, addr, (addr, addr + length))

    def detach(self, task, addr, length, memory):
        """Unmap what is left of an attachment at `addr`."""
        ops = []
        for area in tuple(self.vmas.within(addr, addr + length)):
            if area.backing is memory and area.start - area.offset == addr:
                ops.append((OP_MUNMAP, area.start, area.end - area.start))
                self.unmap(area.start, area.end)
        return self.submit(task, addr, addr + length, ops, 0)

    def munmap(self, task, addr, length):
        end = addr + length
        if not self.vmas.within(addr, end):
            return 0
        self.unmap(addr, end)
        return self.submit(task, addr, end, [(OP_MUNMAP, addr, length)], 0)

    def mprotect(self, task, addr, length, prot):
        """Changes area by area, as Linux: those before a hole or a refused area stay changed."""
        end = addr + length
        vmas = self.vmas
        at, error = addr, 0
        for area in vmas.within(addr, end):
            if area.start > at:
                break
            if prot & PROT_WRITE and not area.may_write:
                error = -EACCES
                break
            at = min(area.end, end)
        if at < end and not error:
            error = -ENOMEM
        if at > addr:
            vmas.split(addr)
            vmas.split(at)
            code = 0
            for area in vmas.within(addr, at):
                if area.prot != prot:
                    code |= area.prot | prot
                area.protect(prot)
            vmas.join(addr, at)
            if code & PROT_EXEC and self.patches is not None:
                self.first += self.patches.reprotect(addr, at, self.users > 1)
            return self.submit(task, addr, at, [(OP_MPROTECT, addr, at - addr, prot)], error)
        return error

    def set_brk(self, task, new):
        """brk(2): the new break, or the old one when it cannot be."""
        if new < self.brk_start:
            return self.brk
        old_end, new_end = page_up(self.brk), page_up(new)
        if new_end == old_end:
            self.brk = new
            return new
        if new_end < old_end:
            self.unmap(new_end, old_end)
            self.brk = new
            return self.submit(task, new_end, old_end, [(OP_MUNMAP, new_end, old_end - new_end)], new)
        length = new_end - old_end
        if new_end > self.mmap_top or self.vmas.within(old_end, new_end) or not self.room(task, length, True):
            return self.brk
        self.map(VMA(old_end, new_end, 3, name=b"[heap]"))
        self.brk = new
        return self.submit(task, old_end, new_end, [(OP_MMAP_ANON, old_end, length, 3, False)], new)

    def grow_down(self, task, addr: int) -> bool:
        """A guest's access below a MAP_GROWSDOWN area: extend it down to `addr` if the limits allow, in which case
        the thread has been sent to do so and back to its access (mm/mmap.c:expand_stack)."""
        vmas = self.vmas
        i = bisect_right(vmas.starts, addr)
        if i == len(vmas) or not vmas.areas[i].flags & VMA.GROWSDOWN:
            return False
        area = vmas.areas[i]
        start = addr & -PAGE
        limit = task.rlimit(RLIMIT_STACK)
        gap_end = vmas.areas[i - 1].end if i else MMAP_MIN_ADDR
        if area.end - start > limit or (start - gap_end < STACK_GAP and not (i and vmas.areas[i - 1].flags & VMA.GROWSDOWN)):
            return False
        length = area.start - start
        if not self.room(task, length, False):
            return False
        end = area.start
        self.map(VMA(start, end, area.prot, name=area.name, flags=area.flags))
        ops = [(OP_MMAP_ANON, start, length, area.prot, True)]
        self.submit(task, start, end, ops, then=lambda errno: self.grown(task, start, end, errno))
        return True

    def grown(self, task, start, end, errno) -> None:
        """The access is tried again; had the extension failed, it faults again and finds nothing to extend."""
        if errno:
            self.unmap(start, end)
            task.kernel.out_of_stack(task, end - 1)
        else:
            task.kernel.back_to_guest(task, None)

    def limit_stack(self, task, limit: int) -> int:
        """RLIMIT_STACK was lowered: the stack was reserved whole by exec, so what lies beyond the new limit and below
        the stack pointer goes. 0 or NO_RETURN."""
        area = self.vmas.find(self.start_stack)
        if area is None or area.name != b"[stack]" or task.mm is not self:
            return 0
        keep = max(page_up(min(limit, area.end)), PAGE)
        start = min(area.end - keep, (task.thread.regs.rsp - STACK_SLACK) & -PAGE, self.start_stack & -PAGE)
        if start <= area.start:
            return 0
        low = area.start
        self.unmap(low, start)
        return self.submit(task, low, start, [(OP_MUNMAP, low, start - low)], 0)

    def mremap(self, task, old, old_len, new_len, flags, new_addr):
        """mremap(2) after the checks of its arguments; lengths are page-rounded."""
        maymove, fixed, dontunmap = flags & 1, flags & 2, flags & 4
        area = self.vmas.find(old)
        if area is None:
            return -EFAULT
        if old_len == 0:
            if not area.shared or not maymove:
                return -EINVAL
        elif old + old_len > area.end:
            return -EFAULT
        if dontunmap and (area.backing is not None or old_len != new_len):
            return -EINVAL
        if not fixed and not dontunmap and old_len:
            if new_len == old_len:
                return old
            if new_len < old_len:
                self.unmap(old + new_len, old + old_len)
                return self.submit(task, old + new_len, old + old_len, [(OP_MUNMAP, old + new_len, old_len - new_len)], old)
        if new_len > old_len:
            if area.flags & VMA.LOCKED and task.rlimit(8) < 1 << 40 and new_len - old_len > task.rlimit(8):
                return -EAGAIN
            if not self.room(task, new_len - old_len, not area.shared and bool(area.prot & PROT_WRITE)):
                return -ENOMEM
            end = old + old_len
            grown = old + new_len
            if not fixed and not dontunmap and old_len and area.end == end and grown <= TASK_LIMIT and not self.vmas.within(end, grown):
                return self.extend(task, area, end, grown, old)
        if not maymove:
            return -ENOMEM
        if fixed:
            self.unmap(new_addr, new_addr + new_len)
            area = self.vmas.find(old)
        else:
            new_addr = self.free_range(new_len)
            if new_addr is None:
                return -ENOMEM
        if area.prot & PROT_EXEC and self.patches is not None:  # jumps and trampolines know their addresses
            self.first += self.patches.reprotect(old, old + old_len, self.users > 1)
        offset = area.offset + old - area.start if area.backing is not None else 0
        moved = VMA(new_addr, new_addr + new_len, area.prot, area.shared, area.backing, offset, area.name, area.may_write, area.flags)
        if old_len == 0:
            ops = [(OP_MMAP_FD, new_addr, new_len, area.prot, area.may_write, self.host_fd(task, area), offset)]
        else:
            ops = []
            if old_len > new_len:
                ops.append((OP_MUNMAP, old + new_len, old_len - new_len))
            ops.append((OP_MREMAP, old, min(old_len, new_len), new_len, new_addr))
            if dontunmap:
                ops.append((OP_MMAP_ANON, old, old_len, area.prot, False))
            else:
                self.unmap(old, old + old_len)
        self.map(moved)
        low, high = min(old, new_addr), max(old + old_len, new_addr + new_len)
        return self.submit(task, low, high, ops, new_addr)

    def extend(self, task, area, end, grown, value):
        """Grow an area in place: the new part is mapped behind it."""
        length = grown - end
        if area.backing is None:
            ops = [(OP_MMAP_ANON, end, length, area.prot, bool(area.flags & VMA.NORESERVE))]
            offset = 0
        else:
            offset = area.offset + end - area.start
            fd = self.host_fd(task, area)
            if fd < 0:
                return fd
            ops = [(OP_MMAP_FD, end, length, area.prot, area.shared and area.may_write, fd, offset)]
        self.map(VMA(end, grown, area.prot, area.shared, area.backing, offset, area.name, area.may_write, area.flags))
        return self.submit(task, end, grown, ops, value, (end, grown))

    def host_fd(self, task, area) -> int:
        """The host descriptor behind an area."""
        if isinstance(area.backing, SharedAnon):
            return area.backing.fd
        mapping = area.backing.host_mapping(task, area.shared, bool(area.prot & PROT_WRITE))
        return mapping if isinstance(mapping, int) else mapping[0]
