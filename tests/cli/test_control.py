"""The control socket under requests that make no sense: each is refused, and the sandbox goes on."""

import json
import os
import random
import signal
import socket
import subprocess
import time

import pytest
from cli_helpers import needs_root

pytestmark = needs_root


@pytest.fixture
def connect(cli, bundle):
    """A function that connects to the control socket of a created container."""
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    path = os.path.join(cli.state, "c", "control")

    def make():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        directory = os.open(os.path.dirname(path), os.O_PATH)
        sock.connect(f"/proc/self/fd/{directory}/control")
        os.close(directory)
        sock.settimeout(10)
        return sock

    yield make
    assert cli.state_of("c")["status"] == "created"
    assert cli("delete", "--force", "c").returncode == 0


def ask(sock, data, fds=()):
    socket.send_fds(sock, [data], list(fds))
    return json.loads(sock.recv(65536))


@pytest.mark.parametrize(
    "data",
    [
        b"x", b"[]", b"1", b"{", b'{"op": 1}', b'{"op": "open"}', b'{"op": "kill"}', b'{"op": "kill", "signal": "9"}',
        b'{"op": "kill", "signal": true}', b'{"op": "exec"}', b'{"op": "exec", "process": []}', b'{"op": "kill", "signal": 1, "pid": 99}',
        b'{"op": "exec", "process": {}, "stdio": [0]}', b'{"op": "exec", "process": {}, "terminal": true}',
        b'{"op": "resize", "rows": -1, "columns": 1}', b'{"op": "resize", "rows": 1}', b'{"op": "wait", "pid": "x"}',
        b'{"op": "ps", "body": 10}', b'{"op": "ps", "body": -1}', b'{"op": "log", "level": "loud"}', b'{"op": "log", "strace": 1}', b'{"op": "connect"}', b'{"op": "connect", "port": 80}', b'{"op": "resources", "files": ["memory.current"]}',
        b'{"op": "resources", "resources": {"memory": 5}}', b"\xff\xfe", b"[" * 60000, b'{"op": "' + b"x" * 60000 + b'"}',
    ],
    ids=range(28),
)  # fmt: skip
def test_a_request_that_is_refused(connect, data):
    with connect() as sock:
        answer = ask(sock, data)
        assert isinstance(answer["error"], str)
        assert answer["code"] == 1
        assert ask(sock, b'{"op": "state"}') == {"ok": True, "status": "created"}


def test_descriptors_that_nobody_asked_for_are_closed(connect, cli):
    pid = cli.state_of("c")["pid"]
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with connect() as sock:
        for _ in range(20):
            assert ask(sock, b'{"op": "ps"}', [0, 1, 2])["ok"]
            assert "error" in ask(sock, b"nonsense", [0, 1, 2])
            assert "error" in ask(sock, b'{"op": "exec", "process": {}, "stdio": [0, 1]}', [0])
        assert len(os.listdir(f"/proc/{pid}/fd")) == before + 1  # this connection


def test_a_body_that_is_not_there(connect):
    with connect() as sock, open("/dev/null", "rb") as null:
        assert "error" in ask(sock, b'{"op": "ps", "body": 10}', [null.fileno()])
    with connect() as sock:
        memory = os.memfd_create("body")
        os.write(memory, b'{"op": "state"}')
        assert ask(sock, b'{"op": "ps", "body": 15}', [memory]) == {"ok": True, "status": "created"}
        os.close(memory)


def test_random_bytes(connect):
    rng = random.Random(5)
    words = [b'"op"', b":", b"{", b"}", b'"exec"', b'"process"', b"[", b"]", b"1", b"-1e99", b"null", b",", b'"\\ud800"', b"\0", b'"body"']
    sock = connect()
    for _ in range(2000):
        data = b"".join(rng.choice(words) for _ in range(rng.randrange(1, 12)))
        assert "error" in ask(sock, data)
    sock.close()


def test_peers_that_come_and_go(connect):
    for _ in range(300):
        connect().close()
    many = [connect() for _ in range(200)]
    assert ask(many[-1], b'{"op": "state"}')["ok"]
    for sock in many:
        sock.close()
    with connect() as sock:
        sock.send(b'{"op": "wait"}')
        assert "error" in ask(sock, b'{"op": "state"}')  # one request at a time


def test_the_sandbox_ends_while_a_command_wants_to_talk_to_it(cli, bundle):
    """Its socket is gone first, then the process: the container is "stopped", as if the command had come later."""
    commands = (["wait", "c"], 0, '"exitStatus":5', ""), (["kill", "--all", "c"], 0, "", ""), (["kill", "c"], 1, "", "is stopped")
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    state = os.path.join(cli.state, "c")
    pid = cli.state_of("c")["pid"]
    os.rename(os.path.join(state, "control"), os.path.join(state, "elsewhere"))
    with open(os.path.join(state, "exit"), "w") as file:
        file.write("5\n")
    running = [cli.popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for arguments, *_ in commands]
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    for process, (_, code, out, err) in zip(running, commands, strict=True):
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, out in output, err in errors) == (code, True, True), (output, errors)
    assert cli("delete", "c").returncode == 0
