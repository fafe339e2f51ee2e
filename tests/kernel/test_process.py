"""fork, clone, exit, wait, sessions on the fake platform."""

from errno import EACCES, EAGAIN, ECHILD, EINVAL, EPERM, ESRCH
from struct import pack, unpack_from
from types import SimpleNamespace

import pytest
from fakeplatform import PENDING, FakeThread, World

from sentry.core.creds import Creds
from sentry.kernel import exec, exit, signals
from sentry.platform.base import EV_DEAD

SIGHUP, SIGKILL, SIGUSR1, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP = 1, 9, 10, 15, 17, 18, 19
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD = 0x100, 0x200, 0x400, 0x800, 0x10000
CLONE_VFORK, CLONE_PARENT, CLONE_PIDFD, CLONE_SETTLS = 0x4000, 0x8000, 0x1000, 0x80000
CLONE_PARENT_SETTID, CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID = 0x100000, 0x1000000, 0x200000
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x1000000


@pytest.fixture
def world():
    return World()


def test_fork_exit_wait(world):
    t = world.init
    child = world.fork(t)
    assert child.thread.returned == 0
    assert world.call(child, "getppid") == t.tg.pid
    status = world.memory(8)
    assert world.call(t, "wait4", -1, status, WNOHANG, 0) == 0
    world.start(t, "wait4", -1, status, 0, 0)
    assert world.result(t) == PENDING
    aspace = child.thread.aspace
    assert world.call(child, "exit_group", 7) is None
    assert world.result(t) == child.tid
    assert t.read(status, 4) == pack("<i", 7 << 8)
    assert aspace.killed
    assert child.tid not in world.tasks and child.tid not in world.groups
    assert world.call(t, "wait4", -1, status, 0, 0) == -ECHILD


def test_zombie_keeps_its_number_until_reaped(world):
    t = world.init
    child = world.fork(t)
    world.call(child, "exit", 3)
    assert child.tid in world.groups
    info = world.memory(b"\xff" * 128)
    assert world.call(t, "waitid", 1, child.tid, info, WEXITED | WNOWAIT, 0) == 0
    assert unpack_from("<iii", t.read(info, 12)) == (SIGCHLD, 0, 1)
    assert unpack_from("<iii", t.read(info + 16, 12)) == (child.tid, 0, 3)
    assert t.read(info + 28, 4) == b"\xff" * 4  # untouched
    assert world.call(t, "waitid", 1, child.tid, info, WEXITED, 0) == 0
    assert world.call(t, "waitid", 1, child.tid, info, WEXITED, 0) == -ECHILD
    assert t.read(info, 4) == bytes(4)


def test_vfork_suspends_the_parent(world):
    t = world.init
    assert world.call(t, "vfork") == PENDING
    child = world.tasks[2]
    assert child.thread.aspace is t.thread.aspace and child.mm is t.mm
    signals.send(t.tg, SIGCHLD)  # does not end the wait
    assert world.result(t) == PENDING
    assert world.call(child, "exit_group", 0) is None
    assert world.result(t) == 2
    assert not t.thread.aspace.killed


def test_killed_vfork_parent(world):
    middle = world.fork(world.init)
    world.start(middle, "vfork")
    world.turn()
    child = world.tasks[3]
    signals.send(middle.tg, SIGKILL)
    world.turn()
    assert middle.dead and not child.dead
    assert child.tg.parent is world.init.tg
    assert world.call(child, "exit", 0) is None


def test_fork_refused_by_the_host(world):
    world.platform.fail = EAGAIN
    assert world.call(world.init, "fork") == -EAGAIN
    assert list(world.tasks) == [1]


@pytest.mark.parametrize("flags", [
    CLONE_THREAD | CLONE_VM,
    CLONE_SIGHAND,
    CLONE_FS | CLONE_NEWNS,
    CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWPID,
    CLONE_PIDFD | CLONE_PARENT_SETTID,
    CLONE_PIDFD | 0x400000,
    CLONE_PARENT,  # of a container's first process
])  # fmt: skip
def test_invalid_clone_flags(world, flags):
    assert world.call(world.init, "clone", flags | SIGCHLD, 0, 0, 0, 0) == -EINVAL


