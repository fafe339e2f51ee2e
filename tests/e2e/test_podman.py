"""podman and buildah drive stockade as they drive runc: each test runs with both, and runc shows what is right."""

import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest
from e2e_helpers import IMAGE
from support import STOCKADE

pytestmark = pytest.mark.slow

STORAGE = """
[storage]
driver = "vfs"
graphroot = "{top}/graph"
runroot = "{top}/run"
"""
ENGINE = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{top}/tmp"
[engine.runtimes]
stockade = ["{stockade}"]
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


class Podman:
    def __init__(self, top, runtime):
        self.runtime = runtime
        self.env = dict(os.environ, CONTAINERS_STORAGE_CONF=f"{top}/storage.conf", CONTAINERS_CONF=f"{top}/containers.conf")

    def argv(self, *arguments):
        return ["podman", "--runtime", self.runtime, *map(str, arguments)]

    def __call__(self, *arguments, input="", timeout=60):
        """CompletedProcess with text, standard error in the output."""
        return subprocess.run(
            self.argv(*arguments), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, env=self.env
        )

    def run(self, *arguments, **options):
        """`podman run --rm`: (output, exit code)."""
        done = self("run", "--rm", *arguments, **options)
        return done.stdout, done.returncode

    def sh(self, script, *flags):
        return self.run(*flags, IMAGE, "sh", "-c", script)


@pytest.fixture(scope="session")
def engine(tmp_path_factory, image):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("podman", "conmon", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/deps.sh e2e)")
    top = tmp_path_factory.mktemp("podman")
    (top / "storage.conf").write_text(STORAGE.format(top=top))
    (top / "containers.conf").write_text(ENGINE.format(top=top, stockade=STOCKADE))
    (top / "policy.json").write_text(POLICY)
    podman = Podman(top, "runc")
    loaded = podman("load", "--signature-policy", top / "policy.json", "-i", image)
    assert loaded.returncode == 0, loaded.stdout
    yield top
    podman("rm", "-af", "-t", "0")
    podman("system", "reset", "-f")


@pytest.fixture(params=["stockade", "runc"])
def podman(request, engine):
    podman = Podman(engine, request.param)
    yield podman
    assert podman("rm", "-af", "-t", "0").returncode == 0
    state = "/run/stockade"
    left = os.listdir(state) if os.path.isdir(state) else []
    assert not [name for name in left if len(name) == 64], left


