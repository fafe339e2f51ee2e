"""Threads and processes: fork, spawn, interrupt, death."""

import os
import signal
import time

import pytest
from machine import DATA, STACK, STACK_SIZE

from sentry.platform.base import EV_DEAD, EV_FAULT, EV_INTERRUPT, EV_SYSCALL, OP_MMAP_ANON, OP_WRITE

SPIN = "volatile u64 n; int main(void) { call0(5); for (;;) n++; }"
CALLS = "int main(void) { for (u64 i = 0;; i++) note(i); }"


def test_fork(machine):
    thread = machine.start(
        """
        volatile long value = 1;
        int main(void)
        {
            long child = call0(57);
            if (child == 0) { value += 10; note(value); done(0); }
            value += 100;
            note(value);
            done(child);
        }"""
    )
    machine.syscall(thread, 57)
    child = machine.fork(thread)
    assert child.aspace is not thread.aspace and child.aspace.pid == child.tid != thread.tid
    assert child.regs.copy()[16:18] == thread.regs.copy()[16:18]
    child.ret(0)
    thread.ret(1234)
    assert machine.note(child) == 11
    assert machine.note(thread) == 101
    child.ret(0)
    assert machine.finish(child) == 0
    child.aspace.kill()
    thread.ret(0)
    assert machine.finish(thread) == 1234


def test_fork_of_fork(machine):
    thread = machine.start("int main(void) { long n = 0; while (call0(57) == 0) n++; done(n); }")
    parents = []
    for _ in range(20):
        machine.syscall(thread, 57)
        parents.append(thread)
        thread = machine.fork(thread)
        thread.ret(0)
    machine.syscall(thread, 57)
    thread.ret(1)
    assert machine.finish(thread) == 20
    for i, parent in enumerate(parents):
        parent.ret(1)
        assert machine.finish(parent) == i
        parent.aspace.kill()


def test_fork_copies_fp_state(machine):
    thread = machine.start(
        r"""
        int main(void)
        {
            double out, in = 2.5;
            long r;
            __asm__ volatile("movsd %2, %%xmm7\n mov $57, %%eax\n syscall\n movsd %%xmm7, %1"
                             : "=&a"(r), "=m"(out) : "m"(in) : "rcx", "r11", "xmm7", "memory");
            done(r == 0 && out == in ? 1 : 2);
        }"""
    )
    machine.syscall(thread, 57)
    child = machine.fork(thread)
    child.ret(0)
    assert machine.finish(child) == 1


def test_spawn(machine):
    thread = machine.start(
        r"""
        volatile long shared;
        __asm__("entry: mov %rsp, %rbp\n call second\n ud2");
        int second(void) { shared = 5; note(&shared); while (shared == 5) ; note(shared); done(0); }
        int main(void) { call0(56); while (!shared) ; note(shared); shared = 6; done(1); }
        """
    )
    machine.syscall(thread, 56)
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x10000, 3, False))
    child = machine.spawn(thread)
    assert child.aspace is thread.aspace and child in thread.aspace.threads and child.tid != thread.tid
    child.regs.rip, child.regs.rsp, child.regs.fs_base = thread.task["entry"], DATA + 0xFF00, DATA + 8
    child.resume()
    shared = machine.note(child)
    thread.ret(child.tid)
    assert machine.note(thread) == 5
    child.ret(0)
    thread.ret(0)
    assert machine.note(child) == 6
    assert machine.finish(thread) == 1
    assert thread.read(shared, 1) == b"\6"
    assert child.regs.fs_base == DATA + 8


def test_thread_exit(machine):
    thread = machine.start("int main(void) { for (;;) call0(5); }")
    machine.syscall(thread, 5)
    threads = [machine.spawn(thread) for _ in range(10)]
    for other in threads:
        other.exit()
    machine.settle()
    assert thread.aspace.threads == [thread] and not machine.events
    thread.ret(0)
    machine.syscall(thread, 5)


