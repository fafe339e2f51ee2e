"""When call sites are rewritten (mm/patches.py says how): a site whose calls trapped a few times, by the thread that
has just trapped there, before its call is served.

Other threads of the address space go on meanwhile, which is safe where one instruction is displaced: it is replaced by
one store, or behind a breakpoint. Where several are, a thread could stand between them; then all others must be in the
kernel, and those that would leave it are held (`Kernel.held`) until it is done.
"""

from sentry.abi.errno import EINTR
from sentry.core import log
from sentry.kernel.hooks import TASK_EXIT
from sentry.mm.functions import Library
from sentry.mm.images import Images
from sentry.mm.patches import READ_EXEC, Patches
from sentry.platform.base import OP_MPROTECT, PAGE, MemFault

# Trapped calls of a site until it is rewritten. A rewriting costs 60 us (half of it for cold caches and the page's copy),
# a trap 2.5 us: a process that ends soon shall not have paid more than it could have saved. When a page is rewritten for
# one site, others in it that are on their way go along, for a few us each.
THRESHOLD = 20
COMPANY = 4
AGAIN = 16  # calls until a site that could not be rewritten just then is looked at again
MOST_COUNTED = 1 << 16  # sites of an address space
SIGTRAP, TRAP_BREAKPOINT = 5, 3
TRAP_FLAG = 0x100


