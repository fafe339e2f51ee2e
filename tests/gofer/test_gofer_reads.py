"""Requests that only read, on real directories."""

import errno
import fcntl
import os
import socket
import stat

import pytest
from gofer_trees import needs_root

from gofer import protocol as p

NAMES = ("mode", "uid", "gid", "nlink", "ino", "size", "blocks", "dev", "rdev")


def same_as_host(attr, path):
    s = os.lstat(path)
    for name in NAMES:
        assert getattr(attr, name) == getattr(s, "st_" + name), name
    assert (attr.mtime, attr.ctime) == (s.st_mtime_ns, s.st_ctime_ns)
    assert attr.blksize == s.st_blksize
    return True


def test_attach(make_gofer, tmp_path):
    (tmp_path / "file").write_text("x")
    gofer = make_gofer([(tmp_path, True, p.MOUNT_SOCKETS), (tmp_path / "file", False, 0)])
    client = gofer.client
    assert client.mounts == 2
    handle, attr, flags = client.attach(0)
    assert flags == p.MOUNT_RDONLY | p.MOUNT_SOCKETS
    assert same_as_host(attr, tmp_path)
    handle, attr, flags = client.attach(1)
    assert flags == 0 and same_as_host(attr, tmp_path / "file")
    assert client.walk(handle, [b"x"]) == -errno.ENOTDIR
    fd = client.open(handle, os.O_RDONLY)
    assert os.read(fd, 9) == b"x"
    os.close(fd)
    assert client.attach(2) == -errno.ENOENT
    assert client.attach(0xFFFFFFFF) == -errno.ENOENT


def test_attach_twice_gives_two_handles(tree):
    other, _, _ = tree.client.attach(0)
    assert other != tree.root
    assert tree.client.close([other]) == 0
    assert tree.client.getattr(other) == -errno.EBADF
    assert tree.client.getattr(tree.root).ino == tree.attr.ino


def test_walk_attributes_of_each_component(full_tree):
    walked = full_tree.client.walk(full_tree.root, [b"dir", b"inner"])
    assert walked.errno == 0 and walked.link is None
    assert same_as_host(walked.nodes[0][1], full_tree.host / "dir")
    assert same_as_host(walked.nodes[1][1], full_tree.host / "dir" / "inner")
    assert walked.nodes[0][0] and walked.nodes[1][0]


@pytest.mark.parametrize("name", ["file", "dir", "link", "fifo", "socket"])
def test_every_type_can_be_walked_to(full_tree, name):
    handle = full_tree.handle(name)
    assert same_as_host(full_tree.client.getattr(handle), full_tree.host / name)


def test_walk_last_only(full_tree):
    before = full_tree.gofer.descriptors()
    walked = full_tree.client.walk(full_tree.root, [b"dir", b"inner"], last_only=True)
    assert walked.nodes[0][0] == 0 and walked.nodes[1][0] != 0
    assert full_tree.gofer.descriptors() == before + 1


def test_walk_stops_at_what_is_missing(full_tree):
    walked = full_tree.client.walk(full_tree.root, [b"dir", b"gone", b"more"])
    assert [bool(handle) for handle, _ in walked.nodes] == [True]
    assert walked.errno == errno.ENOENT
    walked = full_tree.client.walk(full_tree.root, [b"gone"])
    assert walked.nodes == [] and walked.errno == errno.ENOENT


def test_walk_stops_at_a_symlink_and_tells_its_target(full_tree):
    walked = full_tree.client.walk(full_tree.root, [b"link", b"more"])
    assert len(walked.nodes) == 1 and walked.errno == 0 and walked.link == b"dir/inner"
    assert same_as_host(walked.nodes[0][1], full_tree.host / "link")


def test_walk_stops_at_a_file(full_tree):
    walked = full_tree.client.walk(full_tree.root, [b"file", b"more"])
    assert len(walked.nodes) == 1 and walked.errno == 0 and walked.link is None


def test_walk_below_a_file(full_tree):
    assert full_tree.client.walk(full_tree.handle("file"), [b"x"]) == -errno.ENOTDIR
    assert full_tree.client.walk(full_tree.handle("link"), [b"x"]) == -errno.ENOTDIR


