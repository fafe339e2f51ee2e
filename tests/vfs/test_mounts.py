"""Mounts: crossing them, `..`, bind and read-only, busy, namespaces, what /proc/mounts says."""

import struct

from sentry.abi.fs import MNT_DETACH, MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT
from tests.vfs.fake import FakeTask

AT = -100
EBUSY, EINVAL, EROFS, EXDEV, ENOENT = -16, -22, -30, -18, -2


def mounted():
    """A task with tmpfs on /m, a directory /m/d in it, and /d beside."""
    task = FakeTask()
    for path in (b"/m", b"/d"):
        assert task.call("mkdir", path, 0o755) == 0
    assert task.call("mount", b"one", b"/m", b"tmpfs", 0, b"mode=755") == 0
    assert task.call("mkdir", b"/m/d", 0o755) == 0
    return task


def make(task, path):
    fd = task.call("openat", AT, path, 0o102, 0o644)
    return fd if fd < 0 else task.call("close", fd)


def open2(task, path, resolve):
    how = bytearray(struct.pack("<QQQ", 0, 0, resolve))
    return task.call("openat2", AT, path, how, 24)


def test_dotdot_leaves_a_mount():
    task = mounted()
    assert task.call("chdir", b"/m/d/../../d") == 0
    out = bytearray(64)
    assert task.call("getcwd", out, 64) == 3
    assert out.startswith(b"/d\0")


def test_no_xdev():
    task = mounted()
    assert task.call("symlink", b"/d", b"/m/l") == 0
    assert open2(task, b"/d", 1) >= 0
    assert open2(task, b"/m/d", 1) == EXDEV
    assert task.call("chdir", b"/m") == 0
    assert open2(task, b"d", 1) >= 0
    assert open2(task, b"../d", 1) == EXDEV
    assert open2(task, b"l", 1) == EXDEV


def test_bind_shows_the_same_files_and_read_only_is_its_own():
    task = mounted()
    assert task.call("mount", b"/m/d", b"/d", b"", MS_BIND, 0) == 0
    assert make(task, b"/d/f") == 0
    assert task.call("access", b"/m/d/f", 0) == 0
    assert task.call("mount", b"", b"/d", b"", MS_REMOUNT | MS_BIND | MS_RDONLY, 0) == 0
    assert make(task, b"/d/g") == EROFS
    assert task.call("unlink", b"/d/f") == EROFS
    assert task.call("access", b"/d/f", 2) == EROFS
    assert make(task, b"/m/d/g") == 0
    assert task.call("rename", b"/m/d/g", b"/d/g") == EXDEV


def test_recursive_bind_takes_mounts_along():
    task = mounted()
    assert task.call("mount", b"two", b"/m/d", b"tmpfs", 0, 0) == 0
    assert make(task, b"/m/d/inner") == 0
    assert task.call("mount", b"/m", b"/d", b"", MS_BIND, 0) == 0
    assert task.call("access", b"/d/d/inner", 0) == ENOENT
    assert task.call("umount2", b"/d", 0) == 0
    assert task.call("mount", b"/m", b"/d", b"", MS_BIND | MS_REC, 0) == 0
    assert task.call("access", b"/d/d/inner", 0) == 0


def test_busy():
    task = mounted()
    fd = task.call("openat", AT, b"/m/d", 0, 0)
    assert task.call("umount2", b"/m", 0) == EBUSY
    assert task.call("rmdir", b"/m") == EBUSY
    assert task.call("rename", b"/m", b"/n") == EBUSY
    assert task.call("umount2", b"/m", MNT_DETACH) == 0
    assert task.call("access", b"/m/d", 0) == ENOENT
    assert task.call("mkdirat", fd, b"still", 0o755) == 0
    assert task.call("close", fd) == 0
    assert task.call("umount2", b"/m", 0) == EINVAL
    assert task.call("rmdir", b"/m") == 0


def test_unmounted_file_system_is_freed():
    task = mounted()
    fs = task.fs.ns.mounts()[-1].fs
    assert make(task, b"/m/f") == 0
    assert task.call("umount2", b"/m", 0) == 0
    assert fs.mounts == 0
    assert fs.root_dentry is None


def test_texts():
    task = mounted()
    assert task.call("mkdir", b"/a b", 0o755) == 0
    assert task.call("mount", b"/m/d", b"/a b", b"", MS_BIND, 0) == 0
    ns = task.fs.ns
    assert ns.mounts_text(task.fs.root).splitlines()[1:] == [
        b"one /m tmpfs rw,relatime,mode=755 0 0",
        rb"one /a\040b tmpfs rw,relatime,mode=755 0 0",
    ]
    line = ns.mountinfo_text(task.fs.root).splitlines()[2].split()
    assert line[3:5] == [b"/d", rb"/a\040b"]
    assert line[6:] == [b"-", b"tmpfs", b"one", b"rw,mode=755"]


def test_a_copied_namespace_goes_its_own_way():
    task = mounted()
    other = FakeTask(ns=task.fs.ns)
    assert other.call("chdir", b"/m/d") == 0
    other.fs.unshare_mounts()
    assert other.call("umount2", b"/m", MNT_DETACH) == 0
    assert task.call("access", b"/m/d", 0) == 0
    assert task.call("mkdir", b"/m/d/x", 0o755) == 0
    assert other.call("access", b"x", 0) == 0
    assert other.call("access", b"/m/d", 0) == ENOENT
