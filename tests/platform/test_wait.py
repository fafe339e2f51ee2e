"""Watched descriptors, deadlines and idleness."""

import os
import resource
import select
import time

import pytest

CALLS = "int main(void) { for (u64 i = 0;; i++) note(i); }"


@pytest.fixture
def pipe():
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


def wait(machine, ms):
    return machine.platform.wait(time.monotonic_ns() + ms * 1_000_000)


def test_deadline(machine):
    for ms in (0, 1, 5, 30):
        start = time.monotonic_ns()
        for _ in range(20):  # it may come back early, but not often
            assert machine.platform.wait(start + ms * 1_000_000) == []
            took = (time.monotonic_ns() - start) / 1e6
            if took + 0.001 >= ms:
                break
        assert ms <= took + 0.001 < ms + 500
    assert machine.platform.wait(time.monotonic_ns() - 10**9) == []
    assert machine.platform.wait(0) == []


def test_watched_descriptor(machine, pipe):
    seen = []
    machine.platform.watch(pipe[0], select.EPOLLIN, lambda fd, events: seen.append((fd, events)))
    wait(machine, 0)
    assert not seen
    os.write(pipe[1], b"x")
    for _ in range(3):  # level-triggered; one wait may look more than once
        before = len(seen)
        wait(machine, 1000)
        assert len(seen) > before
    assert set(seen) == {(pipe[0], select.EPOLLIN)}
    os.read(pipe[0], 1)
    before = len(seen)
    wait(machine, 0)
    assert len(seen) == before
    os.write(pipe[1], b"x")
    machine.platform.unwatch(pipe[0])
    wait(machine, 0)
    assert len(seen) == before
    machine.platform.unwatch(pipe[0])


def test_watch_again_replaces(machine, pipe):
    seen = []
    machine.platform.watch(pipe[1], select.EPOLLOUT, lambda fd, events: seen.append("first"))
    machine.platform.watch(pipe[1], select.EPOLLIN, lambda fd, events: seen.append("second"))
    wait(machine, 0)
    assert not seen
    machine.platform.watch(pipe[1], select.EPOLLOUT | select.EPOLLET, lambda fd, events: seen.append("third"))
    wait(machine, 100)
    wait(machine, 0)
    assert seen == ["third"], "edge-triggered"


def test_closed_and_reused_descriptor(machine, pipe):
    seen = []
    machine.platform.watch(pipe[0], select.EPOLLIN, lambda fd, events: seen.append("old"))
    number = pipe[0]
    os.close(number)
    new, other = os.pipe()
    os.dup2(new, number) if new != number else None
    machine.platform.watch(number, select.EPOLLIN, lambda fd, events: seen.append("new"))
    os.write(other, b"x")
    wait(machine, 1000)
    assert seen == ["new"]
    machine.platform.unwatch(number)
    os.close(other)
    if new != number:
        os.close(new)


def test_what_cannot_be_watched(machine):
    with open(__file__, "rb") as file, pytest.raises(OSError):
        machine.platform.watch(file.fileno(), select.EPOLLIN, print)


def test_callback_unwatches_another(machine):
    pairs = [os.pipe() for _ in range(4)]
    seen = []

    def callback(fd, events):
        seen.append(fd)
        for other, _ in pairs:
            if other != fd:
                machine.platform.unwatch(other)

    for fd, write_end in pairs:
        machine.platform.watch(fd, select.EPOLLIN, callback)
        os.write(write_end, b"x")
    wait(machine, 1000)
    assert len(seen) == 1
    machine.platform.unwatch(seen[0])
    for ends in pairs:
        os.close(ends[0])
        os.close(ends[1])


def test_busy_guest_does_not_starve_descriptors(machine, pipe):
    thread = machine.start(CALLS)
    seen = []
    machine.platform.watch(pipe[0], select.EPOLLIN, lambda fd, events: seen.append(fd))
    machine.note(thread)
    thread.ret(0)
    os.write(pipe[1], b"x")
    for _ in range(1000):
        for t in wait(machine, 1000):
            t.ret(0)
        if seen:
            break
    assert seen


def test_descriptor_ends_a_sleep_while_a_guest_runs(machine, pipe):
    thread = machine.start("int main(void) { for (;;) ; }")
    seen = []
    machine.platform.watch(pipe[0], select.EPOLLIN, lambda fd, events: seen.append(fd))
    os.write(pipe[1], b"x")
    start = time.monotonic()
    while not seen and time.monotonic() < start + 5:
        machine.platform.wait(None)
    assert seen
    thread.aspace.kill()


def test_idle_costs_no_cpu(machine):
    thread = machine.start(CALLS)
    machine.note(thread)
    machine.settle(0.05)
    before = resource.getrusage(resource.RUSAGE_SELF)
    wait(machine, 500)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.02


def test_no_wakeup_is_lost(machine):
    """A guest that takes a random time before each call, while the Sentry goes to sleep without a deadline."""
    thread = machine.start(
        """
        int main(void)
        {
            u64 x = 1;
            for (u64 i = 0;; i++) {
                x = x * 6364136223846793005ul + 1442695040888963407ul;
                for (volatile u64 n = (x >> 33) % 20000; n; n--) ;
                note(i);
            }
        }"""
    )
    for i in range(3000):
        events = machine.platform.wait(None)
        while not events:
            events = machine.platform.wait(None)
        assert events == [thread] and thread.args[0] == i
        thread.ret(0)
