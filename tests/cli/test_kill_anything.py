"""kill -9 of each process at each stage: the others end, `state` tells the truth, `delete --force` cleans."""

import json
import os
import signal
import subprocess
import time

import pytest
from cli_helpers import needs_root, stockade_processes

pytestmark = needs_root


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def role(cli, cid, name):
    with open(os.path.join(cli.state, cid, "state.json")) as file:
        return json.load(file)["stockade"]["processes"][name][0]


def alive(cli, pid):
    return pid in stockade_processes(cli.state)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("victim", ["sentry", "gofer"])
def test_of_a_part(cli, bundle, victim, started):
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    if started:
        assert cli("start", "c").returncode == 0
    pids = [role(cli, "c", name) for name in ("sentry", "gofer")]
    os.kill(role(cli, "c", victim), signal.SIGKILL)
    wait_for(lambda: not any(alive(cli, pid) for pid in pids), f"something survived the {victim}")
    assert cli.state_of("c")["status"] == "stopped"
    refused = cli("start", "c")
    assert refused.returncode == 1
    assert cli("delete", "--force", "c").returncode == 0


def test_of_the_sentry_below_run(cli, bundle):
    process = cli.popen("run", "--bundle", bundle("sleep"), "c", stderr=subprocess.PIPE, text=True)
    cli.wait_status("c", "running")
    os.kill(cli.state_of("c")["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 137
    assert "ended unexpectedly: killed by signal 9" in errors
    assert errors.count("\n") == 1


def test_a_forbidden_system_call_of_the_sentry(cli, bundle):
    result = cli("run", "--bundle", bundle("crash"), "c")
    assert result.returncode == 1
    assert result.stderr == "stockade: container 'c': its sandbox ended during the request\n"


def test_of_run_leaves_a_container_that_can_be_deleted(cli, bundle):
    process = cli.popen("run", "--bundle", bundle("sleep"), "c")
    cli.wait_status("c", "running")
    process.kill()
    process.wait()
    assert cli("delete", "--force", "c").returncode == 0


def test_of_run_right_after_kill(real, busybox):
    """The end of the sandbox does not need its command."""
    process = real.popen("run", "--bundle", busybox("sh", "-c", "sleep 100 & while :; do true; done"), "c")
    real.wait_status("c", "running")
    process.send_signal(signal.SIGSTOP)  # else it may be quicker
    assert real("kill", "c", "KILL").returncode == 0
    process.kill()
    process.wait()
    wait_for(lambda: not stockade_processes(real.state), "the sandbox lives on")
    assert real.state_of("c")["status"] == "stopped"
    assert real("delete", "c").returncode == 0


@pytest.mark.parametrize("done", [False, True])
def test_of_pause_before_and_after_its_request(real, busybox, done):
    """Whatever it has come to, the container can be resumed."""
    assert real("create", "--bundle", busybox("sleep", "100"), "c").returncode == 0
    assert real("start", "c").returncode == 0
    if done:
        assert real("pause", "c").returncode == 0
    path = os.path.join(real.state, "c", "state.json")
    with open(path) as file:
        left = json.load(file)
    left["status"] = "paused"
    with open(path, "w") as file:
        json.dump(left, file)
    assert real("exec", "c", "true").returncode == 1
    assert real("resume", "c").returncode == 0
    assert real("exec", "c", "true").returncode == 0
    assert real("delete", "--force", "c").returncode == 0


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05])
def test_of_create_at_any_moment(cli, bundle, delay):
    before = set(stockade_processes(cli.state))
    process = cli.popen("create", "--bundle", bundle("slow"), "c")
    time.sleep(delay)
    process.kill()
    process.wait()
    created = os.path.exists(os.path.join(cli.state, "c", "state.json")) and cli.state_of("c")["status"] == "created"
    refused = cli("exec", "c", "true")
    assert refused.returncode == 1
    assert refused.stderr.startswith("stockade: ") and refused.stderr.count("\n") == 1
    if not created:
        wait_for(lambda: not set(stockade_processes(cli.state)) - before, "a half-made sandbox survived its maker")
    assert cli("delete", "--force", "c").returncode == 0


@pytest.mark.parametrize("name", ["sentry", "gofer"])
def test_of_a_part_during_create(cli, bundle, name):
    before = set(stockade_processes(cli.state))
    process = cli.popen("create", "--bundle", bundle("slow"), "c", stderr=subprocess.PIPE, text=True)
    victims = []

    def found():
        victims[:] = [pid for pid, comm in stockade_processes(cli.state).items() if comm == f"stockade-{name}" and pid not in before]
        return victims

    wait_for(found, "no process")
    os.kill(victims[0], signal.SIGKILL)
    code = process.wait(60)
    if code == 0:  # the gofer's work was done already; then the sandbox ends by itself
        assert name == "gofer"
        cli.wait_status("c", "stopped")
        assert cli("delete", "c").returncode == 0
    else:
        errors = process.stderr.read()
        assert code == 1
        assert errors.startswith("stockade: ")
        assert errors.count("\n") == 1
