"""One area of guest memory (struct vm_area_struct), and the sorted list of them."""

from bisect import bisect_right

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4


class SharedAnon:
    """The object behind a MAP_SHARED|MAP_ANONYMOUS mapping: a memfd of its own, counted by its areas."""

    __slots__ = ("fd", "refs", "close")

    def __init__(self, fd, close):
        self.fd = fd
        self.refs = 0
        self.close = close

    def incref(self):
        self.refs += 1
        return self

    def decref(self):
        self.refs -= 1
        if self.refs == 0:
            self.close(self.fd)


class VMA:
    """[start, end) with one protection and one backing. `backing`: None (private anonymous), a vfs File, or
    a SharedAnon; `offset` in bytes into it. `may_write`: mprotect may add PROT_WRITE (shared files).

    Flags of private mappings of files: ACCOUNT: it is or was writable; COPIED: its memory is anonymous and has got the
    file's bytes (manager.COPY_MOST)."""

    __slots__ = ("start", "end", "prot", "shared", "backing", "offset", "name", "may_write", "flags")

    GROWSDOWN, LOCKED, NORESERVE, DONTFORK, WIPEONFORK, DONTDUMP, ACCOUNT, COPIED = 1, 2, 4, 8, 16, 32, 64, 128

    def __init__(self, start, end, prot, shared=False, backing=None, offset=0, name=b"", may_write=True, flags=0):
        self.start = start
        self.end = end
        self.prot = prot
        self.shared = shared
        self.backing = backing.incref() if backing is not None else None
        self.offset = offset
        self.name = name
        self.may_write = may_write
        self.flags = flags
        if prot & PROT_WRITE and backing is not None and not shared:
            self.flags |= VMA.ACCOUNT

    def protect(self, prot) -> None:
        self.prot = prot
        if prot & PROT_WRITE and self.backing is not None and not self.shared:
            self.flags |= VMA.ACCOUNT

    def part(self, start, end) -> "VMA":
        """A new area for [start, end) of this one."""
        new = VMA.__new__(VMA)
        new.start, new.end, new.prot, new.shared = start, end, self.prot, self.shared
        new.name, new.may_write, new.flags = self.name, self.may_write, self.flags
        new.backing, new.offset = None, 0
        if self.backing is not None:
            new.backing = self.backing.incref()
            new.offset = self.offset + (start - self.start)
        return new

    def drop(self):
        if self.backing is not None:
            self.backing.decref()

    def joins(self, other) -> bool:
        """Can `other`, which starts where this ends, be one area with it."""
        return (
            self.end == other.start
            and self.prot == other.prot
            and self.shared == other.shared
            and self.backing is other.backing
            and self.flags == other.flags
            and self.name == other.name
            and self.may_write == other.may_write
            and (self.backing is None or self.offset + (self.end - self.start) == other.offset)
        )


class VMAList:
    """Areas sorted by address, disjoint."""

    __slots__ = ("starts", "areas")

    def __init__(self):
        self.starts = []
        self.areas = []

    def find(self, addr: int) -> "VMA | None":
        """The area that contains addr."""
        i = bisect_right(self.starts, addr) - 1
        if i >= 0 and self.areas[i].end > addr:
            return self.areas[i]
        return None

    def overlapping(self, start: int, end: int) -> "tuple[int, int]":
        """Index range of the areas that meet [start, end)."""
        i = bisect_right(self.starts, start) - 1
        if i < 0 or self.areas[i].end <= start:
            i += 1
        j = i
        areas = self.areas
        n = len(areas)
        while j < n and areas[j].start < end:
            j += 1
        return i, j

    def within(self, start: int, end: int) -> "list[VMA]":
        i, j = self.overlapping(start, end)
        return self.areas[i:j]

    def covered(self, start: int, end: int) -> bool:
        """Is every byte of [start, end) in some area."""
        at = start
        for area in self.within(start, end):
            if area.start > at:
                return False
            at = area.end
        return at >= end

    def cut(self, start: int, end: int) -> None:
        """Remove [start, end), splitting the areas at its edges."""
        i, j = self.overlapping(start, end)
        if i == j:
            return
        first, last = self.areas[i], self.areas[j - 1]
        keep = []
        if first.start < start:
            keep.append(first.part(first.start, start))
        if last.end > end:
            keep.append(last.part(end, last.end))
        for area in self.areas[i:j]:
            area.drop()
        self.areas[i:j] = keep
        self.starts[i:j] = [a.start for a in keep]

    def split(self, addr: int) -> None:
        """Make `addr` an area boundary if it lies inside an area."""
        area = self.find(addr)
        if area is None or area.start == addr:
            return
        i = bisect_right(self.starts, addr) - 1
        parts = [area.part(area.start, addr), area.part(addr, area.end)]
        area.drop()
        self.areas[i : i + 1] = parts
        self.starts[i : i + 1] = [area.start, addr]

    def insert(self, area: VMA) -> None:
        """Add an area where there is none, joined with its neighbours if they fit."""
        i = bisect_right(self.starts, area.start)
        if i > 0 and self.areas[i - 1].joins(area):
            previous = self.areas[i - 1]
            previous.end = area.end
            area.drop()
            area = previous
            i -= 1
        else:
            self.areas.insert(i, area)
            self.starts.insert(i, area.start)
        if i + 1 < len(self.areas) and area.joins(self.areas[i + 1]):
            following = self.areas.pop(i + 1)
            self.starts.pop(i + 1)
            area.end = following.end
            following.drop()

    def join(self, start: int, end: int) -> None:
        """Join neighbours in and around [start, end) where they fit."""
        i, j = self.overlapping(start, end)
        i = max(i, 1)
        j = min(j + 1, len(self.areas))
        while i < j:
            if self.areas[i - 1].joins(self.areas[i]):
                gone = self.areas.pop(i)
                self.starts.pop(i)
                self.areas[i - 1].end = gone.end
                gone.drop()
                j -= 1
            else:
                i += 1

    def gap_below(self, top: int, bottom: int, length: int) -> "int | None":
        """Highest start of a free range of `length` that ends at or below `top` and starts at or above `bottom`."""
        last, floor, size = top, bottom, length
        i = bisect_right(self.starts, top - 1) - 1
        areas = self.areas
        while i >= 0:
            area = areas[i]
            if area.end <= floor:
                break
            if area.end <= last and last - area.end >= size:
                return last - size
            last = min(last, area.start)
            i -= 1
        if last - floor >= size:
            return last - size
        return None

    def __iter__(self):
        return iter(self.areas)

    def __len__(self):
        return len(self.areas)
