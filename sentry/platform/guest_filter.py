"""What a guest process may call on the host: the table, and the two seccomp filters made of it.

Filter A hands the calls marked NOTIFY to the Sentry, which approves each against what it asked for;
filter B, installed last, traps everything that no row below allows exactly. The stricter answer of
the two wins, so a notified call must pass both.

The instruction pointer tells the stub's calls from the guest's, whose calls must trap to be served. It
is no wall: the guest can jump to the stub's `syscall` instruction. The arguments are the wall. A row
leaves an argument unchecked only where any value is harmless, and says why.

No filter sees the two calls of uprobes trampolines, uretprobe (335) and uprobe (336): Linux 6.11 and later run them
whatever a filter says (kernel/seccomp.c: seccomp_uprobe_exception), and refuse callers outside the trampoline.
"""

from sentry.platform.bpf import (
    ALLOW,
    ARCH,
    IP_HI,
    IP_LO,
    JEQ,
    JGE,
    NR,
    TRAP,
    USER_NOTIF,
    Program,
    lo,
)

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000

LIMIT = 0x7FFE00000000  # guest addresses end here; ST_LIMIT in native/systrap.h
LIMIT_HI = LIMIT >> 32
TEXT_LO = 0x00010000  # the stub's code: ST_TEXT, and room for 64 KiB; nothing else is ever mapped there
TEXT_END = 0x00020000

FD_BELL, FD_SLOT, FD_CTX = 3, 4, 5
FD_KEPT, KEPT_END = 8, 56  # ST_FD_KEPT, and ST_MOST_KEPT further
MINUS_ONE = 0xFFFFFFFFFFFFFFFF

PRIVATE, SHARED, FIXED, ANON, NORESERVE = 0x02, 0x01, 0x10, 0x20, 0x4000
MREMAP_MAYMOVE_FIXED = 3
CLONE_FORK = 0x8000  # PARENT; the exit signal is inherited
CLONE_THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000  # VM FS FILES SIGHAND THREAD SYSVSEM

# Checks: (kind, argument, …)
EQ = "eq"  # value
IN = "in"  # values
MAX = "max"  # value
END = "end"  # length argument: addr + length <= LIMIT
FROM = "from"  # first and end of a range

DIRECT, NOTIFY = "direct", "notify"


class Row:
    """One allowed form of a call. `sample` is a set of arguments that passes (for the tests)."""

    __slots__ = ("name", "nr", "how", "checks", "sample", "reason")

    def __init__(self, name, nr, how, checks, sample, reason):
        self.name, self.nr, self.how, self.checks, self.sample, self.reason = name, nr, how, checks, sample, reason


