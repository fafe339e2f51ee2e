"""What a hostile guest gets from the host by jumping to the stub's own `syscall` instruction.

A thread is sent to a `syscall; ud2` of the stub with registers of the test's choice. What comes back tells the
filter's answer: a system call event (trapped), SIGILL behind the instruction (the host ran the call), or death
(a call for the Sentry to decide, that it never asked for).
"""

import os
import signal

import pytest
from sentry.platform import base, guest_filter
from sentry.platform.guest_filter import DIRECT, END, EQ, FROM, IN, LIMIT, LOW, MAX, NOTIFY, ROWS

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEXT = 0x7FFE00010000
MASK = (1 << 64) - 1
TRAPPED, RAN, KILLED = "trapped", "ran", "killed"
RETURN = 15  # rt_sigreturn replaces all registers: looked at on its own
UPROBES = (335, 336)  # the host's seccomp lets them pass whatever a filter says (guest_filter.py)


@pytest.fixture
def platform_name(platform):
    if platform != "systrap":
        pytest.skip("about the filters of systrap")


def gate():
    """Address of a `syscall; ud2` in the stub (its text is copied whole to TEXT)."""
    with open(os.path.join(ROOT, "build", "native", "stub"), "rb") as file:
        text = file.read()[4096:]
    at = text.find(b"\x0f\x05\x0f\x0b")
    assert at > 0
    return TEXT + at


class Intruder:
    """A guest thread that makes host calls through the stub; replaced when it is killed."""

    def __init__(self, mini):
        self.mini = mini
        self.gate = gate()
        self.thread = None

    def call(self, nr, *args):
        """(answer, rax) of the host call."""
        if self.thread is None:
            box = []
            self.mini.platform.new_aspace(lambda thread, error: box.append(thread))
            self.mini.until(lambda: box)
            self.thread = box[0]
        t, seen = self.thread, []
        self.mini.event = seen.append
        args = (*args, 0, 0, 0, 0, 0, 0)
        r = t.regs
        r.rip, r.rsp, r.rax = self.gate, 0x20000, nr & MASK
        r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9 = (a & MASK for a in args[:6])
        t.resume()
        self.mini.until(lambda: seen)
        if t.event == base.EV_DEAD:
            self.thread = None
            return KILLED, None
        if t.event == base.EV_SYSCALL:
            return TRAPPED, t.nr
        assert t.event == base.EV_FAULT and t.fault[0] == signal.SIGILL, (t.event, t.fault)
        assert r.rip == self.gate + 2
        return RAN, r.rax


@pytest.fixture
def intruder(platform_name, mini):
    return Intruder(mini)


@pytest.mark.parametrize("args", [[0] * 6, [MASK] * 6], ids=["zeros", "ones"])
def test_every_number(intruder, args):
    """All numbers with the same arguments: what no row allows traps."""
    for nr in range(600):
        if nr == RETURN or (nr == 202 and not any(args)):
            continue
        answer, value = intruder.call(nr, *args)
        if nr in UPROBES and answer == RAN:
            assert value in (MASK, MASK - 5, MASK - 37), nr  # refused: -1 with SIGILL, ENXIO, ENOSYS
        elif same_call_fits(nr, NOTIFY, args):
            assert answer == KILLED, nr
        elif same_call_fits(nr, DIRECT, args):
            assert answer == RAN, nr  # munmap, mprotect of nothing
        else:
            assert (answer, value) == (TRAPPED, nr), nr


def test_x32_numbers_trap(intruder):
    for nr in (0, 1, 9, 15, 39, 60, 202, 512, 520, 547):
        assert intruder.call(nr | 0x40000000) == (TRAPPED, -1)


@pytest.mark.parametrize("code", [b"\xcd\x80"], ids=["int 0x80"])
def test_foreign_abi_traps(platform_name, mini, code):
    box = []
    mini.platform.new_aspace(lambda thread, error: box.append(thread))
    mini.until(lambda: box)
    t, seen = box[0], []
    mini.event = seen.append
    t.run_ops([(base.OP_MMAP_ANON, 0x10000, 4096, 7, False), (base.OP_WRITE, 0x10000, code + b"\x0f\x0b")])
    mini.until(lambda: seen)
    seen.clear()
    t.regs.rip, t.regs.rax = 0x10000, 1  # exit, in the i386 table
    t.resume()
    mini.until(lambda: seen)
    assert (t.event, t.nr) == (base.EV_SYSCALL, -1)


