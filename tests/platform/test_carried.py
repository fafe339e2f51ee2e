"""Memory that a call brings along: in the line of the arguments where it fits, and what a guest says that is not so."""

import pytest

from sentry.platform.base import MemFault


@pytest.fixture
def carrying(machine):
    if not hasattr(machine.platform, "set_marshal"):
        pytest.skip("this platform carries nothing along")
    return machine


@pytest.mark.parametrize("count", [1, 3, 5, 6])
def test_inputs_of_all_lengths(carrying, count):
    """Behind `count` arguments, or in the buffer."""
    carrying.platform.set_marshal(5, [("in", 0, None, 8)], count)
    carrying.platform.set_marshal(6, [("in", 0, 2, None), ("out", 1, 2, None)], max(count, 3))
    thread = carrying.start(
        """
        static char in[100], out[100];
        int main(void)
        {
            for (int i = 0; i < 100; i++) in[i] = i;
            for (u64 n = 1; n < 64; n++) {
                for (int i = 0; i < 100; i++) out[i] = 99;
                call(5, (u64)in + n, 2, 3, 4, 5, 6);
                if (call(6, (u64)in, (u64)out, n, 4, 5, 6) != (long)n) done(n);
                for (u64 i = 0; i < 100; i++)
                    if (out[i] != (i < n ? (int)(i + n) : 99)) done(1000 + n);
            }
            call(5, 16, 2, 3, 4, 5, 6);
            call(5, (u64)-4, 2, 3, 4, 5, 6);
            done(5000);
        }"""
    )
    for n in range(1, 64):
        args = carrying.syscall(thread, 5)
        assert args[:count] == (args[0], 2, 3, 4, 5, 6)[:count]
        assert thread.read(args[0], 8) == bytes(range(n, n + 8))
        thread.ret(0)
        source, target, length = carrying.syscall(thread, 6)[:3]
        assert length == n
        data = thread.read(source, n)
        assert data == bytes(range(n))
        thread.write(target, bytes(b + n for b in data))
        thread.ret(n)
    for _ in range(2):
        args = carrying.syscall(thread, 5)
        with pytest.raises(MemFault):
            thread.read(args[0], 8)
        thread.ret(0)
    assert carrying.finish(thread) == 5000


# An event that no stub would make: a call whose parts are all carried along, and stand behind its arguments.
LIAR = """
static volatile u64 *context = (u64 *)(0x7ffe10000000 + 1024);
static int post(u64 nr, u64 address, u64 length)
{
    context[1] = nr;
    context[2] = address;
    context[3] = address;
    context[4] = length;
    ((volatile u32 *)context)[1] = 1 | 7 << 8 | 0x1000;
    ((volatile u32 *)context)[0] = 1;
    __asm__ volatile("lock orq $1, %0" : "+m"(*(u64 *)0x7ffe10000000));
    while (((volatile u32 *)context)[0]) ;
    return 0;
}
int main(void)
{
    static char memory[4096];
    for (int i = 0; i < 4096; i++) memory[i] = 7, ((volatile char *)0x7ffe10400000)[i] = 9;
    call0(1);
    post(6, (u64)memory, 4096);
    post(7, (u64)memory, 4096);
    post(8, (u64)memory, 4096);
    done(1);
}
"""


def test_what_cannot_stand_there(carrying):
    """The Sentry does not read behind its copy of the arguments."""
    carrying.platform.set_marshal(6, [("in", 0, 2, None)], 3)
    carrying.platform.set_marshal(7, [("str", 0, None, None)], 1)
    carrying.platform.set_marshal(8, [("out", 0, 2, None)], 3)
    thread = carrying.start(LIAR)
    carrying.syscall(thread, 1)
    thread.ret(0)
    address = carrying.syscall(thread, 6)[0]
    assert thread.read(address, 4096) == b"\x09" * 4096  # as its buffer has it
    thread.ret(0)
    carrying.syscall(thread, 7)
    assert thread.read_cstr(address, 4096) == b"\x07" * 4096  # no end there: the memory itself
    thread.ret(0)
    carrying.syscall(thread, 8)
    thread.write(address, bytes(4096))
    thread.ret(0)
    carrying.syscall(thread, 1001)
