"""The CPU that the dispatcher has for itself for a while (sentry/platform/systrap_reserve.pyx)."""

import glob
import os
import subprocess
import time

import pytest

PIPELINE = "dd if=/dev/zero bs=512 count=400000 2>/dev/null | dd of=/dev/null bs=512 2>/dev/null; echo done; read -r line"


def descendants(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="ascii") as file:
            for child in map(int, file.read().split()):
                found += [child, *descendants(child)]
    return found


def cpus_of_guests(pid):
    """What each guest process may run on, as texts."""
    found = set()
    for child in descendants(pid):
        try:
            with open(f"/proc/{child}/status", encoding="ascii") as file:
                status = dict(line.split(":", 1) for line in file)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if status["Name"].strip() == "stockade-guest":
            found.add(status["Cpus_allowed_list"].strip())
    return found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) != 2, reason="the programs of the test and the dispatcher make three")
def test_guests_get_their_cpus_back(stockade, platform):
    if platform != "systrap":
        pytest.skip("ptrace's guests stop for each call")
    with open("/proc/self/status", encoding="ascii") as file:
        ours = dict(line.split(":", 1) for line in file)["Cpus_allowed_list"].strip()
    process = stockade.popen("do", "--no-tty", "--", "sh", "-c", PIPELINE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        os.set_blocking(process.stdout.fileno(), False)
        seen, end = set(), time.monotonic() + 60
        while not process.stdout.readline() and time.monotonic() < end:
            seen |= cpus_of_guests(process.pid)
        assert seen - {ours}, "they were never kept off a CPU"
        time.sleep(1)
        assert cpus_of_guests(process.pid) == {ours}
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