def test_leader_exits_first(machine):
    thread = machine.start("int main(void) { for (;;) call0(5); }")
    machine.syscall(thread, 5)
    other = machine.spawn(thread)
    thread.exit()
    machine.settle()
    other.ret(0)
    assert machine.event(other) == EV_SYSCALL
    other.write(STACK, b"still there")
    assert other.aspace.read(STACK, 11) == b"still there"
    other.aspace.kill()
    machine.settle()
    assert not machine.events


def test_interrupt_of_running_code(machine):
    thread = machine.start(SPIN)
    machine.syscall(thread, 5)
    thread.ret(0)
    before = 0
    for _ in range(20):
        machine.settle(0.003)
        thread.interrupt()
        assert machine.event(thread) == EV_INTERRUPT
        count = int.from_bytes(thread.read(thread.task["n"], 8), "little")
        assert count >= before
        before = count
        thread.resume()
    assert before > 0


def test_interrupt_changes_registers(machine):
    thread = machine.start(SPIN + '__asm__("away: mov $6, %eax\\n syscall\\n ud2");')
    machine.syscall(thread, 5)
    thread.ret(0)
    thread.interrupt()
    assert machine.event(thread) == EV_INTERRUPT
    thread.regs.rip = thread.task["away"]
    thread.regs.rdi = 77
    thread.resume()
    assert machine.syscall(thread, 6)[0] == 77


def test_interrupt_of_a_parked_thread_does_nothing(machine):
    thread = machine.start(CALLS)
    for i in range(50):
        assert machine.note(thread) == i
        thread.interrupt()
        thread.interrupt()
        thread.ret(0)


def test_interrupts_against_calls(machine):
    """No call is lost or seen twice, and each interrupt is answered by some event."""
    thread = machine.start(CALLS)
    calls = interrupts = 0
    for i in range(4000):
        if i % 3 == 0:
            thread.interrupt()
        if machine.event(thread) == EV_INTERRUPT:
            interrupts += 1
            thread.resume()
        else:
            assert thread.event == EV_SYSCALL and thread.args[0] == calls
            calls += 1
            thread.ret(0)
    assert calls + interrupts == 4000


def test_interrupt_during_operations(machine):
    thread = machine.start("int main(void) { long r = call0(9); note(r); for (;;) ; }")
    machine.syscall(thread, 9)
    thread.run_ops([(OP_MMAP_ANON, DATA + i * 4096, 4096, 3, False) for i in range(50)], 42)
    thread.interrupt()
    seen = machine.event(thread)
    if seen == EV_INTERRUPT:
        assert thread.regs.rax == 42
        thread.resume()
        machine.event(thread)
    assert thread.event == EV_SYSCALL and thread.args[0] == 42
    assert thread.read(DATA + 49 * 4096, 1) == b"\0"


def test_death_of_a_running_process(machine):
    thread = machine.start(SPIN)
    machine.syscall(thread, 5)
    thread.ret(0)
    os.kill(thread.aspace.pid, signal.SIGKILL)
    assert machine.event(thread) == EV_DEAD
    machine.settle()
    assert not machine.events
    thread.exit()
    thread.interrupt()
    thread.aspace.kill()


def test_death_of_a_parked_process(machine):
    thread = machine.start("int main(void) { for (;;) call0(5); }")
    machine.syscall(thread, 5)
    other = machine.spawn(thread)
    os.kill(thread.aspace.pid, signal.SIGKILL)
    time.sleep(0.02)
    thread.ret(0)  # too late, and harmless
    assert machine.event(thread) == EV_DEAD
    assert machine.event(other) == EV_DEAD


@pytest.mark.parametrize("steps", range(14))
@pytest.mark.parametrize("job", ["ops", "fork", "spawn"])
def test_death_during_a_job(machine, job, steps):
    """A host process killed at any point of a job; the platform goes on."""
    thread = machine.load(CALLS)
    pid = thread.aspace.pid
    answers = []
    if job == "ops":
        thread.run_ops([(OP_MMAP_ANON, DATA + i * 4096, 4096, 3, False) for i in range(100)])
    else:
        getattr(thread, job)(lambda *args: answers.append(args))
    for _ in range(steps):
        machine.events += machine.platform.wait(time.monotonic_ns() + 20_000)
    os.kill(pid, signal.SIGKILL)
    machine.pump(lambda: any(t is thread and t.event == EV_DEAD for t in machine.events))
    if job != "ops":
        machine.pump(lambda: answers)
        child, errno = answers[0]
        assert (child is None) == (errno != 0)
        if child and job == "fork":
            child.aspace.kill()
    machine.settle(0.02)
    thread = machine.start(CALLS)
    assert machine.note(thread) == 0


