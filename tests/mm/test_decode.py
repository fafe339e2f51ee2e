"""The analyser of call sites: shapes made by hand, this machine's libraries, and nonsense."""

import glob
import os
import random
import re
import subprocess

import pytest
from support import rootfs

from sentry.mm import decode
from sentry.mm.functions import Functions, Library, Shape
from sentry.mm.patches import Site

SYSCALL = bytes.fromhex("0f05")
SHAPES = [  # code before the call, start of what is displaced, lengths
    ("b827000000", 0, (5,)),  # mov $39, %eax
    ("48c7c00f000000", 0, (7,)),  # mov $15, %rax
    ("90b827000000", 1, (5,)),
    ("4889fe4889f2", 0, (3, 3)),  # mov %rdi, %rsi; mov %rsi, %rdx
    ("31c0b0274889fe", 2, (2, 3)),  # xor %eax, %eax; mov $39, %al; mov %rdi, %rsi
    ("31c0ffc04889fe", 2, (2, 3)),
    ("4c8b4c2408", 0, (5,)),  # mov 8(%rsp), %r9
    ("b82700000031ff89c6", 0, (5, 2, 2)),  # the jump begins with the first of them
    ("488b0500100000", 0, (7,)),  # mov 0x1000(%rip), %rax
    ("803d31330e0000741731c0", 0, (7, 2, 2)),  # cmpb $0, 0xe3331(%rip); je; xor %eax, %eax
    ("64488b3c2510000000", 0, (9,)),  # mov %fs:0x10, %rdi
]  # fmt: skip
REFUSED = [
    ("0fb6c0", "short"),
    ("", "short"),
    ("67488b0500100000", "fixed"),  # mov 0x1000(%eip), %rax
    ("31c031c0e30031c0", "fixed"),  # jrcxz
    ("e80000000031ff", "fixed"),  # call
    ("5090", "fixed"),  # push
    ("0fa2ebfe90", "fixed"),  # jmp
    ("0f0b0f0b0f0b", "fixed"),  # ud2
    ("f0480fb13e", "fixed"),  # lock cmpxchg
    ("b8270000", "misaligned"),  # the mov swallows the call
    ("eb034889fe4889f2", "branch"),  # jmp over the first of two
    ("85ff75034889fe4889f2", "branch"),  # jne likewise
    ("ffe04889fe4889f2", "indirect"),  # jmp *%rax
    ("06b827000000", "undecodable"),
]


@pytest.mark.parametrize("code, start, lengths", SHAPES)
def test_shapes(code, start, lengths):
    code = bytes.fromhex(code)
    assert decode.shape(code + SYSCALL + b"\xc3", len(code)) == (start, lengths)


def test_moved():
    """Distances are set right; a short jump becomes a long one."""
    shape = Shape(11, (7, 2, 2), bytes.fromhex("803d31330e0000741731c0") + SYSCALL)
    start, slot = 0x7F0000001000, 0x7F0010000020
    assert shape.relative == (2, -1, 0)
    pieces = shape.moved(start, slot)
    assert pieces[0] == b"\x80\x3d" + (0xE3331 + start - slot).to_bytes(4, "little", signed=True) + b"\0"
    assert pieces[1] == b"\x0f\x84" + (start + 9 + 0x17 - slot - 13).to_bytes(4, "little", signed=True)
    assert pieces[2] == b"\x31\xc0"
    assert shape.moved(start, start + (1 << 32)) is None
    site = Site(start + 11, start, shape.lengths, tuple(map(len, pieces)), shape.code[:5], slot)
    assert [site.guest_rip(slot + n) - start for n in (0, 7, 13, 15, 22)] == [0, 7, 9, 11, 11]
    assert site.inside() == []
    assert Site(start + 6, start, (3, 3), (3, 3), bytes(5), slot).inside() == [(start + 3, slot + 3)]


