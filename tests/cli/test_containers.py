"""The command line over the real kernel, on both platforms: programs, terminals, volumes, failures."""

import array
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest
from cli_helpers import STOCKADE, needs_root, stockade_processes

pytestmark = needs_root


def run(real, bundle, cid="c", **options):
    return real("run", "--bundle", bundle, cid, **options)


def test_output_and_exit_code(real, busybox):
    result = run(real, busybox("sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)


def test_death_by_a_signal(real, busybox):
    assert run(real, busybox("sh", "-c", "sleep 0; kill -USR1 $$; exit 5")).returncode in (5, 138)
    result = run(real, busybox("sh", "-c", "sh -c 'kill -9 $$'; echo $?"))
    assert result.stdout.split()[-1] == "137"


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [
        (["nosuchprogram"], 127, "not found"),
        (["/no/such/program"], 127, "no such file or directory"),
        (["/etc"], 126, "permission denied"),
        (["/proc/version"], 126, "permission denied"),
        (["/tmp/text"], 126, "exec format error"),
    ],
)
def test_what_cannot_be_executed(real, busybox, tmp_path, program, code, message):
    text = tmp_path / "text"
    text.write_text("no program\n")
    text.chmod(0o755)

    def change(config):
        config["mounts"].append({"destination": "/tmp/text", "type": "bind", "source": str(text), "options": ["ro"]})

    result = run(real, busybox(*program, change=change))
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_identity_environment_and_place(real, busybox):
    def change(config):
        config["hostname"] = "there"
        config["process"].update(cwd="/usr", env=["PATH=/bin", "A=b c"], user={"uid": 12, "gid": 34, "additionalGids": [56]})

    script = 'id -u; id -g; id -G; pwd; hostname; echo "$A"; umask'
    result = run(real, busybox("sh", "-c", script, change=change))
    assert result.stdout.splitlines() == ["12", "34", "34 56", "/usr", "there", "b c", "0022"]


def test_the_image_is_not_changed(real, busybox, busybox_root):
    before = sorted(os.listdir(busybox_root))
    result = run(real, busybox("sh", "-c", "mkdir /new && echo x > /etc/y && rm /bin/ls && cat /etc/y"))
    assert (result.stdout, result.returncode) == ("x\n", 0)
    assert sorted(os.listdir(busybox_root)) == before
    assert os.path.lexists(os.path.join(busybox_root, "bin", "ls"))


def test_a_read_only_root(real, busybox):
    result = run(real, busybox("sh", "-c", "echo x > /y; echo x > /dev/null", change=lambda c: c["root"].update(readonly=True)))
    assert "Read-only file system" in result.stderr


def test_volumes(real, busybox, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "in").write_text("from outside\n")

    def change(config):
        for name, mode in (("/vol/rw", "rw"), ("/vol/ro", "ro")):
            mount = {"destination": name, "type": "bind", "source": str(volume), "options": ["rbind", mode]}
            config["mounts"].append(mount)

    script = "cat /vol/rw/in; echo from inside > /vol/rw/out; cat /vol/ro/out; echo no > /vol/ro/no"
    result = run(real, busybox("sh", "-c", script, change=change))
    assert result.stdout == "from outside\nfrom inside\n"
    assert "Read-only file system" in result.stderr
    assert (volume / "out").read_text() == "from inside\n"
    assert sorted(os.listdir(volume)) == ["in", "out"]


def test_a_full_disk_below_a_volume(real, busybox, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=True)
    try:

        def change(config):
            config["mounts"].append({"destination": "/small", "type": "bind", "source": str(small), "options": ["rw"]})

        result = run(real, busybox("sh", "-c", "dd if=/dev/zero of=/small/x bs=4k count=100", change=change))
        assert "No space left on device" in result.stderr
        assert result.returncode == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_masked_and_read_only_paths(real, busybox):
    def change(config):
        config["linux"]["maskedPaths"] = ["/etc", "/proc/version"]
        config["linux"]["readonlyPaths"] = ["/usr"]

    result = run(real, busybox("sh", "-c", "ls /etc | wc -l; wc -c < /proc/version; touch /usr/x", change=change))
    assert result.stdout.split() == ["0", "0"]
    assert "Read-only file system" in result.stderr


def test_devices(real, busybox):
    script = "ls /dev; head -c 5 /dev/zero | wc -c; echo x > /dev/null; echo x > /dev/full; ls -l /dev/fd /dev/stdin | wc -l"
    result = run(real, busybox("sh", "-c", script))
    names = result.stdout.split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr"} <= set(names)
    assert names[-2:] == ["5", "2"]
    assert "No space left on device" in result.stderr


def test_a_large_pipe_through(real, busybox, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(data)
    with open(tmp_path / "in", "rb") as source:
        command = ["sh", "-c", 'cat | "$@" | cat', "sh", *real.argv("run", "--bundle", busybox("cat"), "c")]
        result = subprocess.run(command, stdin=source, capture_output=True, timeout=60)
    assert result.stdout == data


def test_exec(real, busybox):
    assert real("run", "--detach", "--bundle", busybox("sleep", "1000"), "c").returncode == 0
    result = real("exec", "--env", "A=b", "--cwd", "/tmp", "--user", "5:6", "c", "sh", "-c", "echo $A; pwd; id -u; id -g; exit 9")
    assert (result.stdout.split(), result.returncode) == (["b", "/tmp", "5", "6"], 9)
    assert real("exec", "c", "nosuch").returncode == 127
    assert real("exec", "c", "/etc").returncode == 126
    piped = subprocess.run(real.argv("exec", "c", "cat"), input=b"through", capture_output=True, timeout=30)
    assert (piped.stdout, piped.stderr, piped.returncode) == (b"through", b"", 0)
    assert real("exec", "--detach", "c", "sleep", "500").returncode == 0
    assert len(json.loads(real("ps", "-f", "json", "c").stdout)) == 2
    assert real("kill", "c", "KILL").returncode == 0
    real.wait_status("c", "stopped")
    assert real("delete", "c").returncode == 0


def test_exec_of_a_process_file(real, busybox, tmp_path):
    assert real("run", "--detach", "--bundle", busybox("sleep", "1000"), "c").returncode == 0
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["sh", "-c", "echo $X"], "cwd": "/", "env": ["PATH=/bin", "X=" + "y" * 100000]}))
    assert real("exec", "--process", file, "c").stdout == "y" * 100000 + "\n"
    file.write_text(json.dumps({"args": [], "cwd": "/"}))
    assert real("exec", "--process", file, "c").returncode == 1
    assert real("delete", "--force", "c").returncode == 0


