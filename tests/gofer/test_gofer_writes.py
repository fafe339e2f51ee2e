"""Requests that change the host's files: what they do, and every refusal."""

import errno
import fcntl
import os
import stat

import pytest
from gofer_trees import needs_root, populate

from gofer import protocol as p
from sentry.fs.gofer_client import TIME_NOW

ROOT_ONLY = os.geteuid() == 0
UID, GID = (1234, 5678) if ROOT_ONLY else (os.getuid(), os.getgid())


def owner_and_mode(path):
    s = os.lstat(path)
    return s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)


def test_create(tree):
    handle, attr, fd = tree.client.create(tree.root, b"new", os.O_RDWR, 0o640, UID, GID)
    os.write(fd, b"data")
    os.close(fd)
    assert (tree.host / "new").read_bytes() == b"data"
    assert owner_and_mode(tree.host / "new") == (UID, GID, 0o640)
    assert (attr.mode, attr.uid, attr.gid) == (0o100640, UID, GID)
    assert tree.client.getattr(handle).size == 4
    assert tree.client.create(tree.root, b"new", os.O_RDWR, 0o640) == -errno.EEXIST


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_create_donates_only_the_mode_asked_for(tree, flags):
    _, _, fd = tree.client.create(tree.root, b"new", flags | os.O_APPEND, 0o600)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND) == flags
    os.close(fd)


def test_create_over_a_symlink(tree):
    os.symlink(tree.outside / "planted", tree.host / "new")
    assert tree.client.create(tree.root, b"new", os.O_RDWR, 0o600) == -errno.EEXIST
    assert not (tree.outside / "planted").exists()


@pytest.mark.parametrize("mode", [0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0])
def test_mode_is_exact_in_a_setgid_directory(tree, mode):
    old = os.umask(0o077)
    try:
        os.chmod(tree.host, 0o2777)
        _, attr, fd = tree.client.create(tree.root, b"file", os.O_RDWR, mode, UID, GID)
        os.close(fd)
        assert stat.S_IMODE(attr.mode) == mode
        assert stat.S_IMODE(tree.client.mkdir(tree.root, b"dir", mode, UID, GID)[1].mode) == mode
        assert stat.S_IMODE(tree.client.mknod(tree.root, b"fifo", stat.S_IFIFO | mode, UID, GID)[1].mode) == mode
        for name in ("file", "dir", "fifo"):
            assert owner_and_mode(tree.host / name) == (UID, GID, mode)
    finally:
        os.umask(old)


def test_bad_modes(tree):
    assert tree.client.create(tree.root, b"x", 0, 0o100644) == -errno.EINVAL
    assert tree.client.create(tree.root, b"x", 3, 0o644) == -errno.EINVAL
    assert tree.client.mkdir(tree.root, b"x", 0o40755) == -errno.EINVAL
    assert os.listdir(tree.host) == []


@needs_root
def test_a_failed_owner_takes_the_object_away_again(make_gofer, tmp_path):
    host = tmp_path / "mount"
    host.mkdir()
    host.chmod(0o777)
    gofer = make_gofer([(host, False, 0)], uid=1000)
    root, _, _ = gofer.client.attach(0)
    before = gofer.descriptors()
    assert gofer.client.create(root, b"x", os.O_RDWR, 0o600, 7, 7) == -errno.EPERM
    assert gofer.client.mkdir(root, b"x", 0o700, 7, 7) == -errno.EPERM
    assert gofer.client.symlink(root, b"x", b"y", 7, 7) == -errno.EPERM
    assert gofer.client.mknod(root, b"x", 0o10600, 7, 7) == -errno.EPERM
    assert os.listdir(host) == []
    assert gofer.descriptors() == before


def test_tmpfile(tree):
    made = tree.client.tmpfile(tree.root, os.O_RDWR, 0o4640, UID, GID)
    if made == -errno.EOPNOTSUPP:
        pytest.skip("needs O_TMPFILE")
    handle, attr, fd = made
    assert (attr.mode, attr.uid, attr.gid, attr.nlink) == (0o104640, UID, GID, 0)
    assert os.listdir(tree.host) == []
    os.write(fd, b"data")
    os.close(fd)
    assert tree.client.link(handle, tree.root, b"named").nlink == 1
    assert (tree.host / "named").read_bytes() == b"data"
    assert tree.client.tmpfile(tree.root, os.O_RDONLY, 0o600) == -errno.EINVAL
    assert tree.client.tmpfile(tree.handle("named"), os.O_RDWR, 0o600) == -errno.ENOTDIR


