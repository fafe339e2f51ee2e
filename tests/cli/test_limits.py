"""Limits of linux.resources: what the host enforces, and what programs inside see of them to size themselves."""

import json
import os
import re
import subprocess

import pytest
from support import rootfs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
FORKS = """
import os, signal
children = []
try:
    while len(children) < 500:
        pid = os.fork()
        if not pid:
            signal.pause()
        children.append(pid)
except OSError as error:
    print(len(children), error.strerror)
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""


@pytest.fixture
def cgroup():
    path = f"/stockade-test-{os.getpid()}"
    yield path
    for top in os.listdir("/sys/fs/cgroup"):
        assert not os.path.isdir(f"/sys/fs/cgroup/{top}{path}/c")
        if os.path.isdir(f"/sys/fs/cgroup/{top}{path}"):
            os.rmdir(f"/sys/fs/cgroup/{top}{path}")


@pytest.fixture
def bundle(tmp_path, cgroup):
    """bundle(resources, args…, root=…, annotations=…): path."""

    def make(resources, *args, root="debian-full", annotations=None):
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "cwd": "/"},
            "root": {"path": str(rootfs(root))},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            ],
            "annotations": annotations or {},
            "linux": {"cgroupsPath": f"{cgroup}/c", "resources": resources,
                      "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
        }  # fmt: skip
        path = tmp_path / "bundle"
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text(json.dumps(config))
        return str(path)

    return make


@pytest.fixture
def run(stockade, bundle):
    """run(resources, args…): the text that the program wrote."""

    def call(resources, *args, code=0, **options):
        done = stockade("run", "--bundle", bundle(resources, *args, **options), "limits", timeout=120)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout.decode()

    return call


@pytest.fixture
def start(stockade, bundle):
    """start(resources, args…): a detached container "limits"."""

    def call(resources, *args):
        argv = ("run", "--detach", "--bundle", bundle(resources, *args), "limits")
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        assert stockade.popen(*argv, **quiet).wait(60) == 0

    yield call
    assert stockade("delete", "--force", "limits").returncode == 0


def test_what_shell_tools_see(run):
    limits = {"memory": {"limit": 200 * MIB, "swap": 200 * MIB}, "cpu": {"quota": 50000, "period": 100000, "shares": 512}, "pids": {"limit": 30}}
    script = """nproc; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; grep -c '^cpu[0-9]' /proc/stat
        cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpu.weight memory.swap.max cgroup.procs; cat memory.current pids.current
        free -m; cat /proc/self/cgroup; grep cgroup /proc/self/mountinfo; stat -fc %T ."""
    lines = run(limits, "sh", "-c", script).splitlines()
    assert lines[0] == lines[1] == lines[3] == "1" and re.fullmatch(r"\d+", lines[2])
    assert lines[4:9] == [str(200 * MIB), "50000 100000", "30", "20", "0"]
    assert lines[9] == "1"
    current = lines.index("0::/") - 5
    assert 0 < int(lines[current]) < 200 * MIB and 1 <= int(lines[current + 1]) < 5
    memory = lines[current + 3].split()
    assert memory[:2] == ["Mem:", "200"] and int(memory[3]) > 100
    assert " - cgroup2 cgroup " in lines[-2] and lines[-1] == "cgroup2fs"


def test_without_limits_the_machine_is_seen(run):
    script = "cat /sys/fs/cgroup/{memory,pids,cpu}.max; nproc; grep MemTotal /proc/meminfo"
    lines = run({}, "bash", "-c", script).splitlines()
    assert lines[:3] == ["max", "max", "max 100000"]
    assert int(lines[3]) == len(os.sched_getaffinity(0))
    with open("/proc/meminfo") as file:
        assert lines[4].split() == file.readline().split()


def test_cpuset(run):
    last = max(os.sched_getaffinity(0))
    script = "nproc; cat /sys/devices/system/cpu/online /sys/fs/cgroup/cpuset.cpus.effective; taskset -p $$; grep Cpus_allowed_list /proc/self/status"
    lines = run({"cpu": {"cpus": str(last)}}, "sh", "-c", script).splitlines()
    assert lines[:3] == ["1", str(last), str(last)]
    assert lines[3].endswith(f" {1 << last:x}") and lines[4].split()[1] == str(last)


def test_what_language_runtimes_see(run):
    limits = {"memory": {"limit": 512 * MIB}, "cpu": {"quota": 100000, "period": 100000}}
    python = "import os; print(os.cpu_count(), len(os.sched_getaffinity(0)), os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))"
    assert run(limits, "python3", "-c", python).split() == ["1", "1", str(512 * MIB)]
    node = "const os = require('os'); console.log(os.cpus().length, os.totalmem())"
    assert run(limits, "node", "-e", node).split() == ["1", str(512 * MIB)]
    java = run(limits, "sh", "-c", "java -XshowSettings:system -version 2>&1")
    assert "Provider: cgroupv2" in java and "Effective CPU Count: 1" in java and "CPU Quota: 100000us" in java, java
    heap = run(limits, "sh", "-c", "java -XX:+PrintFlagsFinal -version 2>/dev/null | grep -w MaxHeapSize")
    assert int(heap.split()[3]) == 128 * MIB  # a quarter of the memory


def test_memory_ends_the_process_that_wants_too_much(run):
    script = """python3 -c 'x = bytearray(400 << 20)'; echo code $?; grep -w oom_kill /sys/fs/cgroup/memory.events; echo still here"""
    assert run({"memory": {"limit": 150 * MIB, "swap": 150 * MIB}}, "bash", "-c", script).splitlines() == ["code 137", "oom_kill 1", "still here"]


def test_memory_of_the_first_program(run):
    run({"memory": {"limit": 150 * MIB, "swap": 150 * MIB}}, "python3", "-c", "x = bytearray(400 << 20)", code=137)


def test_memory_of_tmpfs_counts(run):
    """Files in memory are the Sentry's, or memfds of it: the container does not get beyond its limit either way."""
    script = "head -c 300M /dev/zero >/dev/shm/x; echo $?; ls -s --block-size=1 /dev/shm/x | cut -d' ' -f1"
    code, size = run({"memory": {"limit": 150 * MIB, "swap": 150 * MIB}}, "bash", "-c", script).split()
    assert code == "1" and int(size) <= 75 * MIB  # half of the memory, as on a machine of that size


