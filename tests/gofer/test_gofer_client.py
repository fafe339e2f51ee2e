"""The client against gofers that die, hang or lie: -EIO from then on, no exception, no descriptor kept."""

import _socket
import errno
import os
import random
import resource
import struct
import subprocess
import sys
import threading
import time

import pytest

from gofer import protocol as p
from sentry.fs import gofer_client
from sentry.fs.gofer_client import GoferClient, GoferDead

ATTR = p.ATTR.pack(0o100644, 0, 0, 1, 4096, 0, 5, 7, 8, 1, 0, 1, 2, 3, 4, 1, 2, 3, 4)
NODE = struct.pack("<I", 9) + ATTR
ENTRY = p.DIRENT.pack(1, 5, 8, 1, 4) + ATTR + b"name"


class Liar:
    """A gofer whose answers the test writes.

    answers: list of what follows the status and sequence, or bytes -> the whole packet; fds go along by SCM_RIGHTS."""

    def __init__(self, timeout=10):
        self.sock, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._answer_next(lambda s: struct.pack("<iIIII", 0, s, p.VERSION, 0, 1))
        self.client = GoferClient(theirs, timeout=timeout)
        self.thread.join()

    def _answer_next(self, make, fds=()):
        def run():
            sequence = struct.unpack_from("<I", self.sock.recv(p.MAX_MESSAGE), 4)[0]
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
            self.sock.sendmsg([make(sequence)], rights)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def reply(self, call, body, status=0, fds=()):
        """What `call(client)` returns for a gofer that answers with status and body."""
        return self.packet(call, lambda s: struct.pack("<iI", status, s) + body, fds)

    def packet(self, call, make, fds=()):
        self._answer_next(make, fds)
        result = call(self.client)
        self.thread.join()
        return result


def open_files():
    """Descriptors of this process with what they are."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            pass  # that of listdir itself
    return found


@pytest.fixture
def liar():
    before = open_files()
    liar = Liar()
    yield liar
    liar.client.shutdown()
    liar.sock.close()
    assert not open_files() - before, "descriptors were kept"


CALLS = {
    "attach": lambda c: c.attach(0),
    "walk": lambda c: c.walk(1, [b"a", b"b"]),
    "getattr": lambda c: c.getattr(1),
    "setattr": lambda c: c.setattr(1, mode=0),
    "readdir": lambda c: c.readdir(1),
    "listing": lambda c: c.listing(1, 0, [b"a"]),
    "readdir_all": lambda c: c.readdir_all(1),
    "readlink": lambda c: c.readlink(1),
    "statfs": lambda c: c.statfs(1),
    "open": lambda c: c.open(1, 0),
    "create": lambda c: c.create(1, b"a", 0, 0),
    "tmpfile": lambda c: c.tmpfile(1, 2, 0),
    "connect": lambda c: c.connect(1, 1),
    "bind": lambda c: c.bind(1, b"a", 1, 0),
    "listen": lambda c: c.listen(1, 1),
    "fsync": lambda c: c.fsync(1),
    "mkdir": lambda c: c.mkdir(1, b"a", 0),
    "symlink": lambda c: c.symlink(1, b"a", b"b"),
    "mknod": lambda c: c.mknod(1, b"a", 0),
    "link": lambda c: c.link(1, 1, b"a"),
    "rename": lambda c: c.rename(1, b"a", 1, b"b"),
    "unlink": lambda c: c.unlink(1, b"a"),
    "getxattr": lambda c: c.getxattr(1, b"user.a"),
    "setxattr": lambda c: c.setxattr(1, b"user.a", b""),
    "listxattr": lambda c: c.listxattr(1),
    "removexattr": lambda c: c.removexattr(1, b"user.a"),
}


def test_every_method_is_tested():
    public = {name for name in vars(GoferClient) if not name.startswith("_")}
    assert public - set(CALLS) == {"release", "flush", "close", "farewell", "shutdown", "fileno"}


@pytest.mark.parametrize("name", CALLS)
def test_errors_pass(liar, name):
    assert liar.reply(CALLS[name], b"", -errno.EDQUOT) == -errno.EDQUOT
    assert liar.client.dead is None


BAD_REPLIES = {
    "empty (closed)": lambda s: b"",
    "half a head": lambda s: b"\0" * 7,
    "another's": lambda s: struct.pack("<iI", 0, s + 1),
    "an error of another": lambda s: struct.pack("<iI", -2, s ^ 1),
    "positive status": lambda s: struct.pack("<iI", 1, s),
    "no errno": lambda s: struct.pack("<iI", -4096, s),
    "error with a body": lambda s: struct.pack("<iI", -2, s) + b"x",
    "too much": lambda s: struct.pack("<iI", 0, s) + b"\xff" * 300,
    "too long": lambda s: struct.pack("<iI", 0, s) + b"\0" * 100000,
}


@pytest.mark.parametrize("kind", BAD_REPLIES)
@pytest.mark.parametrize("name", CALLS)
def test_malformed_replies(liar, name, kind):
    assert liar.packet(CALLS[name], BAD_REPLIES[kind]) == -errno.EIO
    assert liar.client.dead
    for call in CALLS.values():
        assert call(liar.client) == -errno.EIO
    liar.client.release(1)
    assert liar.client.close([1]) == -errno.EIO


@pytest.mark.parametrize("name", CALLS)
def test_descriptors_that_nobody_asked_for(liar, name):
    """With errors and with calls that expect none: dropped; with too many: all closed (the fixture counts)."""
    fds = [0, 0, 0]
    result = liar.reply(CALLS[name], b"", -errno.ENOENT, fds)
    assert result in (-errno.ENOENT, -errno.EIO)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_wrong_number_of_descriptors(liar, count):
    assert liar.reply(CALLS["open"], b"", 0, [0] * count) == -errno.EIO
    assert liar.client.dead


def test_more_descriptors_than_there_is_room_for(liar):
    assert liar.reply(CALLS["open"], b"", 0, [0] * 100) == -errno.EIO


@pytest.mark.parametrize("name, body", [("open", b""), ("create", NODE)])
def test_no_slot_left_for_a_descriptor(liar, name, body):
    """That is our lack and not the gofer's fault: the call fails, the conversation goes on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert liar.reply(CALLS[name], body, 0, [0]) == -errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert liar.client.dead is None
    os.close(liar.reply(CALLS["open"], b"", 0, [0]))


