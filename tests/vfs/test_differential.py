"""Random sequences of file operations give the same answers as on the host's tmpfs."""

import os
import random
import shutil
import struct
import tempfile

import pytest

from sentry.core.creds import Creds
from sentry.fs.overlay import OverlayFS
from sentry.vfs import dentry, ops, walk
from tests.vfs.fake import FakeTask
from tests.vfs.native import NativeTask, in_child

NAMES = [b"a", b"b", b"c", b"d", b"d/e", b"d/f", b"g", b"g/h", b"d/e/i", b"l", b"l/x", b".", b"..", b"d/..", b"a/", b"d/",
         b"g/../d/e", b"l/", b"", b"x" * 256, b"d/.", b"n/n", b"k", b"k/a", b"a/b"]  # fmt: skip
FLAGS = [0, 1, 2, 0o100, 0o102, 0o301, 0o1001, 0o1101, 0o2101, 0o2002, 0o200000, 0o400000, 0o10000000, 0o10400000, 0o20200002,
         0o200100, 0o102 | 0o400000, 0o10200000, 0o1000]  # fmt: skip
AT = -100


class Model:
    """One side of the comparison: performs operations and describes what came out."""

    def __init__(self, task):
        self.task = task
        self.fds = [None] * 6
        self.beyond = False

    def run(self, op):
        name, args = op[0], op[1:]
        return getattr(self, "op_" + name)(*args)

    def call(self, *args):
        return self.task.call(*args)

    def fd(self, slot):
        return 1199 if self.fds[slot] is None else self.fds[slot]

    def keep(self, slot, fd):
        if fd >= 0:
            if self.fds[slot] is not None:
                self.call("close", self.fds[slot])
            self.fds[slot] = fd
            return "fd"
        return fd

    def op_open(self, slot, path, flags, mode):
        return self.keep(slot, self.call("openat", AT, path, flags, mode))

    def op_open2(self, slot, at, path, flags, mode, resolve):
        how = bytearray(struct.pack("<QQQ", flags, mode, resolve))
        dirfd = AT if at is None else self.fd(at)
        return self.keep(slot, self.call("openat2", dirfd, path, how, 24))

    def op_openat(self, slot, at, path, flags, mode):
        return self.keep(slot, self.call("openat", self.fd(at), path, flags, mode))

    def op_close(self, slot):
        if self.fds[slot] is None:
            return None
        fd, self.fds[slot] = self.fds[slot], None
        return self.call("close", fd)

    def op_dup(self, slot, other):
        if self.fds[slot] is None:
            return None
        return self.keep(other, self.call("dup", self.fd(slot))) if slot != other else None

    def op_read(self, slot, n):
        buf = bytearray(n)
        return self.call("read", self.fd(slot), buf, n), bytes(buf)

    def op_pread(self, slot, n, pos):
        buf = bytearray(n)
        return self.call("pread64", self.fd(slot), buf, n, pos), bytes(buf)

    def op_write(self, slot, data):
        return self.call("write", self.fd(slot), bytearray(data), len(data))

    def op_pwrite(self, slot, data, pos):
        return self.call("pwrite64", self.fd(slot), bytearray(data), len(data), pos)

    def op_lseek(self, slot, off, whence):
        return self.call("lseek", self.fd(slot), off, whence)

    def op_getfl(self, slot):
        return self.call("fcntl", self.fd(slot), 3, 0)

    def op_ftruncate(self, slot, size):
        return self.call("ftruncate", self.fd(slot), size)

    def op_fallocate(self, slot, mode, off, length):
        self.beyond = self.beyond or mode & 1
        return self.call("fallocate", self.fd(slot), mode, off, length)

    def op_fchdir(self, slot):
        return self.call("fchdir", self.fd(slot))

    def op_plain(self, name, *args):
        return self.call(name, *args)

    def shown(self, raw):
        dev, ino, nlink, mode, uid, gid, _, rdev, size, blksize, blocks = struct.unpack_from("<QQQIIIIQqqq", raw)
        if mode & 0o170000 == 0o040000:
            size = blocks = 0
        if self.beyond:
            blocks = 0  # memory beyond the end of the file is not kept, of its last page not dropped
        return nlink, oct(mode), uid, gid, rdev, size, blksize, blocks

    def op_stat(self, path, flags):
        buf = bytearray(144)
        r = self.call("newfstatat", AT, path, buf, flags)
        return r, r == 0 and self.shown(buf)

    def op_fstat(self, slot):
        buf = bytearray(144)
        r = self.call("fstat", self.fd(slot), buf)
        return r, r == 0 and self.shown(buf)

    def op_readlink(self, path):
        buf = bytearray(64)
        return self.call("readlink", path, buf, 64), bytes(buf)

    def op_list(self, path):
        fd = self.call("openat", AT, path, 0o200000, 0)
        if fd < 0:
            return fd
        names = []
        while True:
            buf = bytearray(200)
            n = self.call("getdents64", fd, buf, 200)
            if n <= 0:
                break
            at = 0
            while at < n:
                _, _, length, kind = struct.unpack_from("<QqHB", buf, at)
                names.append((bytes(buf[at + 19 : at + length]).split(b"\0")[0], kind))
                at += length
        self.call("close", fd)
        return n, sorted(names)

    def op_getxattr(self, path, name):
        buf = bytearray(16)
        return self.call("getxattr", path, name, buf, 16), bytes(buf)

    def op_setxattr(self, path, name, value, flags):
        return self.call("setxattr", path, name, bytearray(value), len(value), flags)

    def op_utime(self, path, a, m, flags):
        buf = bytearray(struct.pack("<qqqq", *a, *m))
        r = self.call("utimensat", AT, path, buf, flags)
        out = bytearray(144)
        s = self.call("newfstatat", AT, path, out, 0x100)
        times = struct.unpack_from("<qqqq", out, 72)
        if a[1] < 1 << 29 and r == 0 and s == 0:
            return r, times[:2] if times[0] < 1 << 29 else None, times[2:] if times[2] < 1 << 29 else None
        return r, None

    def op_cwd(self, top):
        buf = bytearray(400)
        n = self.call("getcwd", buf, 400)
        return n if n < 0 else bytes(buf[: n - 1]).replace(top, b"", 1) or b"/"


