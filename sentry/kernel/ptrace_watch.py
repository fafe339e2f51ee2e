"""Debug registers of traced tasks, without the processor's (arch/x86/kernel/ptrace.c, hw_breakpoint.c).

The host's registers are out of a guest's reach, so a task with a hardware breakpoint or a write watchpoint is stepped through
its code, and each step looks whether it has met one. Watchpoints see what has changed; a watchpoint for reading would need
to know what an instruction reads, and is refused.
"""

from sentry.abi.errno import EINVAL, EIO
from sentry.abi.signal import SIGTRAP
from sentry.platform.base import MemFault

DR6_RESERVED, DR6_STEP = 0xFFFF0FF0, 0x4000
DR7_USED = 0xFFFF03FF
ADDRESS_END = 0x7FFFFFFFF000
EXECUTE, WRITE = 0, 1
LENGTHS = (1, 2, 8, 4)
TRAP_HWBKPT = 4


class Watch:
    """The debug registers of one task: `values` DR0 … DR7, `active` [(number, kind, address, length)], `seen` the memory
    there at the last look."""

    __slots__ = ("values", "active", "seen")

    def __init__(self):
        self.values = [0] * 8
        self.active = []
        self.seen = []

    def get(self, number: int) -> int:
        value = self.values[number]
        return value ^ DR6_RESERVED if number == 6 else value

    def set(self, number: int, value: int) -> int:
        """0 or -errno."""
        if number in (4, 5):
            return -EIO
        if number < 4:
            if value >= ADDRESS_END:
                return -EINVAL
        elif number == 6:
            value ^= DR6_RESERVED
        else:
            value &= DR7_USED
        old, self.values[number] = self.values[number], value
        active = self.decode()
        if active is None:
            self.values[number] = old
            return -EINVAL
        self.active = active
        return 0

    def decode(self) -> "list | None":
        """`active` as DR7 says it; None: something cannot be."""
        control = self.values[7]
        active = []
        for number in range(4):
            if not control >> 2 * number & 3:
                continue
            kind = control >> 16 + 4 * number & 3
            length = LENGTHS[control >> 18 + 4 * number & 3]
            address = self.values[number]
            if kind not in (EXECUTE, WRITE) or (kind == EXECUTE and length != 1) or address & length - 1:
                return None
            active.append((number, kind, address, length))
        return active

    def look(self, task) -> None:
        """The task is about to go on: what it changes from now on counts."""
        self.seen = [read(task, entry) for entry in self.active]

    def met(self, task, rip: int) -> bool:
        """After a step: has it met one? Then DR6 says which."""
        found = 0
        for entry, before in zip(self.active, self.seen):
            number, kind, address, _ = entry
            if rip == address if kind == EXECUTE else read(task, entry) != before:
                found |= 1 << number
        self.values[6] = found
        return found != 0


def read(task, entry) -> "bytes | None":
    _, kind, address, length = entry
    if kind == EXECUTE:
        return None
    try:
        return task.mm.peek(address, length)
    except MemFault:
        return None


def stepped(watch, task, fault, rip: int, wanted: bool) -> "tuple | None":
    """A step has ended with `fault`; wanted: by the tracer. The fault that the task shall have, or None."""
    met = watch.met(task, rip) if watch.active else False
    if wanted:
        watch.values[6] |= DR6_STEP
        return fault
    return (SIGTRAP, TRAP_HWBKPT, rip, *fault[3:]) if met else None
