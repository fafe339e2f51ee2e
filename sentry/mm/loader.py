"""Laying out a new program: areas, memory operations, initial stack (fs/binfmt_elf.c:load_elf_binary).

Nothing is done to the guest here: the result is a list of operations for a fresh address space.
"""

import os
from struct import pack

from sentry.abi.errno import E2BIG, ENOMEM
from sentry.mm.elf import ET_DYN
from sentry.mm.manager import COPY_MOST, MM, STACK_GAP, copied, page_up
from sentry.mm.vma import VMA
from sentry.platform.base import OP_MMAP_ANON, OP_MMAP_FD, OP_MPROTECT, OP_WRITE, OP_ZERO, PAGE, TASK_LIMIT, Kept

PIE_BASE = 0x555555554000
ADDR_NO_RANDOMIZE = 0x40000
STACK_MAX = 1 << 30  # of an unlimited RLIMIT_STACK this much is reserved

AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK = 11, 12, 13, 14, 15, 16, 17
AT_SECURE, AT_RANDOM, AT_HWCAP2, AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = 23, 25, 26, 31, 33, 51


class Entropy:
    """Random bytes of the host, fetched in advance; each is used once."""

    left = b""


def random_bytes(count: int) -> bytes:
    if len(Entropy.left) < count:
        Entropy.left = os.urandom(1024)
    taken, Entropy.left = Entropy.left[:count], Entropy.left[count:]
    return taken


def random_pages(t, bits: int) -> int:
    """A page-aligned random offset below 2**(bits + 12); 0 for who has asked for that (personality(2))."""
    if t.personality & ADDR_NO_RANDOMIZE:
        return 0
    return (int.from_bytes(random_bytes(5), "little") & ((1 << bits) - 1)) << 12


class Layout:
    """A program ready to be put into a fresh address space: `mm`, `ops`, and the first registers."""

    __slots__ = ("mm", "ops", "entry", "sp")

    def __init__(self):
        self.mm = MM()
        self.ops = []
        self.entry = self.sp = 0

    def abandon(self):
        self.mm.drop()

    def segments(self, t, file, image, bias) -> int:
        """Map the PT_LOAD segments of an image."""
        mapping = file.host_mapping(t, False, False)
        if isinstance(mapping, int):
            return mapping
        fd = mapping[0]
        for seg in image.segments:
            start = (bias + seg.vaddr) & -PAGE
            file_end = bias + seg.vaddr + seg.filesz
            end = page_up(bias + seg.vaddr + seg.memsz)
            mapped = start
            if seg.filesz:
                mapped = page_up(file_end)
                offset = seg.offset - (seg.vaddr & (PAGE - 1))
                flags = 0
                copy = None
                if type(fd) is not Kept and seg.prot & 6 == 2 and mapped - start <= COPY_MOST:
                    copy = copied(t, start, mapped - start, seg.prot, file, offset, True)
                if copy:
                    self.ops += copy
                    flags = VMA.COPIED
                else:
                    self.map_file(start, mapped - start, seg.prot, fd, offset)
                self.mm.map(VMA(start, mapped, seg.prot, False, file, offset, flags=flags))
                if seg.memsz > seg.filesz and seg.prot & 2 and mapped > file_end:
                    self.ops.append((OP_ZERO, file_end, mapped - file_end))
            if end > mapped:
                self.ops.append((OP_MMAP_ANON, mapped, end - mapped, seg.prot, False))
                self.mm.map(VMA(mapped, end, seg.prot))
        return 0

    def map_file(self, start, length, prot, fd, offset) -> None:
        """Map a part of a file. One that continues the mapping before it is mapped along with that: each mapping of a file
        waits for its approval, another protection does not."""
        at = next((i for i in range(len(self.ops) - 1, -1, -1) if self.ops[i][0] != OP_MPROTECT), -1)
        if at >= 0 and self.ops[at][0] == OP_MMAP_FD and not prot & 2:
            _, low, size, first, shared, same, begin = self.ops[at]
            if same == fd and low + size == start and begin + size == offset and not first & 2:
                self.ops[at] = (OP_MMAP_FD, low, size + length, first, shared, fd, begin)
                if prot != first:
                    self.ops.append((OP_MPROTECT, start, length, prot))
                return
        self.ops.append((OP_MMAP_FD, start, length, prot, False, fd, offset))

    def patched(self, t, file, image, bias) -> None:
        """Map a patched copy of the image's code where there is one. To be called when all has been laid out."""
        fd = file.host_mapping(t, False, False)[0]
        for seg in image.segments:
            start, offset = (bias + seg.vaddr) & -PAGE, seg.offset - (seg.vaddr & (PAGE - 1))
            area = self.mm.find(start)
            if seg.prot != 5 or area is None or (area.start, area.prot, area.offset) != (start, 5, offset) or area.backing is not file:
                continue
            ops = t.kernel.patcher.images.attach(self.mm, fd, start, area.end - start, offset)
            if ops:
                length = area.end - start
                replaced = (OP_MMAP_FD, start, length, 5, False, fd, offset), (OP_MPROTECT, start, length, 5)
                self.ops = [op for op in self.ops if op not in replaced] + ops


