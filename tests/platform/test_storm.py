"""Death at any moment, guests that lie, and nothing left behind."""

import os
import random
import signal
import struct
import time

import pytest
from sentry.platform import base
from test_filter import gate


def open_files():
    return len(os.listdir("/proc/self/fd"))


def mappings():
    with open("/proc/self/maps") as file:
        return sum("stockade-ctx" in line for line in file)


def pids():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


def children():
    return len(pids())


@pytest.fixture
def strangers():
    """Children that were there before the platform: of other tests in this process."""
    return pids()


def left(mini, expected=None):
    """Once the platform is quiet: what this process holds (open files, context mappings, children). Where many processes
    died in the middle of a fork their children are found and killed one by one; `expected` waits up to 10 s for it."""
    end = time.monotonic() + 10
    now = None
    while True:
        for _ in range(10):
            mini.step(0.02)
        last, now = now, (open_files(), mappings(), children())
        if now == (last if expected is None else expected) or time.monotonic() > end:
            return now


def test_nothing_leaks_over_forks_and_kills(mini):
    assert mini.run("hostile", 3) == 7
    mini.until(lambda: len(mini.exits) == 101)
    before = left(mini)
    for _ in range(5):
        mini.exits.clear()
        assert mini.run("hostile", 3) == 7
        mini.until(lambda: len(mini.exits) == 101)
        assert mini.run("hostile", 4) == 7
    for _ in range(5):
        thread = mini.load("spin", 2)
        os.kill(thread.aspace.pid, signal.SIGKILL)
        mini.until(lambda thread=thread: thread.tid in mini.dead)
    assert left(mini, before) == before


def test_kill_storm(mini):
    """Host processes are killed at random while guests fork, spawn and call; the others go on and nothing is lost."""
    before = left(mini)
    rng = random.Random(1)
    spaces = set()
    mini.sys_fork_done = 0

    def fork(t):
        spaces.add(t.aspace)

        def done(child, error):
            if child is not None:
                spaces.add(child.aspace)
                mini.sys_fork_done += 1
                child.ret(0)
            t.ret(-error if error else child.tid)

        t.fork(done)

    mini.calls[57] = fork
    end = time.monotonic() + 6
    kills = 0
    while time.monotonic() < end or kills <= 50 or mini.sys_fork_done <= 50:
        assert time.monotonic() < end + 100, (kills, mini.sys_fork_done)
        spaces = {s for s in spaces if s.threads}
        if len(spaces) < 4:
            spaces.add(mini.load("hostile", 0).aspace)
        for _ in range(rng.randrange(60)):
            mini.step(0.01)
        if spaces:
            victim = rng.choice(sorted(spaces, key=lambda s: s.pid))
            if victim.threads:
                os.kill(victim.pid, signal.SIGKILL)
                kills += 1
    assert mini.run("loop", 10) == 7
    for space in spaces:
        space.kill()
    assert left(mini, before) == before


@pytest.mark.parametrize("kind", [1, 2])
def test_scribbling_over_contexts_hurts_nobody_else(mini, kind):
    """The scribbler may get nonsense or die; the platform and another guest do not notice."""
    before = left(mini)
    end = time.monotonic() + 3
    rounds = 0
    mine = []
    mini.on_ops = lambda t: None
    over = False

    def fork(t):
        def done(child, error):
            if child is not None:
                mine.append(child.aspace)
                child.aspace.kill() if over else child.ret(0)
            t.ret(-error if error else child.tid)

        # A scribbler's children may go on as it does: the kernel's limit of processes stands between them and ours. Few,
        # because each computes without end and takes its share of the CPUs from the guest that must not notice.
        if children() > 6:
            return -11  # EAGAIN
        t.fork(done)
        return None

    mini.calls[57] = fork
    mini.calls[401] = lambda t: mini.sys_spawn(t)
    while time.monotonic() < end or rounds < 3:
        thread = mini.load("hostile", kind)
        mine.append(thread.aspace)
        until = time.monotonic() + 0.3
        while thread.aspace.threads and time.monotonic() < until:
            mini.step(0.01)
        assert mini.run("loop", 50) == 7
        thread.aspace.kill()
        rounds += 1
    over = True
    for space in mine:
        space.kill()
    assert left(mini, before) == before


def test_deaf_guest_is_killed(platform, mini):
    """A guest that blocks the interrupt signal on the host (a rt_sigreturn of its own making) and runs on."""
    if platform != "systrap":
        pytest.skip("about systrap's interrupt signal")
    box = []
    mini.platform.new_aspace(lambda thread, error: box.append(thread))
    mini.until(lambda: box)
    t, seen = box[0], []
    mini.event = seen.append
    # ucontext: flags, link, stack_t (24), 23 words of sigcontext + 8 reserved, mask
    context = [0] * 32
    context[15], context[16], context[17] = 0x18000, 0x10000, 0x202  # rsp, rip, eflags
    context[18] = 0x33 | 0x2B << 48  # cs, ss
    frame = struct.pack("<QQQQQ", 0, 0, 0, 2, 0) + struct.pack("<32Q", *context) + struct.pack("<Q", (1 << 64) - 1)
    t.run_ops(
        [(base.OP_MMAP_ANON, 0x10000, 0x10000, 7, False), (base.OP_WRITE, 0x10000, b"\xeb\xfe"), (base.OP_WRITE, 0x14000, frame)]
    )
    mini.until(lambda: seen)
    seen.clear()
    t.regs.rip, t.regs.rax, t.regs.rsp = gate(), 15, 0x14000
    t.resume()
    mini.step(0.05)
    assert not seen
    start = time.monotonic()
    t.interrupt()
    mini.until(lambda: seen)
    assert t.event == base.EV_DEAD
    assert 0.08 < time.monotonic() - start < 60


def test_stop_leaves_no_process(strangers, mini):
    for kind in (0, 1, 2):
        mini.load("spin", kind)
    for _ in range(50):
        mini.step(0.01)
    mini.platform.stop()
    assert pids() <= strangers
