"""The life of a container, with the stand-in kernel: every command, in order and out of order."""

import fcntl
import json
import os
import signal
import subprocess
import time

import pytest

from cli_helpers import cgroup_directories, needs_root

pytestmark = needs_root


def test_run_passes_the_exit_code(cli, bundle):
    assert cli("run", "--bundle", bundle("exit", "0"), "c").returncode == 0
    assert cli("run", "--bundle", bundle("exit", "7"), "c").returncode == 7
    assert cli("run", "--bundle", bundle("die", "15"), "c").returncode == 143


def test_run_in_the_bundle(cli, bundle):
    assert cli("run", "c", cwd=bundle("exit", "4")).returncode == 4


@pytest.mark.parametrize(("program", "code"), [("missing", 127), ("denied", 126)])
def test_a_program_that_cannot_be_executed(cli, bundle, program, code):
    result = cli("run", "--bundle", bundle(program), "c")
    assert result.returncode == code
    assert f'exec: "{program}"' in result.stderr
    assert cli("create", "--bundle", bundle(program), "c").returncode == 0
    assert cli("start", "c").returncode == code
    assert cli("delete", "--force", "c").returncode == 0


def test_input_and_output(cli, bundle):
    result = subprocess.run(
        cli.argv("run", "--bundle", bundle("cat"), "c"), input=b"over\n.\n", capture_output=True, timeout=30
    )
    assert result.stdout == b"over\n.\n"
    assert result.returncode == 0


def test_the_whole_cycle(cli, bundle, tmp_path):
    path = bundle("sleep", change=lambda config: config.update(annotations={"a": "b"}))
    pid_file = tmp_path / "pid"
    assert cli("create", "--bundle", path, "--pid-file", pid_file, "c").returncode == 0
    state = cli.state_of("c")
    assert state["status"] == "created"
    assert state["pid"] == int(pid_file.read_text())
    assert state["bundle"] == str(path)
    assert state["annotations"] == {"a": "b"}
    assert cli("start", "c").returncode == 0
    assert cli.state_of("c")["status"] == "running"
    assert cli("start", "c").returncode == 1
    assert json.loads(cli("ps", "--format", "json", "c").stdout) == [1]
    assert "sleep" in cli("ps", "c").stdout
    assert cli("exec", "c", "true").returncode == 3
    assert cli("exec", "c", "missing").returncode == 127
    refused = cli("delete", "c")
    assert refused.returncode == 1
    assert "is running" in refused.stderr
    assert cli("kill", "c", "0").returncode == 0
    assert cli("kill", "c", "TERM").returncode == 0
    cli.wait_status("c", "stopped")
    assert cli("kill", "c").returncode == 1
    assert cli("kill", "--all", "c").returncode == 0
    assert cli.state_of("c")["pid"] == 0
    assert cli("exec", "c", "true").returncode == 1
    assert cli("delete", "c").returncode == 0
    assert cli("state", "c").returncode == 1
    assert cli("delete", "c").returncode == 1
    assert cli("delete", "--force", "c").returncode == 0


def test_detached(cli, bundle):
    assert cli("run", "--detach", "--bundle", bundle("sleep"), "c").returncode == 0
    assert cli.state_of("c")["status"] == "running"
    assert cli("delete", "--force", "c").returncode == 0


def test_existing_id(cli, bundle):
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    result = cli("create", "--bundle", bundle("sleep"), "c")
    assert result.returncode == 1
    assert result.stderr == "stockade: container 'c' already exists\n"
    assert cli.state_of("c")["status"] == "created"
    assert cli("delete", "c").returncode == 0


def test_list(cli, bundle):
    assert cli("list").stdout.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert cli("list", "--format", "json").stdout == "[]\n"
    for cid in ("b", "a"):
        cli("create", "--bundle", bundle("sleep"), cid)
    assert cli("list", "-q").stdout == "a\nb\n"
    assert [view["status"] for view in json.loads(cli("list", "-f", "json").stdout)] == ["created", "created"]
    for cid in ("b", "a"):
        cli("delete", cid)


