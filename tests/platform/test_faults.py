"""Faults of guest code, signal frames and FP state."""

import signal
import struct

import pytest
from machine import DATA, STACK, TEXT

from sentry.platform.base import EV_FAULT, EV_FRAME_FAULT, OP_MMAP_ANON, OP_MPROTECT

SW_RESERVED = 464
MAGIC1, MAGIC2 = 0x46505853, 0x46505845


def fault(machine, code):
    thread = machine.start(f"u64 zero; int main(void) {{ {code} done(0); }}")
    assert machine.event(thread) == EV_FAULT
    return thread, thread.fault


def test_unmapped(machine):
    thread, got = fault(machine, "*(volatile int *)0x1234 = 1;")
    assert got[:4] == (signal.SIGSEGV, 1, 0x1234, 14)
    assert TEXT < thread.regs.rip < TEXT + 0x1000


def test_protected(machine):
    thread = machine.start("int main(void) { call0(9); *(volatile int *)0x2000010 = 1; done(5); }")
    machine.syscall(thread, 9)
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x1000, 1, False))
    thread.ret(0)
    assert machine.event(thread) == EV_FAULT
    assert thread.fault[:4] == (signal.SIGSEGV, 2, DATA + 0x10, 14)
    assert thread.fault[4] & 4
    machine.ops(thread, (OP_MPROTECT, DATA, 0x1000, 3))
    thread.resume()  # again, now with success
    assert machine.finish(thread) == 5


def test_general_protection(machine):
    thread, got = fault(machine, "*(volatile int *)0x8000000000000000ul = 1;")
    assert got[0] == signal.SIGSEGV and got[1] == 0x80 and got[3] == 13


def test_privileged_instruction(machine):
    thread, got = fault(machine, '__asm__ volatile("hlt");')
    assert got[0] == signal.SIGSEGV and got[3] == 13


def test_illegal_instruction(machine):
    thread, got = fault(machine, '__asm__ volatile("here: ud2");')
    assert got[:4] == (signal.SIGILL, 2, thread.task["here"], 6)
    assert thread.regs.rip == thread.task["here"]


def test_division(machine):
    thread, got = fault(machine, '__asm__ volatile("div %0" : : "r"(zero), "a"(1), "d"(0));')
    assert got[0] == signal.SIGFPE and got[1] == 1 and got[3] == 0


def test_breakpoint(machine):
    thread, got = fault(machine, '__asm__ volatile("int3\\n after:");')
    assert got[0] == signal.SIGTRAP and got[1] == 0x80 and got[3] == 3
    assert thread.regs.rip == thread.task["after"]
    thread.resume()
    assert machine.finish(thread) == 0


def test_trap_flag_of_the_guest(machine):
    thread, got = fault(machine, '__asm__ volatile("pushf\\n orl $0x100, (%rsp)\\n popf\\n nop\\n stepped: nop");')
    assert got[0] == signal.SIGTRAP and got[1] == 2 and got[3] == 1
    assert thread.regs.rip == thread.task["stepped"]
    thread.regs.eflags &= ~0x100
    thread.resume()
    assert machine.finish(thread) == 0


def test_single_step(machine):
    """Stepping by the trap flag, as a debugger in the guest does."""
    thread = machine.start('int main(void) { call0(5); __asm__ volatile("nop\\n nop\\n nop\\n end:"); done(7); }')
    machine.syscall(thread, 5)
    thread.regs.rax = 0
    for _ in range(50):
        thread.regs.eflags |= 0x100
        thread.resume()
        assert machine.event(thread) == EV_FAULT
        assert thread.fault[0] == signal.SIGTRAP
        if thread.regs.rip == thread.task["end"]:
            break
    else:
        pytest.fail("never came to the end")
    thread.regs.eflags &= ~0x100
    thread.resume()
    assert machine.finish(thread) == 7


def test_code_above_the_limit(machine):
    """Wild jumps into the platform's own part of the address space are faults or trapped calls, no more."""
    for addr in (0x7FFFFFFFF000, 0x7FFFF0000000, 0xFFFFFFFF80000000):
        thread, got = fault(machine, f"((void (*)(void)){addr:#x}ul)();")
        assert got[0] == signal.SIGSEGV


HANDLER = r"""
volatile double result;
void handler(long arg) { note(arg); __asm__ volatile("pxor %%xmm3, %%xmm3" ::: "xmm3"); call0(15); }
int main(void)
{
    double in = 1.25, out;
    u32 csr = 0x1f80 | 0x6000, after;
    __asm__ volatile("ldmxcsr %3\n movsd %2, %%xmm3\n fld1\n mov $5, %%eax\n syscall\n movsd %%xmm3, %0\n stmxcsr %1\n fstp %%st(0)"
         : "=m"(out), "=m"(after) : "m"(in), "m"(csr) : "rax", "rcx", "r11", "xmm3", "memory");
    note(out == in);
    note(after);
    done(0);
}
"""


