"""Debian's containerd drives stockade as it drives runc: each test runs with both, and runc shows what is right."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from e2e_helpers import RUNTIMES

pytestmark = pytest.mark.slow


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


class Terminal:
    """A program on a pty."""

    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execvp(argv[0], argv)
        self.text = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def read_until(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            left = end - time.monotonic()
            ready = select.select([self.fd], [], [], max(left, 0))[0]
            assert ready, f"{pattern!r} is not in {self.text!r}"
            try:
                self.text += os.read(self.fd, 4096).decode()
            except OSError:
                assert re.search(pattern, self.text), self.text

    def wait(self):
        while True:
            try:
                if not (data := os.read(self.fd, 4096)):
                    break
            except OSError:
                break
            self.text += data.decode()
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def code_of(ctr, cid):
    """Delete a stopped task; its exit code, which ctr only warns of."""
    done = ctr.containerd.ctr("tasks", "rm", cid)
    found = re.search(r"exit code (\d+)", done.stderr)
    return int(found[1]) if found else 0


def test_output_and_exit_code(ctr):
    done = ctr.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_input(ctr):
    if "runc" in ctr.runtime:
        pytest.skip("ctr and the shim of runc now and then do not end the input")
    done = ctr.run("cat", input="one\ntwo\n" * 20000, flags=("--rm",))
    assert (done.stdout, done.returncode) == ("one\ntwo\n" * 20000, 0)


def test_missing_program(ctr):
    done = ctr.run("/no/such/program")
    assert done.returncode != 0 and "no such file or directory" in done.stderr


def test_terminal(ctr):
    terminal = Terminal(ctr.containerd.argv(*ctr.run_argv(("--rm", "-t"), ctr.new(), ("sh",))))
    terminal.type("tty; stty size; echo $((6*7)).\n")
    terminal.read_until(r"42\.")
    assert "/dev/" in terminal.text
    terminal.type("sleep 100\n")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.type("exit 5\n")
    assert terminal.wait() == 5


def test_exec(ctr):
    cid = ctr.start("sleep", "100")
    done = ctr.exec(cid, "sh", "-c", "echo $PPID; cat; exit 3", input="word\n")
    assert done.returncode == 3 and done.stdout.endswith("\nword\n")
    assert ctr.exec(cid, "sh", "-c", "kill -TERM $$").returncode == 143
    assert ctr.exec(cid, "/no/such").returncode != 0
    terminal = Terminal(ctr.containerd.argv("tasks", "exec", "-t", "--exec-id", "terminal", cid, "sh"))
    terminal.type("echo $((6*7)).\n")
    terminal.read_until(r"42\.")
    terminal.type("exit 4\n")
    assert terminal.wait() == 4
    assert ctr.status(cid) == "RUNNING"


def test_kill(ctr):
    cid = ctr.start("sleep", "100")
    ctr.containerd.ctr("tasks", "kill", "-s", "KILL", cid)
    wait_for(lambda: ctr.status(cid) == "STOPPED")
    assert code_of(ctr, cid) == 137


def test_attach(ctr):
    cid = ctr.start("sh", "-c", "while :; do echo tick; sleep 0.1; done")
    attached = subprocess.Popen(ctr.containerd.argv("tasks", "attach", cid), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert attached.stdout.readline() == b"tick\n"
    attached.kill()
    attached.wait()
    attached.stdout.close()
    time.sleep(0.5)
    assert ctr.status(cid) == "RUNNING"


def test_pause(ctr):
    cid = ctr.start("sh", "-c", "while :; do :; done")
    ctr.containerd.ctr("tasks", "pause", cid)
    assert ctr.status(cid) == "PAUSED"
    ctr.containerd.ctr("tasks", "resume", cid)
    assert ctr.status(cid) == "RUNNING"
    assert ctr.exec(cid, "true").returncode == 0


def test_processes_and_metrics(ctr):
    cid = ctr.start("sh", "-c", "sleep 100 & while :; do :; done", flags=("--memory-limit", str(300 << 20)))
    wait_for(lambda: len(ctr.containerd.ctr("tasks", "ps", cid).stdout.splitlines()) == 3)

    def metrics():
        lines = ctr.containerd.ctr("tasks", "metrics", cid).stdout.splitlines()
        return dict(line.split() for line in lines if len(line.split()) == 2)

    values = metrics()
    assert values["memory.limit_in_bytes" if "memory.limit_in_bytes" in values else "memory.usage_limit"] == str(300 << 20)
    wait_for(lambda: int((now := metrics()).get("cpuacct.usage") or int(now["cpu.usage_usec"]) * 1000) > 10**8)


class Events:
    """What `ctr events` prints while this is entered, up to the event `last` at least: in order, in `lines`."""

    def __init__(self, containerd, last):
        self.containerd = containerd
        self.last = last
        self.marks = 0
        self.lines = []

    def mark(self):
        """An event of our own."""
        self.marks += 1
        self.containerd.ctr("namespaces", "create", f"mark{self.marks}-{id(self)}")
        self.containerd.ctr("namespaces", "remove", f"mark{self.marks}-{id(self)}")

    def __enter__(self):
        self.stream = subprocess.Popen(self.containerd.argv("events"), stdout=subprocess.PIPE)
        while not select.select([self.stream.stdout], [], [], 0)[0]:
            self.mark()
        return self

    def __exit__(self, *error):
        try:
            wanted = self.last if error == (None, None, None) else ""
            while wanted:
                line = self.stream.stdout.readline().decode()
                assert line, self.lines
                self.lines.append(line)
                if wanted in line and wanted == self.last:
                    self.mark()  # and what comes before that
                    wanted = f"mark{self.marks}-{id(self)}"
                elif wanted in line:
                    wanted = ""
        finally:
            self.stream.kill()
            self.stream.wait()
            self.stream.stdout.close()


def test_events(ctr):
    with Events(ctr.containerd, "/tasks/delete") as stream:
        cid = ctr.start("sleep", "100")
        ctr.exec(cid, "true")
        ctr.containerd.ctr("tasks", "pause", cid)
        ctr.containerd.ctr("tasks", "resume", cid)
        ctr.containerd.ctr("tasks", "kill", "-s", "KILL", cid)
        wait_for(lambda: ctr.status(cid) == "STOPPED")
        ctr.containerd.ctr("tasks", "rm", cid, check=False)
    events = [line for line in stream.lines if f'"{cid}"' in line]
    topics = [word.removeprefix("/tasks/") for line in events for word in line.split() if word.startswith("/tasks/")]
    wanted = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"]
    assert topics == wanted
    assert '"exit_status":137' in events[-2]


def test_out_of_memory(ctr):
    """The program that wants too much is killed, the others go on, and an event tells of it."""
    with Events(ctr.containerd, "/tasks/oom") as stream:
        script = "awk 'BEGIN { s = 1; while (1) s = s s }'; echo code $?; sleep 0.5; exit 3"
        done = ctr.run("sh", "-c", script, flags=("--rm", "--memory-limit", str(100 << 20)))
        assert (done.stdout.splitlines()[-1], done.returncode) == ("code 137", 3)
    topics = [word for line in stream.lines for word in line.split() if word.startswith("/tasks/")]
    assert topics.count("/tasks/oom") == 1, topics


def test_many_come_and_go(ctr, containerd):
    """Fifty, five at a time, and nothing is left (the fixture looks)."""
    for _ in range(10):
        batch = []
        for _ in range(5):
            argv = containerd.argv(*ctr.run_argv(("--rm",), ctr.new(), ("echo", "hello")))
            batch.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        for process in batch:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            if ctr.runtime == RUNTIMES["stockade"]:  # runc's shim now and then loses the output of a program that ends at once
                assert out == "hello\n", err


def test_containerd_restarts(ctr, containerd):
    cid = ctr.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    gone = ctr.start("sh", "-c", "sleep 0.3; exit 6")
    containerd.stop(signal.SIGKILL)
    time.sleep(0.5)
    containerd.start()
    assert ctr.status(cid) == "RUNNING"
    wait_for(lambda: ctr.status(gone) == "STOPPED")
    assert code_of(ctr, gone) == 6
    done = ctr.exec(cid, "echo", "still there")
    assert done.stdout == "still there\n"
    containerd.ctr("tasks", "kill", cid)
    wait_for(lambda: ctr.status(cid) == "STOPPED")
    assert code_of(ctr, cid) == 9


def shim_of(cid):
    """Host pid of the shim of a container."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{name}/comm") as file:
                    comm = file.read().strip()
            except OSError:
                continue
            if cid.encode() in words and comm in ("containerd-shim", "stockade-shim"):
                return int(name)
    raise AssertionError(f"{cid} has no shim")


