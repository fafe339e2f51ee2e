"""The Sentry runs without garbage collection: file operations must leave no cycles and no open files behind."""

import gc

import pytest

from sentry.core import leaks
from sentry.fs.overlay import OverlayFS
from tests.vfs.fake import FakeTask

AT = -100


def work(task):
    call = task.call
    call("mkdir", b"/w", 0o755)
    for i in range(20):
        name = b"/w/%d" % i
        fd = call("openat", AT, name, 0o102, 0o644)
        call("write", fd, bytearray(300000), 300000)
        call("flock", fd, 2)
        call("link", name, name + b"l")
        call("rename", name, name + b"r")
        call("unlink", name + b"r")
        call("unlink", name + b"l")
        call("close", fd)
        call("mkdir", name, 0o755)
        call("mkdir", name + b"/sub", 0o755)
        call("rename", name + b"/sub", b"/w/sub%d" % i)
        call("symlink", b"x", name + b"/s")
        call("unlink", name + b"/s")
        call("access", name + b"/none", 0)
        call("rmdir", name)
        call("rmdir", b"/w/sub%d" % i)
        ino = call("inotify_init1", 0)
        call("inotify_add_watch", ino, b"/w", 0xFFF)
        call("close", ino)
        call("mount", b"t", b"/w", b"tmpfs", 0, 0)
        fd = call("openat", AT, b"/w/in", 0o102, 0o644)
        call("mkdir", b"/w/dir", 0o755)
        call("close", fd)
        assert call("umount2", b"/w", 0) == 0
        fd = call("openat", AT, b"/low/f", 2, 0)
        if fd >= 0:
            call("write", fd, bytearray(b"x"), 1)
            call("close", fd)
    call("rmdir", b"/w")


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_no_cycles(kind, monkeypatch):
    task = FakeTask()
    if kind == "overlay":
        task.call("mkdir", b"/low", 0o755)
        task.call("close", task.call("openat", AT, b"/low/f", 0o102, 0o644))
        task = FakeTask(root=OverlayFS(task.fs.root.mount.fs))
    monkeypatch.setattr(leaks, "ENABLED", True)
    monkeypatch.setattr(leaks, "counts", {})
    work(task)
    gc.collect()
    gc.disable()
    try:
        before = dict(leaks.counts)
        work(task)
        assert leaks.counts == before
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [type(o).__name__ for o in gc.garbage if type(o).__module__.startswith("sentry")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []
