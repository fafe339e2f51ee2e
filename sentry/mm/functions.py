"""Where the functions of an ELF file begin: from .eh_frame_hdr, .eh_frame, symbols, or Go's pclntab.

Decoding instructions is sure only from a function's first byte. The files are the guest's, so every number is checked
against bounds, and what is odd means "not known". Files are read by their host descriptor.
"""

import os
from bisect import bisect_right
from struct import Struct, error as StructError, pack

from sentry.mm import decode
from sentry.mm.elf import EHDR, EM_X86_64, PHDR, PT_LOAD
from sentry.platform.base import PAGE

PT_GNU_EH_FRAME = 0x6474E550
SHDR = Struct("<IIQQQQIIQQ")
SYM = Struct("<IBBHQQ")
SHT_SYMTAB, SHT_DYNSYM = 2, 11
STT_FUNC = 2
TABLE_LIMIT = 4 << 20  # bytes of a table that are read, and mostly kept
FUNCTION_LIMIT = 1 << 16  # bytes of a function that are decoded
TEXT_LIMIT = 8 << 20  # bytes of code that are searched for branches
SYSCALL = b"\x0f\x05"
# The return from a signal handler: mov $15, %eax; mov $15, %rax. Unwinders know it by these bytes where .eh_frame says nothing.
SIGNAL_RETURN = (b"\xb8\x0f\0\0\0", b"\x48\xc7\xc0\x0f\0\0\0")
GO_MAGIC = (0xFFFFFFF0, 0xFFFFFFF1)  # pclntab of Go 1.18 and 1.20


def read(fd: int, offset: int, length: int, limit: int = TABLE_LIMIT) -> bytes:
    """What the file has of [offset, offset + length), at most `limit` bytes."""
    if offset < 0 or length <= 0:
        return b""
    try:
        return os.pread(fd, min(length, limit), offset)
    except (OSError, OverflowError):
        return b""