@pytest.mark.parametrize("code, reason", REFUSED)
def test_refused(code, reason):
    code = bytes.fromhex(code)
    assert decode.shape(code + SYSCALL + b"\xc3", len(code)) == reason


def test_branch_from_behind():
    """A loop back into the middle of two displaced instructions; to the first of them, and to the call, it may."""
    code = bytes.fromhex("4889fe4889f2") + SYSCALL
    assert decode.shape(code + b"\xeb" + bytes([256 - 7]), 6) == "branch"
    assert decode.shape(code + b"\xeb" + bytes([256 - 10]), 6) == (0, (3, 3))
    assert decode.shape(code + b"\xeb" + bytes([256 - 4]), 6) == (0, (3, 3))


def test_not_a_call():
    assert decode.shape(b"\xb8\x27\0\0\0\x0f\x34", 5) == "no syscall"
    assert decode.shape(b"\xb8\x27\0\0\0\x0f", 5) == "no syscall"
    assert decode.shape(b"", 0) == "no syscall"
    assert decode.shape(b"\x0f\x05", 4000000000) == "no syscall"


def test_far_branches():
    text = bytearray(1000)
    text[700:705] = b"\xe9" + (100 - 705).to_bytes(4, "little", signed=True)
    assert decode.may_branch(bytes(text), 98, 103)
    assert decode.may_branch(bytes(text), 99, 101)
    assert not decode.may_branch(bytes(text), 100, 105)
    assert not decode.may_branch(bytes(text), 95, 100)
    text[700:706] = b"\x0f\x84" + (100 - 706).to_bytes(4, "little", signed=True)
    assert decode.may_branch(bytes(text), 98, 103)
    text[700] = 0
    assert not decode.may_branch(bytes(text), 98, 103)
    assert not decode.may_branch(b"", 0, 10)
    assert not decode.may_branch(b"\xe9\0\0", 0, 10)


def sites(path):
    """Addresses of the `syscall` instructions of a file, as objdump finds them."""
    out = subprocess.run(["objdump", "-d", path], capture_output=True, text=True, check=True).stdout
    return [int(m[1], 16) for m in re.finditer(r"^\s*([0-9a-f]+):\s+0f 05 +\tsyscall", out, re.MULTILINE)]


def share(path):
    """(number of sites, {reason: number, "": those that can be rewritten})"""
    found = {}
    with open(path, "rb") as file:
        library = Library()
        loads = library.file(file.fileno()).functions(file.fileno()).loads
        every = sites(path)
        for at in every:
            offset = next(at - vaddr + where for vaddr, where, size, _ in loads if vaddr <= at < vaddr + size)
            shape = library.shape(file.fileno(), offset)
            reason = shape if isinstance(shape, str) else ""
            found[reason] = found.get(reason, 0) + 1
            if not reason:
                assert shape.code.endswith(SYSCALL) and len(shape.code) == shape.start + 2 == sum(shape.lengths) + 2
    return len(every), found


def test_libc():
    count, found = share("/lib/x86_64-linux-gnu/libc.so.6")
    assert count > 300
    assert found[""] / count > 0.9, found


RESTORER = """
.text
.byte 0x0f, 0x1f, 0x40, 0x00
%s
.globl back
back: mov $15, %%rax
syscall
%s
"""


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (".cfi_startproc\n.cfi_signal_frame", ".cfi_endproc", True),
        (".cfi_startproc", ".cfi_endproc", False),  # a function like others: unwinders look at the bytes
        (".globl f\nf:", "", False),
    ],
)
@pytest.mark.parametrize("flags", [("-shared",), ("-shared", "-Wl,--no-eh-frame-hdr")])
def test_signal_return(tmp_path, before, after, wanted, flags):
    """It is rewritten where unwinders know it from .eh_frame."""
    source, path = tmp_path / "back.S", tmp_path / "back.so"
    source.write_text(RESTORER % (before, after))
    subprocess.run(["gcc", "-nostdlib", *flags, "-o", path, source], check=True)
    (at,) = sites(path)
    with open(path, "rb") as file:
        fd = file.fileno()
        library = Library()
        vaddr, where = next(load[:2] for load in library.file(fd).functions(fd).loads if load[0] <= at < load[0] + load[2])
        shape = library.shape(fd, at - vaddr + where)
    assert isinstance(shape, Shape) == wanted, shape
    if wanted:
        assert (shape.start, shape.lengths) == (7, (7,))


