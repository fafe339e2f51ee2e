"""The platform interface: what the kernel may ask of whatever carries the guest's threads.

A platform runs guest threads (1:1 on host threads) in guest address spaces (one host process
each) and reports what they do as events. The kernel never waits for a guest: each request below
returns at once, and its outcome arrives as an event or through a `done` callback, both from
within `Platform.wait`.

A thread is either RUNNING (the guest or the stub has it) or PARKED (an event of it has been
returned by `wait`, and it does nothing until the kernel calls one of the methods marked
"resumes"). Only a parked thread may be asked anything; `interrupt` is the exception.

This file is the contract, in plain Python, for readers and for type checks. The two
implementations are `systrap.pyx` and `ptrace.pyx`; `tests/platform` runs the same tests on both.
"""

import os

# --- events (Thread.event) -----------------------------------------------------------------
EV_SYSCALL = 1  # the guest made a system call: `nr`, `args`
EV_FAULT = 2  # SEGV BUS FPE ILL TRAP in guest code: `fault`
EV_INTERRUPT = 3  # the answer to `interrupt`: the thread was in guest code
EV_OPS = 4  # `run_ops` ended without resuming the guest: `ops_done`, `ops_errno`
EV_FRAME_FAULT = 5  # guest memory named in enter_handler / resume(fp_from=…) is not accessible
EV_DEAD = 6  # the host process of this thread is gone (killed, OOM); reported once per thread

# --- memory operations for run_ops: tuples (opcode, arguments…) -------------------------------
OP_MMAP_ANON = 1  # (addr, length, prot, noreserve)  private anonymous, MAP_FIXED
OP_MMAP_FD = 2  # (addr, length, prot, shared, host_fd, offset)  MAP_FIXED; host_fd is the Sentry's
OP_MUNMAP = 3  # (addr, length)
OP_MPROTECT = 4  # (addr, length, prot)
OP_MADVISE = 5  # (addr, length, advice)  DONTNEED FREE HUGEPAGE NOHUGEPAGE
OP_MREMAP = 6  # (old_addr, old_length, new_length, new_addr)  MAYMOVE | FIXED, old_length != 0
OP_WRITE = 7  # (addr, data)  copy bytes into guest memory (in stub: may write what it just mapped)
OP_ZERO = 8  # (addr, length)
OP_SAVE_FP = 10  # ()  makes `Thread.fp` readable
OP_POKE = 9  # (addr, value)  store 8 bytes at once, addr a multiple of 8; only on platforms with `entry`

# Calls that a thread begins or ends with and that concern it alone (Thread.tell_start): number -> bit
START_CALLS = {273: 1, 218: 2, 158: 4, 334: 8, 60: 16, 231: 16}  # set_robust_list set_tid_address arch_prctl rseq exit exit_group
START_ALL = 31

TASK_LIMIT = 0x7FFE00000000  # guest addresses end below this; the stub lives above
PAGE = 4096


class Kept(int):
    """A descriptor of the Sentry, to a file that processes made from now on can map privately without approval: what
    Platform.keep gives, to be used as host_fd in OP_MMAP_FD. home: whose they are; place, since: where they have it, and the
    number of this change of what is kept there. used: mapped lately. lost: it has given way to another."""

    def __init__(self, fd: int):
        self.home, self.place, self.since = None, -1, 1 << 62
        self.used, self.lost = False, False

    def __del__(self, close=os.close):
        close(self)


class MemFault(Exception):
    """Guest memory at `addr` could not be read or written (becomes EFAULT)."""


class Regs:
    """General registers of a parked thread; every attribute is a 64-bit unsigned int, get and set.

    r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip rsp eflags fs_base gs_base
    After EV_SYSCALL: orig_rax is the number, rip is after the instruction.
    """

    def copy(self) -> "tuple[int, ...]":
        """All registers, in the order above."""

    def load(self, values: "tuple[int, ...]") -> None: ...


