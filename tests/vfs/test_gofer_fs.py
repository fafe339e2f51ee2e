"""The gofer file system, and the overlay on it, over a real gofer: random operations as on the host."""

import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "gofer"))
gofer_trees = pytest.importorskip("gofer_trees")

from sentry.core.creds import Creds  # noqa: E402
from sentry.fs.gofer import GoferFS  # noqa: E402
from sentry.fs.overlay import OverlayFS  # noqa: E402
from tests.vfs.fake import FakeTask  # noqa: E402
from tests.vfs.native import NativeTask, in_child  # noqa: E402
from tests.vfs.test_differential import Model, host_protections, perform, populate, sequence, tmpfs_dir  # noqa: E402, F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SEEDS = range(int(os.environ.get("STOCKADE_SEEDS", "6")))


@pytest.fixture
def tree():
    """(native directory, directory that a gofer serves), both with the same content."""
    made = [tmpfs_dir(), tmpfs_dir()]

    def fill(base):
        def work():
            os.chroot(base)
            os.chdir("/")
            os.umask(0o22)
            os.mkdir("top")
            os.chmod("/", 0o755)
            populate(NativeTask().call)
            return 0

        assert in_child(work) == 0

    for base in made:
        fill(base)
    yield made
    for base in made:
        shutil.rmtree(base, ignore_errors=True)


def compare(steps, base, task, uid):
    def native():
        os.chroot(base)
        os.chdir("/")
        os.umask(0o22)
        os.chown("/top", uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        return perform(Model(NativeTask()), steps, b"/top")

    expected = in_child(native)
    assert isinstance(expected, list), expected
    task.call("chown", b"/top", uid, uid)
    if uid:
        task.creds = Creds(uid, uid, caps=0)
    actual = perform(Model(task), steps, b"/top")
    for i, (want, got) in enumerate(zip(expected, actual)):
        assert got == want, f"step {i}, after {steps[max(0, i - 6) : i]}"


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_overlay(tree, seed, uid):
    gofer = gofer_trees.Gofer([(tree[1], True, 0)])
    try:
        task = FakeTask(root=OverlayFS(GoferFS(gofer.client, 0, False)))
        compare(sequence(seed, 300, uid == 0), tree[0], task, uid)
        assert gofer.client.dead is None
    finally:
        gofer.stop()


def refused_by_gofers(op) -> bool:
    """Devices, trusted attributes and whiteouts are not made on the host."""
    if op[0] == "plain" and op[1] == "mknod":
        return op[3] & 0o170000 in (0o020000, 0o060000)
    if op[0] == "plain" and op[1] == "renameat2":
        return bool(op[6] & 4)
    return op[0] in ("setxattr", "getxattr") and op[2].startswith(b"trusted.")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_shared(tree, seed, uid):
    gofer = gofer_trees.Gofer([(tree[1], False, 0)])
    try:
        task = FakeTask(root=GoferFS(gofer.client, 0, True))
        steps = [op for op in sequence(seed, 300, uid == 0) if not refused_by_gofers(op)]
        compare(steps, tree[0], task, uid)
        assert gofer.client.dead is None
    finally:
        gofer.stop()
