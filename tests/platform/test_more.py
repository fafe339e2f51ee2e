"""Interrupts, handlers, file mappings, buffers, death."""

import os
import signal
import time

import pytest
from sentry.platform import base


def file_with(data):
    fd = os.memfd_create("file")
    os.write(fd, data)
    os.ftruncate(fd, 8192)
    return fd


def test_interrupt_of_a_busy_loop(mini):
    thread = mini.load("spin", 0)
    for i in range(50):
        thread.interrupt()
        mini.until(lambda i=i: len(mini.interrupts) == i + 1)
    assert all(tid == thread.tid and 0x400000 <= rip < 0x440000 for tid, rip in mini.interrupts)


def test_interrupt_of_a_calling_guest_is_never_lost(mini):
    """Each interrupt is answered by an event; a call that comes first answers it too, and then no EV_INTERRUPT follows."""
    thread = mini.load("spin", 1)
    for _ in range(3000):
        before = mini.events
        thread.interrupt()
        mini.until(lambda before=before: mini.events > before)
    assert thread.tid not in mini.dead


def test_interrupt_of_two_threads(mini):
    mini.load("spin", 2)
    mini.until(lambda: mini.events > 100)
    space = next(iter(mini.spaces()))
    assert len(space.threads) == 2
    for _i in range(300):
        before = len(mini.interrupts)
        space.threads[1].interrupt()
        space.threads[0].interrupt()
        mini.until(lambda before=before: any(tid == space.threads[1].tid for tid, _ in mini.interrupts[before:]))


def test_handler_and_return_keep_fp_state(mini):
    saved = {}
    frame = 0x60000000

    def enter(t):
        saved["regs"] = t.regs.copy()
        t.regs.rip, t.regs.rsp = t.args[0], frame + 0x8000 - 8
        t.enter_handler(frame + 0x8000, b"frame...", frame + 0x9000)

    def sigreturn(t):
        assert t.read(frame + 0x8000, 8) == b"frame..."
        image = t.read(frame + 0x9000, mini.platform.fp_size)
        assert b"0123456789abcdef" in image[:512]
        t.regs.load(saved["regs"])
        t.regs.rax = 55
        t.resume(fp_from=frame + 0x9000)

    def prepare(t):
        mini.on_ops = enter
        saved["args"] = t.args
        t.run_ops([(base.OP_MMAP_ANON, frame, 0x10000, 3, False)])

    mini.calls[403] = prepare
    mini.calls[402] = sigreturn
    assert mini.run("spin", 3) == 7


def test_frame_fault(mini):
    def enter(t):
        t.enter_handler(0x61000000, b"frame", 0x61001000)

    mini.calls[403] = enter
    thread = mini.load("spin", 3)
    mini.until(lambda: mini.frame_faults)
    assert mini.frame_faults == [thread.tid]


def test_file_mappings(mini):
    fd = file_with(b"file")
    maps = {404: (0x50000000, True), 405: (0x50010000, False)}

    def map_file(t):
        addr, shared = maps[t.nr]
        t.run_ops([(base.OP_MMAP_FD, addr, 8192, 3, shared, fd, 0)], addr)

    mini.calls[404] = mini.calls[405] = map_file
    try:
        assert mini.run("spin", 4) == 7
        assert os.pread(fd, 4, 0) == b"fXle"
    finally:
        os.close(fd)


