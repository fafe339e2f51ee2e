"""Lack of space, and several clients at once: each command either does its work or says in one line why not, and nothing
stays behind."""

import os
import subprocess

import pytest
from cli_helpers import STANDIN, Cli, needs_root, stockade_processes

pytestmark = needs_root


@pytest.fixture
def small(tmp_path):
    """The command with a state directory on a file system of 64 KiB and 40 inodes, and a function that fills that."""
    state = tmp_path / "small"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "tmpfs", state], check=True)
    cli = Cli(STANDIN, state)

    def fill():
        with open(state / "ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    try:
        yield cli, fill
        assert not stockade_processes(cli.state)
        assert set(os.listdir(state)) <= {"ballast"}
    finally:
        subprocess.run(["umount", state], check=True)


def one_line(result):
    assert result.returncode == 1
    assert result.stderr.startswith("stockade: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_no_space_to_create(small, bundle):
    cli, fill = small
    fill()
    for command in ("create", "run"):
        assert "No space left on device" in one_line(cli(command, "--bundle", bundle("sleep"), "c"))


def test_no_space_to_start(small, bundle):
    """What was created with room left can still be started, or says why not; and be deleted."""
    cli, fill = small
    assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
    fill()
    result = cli("start", "c")
    if result.returncode:
        assert "No space left on device" in one_line(result)
    assert cli("delete", "--force", "c").returncode == 0


def test_no_inodes(small, bundle):
    cli, _ = small
    names = []
    try:
        while True:
            names.append(os.path.join(cli.state, f"x{len(names)}"))
            open(names[-1], "x").close()
    except OSError:
        names.pop()
    for room in range(5):  # a step later each time
        if room:
            os.unlink(names.pop())
        result = cli("create", "--bundle", bundle("sleep"), "c")
        if result.returncode == 0:
            assert cli("delete", "--force", "c").returncode == 0
        else:
            assert "No space left on device" in one_line(result)
        assert "c" not in os.listdir(cli.state)
    for name in names:
        os.unlink(name)


@pytest.mark.parametrize("force", [True, False])
def test_several_delete_at_once(cli, bundle, force):
    for _ in range(5):
        assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
        argv = ("delete", "--force", "c") if force else ("delete", "c")
        clients = [cli.popen(*argv, stderr=subprocess.PIPE, text=True) for _ in range(5)]
        answers = [client.communicate(timeout=30)[1] for client in clients]
        codes = [client.returncode for client in clients]
        if force:
            assert codes == [0] * 5, answers
        else:
            assert sorted(codes) == [0, 1, 1, 1, 1] and all("does not exist" in text for text, code in zip(answers, codes, strict=True) if code)


def test_several_create_the_same(cli, bundle):
    path = bundle("sleep")
    clients = [cli.popen("create", "--bundle", path, "c", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(5)]
    errors = []
    for client in clients:
        client.wait(30)
        if client.returncode:
            errors.append(client.stderr.read())
        client.stderr.close()
    assert len(errors) == 4 and all("already exists" in text for text in errors)
    assert cli("delete", "--force", "c").returncode == 0


def test_start_and_delete_at_once(cli, bundle):
    for _ in range(5):
        assert cli("create", "--bundle", bundle("sleep"), "c").returncode == 0
        clients = [cli.popen(*argv, stderr=subprocess.DEVNULL) for argv in (("start", "c"), ("delete", "--force", "c"), ("kill", "c", "KILL"))]
        for client in clients:
            client.wait(30)
        assert cli("delete", "--force", "c").returncode == 0


def test_fifty_in_a_loop(cli, bundle):
    path = bundle("exit", "0")
    for number in range(50):
        assert cli("run", "--bundle", path, f"c{number}").returncode == 0