def build(t, file, image, interp_file, interp, argv, envp, execfn, creds, secure, host) -> "Layout | int":
    """Lay out `image` (and its interpreter) with its arguments. `host`: hardware facts for the auxiliary vector,
    a dict with hwcap, hwcap2, minsigstksz (ints)."""
    layout = Layout()
    mm = layout.mm
    soft = t.rlimit(3)
    stack_size = page_up(min(max(soft, 1 << 17), STACK_MAX))
    stack_top = TASK_LIMIT - PAGE - random_pages(t, 22)
    mm.mmap_top = stack_top - stack_size - STACK_GAP - random_pages(t, 16)

    bias = 0
    if image.type == ET_DYN:
        # A program with an interpreter goes to the PIE base; an interpreter run directly where mmap would put it.
        base = PIE_BASE + random_pages(t, 20)
        bias = (base & -image.align) - image.low
    elif image.low < 65536:
        layout.abandon()
        return -ENOMEM
    error = layout.segments(t, file, image, bias)
    base = 0
    entry = image.entry + bias
    if not error and interp is not None:
        length = page_up(interp.high - interp.low)
        room = t.kernel.patcher.room(t, interp_file) if t.kernel.patcher is not None and t.ptrace is None else 0
        base = (mm.free_range(length + interp.align + room) + room & -interp.align) - interp.low
        error = layout.segments(t, interp_file, interp, base)
        entry = interp.entry + base
        if interp.type != ET_DYN:
            entry, base = interp.entry, 0
    if error:
        layout.abandon()
        return error
    layout.entry = entry

    mm.start_code = min(s.vaddr for s in image.segments) + bias
    mm.end_code = max((s.vaddr + s.filesz for s in image.segments if s.prot & 4), default=image.low) + bias
    mm.start_data = max(s.vaddr for s in image.segments) + bias
    mm.end_data = max(s.vaddr + s.filesz for s in image.segments) + bias
    mm.brk_start = mm.brk = page_up(image.high + bias) + random_pages(t, 13)

    stack_start = stack_top - stack_size
    layout.ops.append((OP_MMAP_ANON, stack_start, stack_size, 3, True))
    mm.map(VMA(stack_start, stack_top, 3, name=b"[stack]", flags=VMA.GROWSDOWN | VMA.NORESERVE))

    if t.kernel.patcher is not None and t.ptrace is None:
        mm.patches = t.kernel.patcher.new_record()
        layout.patched(t, file, image, bias)
        if interp is not None:
            layout.patched(t, interp_file, interp, base)

    # The strings at the top, then the vectors (System V ABI, "Initial Process Stack").
    strings = b"\0".join((*argv, *envp, execfn, b""))
    at = mm.arg_start = stack_top - 8 - len(strings)
    args, envs = [], []
    for text in argv:
        args.append(at)
        at += len(text) + 1
    mm.arg_end = mm.env_start = at
    for text in envp:
        envs.append(at)
        at += len(text) + 1
    mm.env_end = fn = at
    platform = mm.arg_start - 7
    random = platform - 16
    at = random & -16
    strings = bytes(random - at) + random_bytes(16) + b"x86_64\0" + strings
    # The vDSO is the host's, which the platform keeps above the guest's addresses: time without a call.
    vdso = (AT_SYSINFO_EHDR, host["vdso"]) if host.get("vdso") else ()
    aux = (
        *vdso, AT_MINSIGSTKSZ, host["minsigstksz"], AT_HWCAP, host["hwcap"], AT_PAGESZ, PAGE, AT_CLKTCK, 100,
        AT_PHDR, image.phdr_vaddr + bias, AT_PHENT, 56, AT_PHNUM, image.phnum, AT_BASE, base, AT_FLAGS, 0,
        AT_ENTRY, image.entry + bias, AT_UID, creds.uid, AT_EUID, creds.euid, AT_GID, creds.gid, AT_EGID, creds.egid,
        AT_SECURE, int(secure), AT_RANDOM, random, AT_HWCAP2, host["hwcap2"], AT_EXECFN, fn, AT_PLATFORM, platform, 0, 0,
    )  # fmt: skip
    mm.auxv = pack(f"<{len(aux)}Q", *aux)
    vectors = pack(f"<{len(args) + len(envs) + 3}Q", len(args), *args, 0, *envs, 0) + mm.auxv
    sp = (at - len(vectors)) & -16
    if stack_top - sp > stack_size - (1 << 16):
        layout.abandon()
        return -E2BIG
    data = vectors + bytes(at - sp - len(vectors)) + strings
    layout.ops.append((OP_WRITE, sp, data))
    layout.sp = mm.start_stack = sp
    return layout