def same_call_fits(nr, how, args):
    """Whether some row of the table allows the call (the table's meaning, in Python)."""
    for row in ROWS:
        if row.nr != nr or row.how != how:
            continue
        args = [*args, 0, 0, 0, 0, 0, 0][:6]
        for kind, arg, *rest in row.checks:
            value = args[arg]
            if kind == EQ and value != rest[0]:
                break
            if kind == IN and value not in rest[0]:
                break
            if kind == MAX and value > rest[0]:
                break
            if kind == FROM and not rest[0] <= value < rest[1]:
                break
            if kind == LOW and value & 0xFFFFFFFF != rest[0]:
                break
            if kind == END and value + args[rest[0]] > LIMIT:
                break
        else:
            return True
    return False


def neighbours(row):
    """Argument lists that differ from the row's sample in one argument."""
    sample = [*row.sample, 0, 0, 0, 0, 0, 0][:6]
    for check in row.checks:
        kind, arg = check[0], check[1]
        if kind == END:
            length = check[2]
            page = 4096
            pairs = [
                (LIMIT - page, page), (LIMIT - page, page + 1), (LIMIT - page, 2 * page), (LIMIT, 0), (LIMIT, page),
                (LIMIT + 0x10000, page), (0x7FFE10000000, page), (0x10000, LIMIT), (0x10000, LIMIT - 0x10000),
                (0x10000, LIMIT - 0x10000 + page), (0x10000, MASK), (0x10000, MASK - 0xFFFF), (MASK - 4095, page),
                (0xFFFFFFFFFFFF0000, 0x20000), (0x10000, 1 << 63), (0x7FFDFFFFF000, 0x1000), (0x7FFDFFFFF000, 0x1001),
                (0x7FFDFFFFFFFF, 1), (0x7FFDFFFFFFFF, 2), (0x7FFDFFFFF000, 0xFFFFFFFF), (0x7FFD80000000, 0x80000000),
                (0x7FFD80000000, 0x80000001), (0x7FFDFFFF0000, 0x100000000), (0x800000000000, page),
            ]  # fmt: skip
            for addr, size in pairs:
                args = list(sample)
                args[arg], args[length] = addr, size
                yield args
            continue
        value = sample[arg]
        values = {value + 1, value - 1, value | 1 << 32, value | 1 << 63, value ^ 1, ~value, 0, MASK}
        values |= {value | 1 << bit for bit in range(0, 64, 3)}
        if kind == IN:
            for one in check[2]:
                values |= {one, one | 1 << 32, one + 1, one - 1, one | 0x100, one | 0x2000, one | 0x100000}
        if kind == FROM:
            values |= set(range(max(check[2] - 8, 0), check[3] + 8))
        if kind == MAX:
            values |= {check[2], check[2] + 1}
        for other in values:
            args = list(sample)
            args[arg] = other & MASK
            yield args


def harmless(row, args):
    """Not run: an allowed call that would take away what the process stands on, or wait for ever."""
    if row.name == "futex":
        return args[0] == LIMIT - 64 and args[2] == 1
    return True


@pytest.mark.parametrize("row", [r for r in ROWS if r.nr != RETURN], ids=lambda r: f"{r.name}-{r.how}")
def test_rows_and_their_neighbours(intruder, row):
    sample = [*row.sample, 0, 0, 0, 0, 0, 0][:6]
    answer, _ = intruder.call(row.nr, *sample)
    assert answer == (RAN if row.how == DIRECT else KILLED)
    for args in neighbours(row):
        if not harmless(row, args):
            continue
        answer, value = intruder.call(row.nr, *args)
        if same_call_fits(row.nr, NOTIFY, args):
            assert answer == KILLED, [hex(a) for a in args]
        elif same_call_fits(row.nr, DIRECT, args):
            assert answer == RAN, [hex(a) for a in args]
        else:
            assert (answer, value) == (TRAPPED, row.nr), [hex(a) for a in args]


def test_stub_code_cannot_be_changed(intruder):
    for addr in (TEXT, 0x7FFE00100000, 0x7FFE10000000, 0x7FFE40000000):
        assert intruder.call(10, addr, 4096, 7)[0] == TRAPPED
        assert intruder.call(11, addr, 4096)[0] == TRAPPED
        assert intruder.call(9, addr, 4096, 7, 0x32, MASK, 0)[0] == TRAPPED
        assert intruder.call(28, addr, 4096, 4)[0] == TRAPPED


def test_sample_of_each_row_fits_its_own_checks():
    for row in ROWS:
        assert same_call_fits(row.nr, row.how, [*row.sample, 0, 0, 0, 0, 0, 0][:6]), row.name
        assert row.reason


def test_filters_fit_the_kernel():
    assert len(guest_filter.filter_a()) // 8 <= 4096
    assert len(guest_filter.filter_b()) // 8 <= 4096