def test_namespaces_need_privilege():
    world = World(Creds(1000, 1000, caps=0))
    assert world.call(world.init, "clone", CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0) == -EPERM
    assert world.call(world.init, "unshare", CLONE_NEWUSER) == -EPERM


def test_thread_arguments(world):
    t = world.init
    parent_tid, child_tid = world.memory(4), world.memory(4)
    flags = (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID
             | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)  # fmt: skip
    tid = world.call(t, "clone", flags, 0x12000, parent_tid, child_tid, 0x5000)
    thread = world.tasks[tid]
    assert t.read(parent_tid, 4) == t.read(child_tid, 4) == pack("<i", tid)
    assert (thread.thread.regs.rsp, thread.thread.regs.fs_base, thread.thread.returned) == (0x12000, 0x5000, 0)
    assert thread.files is t.files and thread.fs is t.fs and thread.mm is t.mm and thread.tg is t.tg
    assert world.call(thread, "getpid") == t.tg.pid
    world.start(t, "futex", child_tid, 0, tid, 0, 0, 0)
    assert world.result(t) == PENDING
    assert world.call(thread, "exit", 0) is None
    assert world.result(t) == 0  # CLEARTID woke it
    assert t.read(child_tid, 4) == bytes(4)
    assert tid not in world.tasks and t.tg.tasks == [t] and t.mm.users == 1


def test_clone3(world):
    t = world.init
    pidfd = world.memory(4)
    fields = [CLONE_PIDFD, pidfd, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0]
    args = world.memory(pack("<11Q", *fields) + bytes(8))
    assert world.call(t, "clone3", args, 63) == -EINVAL
    assert world.call(t, "clone3", args, 5000) == -7  # E2BIG
    pid = world.call(t, "clone3", args, 96)
    assert pid > 0
    (fd,) = unpack_from("<i", t.read(pidfd, 4))
    file = t.files.get(fd)
    assert fd in t.files.cloexec and file.poll() == 0
    assert world.tasks[pid].read(pidfd, 4) == bytes(4)
    world.call(world.tasks[pid], "exit", 0)
    assert file.poll() & 1
    assert world.call(t, "waitid", 3, fd, 0, WEXITED, 0) == 0
    for index, value in ((6, 4096), (4, 65), (0, 0x11), (9, 33)):
        wrong = list(fields)
        wrong[index] = value
        assert world.call(t, "clone3", world.memory(pack("<11Q", *wrong)), 88) == -EINVAL


def test_clone3_set_tid(world):
    t = world.init
    tids = world.memory(pack("<i", 77))
    args = world.memory(pack("<11Q", 0, 0, 0, 0, SIGCHLD, 0, 0, 0, tids, 1, 0))
    assert world.call(t, "clone3", args, 88) == 77
    assert world.call(t, "clone3", args, 88) == -17  # EEXIST


