"""A small assembler for the classic BPF programs that seccomp runs (Documentation/networking/filter.rst).

Just what `guest_filter.py` needs: loads of the fields of struct seccomp_data, comparisons with forward
jumps to labels, and 64-bit checks made of them. All loads are 32 bits wide; arguments have two halves.
"""

import struct

LD_ABS = 0x20  # A = data[k]
LD_MEM = 0x60  # A = M[k]
ST = 0x02  # M[k] = A
TAX = 0x07
ADD_X = 0x0C
ADD_K = 0x04
AND_K = 0x54
JEQ = 0x15
JGT = 0x25
JGE = 0x35
JSET = 0x45
JGE_X = 0x3D
RET = 0x06

# offsets in struct seccomp_data
NR, ARCH, IP_LO, IP_HI = 0, 4, 8, 12

ALLOW = 0x7FFF0000
TRAP = 0x00030000
USER_NOTIF = 0x7FC00000

NEXT = ""  # jump target: the following instruction


def lo(arg: int) -> int:
    """Offset of the low half of argument `arg` (0-5)."""
    return 16 + 8 * arg


def hi(arg: int) -> int:
    return 20 + 8 * arg


class Program:
    """Instructions under construction. Labels are strings; jumps go forward only, as BPF demands."""

    def __init__(self):
        self.code = []  # [opcode, true label, false label, k]
        self.labels = {}
        self.serial = 0

    def op(self, opcode: int, k: int = 0) -> None:
        self.code.append((opcode, NEXT, NEXT, k))

    def load(self, offset: int) -> None:
        self.op(LD_ABS, offset)

    def jump(self, opcode: int, k: int, yes: str = NEXT, no: str = NEXT) -> None:
        self.code.append((opcode, yes, no, k))

    def ret(self, action: int) -> None:
        self.op(RET, action)

    def label(self, name: str) -> None:
        self.labels[name] = len(self.code)

    def fresh(self) -> str:
        self.serial += 1
        return f".{self.serial}"

    # -- 64-bit checks of arguments: go to `bad` or fall through
    def check_equal(self, arg: int, value: int, bad: str) -> None:
        self.load(hi(arg))
        self.jump(JEQ, value >> 32, no=bad)
        self.load(lo(arg))
        self.jump(JEQ, value & 0xFFFFFFFF, no=bad)

    def check_one_of(self, arg: int, values, bad: str) -> None:
        """`values`: 32-bit numbers; the upper half must be zero."""
        good = self.fresh()
        self.load(hi(arg))
        self.jump(JEQ, 0, no=bad)
        self.load(lo(arg))
        for value in values[:-1]:
            self.jump(JEQ, value, yes=good)
        self.jump(JEQ, values[-1], no=bad)
        self.label(good)

    def check_at_most(self, arg: int, value: int, bad: str) -> None:
        """`value`: 32 bits."""
        self.load(hi(arg))
        self.jump(JEQ, 0, no=bad)
        self.load(lo(arg))
        self.jump(JGT, value, yes=bad)

    def check_from(self, arg: int, first: int, end: int, bad: str) -> None:
        """first <= arg < end; both of 32 bits."""
        self.load(hi(arg))
        self.jump(JEQ, 0, no=bad)
        self.load(lo(arg))
        self.jump(JGE, first, no=bad)
        self.jump(JGE, end, yes=bad)

    def check_end(self, addr: int, length: int, limit_hi: int, bad: str) -> None:
        """addr + length <= limit_hi << 32, with the carry of the low halves and without overflow."""
        carry, done, good = self.fresh(), self.fresh(), self.fresh()
        for arg in (addr, length):  # both below 2^48, so that the sum of the upper halves cannot wrap
            self.load(hi(arg))
            self.jump(JGT, limit_hi, yes=bad)
        self.load(lo(addr))
        self.op(TAX)
        self.load(lo(length))
        self.op(ADD_X)
        self.op(ST, 0)  # low half of the end
        self.jump(JGE_X, 0, no=carry)  # sum >= addr: no carry
        self.load(hi(addr))
        self.op(TAX)
        self.load(hi(length))
        self.op(ADD_X)
        self.jump(JGE, 0, yes=done)
        self.label(carry)
        self.load(hi(addr))
        self.op(TAX)
        self.load(hi(length))
        self.op(ADD_X)
        self.op(ADD_K, 1)
        self.label(done)
        self.jump(JGT, limit_hi, yes=bad)
        self.jump(JEQ, limit_hi, no=good)
        self.op(LD_MEM, 0)
        self.jump(JEQ, 0, no=bad)
        self.label(good)

    def assemble(self) -> bytes:
        """struct sock_filter[]; ValueError for a jump that BPF cannot express."""
        out = []
        for at, (opcode, yes, no, k) in enumerate(self.code):
            jumps = []
            for name in (yes, no):
                distance = 0 if name == NEXT else self.labels[name] - at - 1
                if not 0 <= distance <= 255:
                    raise ValueError(f"jump of {distance} instructions to {name!r}")
                jumps.append(distance)
            out.append(struct.pack("<HBBI", opcode, jumps[0], jumps[1], k))
        return b"".join(out)