def test_walk_depth(tree):
    path = tree.host
    for _ in range(p.WALK_MAX + 1):
        path = path / "d"
        path.mkdir()
    assert len(tree.client.walk(tree.root, [b"d"] * p.WALK_MAX).nodes) == p.WALK_MAX
    assert tree.client.walk(tree.root, [b"d"] * (p.WALK_MAX + 1)) == -errno.EINVAL


def test_walk_name_length(tree):
    (tree.host / ("n" * 255)).mkdir()
    assert tree.client.walk(tree.root, [b"n" * 255]).errno == 0
    walked = tree.client.walk(tree.root, [b"n" * 255, b"n" * 256])
    assert len(walked.nodes) == 1 and walked.errno == errno.ENAMETOOLONG


def test_names_are_bytes(tree):
    name = b"\xff\x01\n\xc3"
    os.mkdir(os.fsencode(tree.host) + b"/" + name)
    assert tree.client.walk(tree.root, [name]).errno == 0
    assert [e.name for e in tree.client.readdir_all(tree.root)] == [name]


def test_getattr_follows_the_inode(full_tree):
    handle = full_tree.handle("dir/inner")
    os.rename(full_tree.host / "dir" / "inner", full_tree.host / "elsewhere")
    (full_tree.host / "dir" / "inner").write_text("another")
    assert same_as_host(full_tree.client.getattr(handle), full_tree.host / "elsewhere")
    os.unlink(full_tree.host / "elsewhere")
    assert full_tree.client.getattr(handle).nlink == 0


def test_readdir(full_tree):
    entries = {e.name: e for e in full_tree.client.readdir_all(full_tree.root)}
    assert set(entries) == {b"file", b"dir", b"link", b"fifo", b"socket"}
    for name, entry in entries.items():
        path = os.fsencode(full_tree.host) + b"/" + name
        assert same_as_host(entry.attr, path)
        assert entry.ino == os.lstat(path).st_ino
        assert entry.type == stat.S_IFMT(os.lstat(path).st_mode) >> 12


def test_readdir_many_in_chunks(tree):
    wanted = {b"%d" % i + b"x" * (i % 200) for i in range(3000)}
    for name in wanted:
        os.close(os.open(os.fsencode(tree.host) + b"/" + name, os.O_CREAT, 0o600))
    entries = tree.client.readdir_all(tree.root)
    assert len(entries) == len(wanted)
    assert {e.name for e in entries} == wanted
    some = tree.client.readdir(tree.root)
    assert 0 < len(some) < 3000
    again = tree.client.readdir(tree.root, some[9].cookie)
    assert again[0].name == some[10].name


def test_readdir_shortest_names_fit(tree):
    names = [bytes([a, b]) for a in b"abcdefghijklmnopqrstuvwxyz" for b in b"abcdefghijklmnopqrstuvwxyz"]
    for name in names:
        os.close(os.open(os.fsencode(tree.host) + b"/" + name, os.O_CREAT, 0o600))
    assert sorted(e.name for e in tree.client.readdir_all(tree.root)) == names


def test_readdir_ends_its_descriptor(full_tree):
    for i in range(1000):
        (full_tree.host / "dir" / f"a-name-of-some-length-{i}").touch()
    handle = full_tree.handle("dir")
    before = full_tree.gofer.descriptors()
    full_tree.client.readdir_all(handle)
    assert full_tree.gofer.descriptors() == before
    assert full_tree.client.readdir(full_tree.root)  # all of it
    assert full_tree.gofer.descriptors() == before
    assert full_tree.client.readdir(handle)  # part of it
    assert full_tree.gofer.descriptors() == before + 1
    full_tree.client.close([handle])
    full_tree.client.attach(0)
    assert full_tree.gofer.descriptors() == before


def test_listing_tells_its_end(full_tree):
    entries, end = full_tree.client.listing(full_tree.root)
    assert len(entries) == 5 and end
    (full_tree.host / "dir" / "inner").unlink()
    assert full_tree.client.listing(full_tree.handle("dir")) == ([], True)


