"""Sizes of address spaces as the Sentry knows them: from its list of areas. How much of an area the host has in
memory it does not tell, so "resident" is an upper bound: the size of the areas that may be used."""

from sentry.mm.vma import PROT_EXEC, PROT_WRITE, VMA

STACK_SHOWN = 132 << 10  # of a stack, whose area is as large as it may become


class Sizes:
    """Sums over the areas of an address space, in bytes."""

    __slots__ = ("total", "resident", "data", "stack", "text", "library", "shared", "locked", "swap")

    def __init__(self, mm):
        self.total = self.resident = self.data = self.stack = self.library = self.shared = self.locked = 0
        self.text = 0
        if mm is not None:
            self.count(mm)

    def count(self, mm) -> None:
        self.text = max(0, mm.end_code - mm.start_code)
        for area in mm.vmas.areas:
            size = area.end - area.start
            self.total += size
            if area.flags & VMA.LOCKED:
                self.locked += size
            if area.flags & VMA.GROWSDOWN:
                self.stack += size
                self.resident += min(size, STACK_SHOWN)
                continue
            if area.prot and not area.flags & VMA.NORESERVE:
                self.resident += size
                if area.shared:
                    self.shared += size
            if area.prot & PROT_WRITE and not area.shared:
                self.data += size
            elif area.prot & PROT_EXEC and area.backing is not None:
                self.library += size
        self.library = max(0, self.library - self.text)


def peak(tg) -> int:
    """Largest size in memory so far (ru_maxrss), in bytes: as far as seen at the ends of its address spaces, and now."""
    most = tg.maxrss
    for task in tg.tasks:
        if task.mm is not None:
            return max(most, Sizes(task.mm).resident)
    return most


def leave(task) -> None:
    """The process is about to leave its address space."""
    tg = task.tg
    tg.maxrss = max(tg.maxrss, Sizes(task.mm).resident)
