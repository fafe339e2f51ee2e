"""Credentials, capabilities, prctl, limits, scheduling, system information on the fake platform."""

from errno import EACCES, EBADF, EFAULT, EINVAL, EPERM, ESRCH
from struct import pack, unpack, unpack_from

import pytest
from fakeplatform import MEMORY, MEMORY_SIZE, World

from sentry.core.creds import ALL_CAPS, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETPCAP, CAP_SETUID, Creds
from sentry.kernel import nsfs
from sentry.vfs.file import O_RDWR, File

KEEP = 0xFFFFFFFF


@pytest.fixture
def world():
    return World()


def user_world(**kw):
    return World(Creds(1000, 1000, caps=0, **kw))


def ids(t):
    c = t.creds
    return c.uid, c.euid, c.suid, c.fsuid


def test_setuid_of_root_gives_everything_up(world):
    t = world.init
    assert world.call(t, "setuid", 1000) == 0
    assert ids(t) == (1000,) * 4
    assert t.creds.permitted == t.creds.effective == 0 and t.creds.bounding == ALL_CAPS
    assert t.dumpable == 0
    assert world.call(t, "setuid", 0) == -EPERM
    assert world.call(t, "setuid", -1) == -EINVAL


def test_seteuid_and_back(world):
    t = world.init
    assert world.call(t, "setresuid", -1, 1000, -1) == 0
    assert ids(t) == (0, 1000, 0, 1000)
    assert t.creds.effective == 0 and t.creds.permitted == ALL_CAPS
    assert world.call(t, "setresuid", -1, 0, -1) == 0
    assert t.creds.effective == ALL_CAPS


def test_keepcaps(world):
    t = world.init
    assert world.call(t, "prctl", 8, 1, 0, 0, 0) == 0
    assert world.call(t, "setresuid", 1000, 1000, 1000) == 0
    assert t.creds.permitted == ALL_CAPS and t.creds.effective == 0


def test_no_setuid_fixup(world):
    t = world.init
    assert world.call(t, "prctl", 28, 1 << 2, 0, 0, 0) == 0
    assert world.call(t, "setuid", 5) == 0
    assert t.creds.effective == ALL_CAPS


def test_setreuid_saves_the_effective_id():
    world = World(Creds(1000, 1000, caps=1 << CAP_SETUID))
    t = world.init
    assert world.call(t, "setreuid", 5, 6) == 0
    assert ids(t) == (5, 6, 6, 6)
    assert world.call(t, "setreuid", -1, 5) == 0
    assert ids(t) == (5, 5, 6, 5)  # euid is the real one again: the saved one stays


def test_ids_of_ordinary_users():
    world = user_world()
    t = world.init
    assert world.call(t, "setresuid", 1000, 1000, 1001) == -EPERM
    assert world.call(t, "setreuid", 1001, -1) == -EPERM
    assert world.call(t, "setgid", 5) == -EPERM
    assert world.call(t, "setgroups", 0, 0) == -EPERM
    assert world.call(t, "setfsuid", 5) == 1000 and t.creds.fsuid == 1000
    assert world.call(t, "setfsuid", -1) == 1000


def test_setfsuid_moves_file_capabilities(world):
    t = world.init
    assert world.call(t, "setfsuid", 1000) == 0
    assert not t.creds.capable(CAP_CHOWN) and not t.creds.capable(CAP_DAC_OVERRIDE) and t.creds.capable(CAP_KILL)
    assert world.call(t, "setfsuid", 0) == 1000
    assert t.creds.effective == ALL_CAPS


def test_groups(world):
    t = world.init
    groups = world.memory(pack("<4I", 9, 3, 7, 5))
    assert world.call(t, "setgroups", 4, groups) == 0
    out = world.memory(16)
    assert world.call(t, "getgroups", 0, 0) == 4
    assert world.call(t, "getgroups", 3, out) == -EINVAL
    assert world.call(t, "getgroups", -1, out) == -EINVAL
    assert world.call(t, "getgroups", 4, out) == 4
    assert unpack("<4I", t.read(out, 16)) == (3, 5, 7, 9)
    assert world.call(t, "setgroups", 65537, groups) == -EINVAL
    assert world.call(t, "setgroups", 2, 16) == -EFAULT


def test_getresuid_with_bad_pointers(world):
    good = world.memory(4)
    assert world.call(world.init, "getresuid", good, good, good) == 0
    assert world.call(world.init, "getresuid", good, 0, good) == -EFAULT


def cap_header(world, version=0x20080522, pid=0):
    return world.memory(pack("<Ii", version, pid))


