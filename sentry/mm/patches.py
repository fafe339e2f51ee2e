"""The rewritten call sites of one address space, and the hidden pages with their trampolines.

A site is a `syscall` instruction. The instructions before it, five bytes or more, are displaced by a jump to a
trampoline, which begins with a copy of them; the two bytes of the `syscall` stay. So whoever is already past the jump,
or is sent back to the `syscall`, takes the ordinary road. A trampoline:

    <the displaced instructions>
    lea  RET(%rip), %r11        the address after the `syscall`
    jmp  *PAGE(%rip)            the platform's entry; its address is in the first bytes of the page

Guests see none of this: addresses in trampolines are translated before anyone looks (`guest_rip`, `resume_rip`), reads
by the Sentry show the original bytes (`original`), hidden pages are in no list of areas.

Changes are lists of memory operations that a thread of the address space carries out. This record is ahead of the
memory until they are done; `MM.submit` keeps operations on one range in order.
"""

from sentry.mm import images
from sentry.platform.base import OP_MMAP_ANON, OP_MMAP_FD, OP_MPROTECT, OP_MUNMAP, OP_POKE, OP_WRITE, PAGE

READ_EXEC, ALL = 5, 7
SLOT = 32  # bytes of a trampoline: 19 of displaced instructions at most, 7 + 6 of our own
SLOTS = PAGE // SLOT  # the first holds the entry's address
REACH = (1 << 31) - (1 << 20)
MAX_PAGES = 512
BREAKPOINT = 0xCC


class Site:
    """A rewritten site: `at` is the address of its `syscall`, `start` that of the jump, `old` and `new` its five
    bytes, `lengths` those of the displaced instructions, `moved` those of their copies, `slot` the trampoline's address."""

    __slots__ = ("at", "start", "lengths", "moved", "old", "new", "slot")

    def __init__(self, at, start, lengths, moved, old, slot):
        self.at = at
        self.start = start
        self.lengths = lengths
        self.moved = moved
        self.old = old
        self.slot = slot
        self.new = b"\xe9" + (slot - start - 5).to_bytes(4, "little", signed=True)

    def pages(self) -> range:
        """Addresses of the pages that it touches."""
        return range(self.start & -PAGE, self.at + 2, PAGE)

    def guest_rip(self, rip: int) -> int:
        """See Patches.guest_rip."""
        at, to = self.start, self.slot
        for length, moved in zip(self.lengths, self.moved):
            if rip < to + moved:
                return at
            at += length
            to += moved
        return self.at

    def inside(self) -> "list[tuple[int, int]]":
        """Displaced instructions that the jump overwrites, but the first: (address, that of the copy). The first alone
        may fill the jump; then those behind it stay as they are."""
        found = []
        at, to = self.start, self.slot
        for length, moved in zip(self.lengths, self.moved):
            at += length
            to += moved
            if at < self.start + 5:
                found.append((at, to))
        return found


class Hidden:
    """A page of trampolines: `sites` by slot number, `used` slots (never used twice while other threads run)."""

    __slots__ = ("start", "used", "sites")

    def __init__(self, start):
        self.start = start
        self.used = 1
        self.sites = {}


