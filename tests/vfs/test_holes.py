"""Holes take no memory: large sparse files, fallocate(2)."""

import struct

from sentry.fs.tmpfs import TmpfsFS
from tests.vfs.fake import FakeTask

AT = -100
PUNCH_KEEP = 3


def blocks(task, fd):
    out = bytearray(144)
    assert task.call("fstat", fd, out) == 0
    return struct.unpack_from("<q", out, 64)[0]


def test_punch_gives_memory_back():
    task = FakeTask()
    fd = task.call("openat", AT, b"f", 0o102, 0o644)
    data = bytes(range(256)) * 4096
    assert task.call("write", fd, bytearray(data), len(data)) == len(data)
    full = blocks(task, fd)
    assert task.call("fallocate", fd, PUNCH_KEEP, 4000, 500000) == 0
    assert full - blocks(task, fd) == (500000 + 4000) // 4096 * 8 - 8
    out = bytearray(len(data))
    assert task.call("pread64", fd, out, len(out), 0) == len(data)
    assert out == data[:4000] + bytes(500000) + data[504000:]


def test_terabytes_of_nothing():
    task = FakeTask()
    fd = task.call("openat", AT, b"f", 0o102, 0o644)
    assert task.call("ftruncate", fd, 1 << 45) == 0
    assert task.call("pwrite64", fd, bytearray(b"end"), 3, (1 << 45) - 3) == 3
    assert blocks(task, fd) == 8
    assert task.call("lseek", fd, 0, 3) == (1 << 45) - 4096


def test_full_tmpfs_writes_what_fits():
    task = FakeTask(root=TmpfsFS(0o755, limit=1 << 16))
    fd = task.call("openat", AT, b"f", 0o102, 0o644)
    assert task.call("write", fd, bytearray(60000), 60000) == 60000
    assert task.call("write", fd, bytearray(60000), 60000) == (1 << 16) - 60000
    assert task.call("write", fd, bytearray(1), 1) == -28
    assert task.call("ftruncate", fd, 4096) == 0
    assert task.call("write", fd, bytearray(1), 1) == 1
    assert task.call("unlink", b"f") == 0
    assert task.call("close", fd) == 0
    assert task.fs.root.mount.fs.used_pages == 0
