"""Pipes, epoll, Unix sockets, futexes and the line discipline, below the system calls or on the fake platform."""

from errno import EAGAIN, EPIPE
from struct import pack, unpack, unpack_from

import pytest
from fakeplatform import PENDING, World

from sentry.fs.pipe import PAGE, new_pipe
from sentry.fs.tty import Terminal
from sentry.fs.tty_ldisc import ECHO, ICANON, ISIG


@pytest.fixture
def world():
    return World()


def pair(world, task, name="pipe2", *args):
    addr = world.memory(8)
    assert world.call(task, name, *args, addr, *([0] if name == "pipe2" else [])) == 0
    return unpack("<ii", task.read(addr, 8))


def test_pipe_takes_slots_as_linux_does(world):
    read_end, write_end = new_pipe(world.init, 0)
    for _ in range(16):
        assert write_end.write(None, b"x" * PAGE, None) == PAGE
    assert write_end.write(None, b"y", None) == -EAGAIN
    assert len(read_end.read(None, 1, None)) == 1
    assert write_end.write(None, b"y", None) == -EAGAIN  # the first slot is not free yet
    assert len(read_end.read(None, PAGE, None)) == PAGE
    assert write_end.write(None, b"y", None) == 1
    read_end.decref()
    assert write_end.write(None, b"z", None) == -EPIPE
    write_end.decref()


def test_large_blocking_write_goes_on_where_it_stopped(world):
    t = world.init
    child = world.fork(t)
    r, w = pair(world, t)
    child.files.close_all(child)
    child.files = t.files
    t.files.users += 1
    data = bytes(range(256)) * 400
    source, target = world.memory(data), world.memory(len(data))
    world.start(t, "write", w, source, len(data))
    assert world.result(t) == PENDING
    got = b""
    while len(got) < len(data):
        n = world.call(child, "read", r, target, 50000)
        got += child.read(target, n)
    assert got == data
    assert world.result(t) == len(data)


def test_epoll_level_edge_and_oneshot(world):
    t = world.init
    r, w = pair(world, t)
    epoll = world.call(t, "epoll_create1", 0)
    events = world.memory(120)
    byte = world.memory(b"x")

    def wait():
        n = world.call(t, "epoll_wait", epoll, events, 10, 0)
        return [unpack_from("<IQ", t.read(events, 120), 12 * i) for i in range(n)]

    def control(op, mask):
        return world.call(t, "epoll_ctl", epoll, op, r, world.memory(pack("<IQ", mask, 7)))

    assert control(1, 1) == 0
    assert wait() == []
    world.call(t, "write", w, byte, 1)
    assert wait() == wait() == [(1, 7)]
    assert control(3, 1 | 1 << 31) == 0
    assert wait() == [(1, 7)] and wait() == []
    world.call(t, "write", w, byte, 1)
    assert wait() == [(1, 7)] and wait() == []
    assert control(3, 1 | 1 << 30) == 0
    assert wait() == [(1, 7)] and wait() == []
    world.call(t, "write", w, byte, 1)
    assert wait() == []


def test_descriptors_travel_through_a_socket(world):
    t = world.init
    a, b = pair(world, t, "socketpair", 1, 1, 0)
    r, w = pair(world, t)
    control = world.memory(pack("<QiiI4x", 20, 1, 1, w))
    iov = world.memory(pack("<QQ", world.memory(b"hi"), 2))
    message = world.memory(pack("<QQQQQQQ", 0, 0, iov, 1, control, 24, 0))
    assert world.call(t, "sendmsg", a, message, 0) == 2
    assert world.call(t, "close", w) == 0
    assert world.call(t, "recvmsg", b, message, 0) == 2
    new = unpack_from("<i", t.read(control, 24), 16)[0]
    assert world.call(t, "write", new, world.memory(b"through"), 7) == 7
    target = world.memory(16)
    assert world.call(t, "read", r, target, 16) == 7
    assert t.read(target, 7) == b"through"


def test_futex_wake_and_requeue(world):
    t = world.init
    tasks = [world.clone_thread(t) for _ in range(3)]
    one, two = world.memory(pack("<I", 5)), world.memory(pack("<I", 0))
    assert world.call(t, "futex", one, 128, 4, 0, 0, 0) == -EAGAIN
    for task in tasks:
        world.start(task, "futex", one, 128, 5, 0, 0, 0)
    assert world.call(t, "futex", one, 128 | 4, 1, 5, two, 5) == 3  # CMP_REQUEUE: wakes one, moves two
    assert [world.result(task) for task in tasks] == [0, PENDING, PENDING]
    assert world.call(t, "futex", one, 128 | 1, 9, 0, 0, 0) == 0
    assert world.call(t, "futex", two, 128 | 1, 9, 0, 0, 0) == 2
    assert [world.result(task) for task in tasks] == [0, 0, 0]
    assert not world.kernel.futexes


def terminal(world):
    return Terminal(world.kernel.timers, 0, 0)


def test_line_editing(world):
    tty = terminal(world)
    tty.type_in(b"helo\x7flo there\x17you\r")
    assert tty.ldisc.read(100, False) == b"hello you\n"
    tty.type_in(b"gone\x15kept\n")
    assert tty.ldisc.read(2, False) == b"ke"
    assert tty.ldisc.read(100, False) == b"pt\n"
    tty.type_in(b"no newline\x04")
    assert tty.ldisc.read(100, False) == b"no newline"
    tty.type_in(b"\x04")
    assert tty.ldisc.read(100, False) == b""
    assert tty.ldisc.read(100, False) == -EAGAIN
    tty.type_in(b"\x16\x03\n")
    assert tty.ldisc.read(100, False) == b"\x03\n"


def test_echo(world):
    tty = terminal(world)
    tty.type_in(b"a\tb\x01\x7f\x7f\r")
    assert bytes(tty.out) == b"a\tb^A\b \b\b \b\b \b\r\n"
    tty.out.clear()
    tty.put_out(tty.ldisc.process(b"one\ntwo"))
    assert bytes(tty.out) == b"one\r\ntwo"


def test_raw_mode_minimum(world):
    tty = terminal(world)
    ldisc = tty.ldisc
    ldisc.lflag &= ~(ICANON | ECHO | ISIG)
    cc = bytearray(ldisc.cc)
    cc[6] = 3
    ldisc.cc = bytes(cc)
    tty.type_in(b"\x03a")
    assert not ldisc.readable() and ldisc.read(10, False) == -EAGAIN
    tty.type_in(b"b")
    assert ldisc.readable() and ldisc.read(10, False) == b"\x03ab"
    cc[6] = 0
    ldisc.cc = bytes(cc)
    assert ldisc.read(10, False) == b""
