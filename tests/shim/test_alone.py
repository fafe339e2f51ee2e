"""A shim without a client: what containerd did not live to hear of is undone, and a shim that nobody can know of ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from support import ROOT, STOCKADE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SHIM = os.path.join(ROOT, "bin", "containerd-shim-stockade-v1")
NAMESPACE = f"alone{os.getpid()}"
STATE = f"/run/containerd/stockade/{NAMESPACE}"
TASK = "containerd.task.v2.Task"
sys.path[:0] = [os.path.join(ROOT, "build", "protos")]
sys.path.append("/usr/lib/python3/dist-packages")


@pytest.fixture
def bundle(tmp_path, busybox_root):
    subprocess.run([STOCKADE, "spec", "--bundle", str(tmp_path)], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(args=["sleep", "100"], terminal=False)
    config["root"]["path"] = busybox_root
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "network"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    yield tmp_path
    if os.path.isdir(STATE):
        os.rmdir(STATE)


def start(bundle):
    """Path of its socket and pid of a started shim."""
    import task_pb2

    from shim import ttrpc

    argv = [SHIM, "-namespace", NAMESPACE, "-id", "c", "-address", str(bundle / "none"), "start"]
    path = subprocess.run(argv, cwd=bundle, capture_output=True, text=True, timeout=60, check=True).stdout.removeprefix("unix://")
    client = ttrpc.Client(path, 60)
    answer = task_pb2.ConnectResponse.FromString(client.call(TASK, "Connect", task_pb2.ContainerRequest(id="c")))
    client.close()
    return path, answer.shim_pid


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(pid):
    """Has the process ended, which may be a zombie that nobody waits for?"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_container_that_nobody_waits_for(bundle):
    """containerd is killed while it waits for the answer to Create."""
    import task_pb2
    import ttrpc_pb2

    from shim import ttrpc

    path, shim = start(bundle)
    request = ttrpc_pb2.Request(service=TASK, method="Create", payload=task_pb2.CreateTaskRequest(id="c", bundle=str(bundle)).SerializeToString())
    os.kill(shim, signal.SIGSTOP)  # so that the client is gone before the container is made
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(ttrpc.frame(1, ttrpc.REQUEST, request))
    client = ttrpc.Client(path, 60)
    os.kill(shim, signal.SIGCONT)
    with pytest.raises(ttrpc.RpcError) as error:
        client.call(TASK, "State", task_pb2.ContainerRequest(id="c"))
    assert error.value.code == ttrpc.NOT_FOUND
    assert not os.path.exists(f"{STATE}/c") and not os.path.exists(bundle / "stockade-root")
    client.close()
    wait_for(lambda: ended(shim))
    assert not os.path.exists(path)


@pytest.mark.parametrize("how", ["delete", "remove the bundle"])
def test_a_container_that_is_cleaned_up_without_its_shim(bundle, how):
    """containerd is away, and when it is back it does not reach the shim."""
    import task_pb2

    from shim import ttrpc

    path, shim = start(bundle)
    client = ttrpc.Client(path, 60)
    client.call(TASK, "Create", task_pb2.CreateTaskRequest(id="c", bundle=str(bundle)))
    client.call(TASK, "Start", task_pb2.ProcessRequest(id="c"))
    client.close()
    assert os.path.exists(f"{STATE}/c")
    if how == "delete":
        argv = [SHIM, "-namespace", NAMESPACE, "-id", "c", "-bundle", str(bundle), "delete"]
        subprocess.run(argv, cwd=bundle, capture_output=True, timeout=60, check=True)
    else:
        os.rename(bundle, f"{bundle}-removed")
    wait_for(lambda: ended(shim))
    assert not os.path.exists(path) and not os.path.exists(f"{STATE}/c")


def test_a_shim_that_never_gets_a_container(bundle):
    """containerd 1.6 stays connected to one, and forgets it when that ends."""
    from shim import ttrpc

    path, shim = start(bundle)
    client = ttrpc.Client(path, 60)
    wait_for(lambda: ended(shim))
    assert not os.path.exists(path)
    client.close()


def test_what_counts_as_idle():
    from shim import idle

    class Loop:
        """Time goes on by hand."""

        def __init__(self):
            self.waiting = []

        def later(self, seconds, function):
            assert seconds == idle.STEP
            self.waiting.append(function)

        def step(self):
            waiting, self.waiting = self.waiting, []
            assert len(waiting) <= 1
            for function in waiting:
                function()

    loop, needed, over = Loop(), False, []
    watch = idle.Idle(loop, lambda: needed, lambda: over.append(True))
    for _ in range(3):
        for _ in range(idle.STEPS - 1):
            loop.step()
        assert not over
        watch.active()
    for count in (1, 2):
        for _ in range(idle.STEPS):
            loop.step()
        assert len(over) == count
    needed = True
    loop.step()
    assert not loop.waiting  # nobody wakes up while there is something to wait for
    needed = False
    watch.active()
    for _ in range(idle.STEPS):
        loop.step()
    assert len(over) == 3
