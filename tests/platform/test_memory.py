"""Guest memory: operations, and copies from and to it."""

import errno
import os

import pytest
from machine import DATA, TEXT

from sentry.platform.base import (
    OP_MADVISE,
    OP_MMAP_ANON,
    OP_MMAP_FD,
    OP_MPROTECT,
    OP_MREMAP,
    OP_MUNMAP,
    OP_WRITE,
    OP_ZERO,
    TASK_LIMIT,
    MemFault,
)

IDLE = "int main(void) { for (;;) call0(5); }"
READ, WRITE = 1, 2


@pytest.fixture
def thread(machine):
    return machine.aspace()


def memfd(content):
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def test_anonymous_memory(machine, thread):
    assert machine.ops(thread, (OP_MMAP_ANON, DATA, 0x4000, READ | WRITE, False), (OP_WRITE, DATA + 5, b"hello")) == (2, 0)
    assert thread.read(DATA, 12) == b"\0\0\0\0\0hello\0\0"
    assert thread.aspace.read(DATA + 5, 5) == b"hello"
    thread.write(DATA + 0x1FFE, b"abcd")
    assert thread.read(DATA + 0x1FFD, 6) == b"\0abcd\0"
    assert machine.ops(thread, (OP_ZERO, DATA + 0x1FFF, 2)) == (1, 0)
    assert thread.read(DATA + 0x1FFD, 6) == b"\0a\0\0d\0"


def test_unmap_and_faults(machine, thread):
    assert machine.ops(thread, (OP_MMAP_ANON, DATA, 0x4000, 3, True), (OP_MUNMAP, DATA + 0x2000, 0x2000)) == (2, 0)
    with pytest.raises(MemFault):
        thread.read(DATA + 0x1FFF, 2)
    with pytest.raises(MemFault):
        thread.write(DATA + 0x1FFF, b"12")
    assert thread.read_upto(DATA + 0x1FF0, 100) == b"\0" * 15 + b"1" or thread.read_upto(DATA + 0x1FF0, 100) == b"\0" * 16
    assert thread.write_upto(DATA + 0x1FF0, b"x" * 100) == 16
    assert thread.read(DATA + 0x1FF0, 16) == b"x" * 16
    with pytest.raises(MemFault):
        thread.read_upto(DATA + 0x2000, 1)
    with pytest.raises(MemFault):
        thread.write_upto(DATA + 0x2000, b"1")
    assert thread.read(0, 0) == b""


def test_strings(machine, thread):
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x2000, 3, False))
    thread.write(DATA + 0xFFD, b"path\0rest")
    assert thread.read_cstr(DATA + 0xFFD, 4096) == b"path"
    assert thread.read_cstr(DATA + 0xFFD, 4) == b"path"
    assert thread.read_cstr(DATA + 0xFFD, 2) == b"pa"
    assert thread.read_cstr(DATA + 0x1FFF, 4096) == b""
    thread.write(DATA + 0x1F00, b"y" * 256)
    with pytest.raises(MemFault):
        thread.read_cstr(DATA + 0x1F00, 4096)
    assert thread.read_cstr(DATA + 0x1F00, 256) == b"y" * 256
    thread.write(DATA, b"z" * 3000 + b"\0")
    assert thread.read_cstr(DATA, 4096) == b"z" * 3000
    assert thread.read_cstr(DATA, 300) == b"z" * 300
    with pytest.raises(MemFault):
        thread.read_cstr(0x10, 10)


def test_large_copies(machine, thread):
    machine.ops(thread, (OP_MMAP_ANON, DATA, 8 << 20, 3, False))
    data = os.urandom(5 << 20)
    thread.write(DATA + 123, data)
    assert thread.read(DATA + 123, len(data)) == data
    assert thread.write_upto(DATA + (8 << 20) - 4096 * 3 - 1, bytes(100000)) == 4096 * 3 + 1


def test_nothing_above_the_limit(machine, thread):
    for addr in (TASK_LIMIT, TASK_LIMIT + 0x10000, TASK_LIMIT + 0x10000000, TASK_LIMIT + 0x10002000, (1 << 64) - 4096, 1 << 63):
        for access in (lambda at: thread.read(at, 1), lambda at: thread.write(at, b"x"), lambda at: thread.read_upto(at, 1),
                       lambda at: thread.write_upto(at, b"x"), lambda at: thread.read_cstr(at, 10)):  # fmt: skip
            with pytest.raises(MemFault):
                access(addr)
    with pytest.raises(MemFault):
        thread.read(TASK_LIMIT - 1, (1 << 62))
    for op in ((OP_MMAP_ANON, TASK_LIMIT - 4096, 8192, 3, False), (OP_MUNMAP, TASK_LIMIT, 4096), (OP_MPROTECT, TASK_LIMIT, 4096, 7),
               (OP_MUNMAP, 4096, (1 << 64) - 4096), (OP_MADVISE, TASK_LIMIT, 4096, 4)):  # fmt: skip
        done, error = machine.ops(thread, op)
        assert done == 0 and error != 0, op


