"""Several containers in one sandbox, as the annotations of CRI ask for."""

import json
import os
import signal
import subprocess
import time

import pytest
from cli_helpers import needs_root, stockade_processes

pytestmark = needs_root
POD = "pod"
CONTAINERD = ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id")
CRIO = ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID")


def namespaces(config, **changes):
    """Set linux.namespaces; changes: type=path ("": a new one, None: not mentioned)."""
    wanted = {"mount": "", "pid": "", "ipc": "/proc/1/ns/ipc", "uts": "/proc/1/ns/uts", **changes}
    config["linux"]["namespaces"] = [
        {"type": kind, **({"path": path} if path else {})} for kind, path in wanted.items() if path is not None
    ]


class Pod:
    """A sandbox that sleeps, and what is done with containers in it."""

    def __init__(self, real, busybox, keys=CONTAINERD):
        self.real, self.busybox, self.keys = real, busybox, keys

    def sandbox(self, *args, change=None):
        def annotate(config):
            config["annotations"] = {self.keys[0]: "sandbox", self.keys[1]: POD}
            config["hostname"] = "the-pod"
            namespaces(config, ipc="", uts="", network="")
            if change is not None:
                change(config)

        self.create(POD, self.busybox(*(args or ("sleep", "1000")), change=annotate))
        self.ok("start", POD)

    def bundle(self, *args, change=None):
        def annotate(config):
            config["annotations"] = {self.keys[0]: "container", self.keys[1]: POD}
            namespaces(config)
            if change is not None:
                change(config)

        return self.busybox(*args, change=annotate)

    def ok(self, *arguments, **options):
        done = self.real(*arguments, **options)
        assert done.returncode == 0, (arguments, done)
        return done.stdout

    def create(self, cid, bundle, **options):
        self.ok("create", "--bundle", bundle, cid, **options)

    def start(self, cid, *args, change=None):
        """A container that runs."""
        self.create(cid, self.bundle(*args, change=change))
        self.ok("start", cid)

    def run(self, cid, *args, change=None, **options):
        """A container from its beginning to its end."""
        return self.real("run", "--bundle", self.bundle(*args, change=change), cid, **options)

    def sh(self, cid, script):
        return self.ok("exec", cid, "sh", "-c", script)

    def remove(self, *cids):
        for cid in cids:
            self.ok("delete", "--force", cid)


@pytest.fixture
def pod(real, busybox):
    pod = Pod(real, busybox)
    pod.sandbox()
    yield pod
    if POD in real("list", "--quiet").stdout.split():
        for cid in real("list", "--quiet").stdout.split():
            real("delete", "--force", cid)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def test_one_sentry(pod, nothing_left):
    pod.start("one", "sleep", "1000")
    pod.start("two", "sleep", "1000")
    names = sorted(stockade_processes(str(nothing_left)).values())
    assert names == ["stockade-gofer"] * 3 + ["stockade-sentry"]
    pids = {cid: pod.real.state_of(cid)["pid"] for cid in (POD, "one", "two")}
    assert len(set(pids.values())) == 3


@pytest.mark.parametrize("keys", [CONTAINERD, CRIO], ids=["containerd", "crio"])
def test_what_containers_share(real, busybox, tmp_path, keys):
    pod = Pod(real, busybox, keys)
    pod.sandbox()
    volume = tmp_path / "volume"
    volume.mkdir()

    def mount(config):
        config["mounts"].append({"destination": "/shared", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]})

    pod.start("server", "sh", "-c", "echo from the server >/shared/file; echo hello | nc -l -p 8080; sleep 1000", change=mount)
    done = pod.run("client", "sh", "-c", "until nc 127.0.0.1 8080; do :; done; cat /shared/file; hostname; ls /proc | grep -c '^[0-9]'; echo $$", change=mount)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["hello", "from the server", "the-pod"]
    assert done.stdout.split("\n")[-2] == "1"
    pod.remove("server", POD)


def test_files_are_not_shared(pod):
    pod.start("one", "sh", "-c", "echo mine >/mine; sleep 1000")
    until(lambda: "mine" in pod.sh("one", "cat /mine 2>/dev/null || true"))
    assert pod.run("two", "cat", "/mine").returncode == 1
    assert pod.real("exec", POD, "cat", "/mine").returncode == 1