def test_create_with_impossible_attributes_keeps_no_descriptor(liar):
    bad = bytearray(NODE)
    struct.pack_into("<q", bad, 4 + 32, -1)
    assert liar.reply(CALLS["create"], bytes(bad), 0, [0]) == -errno.EIO


def test_what_the_liar_does_is_otherwise_well_formed(liar):
    """The tests above fail for the reason given and no other."""
    handle, attr = liar.reply(CALLS["mkdir"], NODE)
    assert (handle, attr.size, attr.blocks, attr.mtime) == (9, 7, 8, 2 * 10**9 + 2)
    assert liar.reply(CALLS["getattr"], ATTR).ino == 5
    assert liar.reply(CALLS["readdir"], struct.pack("<II", 1, len(ENTRY)) + ENTRY)[0].name == b"name"
    fd = liar.reply(CALLS["open"], b"", 0, [0])
    os.close(fd)
    walked = liar.reply(CALLS["walk"], struct.pack("<III", 0, 2 * len(NODE), 0) + NODE + NODE)
    assert len(walked.nodes) == 2


@pytest.mark.parametrize("offset, value", [(32, -1), (40, -1), (32, -(1 << 63))])
def test_impossible_sizes(liar, offset, value):
    bad = bytearray(ATTR)
    struct.pack_into("<q", bad, offset, value)
    assert liar.reply(CALLS["getattr"], bytes(bad)) == -errno.EIO


def walk_reply(error, nodes, link=b""):
    return struct.pack("<III", error, len(nodes), len(link)) + nodes + link


@pytest.mark.parametrize(
    "body",
    [
        walk_reply(0, b""),
        walk_reply(0, NODE * 3),
        walk_reply(0, NODE[:-1]),
        walk_reply(0, NODE + b"x"),
        walk_reply(5000, NODE),
        walk_reply(0xFFFFFFFF, b""),
    ],
)
def test_bad_walks(liar, body):
    assert liar.reply(CALLS["walk"], body) == -errno.EIO


def entry(name, length=None):
    return p.DIRENT.pack(1, 5, 8, 1, len(name) if length is None else length) + ATTR + name