def random_op(rnd, root):
    path = lambda: rnd.choice(NAMES)  # noqa: E731
    slot = lambda: rnd.randrange(6)  # noqa: E731
    mode = lambda: rnd.choice([0o644, 0o600, 0o777, 0o755, 0, 0o4755, 0o2755, 0o1777, 0o444, 0o2644])  # noqa: E731
    data = lambda: bytes(rnd.randrange(97, 123) for _ in range(rnd.choice([0, 1, 5, 100, 5000])))  # noqa: E731
    offset = lambda: rnd.choice([0, 1, 3, 50, 4096, 5000, 100000, 400000])  # noqa: E731
    owner = lambda: rnd.choice([0, 1000, 1001, 0xFFFFFFFF])  # noqa: E731
    choices = [
        lambda: ("open", slot(), path(), rnd.choice(FLAGS), mode()),
        lambda: ("open", slot(), path(), rnd.choice(FLAGS), mode()),
        lambda: ("open2", slot(), rnd.choice([None, slot()]), rnd.choice([b"/top/", b"/", b"", b""]) + path(), rnd.choice(FLAGS),
                 rnd.choice([0, 0, 0o644]), rnd.choice([0, 2, 4, 8, 16, 24, 12, 64])),
        lambda: ("openat", slot(), slot(), path(), rnd.choice(FLAGS), mode()),
        lambda: ("close", slot()),
        lambda: ("dup", slot(), slot()),
        lambda: ("read", slot(), rnd.choice([0, 1, 10, 6000])),
        lambda: ("pread", slot(), rnd.choice([0, 1, 10, 6000]), offset()),
        lambda: ("write", slot(), data()),
        lambda: ("pwrite", slot(), data(), offset()),
        lambda: ("lseek", slot(), rnd.choice([-5, 0, 7, 5000]), rnd.choice([0, 1, 2, 5])),
        lambda: ("getfl", slot()),
        lambda: ("ftruncate", slot(), rnd.choice([-1, 0, 5, 5000, 300000])),
        lambda: ("fallocate", slot(), rnd.choice([0, 1, 3, 2]), rnd.choice([0, 100, 5000]), rnd.choice([0, 1, 9000])),
        lambda: ("plain", "truncate", path(), rnd.choice([-1, 0, 5, 5000])),
        lambda: ("plain", "mkdir", path(), mode()),
        lambda: ("plain", "mkdir", path(), mode()),
        lambda: ("plain", "rmdir", path()),
        lambda: ("plain", "unlink", path()),
        lambda: ("plain", "unlinkat", AT, path(), rnd.choice([0, 0x200, 1])),
        lambda: ("plain", "rename", path(), path()),
        lambda: ("plain", "renameat2", AT, path(), AT, path(), rnd.choice([0, 1, 2, 3, 8])),
        lambda: ("plain", "link", path(), path()),
        lambda: ("plain", "linkat", AT, path(), AT, path(), rnd.choice([0, 0x400, 1])),
        lambda: ("plain", "symlink", rnd.choice([b"a", b"d", b"../d", b"l", b"nope", b"k", b"d/e/", b"", b".", b"/top/d", b"/", b"../top/g", b"/top/l"]), path()),
        lambda: ("plain", "mknod", path(), rnd.choice([0o020644, 0o100600, 0o140600, 0o040755, 0o060600, 0o777, 0o150000]), 0xF04D),
        lambda: ("plain", "chmod", path(), mode()),
        lambda: ("plain", "fchmodat2", AT, path(), mode(), 0x100),
        lambda: ("plain", "fchownat", AT, path(), owner(), owner(), rnd.choice([0, 0x100])),
        lambda: ("plain", "access", path(), rnd.choice([0, 1, 2, 4, 7, 8])),
        lambda: ("plain", "umask", rnd.choice([0, 0o22, 0o77])),
        lambda: ("plain", "chdir", rnd.choice([b"d", b"g", b"l", b"a", b"nope", b"."])) if rnd.random() < 0.1 else ("stat", path(), 0),
        lambda: ("plain", "flock", rnd.randrange(1100, 1109), 1),
        lambda: ("stat", path(), rnd.choice([0, 0x100, 1])),
        lambda: ("fstat", slot()),
        lambda: ("readlink", path()),
        lambda: ("list", path()),
        lambda: ("setxattr", path(), rnd.choice([b"user.a", b"user.b", b"bogus", b"user.", b"trusted.x"]), data()[:12], rnd.choice([0, 1, 2])),
        lambda: ("getxattr", path(), rnd.choice([b"user.a", b"user.b", b"bogus", b"trusted.x"])),
        lambda: ("plain", "removexattr", path(), rnd.choice([b"user.a", b"user.b"])),
        lambda: ("utime", path(), rnd.choice([(5, 7), (9, (1 << 30) - 2), (0, (1 << 30) - 1), (1, 1 << 31)]), (100, 9), rnd.choice([0, 0x100])),
        lambda: ("fchdir", slot()) if rnd.random() < 0.1 else ("fstat", slot()),
    ]
    return rnd.choice(choices)()