class Patches:
    def __init__(self, entry: int):
        self.entry = entry
        self.counts = {}  # address of a `syscall` -> trapped calls so far, or None: no more to be counted
        self.sites = {}  # address of a `syscall` -> Site
        self.by_page = {}  # address of a page -> [Site], a site in all pages that it touches
        self.starts = {}  # start -> Site
        self.inside = {}  # address of a displaced instruction but the first -> its place in the trampoline
        self.words = {}  # address -> the 8 bytes there, for words that hold a part of a jump
        self.pages = {}  # address -> Hidden
        self.images = []  # mm.images.Attached; the pages of their trampolines are in `pages` as well
        self.texts = []  # (start, end, mm.functions.Known, offset in the file) of code
        self.before = {}  # `counts` at the fork that made this
        self.stepped = set()  # starts that were a breakpoint for a moment
        self.plain = False  # nothing is rewritten any more, for a debugger
        self.busy = False  # a rewriting is being carried out
        self.forks = 0  # under way: their copy must meet no half-done work
        self.after = []  # functions to call when it is not busy any more

    def copy(self) -> "Patches":
        """For a forked child: it has the same memory."""
        new = Patches(self.entry)
        new.plain = self.plain
        for name in ("counts", "sites", "starts", "inside", "words"):
            setattr(new, name, getattr(self, name).copy())
        new.by_page = {page: sites.copy() for page, sites in self.by_page.items()}
        for page, hidden in self.pages.items():
            new.pages[page] = twin = Hidden(page)
            twin.used = hidden.used
            twin.sites = hidden.sites.copy()
        new.images = [image.copy() for image in self.images]
        new.texts = self.texts.copy()
        new.before = self.counts.copy()
        return new

    # -- addresses
    def guest_rip(self, rip: int) -> int:
        """The address in the program's own code for one in a trampoline: of the same instruction, or behind the
        displaced ones of the `syscall`."""
        page = self.pages.get(rip & -PAGE)
        if page is None:
            return rip
        for image in self.images:
            if image.low <= rip < image.high:
                return image.guest_rip(rip)
        site = page.sites.get((rip & PAGE - 1) // SLOT)
        if site is None:
            return rip
        return site.guest_rip(rip)

    def resume_rip(self, rip: int, stepping: bool) -> int:
        """Where a thread that shall go on at `rip` can do so. stepping: with the trap flag set; then a jump to the
        trampoline would be one step too many."""
        for image in self.images:
            if image.start <= rip < image.end and image.live:
                at = rip - image.start
                slot = image.image.slots.get(at) if stepping else None
                if slot is None:
                    slot = image.image.inside.get(at)
                if slot is not None:
                    return image.low + slot
        if stepping and rip in self.starts:
            return self.starts[rip].slot
        return self.inside.get(rip, rip)

    def jumps(self, rip: int) -> bool:
        """Is there a jump to a trampoline at rip."""
        if rip in self.starts:
            return True
        return any(image.live and image.start <= rip < image.end and rip - image.start in image.image.slots for image in self.images)

    def in_hidden(self, start: int, end: int) -> "list[Hidden]":
        """The hidden pages that meet [start, end)."""
        if len(self.pages) > 8 and end - start < len(self.pages) * PAGE:
            return [self.pages[page] for page in range(start & -PAGE, end, PAGE) if page in self.pages]
        return [page for at, page in self.pages.items() if at < end and start < at + PAGE]

    def within(self, start: int, end: int) -> "list[Site]":
        """The sites whose bytes, to the end of the `syscall`, meet [start, end)."""
        first = start & -PAGE
        if end - first <= 16 * PAGE:
            pages = [page for page in range(first, end, PAGE) if page in self.by_page]
        else:
            pages = [page for page in self.by_page if first <= page < end]
        found = {site: None for page in pages for site in self.by_page[page] if site.start < end and start < site.at + 2}
        return list(found)

    def original(self, addr: int, data: bytes) -> bytes:
        """`data`, read at addr, as it would be had nothing been rewritten."""
        found = self.within(addr, addr + len(data))
        if found:
            data = bytearray(data)
            for site in found:
                for i in range(5):
                    if 0 <= site.start + i - addr < len(data):
                        data[site.start + i - addr] = site.old[i]
            data = bytes(data)
        for image in self.images:
            if image.live and addr < image.end and image.start < addr + len(data):
                data = bytearray(data)
                image.original(addr, data)
                data = bytes(data)
        return data

    # -- patched copies of files
    def attach(self, image) -> None:
        self.images.append(image)
        for page in range(image.low, image.high, PAGE):
            self.pages[page] = hidden = Hidden(page)
            hidden.used = SLOTS + 1

    def detach(self, start: int, end: int, threads: bool, gone: bool = False) -> list:
        """Operations after which no jump of a copy leads out of or into [start, end), before something happens to it:
        the whole copy that it meets is replaced by the file. gone: what is mapped there is so no more afterwards."""
        ops = []
        for image in tuple(self.images):
            over = image.low < end and start < image.high
            if not over and not (image.live and image.start < end and start < image.end):
                continue
            if image.live:
                image.live = False
                if not (gone and start <= image.start and image.end <= end):
                    copy = image.image
                    ops.append((OP_MMAP_FD, image.start, copy.length, READ_EXEC, False, copy.file, copy.offset))
                self.forget(image.start, image.end)
            if over or not threads:  # else one may be in a trampoline
                ops.append((OP_MUNMAP, image.low, image.high - image.low))
                self.images.remove(image)
                for page in range(image.low, image.high, PAGE):
                    del self.pages[page]
        return ops

    # -- rewriting
    def place(self, mm, start: int, end: int) -> "Hidden | None":
        """A hidden page with a free slot that a jump from the code at [start, end) reaches; a new one has no site."""
        for page in self.pages.values():
            if page.used == SLOTS and mm.users == 1 and not any(self.sites.get(s.at) is s for s in page.sites.values()):
                page.used, page.sites = 1, {}
            if page.used < SLOTS and -REACH < page.start - start and page.start + PAGE - start < REACH:
                return page
        if len(self.pages) >= MAX_PAGES:
            return None
        low, high = max(end - REACH, 1 << 16), start + REACH
        # Above the highest mapping is room that nobody asks for; else below the file, or above it.
        top = mm.mmap_top
        gap = None
        if low <= top and top + (1 << 28) <= high:
            gap = mm.gap_above(top, top + (1 << 28), PAGE)
        if gap is None:
            gap = mm.gap_below(start & -PAGE, low, PAGE)
        if gap is None:
            gap = mm.gap_above(end, high, PAGE)
        if gap is None:
            return None
        return Hidden(gap)

    def rewrite(self, mm, area, wanted, memory) -> "list | None":
        """Operations that rewrite sites in one page, or one site that crosses into a second: `wanted` is a list of
        (address of the `syscall`, Shape), `memory` the bytes of the page or of both. Enters them here. None: there is
        no room for trampolines."""
        code = []
        page = wanted[0][0] - wanted[0][1].start & -PAGE
        writes, hidden, ops = [], None, []
        for at, shape in wanted:
            if hidden is None or hidden.used >= SLOTS:
                hidden = self.place(mm, area.start, area.end)
                if hidden is None:
                    break
                if hidden.start not in self.pages:
                    self.pages[hidden.start] = hidden
                    ops.append((OP_MMAP_ANON, hidden.start, PAGE, 3, False))
                    ops.append((OP_WRITE, hidden.start, self.entry.to_bytes(8, "little")))
                else:
                    ops.append((OP_MPROTECT, hidden.start, PAGE, ALL))
                writes.append(hidden)
            start = at - shape.start
            number = hidden.used
            slot = hidden.start + number * SLOT
            pieces = shape.moved(start, slot)
            moved = b"".join(pieces or ())
            if pieces is None or len(moved) > SLOT - 13:
                continue
            hidden.used += 1
            behind = slot + len(moved)
            trampoline = (
                moved
                + b"\x4c\x8d\x1d" + (at + 2 - behind - 7).to_bytes(4, "little", signed=True)
                + b"\xff\x25" + (hidden.start - behind - 13).to_bytes(4, "little", signed=True)
            )  # fmt: skip
            ops.append((OP_WRITE, slot, trampoline))
            site = Site(at, start, shape.lengths, tuple(map(len, pieces)), shape.code[:5], slot)
            hidden.sites[number] = site
            code.append(site)
            self.enter(site)
        if not code:
            return None
        ops += [(OP_MPROTECT, used.start, PAGE, READ_EXEC) for used in writes]
        ops.append((OP_MPROTECT, page, len(memory), ALL))
        for site in code:
            for word in range(site.start & -8, site.start + 5, 8):
                if word not in self.words:
                    self.words[word] = memory[word - page : word - page + 8]
            ops += self.store(site, site.new, mm.users > 1)
        ops.append((OP_MPROTECT, page, len(memory), READ_EXEC))
        return ops

    def store(self, site, data: bytes, threads: bool) -> list:
        """Operations that put five bytes at the start of a site. One store where they lie in one word. Else a
        breakpoint comes first and goes last, so that no thread meets half of a jump; `stepped_on` sends those on that
        meet the breakpoint."""
        start = site.start
        word, offset = start & -8, start & 7
        now = self.words[word]
        if offset <= 3:
            self.words[word] = new = now[:offset] + data + now[offset + 5 :]
            return [(OP_POKE, word, int.from_bytes(new, "little"))]
        n = 8 - offset
        rest = self.words[word + 8]
        self.words[word] = new = now[:offset] + data[:n]
        self.words[word + 8] = rest = data[n:] + rest[5 - n :]
        ops = [(OP_POKE, word + 8, int.from_bytes(rest, "little")), (OP_POKE, word, int.from_bytes(new, "little"))]
        if threads:
            self.stepped.add(start)
            new = now[:offset] + bytes((BREAKPOINT,)) + now[offset + 1 :]
            # A processor may have fetched the old first word and not yet the second: let it pass, the host call takes longer.
            pause = (OP_MPROTECT, start & -PAGE, PAGE, ALL)
            ops = [(OP_POKE, word, int.from_bytes(new, "little")), pause, ops[0], pause, ops[1]]
        return ops

    def stepped_on(self, mm, rip: int) -> bool:
        """A breakpoint trap with the thread at rip: was it one of ours, which is or will soon be gone?"""
        if rip - 1 not in self.stepped:
            return False
        return self.busy or bool(mm.pending) or mm.aspace.read_upto(rip - 1, 1) != b"\xcc"

    def enter(self, site) -> None:
        self.sites[site.at] = site
        for page in site.pages():
            self.by_page.setdefault(page, []).append(site)
        self.starts[site.start] = site
        self.counts[site.at] = None
        self.inside.update(site.inside())

    def remove(self, site) -> None:
        """The site's bytes are the original ones, or gone. Its trampoline stays, for those who are in it."""
        del self.sites[site.at]
        del self.starts[site.start]
        for page in site.pages():
            self.by_page[page].remove(site)
            if not self.by_page[page]:
                del self.by_page[page]
        self.counts.pop(site.at, None)
        for at, _ in site.inside():
            del self.inside[at]

    def failed(self, sites: "list[int]") -> None:
        """The operations of `rewrite` have failed before all jumps were written. Trampolines that may not exist are not
        used again; the jumps that were written lead to ones that do."""
        for at in sites:
            site = self.sites[at]
            self.remove(site)
            for word in range(site.start & -8, site.start + 5, 8):
                self.words.pop(word, None)
            self.counts[at] = None
            page = self.pages.get(site.slot & -PAGE)
            if page is not None and all(other in sites for other in (s.at for s in page.sites.values())):
                page.used = SLOTS + 1

    # -- what the guest does to its memory
    def forget(self, start: int, end: int) -> None:
        """The pages of [start, end) are or will be others, before anything else can happen there."""
        for site in self.within(start, end):
            self.remove(site)
            for word in range(site.start & -8, site.start + 5, 8):
                self.words.pop(word, None)
        if self.counts and (end - start) // 2 < 1 << 16:
            for at in [at for at in self.counts if start <= at < end]:
                del self.counts[at]
        else:
            self.counts = {at: count for at, count in self.counts.items() if not start <= at < end}
        self.stepped = {at for at in self.stepped if not start <= at < end}

    def restore(self, sites, threads: bool) -> list:
        """Operations that bring back the original bytes of these sites, which are removed."""
        ops = []
        pages = sorted({page for site in sites for page in site.pages()})
        for page in pages:
            ops.append((OP_MPROTECT, page, PAGE, ALL))
        for site in sites:
            ops += self.store(site, site.old, threads)
            self.remove(site)
        for page in pages:
            ops.append((OP_MPROTECT, page, PAGE, READ_EXEC))
        return ops

    def gone(self, start: int, end: int, code: bool, threads: bool) -> list:
        """[start, end) is about to be unmapped or replaced: what must be done before. code: some of it is executable."""
        if not code:
            for at in self.pages:
                if at < end and start < at + PAGE:
                    break
            else:
                return []
        ops = self.detach(start, end, threads, True) if self.images else []
        if code and self.texts:
            self.texts = [text for text in self.texts if not (text[0] < end and start < text[1])]
        for page in self.in_hidden(start, end):
            sites = [site for site in page.sites.values() if self.sites.get(site.at) is site]
            ops += self.restore([site for site in sites if not start <= site.at < end], threads)
            del self.pages[page.start]
        if code:
            crossing = [site for site in self.within(start, end) if site.start < start or end < site.at + 2]
            ops += self.restore(crossing, threads)
            self.forget(start, end)
        return ops

    def reprotect(self, start: int, end: int, threads: bool) -> list:
        """[start, end) gets another protection: what must be done before."""
        ops = self.detach(start, end, threads) if self.images else []
        ops += self.restore(self.within(start, end), threads)
        self.forget(start, end)
        return ops

    def ended(self) -> None:
        """The address space is no more."""
        if self.texts:
            images.ended(self)