def test_a_lock_that_is_held_does_not_stop_list_and_state(cli, bundle):
    cli("create", "--bundle", bundle("sleep"), "c")
    fd = os.open(os.path.join(cli.state, "c"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert [view["status"] for view in json.loads(cli("list", "-f", "json").stdout)] == ["created"]
        assert cli.state_of("c")["status"] == "created"
    finally:
        os.close(fd)
    assert cli("delete", "--force", "c").returncode == 0


def test_a_failure_inside_is_told_and_undone(cli, bundle):
    result = cli("run", "--bundle", bundle("late"), "c")
    assert result.returncode == 3
    assert "asked to fail" in result.stderr


def test_signals_are_passed_on(cli, bundle):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        process = cli.popen("run", "--bundle", bundle("sleep"), "c")
        cli.wait_status("c", "running")
        process.send_signal(number)
        assert process.wait(10) == 128 + number


def test_a_pid_file_that_cannot_be_written(cli, bundle):
    result = cli("run", "--bundle", bundle("exit", "0"), "--pid-file", "/no/such/place", "c")
    assert result.returncode == 1
    assert "pid file" in result.stderr


def test_preserved_descriptors(cli, bundle, tmp_path):
    result = cli("run", "--bundle", bundle("exit", "0"), "--preserve-fds", "1", "c", close_fds=True)
    assert result.returncode == 1
    assert "descriptor 3 is not open" in result.stderr


def test_cgroups_are_made_entered_and_removed(cli, bundle):
    def change(config):
        config["linux"] = {"cgroupsPath": "/stockade-test/c", "resources": {"pids": {"limit": 100}}}

    if not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("cgroups are not writable")
    assert cli("create", "--bundle", bundle("sleep", change=change), "c").returncode == 0
    pid = cli.state_of("c")["pid"]
    with open(f"/proc/{pid}/cgroup") as file:
        text = file.read()
    assert cli("delete", "c").returncode == 0
    assert "/stockade-test/c" in text
    assert not any("stockade-test" in directory for directory in cgroup_directories())


def test_two_creates_of_one_id_at_once(cli, bundle):
    path = bundle("sleep")
    both = [cli.popen("create", "--bundle", path, "c", stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(process.wait(20) for process in both) == [0, 1, 1, 1]
    assert cli("delete", "c").returncode == 0


def test_many_at_once(cli, bundle):
    path = bundle("sleep")
    started = time.monotonic()
    many = [cli.popen("create", "--bundle", path, f"c{i}") for i in range(8)]
    assert [process.wait(30) for process in many] == [0] * 8
    assert time.monotonic() - started < 20
    assert cli("list", "-q").stdout.split() == [f"c{i}" for i in range(8)]
    for i in range(8):
        assert cli("delete", f"c{i}").returncode == 0


def test_debug_stats(cli, bundle):
    assert cli("run", "--detach", "--bundle", bundle("sleep"), "c").returncode == 0
    stats = json.loads(cli("debug", "--stats", "--json", "c").stdout)
    assert stats["calls"]["getpid"] == {"calls": 20, "fast": 0, "waits": 0}
    assert stats["profile"] is None
    lines = [line.split() for line in cli("debug", "--stats", "c").stdout.splitlines()]
    assert ["uptime:", "2.5", "s"] in lines
    assert ["all", "23", "2", "1"] in lines
    assert ["no", "room:", "1"] in lines
    assert not any("profile:" in line for line in lines)
    assert cli("debug", "--profile", "on", "c").stdout == ""
    text = cli("debug", "--stats", "c").stdout
    assert "handler: 2 times, mean 1.5 us, together 3 us" in text
    assert ["read", "2", "1.5", "us", "3", "us"] in [line.split() for line in text.splitlines()]
    assert json.loads(cli("debug", "--profile", "off", "--stats", "--json", "c").stdout)["profile"] is None
    assert cli("kill", "c", "KILL").returncode == 0
    cli.wait_status("c", "stopped")
    assert cli("debug", "--stats", "c").returncode == 1
    assert cli("delete", "c").returncode == 0
    assert "does not exist" in cli("debug", "--stats", "c").stderr


def test_run_keep(cli, bundle):
    assert cli("run", "--keep", "--bundle", bundle("exit", "5"), "kept").returncode == 5
    assert cli.state_of("kept")["status"] == "stopped"
    assert cli("delete", "kept").returncode == 0


def test_debug_stacks_and_log(cli, bundle, tmp_path):
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    lines = cli("debug", "--stacks", "c").stdout.splitlines()
    assert lines == ["1/1 sh: waits in read(0x0), ReadWait", "    /bin/sh+0x1", "2/2 x: runs guest code", "and 3 more threads"]
    assert json.loads(cli("debug", "--stacks", "--json", "c").stdout)["stacks"]["more"] == 3
    assert cli("debug", "--log-file", tmp_path / "log", "c").returncode == 0
    assert (tmp_path / "log").read_text() == "log\n"
    assert "No such file" in cli("debug", "--log-file", tmp_path / "no" / "log", "c").stderr
    assert cli("delete", "--force", "c").returncode == 0
