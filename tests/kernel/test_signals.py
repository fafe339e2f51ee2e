"""Sending and delivering signals, on the fake platform (guest programs cover what a guest can see)."""

from errno import EAGAIN, EPERM, ESRCH
from struct import pack, unpack_from

import pytest
from fakeplatform import PENDING, World

from sentry.core.creds import Creds
from sentry.kernel import signals
from sentry.kernel.task import RLIMIT_SIGPENDING

SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP, SIGRTMIN = 10, 12, 15, 17, 18, 19, 34
SA_SIGINFO, SA_RESTORER, SA_RESTART = 4, 0x04000000, 0x10000000
HANDLER, RESTORER = 0x400000, 0x500000
STACK = 0x18000


@pytest.fixture
def world():
    return World()


def install(world, task, signo, flags=0, mask=0):
    action = world.memory(pack("<QQQQ", HANDLER + signo, flags | SA_RESTORER, RESTORER, mask))
    assert world.call(task, "rt_sigaction", signo, action, 0, 8) == 0
    task.thread.regs.rsp = STACK


def handlers_entered(task):
    return [what[1] - HANDLER for what in task.thread.history if what[0] == "handler"]


def test_handler_interrupts_a_read(world):
    t = world.init
    install(world, t, SIGUSR1, SA_SIGINFO)
    ends = world.memory(8)
    assert world.call(t, "pipe2", ends, 0) == 0
    fd = unpack_from("<i", t.read(ends, 4))[0]
    world.start(t, "read", fd, world.memory(16), 16)
    assert world.result(t) == PENDING
    signals.send(t.tg, SIGUSR1)
    world.turn()
    assert handlers_entered(t) == [SIGUSR1]
    regs = t.thread.regs
    assert regs.rdi == SIGUSR1
    frame = t.read(regs.rsp, 440)
    assert unpack_from("<Q", frame)[0] == RESTORER
    assert unpack_from("<q", frame, 8 + 40 + 13 * 8)[0] == -4  # rax in the frame: EINTR
    assert unpack_from("<i", t.read(regs.rsi, 4))[0] == SIGUSR1


def interrupted_call(world, flags, name, *args):
    """(rax, rip) in the frame of a handler that interrupts a blocking call made at 0x1000."""
    t = world.init
    install(world, t, SIGUSR1, flags)
    t.thread.regs.rip = 0x1002
    world.start(t, name, *args)
    assert world.result(t) == PENDING
    signals.send(t.tg, SIGUSR1)
    world.turn()
    frame = t.read(t.thread.regs.rsp, 440)
    return unpack_from("<q", frame, 8 + 40 + 13 * 8)[0], unpack_from("<Q", frame, 8 + 40 + 16 * 8)[0]


def test_restart(world):
    ends = world.memory(8)
    assert world.call(world.init, "pipe2", ends, 0) == 0
    fd = unpack_from("<i", world.init.read(ends, 4))[0]
    assert interrupted_call(world, SA_RESTART, "read", fd, world.memory(8), 8) == (0, 0x1000)


def test_pause_is_never_restarted(world):
    assert interrupted_call(world, SA_RESTART, "pause") == (-4, 0x1002)


def test_sigreturn_restores_registers_and_mask(world):
    t = world.init
    install(world, t, SIGUSR1, mask=1 << (SIGTERM - 1))
    t.thread.regs.rbx = 77
    t.thread.regs.rip = 0x2000
    world.call(t, "kill", t.tg.pid, SIGUSR1)
    assert handlers_entered(t) == [SIGUSR1]
    assert t.sigmask == 1 << (SIGTERM - 1) | 1 << (SIGUSR1 - 1)
    regs = t.thread.regs
    regs.rbx = 1
    regs.rsp += 8  # the handler's ret took the return address
    world.start(t, "rt_sigreturn")
    assert (regs.rbx, regs.rip, regs.rsp, t.sigmask) == (77, 0x2000, STACK, 0)