def test_number_of_processes(run):
    count, _, text = run({"pids": {"limit": 20}}, "python3", "-c", FORKS).strip().partition(" ")
    assert (count, text) == ("19", "Resource temporarily unavailable")


def test_cpu_quota_is_enforced(run):
    script = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(open('/sys/fs/cgroup/cpu.stat').read())"
    table = dict(line.split() for line in run({"cpu": {"quota": 20000, "period": 100000}}, "python3", "-c", script).splitlines() if line)
    assert int(table["nr_throttled"]) > 3 and int(table["throttled_usec"]) > 20000
    assert int(table["usage_usec"]) < 1200000


def test_update_is_seen_at_once(stockade, start, cgroup):
    start({"memory": {"limit": 100 * MIB}}, "sleep", "100")
    done = stockade("update", "--memory", "300m", "--memory-swap", "300m", "--pids-limit", "77", "--cpu-quota", "30000", "limits")
    assert done.returncode == 0, done.stderr
    done = stockade("exec", "limits", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max; nproc; grep MemTotal /proc/meminfo")
    assert done.stdout.decode().split("\n")[:5] == [str(300 * MIB), "77", "30000 100000", "1", f"MemTotal:         {300 << 10} kB"]
    top = f"/sys/fs/cgroup/memory{cgroup}/c/memory.limit_in_bytes"
    if os.path.exists(top):
        with open(top) as file:
            assert int(file.read()) == 300 * MIB


def test_limits_of_a_pod(run):
    """CRI's annotations on the container that a pod begins with: all run in its sandbox."""
    pod = "io.kubernetes.cri.sandbox-"
    annotations = {"io.kubernetes.cri.container-type": "sandbox", f"{pod}cpu-quota": "50000", f"{pod}cpu-period": "100000",
                   f"{pod}cpu-shares": "512", f"{pod}memory": str(256 * MIB)}  # fmt: skip
    script = "nproc; grep MemTotal /proc/meminfo; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max; python3 -c 'x = bytearray(400 << 20)'; echo $?"
    lines = run({"cpu": {"shares": 2}}, "sh", "-c", script, annotations=annotations).splitlines()
    assert lines == ["1", f"MemTotal:         {256 << 10} kB", "max", "max 100000", "137"]


def test_statistics(stockade, start):
    start({"memory": {"limit": 100 * MIB}, "pids": {"limit": 50}}, "python3", "-c", "x = bytearray(30 << 20)\nwhile 1: pass")
    first = json.loads(stockade("events", "--stats", "limits").stdout)["data"]
    while True:
        data = json.loads(stockade("events", "--stats", "limits").stdout)["data"]
        if data["cpu"]["usage"]["total"] > first["cpu"]["usage"]["total"] + 10**8 and data["memory"]["usage"]["usage"] > 30 * MIB:
            break
    assert data["memory"]["usage"]["limit"] == 100 * MIB
    assert data["pids"]["current"] >= 1 and data["pids"]["limit"] == 50