def enter(machine, thread, frame=b"frame here", frame_addr=STACK + 0x100, fp_addr=STACK + 0x1000):
    """Sends the thread into `handler`; the registers to come back with."""
    machine.syscall(thread, 5)
    old = thread.regs.copy()
    regs = thread.regs
    regs.rip, regs.rsp, regs.rdi = thread.task["handler"], STACK + 0xFF8, 33
    thread.enter_handler(frame_addr, frame, fp_addr)
    return old


def test_signal_handler_and_back(machine):
    thread = machine.start(HANDLER)
    old = enter(machine, thread)
    assert machine.note(thread) == 33
    assert thread.read(STACK + 0x100, 10) == b"frame here"
    size = machine.platform.fp_size
    image = thread.read(STACK + 0x1000, size)
    magic1, extended, features, xstate = struct.unpack_from("<IIQI", image, SW_RESERVED)
    assert (magic1, extended, xstate) == (MAGIC1, size, size - 4) and features & 3 == 3
    assert struct.unpack_from("<I", image, size - 4)[0] == MAGIC2
    assert struct.unpack_from("<I", image, 24)[0] == 0x7F80
    assert struct.unpack_from("<d", image, 160 + 3 * 16)[0] == 1.25
    thread.ret(0)
    machine.syscall(thread, 15)
    thread.regs.load(old)
    thread.regs.rax = 0
    thread.resume(fp_from=STACK + 0x1000)
    assert machine.note(thread) == 1
    thread.ret(0)
    assert machine.note(thread) & 0xFFC0 == 0x7F80
    thread.ret(0)
    machine.finish(thread)


def test_handler_starts_with_initial_fp_state(machine):
    thread = machine.start(HANDLER.replace("note(arg);", 'u32 csr; __asm__ volatile("stmxcsr %0" : "=m"(csr)); note(csr);'))
    enter(machine, thread)
    assert machine.note(thread) == 0x1F80


def test_frame_that_cannot_be_written(machine):
    thread = machine.start(HANDLER)
    for bad in ({"frame_addr": 0x40}, {"fp_addr": STACK + 0x10000 - 8}, {"fp_addr": 0x7FFE10002000}):
        if thread.event != EV_FRAME_FAULT:
            enter(machine, thread, **bad)
        else:
            thread.enter_handler(bad.get("frame_addr", STACK + 0x100), b"x", bad.get("fp_addr", STACK + 0x1000))
        assert machine.event(thread) == EV_FRAME_FAULT
    thread.regs.rip = thread.task["handler"]
    thread.resume()
    machine.note(thread)


def changed(image, offset, code, value):
    data = bytearray(image)
    struct.pack_into(code, data, offset, value)
    return bytes(data)


def test_bad_fp_images_are_refused(machine):
    thread = machine.start(HANDLER)
    old = enter(machine, thread)
    machine.note(thread)
    at = STACK + 0x1000
    good = thread.read(at, machine.platform.fp_size)
    thread.ret(0)
    machine.syscall(thread, 15)
    for bad in (
        changed(good, 24, "<I", 0xFFFFFFFF),  # MXCSR
        changed(good, 512, "<Q", 1 << 62 | 3),  # a feature that no processor has
        changed(good, 520, "<Q", 1 << 63),  # compacted format
        changed(good, 560, "<Q", 1),  # reserved
    ):
        thread.write(at, bad)
        thread.resume(fp_from=at)
        assert machine.event(thread) == EV_FRAME_FAULT
    thread.resume(fp_from=0x50)
    assert machine.event(thread) == EV_FRAME_FAULT
    # Without the magic numbers it is an FXSAVE image (signal frames of old programs, and Linux does so too).
    for legacy in (changed(good, SW_RESERVED, "<I", 0), changed(good, len(good) - 4, "<I", 0),
                   changed(good, SW_RESERVED + 16, "<I", 1 << 31)):  # fmt: skip
        thread.write(at, changed(legacy, 512, "<Q", 1 << 62))
        thread.regs.load(old)
        thread.regs.rip -= 2
        thread.regs.rax = 5
        thread.resume(fp_from=at)
        machine.syscall(thread, 5)
    thread.ret(0)
    assert machine.note(thread) == 1


def test_random_fp_images_never_hurt(machine):
    """Whatever a guest puts into a frame: the state is loaded or EV_FRAME_FAULT is reported."""
    state = 12345
    thread = machine.start(HANDLER)
    old = enter(machine, thread)
    machine.note(thread)
    at = STACK + 0x1000
    good = thread.read(at, machine.platform.fp_size)
    thread.ret(0)
    machine.syscall(thread, 15)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(3):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            place = state % 640
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            data[place] = state >> 16 & 0xFF
        thread.write(at, bytes(data))
        thread.regs.load(old)
        thread.regs.rip -= 2
        thread.regs.rax = 5
        thread.resume(fp_from=at)
        if machine.event(thread) != EV_FRAME_FAULT:
            assert thread.nr == 5
    thread.resume(fp_reset=True)
