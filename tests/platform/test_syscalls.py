"""System calls as events, and what they carry."""

from sentry.platform.base import EV_SYSCALL

NR_GETPID = 39


def test_number_arguments_and_result(machine):
    thread = machine.start(
        """
        int main(void)
        {
            long got = call(77, 1, ~0ul, 3, 4, 5, 1ul << 63);
            done(got == -11);
        }"""
    )
    assert machine.syscall(thread, 77) == (1, (1 << 64) - 1, 3, 4, 5, 1 << 63)
    thread.ret(-11)
    assert machine.finish(thread) == 1


def test_many_calls(machine):
    thread = machine.start("int main(void) { for (long i = 0; i < 500; i++) if (call(7, i, 0,0,0,0,0) != i + 5) done(i); done(9999); }")
    for i in range(500):
        assert machine.syscall(thread, 7)[0] == i
        thread.ret(i + 5)
    assert machine.finish(thread) == 9999


def test_number_is_32_bits_wide(machine):
    thread = machine.start("int main(void) { call0(0x500000027); call0(-1); done(0); }")
    for nr in (NR_GETPID, -1):
        machine.syscall(thread, nr)
        thread.ret(0)
    machine.finish(thread)


def test_results_in_the_hosts_restart_range_are_plain_values(machine):
    thread = machine.start(
        """
        int main(void)
        {
            for (long v = 500; v < 530; v++)
                if (call(5, v, 0, 0, 0, 0, 0) != -v)
                    done(v);
            done(0);
        }"""
    )
    for value in range(500, 530):
        assert machine.syscall(thread, 5)[0] == value
        thread.ret(-value)
    assert machine.finish(thread) == 0


def test_registers_survive(machine):
    thread = machine.start(
        r"""
        int main(void)
        {
            u64 in[14], out[14];
            long ax;
            for (int i = 0; i < 14; i++)
                in[i] = 0x1111111111111111ul * (i + 1);
            __asm__ volatile(
                "mov %%rsp, 104(%%rdi)\n push %%rbp\n push %%rsi\n mov %%rdi, %%rbp\n"
                "mov (%%rbp), %%rbx\n mov 8(%%rbp), %%rdx\n mov 16(%%rbp), %%rdi\n mov 24(%%rbp), %%rsi\n"
                "mov 32(%%rbp), %%r8\n mov 40(%%rbp), %%r9\n mov 48(%%rbp), %%r10\n mov 56(%%rbp), %%r12\n"
                "mov 64(%%rbp), %%r13\n mov 72(%%rbp), %%r14\n mov 80(%%rbp), %%r15\n"
                "mov $700, %%eax\n syscall\n mov (%%rsp), %%rbp\n"
                "mov %%rbx, (%%rbp)\n mov %%rdx, 8(%%rbp)\n mov %%rdi, 16(%%rbp)\n mov %%rsi, 24(%%rbp)\n"
                "mov %%r8, 32(%%rbp)\n mov %%r9, 40(%%rbp)\n mov %%r10, 48(%%rbp)\n mov %%r12, 56(%%rbp)\n"
                "mov %%r13, 64(%%rbp)\n mov %%r14, 72(%%rbp)\n mov %%r15, 80(%%rbp)\n pop %%rsi\n pop %%rbp\n"
                : "=a"(ax) : "D"(in), "S"(out)
                : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
            for (int i = 0; i < 11; i++)
                if (in[i] != out[i])
                    done(100 + i);
            done(ax);
        }"""
    )
    machine.syscall(thread, 700)
    regs = thread.regs
    assert regs.rbx == 0x1111111111111111 and regs.r15 == 0x1111111111111111 * 11
    assert regs.rax in (700, (1 << 64) - 38) and regs.orig_rax == 700
    assert regs.rip == regs.rcx, "after the instruction, which left its address in rcx"
    thread.ret(12345)
    assert machine.finish(thread) == 12345


def test_registers_can_be_set(machine):
    thread = machine.start(
        r"""
        int main(void) { call0(5); done(1); }
        __asm__("other: mov $6, %eax\n syscall\n ud2");
        """
    )
    machine.syscall(thread, 5)
    old = thread.regs.copy()
    assert len(old) == 21 and old[15] == 5 and old[17] == thread.regs.rsp
    thread.regs.rip = thread.task["other"]
    thread.regs.rdi = 0xDEADBEEFCAFEF00D
    thread.regs.r9 = 99
    thread.resume()
    args = machine.syscall(thread, 6)
    assert args[0] == 0xDEADBEEFCAFEF00D and args[5] == 99
    thread.regs.load(old)
    thread.regs.rax = 0
    thread.resume()
    assert machine.finish(thread) == 1


def test_thread_pointers(machine):
    thread = machine.start(
        r"""
        u64 area[4] = {11, 22, 33, 44};
        int main(void)
        {
            u64 fs, gs;
            note(area);
            __asm__ volatile("mov %%fs:8, %0" : "=r"(fs));
            note(fs);
            __asm__ volatile("mov %%gs:24, %0" : "=r"(gs));
            note(gs);
            done(0);
        }"""
    )
    area = machine.note(thread)
    thread.regs.fs_base = area
    thread.regs.gs_base = area
    thread.ret(0)
    assert machine.note(thread) == 22
    thread.ret(0)
    assert machine.note(thread) == 44
    assert (thread.regs.fs_base, thread.regs.gs_base) == (area, area)
    thread.ret(0)
    machine.finish(thread)


def test_foreign_calls_have_no_number(machine):
    """int 0x80 and x32 numbers are another ABI's; none of them reaches the host."""
    thread = machine.start(
        r"""
        int main(void)
        {
            long ax = 20;
            __asm__ volatile("int $0x80" : "+a"(ax) : "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
            note(ax);
            note(call0(0x40000000 | 39));
            done(0);
        }"""
    )
    machine.syscall(thread, -1)
    thread.ret(-38)
    assert machine.note(thread) == (1 << 64) - 38
    thread.ret(0)
    machine.syscall(thread, -1)
    thread.ret(-38)
    assert machine.note(thread) == (1 << 64) - 38
    thread.ret(0)
    machine.finish(thread)


def test_vsyscall(machine):
    """A call of the vsyscall page is a system call like others."""
    with open("/proc/self/maps", encoding="ascii") as file:
        if "[vsyscall]" not in file.read():
            return  # the host has none; the guest gets a fault, as it would natively
    thread = machine.start(
        r"""
        int main(void)
        {
            long (*time)(long *) = (void *)0xffffffffff600400;
            long here = 0;
            note(time(&here));
            done(here);
        }"""
    )
    machine.syscall(thread, 201)
    thread.ret(4711)
    assert machine.note(thread) == 4711
    thread.ret(0)
    assert machine.finish(thread) == 0


def test_no_call_reaches_the_host(machine):
    """Calls that would end the process, or change it, if the host saw them."""
    thread = machine.start("int main(void) { call(60, 3,0,0,0,0,0); call(231, 4,0,0,0,0,0); call0(57); call0(101); done(call0(39)); }")
    for nr in (60, 231, 57, 101, 39):
        machine.syscall(thread, nr)
        thread.ret(-1)
    assert machine.finish(thread) == (1 << 64) - 1
    assert thread.event == EV_SYSCALL