def test_dynamic_linker():
    count, found = share(os.path.realpath("/lib64/ld-linux-x86-64.so.2"))
    assert found[""] / count > 0.7, found


def test_static_program_without_a_table(busybox_root):
    count, found = share(f"{busybox_root}/bin/busybox")
    assert count > 100
    assert found[""] / count > 0.85, found


@pytest.mark.slow
def test_go_program(debian_full):
    programs = glob.glob(f"{debian_full}/usr/lib/go-*/bin/gofmt")
    if not programs:
        pytest.skip("no Go program")
    count, found = share(programs[0])
    assert found[""] / count > 0.9, found


def test_random_code():
    """Whatever the bytes: an answer, and one that holds its promises."""
    rng = random.Random(3)
    alphabet = [bytes.fromhex(x) for x in ("b827000000", "0f05", "4889fe", "31ff", "90", "eb02", "7505", "c3", "488d05", "48c7c0", "0f", "e9", "ff25")]
    good = 0
    for round in range(20000):
        if round % 2:
            code = b"".join(rng.choice(alphabet) for _ in range(rng.randrange(12)))
        else:
            code = rng.randbytes(rng.randrange(40))
        at = code.rfind(SYSCALL)
        if at < 0:
            at = rng.randrange(50)
        result = decode.shape(code, at)
        if isinstance(result, str):
            assert result in decode.REASONS[1:]
        else:
            start, lengths = result
            good += 1
            assert 0 <= start and start + sum(lengths) == at and at - start >= 5
            assert sum(lengths[1:]) < 5 and all(1 <= n <= 15 for n in lengths)
    assert good > 100


def test_damaged_files(tmp_path):
    """Files with wrong numbers in headers and tables: no function, or some, but no exception and no long work."""
    rng = random.Random(5)
    with open("/lib64/ld-linux-x86-64.so.2", "rb") as file:
        image = file.read()
    with open(f"{rootfs('busybox')}/bin/busybox", "rb") as file:
        static = file.read()
    eh_frame = static.find(b"zR\0")
    for round in range(400):
        data = bytearray(image if round % 2 else static)
        for _ in range(rng.randrange(1, 30)):
            where = rng.choice((64, 1024, len(data), len(data) - 4096, eh_frame))
            at = min(rng.randrange(max(where - 4096, 0), where), len(data) - 1)
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if round % 5 == 0:
            del data[rng.randrange(len(data)) :]
        path = tmp_path / "damaged"
        path.write_bytes(data)
        with open(path, "rb") as file:
            functions = Functions(file.fileno())
            for _ in range(20):
                found = functions.around(rng.randrange(len(image)))
                assert found is None or 0 <= found[0] < found[1] <= 1 << 63
            library = Library()
            library.shape(file.fileno(), rng.randrange(len(image)))


def test_random_unwind_tables():
    rng = random.Random(7)
    for _ in range(3000):
        data = bytearray(rng.randbytes(rng.randrange(200)))
        for at in range(0, len(data) - 12, 24):
            data[at : at + 4] = rng.choice((20, 4, 0, 0xFFFFFFFF, 0xFFFFFFFE)).to_bytes(4, "little")
            data[at + 4 : at + 12] = rng.choice((b"\0\0\0\0\1zR\0", (at + 4).to_bytes(4, "little") + b"\1zPL"))
        for start, length in decode.functions(bytes(data), 0x1000):
            assert 0 <= start < 1 << 64 and 0 <= length < 1 << 32