def test_passed_descriptors(real, busybox, tmp_path):
    (tmp_path / "passed").write_text("by number\n")
    command = real.argv("run", "--preserve-fds", "1", "--bundle", busybox("sh", "-c", "cat <&3"), "c")
    # A shell opens it as 3: in this process that number is taken.
    shell = ["sh", "-c", 'file=$1; shift; exec "$@" 3<"$file"', "sh", str(tmp_path / "passed"), *command]
    assert subprocess.run(shell, capture_output=True, text=True, timeout=60).stdout == "by number\n"


def read_until(fd, text, seconds=20):
    out = b""
    end = time.monotonic() + seconds
    while text not in out:
        assert time.monotonic() < end, out
        if select.select([fd], [], [], 0.2)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                data = b""
            assert data, out
            out += data
    return out


def test_an_interactive_terminal(real, busybox):
    bundle = busybox("sh", change=lambda config: config["process"].update(terminal=True))
    pid, master = pty.fork()
    if pid == 0:
        os.execv(STOCKADE, real.argv("run", "--bundle", bundle, "c"))
    try:
        read_until(master, b"# ")
        os.write(master, b"tty; echo $((6 * 7))\r")
        out = read_until(master, b"42\r\n")
        assert b"/dev/pts/0\r\n" in out
        os.write(master, b"sleep 1000\r")
        time.sleep(0.5)
        os.write(master, b"\x03")  # the guest's own terminal makes SIGINT of it
        read_until(master, b"# ")
        os.write(master, b"exit 6\r")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    finally:
        os.close(master)