def test_protection(machine, thread):
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x2000, 3, False), (OP_WRITE, DATA, b"text"), (OP_MPROTECT, DATA, 0x1000, READ))
    assert thread.read(DATA, 4) == b"text"
    with pytest.raises(MemFault):
        thread.write(DATA, b"t")
    assert machine.ops(thread, (OP_WRITE, DATA + 0x1000, b"ok"), (OP_WRITE, DATA, b"no"), (OP_MUNMAP, DATA, 4096)) == (1, errno.EFAULT)
    assert thread.read(DATA, 4) == b"text", "what comes after a failure is not done"


def test_failure_stops_at_the_operation(machine, thread):
    ops = ((OP_MMAP_ANON, DATA, 0x1000, 3, False), (OP_MPROTECT, DATA + 0x100000, 0x1000, 1), (OP_MUNMAP, DATA, 0x1000))
    assert machine.ops(thread, *ops) == (1, errno.ENOMEM)
    assert thread.read(DATA, 1) == b"\0"


def test_shared_file(machine, thread):
    fd = memfd(b"first page".ljust(4096, b".") + b"second page")
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 3, True, fd, 0x1000), (OP_MMAP_FD, DATA + 0x1000, 0x1000, 3, False, fd, 0)) == (2, 0)
    assert thread.read(DATA, 11) == b"second page"
    assert thread.read(DATA + 0x1000, 10) == b"first page"
    thread.write(DATA, b"SECOND")
    thread.write(DATA + 0x1000, b"FIRST")
    assert os.pread(fd, 11, 4096) == b"SECOND page"
    assert os.pread(fd, 10, 0) == b"first page"
    os.close(fd)
    assert thread.read(DATA, 6) == b"SECOND"


def test_mapping_errors_are_the_hosts(machine, thread):
    path = "/proc/self/exe"
    fd = os.open(path, os.O_RDONLY)
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 3, True, fd, 0)) == (0, errno.EACCES)
    os.close(fd)
    fd, other = os.pipe()
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 1, True, fd, 0)) == (0, errno.ENODEV)
    os.close(fd)
    os.close(other)
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 1, True, 100000, 0)) == (0, errno.EBADF)
    # and none of it spoils the next one
    fd = memfd(b"x" * 4096)
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, 1, True, fd, 0)) == (1, 0)
    os.close(fd)
    assert thread.read(DATA, 1) == b"x"


def test_many_files(machine, thread):
    for i in range(300):
        fd = memfd(str(i).encode().ljust(4096))
        assert machine.ops(thread, (OP_MMAP_FD, DATA + i * 4096, 4096, 1, i % 2 == 0, fd, 0)) == (1, 0)
        os.close(fd)
    for i in range(300):
        assert int(thread.read(DATA + i * 4096, 10)) == i


def test_mremap(machine, thread):
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x1000, 3, False), (OP_WRITE, DATA, b"moved"))
    assert machine.ops(thread, (OP_MREMAP, DATA, 0x1000, 0x3000, DATA + 0x100000)) == (1, 0)
    assert thread.read(DATA + 0x100000, 5) == b"moved"
    thread.write(DATA + 0x102FFF, b"!")
    with pytest.raises(MemFault):
        thread.read(DATA, 1)


def test_madvise(machine, thread):
    machine.ops(thread, (OP_MMAP_ANON, DATA, 0x2000, 3, False), (OP_WRITE, DATA, b"gone"))
    assert machine.ops(thread, (OP_MADVISE, DATA, 0x2000, 4)) == (1, 0)
    assert thread.read(DATA, 4) == b"\0\0\0\0"


def test_value_goes_straight_back(machine):
    thread = machine.start("int main(void) { done(call0(9)); }")
    machine.syscall(thread, 9)
    thread.run_ops([(OP_MMAP_ANON, DATA, 4096, 3, False), (OP_WRITE, DATA, b"v")], DATA)
    assert machine.finish(thread) == DATA
    assert thread.read(DATA, 1) == b"v"
    thread.run_ops([], 5)
    assert machine.finish(thread) == DATA


def test_failed_ops_report_in_spite_of_a_value(machine):
    thread = machine.start("int main(void) { done(call0(9)); }")
    machine.syscall(thread, 9)
    assert machine.ops(thread) == (0, 0)
    thread.run_ops([(OP_MPROTECT, DATA, 4096, 1)], 5)
    machine.event(thread)
    assert (thread.ops_done, thread.ops_errno) == (0, errno.ENOMEM)
    thread.ret(-thread.ops_errno)
    assert machine.finish(thread) == (1 << 64) - errno.ENOMEM


def test_guest_sees_what_was_written(machine):
    thread = machine.start(
        """
        char text[100];
        int main(void) { call(0, text, 0, 0, 0, 0, 0); for (int i = 0; i < 5; i++) note(text[i]); done(0); }
        """
    )
    at = machine.syscall(thread, 0)[0]
    assert TEXT < at < TEXT + 0x40000
    thread.write(at, b"hello")
    thread.ret(5)
    for byte in b"hello":
        assert machine.note(thread) == byte
        thread.ret(0)
    machine.finish(thread)
