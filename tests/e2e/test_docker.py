"""Docker's daemon drives stockade as it drives runc (daemon.json as `stockade install` makes it): each test runs with both."""

import os
import shutil
import subprocess
import time

import pytest
from e2e_helpers import IMAGE, Containerd
from support import STOCKADE

pytestmark = pytest.mark.slow
API = "1.41"


class Docker:
    def __init__(self, top, runtime):
        self.socket = f"unix://{top}/docker.sock"
        self.runtime = runtime

    def argv(self, *arguments):
        return ["docker", "-H", self.socket, *map(str, arguments)]

    def __call__(self, *arguments, input="", timeout=60):
        """CompletedProcess with text, standard error in the output."""
        return subprocess.run(
            self.argv(*arguments), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
            env=dict(os.environ, DOCKER_API_VERSION=API),
        )  # fmt: skip

    def run(self, *arguments, **options):
        """(output, exit code) of `docker run`."""
        done = self("run", "--runtime", self.runtime, "--network", "none", *arguments, **options)
        return done.stdout, done.returncode


@pytest.fixture(scope="session")
def daemon(tmp_path_factory, image):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("dockerd", "docker", "containerd", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/deps.sh e2e)")
    top = tmp_path_factory.mktemp("docker")
    containerd = Containerd(top)
    containerd.start()
    subprocess.run([STOCKADE, "install", "--sysroot", top, "docker"], check=True, timeout=20, stdout=subprocess.DEVNULL)
    argv = ["dockerd", "--data-root", top / "data", "--exec-root", top / "exec", "-H", f"unix://{top}/docker.sock", "--pidfile",
            top / "pid", "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--bridge=none", "--containerd",
            containerd.socket, "--config-file", top / "etc/docker/daemon.json",
            "--default-ulimit", "nofile=1024:1024", "--default-ulimit", "nproc=1000:1000"]  # fmt: skip
    with open(top / "dockerd.log", "wb") as log:
        process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
    docker = Docker(top, "runc")
    try:
        wait_for(lambda: docker("version").returncode == 0)
        assert docker("load", "-i", image).returncode == 0
        yield top
    finally:
        process.terminate()
        process.wait(30)
        containerd.stop()


@pytest.fixture(params=["stockade", "runc"])
def docker(request, daemon):
    docker = Docker(daemon, request.param)
    yield docker
    for cid in docker("ps", "-aq").stdout.split():
        assert docker("rm", "-f", cid).returncode == 0


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_run(docker):
    assert docker.run("--rm", IMAGE, "sh", "-c", "echo out; exit 7") == ("out\n", 7)
    assert docker.run("--rm", "-i", IMAGE, "cat", input="data\n") == ("data\n", 0)
    text, code = docker.run("--rm", IMAGE, "nosuch")
    assert code == 127 and "executable file not found" in text


def test_flags(docker, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "f").write_text("content\n")
    flags = ["--read-only", "--tmpfs", "/t", "--user", "5:6", "--cap-drop", "all", "--hostname", "name", "--memory", "100m",
             "--pids-limit", "60", "--cpus", "1", "--init", "-v", f"{tmp_path}:/v:ro"]  # fmt: skip
    script = "grep -E '^(U|G)id' /proc/self/status | cut -f2; hostname; touch /x 2> /dev/null || echo refused; touch /t/x; cat /v/f"
    assert docker.run("--rm", *flags, IMAGE, "sh", "-c", script) == ("5\n6\nname\nrefused\ncontent\n", 0)


def test_life(docker):
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    text, code = docker.run("-d", "--name", "life", IMAGE, "sh", "-c", script)
    assert code == 0, text
    wait_for(lambda: "up" in docker("logs", "life").stdout)
    done = docker("exec", "life", "sh", "-c", "echo in; exit 4")
    assert (done.stdout, done.returncode) == ("in\n", 4)
    assert docker("exec", "-i", "life", "cat", input="data\n").stdout == "data\n"
    assert docker("pause", "life").returncode == 0
    assert "Paused" in docker("ps", "--format", "{{.Status}}").stdout
    assert docker("unpause", "life").returncode == 0
    assert docker("update", "--memory", "200m", "--memory-swap", "200m", "life").returncode == 0
    stats = docker("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "life").stdout
    assert int(stats.split()[0]) > 0 and "200MiB" in stats
    assert docker("stop", "life").returncode == 0
    assert docker("wait", "life").stdout == "3\n"
    assert docker("logs", "life").stdout == "up\nbye\n"
    assert docker("start", "life").returncode == 0
    assert docker("kill", "life").returncode == 0
    assert docker("wait", "life").stdout == "137\n"


def test_health(docker):
    docker.run("-d", "--name", "health", "--health-cmd", "true", "--health-interval", "1s", IMAGE, "sleep", "100")
    wait_for(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", "health").stdout == "healthy\n")


def test_out_of_memory(docker):
    """A program beyond the limit is killed, and Docker knows why."""
    text, code = docker.run("--name", "oom", "--memory", "60m", "--memory-swap", "60m", IMAGE, "busybox", "awk", "BEGIN { s = 1; while (1) s = s s }")
    assert code == 137, text
    wait_for(lambda: docker("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "oom").stdout == "true 137\n")


def test_the_root_is_kept(docker, tmp_path):
    """commit, diff, cp and a restart see what the container wrote."""
    assert docker.run("--name", "kept", IMAGE, "sh", "-c", "cat /file; echo more >> /file; rm -f /etc/passwd")[1] == 0
    assert docker("start", "-a", "kept").stdout == "more\n"
    changes = docker("diff", "kept").stdout.splitlines()
    assert "A /file" in changes and "D /etc/passwd" in changes
    assert docker("cp", "kept:/file", tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_text() == "more\nmore\n"
    assert docker("commit", "kept", f"committed-{docker.runtime}").returncode == 0
    assert docker.run("--rm", f"committed-{docker.runtime}", "cat", "/file") == ("more\nmore\n", 0)


def test_default_seccomp_profile(docker):
    script = "grep Seccomp: /proc/self/status | cut -f2; unshare -n true 2> /dev/null || echo refused"
    assert docker.run("--rm", IMAGE, "sh", "-c", script) == ("2\nrefused\n", 0)
    script = "grep Seccomp: /proc/self/status | cut -f2"
    assert docker.run("--rm", "--security-opt", "seccomp=unconfined", IMAGE, "sh", "-c", script) == ("0\n", 0)