def test_operations_in_order_until_one_fails(mini):
    fd = file_with(b"0123456789")
    seen = []

    def many(t):
        addr = 0x50000000
        mini.on_ops = check
        t.run_ops(
            [
                (base.OP_MMAP_ANON, addr, 0x10000, 3, True),
                (base.OP_WRITE, addr + 5, b"x" * 60000 + b"end"),
                (base.OP_MMAP_FD, addr + 0x20000, 4096, 1, False, fd, 0),
                (base.OP_MMAP_FD, addr + 0x30000, 4096, 1, True, fd, 4096),
                (base.OP_MREMAP, addr, 0x10000, 0x20000, addr + 0x100000),
                (base.OP_ZERO, addr + 0x100000, 4),
                (base.OP_MADVISE, addr + 0x100000, 4096, 14),
                (base.OP_MPROTECT, addr + 0x110000, 4096, 1),
                (base.OP_MUNMAP, addr + 0x20000, 4096),
                (base.OP_WRITE, addr + 0x110000, b"read-only now"),
                (base.OP_ZERO, addr + 0x100000, 60000),
            ]
        )

    def check(t):
        addr = 0x50100000
        seen.append((t.ops_done, t.ops_errno))
        assert t.read(addr, 8) == b"\0\0\0\0\0xxx"
        assert t.read(addr + 60005, 4) == b"end\0"
        assert t.aspace.read(0x50030000, 2) == b"\0\0"
        with pytest.raises(base.MemFault):
            t.read(0x50020000, 1)
        t.ret(0)

    mini.calls[404] = many
    mini.calls[405] = lambda t: mini.sys_exit_group(t)
    thread = mini.load("spin", 4)
    mini.until(lambda: mini.exits or mini.dead or mini.faults)
    assert seen == [(9, 14)]
    assert thread.tid not in mini.dead
    os.close(fd)


@pytest.mark.parametrize("marshalled", [0, 6, 3])
def test_buffers(mini, marshalled):
    if marshalled:
        if not hasattr(mini.platform, "set_marshal"):
            pytest.skip("this platform carries nothing along")
        mini.platform.set_marshal(406, [("in", 0, 1, None), ("out", 2, 1, None)], marshalled)
        mini.platform.set_marshal(407, [("str", 0, None, None)])

    def copy(t):
        source, length, to = t.args[:3]
        try:
            data = t.read(source, length)
            t.write(to, data[:7])
            t.write(to + 7, data[7:])
        except base.MemFault:
            return -14
        return length

    def length(t):
        try:
            return len(t.read_cstr(t.args[0], 4096))
        except base.MemFault:
            return -14

    mini.calls[406], mini.calls[407] = copy, length
    assert mini.run("spin", 5) == 7


def test_kill_of_the_host_process(mini):
    thread = mini.load("spin", 2)
    mini.until(lambda: mini.events > 50)
    os.kill(thread.aspace.pid, signal.SIGKILL)
    mini.until(lambda: len(mini.dead) == 2)
    assert sorted(mini.dead)[0] == thread.tid
    assert thread.event == base.EV_DEAD
    thread.ret(0)  # no effect
    with pytest.raises(base.MemFault):
        thread.read(0x400000, 1)
    with pytest.raises(ChildProcessError):
        os.waitpid(thread.aspace.pid, os.WNOHANG)
    assert mini.run("loop", 10) == 7


def test_kill_of_a_parked_process(mini):
    mini.calls[110] = lambda t: None
    thread = mini.load("spin", 1)
    mini.until(lambda: mini.events > 1)
    os.kill(thread.aspace.pid, signal.SIGKILL)
    mini.until(lambda: mini.dead == [thread.tid])


def test_wait_keeps_its_deadline_and_idles(mini):
    mini.load("spin", 1)
    mini.calls[110] = lambda t: None  # parks for ever
    for _ in range(5):
        mini.step(0.01)
    cpu, start = time.process_time(), time.monotonic()
    mini.step(0.3)
    assert 0.29 < time.monotonic() - start < 0.6
    assert time.process_time() - cpu < 0.05


def test_watch(mini):
    a, b = os.pipe()
    seen = []
    mini.platform.watch(a, 1, lambda fd, events: seen.append((fd, events, os.read(fd, 10))))
    os.write(b, b"x")
    mini.until(lambda: seen)
    assert seen == [(a, 1, b"x")]
    mini.platform.unwatch(a)
    os.write(b, b"y")
    mini.step(0.05)
    assert len(seen) == 1
    os.close(a)
    os.close(b)
