"""kill -9 of each of containerd, shim, Sentry and gofer at each step of a container's life: what is left can be removed as
usual, nothing stays behind, and the next container runs."""

import os
import signal
import subprocess
import time

import pytest
from e2e_helpers import RUNTIMES, Runner, wait_clean

pytestmark = pytest.mark.slow

VICTIMS = {"shim": "stockade-shim", "sentry": "stockade-sentry", "gofer": "stockade-gofer"}
TRAP = "trap 'sleep 0.2; exit 0' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def ctr(containerd):
    runner = Runner(containerd, RUNTIMES["stockade"])
    yield runner
    if containerd.daemon.poll() is not None:
        containerd.start()
    assert runner.run("echo", "again").stdout == "again\n"
    for cid in runner.ids:
        runner.remove(cid)
    wait_clean(containerd, 20)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return value


def find(containerd, cid, comm):
    """Host pid of a container's process of that name, 0 if there is none. Clones keep the shim's command line."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as file:
                if file.read().strip() != comm:
                    continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if cid.encode() in words and containerd.namespace.encode() in words:
            return int(name)
    return 0


def kill(containerd, cid, victim):
    if victim == "containerd":
        containerd.stop(signal.SIGKILL)
    else:
        os.kill(wait_for(lambda: find(containerd, cid, VICTIMS[victim])), signal.SIGKILL)


def recover(ctr, cid):
    """What an operator does: start containerd if it is away, remove task and container."""
    containerd = ctr.containerd
    if containerd.daemon.poll() is not None:
        containerd.start()

    def removed():
        containerd.ctr("tasks", "rm", "-f", cid, check=False)
        containerd.ctr("containers", "rm", cid, check=False)
        return cid not in containerd.ctr("containers", "ls", "-q").stdout.split() and ctr.status(cid) is None

    wait_for(removed, 30)
    wait_clean(containerd, 20)


def background(ctr, *arguments):
    return subprocess.Popen(ctr.containerd.argv(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


EVERY = [*VICTIMS, "containerd"]


@pytest.mark.parametrize("victim", EVERY)
def test_while_it_is_created(ctr, victim):
    cid = ctr.new()
    client = background(ctr, *ctr.run_argv(("-d",), cid, ("sleep", "100")))
    if victim == "containerd":
        wait_for(lambda: find(ctr.containerd, cid, VICTIMS["shim"]))
    kill(ctr.containerd, cid, victim)
    client.wait(30)
    if victim == "containerd":
        # It has not written down yet that there is a task: the shim waits for ever, as runc's does, and its directory is looked
        # at when containerd starts after the container has been removed.
        ctr.containerd.start()
        ctr.containerd.ctr("tasks", "rm", "-f", cid, check=False)
        ctr.containerd.ctr("containers", "rm", cid, check=False)
        ctr.containerd.stop()
        if shim := find(ctr.containerd, cid, VICTIMS["shim"]):
            os.kill(shim, signal.SIGKILL)
    recover(ctr, cid)


@pytest.mark.parametrize("victim", EVERY)
def test_while_it_runs(ctr, victim):
    cid = ctr.start("sleep", "100")
    kill(ctr.containerd, cid, victim)
    if victim == "containerd":
        ctr.containerd.start()
        assert ctr.status(cid) == "RUNNING"
        assert ctr.exec(cid, "echo", "x").stdout == "x\n"
    else:
        wait_for(lambda: ctr.status(cid) in ("STOPPED", None))
    recover(ctr, cid)


@pytest.mark.parametrize("victim", EVERY)
def test_while_it_executes(ctr, victim):
    cid = ctr.start("sleep", "100")
    client = background(ctr, "tasks", "exec", "--exec-id", "long", cid, "sh", "-c", "sleep 100")
    wait_for(lambda: len(ctr.containerd.ctr("tasks", "ps", cid, check=False).stdout.splitlines()) > 2)
    kill(ctr.containerd, cid, victim)
    if victim == "containerd":
        client.wait(30)  # its stream has broken
        ctr.containerd.start()
        assert ctr.status(cid) == "RUNNING"
    else:
        assert client.wait(30) != 0
    recover(ctr, cid)


@pytest.mark.parametrize("victim", EVERY)
def test_while_it_is_killed(ctr, victim):
    cid = ctr.start("sh", "-c", TRAP)
    assert ctr.exec(cid, "true").returncode == 0
    ctr.containerd.ctr("tasks", "kill", cid)
    kill(ctr.containerd, cid, victim)
    recover(ctr, cid)


@pytest.mark.parametrize("victim", ["shim", "containerd"])
def test_while_it_is_deleted(ctr, victim):
    cid = ctr.start("true")
    wait_for(lambda: ctr.status(cid) == "STOPPED")
    shim = find(ctr.containerd, cid, VICTIMS["shim"])
    client = background(ctr, "tasks", "rm", cid)
    if victim == "containerd":
        ctr.containerd.stop(signal.SIGKILL)
    else:
        try:
            os.kill(shim, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was quicker
    client.wait(30)
    recover(ctr, cid)


def test_two_delete_at_once(ctr):
    cid = ctr.start("sleep", "100")
    clients = [background(ctr, "tasks", "rm", "-f", cid) for _ in range(4)]
    for client in clients:
        client.wait(30)
    recover(ctr, cid)


def test_the_client_goes_away(ctr):
    """`ctr run` in the foreground is killed: the container goes on until somebody removes it."""
    cid = ctr.new()
    client = background(ctr, *ctr.run_argv((), cid, ("sleep", "100")))
    wait_for(lambda: ctr.status(cid) == "RUNNING")
    client.kill()
    client.wait(30)
    assert ctr.status(cid) == "RUNNING"
    recover(ctr, cid)