def test_the_last_output_of_a_terminal_arrives(real, busybox):
    bundle = busybox("sh", "-c", "seq 1 3000", change=lambda config: config["process"].update(terminal=True))
    pid, master = pty.fork()
    if pid == 0:
        os.execv(STOCKADE, real.argv("run", "--bundle", bundle, "c"))
    read_until(master, b"\r\n2999\r\n3000\r\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)


def test_a_console_socket(real, busybox, tmp_path):
    bundle = busybox("sh", "-c", "tty; stty size", change=lambda c: c["process"].update(terminal=True, consoleSize={"height": 33, "width": 77}))
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert real("create", "--bundle", bundle, "--console-socket", path, "c").returncode == 0
        with listener.accept()[0] as connection:
            fds = array.array("i")
            name, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
            fds.frombytes(ancillary[0][2])
    assert name.startswith(b"/dev/pts/")
    assert real("start", "c").returncode == 0
    out = read_until(fds[0], b"33 77\r\n")
    assert out.startswith(b"/dev/pts/0\r\n")
    os.close(fds[0])
    real.wait_status("c", "stopped")
    assert real("delete", "c").returncode == 0


def test_a_size_set_on_the_master_reaches_the_program(real, busybox, tmp_path):
    """Whoever has the console socket's terminal sets its size there and tells us nothing of it."""
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done"
    bundle = busybox("sh", "-c", script, change=lambda config: config["process"].update(terminal=True))
    path = tmp_path / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert real("create", "--bundle", bundle, "--console-socket", path, "c").returncode == 0
        connection, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        connection.close()
    master = fds[0]
    try:
        assert real("start", "c").returncode == 0
        assert b"ready" in read_until(master, b"ready")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 123, 0, 0))
        assert b"44 123" in read_until(master, b"44 123")
    finally:
        os.close(master)
        real("delete", "--force", "c")


def test_closed_standard_descriptors(real, busybox):
    """They are /dev/null to the program, never a file of ours that took the number."""
    bundle = busybox("ls", "-l", "/proc/self/fd", "/proc/1/fd")
    command = [STOCKADE, "--root", str(real.state), "run", "--bundle", str(bundle), "c"]
    output = subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *command], capture_output=True, text=True, timeout=60)
    assert output.returncode == 0
    assert output.stdout.count(" 0 -> /dev/null") == output.stdout.count(" 2 -> /dev/null") == 2
    output = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, timeout=60)
    assert "stockade" not in output.stderr and "Traceback" not in output.stderr


def test_a_mount_point_below_proc_self(real, busybox):
    """There is no process yet that it could mean."""
    mount = {"destination": "/proc/self/x", "type": "tmpfs", "source": "tmpfs"}
    result = run(real, busybox("true", change=lambda config: config["mounts"].append(mount)))
    assert result.returncode == 1
    assert "mount /proc/self/x: mount point: ENOENT" in result.stderr


