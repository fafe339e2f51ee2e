"""`stockade debug` on running sandboxes: statistics, stacks, the log."""

import json
import os
import signal
import subprocess
import time

import pytest
from cli_helpers import needs_root


pytestmark = needs_root


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def test_statistics(real, busybox):
    script = "read line; i=0; while [ $i -lt 50 ]; do i=$((i+1)); chmod 700 /tmp; done; echo done; read line"
    process = real.popen("run", "--bundle", busybox("sh", "-c", script), "c", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    real.wait_status("c", "running")
    assert real("debug", "--profile", "on", "c").returncode == 0
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"done\n"
    stats = json.loads(real("debug", "--stats", "--json", "c").stdout)
    assert stats["kernel"]["platform"] == real.flags[1]
    assert stats["kernel"]["processes"] == 1
    assert stats["kernel"]["forks"] >= 50
    assert stats["calls"]["chmod"]["calls"] == 50
    assert stats["calls"]["wait4"]["waits"] > 0
    profile = stats["profile"]
    assert profile["handlers"]["chmod"]["calls"] == 50
    assert 100 < profile["handlers"]["chmod"]["mean_ns"] < 10**8
    stage = profile["stages"]["handler"]
    assert sum(stage["below_ns"].values()) == stage["count"] == sum(row["calls"] for row in profile["handlers"].values())
    text = real("debug", "--profile", "off", "--stats", "c").stdout
    assert "chmod" in text
    assert "HANDLER" not in text
    process.stdin.write(b"end\n")
    process.stdin.close()
    assert process.wait(20) == 0


@pytest.fixture
def looping(real, busybox, tmp_path):
    """A container "c" whose shell waits and whose child works; nothing is logged."""
    script = "(while :; do chmod 700 /tmp; done) & wait"
    process = real.popen("run", "--bundle", busybox("sh", "-c", script), "c", stderr=subprocess.DEVNULL)
    real.wait_status("c", "running")
    wait_for(lambda: len(json.loads(real("ps", "--format", "json", "c").stdout)) == 2)
    yield real
    real("kill", "c", "KILL")
    process.wait(20)


def test_stacks(looping):
    text = looping("debug", "--stacks", "c").stdout
    first = text.splitlines()[0]
    assert first.startswith(("1/1 sh: waits in rt_sigsuspend(", "1/1 sh: waits in wait4(")) and "busybox+0x" in text.splitlines()[1], text
    rows = json.loads(looping("debug", "--stacks", "--json", "c").stdout)["stacks"]["threads"]
    assert [(row["tid"], row["comm"]) for row in rows[:2]] == [(1, "sh"), (2, "sh")]
    assert rows[1]["state"] in ("runs guest code", "waits")


def test_the_log_is_changed_at_run_time(looping, tmp_path):
    path = tmp_path / "late.log"
    assert looping("debug", "--log-file", path, "--log-level", "info", "--strace", "on", "c").returncode == 0
    wait_for(lambda: path.read_text().count('chmod("/tmp"') > 20)
    assert "the log goes on here" in path.read_text()
    assert looping("debug", "--strace", "off", "c").returncode == 0
    time.sleep(0.2)
    size = path.stat().st_size
    time.sleep(0.3)
    assert path.stat().st_size == size
    calls = json.loads(looping("debug", "--stats", "--json", "c").stdout)["calls"]["chmod"]
    later = json.loads(looping("debug", "--stats", "--json", "c").stdout)["calls"]["chmod"]
    assert later["calls"] > calls["calls"]


def test_a_sentry_that_hangs(real, busybox, tmp_path):
    """What the host knows is shown, and its own stack is in its log afterwards."""
    log = tmp_path / "log"
    process = real.popen("--debug-log", str(log), "run", "--bundle", busybox("sleep", "100"), "c", stderr=subprocess.DEVNULL)
    real.wait_status("c", "running")
    pid = real.state_of("c")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = real("debug", "--stacks", "c")
        assert done.returncode == 1 and f"its process is {pid}" in done.stderr and "wchan" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "(most recent call first)" in log.read_text() and 'sentry/boot.py"' in log.read_text())
    assert real("exec", "c", "true").returncode == 0  # it goes on
    real("kill", "c", "KILL")
    process.wait(20)