class Thread:
    task: object  # the kernel's task; the platform never looks at it
    aspace: "AddressSpace"
    tid: int  # host thread id in the Sentry's pid namespace
    event: int  # EV_*, valid while parked
    nr: int  # system call number, sign-extended from 32 bits; -1 for a call of a foreign ABI (i386, x32)
    args: "tuple[int, int, int, int, int, int]"  # unsigned 64-bit
    fault: "tuple[int, int, int, int, int]"  # signo, si_code, address, trap number, error code
    ops_done: int  # operations that succeeded
    ops_errno: int  # 0, or errno of operation number ops_done
    regs: Regs  # of the last event; ask for it anew after each

    # -- guest memory; while parked. All raise MemFault when nothing can be copied.
    # Data that the stub carried along with the call (the marshalling buffer) is served from there,
    # and what is written into an announced output buffer travels back with `ret`; callers cannot tell.
    def read(self, addr: int, length: int) -> bytes: ...

    def read_upto(self, addr: int, length: int) -> bytes:
        """As `read`, but a fault after some bytes returns those."""

    def read_cstr(self, addr: int, limit: int) -> bytes:
        """The bytes before the NUL. When no NUL is found in `limit` bytes: `limit` bytes are returned."""

    def write(self, addr: int, data) -> None: ...

    def write_upto(self, addr: int, data) -> int:
        """As `write`, but a fault after some bytes returns their number."""

    def write_later(self, addr: int, data: bytes) -> None:
        """As `write`, of a few bytes, but may happen on the way back to guest code. They must be writable: a fault would become
        the result of the call."""

    # -- answers that the platform may give on its own
    def remember(self, nr: int, value: int) -> None:
        """Call `nr` of this thread has this result (unsigned 32 bits) until `forget_answers`. A hint."""

    def forget_answers(self) -> None: ...

    def tell_start(self, tid: int, may: int) -> None:
        """The platform may answer those of START_CALLS (`may`: their bits) on its own until `forget_answers`; `tid`: the
        thread's number, as its program knows it."""

    # -- kept here for the same reason
    robust_list: int  # what set_robust_list was told last, 0: nothing
    clear_child_tid: int  # set_tid_address

    # -- the signal mask: kept here because a platform may let the guest change it without a call to the kernel
    signal_mask: int  # at this moment; set while parked

    def tell_pending(self, signals: int) -> None:
        """These signals are pending, for the thread or its process. From now on a change of the mask that concerns one of
        them is a call to the kernel, and one that was made just before is followed by EV_INTERRUPT."""

    def tell_altstack(self, stack: tuple) -> None:
        """The alternate signal stack: (ss_sp, ss_flags, ss_size). A hint; (0, 0, 0) at the start."""

    # -- for debuggers
    def tell_traced(self, traced: bool) -> None:
        """From the next return to guest code on each call is an event that arrives with the thread's registers in
        a signal frame or the like: none is answered by the platform, and none comes from a rewritten site."""

    def reload_call(self) -> None:
        """The call of this event is now the one that `regs` say (orig_rax, rdi, …), and reads memory anew."""

    fp: bytes  # FP state as an image of `Platform.fp_size` bytes, after OP_SAVE_FP or a set; set (a valid one): goes on with that

    entered_signal: int  # the signal whose handler a fast handler was about to enter, when EV_FRAME_FAULT came (core/guest.pxd); else 0

    # -- resumes --------------------------------------------------------------------------------
    def ret(self, value: int) -> None:
        """Resumes: return from the system call with rax = value (a negative errno is passed negative)."""

    def resume(self, fp_reset: bool = False, fp_from: int = 0) -> None:
        """Resumes with `regs` as they stand. fp_reset: initial FP state (exec). fp_from: load the FP
        state from the signal frame image at this guest address (sigreturn; EV_FRAME_FAULT on a fault)."""

    def enter_handler(self, frame_addr: int, frame: bytes, fp_addr: int) -> None:
        """Resumes at `regs` after writing `frame` to frame_addr and the thread's FP state (an image of
        `Platform.fp_size` bytes in the kernel's signal frame format) to fp_addr; FP state becomes initial.
        EV_FRAME_FAULT, with nothing else changed, if that memory cannot be written."""

    def run_ops(self, ops: list, value: "int | None" = None) -> None:
        """Resumes into the stub: carry out memory operations in order, stop at the first failure.
        If all succeed and `value` is given the guest goes on with rax = value and no event follows;
        otherwise EV_OPS."""

    # -- others, parked threads ------------------------------------------------------------------
    def fork(self, done, meanwhile=None) -> None:
        """Copy the address space (private memory copy-on-write). done(child, errno): `child` is a parked
        Thread in a new AddressSpace with this thread's registers and FP state, or None. This thread
        stays parked and must not be resumed before `done`. meanwhile(): may be called before, while the host is at work."""

    def spawn(self, done) -> None:
        """A new thread in the same address space, else as `fork`."""

    def exit(self) -> None:
        """End this host thread only. No further event comes from it."""

    # -- running threads --------------------------------------------------------------------------
    def interrupt(self) -> None:
        """Make a running thread report soon: EV_INTERRUPT from guest code, or whatever event it was
        about to report anyway. No effect on a parked thread. A thread that cannot be interrupted
        within 100 ms of its CPU time is killed with its host process (EV_DEAD)."""