# In order of heat.
ROWS = (
    Row(
        "rt_sigreturn", 15, DIRECT, (), (),
        "leaves the stub's handlers. A guest that calls it can set its own registers, which it can anyway, its "
        "host signal mask (no interrupts: the Sentry kills after 100 ms of CPU time; a blocked SIGSYS: the host kills) "
        "and its alternate stack (its own handlers then run anywhere in its own memory)",
    ),
    Row(
        "futex", 202, DIRECT, ((IN, 1, (0,)), (EQ, 3, 0)), (LIMIT - 64, 0, 1, 0, 0, 0),
        "FUTEX_WAIT without a time limit, for the hand-off. The word is any address of the process's own; the value is compared only",
    ),
    Row(
        "write", 1, DIRECT, ((EQ, 0, FD_BELL), (EQ, 2, 8)), (FD_BELL, 0, 8, 0, 0, 0),
        "rings the doorbell, a non-blocking eventfd: a spurious ring costs the Sentry one look. The pointer is the process's own memory",
    ),
    Row(
        "sched_yield", 24, DIRECT, (), (),
        "while CPUs are short, a stub that waits lets others run. Takes nothing that a thread which computes could not have",
    ),
    Row(
        "mmap", 9, DIRECT,
        ((END, 0, 1), (MAX, 2, 7), (IN, 3, (PRIVATE | ANON | FIXED, PRIVATE | ANON | FIXED | NORESERVE)), (EQ, 4, MINUS_ONE), (EQ, 5, 0)),
        (0x10000, 4096, 3, PRIVATE | ANON | FIXED, MINUS_ONE, 0),
        "private anonymous memory at a fixed place below the stub: no GROWSDOWN, LOCKED, POPULATE, HUGETLB, DROPPABLE",
    ),
    Row(
        "mmap", 9, NOTIFY,
        ((END, 0, 1), (MAX, 2, 7), (IN, 3, (SHARED | FIXED, PRIVATE | FIXED)), (EQ, 4, FD_SLOT)),
        (0x10000, 4096, 1, SHARED | FIXED, FD_SLOT, 0),
        "a file from the descriptor slot, which the Sentry fills for this one call; it compares range, protection, flags and offset",
    ),
    Row(
        "mmap", 9, DIRECT,
        ((END, 0, 1), (MAX, 2, 7), (EQ, 3, PRIVATE | FIXED), (FROM, 4, FD_KEPT, KEPT_END)),
        (0x10000, 4096, 1, PRIVATE | FIXED, FD_KEPT, 0),
        "private memory with the content of a file that programs often map (Platform.keep): a descriptor for reading, of a file "
        "that every user may read and nobody changes, or a sealed copy of one. Any part of it, as any part may be read",
    ),
    Row(
        "mmap", 9, DIRECT,
        ((EQ, 0, 0x7FFE10000000), (EQ, 1, 0x20400000), (EQ, 2, 3), (EQ, 3, SHARED | FIXED), (EQ, 4, FD_CTX), (EQ, 5, 0)),
        (0x7FFE10000000, 0x20400000, 3, SHARED | FIXED, FD_CTX, 0),
        "the context memory of a process just forked, whole and in its place. The descriptor is of nothing else: the process's "
        "own, or before its hello that of its parent, which it has mapped there anyway",
    ),
    Row(
        "munmap", 11, DIRECT, ((END, 0, 1),), (0x10000, 4096),
        "below the stub, the process's own memory only",
    ),
    Row(
        "mprotect", 10, DIRECT, ((END, 0, 1), (MAX, 2, 7)), (0x10000, 4096, 1),
        "below the stub; no GROWSDOWN, GROWSUP, SEM. Cannot exceed the rights of the file description behind a shared mapping",
    ),
    Row(
        "madvise", 28, DIRECT, ((END, 0, 1), (IN, 2, (4, 8, 14, 15))), (0x10000, 4096, 4),
        "DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, below the stub. Not MERGEABLE (a side channel), not DOFORK, REMOVE, PAGEOUT",
    ),
    Row(
        "prctl", 157, DIRECT, ((EQ, 0, 1), (EQ, 1, 9), (EQ, 2, 0), (EQ, 3, 0), (EQ, 4, 0)), (1, 9, 0, 0, 0, 0),
        "PR_SET_PDEATHSIG, SIGKILL: a fork forgets it, and guests must not outlive their Sentry",
    ),
    Row(
        "clone", 56, NOTIFY, ((IN, 0, (CLONE_FORK, CLONE_THREAD)), (EQ, 2, 0), (EQ, 3, 0), (EQ, 4, 0)), (CLONE_FORK, 0, 0, 0, 0),
        "the two forms that the stub uses, each asked for by the Sentry and granted once. Never clone3: its arguments lie in memory",
    ),
    Row(
        "hello", 110, NOTIFY, (), (),
        "getppid's number: a new thread or process says that it exists, so that its id comes from the host, and which request of "
        "the Sentry made it. Answered by the Sentry, never run; a process gets the descriptor of its context memory with the answer",
    ),
    Row(
        "mremap", 25, NOTIFY, ((END, 0, 1), (END, 4, 2), (EQ, 3, MREMAP_MAYMOVE_FIXED)), (0x10000, 4096, 4096, 3, 0x20000),
        "moving and growing; compared by the Sentry, because a shared file mapping could grow over what was granted",
    ),
    Row(
        "exit", 60, NOTIFY, (), (0,),
        "one thread, when the Sentry has said so: it could not notice a leader that leaves others behind",
    ),
)  # fmt: skip


def _check(program, check, bad):
    kind, arg = check[0], check[1]
    if kind == EQ:
        program.check_equal(arg, check[2], bad)
    elif kind == IN:
        program.check_one_of(arg, check[2], bad)
    elif kind == MAX:
        program.check_at_most(arg, check[2], bad)
    elif kind == FROM:
        program.check_from(arg, check[2], check[3], bad)
    elif kind == END:
        program.check_end(arg, check[2], LIMIT_HI, bad)
    else:
        raise ValueError(kind)


def filter_a() -> bytes:
    """The notifying filter. mmap is notified when it names the slot; the other calls of NOTIFY rows always."""
    program = Program()
    program.load(ARCH)
    program.jump(JEQ, AUDIT_ARCH_X86_64, no="allow")
    program.load(NR)
    for nr in sorted({row.nr for row in ROWS if row.how == NOTIFY} - {9}):
        program.jump(JEQ, nr, yes="notify")
    program.jump(JEQ, 9, no="allow")
    program.load(lo(4))  # the kernel looks at the low half of a descriptor
    program.jump(JEQ, FD_SLOT, yes="notify")
    program.label("allow")
    program.ret(ALLOW)
    program.label("notify")
    program.ret(USER_NOTIF)
    return program.assemble()


def filter_b() -> bytes:
    """The strict filter: architecture and x32 bit first, then who calls, then the rows."""
    program = Program()
    program.load(ARCH)
    program.jump(JEQ, AUDIT_ARCH_X86_64, no="trap")
    program.load(NR)
    program.jump(JGE, X32_BIT, yes="trap")
    program.load(IP_HI)
    program.jump(JEQ, LIMIT_HI, no="trap")
    program.load(IP_LO)
    program.jump(JGE, TEXT_END, yes="trap")
    program.jump(JGE, TEXT_LO, yes="rows")
    program.label("trap")
    program.ret(TRAP)
    program.label("rows")
    program.load(NR)
    by_nr = {}
    for row in ROWS:
        by_nr.setdefault(row.nr, []).append(row)
    for nr, rows in by_nr.items():
        after = f"after {nr}"
        program.jump(JEQ, nr, no=after)
        for i, row in enumerate(rows):
            bad = f"bad {nr} {i}"
            for check in row.checks:
                _check(program, check, bad)
            program.ret(ALLOW)
            program.label(bad)
        program.ret(TRAP)
        program.label(after)
    program.ret(TRAP)
    return program.assemble()