def test_capget_and_capset(world):
    t = world.init
    data = world.memory(24)
    assert world.call(t, "capget", cap_header(world), data) == 0
    low, high = ALL_CAPS & KEEP, ALL_CAPS >> 32
    assert unpack("<6I", t.read(data, 24)) == (low, low, 0, high, high, 0)
    header = cap_header(world, 1)
    assert world.call(t, "capget", header, 0) == 0
    assert unpack_from("<I", t.read(header, 4)) == (0x20080522,)
    assert world.call(t, "capget", cap_header(world, 1), data) == -EINVAL
    assert world.call(t, "capget", cap_header(world, pid=-1), data) == -EINVAL
    assert world.call(t, "capget", cap_header(world, pid=99), data) == -ESRCH
    assert world.call(t, "capset", cap_header(world, pid=99), data) == -EPERM
    few = 1 << CAP_KILL
    t.write(data, pack("<6I", few, few, few, 0, 0, 0))
    assert world.call(t, "capset", cap_header(world), data) == 0
    assert (t.creds.effective, t.creds.permitted, t.creds.inheritable) == (few, few, few)
    t.write(data, pack("<6I", 3, few, 0, 0, 0, 0))
    assert world.call(t, "capset", cap_header(world), data) == -EPERM


def test_ambient_capabilities(world):
    t = world.init
    few = 1 << CAP_KILL
    assert world.call(t, "prctl", 47, 2, CAP_KILL, 0, 0) == -EPERM  # not inheritable
    data = world.memory(pack("<6I", KEEP, KEEP, few, 0x1FF, 0x1FF, 0))
    assert world.call(t, "capset", cap_header(world), data) == 0
    assert world.call(t, "prctl", 47, 2, CAP_KILL, 0, 0) == 0
    assert world.call(t, "prctl", 47, 1, CAP_KILL, 0, 0) == 1
    assert world.call(t, "prctl", 47, 1, 41, 0, 0) == -EINVAL
    assert world.call(t, "prctl", 47, 4, 0, 0, 0) == 0
    assert t.creds.ambient == 0
    assert world.call(t, "prctl", 47, 9, 0, 0, 0) == -EINVAL


def test_bounding_set(world):
    t = world.init
    assert world.call(t, "prctl", 23, CAP_KILL, 0, 0, 0) == 1
    assert world.call(t, "prctl", 24, CAP_KILL, 0, 0, 0) == 0
    assert world.call(t, "prctl", 23, CAP_KILL, 0, 0, 0) == 0
    assert world.call(t, "prctl", 23, 41, 0, 0, 0) == -EINVAL
    t.creds = Creds(1000, 1000, caps=ALL_CAPS & ~(1 << CAP_SETPCAP))
    assert world.call(t, "prctl", 24, 1, 0, 0, 0) == -EPERM


def test_prctl_names_and_flags(world):
    t = world.init
    name = world.memory(b"a very long name indeed\0")
    out = world.memory(16)
    assert world.call(t, "prctl", 15, name, 0, 0, 0) == 0
    assert world.call(t, "prctl", 16, out, 0, 0, 0) == 0
    assert t.read(out, 16) == b"a very long nam\0"
    assert world.call(t, "prctl", 38, 1, 1, 0, 0) == -EINVAL
    assert world.call(t, "prctl", 38, 1, 0, 0, 0) == 0
    assert world.call(t, "prctl", 39, 0, 0, 0, 0) == 1
    assert world.call(t, "prctl", 4, 2, 0, 0, 0) == -EINVAL
    assert world.call(t, "prctl", 1, 65, 0, 0, 0) == -EINVAL
    assert world.call(t, "prctl", 22, 9, 0, 0, 0) == -EINVAL
    assert world.call(t, "prctl", 999, 0, 0, 0, 0) == -EINVAL
    child = world.fork(t)
    assert world.call(child, "prctl", 39, 0, 0, 0, 0) == 1


def test_timer_slack(world):
    t = world.init
    assert world.call(t, "prctl", 30, 0, 0, 0, 0) == 50000
    assert world.call(t, "prctl", 29, 77, 0, 0, 0) == 0
    assert world.call(world.fork(t), "prctl", 30, 0, 0, 0, 0) == 77
    assert world.call(t, "prctl", 29, 0, 0, 0, 0) == 0
    assert world.call(t, "prctl", 30, 0, 0, 0, 0) == 50000


def test_arch_prctl(world):
    t = world.init
    assert world.call(t, "arch_prctl", 0x1002, 0x7000) == 0
    assert t.thread.regs.fs_base == 0x7000
    out = world.memory(8)
    assert world.call(t, "arch_prctl", 0x1003, out) == 0
    assert unpack("<Q", t.read(out, 8)) == (0x7000,)
    assert world.call(t, "arch_prctl", 0x1002, 1 << 60) == -EPERM
    assert world.call(t, "arch_prctl", 0x5001, 0) == -EINVAL