def test_mkdir(tree):
    handle, attr = tree.client.mkdir(tree.root, b"new", 0o750, UID, GID)
    assert owner_and_mode(tree.host / "new") == (UID, GID, 0o750)
    assert stat.S_ISDIR(attr.mode) and attr.nlink == os.stat(tree.host / "new").st_nlink
    assert tree.client.mkdir(tree.root, b"new", 0o750) == -errno.EEXIST
    inner, _ = tree.client.mkdir(handle, b"inner", 0o700)
    assert (tree.host / "new" / "inner").is_dir()
    assert tree.client.getattr(inner).mode == 0o40700


def test_symlink(tree):
    handle, attr = tree.client.symlink(tree.root, b"new", b"/etc/passwd", UID, GID)
    assert os.readlink(tree.host / "new") == "/etc/passwd"
    assert owner_and_mode(tree.host / "new")[:2] == (UID, GID)
    assert stat.S_ISLNK(attr.mode) and tree.client.readlink(handle) == b"/etc/passwd"
    assert tree.client.symlink(tree.root, b"new", b"x") == -errno.EEXIST
    assert tree.client.symlink(tree.root, b"other", b"") == -errno.ENOENT
    assert tree.client.symlink(tree.root, b"other", b"a\0b") == -errno.EINVAL
    assert tree.client.symlink(tree.root, b"other", b"x" * 4096) == -errno.ENAMETOOLONG
    assert not isinstance(tree.client.symlink(tree.root, b"other", b"x" * 4095), int)


@pytest.mark.parametrize("type", [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK])
def test_mknod(tree, type):
    _, attr = tree.client.mknod(tree.root, b"new", type | 0o640, UID, GID)
    assert attr.mode == os.lstat(tree.host / "new").st_mode == type | 0o640
    assert owner_and_mode(tree.host / "new") == (UID, GID, 0o640)
    assert tree.client.mknod(tree.root, b"new", type | 0o640) == -errno.EEXIST


@pytest.mark.parametrize(
    "type, error",
    [(stat.S_IFCHR, errno.EPERM), (stat.S_IFBLK, errno.EPERM), (stat.S_IFDIR, errno.EINVAL), (0, errno.EINVAL)],
)
def test_mknod_refuses(tree, type, error):
    assert tree.client.mknod(tree.root, b"new", type | 0o600) == -error
    assert os.listdir(tree.host) == []


def test_link(full_tree):
    handle = full_tree.handle("file")
    attr = full_tree.client.link(handle, full_tree.handle("dir"), b"also")
    assert attr.nlink == 2
    assert os.path.samefile(full_tree.host / "file", full_tree.host / "dir" / "also")
    assert full_tree.client.link(handle, full_tree.root, b"file") == -errno.EEXIST
    assert full_tree.client.link(full_tree.root, full_tree.root, b"d") == -errno.EPERM


def test_link_to_a_symlink_links_the_symlink(full_tree):
    full_tree.client.link(full_tree.handle("link"), full_tree.root, b"also")
    assert os.readlink(full_tree.host / "also") == "dir/inner"


def test_link_names_the_inode(full_tree):
    handle = full_tree.handle("file")
    os.rename(full_tree.host / "file", full_tree.host / "moved")
    os.symlink(full_tree.outside / "secret", full_tree.host / "file")
    full_tree.client.link(handle, full_tree.root, b"also")
    assert (full_tree.host / "also").read_bytes() == b"content"


def test_link_of_the_removed(full_tree):
    handle = full_tree.handle("file")
    os.unlink(full_tree.host / "file")
    assert full_tree.client.link(handle, full_tree.root, b"also") == -errno.ENOENT


