"""Pods by the container runtime interface of Debian's containerd, as kubelet drives it: each test runs with stockade and runc."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from glob import glob

import cri_client
import pytest
from e2e_helpers import IMAGE, leftovers, wait_clean

pytestmark = pytest.mark.slow
NSEC = 10**9


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    return cri_client.messages(tmp_path_factory.mktemp("messages"))


class Kubelet:
    """What kubelet does for a pod. The pod's configuration is `self.config`."""

    def __init__(self, containerd, pb, handler, top):
        self.containerd, self.pb, self.handler, self.top = containerd, pb, handler, top
        self.cri = cri_client.Client(pb, containerd.socket)
        self.pods = []
        self.parent = f"/stockade-cri-{os.getpid()}"

    def pod(self, shared_pids=False, network=True):
        """Run a pod's sandbox; its id."""
        uid = str(uuid.uuid4())
        pb = self.pb
        logs = self.top / f"logs-{uid}"
        logs.mkdir()
        options = pb.NamespaceOption(network=pb.POD, pid=pb.POD if shared_pids else pb.CONTAINER, ipc=pb.POD)
        self.options = options
        self.logs = logs
        self.config = pb.PodConfig(
            metadata=pb.PodMetadata(name=f"pod-{uid[:8]}", uid=uid, namespace="default"), hostname="a-pod", log_directory=str(logs),
            linux=pb.PodLinux(cgroup_parent=self.parent, security_context=pb.SandboxSecurity(namespace_options=options)),
        )  # fmt: skip
        self.sandbox = self.cri.RunPodSandbox(config=self.config, runtime_handler=self.handler).pod_sandbox_id
        self.pods.append(self.sandbox)
        return self.sandbox

    def create(self, name, *command, attempt=0, mounts=(), memory=0, target="", **fields):
        """target: the container whose PID namespace it joins, as `kubectl debug` asks for."""
        pb = self.pb
        options = pb.NamespaceOption(pid=pb.TARGET, target_id=target) if target else self.options
        resources = pb.Resources(cpu_period=100000, cpu_shares=102, memory_limit_in_bytes=memory, oom_score_adj=1000)
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name, attempt=attempt), image=pb.Image(image=IMAGE), command=command,
            log_path=f"{name}_{attempt}.log", mounts=[pb.Mount(**mount) for mount in mounts],
            linux=pb.ContainerLinux(resources=resources, security_context=pb.ContainerSecurity(namespace_options=options)), **fields,
        )  # fmt: skip
        return self.cri.CreateContainer(pod_sandbox_id=self.sandbox, config=config, sandbox_config=self.config).container_id

    def start(self, name, *command, **fields):
        cid = self.create(name, *command, **fields)
        self.cri.StartContainer(container_id=cid)
        return cid

    def status(self, cid):
        return self.cri.ContainerStatus(container_id=cid).status

    def ended(self, cid):
        """Its status, once it has ended."""

        def look():
            status = self.status(cid)
            return status if status.state == self.pb.EXITED else None

        return wait_for(look)

    def sh(self, cid, script):
        done = self.cri.ExecSync(container_id=cid, cmd=["sh", "-c", script], timeout=20)
        assert done.exit_code == 0, done
        return done.stdout.decode()

    def log(self, name, attempt=0):
        """The lines of a log: (time, stream, tag, text)."""
        lines = (self.logs / f"{name}_{attempt}.log").read_text().splitlines()
        return [tuple(line.split(" ", 3)) for line in lines]

    def remove(self, pod):
        self.pods.remove(pod)
        self.cri.StopPodSandbox(pod_sandbox_id=pod)
        self.cri.RemovePodSandbox(pod_sandbox_id=pod)


@pytest.fixture(params=["stockade", "runc"])
def kubelet(request, kubernetes, messages, tmp_path):
    kubelet = Kubelet(kubernetes, messages, request.param, tmp_path)
    yield kubelet
    for pod in tuple(kubelet.pods):
        kubelet.remove(pod)
    for controller in os.listdir("/sys/fs/cgroup"):
        if os.path.isdir(f"/sys/fs/cgroup/{controller}{kubelet.parent}"):
            wait_for(lambda path=f"/sys/fs/cgroup/{controller}{kubelet.parent}": works(lambda: os.rmdir(path)))
    wait_clean(kubernetes)


