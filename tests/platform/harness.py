"""A kernel of a few lines behind a platform: enough to run the programs of tests/platform/guest.

Each guest program is one C file; `build` compiles it (gcc, freestanding, flat at 0x400000). `Mini` starts a platform,
loads programs and serves their calls; a test adds or replaces handlers in `Mini.calls`.
"""

import os
import struct
import subprocess
import time

from sentry.platform import base

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "..", "build", "platform-guests")
CODE, CODE_LEN = 0x400000, 0x40000
STACK_TOP, STACK_LEN = 0x70000000, 0x20000
RW, RWX = 3, 7
ENOSYS, EFAULT = 38, 14
ROAD = "trap"  # set by the fixture `road`


def build(name):
    """The code of guest/NAME.c, as bytes to put at CODE, and its entry point."""
    source = os.path.join(HERE, "guest", name + ".c")
    header = os.path.join(HERE, "guest", "guest.h")
    out = os.path.join(BUILD, f"{name}-{ROAD}")
    os.makedirs(BUILD, exist_ok=True)
    newest = max(os.path.getmtime(path) for path in (source, header, __file__))
    if not os.path.exists(out + ".bin") or os.path.getmtime(out + ".bin") < newest:
        flags = "-O1 -ffreestanding -nostdlib -static -no-pie -fno-pic -mno-red-zone -fno-stack-protector -fcf-protection=none"
        flags += " -DSITES" if ROAD == "site" else ""
        flags += " -fno-asynchronous-unwind-tables -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-N -Wl,-Ttext=0x400000 -Wl,-e,_start"
        subprocess.run(["gcc", *flags.split(), "-Wl,--no-warn-rwx-segments", "-o", out + ".elf", source], check=True)
        sections = ["-j", ".text", "-j", ".rodata", "-j", ".data", "-j", ".bss"]
        alloc = ["--set-section-flags", ".bss=alloc,load,contents"]
        subprocess.run(["objcopy", "-O", "binary", *sections, *alloc, out + ".elf", out + ".bin"], check=True)
    with open(out + ".bin", "rb") as file, open(out + ".elf", "rb") as elf:
        return file.read(), struct.unpack_from("<Q", elf.read(64), 24)[0]


class Timeout(AssertionError):
    pass


class Mini:
    """Threads are identified by the host's ids. What happened is in `reports` [(tid, value)], `output`, `exits`
    {pid: status}, `faults` [(tid, fault)], `dead` [tid], `interrupts` [(tid, rip)]."""

    def __init__(self, platform):
        self.platform = platform
        self.reports, self.output, self.exits = [], b"", {}
        self.faults, self.dead, self.interrupts, self.frame_faults = [], [], [], []
        self.events = 0
        self.loaded = []
        self.calls = {
            1: self.sys_write,
            57: self.sys_fork,
            60: self.sys_exit,
            110: lambda t: 1234,
            231: self.sys_exit_group,
            400: self.sys_report,
            401: self.sys_spawn,
        }
        self.on_fault = self.fault
        self.on_interrupt = self.interrupted
        self.on_ops = lambda t: None
        self.stack_at = STACK_TOP

    def spaces(self):
        """Address spaces of programs that were loaded and have not ended."""
        return {t.aspace for t in self.loaded if t.aspace.threads}

    # -- driving
    def load(self, name, argument=0):
        """Start guest/NAME.c in a new address space; returns its thread, running."""
        code, entry = build(name)
        assert len(code) <= CODE_LEN
        box = []
        self.platform.new_aspace(lambda thread, error: box.append((thread, error)))
        self.until(lambda: box)
        thread, error = box[0]
        self.loaded.append(thread)
        assert error == 0 and thread is not None, error
        ops = [
            (base.OP_MMAP_ANON, CODE, CODE_LEN, RWX, False),
            (base.OP_WRITE, CODE, code),
            (base.OP_MMAP_ANON, STACK_TOP - STACK_LEN, STACK_LEN, RW, False),
        ]
        done = []
        self.on_ops = lambda t: done.append((t.ops_done, t.ops_errno))
        thread.run_ops(ops)
        self.until(lambda: done)
        assert done[0] == (3, 0), done
        self.on_ops = lambda t: None
        thread.regs.rip, thread.regs.rsp, thread.regs.rdi = entry, STACK_TOP - 256, argument
        thread.resume(fp_reset=True)
        return thread

    def step(self, seconds=0.1):
        for thread in self.platform.wait(time.monotonic_ns() + int(seconds * 1e9)):
            self.events += 1
            self.event(thread)

    def until(self, condition, seconds=30.0):
        """Serve until condition() is true; Timeout after `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Timeout(f"reports {self.reports[-5:]} exits {self.exits} faults {self.faults} dead {self.dead}")
            self.step()

    def run(self, name, argument=0, seconds=90.0):
        """Run a program to its exit_group and return the status."""
        thread = self.load(name, argument)
        pid = thread.aspace.pid
        self.until(lambda: pid in self.exits or thread.tid in self.dead, seconds)
        return self.exits.get(pid)

    def event(self, t):
        if t.event == base.EV_SYSCALL:
            handler = self.calls.get(t.nr)
            value = -ENOSYS if handler is None else handler(t)
            if value is not None:
                t.ret(value)
        elif t.event == base.EV_FAULT:
            self.on_fault(t)
        elif t.event == base.EV_INTERRUPT:
            self.on_interrupt(t)
        elif t.event == base.EV_OPS:
            self.on_ops(t)
        elif t.event == base.EV_FRAME_FAULT:
            self.frame_faults.append(t.tid)
            t.aspace.kill()
        elif t.event == base.EV_DEAD:
            self.dead.append(t.tid)

    # -- calls
    def sys_report(self, t):
        self.reports.append((t.tid, t.args[0]))
        return 0

    def sys_write(self, t):
        try:
            self.output += t.read(t.args[1], t.args[2])
        except base.MemFault:
            return -EFAULT
        return t.args[2]

    def sys_exit(self, t):
        t.exit()

    def sys_exit_group(self, t):
        self.exits[t.aspace.pid] = t.args[0]
        t.aspace.kill()

    def sys_fork(self, t):
        def done(child, error):
            if child is not None:
                child.ret(0)
            t.ret(-error if error else child.tid)

        t.fork(done)

    def sys_spawn(self, t):
        def done(child, error):
            if child is not None:
                self.stack_at -= 0x4000
                child.regs.rsp = self.stack_at - 0x1000
                child.ret(0)
            t.ret(-error if error else child.tid)

        t.spawn(done)

    def fault(self, t):
        self.faults.append((t.tid, t.fault))
        t.aspace.kill()

    def interrupted(self, t):
        self.interrupts.append((t.tid, t.regs.rip))
        t.resume()