def test_listing_by_names(full_tree):
    (full_tree.host / "dir" / "sub").mkdir()
    (full_tree.host / "dir" / "sub" / "x").touch()
    (full_tree.host / "ldir").symlink_to("dir")
    before = full_tree.gofer.descriptors()
    list_ = full_tree.client.listing
    entries, end = list_(full_tree.root, 0, [b"dir", b"sub"])
    assert [e.name for e in entries] == [b"x"] and end
    assert list_(full_tree.root, 0, [b"dir", b"none"]) == -errno.ENOENT
    assert list_(full_tree.root, 0, [b"none", b"sub"]) == -errno.ENOENT
    for names in ([b"file"], [b"file", b"x"], [b"ldir"], [b"ldir", b"sub"], [b"link"]):
        assert list_(full_tree.root, 0, names) == -errno.ENOTDIR
    for names in ([b".."], [b"dir", b".."], [b"dir", b"", b"sub"], [b"a/b"], [b"dir"] * 66):
        assert list_(full_tree.root, 0, names) in (-errno.EINVAL, -errno.ENOENT)
    assert full_tree.gofer.descriptors() == before


def test_open_by_names(full_tree):
    before = full_tree.gofer.descriptors()
    open_ = full_tree.client.open
    fd = open_(full_tree.root, os.O_RDWR, [b"dir", b"inner"])
    assert os.read(fd, 9) == b"inner"
    os.close(fd)
    assert open_(full_tree.root, 0, [b"dir", b"none"]) == -errno.ENOENT
    assert open_(full_tree.root, 0, [b"file", b"x"]) == -errno.ENOTDIR
    assert open_(full_tree.root, 0, [b"link"]) == -errno.ELOOP
    assert open_(full_tree.root, 0, [b"dir"]) == -errno.EISDIR
    assert open_(full_tree.root, 0, [b"..", b"outside", b"secret"]) == -errno.EINVAL
    assert open_(full_tree.root, 0, [b"fifo"]) == -errno.ENXIO
    assert full_tree.gofer.descriptors() == before


def test_many_passes_at_once(tree):
    handles = []
    for i in range(40):
        (tree.host / f"d{i}").mkdir()
        for j in range(600):
            (tree.host / f"d{i}" / f"entry-with-a-name-{j}").touch()
        handles.append(tree.handle(f"d{i}"))
    before = tree.gofer.descriptors()
    seen = {h: tree.client.readdir(h) for h in handles}
    assert before < tree.gofer.descriptors() <= before + 16
    while any(seen.values()):
        for h in handles:
            if seen[h]:
                more = tree.client.readdir(h, seen[h][-1].cookie)
                seen[h] = more
                if not more:
                    continue
    assert all(len(tree.client.readdir_all(h)) == 600 for h in handles)
    assert tree.gofer.descriptors() == before


@pytest.mark.parametrize("name", ["file", "link", "fifo", "socket"])
def test_readdir_of_no_directory(full_tree, name):
    assert full_tree.client.readdir(full_tree.handle(name)) == -errno.ENOTDIR


@pytest.mark.parametrize("cookie", [-1, 12345, (1 << 63) - 1])
def test_readdir_bad_cookie_harms_nobody(full_tree, cookie):
    result = full_tree.client.readdir(full_tree.root, cookie)
    assert result == -errno.EINVAL or isinstance(result, list)
    assert len(full_tree.client.readdir_all(full_tree.root)) == 5


def test_readlink(full_tree):
    os.symlink(b"\xff" * 4095, full_tree.host / "long")
    assert full_tree.client.readlink(full_tree.handle("link")) == b"dir/inner"
    assert full_tree.client.readlink(full_tree.handle("long")) == b"\xff" * 4095
    assert full_tree.client.readlink(full_tree.handle("file")) == -errno.EINVAL
    assert full_tree.client.readlink(full_tree.root) == -errno.EINVAL


def test_statfs(full_tree):
    s = os.statvfs(full_tree.host)
    got = full_tree.client.statfs(full_tree.root)
    assert (got.bsize, got.frsize, got.blocks, got.files, got.namelen) == (
        s.f_bsize, s.f_frsize, s.f_blocks, s.f_files, s.f_namemax,
    )  # fmt: skip
    assert got.type != 0