def test_a_pod(kubelet, tmp_path):
    """An init container, then two containers that see each other on localhost and by a shared volume."""
    volume = tmp_path / "volume"
    volume.mkdir()
    mounts = [{"container_path": "/shared", "host_path": str(volume)}]
    kubelet.pod()
    init = kubelet.start("init", "sh", "-c", "echo prepared >/shared/file", mounts=mounts)
    status = kubelet.ended(init)
    assert (status.exit_code, status.reason) == (0, "Completed")
    assert status.created_at <= status.started_at and status.created_at <= status.finished_at <= time.time_ns()
    server = kubelet.start("server", "sh", "-c", "while :; do cat /shared/file | nc -l -p 8080; done", mounts=mounts)
    client = kubelet.start("client", "sleep", "1000", mounts=mounts)
    assert kubelet.sh(client, "until nc 127.0.0.1 8080; do :; done") == "prepared\n"
    kubelet.sh(client, "echo changed >/shared/file")
    assert wait_for(lambda: "changed" in kubelet.sh(client, "nc 127.0.0.1 8080 || true"))
    assert kubelet.sh(server, "hostname") == "a-pod\n"
    assert (kubelet.sh(client, "cat /proc/1/comm"), kubelet.sh(server, "cat /proc/1/comm")) == ("sleep\n", "sh\n")
    assert "8080" not in kubelet.sh(client, "ps")
    ip = kubelet.cri.PodSandboxStatus(pod_sandbox_id=kubelet.sandbox).status.network.ip
    assert ip in kubelet.sh(client, "ip addr")
    with socket.create_connection((ip, 8080), timeout=20) as sock:
        assert sock.recv(100) == b"changed\n"
    if kubelet.handler == "stockade":
        names = [name for name in os.listdir("/proc") if name.isdigit() and comm(name) == "stockade-sentry" and kubelet.sandbox in cgroup(name)]
        assert len(names) == 1


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def cgroup(pid):
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            return file.read()
    except OSError:
        return ""


def test_shared_pid_namespace(kubelet):
    kubelet.pod(shared_pids=True)
    kubelet.start("one", "sleep", "1001")
    two = kubelet.start("two", "sleep", "1002")
    seen = kubelet.sh(two, "ps")
    assert "sleep 1001" in seen and "sleep 1002" in seen and "sleep 1000000" in seen


def test_debug_container(kubelet):
    kubelet.pod()
    kubelet.start("other", "sleep", "1001")
    target = kubelet.start("target", "sleep", "1002")
    debug = kubelet.start("debug", "sleep", "1003", target=target)
    seen = kubelet.sh(debug, "ps")
    assert "sleep 1002" in seen and "sleep 1003" in seen and "sleep 1001" not in seen
    assert kubelet.cri.ExecSync(container_id=debug, cmd=["kill", "-9", "1"], timeout=10).exit_code == 0  # which it cannot die of
    assert kubelet.status(target).state == kubelet.pb.RUNNING


