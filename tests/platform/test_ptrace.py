"""What only the ptrace platform has: its pages above the guest's addresses, and its second wall."""

import errno
import os
import signal

import pytest
from machine import DATA

from sentry.platform.base import EV_DEAD, EV_FAULT, EV_INTERRUPT, EV_SYSCALL, OP_MMAP_FD, OP_MUNMAP, MemFault

REGION = 0x7FFE10000000  # native/ptrace_abi.h


@pytest.fixture(autouse=True)
def only_ptrace(platform):
    if platform != "ptrace":
        pytest.skip("of the ptrace platform")


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def test_what_a_guest_process_holds(machine):
    thread = machine.aspace()
    pid = thread.aspace.pid
    fields = status(pid)
    assert {fields[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert fields["NoNewPrivs"] == "1" and fields["PPid"] == fields["TracerPid"] == str(os.getpid())
    assert fields["Seccomp"] == ("2" if machine.platform.filtered else "0")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0"]
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        assert [line.split()[4:6] for line in file if line.startswith("Max core")] == [["1", "1"]]
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        maps = [line.split() for line in file if "[vsyscall]" not in line]
    assert [(line[0].split("-")[0], line[1]) for line in maps if line[-1] not in ("[vvar]", "[vvar_vclock]", "[vdso]")] == [
        (f"{REGION:x}", "r-xp"), (f"{REGION + 0x1000:x}", "---p"), (f"{REGION + 0x2000:x}", "rw-p")]  # fmt: skip


def test_the_platforms_own_call_instruction_is_trapped_too(machine):
    thread = machine.start(f'int main(void) {{ __asm__ volatile("mov $231, %eax\\n mov ${REGION:#x}, %rcx\\n jmp *%rcx"); }}')
    assert machine.event(thread) == EV_SYSCALL
    assert thread.nr == 231 and thread.regs.rip == REGION + 2
    thread.ret(0)
    assert machine.event(thread) == EV_FAULT
    assert thread.fault[0] == signal.SIGTRAP and thread.regs.rip == REGION + 3


def test_guest_that_scribbles_on_the_scratch_page(machine):
    """Another thread of the guest changes the arguments of the injected recvmsg all the time."""
    thread = machine.start(
        """
        __asm__("entry: call scribble\\n ud2");
        int scribble(void) { for (u64 i = 0;; i++) ((volatile u64 *)0x7ffe10002000)[i % 24] = i * 0x123456789abcdef; }
        int main(void) { call0(5); done(1); }
        """
    )
    good = machine.start("int main(void) { call0(5); done(1); }")
    machine.syscall(good, 5)
    machine.syscall(thread, 5)
    other = machine.spawn(thread)
    other.regs.rip = thread.task["entry"]
    other.resume()
    died = False
    for _ in range(200):
        fd = os.memfd_create("secret")
        os.write(fd, b"a" * 4096)
        thread.run_ops([(OP_MMAP_FD, DATA, 4096, 1, False, fd, 0)])
        machine.pump(lambda: thread in machine.events)
        machine.events.remove(thread)
        os.close(fd)
        if thread.event == EV_DEAD:
            died = True
            break
        assert thread.ops_errno == 0 and thread.read(DATA, 1) == b"a"
    # Whatever happened there, the next process gets its own descriptor and no other.
    fd = os.memfd_create("mine")
    os.write(fd, b"b" * 4096)
    assert machine.ops(good, (OP_MMAP_FD, DATA, 4096, 1, False, fd, 0)) == (1, 0)
    assert good.read(DATA, 1) == b"b"
    os.close(fd)
    assert died or other.event == 0


def test_tracer_death_takes_the_guests_along(machine):
    """A Sentry killed outright leaves no process behind."""
    pids = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            module = __import__("sentry.platform.ptrace", fromlist=["Platform"])
            inner = type(machine)(module.Platform(), machine.directory)
            inner.platform.start()
            thread = inner.start("int main(void) { call0(5); for (;;) ; }")
            inner.syscall(thread, 5)
            thread.ret(0)
            os.write(pids[1], str(thread.tid).encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(pids[1])
    guest = int(os.read(pids[0], 20))
    os.close(pids[0])
    os.waitpid(pid, 0)
    machine.pump(lambda: not os.path.exists(f"/proc/{guest}") or status(guest)["State"].startswith(("Z", "X")))


def test_signals_from_outside_do_not_reach_the_guest(machine):
    thread = machine.start("int main(void) { call0(5); for (;;) ; }")
    machine.syscall(thread, 5)
    thread.ret(0)
    for sig in (signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1):
        os.kill(thread.aspace.pid, sig)
        machine.settle(0.01)
    assert not machine.events
    thread.interrupt()
    assert machine.event(thread) == EV_INTERRUPT


def test_numbers_that_fit_no_register(machine):
    """Sums of guest numbers may leave the 64 bits; they are faults and errors, not exceptions of the interpreter."""
    thread = machine.aspace()
    for addr in ((1 << 64) + 4096, -4096):
        with pytest.raises(MemFault):
            thread.read(addr, 1)
        with pytest.raises(MemFault):
            thread.write_upto(addr, b"x")
        with pytest.raises(MemFault):
            thread.read_cstr(addr, 10)
        assert machine.ops(thread, (OP_MUNMAP, addr, 1 << 64))[1] != 0
    fd = os.memfd_create("test")
    for offset in (-4096, (1 << 64) - 4096, 100, 1 << 63):
        done, error = machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 1, True, fd, offset))
        assert done == 0 and error in (errno.EOVERFLOW, errno.EINVAL)
    os.close(fd)
