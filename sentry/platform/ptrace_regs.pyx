"""Registers of the ptrace platform's threads."""

from libc.string cimport memset

from sentry.platform.ptrace_host cimport EFLAGS, FS_BASE, GS_BASE, PTRACE_GETREGS, RIP, RSP, ptrace

MASK = (1 << 64) - 1

# The registers of the interface, in its order, and where they stand in user_regs_struct.
NAMES = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "rsp", "eflags", "fs_base", "gs_base",
)  # fmt: skip
cdef int[21] PLACES = [*range(16), RIP, RSP, EFLAGS, FS_BASE, GS_BASE]
cdef dict INDEX = {NAMES[i]: PLACES[i] for i in range(21)}


cdef class Regs:
    """General registers; fetched from the host when first looked at, written back on resumption if changed."""

    cdef void fetch(self) noexcept:
        if not self.valid:
            if ptrace(PTRACE_GETREGS, self.tid, NULL, &self.u[0]) < 0:
                memset(&self.u[0], 0, sizeof(self.u))  # the thread has died, nobody will see them used
            self.valid = True

    def __getattr__(self, name):
        index = INDEX.get(name)
        if index is None:
            raise AttributeError(name)
        self.fetch()
        return self.u[<int>index]

    def __setattr__(self, name, value):
        index = INDEX.get(name)
        if index is None:
            raise AttributeError(name)
        self.fetch()
        self.u[<int>index] = value & MASK
        self.dirty = True

    def copy(self):
        """All registers as ints, in the interface's order (tuple of 21)."""
        cdef int i
        self.fetch()
        return tuple([self.u[PLACES[i]] for i in range(21)])

    def load(self, values):
        """Sets all registers (21 ints, as from `copy`)."""
        cdef int i
        if len(values) != 21:
            raise ValueError("21 registers")
        self.fetch()
        for i in range(21):
            self.u[PLACES[i]] = values[i] & MASK
        self.dirty = True