def test_limits():
    world = user_world()
    t = world.init
    soft_hard = world.memory(pack("<QQ", 10, 5))
    out = world.memory(16)
    assert world.call(t, "setrlimit", 7, soft_hard) == -EINVAL
    t.write(soft_hard, pack("<QQ", 5, 10))
    assert world.call(t, "setrlimit", 7, soft_hard) == 0
    assert world.call(t, "getrlimit", 7, out) == 0
    assert unpack("<QQ", t.read(out, 16)) == (5, 10)
    t.write(soft_hard, pack("<QQ", 5, 11))
    assert world.call(t, "setrlimit", 7, soft_hard) == -EPERM
    assert world.call(t, "getrlimit", 16, out) == -EINVAL
    assert world.call(t, "prlimit64", 0, 7, 0, out) == 0
    assert world.call(t, "prlimit64", 99, 7, 0, out) == -ESRCH
    other = world.new_process()
    assert world.call(t, "prlimit64", other.tid, 7, 0, out) == -EPERM
    assert world.call(t, "prlimit64", 0, 7, 16, out) == -EFAULT


def test_priorities():
    world = user_world()
    t = world.init
    assert world.call(t, "getpriority", 0, 0) == 20
    assert world.call(t, "setpriority", 0, 0, 5) == 0
    assert world.call(t, "getpriority", 0, 0) == 15
    assert world.call(t, "setpriority", 0, 0, 4) == -EACCES
    assert world.call(t, "setpriority", 0, 0, 99) == 0
    assert world.call(t, "getpriority", 0, 0) == 1
    assert world.call(t, "getpriority", 0, 99) == -ESRCH
    assert world.call(t, "getpriority", 3, 0) == -EINVAL
    other = world.new_process()
    assert world.call(t, "setpriority", 0, other.tid, 5) == -EPERM
    assert world.call(t, "getpriority", 1, 0) == 1
    assert world.call(t, "getpriority", 2, 0) == 1


def test_scheduling():
    world = user_world()
    t = world.init
    param = world.memory(pack("<i", 5))
    assert world.call(t, "sched_setscheduler", 0, 1, param) == -EPERM
    assert world.call(t, "sched_setscheduler", 0, 0, param) == -EINVAL
    t.write(param, bytes(4))
    assert world.call(t, "sched_setscheduler", 0, 3, param) == 0
    assert world.call(t, "sched_getscheduler", 0) == 3
    assert world.call(t, "sched_setscheduler", 0, 4, param) == -EINVAL
    assert world.call(t, "sched_setscheduler", 99, 0, param) == -ESRCH
    assert world.call(t, "sched_getscheduler", -1) == -EINVAL
    assert world.call(t, "sched_get_priority_max", 1) == 99
    assert world.call(t, "sched_get_priority_min", 0) == 0
    assert world.call(t, "sched_get_priority_max", 99) == -EINVAL
    attr = world.memory(56)
    assert world.call(t, "sched_getattr", 0, attr, 47, 0) == -EINVAL
    assert world.call(t, "sched_getattr", 0, attr, 56, 0) == 0
    assert unpack("<IIQiI", t.read(attr, 24)) == (56, 3, 0, 0, 0)


def test_affinity(world):
    t = world.init
    t.kernel.host = {**t.kernel.host, "cpus": [0, 2, 3]}
    out = world.memory(128)
    assert world.call(t, "sched_getaffinity", 0, 7, out) == -EINVAL
    assert world.call(t, "sched_getaffinity", 0, 128, out) == 8
    assert t.read(out, 8) == pack("<Q", 0b1101)
    t.write(out, pack("<Q", 0b0110))
    assert world.call(t, "sched_setaffinity", 0, 8, out) == 0
    assert world.call(world.fork(t), "sched_getaffinity", 0, 8, out) == 8
    assert world.call(t, "sched_getaffinity", 0, 8, out) == 8
    assert t.read(out, 8) == pack("<Q", 0b0100)
    t.write(out, pack("<Q", 0b0010))
    assert world.call(t, "sched_setaffinity", 0, 8, out) == -EINVAL