def test_a_full_disk_below_the_state(real, busybox, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(small)], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            (small / "fill").write_bytes(bytes(1 << 20))
        command = [STOCKADE, "--root", str(small / "state"), "run", "--bundle", str(busybox("true")), "c"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert "state.json: No space left on device" in result.stderr
        assert result.stderr.count("\n") == 1
        assert not os.path.exists(small / "state" / "c")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_console_socket_that_nobody_listens_on(real, busybox, tmp_path):
    bundle = busybox("sh", change=lambda config: config["process"].update(terminal=True))
    result = real("create", "--bundle", bundle, "--console-socket", tmp_path / "none", "c")
    assert result.returncode == 1
    assert "--console-socket" in result.stderr


def test_signals_reach_the_program(real, busybox):
    script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    process = real.popen("run", "--bundle", busybox("sh", "-c", script), "c", stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 3
    assert process.stdout.read() == "caught\n"
    process.stdout.close()


def test_a_guest_process_killed_from_the_host(real, busybox):
    before = set(stockade_processes(real.state))
    process = real.popen("run", "--bundle", busybox("sleep", "1000"), "c", stderr=subprocess.PIPE)
    real.wait_status("c", "running")
    time.sleep(0.5)
    sentry = real.state_of("c")["pid"]
    killed = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == sentry:
                os.kill(int(name), signal.SIGKILL)
                killed += 1
    assert killed
    assert process.wait(20) == 137
    process.stderr.close()
    assert not set(stockade_processes(real.state)) - before


@pytest.mark.parametrize("role", ["sentry", "gofer"])
def test_a_part_killed_while_a_program_runs(real, busybox, role):
    process = real.popen("run", "--bundle", busybox("sh", "-c", "while :; do :; done"), "c", stderr=subprocess.PIPE, text=True)
    real.wait_status("c", "running")
    with open(os.path.join(real.state, "c", "state.json")) as file:
        os.kill(json.load(file)["stockade"]["processes"][role][0], signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 137
    assert ("its gofer is gone" if role == "gofer" else "ended unexpectedly") in errors
    assert errors.count("\n") == 1


def test_several_containers_at_once(real, busybox):
    many = [real.popen("run", "--bundle", busybox("sh", "-c", f"sleep 0.2; exit {i}"), f"c{i}") for i in range(5)]
    assert [process.wait(60) for process in many] == list(range(5))


def test_do(real, tmp_path):
    (tmp_path / "file").write_text("of the host\n")
    result = real("do", "-T", "--cwd", "/", "--", "/bin/sh", "-c", f"cat {tmp_path}/file; echo new > {tmp_path}/file; cat {tmp_path}/file; exit 4")
    assert (result.stdout, result.returncode) == ("of the host\nnew\n", 4)
    assert (tmp_path / "file").read_text() == "of the host\n"


def test_do_ends_with_its_command(real):
    process = real.popen("do", "-T", "--", "sleep", "1000")
    end = time.monotonic() + 10
    while not (os.path.isdir(real.state) and os.listdir(real.state)):
        assert time.monotonic() < end
        time.sleep(0.02)
    real.wait_status(os.listdir(real.state)[0], "running")
    process.kill()
    process.wait()
    while stockade_processes(real.state):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert len(os.listdir(real.state)) == 1
    assert real("do", "-T", "--", "true").returncode == 0  # sweeps up
    assert os.listdir(real.state) == []


def test_do_with_flags(real, busybox_root, tmp_path):
    (tmp_path / "in").write_text("volume\n")
    script = "echo $A; pwd; id -u; hostname; cat /v/in; echo x > /v/out; ls /"
    result = real(
        "do", "-T", "--root", busybox_root, "--cwd", "/usr", "-e", "A=b", "-v", f"{tmp_path}:/v", "--hostname", "h", "--user", "0",
        "--", "sh", "-c", script,
    )  # fmt: skip
    assert result.stdout.splitlines()[:5] == ["b", "/usr", "0", "h", "volume"]
    assert (tmp_path / "out").read_text() == "x\n"


def test_strace(real, busybox, tmp_path):
    result = real("--strace", "--debug-log", f"{tmp_path}/log/%ID%.%COMMAND%", "do", "-T", "--root", busybox("true") / "rootfs", "--", "true")
    assert result.returncode == 0
    texts = [path.read_text() for path in (tmp_path / "log").iterdir()]
    assert any("getuid() = 0" in text for text in texts)


def test_without_privileges(tmp_path, platform):
    """A user without rights on the host runs `do`: root inside, nobody special outside."""
    readable = subprocess.run(["test", "-r", STOCKADE, "-a", "-x", STOCKADE], user=65534, group=65534, extra_groups=[])
    if readable.returncode:
        pytest.skip("the project lies where other users cannot read")
    place = tmp_path / "rootless"
    place.mkdir()
    for directory in (tmp_path, *tmp_path.parents):
        if directory != directory.parent and str(directory) != "/tmp":
            directory.chmod(directory.stat().st_mode | 0o055)
    os.chown(place, 65534, 65534)
    script = f"id -u; echo x > {place}/inside; head -c 1 /etc/shadow 2>/dev/null || echo no; cat {place}/inside"
    result = subprocess.run(
        [STOCKADE, "--platform", platform, "--root", str(place / "state"), "do", "-T", "--cwd", "/", "--", "/bin/sh", "-c", script],
        user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert result.stdout.split() == ["0", "no", "x"], result.stderr
    assert result.returncode == 0
    assert sorted(os.listdir(place)) == ["state"]
    assert os.listdir(place / "state") == []


def test_no_permission_for_the_state_directory(tmp_path, platform):
    readable = subprocess.run(["test", "-r", STOCKADE, "-a", "-x", STOCKADE], user=65534, group=65534, extra_groups=[])
    if readable.returncode:
        pytest.skip("the project lies where other users cannot read")
    result = subprocess.run(
        [STOCKADE, "--root", "/run/not-permitted", "do", "-T", "--cwd", "/", "--", "true"],
        user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert result.returncode == 1
    assert "cannot make the state directory: Permission denied" in result.stderr
    assert result.stderr.count("\n") == 1