@pytest.mark.parametrize("mode", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_open_gives_the_mode_asked_for(full_tree, mode):
    fd = full_tree.client.open(full_tree.handle("file"), mode | os.O_APPEND | os.O_SYNC)
    try:
        assert not os.get_inheritable(fd)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_NONBLOCK) == mode
        for access, use in ((os.O_WRONLY, lambda: os.read(fd, 1)), (os.O_RDONLY, lambda: os.write(fd, b"x"))):
            if mode == access:
                with pytest.raises(OSError) as e:
                    use()
                assert e.value.errno == errno.EBADF
    finally:
        os.close(fd)
    assert (full_tree.host / "file").read_bytes() == b"content"


def test_open_truncates(full_tree):
    os.close(full_tree.client.open(full_tree.handle("file"), os.O_WRONLY | os.O_TRUNC))
    assert (full_tree.host / "file").read_bytes() == b""


def test_open_is_of_the_inode(full_tree):
    handle = full_tree.handle("file")
    os.rename(full_tree.host / "file", full_tree.host / "moved")
    (full_tree.host / "file").write_text("imposter")
    fd = full_tree.client.open(handle, os.O_RDONLY)
    assert os.read(fd, 99) == b"content"
    os.close(fd)
    os.unlink(full_tree.host / "moved")
    fd = full_tree.client.open(handle, os.O_RDONLY)
    assert os.read(fd, 99) == b"content"
    os.close(fd)


@pytest.mark.parametrize(
    "name, error",
    [("dir", errno.EISDIR), ("link", errno.ELOOP), ("fifo", errno.ENXIO), ("socket", errno.ENXIO)],
)
@pytest.mark.parametrize("mode", [os.O_RDONLY, os.O_RDWR])
def test_open_refuses_what_is_no_file(full_tree, name, error, mode):
    before = full_tree.gofer.descriptors()
    handle = full_tree.handle(name)
    assert full_tree.client.open(handle, mode) == -error
    assert full_tree.gofer.descriptors() == before + 1


def test_open_bad_mode(full_tree):
    assert full_tree.client.open(full_tree.handle("file"), 3) == -errno.EINVAL


@needs_root
def test_open_refuses_devices(tree):
    try:
        os.mknod(tree.host / "null", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs mknod")
    attr = tree.client.getattr(tree.handle("null"))
    assert attr.rdev == os.makedev(1, 3)
    assert tree.client.open(tree.handle("null"), os.O_RDONLY) == -errno.ENXIO


def test_fifo_where_allowed(make_tree):
    tree = make_tree(flags=p.MOUNT_FIFOS)
    os.mkfifo(tree.host / "fifo")
    handle = tree.handle("fifo")
    assert tree.client.open(handle, os.O_WRONLY) == -errno.ENXIO  # nobody reads: it does not wait
    reader = tree.client.open(handle, os.O_RDONLY)
    writer = tree.client.open(handle, os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)
    os.close(writer)


def test_connect_where_allowed(make_tree):
    tree = make_tree(flags=p.MOUNT_SOCKETS)
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tree.host)  # its path may be longer than sun_path
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
    handle = tree.handle("socket")
    assert tree.client.connect(handle, socket.SOCK_STREAM) == -errno.ECONNREFUSED
    listener.listen(1)
    with socket.socket(fileno=tree.client.connect(handle, socket.SOCK_STREAM)) as ours:
        other, _ = listener.accept()
        other.send(b"hello")
        assert ours.recv(9) == b"hello"
        other.close()
    assert tree.client.connect(handle, socket.SOCK_DGRAM) == -errno.EPROTOTYPE
    assert tree.client.connect(handle, socket.SOCK_RAW) == -errno.EINVAL
    assert tree.client.connect(tree.root, socket.SOCK_STREAM) == -errno.ENOTSOCK
    waiting = []
    while (fd := tree.client.connect(handle, socket.SOCK_STREAM)) >= 0:  # a full backlog: it does not wait
        waiting.append(fd)
    assert fd == -errno.EAGAIN and waiting
    for fd in waiting:
        os.close(fd)
    listener.close()


def test_connect_is_refused_by_default(full_tree):
    assert full_tree.client.connect(full_tree.handle("socket"), socket.SOCK_STREAM) == -errno.EACCES


