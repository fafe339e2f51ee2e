"""/proc and /sys on the fake platform, compared with the real ones of the machine that runs the test."""

import os
import re
from errno import EACCES, EINVAL, ENOENT, EPERM, ESRCH

import pytest
from fakeplatform import MEMORY, World

from sentry.core import hostinfo
from sentry.core.creds import Creds
from sentry.fs.procfs import ProcFS
from sentry.fs.sysfs import SysFS
from sentry.fs.tmpfs import TmpfsFS
from sentry.mm.vma import VMA
from sentry.vfs import ops, walk
from sentry.vfs.context import FsContext
from sentry.vfs.file import O_DIRECTORY, O_RDONLY, O_RDWR, O_WRONLY, File
from sentry.vfs.mount import Mount, MountNamespace

AT_FDCWD = -100


class Proc(World):
    """A world with /proc and /sys."""

    def __init__(self):
        World.__init__(self)
        self.kernel.host = hostinfo.capture()
        ns = MountNamespace(Mount(TmpfsFS(0o755)))
        root = ns.root_path()
        self.init.fs = FsContext(ns, root, root, 0o022)
        for name, fs in ((b"/proc", ProcFS(self.kernel, self.kernel.pids)), (b"/sys", SysFS(self.kernel))):
            assert ops.mkdir(self.init, AT_FDCWD, name, 0o755) == 0
            ns.mount(fs, walk.resolve(self.init, AT_FDCWD, name))

    def open(self, path, flags=O_RDONLY, t=None):
        return ops.open(t or self.init, AT_FDCWD, path.encode(), flags, 0)

    def read(self, path, t=None):
        """The file's content as str, or -errno."""
        file = self.open(path, t=t)
        if isinstance(file, int):
            return file
        out = b""
        while True:
            data = file.read(t or self.init, 1000, None)
            if isinstance(data, int):
                return data
            if not data:
                file.decref()
                return out.decode()
            out += data

    def write(self, path, data, t=None):
        file = self.open(path, O_WRONLY, t)
        if isinstance(file, int):
            return file
        result = file.write(t or self.init, data, None)
        file.decref()
        return result

    def names(self, path, t=None):
        file = self.open(path, O_RDONLY | O_DIRECTORY, t)
        if isinstance(file, int):
            return file
        out = []
        while records := file.getdents(t or self.init, 4096):
            at = 0
            while at < len(records):
                length = int.from_bytes(records[at + 16 : at + 18], "little")
                out.append(records[at + 19 : at + length].split(b"\0")[0].decode())
                at += length
        file.decref()
        return out

    def link(self, path, t=None):
        place = walk.resolve(t or self.init, AT_FDCWD, path.encode(), 0x100)
        return place if isinstance(place, int) else place.inode.readlink(t or self.init)


@pytest.fixture
def world():
    return Proc()


def native(path):
    with open(path) as file:
        return file.read()


def keys(text, separator=":"):
    return [line.split(separator)[0] for line in text.splitlines()]


def test_directory_of_processes(world):
    child = world.fork(world.init)
    assert {"1", "2", "self", "thread-self", "meminfo", "sys"} <= set(world.names("/proc"))
    assert world.link("/proc/self") == b"1" and world.link("/proc/self", child) == b"2"
    assert world.link("/proc/thread-self", child) == b"2/task/2"
    for name in ("3", "01", "x", "99999999"):
        assert world.open(f"/proc/{name}") == -ENOENT


def test_every_name_that_is_listed_can_be_read(world):
    for folder in ("/proc/1", "/proc/1/task/1", "/proc", "/proc/1/ns", "/proc/1/net", "/proc/1/attr"):
        for name in world.names(folder):
            place = walk.resolve(world.init, AT_FDCWD, f"{folder}/{name}".encode(), 0x100)
            assert not isinstance(place, int), (folder, name, place)
            if place.inode.is_regular and place.inode.mode & 0o444 and name != "mem":
                text = world.read(f"{folder}/{name}")
                assert isinstance(text, str) or text == -EINVAL, (folder, name, text)