def test_clone_parent(world):
    child = world.fork(world.init)
    pid = world.call(child, "clone", CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    assert world.call(world.tasks[pid], "getppid") == 1
    assert world.call(child, "wait4", -1, 0, WNOHANG, 0) == -ECHILD


def test_exit_group_ends_running_and_blocked_threads(world):
    process = world.fork(world.init)
    running = world.clone_thread(process)
    blocked = world.clone_thread(process)
    word = world.memory(4)
    world.start(blocked, "futex", word, 0, 0, 0, 0, 0)
    assert world.result(blocked) == PENDING
    world.call(process, "exit_group", 5)
    assert blocked.dead and process.dead and not running.dead
    assert not process.tg.zombie
    world.interrupt(running)
    assert running.dead and process.tg.zombie and process.tg.exit_status == 5 << 8


def test_leader_exits_first(world):
    process = world.fork(world.init)
    other = world.clone_thread(process)
    world.call(process, "exit", 4)
    assert process.dead and process.tid in world.tasks
    assert world.call(world.init, "wait4", process.tid, 0, WNOHANG, 0) == 0
    status = world.memory(4)
    world.call(other, "exit", 9)
    assert world.call(world.init, "wait4", process.tid, status, 0, 0) == process.tid
    assert world.init.read(status, 4) == pack("<i", 4 << 8)


def test_exec_takes_over_the_leader(world):
    process = world.fork(world.init)
    other, third = world.clone_thread(process), world.clone_thread(process)
    answers = []
    other.thread.parked = True  # in execve
    exit.kill_other_threads(other, answers.append)
    exit.kill_other_threads(third, answers.append)
    assert answers == [-EAGAIN]
    world.interrupt(process)
    world.interrupt(third)
    assert answers == [-EAGAIN, 0]
    assert other.tid == other.tg.pid == process.tid and other.tg.leader is other
    assert world.tasks[process.tid] is other and other.tg.tasks == [other]


def test_sigkill_during_exec(world):
    process = world.fork(world.init)
    other = world.clone_thread(process)
    answers = []
    other.thread.parked = True
    exit.kill_other_threads(other, answers.append)
    signals.send(process.tg, SIGKILL)
    assert answers == [-EAGAIN]
    world.kernel.back_to_guest(other, -EAGAIN)
    world.interrupt(process)
    assert process.tg.zombie and process.tg.exit_status == SIGKILL


def test_orphans_go_to_the_subreaper(world):
    reaper = world.fork(world.init)
    assert world.call(reaper, "prctl", 36, 1, 0, 0, 0) == 0
    middle = world.fork(reaper)
    orphan = world.fork(middle)
    world.call(middle, "exit", 0)
    assert orphan.tg.parent is reaper.tg
    world.call(reaper, "exit", 0)
    assert orphan.tg.parent is world.init.tg


def test_pdeath_signal_comes_from_the_creating_thread(world):
    process = world.fork(world.init)
    thread = world.clone_thread(process)
    child = world.fork(thread)
    assert world.call(child, "prctl", 1, SIGKILL, 0, 0, 0) == 0
    world.call(thread, "exit", 0)
    world.interrupt(child)
    assert child.dead and child.tg.exit_status == SIGKILL


def ignore_sigchld(world, t, flags=0):
    action = world.memory(pack("<QQQQ", 0 if flags else 1, flags, 0, 0))
    assert world.call(t, "rt_sigaction", SIGCHLD, action, 0, 8) == 0


@pytest.mark.parametrize("flags", [0, 2], ids=["SIG_IGN", "SA_NOCLDWAIT"])
def test_ignored_children_leave_no_zombie(world, flags):
    t = world.init
    ignore_sigchld(world, t, flags)
    child = world.fork(t)
    world.start(t, "wait4", -1, 0, 0, 0)
    assert world.result(t) == PENDING
    world.call(child, "exit", 1)
    assert world.result(t) == -ECHILD
    assert child.tid not in world.groups


def test_stop_and_continue_reports(world):
    t = world.init
    child = world.fork(t)
    status = world.memory(4)
    signals.send(child.tg, SIGSTOP)
    world.interrupt(child)
    assert world.call(t, "wait4", -1, status, WNOHANG, 0) == 0
    assert world.call(t, "wait4", -1, status, WNOHANG | WUNTRACED, 0) == child.tid
    assert t.read(status, 4) == pack("<i", SIGSTOP << 8 | 0x7F)
    assert world.call(t, "wait4", -1, status, WNOHANG | WUNTRACED, 0) == 0
    signals.send(child.tg, SIGCONT)
    world.turn()
    assert world.call(t, "wait4", -1, status, WNOHANG | WCONTINUED, 0) == child.tid
    assert t.read(status, 4) == pack("<i", 0xFFFF)


def test_kill_while_stopped(world):
    child = world.fork(world.init)
    signals.send(child.tg, SIGSTOP)
    world.interrupt(child)
    signals.send(child.tg, SIGKILL)
    world.turn()
    assert child.dead


def test_wait_options(world):
    t = world.init
    assert world.call(t, "wait4", -1, 0, 0x10, 0) == -EINVAL
    assert world.call(t, "wait4", -0x80000000, 0, 0, 0) == -ESRCH
    assert world.call(t, "waitid", 0, 0, 0, WNOHANG, 0) == -EINVAL
    assert world.call(t, "waitid", 1, 0, 0, WEXITED, 0) == -EINVAL
    assert world.call(t, "waitid", 4, 0, 0, WEXITED, 0) == -EINVAL
    assert world.call(t, "waitid", 3, 9, 0, WEXITED, 0) == -9  # EBADF
    pid = world.call(t, "clone", 0, 0, 0, 0, 0)  # no exit signal: a "clone" child
    assert world.call(t, "wait4", -1, 0, WNOHANG, 0) == -ECHILD
    assert world.call(t, "wait4", -1, 0, WNOHANG | 0x80000000, 0) == 0
    assert world.call(t, "wait4", -1, 0, WNOHANG | 0x40000000, 0) == 0
    world.call(world.tasks[pid], "exit", 0)
    assert world.call(t, "wait4", pid, 0, 0x40000000, 0) == pid


def test_wnothread(world):
    t = world.init
    thread = world.clone_thread(t)
    child = world.fork(thread)
    assert world.call(t, "wait4", -1, 0, WNOHANG | 0x20000000, 0) == -ECHILD
    world.call(child, "exit", 0)
    assert world.call(t, "wait4", -1, 0, WNOHANG, 0) == child.tid


def test_groups_and_sessions(world):
    t = world.init
    assert world.call(t, "setsid") == -EPERM
    assert world.call(t, "setpgid", 0, 0) == -EPERM  # a session leader
    child = world.fork(t)
    other = world.fork(t)
    assert world.call(t, "setpgid", child.tid, -1) == -EINVAL
    assert world.call(t, "setpgid", 99, 0) == -ESRCH
    assert world.call(child, "setpgid", other.tid, 0) == -ESRCH
    assert world.call(t, "setpgid", child.tid, 99) == -EPERM
    assert world.call(t, "setpgid", child.tid, 0) == 0
    assert world.call(child, "getpgrp") == child.tid
    assert world.call(other, "setpgid", 0, child.tid) == 0
    assert world.call(t, "getpgid", other.tid) == child.tid
    assert world.call(child, "setsid") == -EPERM  # leads a group
    child.tg.did_exec = True
    assert world.call(t, "setpgid", child.tid, 1) == -EACCES
    assert world.call(other, "setsid") == other.tid
    assert world.call(t, "setpgid", other.tid, 1) == -EPERM  # another session
    assert world.call(t, "getsid", other.tid) == other.tid
    world.call(other, "exit", 0)
    assert world.call(t, "getsid", other.tid) == other.tid
    assert world.call(t, "wait4", other.tid, 0, 0, 0) == other.tid
    assert other.tid not in world.kernel.pids.pgrps and other.tid not in world.kernel.pids.sessions


def test_stopped_orphans_are_hung_up(world):
    shell = world.fork(world.init)
    assert world.call(shell, "setsid") == shell.tid
    job = world.fork(shell)
    assert world.call(job, "setpgid", 0, 0) == 0
    signals.send(job.tg, SIGSTOP)
    world.interrupt(job)
    world.call(shell, "exit", 0)
    world.turn()
    assert job.dead and job.tg.exit_status == SIGHUP


def test_wait_for_group(world):
    t = world.init
    child = world.fork(t)
    world.call(child, "setpgid", 0, 0)
    world.call(child, "exit", 0)
    assert world.call(t, "wait4", 0, 0, WNOHANG, 0) == -ECHILD
    assert world.call(t, "wait4", -child.tid, 0, WNOHANG, 0) == child.tid


def test_nproc_limit():
    world = World(Creds(1000, 1000, caps=0))
    t = world.init
    limit = world.memory(pack("<QQ", 2, 2))
    assert world.call(t, "setrlimit", 6, limit) == 0
    child = world.fork(t)
    assert world.call(t, "fork") == -EAGAIN
    world.call(child, "exit", 0)
    world.call(t, "wait4", -1, 0, 0, 0)
    assert world.call(t, "fork") > 0


def test_killed_while_forking(world):
    child = world.fork(world.init)
    world.start(child, "fork")
    signals.send(child.tg, SIGKILL)
    world.turn()
    assert child.dead
    assert set(world.tasks) == {1, child.tid}


def test_pidfd(world):
    t = world.init
    child = world.fork(t)
    thread = world.clone_thread(child)
    assert world.call(t, "pidfd_open", 0, 0) == -EINVAL
    assert world.call(t, "pidfd_open", 99, 0) == -ESRCH
    assert world.call(t, "pidfd_open", thread.tid, 0) == -EINVAL
    fd = world.call(t, "pidfd_open", child.tid, 0)
    assert t.files.get(fd).fdinfo() == b"Pid:\t2\nNSpid:\t2\n"
    world.call(child, "exit_group", 0)
    world.interrupt(thread)
    assert t.files.get(fd).poll() & 1
    assert world.call(t, "wait4", -1, 0, 0, 0) == child.tid
    assert t.files.get(fd).fdinfo() == b"Pid:\t-1\nNSpid:\t-1\n"


def test_membarrier(world):
    process = world.fork(world.init)
    running, blocked = world.clone_thread(process), world.clone_thread(process)
    assert world.call(process, "membarrier", 8, 0, 0) == -EPERM
    assert world.call(process, "membarrier", 16, 0, 0) == 0
    world.start(blocked, "pause")
    world.turn()
    assert world.call(process, "membarrier", 8, 0, 0) == PENDING
    world.interrupt(running)
    assert world.result(process) == 0
    assert world.call(process, "membarrier", 8, 0, 0) == PENDING
    assert world.call(running, "exit", 0) is None
    assert world.result(process) == 0
    assert world.call(process, "membarrier", 99, 0, 0) == -EINVAL
    assert world.call(process, "membarrier", 0, 0, 0) & 8


def test_cpu_limit(world, monkeypatch):
    from sentry.kernel import clocks, cpulimit

    used = [0]
    now = [1_000_000_000_000]
    monkeypatch.setattr(clocks.CpuClock, "now", lambda self: used[0])
    monkeypatch.setattr(clocks, "monotonic_ns", lambda: now[0])
    t = world.fork(world.init)
    limit = world.memory(pack("<QQ", 1, 2))
    assert world.call(t, "setrlimit", 0, limit) == 0
    action = world.memory(pack("<QQQQ", 0x5000, 0x04000000, 0x6000, 0))
    assert world.call(t, "rt_sigaction", 24, action, 0, 8) == 0
    watch = t.tg.data["cpu_limit"]
    assert watch.timer.deadline - now[0] == cpulimit.SECOND
    used[0] = 1_100_000_000
    watch.look()
    assert t.tg.shared_pending.mask >> 23 & 1 and watch.warn_at == 2
    used[0] = 2_000_000_000
    watch.look()
    world.interrupt(t)
    assert t.dead and t.tg.exit_status == SIGKILL


def test_a_death_that_nobody_owns(world):
    """A process that exec was given dies before the exec has it: its program ends, and the event finds no task."""
    t, gone = world.init, []
    child = world.fork(t)
    thread = FakeThread(world.platform, child.thread.aspace)
    thread.event = EV_DEAD
    program = SimpleNamespace(path=b"/bin/x", close=lambda: gone.append("program"))
    layout = SimpleNamespace(abandon=lambda: gone.append("layout"))
    exec.Exec(child, program, layout, child.creds).got_aspace(thread, 0)
    world.kernel.dispatch(thread)
    assert gone == ["layout", "program"] and child.dead
    assert child.tg.exit_status == SIGKILL
