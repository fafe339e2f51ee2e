"""The server as the other tests run it is confined by its own list, and idle when nobody asks."""

import os
import time

from gofer import seccomp_list


def status(pid, key):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith(key + ":"))


def test_the_list_is_in_force(full_tree):
    assert status(full_tree.gofer.pid, "Seccomp") == "2"
    assert status(full_tree.gofer.pid, "Threads") == "1"


def test_idle_costs_nothing(full_tree):
    def used():
        with open(f"/proc/{full_tree.gofer.pid}/stat") as file:
            return [int(field) for field in file.read().rsplit(")", 1)[1].split()[11:13]]

    full_tree.client.getattr(full_tree.root)
    while status(full_tree.gofer.pid, "State")[0] != "S":
        time.sleep(0.01)
    before = used(), status(full_tree.gofer.pid, "voluntary_ctxt_switches")
    time.sleep(0.3)
    assert (used(), status(full_tree.gofer.pid, "voluntary_ctxt_switches")) == before


def test_rows_have_reasons_and_are_not_repeated():
    seen = set()
    for call, conditions, reason in seccomp_list.ROWS:
        assert reason
        assert (call, str(conditions)) not in seen
        seen.add((call, str(conditions)))
    assert not {call for call, _, _ in seccomp_list.PROBES} & {row[0] for row in seccomp_list.ROWS}


def test_nothing_is_open_but_what_is_served(full_tree):
    """A directory for each handle and mount, the socket, and the standard descriptors that pytest had."""
    links = [
        os.readlink(f"/proc/{full_tree.gofer.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{full_tree.gofer.pid}/fd")
    ]
    assert links.count(str(full_tree.host)) == 2  # the mount and the root's handle
    assert os.readlink(f"/proc/{full_tree.gofer.pid}/cwd") == f"/proc/{full_tree.gofer.pid}/fd"
