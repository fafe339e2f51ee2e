"""Drives a platform without a kernel: small C programs in guest address spaces, whose system calls the
tests answer. The same tests run on every platform that is built."""

import hashlib
import os
import subprocess
import time

from sentry.platform import base
from sentry.platform.base import OP_MMAP_ANON, OP_WRITE

TEXT = 0x100000  # where programs are loaded, readable, writable and executable
SIZE = 0x40000
STACK = 0x800000
STACK_SIZE = 0x10000
DATA = 0x2000000  # free for tests

# Made-up numbers that guest programs use to talk to the test.
NOTE, DONE = 1000, 1001

ROAD = "trap"  # set by the fixture `road`

PRELUDE = r"""
#define NOTE 1000
#define DONE 1001
typedef unsigned long u64;
typedef unsigned int u32;
#ifdef SITES /* what a rewritten call site and its trampoline do */
#define SYSCALL "lea 2f(%%rip), %%r11\n\tmovabs $0x7ffe00010000, %%rcx\n\tjmp *%%rcx\n\tsyscall\n2:"
#else
#define SYSCALL "syscall"
#endif
static long call(long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile(SYSCALL : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
             : "rcx", "r11", "memory");
    return ret;
}
#define call0(nr) call(nr, 0, 0, 0, 0, 0, 0)
#define note(v) call(NOTE, (u64)(v), 0, 0, 0, 0, 0)
#define done(v) do { u64 v_ = (u64)(v); for (;;) call(DONE, v_, 0, 0, 0, 0, 0); } while (0)
int main(void);
__asm__(".section .text.first,\"ax\"\n_start: xor %ebp,%ebp\n and $-16,%rsp\n call main\n ud2\n.text\n");
"""


class Program:
    """A flat image of C source linked at TEXT."""

    def __init__(self, path):
        with open(path + ".bin", "rb") as file:
            self.image = file.read()
        table = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        self.symbols = {line.split()[-1]: int(line.split()[0], 16) for line in table.splitlines() if line[0] != " "}


class Machine:
    """A started platform and the events that it has reported."""

    def __init__(self, platform, directory):
        self.platform = platform
        self.directory = str(directory)
        self.events = []

    def compile(self, source):
        path = os.path.join(self.directory, hashlib.sha1(source.encode()).hexdigest()[:16] + ROAD)
        if not os.path.exists(path + ".bin"):
            with open(path + ".c", "w", encoding="utf-8") as file:
                file.write(PRELUDE + source)
            with open(path + ".ld", "w", encoding="utf-8") as file:
                file.write(
                    f"SECTIONS {{ . = {TEXT:#x}; .all : {{ *(.text.first) *(.text*) *(.rodata*) *(.data*) *(.bss*) *(COMMON) }}"
                    " /DISCARD/ : { *(*) } }"
                )
            subprocess.run(
                ["gcc", *(["-DSITES"] if ROAD == "site" else []), "-O1", "-w", "-ffreestanding", "-mno-red-zone", "-nostdlib", "-static", "-no-pie", "-fno-pic", "-fno-stack-protector",
                 "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
                 f"-Wl,-T,{path}.ld", "-o", path, path + ".c"],
                check=True, timeout=60,
            )  # fmt: skip
            subprocess.run(["objcopy", "-O", "binary", "--set-section-flags", ".all=alloc,load,contents", path, path + ".bin"],
                           check=True, timeout=60)  # fmt: skip
        return Program(path)

    def pump(self, until, timeout=10.0):
        """Runs `wait` until until() is true. A machine that stood still meanwhile has used up one step of the time only."""
        steps = int(timeout / 0.2)
        while not until():
            steps -= 1
            assert steps >= 0, "the platform did not answer in time"
            end = time.monotonic_ns() + 200_000_000
            while not until() and time.monotonic_ns() < end:
                self.events += self.platform.wait(end)

    def settle(self, seconds=0.05):
        """Runs `wait` for a while, for what must not happen."""
        end = time.monotonic_ns() + int(seconds * 1e9)
        while time.monotonic_ns() < end:
            self.events += self.platform.wait(end)

    def event(self, thread, timeout=10.0):
        """The thread's next event (EV_*)."""
        self.pump(lambda: thread in self.events, timeout)
        self.events.remove(thread)
        return thread.event

    def outcome(self, request):
        """Calls request(done) and returns the arguments that `done` gets."""
        answers = []
        request(lambda *args: answers.append(args))
        self.pump(lambda: answers)
        assert len(answers) == 1
        return answers[0]

    def aspace(self):
        """A parked thread in an empty address space."""
        thread, errno = self.outcome(self.platform.new_aspace)
        assert errno == 0
        return thread

    def fork(self, thread):
        child, errno = self.outcome(thread.fork)
        assert errno == 0
        return child

    def spawn(self, thread):
        child, errno = self.outcome(thread.spawn)
        assert errno == 0
        return child

    def ops(self, thread, *ops):
        """Carries out memory operations; (operations done, errno)."""
        thread.run_ops(list(ops))
        assert self.event(thread) == base.EV_OPS
        return thread.ops_done, thread.ops_errno

    def load(self, source):
        """A parked thread at the start of a program; its symbols are in thread.task."""
        program = self.compile(source)
        thread = self.aspace()
        assert self.ops(
            thread,
            (OP_MMAP_ANON, TEXT, SIZE, 7, False),
            (OP_MMAP_ANON, STACK, STACK_SIZE, 3, False),
            (OP_WRITE, TEXT, program.image),
        ) == (3, 0)
        thread.task = program.symbols
        regs = thread.regs
        regs.rip, regs.rsp, regs.eflags = TEXT, STACK + STACK_SIZE - 128, 0x202
        return thread

    def start(self, source):
        """As `load`, and lets it run (with initial FP state, as exec does)."""
        thread = self.load(source)
        thread.resume(fp_reset=True)
        return thread

    def syscall(self, thread, nr=None):
        """Waits for a system call of the thread; its arguments."""
        assert self.event(thread) == base.EV_SYSCALL
        if nr is not None:
            assert thread.nr == nr
        return thread.args

    def note(self, thread):
        """The value of the program's next note()."""
        return self.syscall(thread, NOTE)[0]

    def finish(self, thread):
        """The value of done()."""
        return self.syscall(thread, DONE)[0]