class Patcher:
    """Rewriting for all address spaces of a kernel. `statistics` tells what has been done."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.entry = kernel.platform.entry
        self.library = Library()
        self.images = Images(self.library, self.entry, kernel.platform.keep)
        self.trapped_calls = 0
        self.seen = 0
        self.rewritten = 0
        self.refused = {}  # reason -> sites

    def statistics(self) -> dict:
        """Counts since the start, over all address spaces (a site counts once in each program that executes it):
        traps (calls that came by a trap), seen, patched, refused {reason: sites}; copies: see Images.statistics."""
        return {
            "traps": self.trapped_calls, "seen": self.seen, "patched": self.rewritten, "refused": dict(self.refused),
            "copies": self.images.statistics(),
        }  # fmt: skip

    def new_record(self) -> Patches:
        """For a fresh address space."""
        return Patches(self.entry)

    def room(self, task, file) -> int:
        """Bytes to be left free below the lowest segment of this file, for the trampolines of its copy."""
        if not self.images.current:
            return 0
        mapping = file.host_mapping(task, False, False)
        return 0 if isinstance(mapping, int) else self.images.room(mapping[0])

    # -- a call has trapped
    def trapped(self, task, thread) -> bool:
        """Called for each call that came by a trap, before it is served. True: the site is being rewritten; the call is
        served afterwards."""
        self.trapped_calls += 1
        patches = task.mm.patches
        if patches.plain:
            return False
        at = thread.regs.rip - 2
        counts = patches.counts
        if at not in counts:
            if len(counts) < MOST_COUNTED:
                counts[at] = 1
                self.seen += 1
            return False
        count = counts[at]
        if count is None:
            return False
        counts[at] = count = count + 1
        if count < THRESHOLD or (count > THRESHOLD and count % AGAIN):
            return False
        try:
            reason = self.attempt(task, patches, at)
        except Exception:  # of the analysis, before anything is changed
            log.exception(f"internal error looking at the call site {at:#x} of task {task.tid}")
            reason = "internal error"
        if reason is None:
            return True
        if reason:
            self.refuse(counts, at, reason)
        return False

    def refuse(self, counts, at, reason) -> None:
        counts[at] = None
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def attempt(self, task, patches, at) -> "str | None":
        """Begin to rewrite the site. None: begun; "": not now; else why never."""
        mm = task.mm
        area = mm.find(at)
        if area is None or area.shared or area.prot != 5 or area.backing is None:
            return "not a program's code"
        if patches.busy or patches.forks:
            return ""
        mapping = area.backing.host_mapping(task, False, False)
        if isinstance(mapping, int):
            return "no file"
        fd, delta = mapping[0], area.offset - area.start
        shape = self.library.shape(fd, at + delta)
        if type(shape) is str:
            return shape
        page = at - shape.start & -PAGE
        end = (at + 1 & -PAGE) + PAGE
        if at - shape.start < area.start or end > area.end:
            return "edge of the code"
        if any(p.start < end and page < p.end for p in mm.pending + mm.queue):
            return ""
        parked = mm.users == 1 or others_parked(task)
        if len(shape.lengths) > 1 and not parked:
            return ""
        try:
            memory = task.read_upto(page, end - page)
        except MemFault:
            return "changed"
        if memory[at - shape.start - page : at + 2 - page] != shape.code:
            return "changed"
        wanted = [(at, shape)]
        counts = patches.counts
        near = [other for other in counts if page <= other < end and other != at and (counts[other] or 0) >= COMPANY]
        for other in near if end == page + PAGE else ():
            shape = self.library.shape(fd, other + delta)
            if type(shape) is str:
                self.refuse(counts, other, shape)
                continue
            offset = other - page - shape.start
            if offset >= 0 and memory[offset : other + 2 - page] == shape.code and (parked or len(shape.lengths) == 1):
                wanted.append((other, shape))
        ops = patches.rewrite(mm, area, wanted, memory)
        if ops is None:
            return "no room"
        alone = mm.users > 1 and any(len(shape.lengths) > 1 for _, shape in wanted)
        patches.busy = True
        if alone:
            self.kernel.held[mm] = []
        task.data["rewriting"] = mm
        then = Then(self, task, mm, [other for other, _ in wanted if other in patches.sites], page, end, len(ops))
        mm.submit(task, page, end, ops, then=then.done)
        return None

    def over(self, mm) -> None:
        """No rewriting is under way in `mm` any more: let those go on who waited."""
        patches = mm.patches
        patches.busy = False
        for other, result in self.kernel.held.pop(mm, ()):
            if not other.dead:
                self.kernel.back_to_guest(other, result)
        after, patches.after = patches.after, []
        for function in after:
            function()

    # -- registers
    def interrupted(self, task, thread) -> None:
        """A thread in a trampoline is shown where the program has that instruction."""
        patches = task.mm.patches
        if patches.pages:
            thread.regs.rip = patches.guest_rip(thread.regs.rip)

    def fault(self, task, thread, fault) -> "tuple | None":
        """Likewise. Returns the fault (Thread.fault) as the program shall see it; None: it was our own doing, the thread
        goes on."""
        patches = task.mm.patches
        regs = thread.regs
        rip = regs.rip
        if fault[0] == SIGTRAP and fault[3] == TRAP_BREAKPOINT:
            if patches.stepped and patches.stepped_on(task.mm, rip):
                regs.rip = rip - 1
                self.kernel.back_to_guest(task, None)
                return None
            return fault
        at = patches.guest_rip(rip)
        if at == rip:
            return fault
        if fault[0] == SIGTRAP:
            if patches.jumps(at):
                # The step was the jump, of which the program knows nothing: the next one ends where it expects.
                thread.resume()
                return None
            fault = (*fault[:2], at, *fault[3:])
        elif fault[2] == rip:  # SIGILL, SIGFPE
            fault = (*fault[:2], at, *fault[3:])
        regs.rip = at
        return fault


class Then:
    """What follows when the operations are done."""

    __slots__ = ("patcher", "task", "mm", "sites", "page", "end", "count")

    def __init__(self, patcher, task, mm, sites, page, end, count):
        self.patcher = patcher
        self.task = task
        self.mm = mm
        self.sites = sites
        self.page = page
        self.end = end
        self.count = count  # of the operations

    def done(self, errno) -> None:
        task, patcher = self.task, self.patcher
        if errno:
            log.warning(f"task {task.tid}: sites {self.sites} could not be rewritten: errno {errno}")
        if errno and task.thread.ops_done < self.count - 1:
            self.mm.patches.failed(self.sites)
            ops = [(OP_MPROTECT, self.page, self.end - self.page, READ_EXEC)]
            self.mm.submit(task, self.page, self.end, ops, then=self.serve)
            return
        patcher.rewritten += len(self.sites)
        self.serve(0)

    def serve(self, errno) -> None:
        """The call itself, at last."""
        task, patcher = self.task, self.patcher
        task.data.pop("rewriting", None)
        patcher.over(self.mm)
        if task.dying:
            patcher.kernel.back_to_guest(task, -EINTR)
        else:
            patcher.kernel.serve(task, task.thread)


def others_parked(task) -> bool:
    """Are all other threads of the address space blocked in calls?"""
    for thread in task.mm.aspace.threads:
        other = thread.task
        if other is not task and (other is None or other.wait is None):
            return False
    return True


def resume_point(task) -> None:
    """The thread is about to go on at `regs.rip`, which may be between displaced instructions."""
    patches = task.mm.patches
    if patches is not None and (patches.sites or patches.images):
        regs = task.thread.regs
        regs.rip = patches.resume_rip(regs.rip, bool(regs.eflags & TRAP_FLAG))


def forget(task) -> None:
    """The task ends in the middle of a rewriting: with it goes the host process."""
    mm = task.data.pop("rewriting", None)
    if mm is not None:
        task.kernel.patcher.over(mm)


TASK_EXIT.append(forget)
