"""The Sentry's gofer file system: random sequences of file operations, through a real gofer, give the same answers as on
the host; once as a volume (changes reach the host) and once below the overlay."""

import os
import shutil
import tempfile

import pytest
from gofer_trees import Gofer, needs_root

from sentry.core.creds import Creds
from sentry.fs.gofer import GoferFS
from sentry.fs.overlay import OverlayFS
from sentry.vfs import ops, walk
from tests.vfs.fake import FakeTask
from tests.vfs.native import NativeTask, in_child
from tests.vfs.test_differential import Model, perform, populate, sequence

pytestmark = needs_root

S_IFMT, S_IFREG, S_IFIFO, S_IFSOCK = 0o170000, 0o100000, 0o010000, 0o140000


def served(op):
    """Can a gofer do this at all?  Devices, attributes other than user's, and holes it does not make; nor does it
    keep room beyond the end of a file (FALLOC_FL_KEEP_SIZE shows in st_blocks)."""
    if op[:2] == ("plain", "mknod"):
        return op[3] & S_IFMT in (0, S_IFREG, S_IFIFO, S_IFSOCK)
    if op[0] in ("setxattr", "getxattr"):
        return not op[2].startswith(b"trusted")
    return op[0] != "fallocate" or op[2] == 0


@pytest.fixture(autouse=True)
def host_protections(monkeypatch):
    """The fs.protected_* settings of this host."""
    for module, name in ((walk, "symlinks"), (ops, "hardlinks"), (ops, "regular"), (ops, "fifos")):
        with open("/proc/sys/fs/protected_" + name) as file:
            monkeypatch.setattr(module, "protected_" + name, int(file.read()))


@pytest.fixture
def base():
    """A directory on the host's tmpfs, to which the expectations belong."""
    path = tempfile.mkdtemp(dir="/dev/shm")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def prepare(base, uid, populated):
    """In a child: top/ as the sequences want it, everything relative to `base`."""
    os.umask(0o22)
    os.mkdir(base + "/top")
    os.chown(base + "/top", uid, uid)
    os.chroot(base)
    os.chdir("/")
    if populated:
        populate(NativeTask().call)


def native(base, steps, uid, populated):
    """What the host says."""
    prepare(base, uid, populated)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    return perform(Model(NativeTask()), steps, b"/top")


@pytest.mark.parametrize("kind", ["volume", "populated volume", "overlay"])
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("seed", range(int(os.environ.get("STOCKADE_SEEDS", "8"))))
def test_random_sequences(seed, uid, kind, base):
    steps = [op for op in sequence(1000 + seed, 400, uid == 0) if kind == "overlay" or served(op)]
    os.makedirs(base + "/expected")
    os.makedirs(base + "/served")
    expected = in_child(lambda: native(base + "/expected", steps, uid, kind != "volume"))
    assert isinstance(expected, list), expected
    assert in_child(lambda: prepare(base + "/served", uid, kind != "volume")) is None

    gofer = Gofer([(base + "/served", False, 0)], fd_limit=4096)
    fs = GoferFS(gofer.client, 0, shared=kind != "overlay")
    task = FakeTask(root=OverlayFS(fs) if kind == "overlay" else fs)
    if uid:
        task.creds = Creds(uid, uid, caps=0)
    actual = perform(Model(task), steps, b"/top")
    assert gofer.client.dead is None
    gofer.stop()
    for i, (want, got) in enumerate(zip(expected, actual)):
        assert got == want, f"step {i}, after {steps[max(0, i - 6) : i]}"
