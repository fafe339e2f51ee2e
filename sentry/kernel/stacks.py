"""What every thread of the guests does, for `stockade debug --stacks`.

A thread that waits in a system call shows the call, what it waits for, and where it came from. One that runs guest code has
no registers to show: it would have to be stopped for that. Frames are found by the chain of frame pointers, so code that was
compiled without them shows its innermost address only.
"""

from struct import unpack

from sentry.kernel.signals import StopWait
from sentry.kernel.statistics import name_of
from sentry.platform.base import MemFault

FRAMES_MAX = 32
TASKS_MAX = 500  # an answer has to fit into a packet


def collect(container) -> dict:
    """{"threads": [{pid, tid, comm, state, call, args, waits, frames}], "more": how many are left out}."""
    tasks = sorted((task for tg in container.members for task in tg.tasks), key=lambda task: (task.tg.pid, task.tid))
    return {"threads": [describe(task) for task in tasks[:TASKS_MAX]], "more": max(0, len(tasks) - TASKS_MAX)}


def describe(task) -> dict:
    row = {"pid": task.tg.pid, "tid": task.tid, "comm": task.comm.decode("utf-8", "replace"), "state": "runs guest code"}
    thread = task.thread
    if task.dead or thread is None:
        row["state"] = "has ended"
    elif task.wait is not None:
        row["state"] = "is stopped" if type(task.wait) is StopWait else "waits"
        row["call"] = name_of(thread.nr)
        row["args"] = [f"{arg:#x}" for arg in thread.args]
        row["waits"] = type(task.wait).__name__
        row["frames"] = [place(task.mm, addr) for addr in frames(task)]
    return row


def frames(task) -> "list[int]":
    """The address of its code, and return addresses as far as the chain of frame pointers goes up."""
    regs = task.thread.regs
    found, at = [regs.rip], regs.rbp
    if task.mm is None:
        return found
    while len(found) < FRAMES_MAX and at and not at & 7:
        try:
            above, back = unpack("<QQ", task.mm.aspace.read(at, 16))
        except MemFault:
            break
        if not back or above <= at and above:
            break
        area = task.mm.find(back)
        if area is None or not area.prot & 4 or not area.start <= back < area.end:
            break
        found.append(back)
        at = above
    return found


def place(mm, addr) -> str:
    """An address as FILE+OFFSET, or the number where no file is mapped."""
    area = mm.find(addr) if mm is not None else None
    if area is None or not area.start <= addr < area.end or area.backing is None:
        return f"{addr:#x}"
    inode = getattr(area.backing, "inode", None)
    if inode is None:
        return f"{addr:#x}"
    name = area.backing.shown_name(None).decode("utf-8", "replace")
    return f"{name}+{addr - area.start + area.offset:#x}"