def test_exec_sync(kubelet):
    kubelet.pod()
    cid = kubelet.start("one", "sleep", "1000")
    done = kubelet.cri.ExecSync(container_id=cid, cmd=["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10)
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    with pytest.raises(Exception, match="no such file"):
        kubelet.cri.ExecSync(container_id=cid, cmd=["/no/such/program"], timeout=10)
    begin = time.monotonic()
    with pytest.raises(Exception, match="(?i)deadline|timed out"):
        kubelet.cri.ExecSync(container_id=cid, cmd=["sleep", "100"], timeout=1)
    assert time.monotonic() - begin < 15
    assert "100" not in kubelet.sh(cid, "ps | grep 'sleep 100$' || true")


def test_exec_stream(kubelet):
    kubelet.pod()
    cid = kubelet.start("one", "sleep", "1000")
    url = kubelet.cri.Exec(container_id=cid, cmd=["sh", "-c", "read line; echo got $line; echo err >&2; exit 4"], stdin=True, stdout=True, stderr=True).url
    stream = cri_client.Stream(url)
    stream.send(cri_client.STDIN, b"hello\n")
    got = stream.all()
    assert got[cri_client.STDOUT] == b"got hello\n" and got[cri_client.STDERR] == b"err\n"
    assert b'"exitcode"' in got[cri_client.ERROR].lower() and b'"4"' in got[cri_client.ERROR]


def test_exec_with_a_terminal(kubelet):
    kubelet.pod()
    cid = kubelet.start("one", "sleep", "1000")
    url = kubelet.cri.Exec(container_id=cid, cmd=["sh"], tty=True, stdin=True, stdout=True).url
    stream = cri_client.Stream(url)
    stream.send(cri_client.RESIZE, b'{"Width": 91, "Height": 37}')
    stream.send(cri_client.STDIN, b"until stty size | grep '37 9[1]'; do sleep 0.1; done\n")  # (its echo does not look like that)
    stream.until(cri_client.STDOUT, b"37 91")
    stream.send(cri_client.STDIN, b"exit\n")
    assert b"Success" in stream.all()[cri_client.ERROR]


def test_attach(kubelet):
    kubelet.pod()
    cid = kubelet.start("one", "sh", "-c", "while read line; do echo got $line; done; echo end", stdin=True)
    stream = cri_client.Stream(kubelet.cri.Attach(container_id=cid, stdin=True, stdout=True, stderr=True).url)
    time.sleep(1)  # until the output is attached as well
    stream.send(cri_client.STDIN, b"one\ntwo\n")
    assert stream.until(cri_client.STDOUT, b"got two\n").endswith(b"got one\ngot two\n")
    stream.close()
    again = cri_client.Stream(kubelet.cri.Attach(container_id=cid, stdin=True, stdout=True, stderr=True).url)
    time.sleep(1)
    again.send(cri_client.STDIN, b"three\n")
    again.until(cri_client.STDOUT, b"got three\n")
    again.close()
    assert [row[3] for row in kubelet.log("one")] == ["got one", "got two", "got three"]


def test_logs(kubelet):
    kubelet.pod()
    cid = kubelet.start("one", "sh", "-c", "echo out; echo err >&2; printf part; sleep 1; echo; sleep 1000")
    lines = wait_for(lambda: len(kubelet.log("one")) >= 3 and kubelet.log("one"))
    for when, stream, tag, _ in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)", when) and stream in ("stdout", "stderr") and tag in "FP"
    assert sorted(row[1:] for row in lines) == [("stderr", "F", "err"), ("stdout", "F", "out"), ("stdout", "F", "part")]
    os.rename(kubelet.logs / "one_0.log", kubelet.logs / "old")
    kubelet.cri.ReopenContainerLog(container_id=cid)
    assert kubelet.log("one") == []


def test_port_forward(kubelet):
    kubelet.pod()
    web = kubelet.start("web", "sh", "-c", "while :; do (read line; echo you said $line) | nc -l -p 8081 -e sh -c 'read line; echo you said $line'; done")
    kubelet.sh(web, "until netstat -ltn | grep -q :8081; do sleep 0.1; done")
    url = kubelet.cri.PortForward(pod_sandbox_id=kubelet.sandbox, port=[8081]).url
    stream = cri_client.Stream(url)
    assert stream.receive() == (0, (8081).to_bytes(2, "little"))
    stream.send(0, b"hello\n")
    assert stream.until(0, b"you said hello\n")
    stream.close()


def test_stats_and_limits(kubelet):
    kubelet.pod()
    cid = kubelet.start("busy", "sh", "-c", "while :; do :; done", memory=256 << 20)
    quiet = kubelet.start("quiet", "sleep", "1000")
    wait_for(lambda: kubelet.cri.ContainerStats(container_id=cid).stats.cpu.usage_core_nano_seconds.value > NSEC // 2, 60)
    before = kubelet.cri.ContainerStats(container_id=cid).stats
    idle = kubelet.cri.ContainerStats(container_id=quiet).stats
    assert before.cpu.usage_core_nano_seconds.value > NSEC // 2 > idle.cpu.usage_core_nano_seconds.value
    assert before.memory.working_set_bytes.value > 0
    kubelet.cri.UpdateContainerResources(container_id=cid, linux=kubelet.pb.Resources(cpu_period=100000, cpu_quota=10000, memory_limit_in_bytes=128 << 20))
    path = next(line.rstrip("\n").split(":")[2] for line in cgroup_lines(kubelet, cid) if ":memory:" in line or line.startswith("0::/"))
    assert path.endswith(cid)
    one = kubelet.cri.ContainerStats(container_id=cid).stats.cpu.usage_core_nano_seconds.value
    time.sleep(2)
    two = kubelet.cri.ContainerStats(container_id=cid).stats.cpu.usage_core_nano_seconds.value
    assert two - one < NSEC  # a tenth of a CPU, and not all of one
    assert limit_of(path, "memory", "memory.limit_in_bytes", "memory.max") == 128 << 20


def cgroup_lines(kubelet, cid):
    """/proc/PID/cgroup of a process of the container."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        text = cgroup(pid)
        if cid in text:
            return [line for line in text.splitlines(keepends=True) if cid in line]
    raise AssertionError("no process is in the container's cgroup")


def limit_of(path, controller, first, unified):
    for file in (f"/sys/fs/cgroup/{controller}{path}/{first}", f"/sys/fs/cgroup{path}/{unified}"):
        if os.path.exists(file):
            with open(file) as opened:
                return int(opened.read())
    raise AssertionError(path)


def test_out_of_memory(kubelet):
    kubelet.pod()
    survivor = kubelet.start("survivor", "sleep", "1000")
    cid = kubelet.start("eater", "sh", "-c", "tail /dev/zero", memory=48 << 20)
    status = kubelet.ended(cid)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    assert kubelet.status(survivor).state == kubelet.pb.RUNNING
    assert kubelet.sh(survivor, "echo fine") == "fine\n"


def test_restart_of_a_container(kubelet):
    kubelet.pod()
    other = kubelet.start("other", "sleep", "1000")
    for attempt in range(3):
        cid = kubelet.start("crashing", "sh", "-c", f"exit {attempt + 1}", attempt=attempt)
        status = kubelet.ended(cid)
        assert (status.exit_code, status.reason) == (attempt + 1, "Error")
        kubelet.cri.RemoveContainer(container_id=cid)
    cid = kubelet.start("crashing", "sleep", "1000", attempt=3)
    assert kubelet.sh(cid, "echo again") == "again\n"
    assert kubelet.sh(other, "echo fine") == "fine\n"


def test_stop(kubelet):
    kubelet.pod()
    polite = kubelet.start("polite", "sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    stubborn = kubelet.start("stubborn", "sleep", "1000")
    wait_for(lambda: kubelet.log("polite"))
    kubelet.cri.StopContainer(container_id=polite, timeout=30)
    assert kubelet.ended(polite).exit_code == 5
    assert kubelet.log("polite")[-1][3] == "bye"
    begin = time.monotonic()
    kubelet.cri.StopContainer(container_id=stubborn, timeout=1)
    assert time.monotonic() - begin < 25
    assert kubelet.ended(stubborn).exit_code == 137


def test_a_missing_program(kubelet):
    kubelet.pod()
    cid = None
    with pytest.raises(Exception, match="no such file"):
        cid = kubelet.create("one", "/no/such/program")
        kubelet.cri.StartContainer(container_id=cid)
    two = kubelet.start("two", "sleep", "1000")
    assert kubelet.sh(two, "echo fine") == "fine\n"


def test_mounts_as_kubelet_makes_them(kubelet, tmp_path):
    """Host paths, a tmpfs (emptyDir with medium Memory), a file (hosts), read-only, and one that comes later (propagation)."""
    host = tmp_path / "host"
    memory = tmp_path / "memory"
    for directory in (host, memory):
        directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(memory)], check=True)
    subprocess.run(["mount", "--bind", str(host), str(host)], check=True)
    subprocess.run(["mount", "--make-rshared", str(host)], check=True)
    try:
        (host / "sub").mkdir()
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n10.0.0.1 kubelet-wrote-this\n")
        mounts = [
            {"container_path": "/memory", "host_path": str(memory)},
            {"container_path": "/etc/hosts", "host_path": str(tmp_path / "hosts")},
            {"container_path": "/readonly", "host_path": str(memory), "readonly": True},
            {"container_path": "/host", "host_path": str(host), "propagation": kubelet.pb.HOST_TO_CONTAINER},
            {"container_path": "/both", "host_path": str(host), "propagation": kubelet.pb.BIDIRECTIONAL},
        ]
        kubelet.pod()
        cid = kubelet.start("one", "sleep", "1000", mounts=mounts)
        assert "kubelet-wrote-this" in kubelet.sh(cid, "cat /etc/hosts")
        kubelet.sh(cid, "echo x >/memory/file; ! echo y 2>/dev/null >/readonly/file; test $(cat /readonly/file) = x")
        assert (memory / "file").read_text() == "x\n"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(host / "sub")], check=True)
        (host / "sub/late").write_text("mounted later\n")
        assert kubelet.sh(cid, "cat /host/sub/late /both/sub/late") == "mounted later\nmounted later\n"
    finally:
        kubelet.remove(kubelet.sandbox)
        for directory in (host / "sub", host, memory):
            subprocess.run(["umount", str(directory)], check=directory != host / "sub")  # it may not have come so far


def test_removal_of_a_running_pod(kubelet):
    """RemovePodSandbox after StopPodSandbox takes everything along, also what nobody stopped."""
    pod = kubelet.pod()
    kubelet.start("one", "sleep", "1000")
    kubelet.create("two", "sleep", "1000")
    kubelet.remove(pod)
    assert pod not in [item.id for item in kubelet.cri.ListPodSandbox().items]
    wait_clean(kubelet.containerd)


@pytest.mark.parametrize("victim", ["stockade-shim", "stockade-sentry", "gofer of the container"])
def test_killed_processes(kubelet, victim):
    if kubelet.handler == "runc":
        pytest.skip("it has none of these")
    pod = kubelet.pod()
    one = kubelet.start("one", "sleep", "1000")
    two = kubelet.start("two", "sleep", "1000")
    if victim == "stockade-shim":
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and comm(pid) == victim and pod in command_line(pid)]
    else:
        cid, name = (one, "stockade-gofer") if victim.startswith("gofer") else (pod, victim)
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and comm(pid) == name and cid in cgroup(pid)]
    assert len(pids) == 1
    os.kill(int(pids[0]), signal.SIGKILL)
    assert kubelet.ended(one).exit_code != 0
    if victim.startswith("gofer"):
        assert kubelet.ended(one).exit_code == 137
        assert kubelet.sh(two, "echo fine") == "fine\n"
    else:
        assert kubelet.ended(two).exit_code != 0
        assert wait_for(lambda: kubelet.cri.PodSandboxStatus(pod_sandbox_id=pod).status.state == 1)
    kubelet.remove(pod)
    wait_clean(kubelet.containerd)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def test_restart_of_containerd(kubelet):
    """Pods go on meanwhile; what ends then is known afterwards."""
    kubelet.pod()
    one = kubelet.start("one", "sleep", "1000")
    two = kubelet.start("two", "sh", "-c", "sleep 3; exit 6")
    kubelet.containerd.stop(signal.SIGKILL)
    time.sleep(4)
    kubelet.containerd.start()
    kubelet.cri = cri_client.Client(kubelet.pb, kubelet.containerd.socket)
    wait_for(lambda: works(lambda: kubelet.cri.Version()))
    assert wait_for(lambda: kubelet.ended(two)).exit_code == 6
    assert kubelet.sh(one, "echo fine") == "fine\n"


def works(function):
    try:
        return function() or True
    except Exception:
        return False


@pytest.mark.parametrize("delay", [0.1, 0.25, 0.4, 0.55])
def test_containerd_is_killed_while_a_pod_is_made(kubelet, delay):
    """Whatever has come of it, kubelet finds it or it is gone; nothing is left after the pods that there are have been removed."""
    failures = []

    def make():
        try:
            kubelet.pod()
            for name in ("one", "two"):
                kubelet.start(name, "sleep", "1000")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    time.sleep(delay)
    kubelet.containerd.stop(signal.SIGKILL)
    thread.join()
    kubelet.containerd.start()
    kubelet.cri = cri_client.Client(kubelet.pb, kubelet.containerd.socket)
    wait_for(lambda: works(lambda: kubelet.cri.Version()))
    kubelet.pods = [item.id for item in kubelet.cri.ListPodSandbox().items]
    for pod in tuple(kubelet.pods):
        kubelet.remove(pod)
    if kubelet.handler == "stockade":
        # A shim without a container ends after ten seconds; containerd has `delete` clean up then, which it gives five, and again
        # when it starts.
        wait_for(lambda: set(leftovers(kubelet.containerd)) <= {"state"})
        if leftovers(kubelet.containerd):
            kubelet.containerd.stop()
            kubelet.containerd.start()
            kubelet.cri = cri_client.Client(kubelet.pb, kubelet.containerd.socket)
        wait_clean(kubelet.containerd, 60)
        return
    # runc: containerd 1.6 may leave its directory for a task that it did not live to make, and nobody asks for the cgroup's removal
    wait_for(lambda: set(leftovers(kubelet.containerd)) <= {"state"})
    for directory in leftovers(kubelet.containerd).get("state", ()):
        shutil.rmtree(directory)
    for directory, _, _ in (found for top in glob(f"/sys/fs/cgroup/*{kubelet.parent}") for found in os.walk(top, topdown=False)):
        if directory.count("/") > 5:
            os.rmdir(directory)