def test_two_pending_signals_nest(world):
    t = world.init
    for signo in (SIGUSR1, SIGUSR2):
        install(world, t, signo)
    everything = world.memory(pack("<Q", 1 << (SIGUSR1 - 1) | 1 << (SIGUSR2 - 1)))
    assert world.call(t, "rt_sigprocmask", 0, everything, 0, 8) == 0
    signals.send(t.tg, SIGUSR1)
    signals.send(t.tg, SIGUSR2)
    assert not handlers_entered(t)
    world.call(t, "rt_sigprocmask", 1, everything, 0, 8)
    # The frame of the first lies above: its handler runs when the second's returns.
    assert handlers_entered(t) == [SIGUSR2]
    second = t.read(t.thread.regs.rsp, 440)
    assert unpack_from("<Q", second, 8 + 40 + 16 * 8)[0] == HANDLER + SIGUSR1


def test_realtime_signals_queue_up_to_the_limit(world):
    t = world.init
    t.tg.rlimits[RLIMIT_SIGPENDING] = (3, 3)
    t.sigmask = (1 << 64) - 1
    info = world.memory(pack("<iiiiiIQ96x", SIGRTMIN, 0, -1, 0, t.tg.pid, 0, 5))
    results = [world.call(t, "rt_sigqueueinfo", t.tg.pid, SIGRTMIN, info) for _ in range(4)]
    assert results == [0, 0, 0, -EAGAIN]
    wanted = world.memory(pack("<Q", 1 << (SIGRTMIN - 1)))
    assert [world.call(t, "rt_sigtimedwait", wanted, 0, 0, 8) for _ in range(3)] == [SIGRTMIN] * 3
    assert not world.kernel.sig_queued


def test_permission(world):
    root = world.init
    child = world.fork(root)
    child.creds = Creds(1000, 1000, caps=0)
    assert world.call(child, "kill", root.tg.pid, SIGTERM) == -EPERM
    assert world.call(child, "kill", 4000, SIGTERM) == -ESRCH
    assert world.call(child, "kill", root.tg.pid, SIGCONT) == 0  # the same session


def test_stop_and_continue(world):
    t = world.init
    child = world.fork(t)
    status = world.memory(8)
    ends = world.memory(8)
    assert world.call(child, "pipe2", ends, 0) == 0
    child.thread.regs.rip = 0x3000
    world.start(child, "read", unpack_from("<i", child.read(ends, 4))[0], world.memory(4), 4)
    signals.send(child.tg, SIGSTOP)
    world.turn()
    assert signals.is_stopped(child.tg)
    assert world.call(t, "wait4", child.tid, status, 2, 0) == child.tid
    assert t.read(status, 4) == pack("<I", SIGSTOP << 8 | 0x7F)
    signals.send(child.tg, SIGTERM)  # waits until the process goes on …
    world.turn()
    assert not child.dead
    signals.send(child.tg, SIGCONT)
    world.turn()
    assert child.dead
    assert world.call(t, "wait4", child.tid, status, 0, 0) == child.tid
    assert t.read(status, 4) == pack("<I", SIGTERM)


def test_first_process_ignores_what_it_does_not_handle(world):
    t = world.init
    for signo in (SIGTERM, 9):
        signals.send(t.tg, signo)
    world.turn()
    assert not t.dead and not t.dying
    signals.send(t.tg, 9, force=True)
    assert t.dying


def test_another_thread_takes_what_one_blocks(world):
    t = world.init
    install(world, t, SIGUSR1)
    other = world.clone_thread(t)
    other.thread.regs.rsp = STACK + 0x8000
    t.sigmask = 1 << (SIGUSR1 - 1)
    world.start(other, "pause")
    signals.send(t.tg, SIGUSR1)
    world.turn()
    assert handlers_entered(other) == [SIGUSR1]
    assert not t.thread.interrupted
