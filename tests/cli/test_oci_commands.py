"""Commands that podman, go-runc and containerd use beside the usual ones, with the real kernel."""

import json
import os
import subprocess
import time

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def running(stockade, busybox_root, tmp_path):
    """start(SCRIPT, change=function(config)) -> id of a running container; its output is in `tmp_path`/out."""
    ids = []

    def start(script, change=None, status="running"):
        cid = f"c{len(ids)}-{os.getpid()}"
        bundle = tmp_path / cid
        bundle.mkdir()
        assert stockade("spec", "--bundle", bundle).returncode == 0
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(args=["/bin/sh", "-c", script], terminal=False)
        config["root"]["path"] = busybox_root
        if change:
            change(config)
        (bundle / "config.json").write_text(json.dumps(config))
        with open(tmp_path / "out", "wb") as out:
            create = stockade.popen("create", "--bundle", bundle, cid, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            assert create.wait(60) == 0, (tmp_path / "out").read_text()
        ids.append(cid)
        if status == "running":
            assert stockade("start", cid).returncode == 0
        return cid

    yield start
    for cid in ids:
        stockade("delete", "--force", cid)


def status(stockade, cid):
    return json.loads(stockade("state", cid).stdout)["status"]


def cpu_time(pid):
    """CPU time in seconds of all processes below `pid`, itself included."""
    total = 0
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            total += sum(cpu_time(int(child)) for child in file.read().split())
    return total


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


SPIN = """
(while :; do :; done) &
(i=0; while :; do i=$((i+1)); read x < /etc/passwd; done) &
(while :; do /bin/true; done) &
while :; do date +%s%N; sleep 0.05; done
"""


def test_pause_stops_everything(stockade, running, tmp_path):
    cid = running(SPIN)
    pid = json.loads(stockade("state", cid).stdout)["pid"]
    out = tmp_path / "out"
    wait_for(lambda: out.stat().st_size > 100)
    assert stockade("pause", cid).returncode == 0
    assert status(stockade, cid) == "paused"
    time.sleep(0.3)
    before, size = cpu_time(pid), out.stat().st_size
    time.sleep(1)
    assert cpu_time(pid) - before <= 0.05
    assert out.stat().st_size == size
    refused = stockade("exec", cid, "/bin/true")
    assert refused.returncode != 0 and b"paused" in refused.stderr
    assert stockade("pause", cid).returncode != 0
    assert stockade("resume", cid).returncode == 0
    assert status(stockade, cid) == "running"
    wait_for(lambda: out.stat().st_size > size + 100)
    assert stockade("exec", cid, "/bin/true").returncode == 0


def test_exec_in_a_paused_container(stockade, running, tmp_path):
    """--ignore-paused: the program begins when the container is resumed."""
    cid = running("while :; do sleep 0.05; done")
    assert stockade("pause", cid).returncode == 0
    with open(tmp_path / "late", "wb") as out:
        waiting = stockade.popen("exec", "--ignore-paused", cid, "/bin/sh", "-c", "i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; echo done", stdout=out)
        time.sleep(0.5)
        assert waiting.poll() is None and (tmp_path / "late").read_text() == ""
        assert stockade("resume", cid).returncode == 0
        assert waiting.wait(30) == 0
    assert (tmp_path / "late").read_text() == "done\n"


def test_exec_before_the_start(stockade, running, tmp_path):
    """As with runc, programs may run in a container whose own has not begun."""
    cid = running("cat /made; ps -o pid,args | grep -c sleep", status="created")
    result = stockade("exec", cid, "/bin/sh", "-c", "echo early > /made; exit 4")
    assert (result.returncode, result.stderr) == (4, b"")
    assert status(stockade, cid) == "created"
    assert stockade("start", cid).returncode == 0
    wait_for(lambda: (tmp_path / "out").read_text().startswith("early\n"))
    other = running("sleep 1000", status="created")
    with stockade.popen("exec", other, "/bin/sleep", "1000") as waiting:
        time.sleep(0.3)
        assert stockade("delete", "--force", other).returncode == 0
        assert waiting.wait(20) != 0


def test_another_configuration_file(stockade, tmp_path, busybox_root):
    """`--config`, as crun takes it."""
    assert stockade("spec", "--bundle", tmp_path).returncode == 0
    config = json.loads((tmp_path / "config.json").read_text())
    config["root"]["path"] = str(busybox_root)
    config["process"].update(terminal=False, args=["/bin/echo", "other"])
    (tmp_path / "other.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text("{}")
    result = stockade("run", "--bundle", tmp_path, "--config", "other.json", "c1")
    assert (result.returncode, result.stdout) == (0, b"other\n"), result.stderr


def test_pause_does_not_interrupt(stockade, running, tmp_path):
    """Sleeps and reads that are under way neither fail nor begin anew."""

    def out():
        return (tmp_path / "out").read_text()

    for seconds in (1.5, 5, 20, 60):  # until the command is quicker than the sleep
        cid = running(f"mkfifo /fifo; echo begun; sleep {seconds}; echo slept; read line < /fifo; echo got $line")
        wait_for(lambda: out().startswith("begun\n"))
        assert stockade("pause", cid).returncode == 0
        if out() == "begun\n":
            break
        assert stockade("delete", "--force", cid).returncode == 0
    time.sleep(seconds)
    assert out() == "begun\n"
    assert stockade("resume", cid).returncode == 0
    wait_for(lambda: "slept" in out(), 120)
    assert stockade("pause", cid).returncode == 0
    assert stockade("resume", cid).returncode == 0
    assert stockade("exec", cid, "/bin/sh", "-c", "echo word > /fifo").returncode == 0
    wait_for(lambda: out() == "begun\nslept\ngot word\n")


@pytest.mark.parametrize("how", ["kill", "delete"])
def test_paused_container_can_be_killed(stockade, running, how):
    cid = running("while :; do :; done")
    assert stockade("pause", cid).returncode == 0
    if how == "kill":
        assert stockade("kill", cid, "KILL").returncode == 0
        wait_for(lambda: status(stockade, cid) == "stopped")
    else:
        assert stockade("delete", "--force", cid).returncode == 0
        assert stockade("state", cid).returncode != 0


def test_wait_tells_the_exit_code(stockade, running):
    cid = running("read x; exit 7", status="created")
    waiter = stockade.popen("wait", cid, stdout=subprocess.PIPE)
    time.sleep(0.2)
    assert stockade("start", cid).returncode == 0
    assert json.loads(waiter.communicate(timeout=30)[0]) == {"id": cid, "exitStatus": 7}
    assert json.loads(stockade("wait", cid).stdout) == {"id": cid, "exitStatus": 7}


@needs_root
def test_update_and_events(stockade, running):
    def limits(config):
        config["linux"]["cgroupsPath"] = f"/stockade-test-{os.getpid()}/c"
        config["linux"]["resources"] = {"memory": {"limit": 256 << 20}, "pids": {"limit": 90}}

    cid = running("while :; do :; done", limits)

    def figures():
        result = stockade("events", "--stats", cid)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    first = figures()
    assert first["type"] == "stats" and first["id"] == cid
    assert first["data"]["memory"]["usage"]["limit"] == 256 << 20
    assert first["data"]["memory"]["usage"]["usage"] > 512 << 10
    assert first["data"]["pids"]["limit"] == 90 and first["data"]["pids"]["current"] >= 3
    wait_for(lambda: figures()["data"]["cpu"]["usage"]["total"] > first["data"]["cpu"]["usage"]["total"] + 10**8)
    assert stockade("update", "--memory", "300m", "--pids-limit", "95", cid).returncode == 0
    assert figures()["data"]["memory"]["usage"]["limit"] == 300 << 20
    resources = json.dumps({"memory": {"limit": 200 << 20}, "cpu": {"shares": 512}})
    assert stockade("update", "--resources=-", cid, input=resources.encode()).returncode == 0
    assert figures()["data"]["memory"]["usage"]["limit"] == 200 << 20
    assert figures()["data"]["pids"]["limit"] == 95
    assert stockade("update", "--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-burst", "10000", cid).returncode == 0
    assert stockade("update", "--blkio-weight", "500", cid).returncode == 0  # where the kernel has none, it is said in the log
    bad = stockade("update", "--memory", "many", cid)
    assert bad.returncode == 1 and b"is not a number" in bad.stderr


def test_update_without_cgroups(stockade, running):
    cid = running("sleep 60", lambda config: config["linux"].pop("cgroupsPath", None))
    result = stockade("update", "--memory", "100m", cid)
    assert result.returncode == 1 and b"no cgroups" in result.stderr


def test_detached_exec_leaves_a_process_to_wait_for(stockade, running, tmp_path):
    """As conmon and containerd's shim do it: the process in the pid file ends with the program's exit code."""
    cid = running("sleep 60")
    process = {"args": ["/bin/sh", "-c", "trap 'exit 5' TERM; echo in; while :; do sleep 0.1; done"], "cwd": "/", "env": ["PATH=/bin"]}
    (tmp_path / "process.json").write_text(json.dumps(process))
    prctl = "import ctypes, os, subprocess, sys, time; ctypes.CDLL(None).prctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER
    prctl += "subprocess.run(sys.argv[2:], check=True)\npid = int(open(sys.argv[1]).read())\n"
    prctl += "print(pid, flush=True); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    pid_file = str(tmp_path / "pid")
    command = [*stockade.base, "exec", "--detach", "--pid-file", pid_file, "--process", str(tmp_path / "process.json"), cid]
    reaper = subprocess.Popen(["/usr/bin/python3", "-c", prctl, pid_file, *command], stdout=subprocess.PIPE, text=True)
    lines = sorted(reaper.stdout.readline() for _ in range(2))  # the program's line and the pid, whichever comes first
    assert lines[1] == "in\n"
    os.kill(int(lines[0]), 15)
    assert reaper.communicate(timeout=30)[0] == "5\n"


def test_devices_and_sysctl(stockade, running, tmp_path):
    def change(config):
        config["linux"]["devices"] = [
            {"path": "/dev/mine/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o646, "uid": 5, "gid": 6},
            {"path": "/dev/unknown", "type": "b", "major": 240, "minor": 7},
        ]
        config["linux"]["sysctl"] = {"kernel.domainname": "example.org", "no.such": "1"}

    script = "stat -c '%F %a %u:%g %t:%T' /dev/mine/null /dev/unknown; echo x > /dev/mine/null; stat -c %s /dev/mine/null;"
    cid = running(script + "read x < /dev/unknown; cat /proc/sys/kernel/domainname", change)
    stockade("wait", cid)
    text = (tmp_path / "out").read_text().splitlines()
    assert text[:3] == ["character special file 646 5:6 1:3", "block special file 666 0:0 f0:7", "0"]
    assert "No such device or address" in text[3] and text[4] == "example.org"


def test_a_missing_program_is_told_of_at_create(running, stockade, tmp_path):
    with pytest.raises(AssertionError, match="no such file or directory"):
        running("", lambda config: config["process"].update(args=["/no/such"]))
    assert stockade("list", "-q").stdout == b""