def test_killed_shim(ctr, containerd):
    """containerd cleans up with the `delete` command; nothing is left (the fixture looks)."""
    cid = ctr.start("sleep", "100")
    os.kill(shim_of(cid), signal.SIGKILL)
    wait_for(lambda: ctr.status(cid) is None)
    containerd.ctr("containers", "rm", cid)


def test_killed_sentry(ctr, containerd):
    cid = ctr.start("sleep", "100")
    line = next(line for line in containerd.ctr("tasks", "ls").stdout.splitlines() if line.startswith(cid + " "))
    os.kill(int(line.split()[1]), signal.SIGKILL)
    wait_for(lambda: ctr.status(cid) == "STOPPED")
    assert code_of(ctr, cid) == 137


def test_seccomp(ctr):
    done = ctr.run("sh", "-c", "grep Seccomp: /proc/self/status | cut -f2", flags=("--rm", "--seccomp"))
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def test_user_namespace(ctr):
    if "runc" in ctr.runtime:
        pytest.skip("the container's user cannot enter the test's directory")
    script = "cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin; touch /x && stat -c %u /x"
    done = ctr.run("sh", "-c", script, flags=("--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000"))
    assert (done.stdout, done.returncode) == (" 0 100000 1000\n0\n0\n", 0), done.stderr