def test_pids(pod):
    pod.start("one", "sleep", "1000")
    pod.start("two", "sh", "-c", "sleep 1001; true")
    assert json.loads(pod.ok("ps", "--format", "json", "one")) == [1]
    until(lambda: json.loads(pod.ok("ps", "--format", "json", "two")) == [1, 2])
    assert "1001" not in pod.sh("one", "ps")
    assert pod.sh("one", "readlink /proc/self/ns/pid") != pod.sh("two", "readlink /proc/self/ns/pid")
    assert pod.sh("one", "readlink /proc/self/ns/net") == pod.sh("two", "readlink /proc/self/ns/net")


def test_a_shared_pid_namespace(pod):
    sentry = pod.real.state_of(POD)["pid"]
    pod.start("one", "sleep", "1001", change=lambda c: namespaces(c, pid=f"/proc/{sentry}/ns/pid"))
    pod.start("two", "sleep", "1002", change=lambda c: namespaces(c, pid=f"/proc/{sentry}/ns/pid"))
    seen = pod.sh("two", "ps")
    assert "sleep 1000" in seen and "sleep 1001" in seen and "sleep 1002" in seen
    assert len(json.loads(pod.ok("ps", "--format", "json", "one"))) == 1
    other = pod.real.state_of("one")["pid"]
    pod.start("own", "sleep", "1003")
    target = pod.real.state_of("own")["pid"]
    assert other != target
    debug = pod.run("debug", "sh", "-c", "ps", change=lambda c: namespaces(c, pid=f"/proc/{target}/ns/pid"))
    assert "sleep 1003" in debug.stdout and "sleep 1001" not in debug.stdout
    assert "sleep 1003" in pod.sh("own", "ps")


