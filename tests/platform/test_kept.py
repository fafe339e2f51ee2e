"""Platform.keep: descriptors that new processes have, for mappings without approval."""

import os

import pytest
from machine import DATA

from sentry.platform.base import OP_MMAP_FD, Kept

READ, WRITE = 1, 2
MANY = 130  # more than twice the places


@pytest.fixture
def machine(machine):
    if machine.platform.name != "systrap":
        assert machine.platform.keep(0) is None
        pytest.skip("systrap only")
    return machine


def memfd(number):
    fd = os.memfd_create("test")
    os.write(fd, b"%04d" % number * 2048)
    return fd


def fresh(machine):
    """An address space made from now on, not one of those kept ready."""
    for _ in range(4):
        thread = machine.aspace()
    return thread


def shows(machine, thread, kept, number, prot=READ):
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x2000, prot, False, kept, 0)) == (1, 0)
    return thread.read(DATA, 0x2000) == b"%04d" % number * 2048


def keep(machine, number):
    fd = memfd(number)
    kept = machine.platform.keep(fd)
    os.close(fd)  # it has its own
    assert type(kept) is Kept
    return kept


def test_older_and_newer_processes(machine):
    old = machine.aspace()
    kept = keep(machine, 1)
    assert shows(machine, old, kept, 1)  # by the slot
    new = fresh(machine)
    kept.used = False
    assert shows(machine, new, kept, 1) and kept.used
    kept.used = False
    assert shows(machine, old, kept, 1) and not kept.used


def test_writes_stay_private(machine):
    kept = keep(machine, 2)
    one, two = fresh(machine), fresh(machine)
    assert shows(machine, one, kept, 2, READ | WRITE)
    one.write(DATA, b"else")
    assert shows(machine, two, kept, 2) and os.pread(kept, 4, 0) == b"0002"
    child = machine.fork(one)
    assert child.read(DATA, 4) == b"else" and shows(machine, child, kept, 2) and kept.used


def test_shared_mappings_are_approved(machine):
    kept = keep(machine, 3)
    thread = fresh(machine)
    kept.used = False
    assert machine.ops(thread, (OP_MMAP_FD, DATA, 0x1000, READ | WRITE, True, kept, 0)) == (1, 0)
    thread.write(DATA, b"both")
    assert os.pread(kept, 4, 0) == b"both" and not kept.used


def test_places_change_hands(machine):
    """More files than places: each process maps what it is told to, whatever was there when it was made."""
    kept, threads = [], []
    for number in range(MANY):
        kept.append(keep(machine, number))
        if number % 10 == 0:
            threads.append(fresh(machine))
    threads.append(fresh(machine))
    assert any(one.lost for one in kept) and not kept[-1].lost
    assert len({one.place for one in kept if not one.lost}) == sum(not one.lost for one in kept)
    for thread in threads:
        for number in range(0, MANY, 3):
            assert shows(machine, thread, kept[number], number)


def test_one_in_use_stays(machine):
    kept = keep(machine, 4)
    for number in range(MANY):
        thread = machine.aspace()
        assert shows(machine, thread, kept, 4)
        kept.used = True
        keep(machine, number)
        assert not kept.lost


def test_descriptors_are_closed(machine):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(MANY):
        keep(machine, number)
    fresh(machine)
    assert len(os.listdir("/proc/self/fd")) < before + MANY - 20
