"""Patched copies of the code of often-executed files, which a new process maps in place of the file's own pages.

A process that ends soon calls most sites a few times only: its traps cost more than anything else it does. So what
earlier processes have trapped at is remembered for each file. Then its segment of code is copied into a sealed memfd
with those sites rewritten (mm/patches.py says how a site looks), and whoever maps exactly that segment later, private,
to read and execute, gets the copy. The trampolines lie at a fixed distance, just below the file's lowest segment, so
that the jumps in the copy are right wherever the file is mapped; they are a few bytes, written by each process itself.

The list of areas shows the file, reads show its bytes. Whatever would make the difference visible (another protection,
a move, a part unmapped) puts the file's own pages back first.

A file is known by its identity, size and times. A write that does not show there is one through a shared mapping: a
file that ever had one in this sandbox has no copy. Nor has one that lives in a memory file of the Sentry, which writes
through mappings of its own.
"""

import fcntl
import os
import time
from bisect import bisect_left, bisect_right

from sentry.core import log
from sentry.mm.functions import Library, read
from sentry.mm.hugepages import HUGE, collapse
from sentry.platform.base import OP_MMAP_ANON, OP_MMAP_FD, OP_MPROTECT, OP_WRITE, PAGE

READ_EXEC = 5
SLOT = 32
COPY_LIMIT = 16 << 20  # bytes of a segment that is copied
HUGE_FROM = 512 << 10  # bytes of code: a shorter one wastes more of a huge page than it gains
TOTAL_LIMIT = 64 << 20  # of all copies that new processes get
MOST_SITES = 250  # of a copy: what fits into two pages of trampolines
MOST_KNOWN = 4096  # sites of a file that are counted
MOST_ATTACHED = 64  # copies in an address space
LOWEST = 1 << 20  # trampolines stay away from the platform's own low pages
QUIET = 200_000_000  # ns that a file must be unchanged: its next change has a later time then
WORTH = 30  # traps that a program must save on average: a copy costs it some 50 us
WAIT = 20  # programs until a file with less is looked at again
# A copy of libc's code costs 1 to 2 ms, a trap 2.5 us.
RUNS, TRAPS = 2, 300  # programs that ended having trapped there, or traps in all, until a copy is made
MANY = 20  # traps of a site that was rewritten then
AGAIN = 600  # traps at further sites until a new one is
F_ADD_SEALS, SEALS = 1033, 15  # SEAL, SHRINK, GROW, WRITE