def test_uname_and_hostname(world):
    t = world.init
    buf, name = world.memory(390), world.memory(b"box")
    assert world.call(t, "sethostname", name, 3) == 0
    assert world.call(t, "uname", buf) == 0
    fields = [t.read(buf + 65 * i, 65).rstrip(b"\0") for i in range(6)]
    assert fields[0] == b"Linux" and fields[1] == b"box" and fields[4] == b"x86_64"
    assert world.call(t, "sethostname", name, 65) == -EINVAL
    child = world.fork(t)
    assert world.call(child, "unshare", 0x4000000) == 0
    assert world.call(child, "sethostname", name, 1) == 0
    assert (t.uts.hostname, child.uts.hostname) == (b"box", b"b")
    child.creds = Creds(1, 1, caps=0)
    assert world.call(child, "sethostname", name, 1) == -EPERM


def test_setns(world):
    t = world.init
    child = world.fork(t)
    assert world.call(child, "unshare", 0x4000000) == 0
    inode = nsfs.namespace_path(child, b"uts").inode
    fd = t.files.install(inode.open(t, None, 0), 10)
    assert world.call(t, "setns", fd, 0x20000) == -EINVAL
    assert world.call(t, "setns", 99, 0) == -EBADF
    assert world.call(t, "setns", t.files.install(File(O_RDWR), 10), 0) == -EINVAL
    assert world.call(t, "setns", fd, 0x4000000) == 0
    assert t.uts is child.uts
    assert world.call(t, "unshare", 0x4000000) == 0
    pidfd = world.call(t, "pidfd_open", child.tid, 0)
    assert world.call(t, "setns", pidfd, 0) == -EINVAL
    assert world.call(t, "setns", pidfd, 0x4000000) == 0
    assert t.uts is child.uts


def test_sysinfo_and_times(world):
    buf = world.memory(112)
    assert world.call(world.init, "sysinfo", buf) == 0
    fields = unpack_from("<q3QQQQQQQH", world.init.read(buf, 112))
    assert fields[4] == 1 << 30 and fields[10] == 1
    assert unpack_from("<I", world.init.read(buf + 104, 4)) == (1,)
    assert world.call(world.init, "times", 0) >= 0
    assert world.call(world.init, "getrusage", 5, buf) == -EINVAL


def test_getrandom(world):
    t = world.init
    buf = world.memory(64)
    assert world.call(t, "getrandom", buf, 32, 0) == 32
    assert t.read(buf, 32) != bytes(32) and t.read(buf + 32, 32) == bytes(32)
    assert world.call(t, "getrandom", buf, 1, 8) == -EINVAL
    assert world.call(t, "getrandom", buf, 1, 6) == -EINVAL
    assert world.call(t, "getrandom", 16, 1, 0) == -EFAULT
    assert world.call(t, "getrandom", MEMORY + MEMORY_SIZE - 8, 16, 0) == 8


def test_kcmp_and_pidfd_getfd(world):
    t = world.init
    t.files.set(0, File(O_RDWR), False)
    child, thread = world.fork(t), world.clone_thread(t)
    assert world.call(t, "kcmp", 1, child.tid, 0, 0, 0) == 0  # the same open file
    assert world.call(t, "kcmp", 1, child.tid, 2, 0, 0) in (1, 2)
    assert world.call(t, "kcmp", 1, thread.tid, 2, 0, 0) == 0
    assert world.call(t, "kcmp", 1, child.tid, 0, 5, 0) == -EBADF
    assert world.call(t, "kcmp", 1, 99, 0, 0, 0) == -ESRCH
    assert world.call(t, "kcmp", 1, 1, 99, 0, 0) == -EINVAL
    pidfd = world.call(t, "pidfd_open", child.tid, 0)
    child.files.set(7, File(O_RDWR), False)
    fd = world.call(t, "pidfd_getfd", pidfd, 7, 0)
    assert t.files.get(fd) is child.files.get(7)
    assert world.call(t, "pidfd_getfd", pidfd, 8, 0) == -EBADF
    child.creds = Creds(5, 5)
    t.creds = Creds(6, 6, caps=0)
    assert world.call(t, "pidfd_getfd", pidfd, 7, 0) == -EPERM


@pytest.mark.parametrize("mode, nodes, result", [(0, 0, 0), (0, 1, -EINVAL), (2, 1, 0), (2, 2, -EINVAL), (2, 0, -EINVAL),
                                                 (1, 0, 0), (4, 0, 0), (9, 1, -EINVAL)])  # fmt: skip
def test_set_mempolicy(world, mode, nodes, result):
    mask = world.memory(pack("<Q", nodes))
    assert world.call(world.init, "set_mempolicy", mode, mask, 64) == result
    if result == 0:
        out = world.memory(4)
        assert world.call(world.init, "get_mempolicy", out, 0, 0, 0, 0) == 0
        assert unpack("<i", world.init.read(out, 4)) == (mode,)