class AddressSpace:
    pid: int  # host process id in the Sentry's pid namespace
    threads: "list[Thread]"

    # As in Thread, without the marshalling buffer.
    def read(self, addr: int, length: int) -> bytes: ...
    def read_upto(self, addr: int, length: int) -> bytes: ...
    def write(self, addr: int, data) -> None: ...
    def write_upto(self, addr: int, data) -> int: ...

    def kill(self) -> None:
        """End the host process and forget its threads; no further events. Idempotent."""


class Nursery:
    """Where address spaces of a container come from."""

    pid: int  # host process id of its seed in the Sentry's pid namespace
    ready: bool  # set by who has it: processes may be made in advance

    def close(self) -> None:
        """End the seed and what it has made ready; no further address spaces."""


class Platform:
    name: str
    fp_size: int  # bytes of the FP part of a signal frame (xsave area with its trailing magic)
    # Where rewritten call sites enter the platform's code in the guest (rax: number, r11: address after the `syscall`,
    # rcx free), or 0: system calls have one way in.
    entry: int

    apart: bool  # before the start: guests get an empty network namespace of their own, not ours
    vdso: int  # address of the vDSO in guest processes, 0: none; after the start
    vdso_image: bytes  # its two pages

    def set_time_offsets(self, monotonic: int, boottime: int) -> bool:
        """Nanoseconds by which the guests' clocks are ahead of the host's. False: this vDSO cannot show that."""

    def start(self) -> None:
        """Start the seed process, from which all guest processes descend. Before the seccomp filter closes."""

    def new_aspace(self, done, nursery=None) -> None:
        """done(thread, errno): a parked thread (zero registers) in a fresh, empty address space, whose host process is a child
        of that Nursery's seed (None: the first one's)."""

    def new_nursery(self, done) -> None:
        """done(Nursery or None, errno): a further seed. What is done to its host process from outside before it is used (cgroups)
        holds for all that descend from it."""

    def keep(self, fd: int, nursery=None) -> "Kept | None":
        """Have new processes from this nursery carry this file, which is often mapped: the descriptor is for reading only, of a
        regular file that every user of that container may read and that never changes, or a sealed memory file with such
        content. None: not here."""

    def watch(self, fd: int, events: int, callback) -> None:
        """Call callback(fd, events) from `wait` when the host descriptor is ready (select.EPOLL*;
        level-triggered unless EPOLLET is given). Watching a descriptor again replaces the mask."""

    def unwatch(self, fd: int) -> None: ...

    def wait(self, deadline: "int | None") -> "list[Thread]":
        """Threads that have an event; sleeps until there is one, a callback has run, or `deadline`
        (CLOCK_MONOTONIC, ns; None: for ever) has passed. May return []."""

    def stop(self) -> None:
        """Kill every host process of the platform."""
