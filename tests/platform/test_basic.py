"""Calls, faults, fork, threads: what every platform has to carry."""

import pytest
from sentry.platform import base

SEGV, FPE, ILL, TRAP = 11, 8, 4, 5


def test_calls_return_what_the_kernel_says(mini):
    assert mini.run("loop", 100) == 7


def test_fork_copies_and_thread_shares(mini):
    parent = mini.load("forks", 20)
    mini.until(lambda: parent.aspace.pid in mini.exits)
    assert mini.exits.pop(parent.aspace.pid) == 7
    mini.until(lambda: len(mini.exits) == 20)
    assert set(mini.exits.values()) == {3}
    assert sorted(value for _, value in mini.reports) == [1] + [105 + i for i in range(20)]


@pytest.mark.parametrize(
    "kind, signo, code, address",
    [
        (1, SEGV, 1, 0x12345000),  # SEGV_MAPERR
        (2, FPE, 1, None),  # FPE_INTDIV
        (3, ILL, 2, None),  # ILL_ILLOPN
        (4, TRAP, 128, None),  # SI_KERNEL
        (5, SEGV, 128, 0),  # non-canonical: SI_KERNEL
        (6, SEGV, 128, 0),  # privileged instruction
    ],
)
def test_faults_are_events(mini, kind, signo, code, address):
    thread = mini.load("faults", kind)
    mini.until(lambda: mini.faults)
    tid, fault = mini.faults[0]
    assert tid == thread.tid
    assert fault[:2] == (signo, code)
    if address is not None:
        assert fault[2] == address


def test_fault_is_handled_and_retried(mini):
    """The kernel maps the page and lets the instruction run again."""

    def map_it(t):
        mini.faults.append(t.fault)
        t.run_ops([(base.OP_MMAP_ANON, t.fault[2] & ~4095, 4096, 3, False)])

    mini.on_fault = map_it
    thread = mini.load("faults", 1)
    mini.on_ops = lambda t: t.resume()
    mini.until(lambda: thread.aspace.pid in mini.exits)
    assert mini.exits[thread.aspace.pid] == 7
    assert len(mini.faults) == 1
