"""The shim's protocol and its socket, without containerd."""

import json
import os
import random
import socket
import subprocess
import sys
import time

import pytest
from support import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SHIM = os.path.join(ROOT, "bin", "containerd-shim-stockade-v1")
sys.path[:0] = [os.path.join(ROOT, "build", "protos")]
sys.path.append("/usr/lib/python3/dist-packages")


@pytest.fixture
def shim(tmp_path):
    """Socket path of a started shim."""
    (tmp_path / "config.json").write_text("{}")
    argv = [SHIM, "-namespace", f"test{os.getpid()}", "-id", "c", "-address", str(tmp_path / "none"), "start"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "address").read_text()
    path = done.stdout.removeprefix("unix://")
    again = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert again.stdout == done.stdout  # the same shim
    yield path
    client, _, task = connect(path)
    client.call("containerd.task.v2.Task", "Shutdown", task.ShutdownRequest(now=True))
    client.close()


def connect(path):
    import task_pb2

    from shim import ttrpc

    return ttrpc.Client(path), ttrpc, task_pb2


def test_calls(shim, tmp_path):
    client, ttrpc, task = connect(shim)
    answer = task.ConnectResponse.FromString(client.call("containerd.task.v2.Task", "Connect", task.ContainerRequest(id="c")))
    assert os.path.exists(f"/proc/{answer.shim_pid}")
    wrong = {
        ("containerd.task.v2.Task", "State"): ttrpc.NOT_FOUND,
        ("containerd.task.v2.Task", "Checkpoint"): ttrpc.UNIMPLEMENTED,
        ("containerd.task.v2.Task", "Fly"): ttrpc.UNIMPLEMENTED,
        ("nobody", "State"): ttrpc.UNIMPLEMENTED,
    }
    for (service, method), code in wrong.items():
        with pytest.raises(ttrpc.RpcError) as error:
            client.call(service, method, task.ContainerRequest(id="c"))
        assert error.value.code == code
    with pytest.raises(ttrpc.RpcError, match="ociVersion"):
        client.call("containerd.task.v2.Task", "Create", task.CreateTaskRequest(id="c", bundle=str(tmp_path)))
    client.close()


def test_a_shim_takes_any_bytes(shim):
    """Whatever one client sends, the next is served."""
    chance = random.Random(5)
    import ttrpc_pb2

    good = ttrpc_pb2.Request(service="containerd.task.v2.Task", method="State", payload=b"\n\x01c").SerializeToString()
    for _ in range(300):
        data = bytearray(len(good).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x01\x00" + good)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(shim)  # waits while the queue is full
            sock.sendall(data + chance.randbytes(chance.randrange(50)))
    client, ttrpc, task = connect(shim)
    client.call("containerd.task.v2.Task", "Connect", task.ContainerRequest(id="c"))
    client.close()


def test_bad_commands(tmp_path):
    for argv in (["start"], ["-namespace", "n", "-id", "c", "fly"], ["-wings", "start"]):
        done = subprocess.run([SHIM, *argv], cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and not os.listdir(tmp_path)


def test_delete_prints_a_response(tmp_path):
    import task_pb2

    argv = [SHIM, "-namespace", "n", "-id", "c", "-bundle", str(tmp_path), "delete"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=20, check=True)
    answer = task_pb2.DeleteResponse.FromString(done.stdout)
    assert answer.exit_status == 137 and abs(answer.exited_at.seconds - time.time()) < 60

    from shim import main

    assert task_pb2.DeleteResponse.FromString(main.delete_response(300, 7, 5 * 10**9 + 6)) == task_pb2.DeleteResponse(
        pid=300, exit_status=7, exited_at=task_pb2.Timestamp(seconds=5, nanos=6)
    )


def test_version():
    assert "Version:" in subprocess.run([SHIM, "-v"], capture_output=True, text=True, timeout=20).stdout


def test_start_imports_no_protobuf():
    """`start` is waited for; what is heavy comes after it, in the shim."""
    script = f"import sys; sys.path.insert(0, {ROOT!r}); import shim.main; print(*sys.modules)"
    done = subprocess.run(["/usr/bin/python3", "-ISc", script], capture_output=True, text=True, timeout=20, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"google", "re", "enum", "hashlib", "socket", "select", "json", "typing"}


def test_bootstrap_of_version_3(shim, tmp_path):
    """containerd 2 says by an environment variable that it wants parameters as JSON, and calls the service by its newer name."""
    argv = [SHIM, "-namespace", f"test{os.getpid()}", "-id", "c", "-address", str(tmp_path / "none"), "start"]
    for version, expected in (("2", f"unix://{shim}"), ("3", {"version": 3, "address": f"unix://{shim}", "protocol": "ttrpc"})):
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20, env={**os.environ, "MAX_SHIM_VERSION": version})
        assert (json.loads(done.stdout) if version == "3" else done.stdout) == expected
    client, _, task = connect(shim)
    answer = task.ConnectResponse.FromString(client.call("containerd.task.v3.Task", "Connect", task.ContainerRequest(id="c")))
    assert os.path.exists(f"/proc/{answer.shim_pid}")
    client.close()
