"""The Sentry's gofer file system: random sequences of file operations, through a real gofer, give the same answers as on
the host; once as a volume (changes reach the host) and once below the overlay."""

import os
import resource
import shutil
import tempfile

import pytest
from gofer_trees import Gofer, needs_root

from sentry.core.creds import Creds
from sentry.fs import gofer as gofer_fs
from sentry.fs.gofer import GoferFS
from sentry.fs.overlay import OverlayFS
from sentry.vfs import dentry, ops, walk
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


@pytest.fixture(params=["usual caches", "tiny caches"])
def caches(request, monkeypatch):
    """Also with caches so small that everything is dropped and asked for again all the time."""
    if request.param == "tiny caches":
        monkeypatch.setattr(dentry, "CACHE_MIN", 2)
        monkeypatch.setattr(dentry, "cache_limit", 2)
        for name, size in (("HANDLES_MAX", 2), ("DESCRIPTORS_MAX", 1), ("LISTED_MAX", 3), ("LOOKUPS", 1)):
            monkeypatch.setattr(gofer_fs, name, size)


@pytest.mark.parametrize("kind", ["volume", "populated volume", "overlay"])
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("seed", range(int(os.environ.get("STOCKADE_SEEDS", "8"))))
def test_random_sequences(seed, uid, kind, base, caches):
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


class Files:
    """Opening and reading through a FakeTask."""

    def __init__(self, task):
        self.call = task.call

    def open(self, path):
        fd = self.call("openat", -100, path, os.O_RDONLY, 0)
        assert fd >= 0, (path, fd)
        return fd

    def read(self, fd):
        buffer = bytearray(64)
        n = self.call("pread64", fd, buffer, 64, 0)
        assert n >= 0
        return bytes(buffer[:n])


@pytest.mark.parametrize("shared", [True, False])
def test_more_files_than_descriptors(base, shared, make_gofer):
    """Neither the gofer's limit nor ours is the limit of the files that a tree may have."""
    for i in range(30):
        os.mkdir(f"{base}/d{i}")
        for j in range(40):
            with open(f"{base}/d{i}/f{j}", "w") as file:
                file.write(f"{i} {j}")
    gofer = make_gofer([(base, False, 0)])  # with 256 descriptors
    fs = GoferFS(gofer.client, 0, shared=shared)
    task = FakeTask(root=fs if shared else OverlayFS(fs))
    files = Files(task)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 100, limits[1]))
    try:
        held = {}
        for i in range(30):
            for j in range(40):
                path = b"/d%d/f%d" % (i, j)
                fd = files.open(path)
                assert files.read(fd) == b"%d %d" % (i, j)
                if j == 0:
                    held[path] = fd
                else:
                    task.call("close", fd)
        for path, fd in held.items():  # what stayed open still reads its own file
            assert files.read(fd).decode() == path[2:].decode().replace("/f", " ")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert gofer.client.dead is None


def test_names_nobody_uses_are_dropped(base, make_gofer, monkeypatch):
    monkeypatch.setattr(dentry, "CACHE_MIN", 20)
    monkeypatch.setattr(dentry, "cache_limit", 20)
    for i in range(300):
        open(f"{base}/f{i}", "w").close()
    gofer = make_gofer([(base, False, 0)], fd_limit=4096)
    task = FakeTask(root=GoferFS(gofer.client, 0, shared=True))
    files = Files(task)
    before = gofer.descriptors()
    kept = files.open(b"/f7")
    for i in range(300):
        task.call("close", files.open(b"/f%d" % i))
    dentry.prune()
    children = task.fs.root.dentry.children
    assert len(children) == 1
    assert children[b"f7"] is task.files.get(kept).path.dentry
    gofer.client.flush()
    gofer.client.statfs(task.fs.root.inode.handle)
    assert gofer.descriptors() <= before + 60


def test_removed_file_is_let_go_at_once(base, make_gofer):
    """Its blocks are the host's again when the guest has closed it."""
    with open(base + "/big", "w") as file:
        file.write("x" * 100000)
    gofer = make_gofer([(base, False, 0)])
    task = FakeTask(root=GoferFS(gofer.client, 0, shared=True))
    files = Files(task)
    fd = files.open(b"/big")
    assert task.call("unlink", b"/big") == 0
    assert files.read(fd) == b"x" * 64
    task.call("close", fd)
    gofer.client.statfs(task.fs.root.inode.handle)
    for pid in (os.getpid(), gofer.pid):
        targets = [
            os.readlink(f"/proc/{pid}/fd/{n}")
            for n in os.listdir(f"/proc/{pid}/fd")
            if n.isdigit() and os.path.islink(f"/proc/{pid}/fd/{n}")
        ]
        assert not [target for target in targets if "big" in target]


def test_a_long_walk_in_one_directory_asks_once(base, make_gofer):
    """Looking up many names in an image's directory reads its listing, and missing names cost nothing then."""
    for i in range(200):
        open(f"{base}/f{i}", "w").close()
    gofer = make_gofer([(base, True, 0)])
    task = FakeTask(root=OverlayFS(GoferFS(gofer.client, 0, shared=False)))
    buffer = bytearray(144)
    for i in range(50):
        assert task.call("newfstatat", -100, b"/f%d" % i, buffer, 0) == 0
    begin = gofer.client._sequence
    for i in range(50, 200):
        assert task.call("newfstatat", -100, b"/f%d" % i, buffer, 0) == 0
        assert task.call("newfstatat", -100, b"/no%d" % i, buffer, 0) == -2
    assert gofer.client._sequence == begin