def sequence(seed, length, root):
    rnd = random.Random(seed)
    ops = [("plain", "chdir", b"top")]
    for _ in range(length):
        ops.append(random_op(rnd, root))
        if rnd.random() < 0.02:
            ops.append(("back",))
    return ops


def perform(model, ops, home):
    out = []
    for op in ops:
        if op[0] == "back":
            out.append((op, model.call("chdir", home)))
        else:
            out.append((op, model.run(op)))
    return out


@pytest.fixture(autouse=True)
def host_protections(monkeypatch):
    """The fs.protected_* settings of this host."""
    for module, name in ((walk, "symlinks"), (ops, "hardlinks"), (ops, "regular"), (ops, "fifos")):
        with open("/proc/sys/fs/protected_" + name) as f:
            monkeypatch.setattr(module, "protected_" + name, int(f.read()))


def tmpfs_dir():
    return tempfile.mkdtemp(dir="/dev/shm")


def populate(call):
    """What is there from the start, in the lower file system where there are two."""
    for path, mode in ((b"d", 0o755), (b"d/e", 0o755), (b"g", 0o777), (b"k", 0o1777), (b"g/h", 0o700)):
        call("mkdir", b"top/" + path, mode)
        call("chmod", b"top/" + path, mode)
    for path, size in ((b"a", 10), (b"d/f", 6000), (b"d/e/i", 0), (b"k/a", 300000)):
        fd = call("openat", AT, b"top/" + path, 0o102, 0o644)
        call("write", fd, bytearray(b"z" * size), size)
        call("close", fd)
    call("link", b"top/a", b"top/d/x")
    call("link", b"top/d/x", b"top/b")
    call("symlink", b"d", b"top/l")
    call("setxattr", b"top/a", b"user.a", bytearray(b"1"), 1, 0)
    call("setxattr", b"top/d", b"user.b", bytearray(b"22"), 2, 0)


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("seed", range(int(os.environ.get("STOCKADE_SEEDS", "12"))))
def test_random_sequences(seed, uid, kind, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("needs root, to take other user ids and a root directory of its own")
    steps = sequence(seed, 400, uid == 0)
    base = tmpfs_dir()
    home = os.path.join(base, "top")

    def native():
        os.mkdir(home)
        os.chmod(base, 0o755)
        os.chown(home, uid, uid)
        os.chroot(base)
        os.chdir("/")
        os.umask(0o22)
        if kind == "overlay":
            populate(NativeTask().call)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        return perform(Model(NativeTask()), steps, b"/top")

    try:
        expected = in_child(native)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    task = FakeTask()
    task.call("mkdir", b"/top", 0o755)
    task.call("chown", b"/top", uid, uid)
    if kind == "overlay":
        populate(task.call)
        lower = task.fs.root.mount.fs
        task = FakeTask(root=OverlayFS(lower))
    if uid:
        task.creds = Creds(uid, uid, caps=0)
    monkeypatch.setattr(dentry, "cache_limit", 3)
    monkeypatch.setattr(dentry, "CACHE_MIN", 3)
    actual = perform(Model(task), steps, b"/top")
    assert isinstance(expected, list), expected
    for i, (want, got) in enumerate(zip(expected, actual)):
        assert got == want, f"step {i}, after {steps[max(0, i - 6) : i]}"


def test_a_lower_file_gets_a_second_name():
    """Nobody has to hold on to the node for both names to stay those of one file."""
    task = FakeTask()
    task.call("mkdir", b"/top", 0o755)
    populate(task.call)
    top = OverlayFS(task.fs.root.mount.fs).root.lookup(b"top")
    assert top.link(b"g2", top.lookup(b"k").lookup(b"a")) == 0
    first, second = top.lookup(b"k").lookup(b"a"), top.lookup(b"g2")
    assert first is second and first.nlink == 2
    assert top.link(b"g2", first) == -17  # EEXIST
    assert first.nlink == 2