@pytest.fixture
def running(podman):
    done = podman("run", "-d", IMAGE, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    assert done.returncode == 0, done.stdout
    cid = done.stdout.strip().splitlines()[-1]
    wait_for(lambda: "up" in podman("logs", cid).stdout)
    return cid


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_exit_codes(podman):
    assert podman.sh("exit 7")[1] == 7
    assert podman.sh("kill -KILL $$")[1] in (0, 137)  # the first process of a pid namespace ignores it
    for program, code in (("nosuch", 127), ("/no/such", 127), ("/etc/passwd", 126)):
        text, rc = podman.run(IMAGE, program)
        assert (rc, "OCI" in text) == (code, True), text


def test_output_and_input(podman):
    assert podman.sh("echo out; echo err >&2") in (("out\nerr\n", 0), ("err\nout\n", 0))
    assert podman.run("-i", IMAGE, "cat", input="one\n" * 30000) == ("one\n" * 30000, 0)


FLAGS = [
    (("--user", "1000:100"), "grep -E '^(U|G)id' /proc/self/status | cut -f2", "1000\n100"),
    (("--hostname", "name"), "hostname", "name"),
    (("-e", "X=1", "-w", "/bin"), "echo $X $PWD", "1 /bin"),
    (("--read-only",), "touch /f 2> /dev/null || echo refused; touch /tmp/f && echo made", "refused\nmade"),
    (("--cap-drop", "all"), "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
    (("--tmpfs", "/t:size=1m"), "dd if=/dev/zero of=/t/x bs=1k count=2000 2> /dev/null || echo full", "full"),
    (("--memory", "100m", "--pids-limit", "60"), "echo limited", "limited"),
    (("--ulimit", "nofile=100:900", "--ulimit", "nproc=1000:1000"), "ulimit -n; ulimit -Hn", "100\n900"),
    (("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward", "1"),
    (("--device", "/dev/null:/dev/mynull"), "stat -c '%F %t:%T' /dev/mynull", "character special file 1:3"),
    (("--privileged",), "echo ok", "ok"),
    (("--umask", "0077"), "umask", "0077"),
    (("--uts", "host"), "hostname", os.uname().nodename),
]


@pytest.mark.parametrize("flags,script,wanted", FLAGS, ids=[row[0][0] for row in FLAGS])
def test_flags_of_run(podman, flags, script, wanted):
    assert podman.sh(script, *flags) == (wanted + "\n", 0)


def test_volumes(podman, tmp_path):
    (tmp_path / "f").write_text("content\n")
    assert podman.sh("cat /v/f; echo new > /v/g", "-v", f"{tmp_path}:/v") == ("content\n", 0)
    assert (tmp_path / "g").read_text() == "new\n"
    text, code = podman.sh("echo x > /v/g", "-v", f"{tmp_path}:/v:ro")
    assert code != 0 and "ead-only" in text


def test_terminals(podman):
    command = " ".join(podman.argv("run", "--rm", "-it", IMAGE, "sh"))
    argv = ["script", "-qec", command, "/dev/null"]
    done = subprocess.run(argv, input="tty; echo $((6*7)).; exit 6\n", stdout=subprocess.PIPE, text=True, timeout=60, env=podman.env)
    assert done.returncode == 6 and "/dev/" in done.stdout and "42." in done.stdout


def test_exec(podman, running):
    def execute(*arguments, **options):
        done = podman("exec", *arguments, **options)
        return done.stdout, done.returncode

    assert execute(running, "sh", "-c", "echo in; exit 4") == ("in\n", 4)
    assert execute("-i", running, "cat", input="data\n") == ("data\n", 0)
    assert execute("--user", "5:6", "-w", "/tmp", "-e", "A=b", running, "sh", "-c", "echo $PWD $A; grep Gid /proc/self/status | cut -f2") == ("/tmp b\n6\n", 0)
    assert execute(running, "/no/such")[1] == 127
    text, code = execute("-d", running, "sh", "-c", "echo there > /made")
    assert code == 0, text
    wait_for(lambda: execute(running, "cat", "/made") == ("there\n", 0))


def test_life(podman, running):
    state = lambda: podman("inspect", "--format", "{{.State.Status}}", running).stdout.strip()  # noqa: E731
    assert state() == "running"
    assert podman("pause", running).returncode == 0 and state() == "paused"
    assert podman("unpause", running).returncode == 0 and state() == "running"
    stats = podman("stats", "--no-stream", "--format", "{{.PIDs}}", running)
    assert stats.returncode == 0 and int(stats.stdout) > 0
    assert podman("stop", running).returncode == 0
    assert podman("wait", running).stdout.strip() == "3"
    assert podman("logs", running).stdout == "up\nbye\n"
    assert podman("start", running).returncode == 0
    wait_for(lambda: podman("logs", running).stdout.count("up") == 2)
    assert podman("kill", running).returncode == 0
    assert podman("wait", running).stdout.strip() == "137"


def test_killed_sandbox(podman, running):
    pid = int(podman("inspect", "--format", "{{.State.Pid}}", running).stdout)
    os.kill(pid, signal.SIGKILL)
    assert podman("wait", running).stdout.strip() == "137"


def test_buildah(podman, engine, tmp_path):
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed (scripts/deps.sh e2e)")
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built && mkdir /d\nRUN test -d /d && ls -l /built\nCMD cat /built\n")
    runtime = STOCKADE if podman.runtime == "stockade" else shutil.which("runc")
    tag = f"localhost/built-{podman.runtime}"
    argv = ["buildah", "bud", "--runtime", runtime, "--isolation", "oci", "--network", "none", "--ulimit", "nofile=1024:1024",
            "--ulimit", "nproc=1000:1000", "--signature-policy", str(engine / "policy.json"), "--pull-never", "-t", tag, str(tmp_path)]  # fmt: skip
    done = subprocess.run(argv, env=podman.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert podman.run(tag) == ("built\n", 0)


def test_out_of_memory(podman):
    """A program beyond the limit is killed and the others go on. (That podman shows OOMKilled needs conmon to hear of it, which
    on hosts with cgroup v1 it may not, with runc either.)"""
    hungry = ("dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1")
    limits = ("--memory", "60m", "--memory-swap", "60m")
    assert podman.run(*limits, IMAGE, *hungry)[1] == 137
    output, code = podman.sh(shlex.join(hungry) + "; echo code $?; exit 3", *limits)
    assert code == 3 and "code 137\n" in output


def test_sizes_inside(podman):
    """What a container sees of its limits, in the files of cgroup v2 (the host's own with runc)."""
    if podman.runtime == "runc":
        pytest.skip("shows the host's hierarchy")
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max; nproc"
    assert podman.sh(script, "--memory", "60m", "--pids-limit", "50", "--cpus", "0.5") == (f"{60 << 20}\n50\n50000 100000\n1\n", 0)


def test_the_root_is_kept(podman, tmp_path):
    """commit, diff, cp and a restart see what the container wrote."""
    assert podman("run", "--name", "kept", IMAGE, "sh", "-c", "cat /file; echo more >> /file; rm -f /etc/passwd").returncode == 0
    assert podman("start", "-a", "kept").stdout == "more\n"
    changes = podman("diff", "kept").stdout.splitlines()
    assert "A /file" in changes and "D /etc/passwd" in changes
    assert podman("commit", "-q", "kept", f"localhost/committed-{podman.runtime}").returncode == 0
    assert podman.run(f"localhost/committed-{podman.runtime}", "cat", "/file") == ("more\nmore\n", 0)
    assert podman("cp", "kept:/file", tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_text() == "more\nmore\n"


def test_cp(podman, tmp_path):
    """Into and out of a container that runs, is paused, has stopped: its root and its volumes."""
    (tmp_path / "in").write_text("in\n")
    for name in ("volume", "fixed"):
        (tmp_path / name).mkdir()
    volumes = ["-v", f"{tmp_path}/volume:/v/deep", "-v", f"{tmp_path}/fixed:/fixed:ro"]
    made = podman("run", "-d", "--name", "c", *volumes, IMAGE, "sh", "-c", "mkdir /d; echo one > /d/f; echo up; sleep 1000")
    assert made.returncode == 0, made.stdout
    wait_for(lambda: "up" in podman("logs", "c").stdout)

    def copied(source, target):
        done = podman("cp", source, target)
        return done.returncode, done.stdout

    for turn, change in enumerate(((), ("pause", "c"), ("unpause", "c"), ("stop", "-t", "0", "c"))):
        if change:
            assert podman(*change).returncode == 0
        assert copied("c:/d", tmp_path / f"out{turn}") == (0, "")
        assert (tmp_path / f"out{turn}/f").read_text() == "one\n"
        assert copied(tmp_path / "in", f"c:/d/in{turn}") == (0, "")
        assert copied(tmp_path / "in", f"c:/v/deep/in{turn}") == (0, "")
        assert (tmp_path / f"volume/in{turn}").read_text() == "in\n"
        if turn in (0, 2):
            assert podman("exec", "c", "cat", f"/d/in{turn}", f"/v/deep/in{turn}").stdout == "in\nin\n"
            code, text = copied(tmp_path / "in", "c:/fixed/in")
            assert code and "read-only" in text
            assert copied("c:/nosuch", tmp_path / "out")[0] != 0
    assert os.listdir(tmp_path / "fixed") == []


def test_cp_does_not_leave_the_root(podman, tmp_path):
    (tmp_path / "secret").write_text("of the host\n")
    assert podman("run", "-d", "--name", "c", IMAGE, "sh", "-c", f"ln -s {tmp_path} /link; echo up; sleep 1000").returncode == 0
    wait_for(lambda: "up" in podman("logs", "c").stdout)
    assert podman("cp", "c:/link/secret", tmp_path / "out").returncode != 0
    assert podman("cp", tmp_path / "secret", "c:/link/made").returncode != 0
    assert sorted(os.listdir(tmp_path)) == ["secret"]


def test_shared_host_name(podman):
    """A container that joins another one's UTS namespace has its name, whichever runtimes they have."""
    assert podman("run", "-d", "--name", "u", "--hostname", "uone", IMAGE, "sleep", "1000").returncode == 0
    for runtime in ("stockade", "runc"):
        other = Podman.__new__(Podman)
        other.runtime, other.env = runtime, podman.env
        assert other.run("--uts", "container:u", IMAGE, "hostname") == ("uone\n", 0)


def test_pod(podman):
    """An infra container, and others that join it: localhost, exit codes (conmon waits for the container's process), restart."""
    made = podman("pod", "create", "--name", "p", "--infra-image", IMAGE, "--infra-command", "sleep 1000", "--share", "net,ipc,uts")
    assert made.returncode == 0, made.stdout
    try:
        server = podman("run", "-d", "--pod", "p", "--name", "server", IMAGE, "sh", "-c", "while :; do echo hello | nc -l -p 8080; done")
        assert server.returncode == 0, server.stdout
        output, code = podman.run("--pod", "p", IMAGE, "sh", "-c", "until nc 127.0.0.1 8080; do :; done; exit 7")
        assert (output, code) == ("hello\n", 7)
        assert podman("exec", "server", "cat", "/proc/1/comm").stdout == "sh\n"
        assert podman("stop", "-t", "1", "server").returncode == 0
        assert podman("start", "server").returncode == 0
        assert podman.run("--pod", "p", IMAGE, "sh", "-c", "until nc 127.0.0.1 8080; do :; done")[0] == "hello\n"
        assert "Running" in podman("pod", "ps").stdout
    finally:
        removed = podman("pod", "rm", "-f", "-t", "0", "p")
    assert removed.returncode == 0, removed.stdout


def test_pod_without_infra_container(podman):
    assert podman("pod", "create", "--name", "p", "--infra=false").returncode == 0
    try:
        assert podman.run("--pod", "p", IMAGE, "echo", "alone") == ("alone\n", 0)
    finally:
        assert podman("pod", "rm", "-f", "p").returncode == 0


def test_overlay_volume(podman, tmp_path):
    """Changes of a volume that go with the container."""
    (tmp_path / "f").write_text("content\n")
    script = "cat /v/f; rm /v/f; echo new > /v/g; ls /v"
    assert podman.sh(script, "-v", f"{tmp_path}:/v:O") == ("content\ng\n", 0)
    assert os.listdir(tmp_path) == ["f"]


def test_user_namespace(podman):
    script = "id -u; cat /proc/self/uid_map | tr -s ' '; touch /x && stat -c '%u' /x /bin; chown 4999 /x && echo ours; chown 5000 /x 2> /dev/null || echo unmapped"
    assert podman.sh(script, "--uidmap", "0:100000:5000") == ("0\n 0 100000 5000\n0\n0\nours\nunmapped\n", 0)