def test_whole_trees_can_be_walked(world):
    todo, seen = ["/proc/sys", "/sys"], 0
    while todo:
        folder = todo.pop()
        for name in world.names(folder):
            if name in (".", ".."):
                continue
            path = f"{folder}/{name}"
            if walk.resolve(world.init, AT_FDCWD, path.encode()).inode.is_dir:
                todo.append(path)
            else:
                seen += 1
                assert isinstance(world.read(path), str), path
    assert seen > 200


def test_stat_has_the_fields_of_linux(world):
    text = world.read("/proc/self/stat")
    assert len(text.split()) == len(native("/proc/self/stat").split()) == 52
    assert text.startswith("1 (test) R 0 1 1 0 -1 ")


def test_strange_comm(world):
    world.init.comm = b"a) R\n1"
    assert world.read("/proc/1/stat").startswith("1 (a) R\\n1) R 0")
    assert world.write("/proc/self/comm", b"a name that is too long\n") == 24
    assert world.init.comm == b"a name that is "


def test_status_has_the_lines_of_linux(world):
    mine, theirs = keys(world.read("/proc/self/status")), keys(native("/proc/self/status"))
    assert [key for key in mine if key in theirs] == [key for key in theirs if key in mine]
    assert set(theirs) - set(mine) <= {"x86_Thread_features", "x86_Thread_features_locked", "Mems_allowed"}
    assert set(mine) - set(theirs) <= {"NSpid", "NStgid", "NSpgid", "NSsid", "Kthread", "untag_mask"}


def test_meminfo_has_the_lines_of_linux(world):
    mine, theirs = keys(world.read("/proc/meminfo")), keys(native("/proc/meminfo"))
    assert [key for key in theirs if key in mine] == [key for key in mine if key in theirs]
    assert {key for key in theirs if not key.startswith(("DirectMap", "Hardware", "Cma", "Balloon", "Unaccepted"))} <= set(mine)
    total = re.search(r"^MemTotal: +(\d+) kB$", world.read("/proc/meminfo"), re.M)
    assert total.group(1) == re.search(r"^MemTotal: +(\d+) kB$", native("/proc/meminfo"), re.M).group(1)


def test_limits_are_laid_out_as_by_linux(world):
    import resource

    for which in range(16):
        limits = resource.getrlimit(which)
        world.init.tg.rlimits[which] = tuple((1 << 64) - 1 if value == -1 else value for value in limits)
    assert world.read("/proc/self/limits") == native("/proc/self/limits")


def test_cpuinfo_and_cpu_lists(world):
    cpus = sorted(os.sched_getaffinity(0))
    assert [int(n) for n in re.findall(r"^processor\t: (\d+)$", world.read("/proc/cpuinfo"), re.M)] == cpus
    if len(cpus) == os.cpu_count():
        assert world.read("/sys/devices/system/cpu/online") == native("/sys/devices/system/cpu/online")
        for name in ("core_id", "thread_siblings_list", "core_siblings_list", "physical_package_id"):
            path = f"/sys/devices/system/cpu/cpu{cpus[-1]}/topology/{name}"
            if os.path.exists(path):
                assert world.read(path) == native(path)
    assert len(re.findall(r"^cpu\d+ ", world.read("/proc/stat"), re.M)) == len(cpus)


def test_maps(world):
    mm = world.init.mm
    mm.vmas = [VMA(0x400000, 0x401000, 5), VMA(0x7F0000000000, 0x7F0000021000, 3, name=b"[heap]")]
    pattern = r"^[0-9a-f]{8,}-[0-9a-f]{8,} [r-][w-][x-][ps] [0-9a-f]{8,} [0-9a-f]{2,}:[0-9a-f]{2,} \d+( +\S.*| )$"
    for line in native("/proc/self/maps").splitlines():
        assert re.match(pattern, line), line
    lines = world.read("/proc/self/maps").splitlines()
    assert lines == [
        "00400000-00401000 r-xp 00000000 00:00 0 ",
        "7f0000000000-7f0000021000 rw-p 00000000 00:00 0                          [heap]",
    ]
    smaps = world.read("/proc/self/smaps")
    assert keys(smaps.split("VmFlags")[0])[1:] == keys(native("/proc/self/smaps").split("VmFlags")[0])[1:]
    assert keys(world.read("/proc/self/smaps_rollup"))[1:4] == ["Rss", "Pss", "Pss_Dirty"]