def test_kill(machine):
    thread = machine.start(SPIN)
    machine.syscall(thread, 5)
    thread.ret(0)
    thread.aspace.kill()
    thread.aspace.kill()
    machine.settle()
    assert not machine.events
    thread.interrupt()
    thread.exit()


def test_many_processes_and_threads(machine):
    first = machine.start("int main(void) { for (long i = 0; i < 50; i++) call(7, i, 0, 0, 0, 0, 0); done(0); }")
    machine.syscall(first, 7)
    everyone = [first]
    for i in range(15):
        everyone.append(machine.fork(first) if i % 2 else machine.spawn(first))
    expected = dict.fromkeys(map(id, everyone), 1)
    for thread in everyone:
        thread.ret(0)
    running = len(everyone)
    while running:
        machine.pump(lambda: machine.events)
        thread = machine.events.pop(0)
        assert thread.event == EV_SYSCALL
        if thread.nr == 7:
            assert thread.args[0] == expected[id(thread)]
            expected[id(thread)] += 1
            thread.ret(0)
        else:
            running -= 1


def test_thousand_forks_leave_nothing(machine):
    thread = machine.start("int main(void) { for (;;) call0(57); }")
    machine.syscall(thread, 57)

    def open_files():
        return sorted(os.listdir("/proc/self/fd"))

    files = []
    for count in (5, 1000):  # what a platform keeps ready is there after the first
        for _ in range(count):
            child = machine.fork(thread)
            child.aspace.kill()
        for _ in range(10):  # spares are made one at a time, before a sleep
            machine.settle(0.02)
        files.append(len(open_files()))
    assert files[0] == files[1]
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", encoding="ascii") as file:
        assert len(file.read().split()) < 20, "zombies are reaped"
    assert not machine.events


def test_writes_before_the_child_runs(machine):
    thread = machine.start("volatile long tid; int main(void) { call0(57); note(tid); done(0); }")
    machine.syscall(thread, 57)
    child = machine.fork(thread)
    child.write(thread.task["tid"], (99).to_bytes(8, "little"))
    assert machine.ops(child, (OP_MMAP_ANON, DATA, 4096, 3, False), (OP_WRITE, DATA, b"c")) == (2, 0)
    child.ret(0)
    thread.ret(5)
    assert machine.note(child) == 99
    assert machine.note(thread) == 0


@pytest.mark.parametrize("way", ["ret", "resume", "read", "again"])
def test_writes_on_the_way_back(machine, way):
    """write_later, whatever else happens before the thread goes on."""
    thread = machine.start("volatile int tids[2]; int main(void) { call0(57); note(tids[0] | (long)tids[1] << 32); done(0); }")
    machine.syscall(thread, 57)
    child = machine.fork(thread)
    where = thread.task["tids"]
    child.write_later(where, (99).to_bytes(4, "little"))
    if way == "read":
        assert child.read(where, 4) == (99).to_bytes(4, "little")
    elif way == "again":
        child.write_later(where + 4, (7).to_bytes(4, "little"))
    if way == "resume":
        child.regs.rax = 0
        child.resume()
    else:
        child.ret(0)
    thread.ret(5)
    assert machine.note(child) == (99 | 7 << 32 if way == "again" else 99)
    assert machine.note(thread) == 0


def test_fault_event_then_next_thread(machine):
    thread = machine.start("int main(void) { *(volatile int *)0x40 = 1; done(0); }")
    assert machine.event(thread) == EV_FAULT
    other = machine.start("int main(void) { done(3); }")
    assert machine.finish(other) == 3
    assert STACK < thread.regs.rsp < STACK + STACK_SIZE