@pytest.mark.parametrize(
    "entries",
    [
        entry(b".."), entry(b"."), entry(b""), entry(b"a/b"), entry(b"a\0"), entry(b"n" * 256), entry(b"x", 2),
        entry(b"x", 0xFFFF), entry(b"ok") + b"x", entry(b"ok") + entry(b"ok")[:-3],
    ],
)  # fmt: skip
def test_bad_entries(liar, entries):
    assert liar.reply(CALLS["readdir"], struct.pack("<II", 1, len(entries)) + entries) == -errno.EIO


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_replies(seed):
    """Random bytes behind a right head, or damaged good replies: a value, an errno or -EIO, never an exception."""
    rng = random.Random(seed)
    good = {
        "attach": struct.pack("<I", 0) + NODE,
        "walk": walk_reply(2, NODE),
        "getattr": ATTR,
        "readdir": struct.pack("<II", 1, 2 * len(ENTRY)) + ENTRY * 2,
        "readlink": struct.pack("<I", 3) + b"abc",
        "statfs": struct.pack("<11Q", *range(11)),
        "mkdir": NODE,
        "listxattr": struct.pack("<I", 4) + b"a\0b\0",
    }
    before = len(os.listdir("/proc/self/fd"))
    died = 0
    for _ in range(250):
        liar = Liar()
        name = rng.choice(list(good))
        body = bytearray(good[name])
        for _ in range(rng.randrange(1, 6)):
            kind = rng.randrange(4)
            if kind == 0 and body:
                body[rng.randrange(len(body))] = rng.randrange(256)
            elif kind == 1:
                del body[rng.randrange(len(body) + 1) :]
            elif kind == 2:
                body += rng.randbytes(rng.randrange(200))
            else:
                body[:4] = rng.randbytes(4)
        result = liar.reply(CALLS[name], bytes(body))
        if isinstance(result, int):
            assert result == -errno.EIO and liar.client.dead
            died += 1
        liar.client.shutdown()
        liar.sock.close()
    assert 50 < died < 250
    assert len(os.listdir("/proc/self/fd")) == before


def test_deadline():
    liar = Liar(timeout=0.2)
    begin = time.monotonic()
    assert liar.client.getattr(1) == -errno.EIO
    assert 0.1 < time.monotonic() - begin < 5
    assert "receive" in liar.client.dead
    begin = time.monotonic()
    assert liar.client.getattr(1) == -errno.EIO
    assert time.monotonic() - begin < 0.1
    liar.sock.close()


def test_a_gofer_that_does_not_take_requests():
    liar = Liar(timeout=0.2)
    begin = time.monotonic()
    for _ in range(100000):
        if liar.client.close(range(1, 8000)) < 0:
            break
    assert liar.client.dead and time.monotonic() - begin < 20
    liar.sock.close()


def test_killed_gofer(make_gofer, tmp_path):
    gofer = make_gofer([(tmp_path, False, 0)])
    client = gofer.client
    root, _, _ = client.attach(0)
    os.kill(gofer.pid, 9)
    os.waitid(os.P_PID, gofer.pid, os.WEXITED | os.WNOWAIT)
    assert client.getattr(root) == -errno.EIO
    assert client.dead
    assert client.walk(root, [b"x"]) == -errno.EIO
    os.waitpid(gofer.pid, 0)
    gofer.stop = lambda: None


@pytest.mark.parametrize(
    "greeting", [b"", b"\0" * 8, struct.pack("<iIIII", 0, 1, 99, 0, 1), struct.pack("<iI", -71, 1)]
)
def test_refused_greeting(greeting):
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    theirs.send(greeting)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(GoferDead):
        GoferClient(ours.detach(), timeout=1)
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_values_that_no_field_holds(liar, value):
    assert liar.client.getattr(value) == -errno.EINVAL
    assert liar.client.open(1, value) == -errno.EINVAL
    assert liar.client.setattr(1, mtime=1 << 100) == -errno.EINVAL
    assert liar.client.dead is None


def test_requests_too_long(liar):
    assert liar.client.walk(1, [b"n" * 200] * 400) == -errno.ENAMETOOLONG
    assert liar.client.symlink(1, b"n", b"x" * 70000) == -errno.ENAMETOOLONG
    assert liar.client.dead is None


def test_imports():
    """What the Sentry loads with the client."""
    code = "import sys; sys.path.insert(0, {!r}); import sentry.fs.gofer_client; print(*sys.modules)"
    root = os.path.dirname(os.path.dirname(os.path.dirname(gofer_client.__file__)))
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code.format(root)], capture_output=True, check=True, text=True
    )
    heavy = {"re", "enum", "typing", "socket", "logging", "dataclasses", "argparse", "subprocess", "contextlib"}
    assert not heavy & set(out.stdout.split())


def test_entry_with_impossible_attributes(liar):
    """The entry is there, its attributes are not."""
    bad = bytearray(ENTRY)
    struct.pack_into("<q", bad, p.DIRENT.size + 32, -1)
    entries = liar.reply(CALLS["readdir"], struct.pack("<II", 1, len(bad)) + bytes(bad))
    assert (entries[0].name, entries[0].attr) == (b"name", None)


def test_listing_that_would_never_end(liar):
    assert liar.reply(CALLS["readdir"], struct.pack("<II", 0, 0)) == -errno.EIO
