"""Nothing outside a mount can be reached: names, symlinks, races, host mounts below."""

import errno
import os
import signal
import subprocess
import time

import pytest
from gofer._host import rename
from gofer_trees import needs_root

from gofer import protocol as p

BAD_NAMES = [b"", b".", b"..", b"/", b"a/b", b"../outside", b"/etc", b"a/", b"..\0", b"x\0y", b"..//"]
LONG = b"n" * 256


def by_name(tree, name):
    """Every request that takes a name, with `name` as it."""
    c, root, file = tree.client, tree.root, tree.handle("file")
    yield "create", c.create(root, name, os.O_RDWR, 0o600)
    yield "mkdir", c.mkdir(root, name, 0o700)
    yield "symlink", c.symlink(root, name, b"target")
    yield "mknod", c.mknod(root, name, 0o10600)
    yield "link", c.link(file, root, name)
    yield "rename from", c.rename(root, name, root, b"x")
    yield "rename to", c.rename(root, b"file", root, name)
    yield "unlink", c.unlink(root, name)
    yield "rmdir", c.unlink(root, name, directory=True)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_no_component(full_tree, name):
    before = sorted(os.listdir(full_tree.host)), sorted(os.listdir(full_tree.outside))
    assert {kind: result for kind, result in by_name(full_tree, name) if result != -errno.EINVAL} == {}
    assert (sorted(os.listdir(full_tree.host)), sorted(os.listdir(full_tree.outside))) == before


def test_names_too_long(full_tree):
    assert {result for _, result in by_name(full_tree, LONG)} == {-errno.ENAMETOOLONG}


@pytest.mark.parametrize("name", [n for n in BAD_NAMES if b"\0" not in n])
def test_walk_of_what_is_no_component(full_tree, name):
    assert full_tree.client.walk(full_tree.root, [name]) == -errno.EINVAL
    assert full_tree.client.walk(full_tree.root, [b"dir", name, b"inner"]) == -errno.EINVAL
    assert full_tree.client.walk(full_tree.handle("dir"), [b"inner", name]).nodes[0][1].size == 5


@pytest.mark.parametrize("target", ["/", "..", "../outside", "../outside/secret", ".", "/proc/self/root"])
def test_symlinks_are_never_followed(tree, target):
    os.symlink(target, tree.host / "link")
    walked = tree.client.walk(tree.root, [b"link", b"secret"])
    assert len(walked.nodes) == 1 and walked.link == os.fsencode(target)
    link = walked.nodes[0][0]
    assert tree.client.walk(link, [b"secret"]) == -errno.ENOTDIR
    assert tree.client.readdir(link) == -errno.ENOTDIR
    assert tree.client.open(link, os.O_RDONLY) == -errno.ELOOP
    assert tree.client.setattr(link, mode=0) == -errno.EOPNOTSUPP
    assert tree.client.getattr(link).mode & 0o170000 == 0o120000
    assert tree.client.unlink(tree.root, b"link", directory=True) == -errno.ENOTDIR


def test_root_of_the_mount_has_no_parent(full_tree):
    """No entry of any listing leads up, and no request takes '..'."""
    entries = full_tree.client.readdir_all(full_tree.root)
    assert not {b".", b".."} & {e.name for e in entries}


def test_a_handle_does_not_follow_a_swap(full_tree):
    handle = full_tree.handle("dir")
    os.rename(full_tree.host / "dir", full_tree.host / "was")
    os.symlink(full_tree.outside, full_tree.host / "dir")
    assert full_tree.client.walk(handle, [b"secret"]).errno == errno.ENOENT
    assert full_tree.client.walk(handle, [b"inner"]).errno == 0
    assert full_tree.client.walk(full_tree.root, [b"dir", b"secret"]).link == os.fsencode(full_tree.outside)
    _, _, fd = full_tree.client.create(handle, b"new", os.O_RDWR, 0o600)
    os.close(fd)
    assert (full_tree.host / "was" / "new").exists() and os.listdir(full_tree.outside) == ["secret"]


def test_a_directory_moved_out_of_the_mount_stays_a_dead_end(full_tree):
    """Others may move a directory out; what its handle reaches is that directory, never upwards."""
    handle = full_tree.handle("dir")
    os.rename(full_tree.host / "dir", full_tree.outside / "dir")
    assert full_tree.client.walk(handle, [b".."]) == -errno.EINVAL
    assert full_tree.client.walk(handle, [b"inner"]).errno == 0