class Functions:
    """The functions of one file. Addresses are those that the file is linked at."""

    def __init__(self, fd: int):
        self.loads = []  # (vaddr, offset, size, executable) of the segments
        self.starts = ()  # sorted, from `base`; a view of the file's table where it has one: libraries have many thousands
        self.base = 0
        self.ends = None  # parallel to starts; None: a function ends where the next begins
        self.frames = None  # (offset, address) of .eh_frame
        self.whole = False  # a function's code is all in one piece: no branch comes in from another
        try:
            self.parse(fd)
        except (StructError, ValueError, IndexError):
            self.starts = ()

    def parse(self, fd) -> None:
        header = read(fd, 0, EHDR.size)
        ident, _, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = EHDR.unpack(header)
        if ident[:6] != b"\x7fELF\2\1" or machine != EM_X86_64 or phentsize != PHDR.size:
            return
        table = read(fd, phoff, phnum * PHDR.size)
        unwind = None
        for at in range(0, len(table) - PHDR.size + 1, PHDR.size):
            kind, flags, offset, vaddr, _, filesz, _, _ = PHDR.unpack_from(table, at)
            if kind == PT_LOAD:
                self.loads.append((vaddr, offset, filesz, bool(flags & 1)))
            elif kind == PT_GNU_EH_FRAME:
                unwind = (offset, vaddr, filesz)
        if unwind is not None and self.from_header(fd, *unwind):
            return
        if shentsize != SHDR.size or not 0 < shnum < 65536:
            return
        table = read(fd, shoff, shnum * SHDR.size)
        sections = [SHDR.unpack_from(table, at) for at in range(0, len(table) - SHDR.size + 1, SHDR.size)]
        names = read(fd, sections[shstrndx][4], sections[shstrndx][5])
        by_name = {names[s[0] : names.find(b"\0", s[0])]: s for s in sections if s[0] < len(names)}
        for name in (b".gopclntab", b".data.rel.ro.gopclntab"):
            if name in by_name and self.from_go(fd, by_name[name], by_name.get(b".text")):
                return
        if b".eh_frame" in by_name:
            section = by_name[b".eh_frame"]
            self.frames = section[4], section[3]
            found = decode.functions(read(fd, section[4], section[5]), section[3])
            if found:
                self.keep([start for start, _ in found], [start + size for start, size in found])
                return
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in sections:
                if section[1] == kind and self.from_symbols(fd, section):
                    return

    def keep(self, starts, ends) -> None:
        """Eight bytes a number: the tables stay as long as the sandbox."""
        self.base = 0
        self.starts = memoryview(pack(f"{len(starts)}Q", *starts)).cast("Q")
        self.ends = memoryview(pack(f"{len(ends)}Q", *ends)).cast("Q")

    def from_header(self, fd, offset, vaddr, size) -> bool:
        """The binary search table of .eh_frame_hdr (Linux Standard Base, "Exception Frames")."""
        data = read(fd, offset, size)
        if data[:4] != b"\1\x1b\3\x3b" or len(data) < 12:
            return False
        count = int.from_bytes(data[8:12], "little")
        words = memoryview(data[12 : 12 + min(count, (len(data) - 12) // 8) * 8]).cast("i")
        self.starts, self.base = words[::2], vaddr
        distance = 4 + int.from_bytes(data[4:8], "little", signed=True)
        self.frames = offset + distance, vaddr + distance  # (of one segment)
        return len(self.starts) > 0

    def from_go(self, fd, section, text) -> bool:
        data = read(fd, section[4], section[5])
        if len(data) < 72 or int.from_bytes(data[:4], "little") not in GO_MAGIC or data[4:8] != b"\0\0\1\x08":
            return False
        count, _, base = Struct("<QQQ").unpack_from(data, 8)
        functab = int.from_bytes(data[64:72], "little")
        if not base and text is not None:  # position-independent: relocated at run time
            base = text[3]
        if functab > len(data):
            return False
        words = memoryview(data[functab : functab + min(count, (len(data) - functab) // 8) * 8]).cast("I")
        self.starts, self.base, self.whole = words[::2], base, True
        return len(self.starts) > 0

    def from_symbols(self, fd, section) -> bool:
        data = read(fd, section[4], section[5])
        found = {}
        for _, info, _, shndx, value, size in SYM.iter_unpack(data[: len(data) // SYM.size * SYM.size]):
            if info & 15 == STT_FUNC and shndx and size:
                found[value] = max(found.get(value, 0), value + size)
        self.keep(sorted(found), [found[start] for start in sorted(found)])
        return bool(found)

    def around(self, offset: int) -> "tuple[int, int] | None":
        """[start, end) of the function whose code is at this file offset, as file offsets; at most FUNCTION_LIMIT
        bytes."""
        for load in self.loads:
            vaddr, where, size, executable = load
            if executable and where <= offset < where + size:
                break
        else:
            return None
        delta = where - vaddr + self.base
        i = bisect_right(self.starts, offset - delta) - 1
        if i < 0:
            return None
        start = self.starts[i] + delta
        if self.ends is not None:
            end = self.ends[i] + delta  # (base is 0 then)
        else:
            end = self.starts[i + 1] + delta if i + 1 < len(self.starts) else where + size
        if start < where or not start <= offset < end or offset - start >= FUNCTION_LIMIT:
            return None
        return start, min(end, where + size)

    def is_signal_return(self, fd: int, offset: int) -> bool:
        """Does .eh_frame say that the code at this file offset returns from signal handlers?"""
        if self.frames is None:
            return False
        where, vaddr = self.frames
        for load in self.loads:
            if load[3] and load[1] <= offset < load[1] + load[2]:
                address = offset - load[1] + load[0]
                found = decode.functions(read(fd, where, TABLE_LIMIT), vaddr, True)
                return any(start <= address < start + length for start, length in found)
        return False

    def text(self, offset: int) -> "tuple[int, int]":
        """(start, size) in the file of the segment of code around `offset`."""
        for _, where, size, executable in self.loads:
            if executable and where <= offset < where + size:
                return where, size
        return offset, 0


class Shape:
    """How a site can be rewritten. start: distance from the first displaced byte to the `syscall`; lengths: of the
    displaced instructions; code: they and the `syscall`; relative: what must be set right in each (decode.relative)."""

    __slots__ = ("start", "lengths", "code", "relative")

    def __init__(self, start, lengths, code):
        self.start = start
        self.lengths = lengths
        self.code = code
        self.relative = decode.relative(code, lengths)

    def moved(self, start: int, slot: int) -> "list[bytes] | None":
        """The displaced instructions, which stand at `start`, as they do the same at `slot`. None: that is too far."""
        out = []
        at = 0
        to = slot
        for length, place in zip(self.lengths, self.relative):
            piece = self.code[at : at + length]
            at += length
            try:
                if place < 0:
                    target = start + at + int.from_bytes(piece[1:], "little", signed=True)
                    piece = b"\x0f" + bytes((piece[0] + 0x10,)) + (target - to - 6).to_bytes(4, "little", signed=True)
                elif place:
                    distance = int.from_bytes(piece[place : place + 4], "little", signed=True) + start + at - to - length
                    piece = piece[:place] + distance.to_bytes(4, "little", signed=True) + piece[place + 4 :]
            except OverflowError:
                return None
            out.append(piece)
            to += len(piece)
        return out


class Known:
    """What is known of a file's code. shapes: {offset: Shape, or why there is none}; traps:
    {offset of a `syscall`: trapped calls of programs that have ended}; `fresh` of them were at sites that the copy does
    not know of, and `runs` programs had such, of `ends` that have ended; `part`: (offset, length) that they mapped."""

    __slots__ = ("parsed", "shapes", "stamp", "traps", "fresh", "runs", "ends", "part", "image", "looked")

    def __init__(self, stamp):
        self.stamp = stamp
        self.parsed = None
        self.shapes = {}
        self.traps = {}
        self.fresh = self.runs = self.ends = 0
        self.part = None
        self.image = None
        self.looked = frozenset()  # sites that were considered for the copy

    def functions(self, fd: int) -> Functions:
        if self.parsed is None:
            self.parsed = Functions(fd)
        return self.parsed

    def lead(self, fd: int) -> int:
        """Bytes from the lowest segment to the one that is mapped as `part`; -1: that is not known."""
        offset = self.part[0]
        loads = self.functions(fd).loads
        code = [load for load in loads if load[3]]
        if len(code) != 1 or code[0][1] & -PAGE != offset:
            return -1
        lead = (code[0][0] & -PAGE) - (min(load[0] for load in loads) & -PAGE)
        return lead if 0 <= lead < 1 << 30 else -1


class Library:
    """What is known about the code of files, for all address spaces of a sandbox, so that no file is decoded twice.
    A file is known by its identity and by what changes when it is written."""

    FILES = 256  # remembered at most

    def __init__(self):
        self.files = {}  # stamp -> Known

    def file(self, fd: int) -> "Known | None":
        try:
            st = os.fstat(fd)
        except OSError:
            return None
        stamp = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
        known = self.files.get(stamp)
        if known is None:
            if len(self.files) >= self.FILES:
                self.files.pop(next(iter(self.files)))
            known = self.files[stamp] = Known(stamp)
        return known

    def shape(self, fd: int, offset: int) -> "Shape | str":
        """The `syscall` at this offset of the file: a Shape, or why it cannot be rewritten."""
        known = self.file(fd)
        if known is None:
            return "no file"
        sites = known.shapes
        shape = sites.get(offset)
        if shape is None:
            if len(sites) > 65536:
                sites.clear()
            shape = sites[offset] = self.analyse(fd, known.functions(fd), offset)
        return shape

    @staticmethod
    def analyse(fd, functions, offset) -> "Shape | str":
        found = functions.around(offset)
        if found is None:
            return "no function"
        start, end = found
        size = min(end - start, FUNCTION_LIMIT)
        code = read(fd, start, size)
        at = offset - start
        for whole in SIGNAL_RETURN:
            if code[max(0, at - len(whole)) : at] == whole and code[at : at + 2] == SYSCALL:
                if not functions.is_signal_return(fd, offset):
                    return "signal return"
                # What .eh_frame describes begins a byte before the function, for unwinders that look up a call there.
                return Shape(len(whole), (len(whole),), whole + SYSCALL)
        result = decode.shape(code, at)
        if type(result) is str:
            return result
        first, lengths = result
        if len(lengths) > 1 and not functions.whole:
            if end - start > FUNCTION_LIMIT:
                return "long function"
            # A part of the function that the compiler has put elsewhere could lead back into the middle.
            where, length = functions.text(offset)
            if length > TEXT_LIMIT:
                return "large file"
            text = read(fd, where, length, TEXT_LIMIT)
            if decode.may_branch(text, start + first - where, offset - where):
                return "branch"
        return Shape(at - first, lengths, code[first : at + 2])
