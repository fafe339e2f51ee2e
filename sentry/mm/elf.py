"""Reading ELF-64 images for exec (elf(5), fs/binfmt_elf.c). The bytes come from the guest's files: everything is
checked before it is believed."""

from struct import Struct

from sentry.abi.errno import EACCES, EINVAL, EIO, ENOEXEC
from sentry.platform.base import PAGE, TASK_LIMIT

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
EM_X86_64 = 62
PATH_MAX = 4096

EHDR = Struct("<16sHHIQQQIHHHHHH")
PHDR = Struct("<IIQQQQQQ")


class Segment:
    """A PT_LOAD header: file offset, address, sizes in bytes, protection as PROT_*."""

    __slots__ = ("offset", "vaddr", "filesz", "memsz", "prot")

    def __init__(self, offset, vaddr, filesz, memsz, flags):
        self.offset = offset
        self.vaddr = vaddr
        self.filesz = filesz
        self.memsz = memsz
        self.prot = (flags >> 2 & 1) | (flags & 2) | (flags & 1) << 2


class Image:
    """What exec needs of an ELF file. Addresses are unrelocated."""

    __slots__ = ("type", "entry", "phoff", "phnum", "segments", "interp", "low", "high", "phdr_vaddr", "align")

    @classmethod
    def parse(cls, t, file, header: bytes) -> "Image | int":
        """`header`: the first bytes of the file. -ENOEXEC when it is no x86-64 ELF program."""
        if len(header) < EHDR.size or header[:4] != b"\x7fELF":
            return -ENOEXEC
        ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = EHDR.unpack_from(header)
        if ident[4] != 2 or ident[5] != 1 or kind not in (ET_EXEC, ET_DYN) or machine != EM_X86_64:
            return -ENOEXEC
        if phentsize != PHDR.size or not 1 <= phnum <= 65536 // PHDR.size:
            return -ENOEXEC
        size = phnum * PHDR.size
        table = header[phoff : phoff + size] if phoff + size <= len(header) else read_at(t, file, phoff, size)
        if isinstance(table, int) or len(table) != size:
            return -EIO if not isinstance(table, int) else table
        self = cls()
        self.type, self.entry, self.phoff, self.phnum = kind, entry, phoff, phnum
        self.segments, self.interp, self.phdr_vaddr, self.align = [], None, 0, PAGE
        for i in range(phnum):
            ptype, flags, offset, vaddr, _, filesz, memsz, align = PHDR.unpack_from(table, i * PHDR.size)
            if ptype == PT_INTERP and self.interp is None:
                if not 2 <= filesz <= PATH_MAX:
                    return -ENOEXEC
                name = read_at(t, file, offset, filesz)
                if isinstance(name, int) or len(name) != filesz:
                    return -EIO
                if name[-1]:
                    return -ENOEXEC
                self.interp = name[: name.index(0)]
            elif ptype == PT_LOAD:
                if filesz > memsz or vaddr + memsz > TASK_LIMIT or (offset - vaddr) & (PAGE - 1):
                    return -EINVAL
                if align & (align - 1) == 0 and PAGE < align <= 1 << 30:
                    self.align = max(self.align, align)
                if memsz:
                    self.segments.append(Segment(offset, vaddr, filesz, memsz, flags))
                if offset <= phoff < offset + filesz:
                    self.phdr_vaddr = vaddr + phoff - offset
        if not self.segments:
            return -ENOEXEC
        if any(a.vaddr + a.memsz > b.vaddr for a, b in zip(self.segments, self.segments[1:])):
            return -ENOEXEC
        self.low = self.segments[0].vaddr & -PAGE
        self.high = self.segments[-1].vaddr + self.segments[-1].memsz
        return self


def read_at(t, file, offset: int, length: int) -> "bytes | int":
    """All of [offset, offset + length) that the file has."""
    data = b""
    while len(data) < length:
        part = file.read(t, length - len(data), offset + len(data))
        if isinstance(part, int):
            return part
        if not part:
            break
        data += part
    return data


def parse_script(header: bytes) -> "tuple[bytes, bytes | None] | int":
    """Interpreter and optional argument of a `#!` line (execve(2), fs/binfmt_script.c); `header` is the first
    256 bytes."""
    line, newline, _ = header[2:].partition(b"\n")
    if not newline and len(header) == 256 and b" " not in line.strip(b" \t") and b"\t" not in line.strip(b" \t") and 0 not in line:
        return -ENOEXEC  # the interpreter's path may be cut off
    line = line.split(b"\0")[0].strip(b" \t")
    if not line:
        return -ENOEXEC
    for i, c in enumerate(line):
        if c in b" \t":
            return line[:i], line[i:].strip(b" \t") or None
    return line, None


def check_executable(file) -> int:
    """Only regular files can be executed."""
    return 0 if file.inode.is_regular else -EACCES