def swapper(body):
    """Run body() over and over in a child until killed -> its pid."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                body()
        finally:
            os._exit(1)
    return pid


@pytest.fixture
def racing():
    """Start swappers; they are killed at the end."""
    pids = []

    def start(body):
        pids.append(swapper(body))

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_directory_swapped_for_a_symlink_while_walking(full_tree, racing):
    host, outside = full_tree.host, full_tree.outside
    (outside / "inner").write_text("outside")
    real, link = host / "dir", host / "swap"
    os.symlink(outside, link)
    inode = os.stat(real / "inner").st_ino

    def swap():  # exchanges the two names, atomically
        renameat2(real, link)

    racing(swap)
    seen = {"dir": 0, "link": 0}
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        walked = full_tree.client.walk(full_tree.root, [b"dir", b"inner"])
        if len(walked.nodes) == 2:
            assert walked.nodes[1][1].ino == inode
            seen["dir"] += 1
        else:
            assert walked.link == os.fsencode(outside), walked.errno
            seen["link"] += 1
        full_tree.client.close([handle for handle, _ in walked.nodes])
        made, _ = full_tree.client.mkdir(full_tree.root, b"x", 0o700)
        full_tree.client.close([made])
        assert full_tree.client.unlink(full_tree.root, b"x", directory=True) == 0
    assert seen["dir"] and seen["link"], "the race never happened"
    assert sorted(os.listdir(outside)) == ["inner", "secret"]


@needs_root
@pytest.mark.parametrize("other", ["another link of a file", "another's file", "another type"])
def test_new_object_swapped_for_another(make_gofer, tmp_path, other):
    """mknod, then owner and mode are set: if another object has taken the name in between, it keeps its own."""
    victim = tmp_path / "victim"
    if other == "another type":
        victim.mkdir()
    else:
        os.mkfifo(victim, 0o644)
    if other == "another's file":
        os.chown(victim, 7, 7)
    os.chmod(victim, 0o644)
    was = os.stat(victim)
    mknod = os.mknod

    def mknod_and_swap(name, mode, dir_fd):
        mknod(name, mode, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        if other == "another link of a file":
            os.link(b"victim", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            rename(dir_fd, b"victim", dir_fd, name, 0)

    def sabotage():
        os.mknod = mknod_and_swap

    client = make_gofer([(tmp_path, False, 0)], sabotage=sabotage).client
    root, _, _ = client.attach(0)
    result = client.mknod(root, b"new", 0o10666, 1234, 1234)
    now = os.stat(tmp_path / "new")
    assert (now.st_ino, now.st_mode, now.st_uid, now.st_gid) == (was.st_ino, was.st_mode, was.st_uid, was.st_gid)
    if other == "another type":
        assert result == -errno.ESTALE
    else:
        assert (result[1].uid, result[1].mode) == (was.st_uid, was.st_mode)  # no lie about it


def renameat2(a, b):
    rename(-100, os.fsencode(a), -100, os.fsencode(b), 2)


@pytest.fixture
def host_mount(tmp_path):
    """Mount something at tmp_path/mount/below of the host; taken away again at the end."""
    if os.geteuid():
        pytest.skip("needs root")
    below = tmp_path / "mount" / "below"

    def mount(*arguments):
        below.mkdir(parents=True, exist_ok=True)
        (below / "hidden").touch()
        result = subprocess.run(["mount", *arguments, str(below)], capture_output=True, check=False)
        if result.returncode:
            pytest.skip("needs mount: " + result.stderr.decode())
        return below

    yield mount
    subprocess.run(["umount", "-l", str(below)], capture_output=True, check=False)


def test_host_mount_is_not_entered(host_mount, make_gofer, tmp_path):
    below = host_mount("-t", "tmpfs", "tmpfs")
    (below / "inside").write_text("other file system")
    client = make_gofer([(tmp_path / "mount", False, 0)]).client
    root, _, _ = client.attach(0)
    walked = client.walk(root, [b"below", b"inside"])
    assert len(walked.nodes) == 1 and walked.errno == errno.ENOENT
    handle = walked.nodes[0][0]
    assert client.readdir(handle) == []
    assert client.walk(handle, [b"inside"]).errno == errno.ENOENT
    assert {
        client.create(handle, b"x", os.O_RDWR, 0o600), client.mkdir(handle, b"x", 0o700),
        client.setattr(handle, mode=0), client.unlink(handle, b"inside"), client.symlink(handle, b"x", b"y"),
    } == {-errno.EACCES}  # fmt: skip
    assert os.listdir(below) == ["inside"]


def test_host_mount_is_entered_where_allowed(host_mount, make_gofer, tmp_path):
    below = host_mount("-t", "tmpfs", "tmpfs")
    (below / "inside").write_text("other file system")
    client = make_gofer([(tmp_path / "mount", False, p.MOUNT_CROSS)]).client
    root, _, _ = client.attach(0)
    walked = client.walk(root, [b"below", b"inside"])
    assert len(walked.nodes) == 2
    assert client.rename(walked.nodes[0][0], b"inside", root, b"x") == -errno.EXDEV
    assert [e.name for e in client.readdir_all(walked.nodes[0][0])] == [b"inside"]


def test_proc_below_is_never_entered(host_mount, make_gofer, tmp_path):
    host_mount("-t", "proc", "proc")
    client = make_gofer([(tmp_path / "mount", False, p.MOUNT_CROSS)]).client
    root, _, _ = client.attach(0)
    walked = client.walk(root, [b"below", b"self"])
    assert len(walked.nodes) == 1 and walked.errno == errno.ENOENT
    assert client.readdir(walked.nodes[0][0]) == []


def test_bind_mounted_file_of_proc_cannot_be_opened(make_gofer, tmp_path):
    if os.geteuid():
        pytest.skip("needs root")
    target = tmp_path / "mem"
    target.touch()
    if subprocess.run(["mount", "--bind", "/proc/version", str(target)], capture_output=True, check=False).returncode:
        pytest.skip("needs mount")
    try:
        client = make_gofer([(tmp_path, False, p.MOUNT_CROSS)]).client
        root, _, _ = client.attach(0)
        handle = client.walk(root, [b"mem"]).nodes[0][0]
        assert client.open(handle, os.O_RDONLY) == -errno.EACCES
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def test_proc_as_a_source_needs_to_be_meant(make_gofer):
    client = make_gofer([("/proc", False, 0), ("/proc", False, p.MOUNT_PSEUDO)]).client
    assert client.attach(0) == -errno.EACCES
    root, _, flags = client.attach(1)
    assert flags & p.MOUNT_RDONLY
    walked = client.walk(root, [b"self", b"mem"])
    assert len(walked.nodes) == 1 and walked.link  # a link like any other
    mem = client.walk(root, [walked.link, b"mem"]).nodes[-1][0]
    assert client.open(mem, os.O_RDWR) == -errno.EROFS
    exe = client.walk(root, [walked.link, b"exe"])
    assert client.open(exe.nodes[-1][0], os.O_RDONLY) == -errno.ELOOP