def test_bind_where_allowed(make_tree):
    tree = make_tree(flags=p.MOUNT_BIND)
    handle, attr, fd = tree.client.bind(tree.root, b"bound", socket.SOCK_STREAM, 0o640)
    assert stat.S_ISSOCK(attr.mode) and attr.mode & 0o777 == 0o640
    other = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tree.host)
    try:
        with socket.socket(fileno=fd) as ours:
            with pytest.raises(ConnectionRefusedError):
                other.connect("bound")
            assert tree.client.listen(handle, 0xFFFFFFFF) == 0
            other.connect("bound")
            ours.accept()[0].send(b"hello")
            assert other.recv(9) == b"hello"
    finally:
        os.chdir(here)
        other.close()
    assert tree.client.bind(tree.root, b"bound", socket.SOCK_STREAM, 0) == -errno.EADDRINUSE
    assert tree.client.bind(tree.root, b"a/b", socket.SOCK_STREAM, 0) == -errno.EINVAL
    assert tree.client.bind(tree.root, b"n" * 200, socket.SOCK_STREAM, 0) == -errno.ENAMETOOLONG
    assert tree.client.bind(tree.root, b"raw", socket.SOCK_RAW, 0) == -errno.EINVAL
    assert tree.client.listen(tree.root, 1) == -errno.EINVAL
    assert sorted(os.listdir(tree.host)) == ["bound"]


def test_bind_is_refused_by_default(full_tree):
    assert full_tree.client.bind(full_tree.root, b"bound", socket.SOCK_STREAM, 0) == -errno.EACCES


def test_xattr_reads(full_tree):
    try:
        os.setxattr(full_tree.host / "file", "user.colour", b"green")
    except OSError:
        pytest.skip("needs user xattrs below " + str(full_tree.host))
    handle = full_tree.handle("file")
    assert full_tree.client.getxattr(handle, b"user.colour") == b"green"
    assert full_tree.client.listxattr(handle) == [b"user.colour"]
    assert full_tree.client.getxattr(handle, b"user.none") == -errno.ENODATA
    for name in (b"trusted.overlay.opaque", b"security.selinux", b"system.posix_acl_access", b"colour"):
        assert full_tree.client.getxattr(handle, name) == -errno.EOPNOTSUPP
    assert full_tree.client.getxattr(handle, b"") == -errno.EINVAL
    assert full_tree.client.getxattr(handle, b"user.a\0b") == -errno.EINVAL
    assert full_tree.client.getxattr(handle, b"user." + b"n" * 300) == -errno.ERANGE


def test_stale_handles(full_tree):
    client = full_tree.client
    handle = full_tree.handle("dir")
    client.close([handle, handle, 0, 0xFFFFFFFF])
    results = [
        client.getattr(handle), client.walk(handle, [b"x"]), client.readdir(handle), client.readlink(handle),
        client.open(handle, 0), client.statfs(handle), client.listxattr(handle), client.fsync(handle),
        client.setattr(handle, mode=0), client.mkdir(handle, b"x", 0), client.connect(handle, 1),
        client.getattr(0), client.getattr(0xFFFFFFFF),
    ]  # fmt: skip
    assert set(results) == {-errno.EBADF}


def test_release_is_batched_and_final(full_tree):
    before = full_tree.gofer.descriptors()
    for _ in range(64):
        full_tree.client.release(full_tree.handle("file"))
    full_tree.client.getattr(full_tree.root)
    assert full_tree.gofer.descriptors() == before


def test_handle_table_is_limited(full_tree):
    handles = []
    while True:
        walked = full_tree.client.walk(full_tree.root, [b"file"])
        if isinstance(walked, int):
            break
        handles.append(walked.nodes[0][0])
    assert walked == -errno.ENFILE, "not by EMFILE: some descriptors are kept for the rest"
    assert len(set(handles)) == len(handles) > 100
    # everything that needs no new handle still works
    fd = full_tree.client.open(handles[0], os.O_RDONLY)
    assert os.read(fd, 99) == b"content"
    os.close(fd)
    assert len(full_tree.client.readdir_all(full_tree.root)) == 5
    full_tree.client.close(handles[:1])
    assert full_tree.client.walk(full_tree.root, [b"file"]).errno == 0


def test_fsync(full_tree):
    assert full_tree.client.fsync(full_tree.handle("file")) == 0
    assert full_tree.client.fsync(full_tree.handle("file"), datasync=True) == 0
    assert full_tree.client.fsync(full_tree.root) == 0
    assert full_tree.client.fsync(full_tree.handle("fifo")) == -errno.EINVAL