def test_cmdline_environ_and_titles(world):
    t = world.init
    t.write(MEMORY, b"prog\0-x\0A=b\0C=d\0")
    t.mm.arg_start, t.mm.arg_end, t.mm.env_start, t.mm.env_end = MEMORY, MEMORY + 8, MEMORY + 8, MEMORY + 16
    assert world.read("/proc/1/cmdline") == "prog\0-x\0"
    assert world.read("/proc/1/environ") == "A=b\0C=d\0"
    t.write(MEMORY, b"worker: idle\0=d\0")
    assert world.read("/proc/1/cmdline") == "worker: idle"


def test_descriptors(world):
    t = world.init
    file = world.open("/proc/uptime")
    t.files.set(0, file, True)
    t.files.set(2, File(O_RDWR), False)
    assert world.names("/proc/self/fd") == [".", "..", "0", "2"]
    assert world.link("/proc/self/fd/0") == b"/proc/uptime"
    assert world.link("/proc/self/fd/1") == -ENOENT
    assert world.link("/proc/self/fd/2") == b"anon_inode:[file]"
    info = world.read("/proc/self/fdinfo/0")
    assert keys(info) == keys(native("/proc/self/fdinfo/0"))[:4] == ["pos", "flags", "mnt_id", "ino"]
    assert "flags:\t02000000\n" in info
    mode = walk.resolve(t, AT_FDCWD, b"/proc/self/fd/0", 0x100).inode.mode
    assert mode & 0o777 == 0o500
    again = world.open("/proc/self/fd/0")
    assert again.path.dentry is file.path.dentry and again is not file


def test_links(world):
    assert world.link("/proc/self/cwd") == b"/" and world.link("/proc/self/root") == b"/"
    assert world.link("/proc/self/exe") == -ENOENT  # no program yet
    assert re.fullmatch(rb"mnt:\[\d+\]", world.link("/proc/self/ns/mnt"))
    assert world.names("/proc/self/ns")[2:] == sorted(os.listdir("/proc/self/ns"))
    assert world.link("/proc/mounts") == b"self/mounts"
    assert world.read("/proc/mounts").splitlines()[1] == "proc /proc proc rw,relatime 0 0"


def test_gone_processes(world):
    child = world.fork(world.init)
    stat, folder = world.open("/proc/2/stat"), world.open("/proc/2", O_RDONLY | O_DIRECTORY)
    assert stat.read(world.init, 100, None).startswith(b"2 (test) R 1 ")
    world.call(child, "exit", 0)
    assert world.read("/proc/2/stat").startswith("2 (test) Z 1 ")
    assert world.read("/proc/2/cmdline") == world.read("/proc/2/maps") == ""
    assert world.link("/proc/2/exe") == world.link("/proc/2/cwd") == -ENOENT
    world.call(world.init, "wait4", -1, 0, 0, 0)
    assert world.open("/proc/2/stat") == -ENOENT
    assert stat.read(world.init, 100, 0) == -ESRCH
    assert folder.getdents(world.init, 4096) == -ENOENT


def test_access_to_other_users(world):
    t = world.init
    other = world.fork(t)
    other.creds = Creds(1000, 1000, caps=0)
    assert world.read("/proc/1/environ", other) == -EACCES
    assert world.link("/proc/1/exe", other) == -EACCES
    assert world.open("/proc/1/fd", O_RDONLY | O_DIRECTORY, other) == -EACCES
    assert world.open("/proc/1/mem", O_RDONLY, other) == -EACCES
    assert world.read("/proc/1/stat", other).startswith("1 (test)")
    assert world.write("/proc/1/oom_score_adj", b"-5\n", other) == -EACCES
    assert world.write("/proc/2/oom_score_adj", b"5\n", other) == 2
    assert world.write("/proc/2/oom_score_adj", b"4\n", other) == -EACCES
    assert world.write("/proc/2/oom_score_adj", b"1001", other) == -EINVAL
    place = walk.resolve(t, AT_FDCWD, b"/proc/2/environ")
    assert place.inode.uid == 1000
    other.dumpable = 0
    assert walk.resolve(t, AT_FDCWD, b"/proc/2/environ").inode.uid == 0
    assert walk.resolve(t, AT_FDCWD, b"/proc/2").inode.uid == 1000