def test_between_mounts(make_gofer, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").touch()
    client = make_gofer([(tmp_path / "a", False, 0), (tmp_path / "b", False, 0)]).client
    a, b = client.attach(0)[0], client.attach(1)[0]
    assert client.rename(a, b"file", b, b"file") == -errno.EXDEV
    assert client.link(client.walk(a, [b"file"]).nodes[0][0], b, b"file") == -errno.EXDEV


def test_rename(full_tree):
    client, root = full_tree.client, full_tree.root
    handle = full_tree.handle("file")
    assert client.rename(root, b"file", full_tree.handle("dir"), b"moved") == 0
    assert (full_tree.host / "dir" / "moved").read_bytes() == b"content"
    assert client.rename(root, b"file", root, b"x") == -errno.ENOENT
    assert client.rename(root, b"dir", full_tree.handle("dir"), b"x") == -errno.EINVAL
    assert client.getattr(handle).size == 7


def test_rename_flags(full_tree):
    client, root = full_tree.client, full_tree.root
    assert client.rename(root, b"file", root, b"link", 1) == -errno.EEXIST
    assert client.rename(root, b"file", root, b"link", 2) == 0
    assert (full_tree.host / "link").read_bytes() == b"content"
    assert os.readlink(full_tree.host / "file") == "dir/inner"
    assert client.rename(root, b"file", root, b"absent", 2) == -errno.ENOENT
    for flags in (3, 4, 8, 0x80000000):
        assert client.rename(root, b"file", root, b"x", flags) == -errno.EINVAL
    assert client.rename(root, b"file", root, b"fifo") == 0


def test_unlink(full_tree):
    client, root = full_tree.client, full_tree.root
    assert client.unlink(root, b"link") == 0
    assert (full_tree.host / "dir" / "inner").exists()
    assert client.unlink(root, b"link") == -errno.ENOENT
    assert client.unlink(root, b"dir") == -errno.EISDIR
    assert client.unlink(root, b"dir", directory=True) == -errno.ENOTEMPTY
    assert client.unlink(root, b"file", directory=True) == -errno.ENOTDIR
    assert client.unlink(full_tree.handle("dir"), b"inner") == 0
    assert client.unlink(root, b"dir", directory=True) == 0
    assert sorted(os.listdir(full_tree.host)) == ["fifo", "file", "socket"]


def test_setattr_mode(full_tree):
    handle = full_tree.handle("file")
    assert full_tree.client.setattr(handle, mode=0o4711).mode == 0o104711
    assert full_tree.client.setattr(handle, mode=0o14711) == -errno.EINVAL
    assert full_tree.client.setattr(full_tree.handle("link"), mode=0o600) == -errno.EOPNOTSUPP
    for name in ("dir", "fifo", "socket"):
        assert stat.S_IMODE(full_tree.client.setattr(full_tree.handle(name), mode=0o500).mode) == 0o500
    assert stat.S_IMODE(os.stat(full_tree.host / "dir" / "inner").st_mode) == 0o644


@needs_root
@pytest.mark.parametrize("name", ["file", "dir", "link", "fifo", "socket"])
def test_setattr_owner(full_tree, name):
    handle = full_tree.handle(name)
    attr = full_tree.client.setattr(handle, uid=7)
    assert (attr.uid, attr.gid) == (7, 0)
    attr = full_tree.client.setattr(handle, gid=8)
    assert (attr.uid, attr.gid) == (7, 8)
    assert os.stat(full_tree.host / "dir" / "inner").st_uid == 0  # a link's target is not touched


@needs_root
def test_setattr_owner_takes_setuid_away(full_tree):
    handle = full_tree.handle("file")
    full_tree.client.setattr(handle, mode=0o6755)
    assert full_tree.client.setattr(handle, uid=7).mode == 0o100755
    assert full_tree.client.setattr(handle, uid=8, mode=0o6755).mode == 0o106755


def test_setattr_size(full_tree):
    handle = full_tree.handle("file")
    assert full_tree.client.setattr(handle, size=3).size == 3
    assert full_tree.client.setattr(handle, size=1 << 30).size == 1 << 30
    assert (full_tree.host / "file").open("rb").read(5) == b"con\0\0"
    assert full_tree.client.setattr(handle, size=-1) == -errno.EINVAL
    assert full_tree.client.setattr(handle, size=(1 << 63) - 1) == -errno.EFBIG
    assert full_tree.client.setattr(full_tree.handle("dir"), size=0) == -errno.EISDIR
    for name in ("link", "fifo", "socket"):
        assert full_tree.client.setattr(full_tree.handle(name), size=0) == -errno.EINVAL


@pytest.mark.parametrize("name", ["file", "dir", "link", "fifo"])
def test_setattr_times(full_tree, name):
    handle = full_tree.handle(name)
    inner = os.stat(full_tree.host / "dir" / "inner").st_mtime_ns
    attr = full_tree.client.setattr(handle, atime=1_500_000_000, mtime=-1)
    assert (attr.atime, attr.mtime) == (1_500_000_000, -1)
    attr = full_tree.client.setattr(handle, mtime=7 * 10**18)
    assert (attr.atime, attr.mtime) == (1_500_000_000, 7 * 10**18)
    before = os.stat(full_tree.host).st_ctime_ns
    attr = full_tree.client.setattr(handle, atime=TIME_NOW)
    assert attr.atime >= before and attr.mtime == 7 * 10**18
    assert os.stat(full_tree.host / "dir" / "inner").st_mtime_ns == inner


def test_setattr_nothing(full_tree):
    handle = full_tree.handle("file")
    assert full_tree.client.setattr(handle).ctime == os.stat(full_tree.host / "file").st_ctime_ns


def test_xattr_writes(full_tree):
    handle = full_tree.handle("file")
    first = full_tree.client.setxattr(handle, b"user.a", b"1")
    if first == -errno.EOPNOTSUPP:
        pytest.skip("needs user xattrs")
    assert first == 0
    assert os.getxattr(full_tree.host / "file", "user.a") == b"1"
    assert full_tree.client.setxattr(handle, b"user.a", b"2", os.XATTR_CREATE) == -errno.EEXIST
    assert full_tree.client.setxattr(handle, b"user.b", b"2", os.XATTR_REPLACE) == -errno.ENODATA
    assert full_tree.client.setxattr(handle, b"user.a", b"2", 4) == -errno.EINVAL
    assert full_tree.client.setxattr(handle, b"user.b", b"x" * 65536) == -errno.ENOSPC
    assert full_tree.client.setxattr(handle, b"trusted.a", b"1") == -errno.EOPNOTSUPP
    assert full_tree.client.setxattr(handle, b"system.posix_acl_access", b"1") == -errno.EOPNOTSUPP
    assert full_tree.client.removexattr(handle, b"user.a") == 0
    assert full_tree.client.removexattr(handle, b"user.a") == -errno.ENODATA
    assert full_tree.client.removexattr(handle, b"security.selinux") == -errno.EOPNOTSUPP
    assert os.listxattr(full_tree.host / "file") == []


def test_xattrs_are_the_inodes(full_tree):
    handle = full_tree.handle("link")
    # user attributes exist on files and directories only; never on what a link points to
    assert full_tree.client.setxattr(handle, b"user.a", b"1") in (-errno.EPERM, -errno.EOPNOTSUPP)
    assert os.listxattr(full_tree.host / "dir" / "inner") == []


def test_changes_inside_what_is_no_directory(full_tree):
    client = full_tree.client
    for name in ("file", "link", "fifo", "socket"):
        handle = full_tree.handle(name)
        results = [
            client.create(handle, b"x", 0, 0o600), client.mkdir(handle, b"x", 0o700), client.symlink(handle, b"x", b"y"),
            client.mknod(handle, b"x", 0o10600), client.link(full_tree.handle("file"), handle, b"x"),
            client.rename(handle, b"x", full_tree.root, b"y"), client.rename(full_tree.root, b"file", handle, b"y"),
            client.unlink(handle, b"x"),
        ]  # fmt: skip
        assert set(results) == {-errno.ENOTDIR}


def test_changes_in_a_removed_directory(full_tree):
    full_tree.client.unlink(full_tree.handle("dir"), b"inner")
    handle = full_tree.handle("dir")
    full_tree.client.unlink(full_tree.root, b"dir", directory=True)
    assert full_tree.client.create(handle, b"x", 0, 0o600) == -errno.ENOENT
    assert full_tree.client.mkdir(handle, b"x", 0o700) == -errno.ENOENT
    assert full_tree.client.walk(handle, [b"x"]).errno == errno.ENOENT
    assert full_tree.client.readdir(handle) == [] or full_tree.client.readdir(handle) == -errno.ENOENT


# every request that could change the host, as a function of a populated tree
WRITES = {
    "create": lambda t: t.client.create(t.root, b"x", os.O_RDONLY, 0o600),
    "tmpfile": lambda t: t.client.tmpfile(t.root, os.O_RDWR, 0o600),
    "mkdir": lambda t: t.client.mkdir(t.root, b"x", 0o700),
    "symlink": lambda t: t.client.symlink(t.root, b"x", b"y"),
    "mknod": lambda t: t.client.mknod(t.root, b"x", 0o10600),
    "link": lambda t: t.client.link(t.handle("file"), t.root, b"x"),
    "rename": lambda t: t.client.rename(t.root, b"file", t.root, b"x"),
    "exchange": lambda t: t.client.rename(t.root, b"file", t.root, b"link", 2),
    "unlink": lambda t: t.client.unlink(t.root, b"file"),
    "rmdir": lambda t: t.client.unlink(t.root, b"dir", directory=True),
    "chmod": lambda t: t.client.setattr(t.handle("file"), mode=0),
    "chown": lambda t: t.client.setattr(t.handle("file"), uid=1),
    "truncate": lambda t: t.client.setattr(t.handle("file"), size=0),
    "utimens": lambda t: t.client.setattr(t.handle("file"), atime=0),
    "setattr nothing": lambda t: t.client.setattr(t.handle("file")),
    "setxattr": lambda t: t.client.setxattr(t.handle("file"), b"user.a", b"1"),
    "removexattr": lambda t: t.client.removexattr(t.handle("file"), b"user.a"),
    "bind": lambda t: t.client.bind(t.root, b"x", 1, 0),
    "open write": lambda t: t.client.open(t.handle("file"), os.O_WRONLY),
    "open by name": lambda t: t.client.open(t.root, os.O_WRONLY, [b"file"]),
    "open read-write": lambda t: t.client.open(t.handle("file"), os.O_RDWR),
    "open truncating": lambda t: t.client.open(t.handle("file"), os.O_RDONLY | os.O_TRUNC),
    "open fifo": lambda t: t.client.open(t.handle("fifo"), os.O_WRONLY),
}
READS = {"Hello", "Attach", "Walk", "Getattr", "Readdir", "Readlink", "Statfs", "Getxattr", "Listxattr", "Close"}
NEITHER = {"Fsync", "Connect", "Listen", "Farewell"}


def snapshot(host):
    """All that a write could change."""
    found = {}
    for directory, names, files in os.walk(host):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            s = os.lstat(path)
            found[path] = (s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
    return found


@pytest.mark.parametrize("request_", WRITES)
def test_read_only_mount_refuses(make_tree, request_):
    tree = make_tree(readonly=True, flags=p.MOUNT_FIFOS)
    populate(tree.host)
    before = snapshot(tree.host)
    assert WRITES[request_](tree) == -errno.EROFS
    assert snapshot(tree.host) == before


def test_read_only_mount_reads(make_tree):
    tree = make_tree(readonly=True)
    populate(tree.host)
    fd = tree.client.open(tree.handle("file"), os.O_RDONLY)
    assert os.read(fd, 9) == b"content"
    os.close(fd)
    assert tree.client.fsync(tree.handle("file")) == 0


def test_every_message_is_covered_by_the_read_only_test():
    covered = {
        "Create", "Tmpfile", "Mkdir", "Symlink", "Mknod", "Link", "Rename", "Unlink", "Setattr", "Setxattr", "Removexattr", "Open",
        "Bind",
    }  # fmt: skip
    assert covered | READS | NEITHER == {m.__name__ for m in p.MESSAGES.values()}