class Image:
    """A copy. offset, length: the part of the file; lead: bytes from the file's lowest segment to it; fd: of the
    memfd; file: of the file. Positions are relative to the first byte of the segment: `sites` [(jump, `syscall`)] in
    the order of the slots, `starts` sorted positions of the jumps, `olds` the bytes they replaced; `inside`
    {displaced instruction but the first: its place in the trampoline, relative to the trampolines}."""

    __slots__ = ("fd", "file", "offset", "length", "lead", "room", "code", "sites", "starts", "olds", "slots", "inside", "kept")

    def __init__(self, fd: int, offset: int, length: int, lead: int, shapes: dict, entry: int):
        """shapes: {file offset of a `syscall`: Shape}. May raise OSError."""
        self.fd = self.file = -1
        self.kept = None
        self.offset, self.length, self.lead = offset, length, lead
        self.sites, self.starts, self.olds, self.slots, self.inside = [], [], [], {}, {}
        memory = bytearray(read(fd, offset, length, COPY_LIMIT))
        memory += bytes(length - len(memory))
        chosen, last = [], 0
        for at in sorted(shapes):
            shape = shapes[at]
            start = at - offset - shape.start
            if any(shape.relative):  # would be longer, or elsewhere, in the trampoline: rewritten when it runs
                continue
            if start >= last and memory[start : at - offset + 2] == shape.code and len(chosen) < MOST_SITES:
                chosen.append((start, at - offset, shape))
                last = at - offset + 2
        self.room = -(-(len(chosen) + 1) * SLOT // PAGE) * PAGE
        low = -lead - self.room
        code = bytearray(entry.to_bytes(8, "little").ljust(SLOT, b"\xcc"))
        for start, at, shape in chosen:
            slot = low + len(code)
            moved = shape.code[:-2]
            behind = slot + len(moved)
            code += (
                moved
                + b"\x4c\x8d\x1d" + (at + 2 - behind - 7).to_bytes(4, "little", signed=True)
                + b"\xff\x25" + (low - behind - 13).to_bytes(4, "little", signed=True)
            ).ljust(SLOT, b"\xcc")  # fmt: skip
            self.sites.append((start, at))
            self.starts.append(start)
            self.olds.append(bytes(memory[start : start + 5]))
            memory[start : start + 5] = b"\xe9" + (slot - start - 5).to_bytes(4, "little", signed=True)
            self.slots[start] = slot - low
            place = start
            for n in shape.lengths[:-1]:
                place += n
                self.inside[place] = slot - low + place - start
        self.code = bytes(code)
        if not self.sites:
            return
        self.file = os.dup(fd)
        self.fd = os.memfd_create("code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        done = 0
        while done < length:
            done += os.write(self.fd, memoryview(memory)[done:])
        if length >= HUGE_FROM:
            size = -(-length // HUGE) * HUGE
            os.ftruncate(self.fd, size)
            error = collapse(self.fd, size)
            if error:
                os.ftruncate(self.fd, length)
                log.once("huge code", log.INFO, f"copies of code are not in huge pages: errno {error}")
        fcntl.fcntl(self.fd, F_ADD_SEALS, SEALS)

    def __del__(self):
        for fd in (self.fd, self.file):
            if fd >= 0:
                os.close(fd)


class Attached:
    """A copy in an address space: `start`, `end` of the code, `low`, `high` of the trampolines. live: it is still
    mapped; else only the trampolines are, for threads that may be in them."""

    __slots__ = ("image", "start", "end", "low", "high", "live")

    def __init__(self, image: Image, start: int, live: bool = True):
        self.image = image
        self.start = start
        self.end = start + image.length
        self.low = start - image.lead - image.room
        self.high = self.low + image.room
        self.live = live

    def copy(self) -> "Attached":
        return Attached(self.image, self.start, self.live)

    def ops(self) -> list:
        """Operations that make it so in an address space where nothing has run there yet."""
        image = self.image
        return [
            (OP_MMAP_ANON, self.low, image.room, 3, False),
            (OP_WRITE, self.low, image.code),
            (OP_MPROTECT, self.low, image.room, READ_EXEC),
            (OP_MMAP_FD, self.start, image.length, READ_EXEC, False, image.fd if image.kept is None else image.kept, 0),
        ]

    def guest_rip(self, rip: int) -> int:
        """See Patches.guest_rip, for an address in the trampolines."""
        at = rip - self.low
        number = at // SLOT - 1
        if not 0 <= number < len(self.image.sites):
            return rip
        start, end = self.image.sites[number]
        return self.start + min(start + at % SLOT, end)

    def original(self, addr: int, data: bytearray) -> None:
        """Put back into `data`, which was read at addr, what the jumps replaced."""
        image = self.image
        first = addr - self.start
        for i in range(bisect_right(image.starts, first - 5), bisect_left(image.starts, first + len(data))):
            at, old = image.starts[i] - first, image.olds[i]
            for j in range(max(-at, 0), min(5, len(data) - at)):
                data[at + j] = old[j]


class Images:
    """The copies of a sandbox. `entry`: the platform's."""

    def __init__(self, library: Library, entry: int, keep):
        """keep: Platform.keep."""
        self.library = library
        self.keep = keep
        self.entry = entry
        self.current = {}  # Known -> None, the one used last at the end
        self.never = set()  # (device, inode) of files that were mapped to be written
        self.made = self.used = 0
        self.memory = -1  # device of memory files

    def statistics(self) -> dict:
        """made: copies since the start; used: mappings of them; bytes: of those that new programs get."""
        return {"made": self.made, "used": self.used, "bytes": sum(known.image.length for known in self.current)}

    def written(self, fd: int) -> None:
        """The file behind fd is mapped shared, to be written."""
        st = os.fstat(fd)
        if len(self.never) < 1 << 16:
            self.never.add((st.st_dev, st.st_ino))

    def image(self, known, fd: int) -> "Image | None":
        """The copy that a mapping of this file gets, made now if its time has come."""
        if known.image is None:
            if known.fresh and (known.runs >= RUNS or (known.runs >= 0 and known.fresh >= TRAPS)):
                self.make(known, fd)
        elif known.fresh >= AGAIN:
            self.make(known, fd)
        image = known.image
        if image is None:
            return None
        if known.stamp[:2] in self.never or len(self.never) >= 1 << 16:
            self.drop(known)
            return None
        del self.current[known]
        self.current[known] = None
        return image

    def make(self, known, fd) -> None:
        known.runs = known.fresh = 0
        stamp = known.stamp
        lead = known.lead(fd)
        if self.memory < 0:
            try:
                memory = os.memfd_create("device", os.MFD_CLOEXEC)
            except OSError as error:
                log.warning(f"no patched copies of code: {error}")
                return
            self.memory = os.fstat(memory).st_dev
            os.close(memory)
        if stamp[0] == self.memory:
            return
        if lead < 0 or known.part[1] > COPY_LIMIT or stamp[:2] in self.never:
            return
        if time.time_ns() - max(stamp[3], stamp[4]) < QUIET:
            return
        begun = time.monotonic_ns()
        shapes = {}
        for offset in known.traps:
            shape = self.library.shape(fd, offset)
            if type(shape) is not str:
                shapes[offset] = shape
        worth = sum(known.traps[offset] for offset in shapes) // max(known.ends, 1)
        if known.image is None and worth < WORTH:
            known.runs = -WAIT
            return
        known.looked = frozenset(known.traps)
        try:
            image = Image(fd, *known.part, lead, shapes, self.entry)
        except OSError as error:
            log.warning(f"no patched copy of a file's code: {error}")
            return
        if not image.sites or self.library.file(fd) is not known:  # it has been changed meanwhile
            return
        self.drop(known)
        known.image = image
        self.current[known] = None
        self.made += 1
        total = sum(other.image.length for other in self.current)
        while total > TOTAL_LIMIT:
            oldest = next(iter(self.current))
            total -= oldest.image.length
            self.drop(oldest)
        log.debug(f"patched copy of {image.length} bytes of code, {len(image.sites)} sites: {(time.monotonic_ns() - begun) // 1000} us")

    def drop(self, known) -> None:
        """New programs do not get this copy any more; it lives as long as it is mapped."""
        self.current.pop(known, None)
        known.image = None

    # -- a file is mapped
    def room(self, fd: int) -> int:
        """Bytes to be left free below the file's lowest segment."""
        known = self.library.file(fd)
        image = self.image(known, fd) if known is not None else None
        return image.room if image is not None else 0

    def attach(self, mm, fd: int, start: int, length: int, offset: int) -> list:
        """The area [start, start + length), just entered, is a private mapping of the file at `offset`, to read and
        execute. Operations that map the copy instead, entered in mm.patches; [] if there is none or no room."""
        patches = mm.patches
        known = self.library.file(fd)
        if known is None:
            return []
        image = self.image(known, fd)
        known.part = (offset, length)
        if len(patches.texts) < MOST_ATTACHED:
            patches.texts.append((start, start + length, known, offset))
        if image is None or (image.offset, image.length) != (offset, length) or len(patches.images) >= MOST_ATTACHED:
            return []
        new = Attached(image, start)
        if new.low < LOWEST or mm.vmas.within(new.low, new.high) or patches.in_hidden(new.low, new.high):
            return []
        if (image.kept is None or image.kept.lost) and os.fstat(image.file).st_mode & 0o004:
            image.kept = self.keep(image.fd)
        patches.attach(new)
        self.used += 1
        return new.ops()


def ended(patches) -> None:
    """The address space is no more: remember where it trapped."""
    before = patches.before
    if not before:  # a forked child mostly ends early, by exec
        for known in {text[2] for text in patches.texts}:
            known.ends += 1
    seen = {}
    for at, count in patches.counts.items():
        earlier = before.get(at, 0)
        n = (MANY if count is None else count) - (MANY if earlier is None else earlier)
        if n <= 0:
            continue
        for start, end, known, offset in patches.texts:
            if start <= at < end:
                where = at - start + offset
                if len(known.traps) < MOST_KNOWN:
                    known.traps[where] = known.traps.get(where, 0) + n
                if where not in known.looked:
                    seen[known] = seen.get(known, 0) + n
                break
    for known, n in seen.items():
        known.fresh += n
        known.runs += 1
