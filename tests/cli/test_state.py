"""The lock of a state directory."""

import os
import threading
import time

import pytest

from sandbox import state
from sandbox.errors import CliError


def waits_for_a_lock():
    """Does a thread of this process wait in flock (proc_locks(5))?"""
    with open("/proc/locks") as file:
        return any(fields[1] == "->" and int(fields[5]) == os.getpid() for fields in map(str.split, file))


def waiter(root):
    """A thread that opens container "c", waits for its lock, and puts down what comes of it."""
    found = []

    def run():
        try:
            found.append(state.Container.open(root, "c"))
        except CliError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not waits_for_a_lock():
        time.sleep(0.001)
    return thread, found


def test_a_container_that_is_made_anew_while_one_waits(tmp_path):
    root = str(tmp_path)
    first = state.Container.new(root, "c", "/first", {})
    thread, found = waiter(root)
    os.unlink(tmp_path / "c" / "state.json")
    os.rmdir(tmp_path / "c")
    second = state.Container.new(root, "c", "/second", {})
    first.close()
    while not waits_for_a_lock():
        assert not found, "it has the lock of what was removed"
    second.close()
    thread.join()
    assert found[0].data["bundle"] == "/second"
    with pytest.raises(CliError):
        state.Container.open(root, "c", wait=False)
    found[0].remove()


def test_a_container_that_is_removed_while_one_waits(tmp_path):
    first = state.Container.new(str(tmp_path), "c", "/first", {})
    thread, found = waiter(str(tmp_path))
    first.remove()
    thread.join()
    assert str(found[0]) == "container 'c' does not exist"
