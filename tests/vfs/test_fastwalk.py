"""The cached walk answers what the general one answers, or leaves it to that."""

import pytest

from sentry.core.creds import Creds
from sentry.vfs import fastwalk, walk
from tests.vfs.fake import FakeTask

AT, NOFOLLOW = -100, 0x100
ENOENT, EACCES, ENOTDIR = -2, -13, -20

PATHS = [
    b"/", b"//", b"/.", b"/./a", b"/a", b"/a/", b"/a//b", b"/a/b/", b"/a/b/c/f", b"/a/b/c/f/", b"/a/b/c/f/x", b"/a/./b/./c/.",
    b"/a/b/c/missing", b"/a/missing/c", b"/a/..", b"/a/b/../b", b"/link", b"/link/b", b"/link/", b"/loop", b"/loop/x", b"/secret",
    b"/secret/f", b"/secret/missing", b"/m", b"/m/", b"/m/d", b"/m/d/f", b"/m/missing", b".", b"..", b"a", b"a/b", b"b", b"b/c/f", b"./b",
    b"...", b"/...", b"/link/", b"/link/b/c/f", b"/link/../m", b"/m/..", b"/m/d/../..", b"/m/../a/b", b"/up", b"/up/", b"/up/b", b"/a/abs/d",
    b"/a/abs", b"/a/abs/", b"/a/abs/../a", b"/a/tof/", b"/a/tof", b"/a/slashed", b"/a/slashed/", b"/sticky/mine", b"/sticky/mine/b",
     b"/.a", b"/a/" + b"n" * 255, b"/a/" + b"n" * 256, b"/a/b/c/f/..", b"b/missing", b"/" + b"a/" * 2047 + b"a",
]  # fmt: skip


@pytest.fixture
def task():
    task = FakeTask()
    for path in (b"/a", b"/a/b", b"/a/b/c", b"/secret", b"/m", b"/.a"):
        assert task.call("mkdir", path, 0o755) == 0
    assert task.call("mount", b"one", b"/m", b"tmpfs", 0, b"mode=755") == 0
    assert task.call("mkdir", b"/m/d", 0o755) == 0
    for path in (b"/a/b/c/f", b"/secret/f", b"/m/d/f"):
        assert task.call("close", task.call("openat", AT, path, 0o102, 0o644)) == 0
    assert task.call("chmod", b"/secret", 0o700) == 0
    assert task.call("symlink", b"a", b"/link") == 0
    assert task.call("symlink", b"loop", b"/loop") == 0
    assert task.call("mkdir", b"/sticky", 0o1777) == 0
    assert task.call("chmod", b"/sticky", 0o1777) == 0
    for target, name in (
        (b"a/../link/..", b"/up"), (b"/m", b"/a/abs"), (b"b/c/f", b"/a/tof"), (b"b/c/f/", b"/a/slashed"), (b"../a", b"/sticky/mine"),
    ):  # fmt: skip
        assert task.call("symlink", target, name) == 0
    assert task.call("lchown", b"/sticky/mine", 500, 500) == 0
    return task


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("cwd", [b"/", b"/a", b"/m/d"])
@pytest.mark.parametrize("flags", [0, NOFOLLOW])
def test_same_as_the_general_walk(task, uid, cwd, flags):
    assert task.call("chdir", cwd) == 0
    if uid:
        task.creds = Creds(uid, uid, (), 0)
    for path in PATHS:
        general = walk.resolve(task, AT, path, flags)  # also fills the cache
        fast = fastwalk.find(task.fs, task.creds, task.fs.cwd, path, flags)
        if fast is None:
            continue
        if type(general) is int:
            assert fast == general, path
        else:
            assert type(fast) is not int and fast.same(general), path


def found(task, path, flags=0):
    return fastwalk.find(task.fs, task.creds, task.fs.cwd, path, flags)


def test_what_it_answers_itself(task):
    assert found(task, b"/a/b/c/f").inode.is_regular
    assert found(task, b"/m/d/f").mount.fs is not task.fs.root.mount.fs
    assert found(task, b"/link", NOFOLLOW).inode.is_link
    assert found(task, b"/link").inode is found(task, b"/a").inode
    assert found(task, b"/link/b/../.././m/d/..").same(found(task, b"/m"))
    assert found(task, b"/m/../..").same(found(task, b"/"))
    assert found(task, b"/a/b/c/missing") is None  # nobody has asked the file system
    assert walk.resolve(task, AT, b"/a/b/c/missing") == ENOENT
    assert found(task, b"/a/b/c/missing") == ENOENT
    assert found(task, b"/a/b/c/f/x") == ENOTDIR
    assert found(task, b"/a/b/c/f/") == ENOTDIR
    task.creds = Creds(1000, 1000, (), 0)
    assert found(task, b"/secret/f") == EACCES


def test_what_it_leaves(task):
    for path in (b"", b"/loop", b"/loop/x", b"/" + b"x" * 4096):
        assert found(task, path) is None, path[:20]
    task.fs.root.mount.revalidate = True
    assert found(task, b"/a") is None


def test_it_sees_changes(task):
    assert found(task, b"/a/b/c/f").inode.is_regular
    assert task.call("rename", b"/a/b/c/f", b"/a/b/c/g") == 0
    assert task.call("unlink", b"/a/b/c/g") == 0
    general = walk.resolve(task, AT, b"/a/b/c/g")
    assert general == ENOENT and found(task, b"/a/b/c/g") in (None, ENOENT)
    assert task.call("mount", b"two", b"/a/b", b"tmpfs", 0, b"mode=755") == 0
    assert found(task, b"/a/b/c") in (None, ENOENT)