def test_mem(world):
    file = world.open("/proc/self/mem", O_RDWR)
    world.init.write(MEMORY, b"hello")
    assert file.read(world.init, 5, MEMORY) == b"hello"
    assert file.write(world.init, b"J", MEMORY) == 1
    assert world.init.read(MEMORY, 5) == b"Jello"
    assert file.read(world.init, 5, 16) == -5


def test_directories_that_are_made_when_they_are_looked_into(world):
    """Attributes are right before that, too."""
    for path in (b"/sys/devices", b"/sys/class", b"/proc/sys"):
        inode = walk.resolve(world.init, AT_FDCWD, path).inode
        assert inode.getattr() == 0
        links = inode.nlink
        names = set(world.names(path.decode())) - {".", ".."}
        directories = [name for name in names if walk.resolve(world.init, AT_FDCWD, path + b"/" + name.encode()).inode.is_dir]
        assert links == inode.nlink == 2 + len(directories) > 3
    # Every top directory of sysfs is one of those.
    fs = walk.resolve(world.init, AT_FDCWD, b"/sys").inode.fs
    assert all(type(inode).__name__ == "LazyDir" for inode in fs.root.names.values())


def test_threads(world):
    thread = world.clone_thread(world.init)
    assert world.names("/proc/1/task") == [".", "..", "1", "2"]
    assert walk.resolve(world.init, AT_FDCWD, b"/proc/1/task").inode.nlink == 4
    assert "2" not in world.names("/proc")
    assert world.read("/proc/2/status").splitlines()[5] == "Pid:\t2"  # not listed, but there (proc(5))
    world.write("/proc/self/task/2/comm", b"worker")
    assert thread.comm == b"worker" and world.init.comm == b"test"
    assert world.read("/proc/1/task/2/children") == ""


def test_sysctl(world):
    assert world.read("/proc/sys/kernel/ostype") == "Linux\n"
    assert world.write("/proc/sys/kernel/ostype", b"x") == -EACCES
    assert world.write("/proc/sys/net/core/somaxconn", b"128\n") == 4
    assert world.read("/proc/sys/net/core/somaxconn") == "128\n"
    assert world.write("/proc/sys/net/core/somaxconn", b"lots") == -EINVAL
    assert world.write("/proc/sys/kernel/hostname", b"box\n") == 4
    assert world.read("/proc/sys/kernel/hostname") == "box\n" and world.init.uts.hostname == b"box"
    assert world.read("/proc/sys/kernel/random/boot_id") == world.read("/proc/sys/kernel/random/boot_id")
    uuid = world.read("/proc/sys/kernel/random/uuid")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n", uuid)


def test_values_that_linux_fixes(world):
    for path in ("/proc/sys/kernel/ostype", "/proc/sys/kernel/cap_last_cap", "/proc/sys/fs/overflowuid", "/proc/self/uid_map",
                 "/proc/swaps", "/proc/self/coredump_filter"):  # fmt: skip
        theirs = native(path)
        assert world.read(path).split() == theirs.split(), path


def test_a_pass_over_a_file_sees_one_state(world):
    file = world.open("/proc/loadavg")
    first = file.read(world.init, 4, None)
    world.fork(world.init)
    rest = file.read(world.init, 100, None)
    assert (first + rest).split()[-1] == b"1"
    file.seek(world.init, 0, 0)
    assert file.read(world.init, 100, None).split()[-1] == b"2"


def test_nothing_can_be_made_or_removed(world):
    t = world.init
    assert ops.mkdir(t, AT_FDCWD, b"/proc/x", 0o755) in (-EPERM, -ENOENT)
    assert ops.unlink(t, AT_FDCWD, b"/proc/uptime") == -EPERM
    assert isinstance(world.open("/proc/self/stat", O_WRONLY), File)  # root may, writing then fails
    assert world.write("/proc/self/stat", b"x") in (-EINVAL, -EPERM)