def test_each_has_its_life(pod):
    pod.start("one", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    pod.start("two", "sleep", "1000")
    keeper = os.pidfd_open(pod.real.state_of("one")["pid"])
    pod.ok("kill", "one", "TERM")
    pod.real.wait_status("one", "stopped")
    os.close(keeper)
    assert [pod.real.state_of(cid)["status"] for cid in (POD, "two")] == ["running", "running"]
    assert pod.real("exec", "one", "true").returncode != 0
    pod.ok("delete", "one")
    pod.start("one", "sleep", "1000")  # again, in the pod that lives on
    assert pod.real.state_of("one")["status"] == "running"
    assert json.loads(pod.ok("ps", "--format", "json", "one")) == [1]


@pytest.mark.parametrize("script, code", [("exit 7", 7), ("kill -9 $$; sleep 9", 137), ("sh -c 'sleep 1000' & exit 0", 0)])
def test_exit_codes(pod, script, code):
    # pid 1 of its namespace cannot kill itself, so its child does
    script = f"sh -c '{script}'; exit $?" if "kill" in script else script
    assert pod.run("one", "sh", "-c", script).returncode == code


def test_the_keeper_ends_with_the_exit_code(pod, tmp_path):
    """conmon waits for the process of the pid file, which is its child once the command has ended."""
    script = (
        "import ctypes, os, subprocess, sys, time\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER
        "subprocess.run(sys.argv[3:] + ['create', '--pid-file', sys.argv[1], '--bundle', sys.argv[2], 'one'], check=True)\n"
        "subprocess.run(sys.argv[3:] + ['start', 'one'], check=True)\n"
        "pid = int(open(sys.argv[1]).read())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    bundle = pod.bundle("sh", "-c", "exit 9")
    argv = ["python3", "-c", script, str(tmp_path / "pid"), str(bundle), *pod.real.argv()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "9\n"


def test_pause_is_of_one_container(pod):
    count = "i=0; while :; do i=$((i+1)); echo $i >/count; done"
    pod.start("one", "sh", "-c", count)
    pod.start("two", "sh", "-c", count)

    def counted(cid):
        # the file may just be empty
        return until(lambda: pod.sh(cid, "cat /count").strip())

    counted("one"), counted("two")
    pod.ok("pause", "one")
    assert pod.real.state_of("one")["status"] == "paused"
    assert pod.real("exec", "one", "true").returncode != 0
    before = counted("two")
    assert until(lambda: counted("two") != before)
    pod.ok("resume", "one")
    before = counted("one")
    assert until(lambda: counted("one") != before)
    pod.ok("pause", "two")
    pod.ok("kill", "two", "KILL")  # what is paused dies as well
    pod.real.wait_status("two", "stopped")


def test_the_end_of_the_sandbox_ends_all(pod, nothing_left):
    pod.start("one", "sleep", "1000")
    pod.create("two", pod.bundle("sleep", "1000"))
    pod.ok("kill", POD, "KILL")
    for cid in (POD, "one", "two"):
        pod.real.wait_status(cid, "stopped")
    until(lambda: not stockade_processes(str(nothing_left)))


@pytest.mark.parametrize("victim", ["gofer", "sentry"])
def test_a_killed_process(pod, nothing_left, victim):
    pod.start("one", "sleep", "1000")
    pod.start("two", "sleep", "1000")
    pid = pod.real.state_of("one" if victim == "gofer" else POD)["pid"]
    os.kill(pid, signal.SIGKILL)
    pod.real.wait_status("one", "stopped")
    if victim == "gofer":
        assert pod.sh("two", "echo goes on") == "goes on\n"
        pod.ok("delete", "one")
        assert pod.run("one", "echo", "again").stdout == "again\n"
    else:
        pod.real.wait_status("two", "stopped")
        assert pod.real("exec", "two", "true").returncode != 0


def test_failures_leave_nothing(pod, nothing_left):
    before = stockade_processes(str(nothing_left))
    done = pod.run("one", "/no/such/program")
    assert (done.returncode, done.stderr.count("\n")) == (127, 1)
    done = pod.run("one", "true", change=lambda c: c["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "x"}))
    assert done.returncode == 1 and "nosuchfs" in done.stderr
    done = pod.run("one", "true", change=lambda c: c["annotations"].update({CONTAINERD[1]: "another"}))
    assert done.returncode == 1 and "another" in done.stderr
    done = pod.run("one", "true", change=lambda c: c["annotations"].pop(CONTAINERD[1]))
    assert done.returncode == 1 and "sandbox-id" in done.stderr
    until(lambda: stockade_processes(str(nothing_left)) == before)
    assert pod.run("one", "echo", "fine").stdout == "fine\n"
    pod.create("made", pod.bundle("true"))
    assert pod.real("create", "--bundle", pod.bundle("true"), "made").returncode == 1
    pod.ok("delete", "made")  # never started
    until(lambda: stockade_processes(str(nothing_left)) == before)


def test_many_restarts(pod, nothing_left):
    before = stockade_processes(str(nothing_left))
    sentry = pod.real.state_of(POD)["pid"]
    for _ in range(3):
        assert pod.run("one", "true").returncode == 0
    descriptors = len(os.listdir(f"/proc/{sentry}/fd"))
    for number in range(10):
        assert pod.run("one", "sh", "-c", f"echo {number} | cat; sleep 0").stdout == f"{number}\n"
    until(lambda: stockade_processes(str(nothing_left)) == before)
    until(lambda: len(os.listdir(f"/proc/{sentry}/fd")) <= descriptors + 2)


def group_of(pid, controller):
    for line in open(f"/proc/{pid}/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


@pytest.fixture
def place():
    """place("name") changes a configuration to have that cgroup, below place.top."""

    def place(name):
        return lambda config: config["linux"].update(cgroupsPath=f"{place.top}/{name}", resources={"pids": {"limit": 100}})

    place.top = f"/stockade-pod-{os.getpid()}"
    yield place
    for controller in os.listdir("/sys/fs/cgroup"):
        if os.path.isdir(f"/sys/fs/cgroup/{controller}{place.top}"):
            os.rmdir(f"/sys/fs/cgroup/{controller}{place.top}")


def test_cgroups(real, busybox, place):
    """Every host process is in the cgroup of its container."""
    pod = Pod(real, busybox)
    top = place.top

    def members():
        """{name of the cgroup: [(pid, comm, pid of the parent)]}"""
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                path = group_of(pid, "pids")
                with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/stat") as stat:
                    row = (pid, comm.read().strip(), int(stat.read().rpartition(")")[2].split()[1]))
            except OSError:
                continue
            if path and path.startswith(top):
                found.setdefault(path.removeprefix(top + "/"), []).append(row)
        return found

    pod.sandbox(change=place("sandbox"))
    before, since = members()["sandbox"], time.monotonic()
    while time.monotonic() - since < 0.5:  # until it has made processes in advance
        if (now := members()["sandbox"]) != before:
            before, since = now, time.monotonic()
        time.sleep(0.02)
    for cid in ("one", "two"):
        pod.start(cid, "sh", "-c", "while :; do sleep 0.01; (true); done", change=place(cid))
    pod.sh("one", "sleep 0.1")
    sentry = real.state_of(POD)["pid"]
    found = members()
    assert len(found["sandbox"]) == len(before)
    assert set(found) == {"sandbox", "one", "two"}
    assert (sentry, "stockade-sentry") in [row[:2] for row in found["sandbox"]]
    for name in ("one", "two"):
        assert real.state_of(name)["pid"] in [row[0] for row in found[name]]
        assert sum(parent == sentry for _, _, parent in found[name]) >= 2  # the seed and guests
    pod.remove("one")
    assert not os.path.exists(f"/sys/fs/cgroup/pids{top}/one") and os.path.exists(f"/sys/fs/cgroup/pids{top}/two")
    pod.remove("two", POD)


SERVER = """
import fcntl, os, socket, time
named, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
named.bind("/shared/socket")
abstract.bind("\\0pod")
os.mkfifo("/shared/fifo")
held = open("/shared/lock.new", "w")
fcntl.lockf(held, fcntl.LOCK_EX)
named.listen(), abstract.listen()
os.rename("/shared/lock.new", "/shared/lock")
for sock in (named, abstract):
    peer, _ = sock.accept()
    peer.sendall(b"from the server")
    peer.close()
with open("/shared/fifo", "w") as fifo:
    fifo.write("through the fifo")
time.sleep(1000)
"""
CLIENT = """
import fcntl, os, socket, time
while not os.path.exists("/shared/lock"):
    time.sleep(0.01)
for name in ("/shared/socket", "\\0pod"):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(name)
    print(sock.recv(100).decode(), int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little"))
print(open("/shared/fifo").read())
try:
    fcntl.lockf(open("/shared/lock", "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("locked")
"""


def test_what_a_shared_volume_carries(pod, tmp_path, debian_full):
    """Unix sockets, FIFOs and locks, as sidecars use them; and abstract sockets, which belong to the network."""
    volume = tmp_path / "volume"
    volume.mkdir()

    def change(config):
        config["root"]["path"] = str(debian_full)
        config["mounts"].append({"destination": "/shared", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]})

    pod.start("server", "python3", "-c", SERVER, change=change)
    done = pod.run("client", "python3", "-c", CLIENT, change=change, timeout=60)
    assert done.stdout.splitlines() == ["from the server 0", "from the server 0", "through the fifo", "locked"], done


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.05, 0.07, 0.09, 0.11, 0.14, 0.2])
def test_a_killed_create(pod, nothing_left, delay):
    """At any moment: what is left can be deleted, and the pod goes on."""
    before = stockade_processes(str(nothing_left))
    process = pod.real.popen("create", "--bundle", pod.bundle("sleep", "1000"), "one", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(delay)
    process.kill()
    process.wait()
    pod.remove("one")
    until(lambda: stockade_processes(str(nothing_left)) == before)
    assert pod.run("one", "echo", "fine").stdout == "fine\n"


def test_two_deletes_at_once(pod):
    pod.start("one", "sleep", "1000")
    running = [pod.real.popen("delete", "--force", "one", stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.wait(20) for process in running] == [0, 0, 0]
    for process in running:
        process.stderr.close()


def test_the_end_of_a_container_that_was_never_started(pod, nothing_left):
    before = stockade_processes(str(nothing_left))
    pod.create("one", pod.bundle("sleep", "1000"))
    os.kill(pod.real.state_of("one")["pid"], signal.SIGKILL)
    pod.real.wait_status("one", "stopped")
    pod.ok("delete", "one")
    pod.create("one", pod.bundle("sleep", "1000"))
    pod.ok("kill", "one", "KILL")
    pod.real.wait_status("one", "stopped")
    assert pod.real("start", "one").returncode == 1
    pod.ok("delete", "one")
    until(lambda: stockade_processes(str(nothing_left)) == before)
    assert pod.run("one", "echo", "fine").stdout == "fine\n"


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.08, 0.12])
def test_a_sentry_killed_during_a_create(pod, nothing_left, delay):
    sentry = pod.real.state_of(POD)["pid"]
    process = pod.real.popen("create", "--bundle", pod.bundle("sleep", "1000"), "one", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    time.sleep(delay)
    os.kill(sentry, signal.SIGKILL)
    done = process.wait(20)
    errors = process.stderr.read()
    process.stderr.close()
    assert (done == 0 and not errors) or (done == 1 and errors.count("\n") == 1), errors
    pod.remove("one", POD)
    until(lambda: not stockade_processes(str(nothing_left)))
