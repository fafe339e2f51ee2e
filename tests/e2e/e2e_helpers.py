"""What the end-to-end tests share: containerd of the test's own (root, state, socket and configuration in a temporary
directory), ctr, an image."""

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time

import pytest
from support import ROOT

RUNTIMES = {"stockade": "io.containerd.stockade.v1", "runc": "io.containerd.runc.v2"}
IMAGE = "localhost/busybox:latest"
CONFIG = """
version = 2
root = "{top}/root"
state = "{top}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{top}/c.sock"
[ttrpc]
  address = "{top}/c.sock.ttrpc"
"""
CRI = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{top}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.stockade]
      runtime_type = "io.containerd.stockade.v1"
"""
PAUSE = "localhost/pause:latest"
BRIDGE = "stockade-cri0"
DISABLED = ("io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
            "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt")  # fmt: skip


def pod_network(top) -> dict:
    """A CNI network with a bridge of its own and no way out."""
    ipam = {"type": "host-local", "dataDir": f"{top}/ipam", "ranges": [[{"subnet": "10.88.77.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": ipam}]}


def archive(root, path, name=IMAGE, command=("/bin/sh",)) -> None:
    """A docker-archive with one layer, the files below `root`."""
    layer = subprocess.run(["tar", "-C", root, "-c", "--sort=name", "."], capture_output=True, check=True).stdout
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }).encode()  # fmt: skip
    file = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": file, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for member, data in ((file, config), (f"{digest}/layer.tar", layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Containerd:
    """cri: the plugin for Kubernetes is on, with a pod network on bridge `BRIDGE`."""

    def __init__(self, top, cri=False):
        self.top = str(top)
        self.socket = f"{top}/c.sock"
        self.daemon = None
        if cri:
            self.namespace = "k8s.io"
            (top / "cni").mkdir()
            (top / "cni/10-test.conflist").write_text(json.dumps(pod_network(top)))
        disabled = ", ".join(f'"{name}"' for name in DISABLED[1 if cri else 0 :])
        (top / "config.toml").write_text((CONFIG + (CRI if cri else "")).format(top=top, disabled=disabled))

    def start(self):
        env = dict(os.environ, PATH=f"{ROOT}/bin:{os.environ['PATH']}")
        with open(f"{self.top}/containerd.log", "ab") as log:
            self.daemon = subprocess.Popen(
                ["containerd", "-c", f"{self.top}/config.toml"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        end = time.monotonic() + 20
        while self.ctr("version", check=False).returncode:
            assert time.monotonic() < end and self.daemon.poll() is None, self.log()
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        self.daemon.send_signal(how)
        self.daemon.wait(20)

    def log(self):
        with open(f"{self.top}/containerd.log") as file:
            return file.read()[-4000:]

    def argv(self, *arguments):
        return ["ctr", "-a", self.socket, "-n", self.namespace, *map(str, arguments)]

    namespace = f"test{os.getpid()}"

    def ctr(self, *arguments, check=True, input="", timeout=60):
        """CompletedProcess with text."""
        done = subprocess.run(self.argv(*arguments), input=input, capture_output=True, text=True, timeout=timeout)
        if check:
            assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.log()}"
        return done

    def import_image(self, path) -> None:
        """From an archive. The ctr of containerd 2 needs to be told that the unpacking is its own."""
        local = ["--local"] if "--local" in self.ctr("images", "import", "--help").stdout else []
        self.ctr("images", "import", *local, "--snapshotter", "native", path)


def entries(top):
    return [os.path.join(top, name) for name in os.listdir(top)] if os.path.isdir(top) else []


def made_below(top, state):
    """Is the container whose state directory that is, if it tells, of a bundle below `top`? Other tests may run at the same time."""
    try:
        with open(f"{state}/state.json") as file:
            return json.load(file)["bundle"].startswith(top)
    except FileNotFoundError:
        return os.path.isdir(state)


def leftovers(containerd):
    """What containers of this containerd have left: processes, mounts, state, bundles."""
    marker = containerd.top.encode()
    processes = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != containerd.daemon.pid:
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    line = file.read()
                with open(f"/proc/{name}/comm") as file:
                    comm = file.read().strip()
            except OSError:
                continue
            if marker in line and b"pytest" not in line and not line.startswith(b"ctr"):
                processes[int(name)] = comm
    with open("/proc/self/mountinfo") as file:
        mounts = [line for line in file if containerd.top in line]
    state = [path for path in entries(f"/run/containerd/stockade/{containerd.namespace}") if made_below(containerd.top, path)]
    state += entries(f"{containerd.top}/state/io.containerd.runtime.v2.task/{containerd.namespace}")
    cgroups = []
    for controller in ("memory", "pids", "."):
        top = f"/sys/fs/cgroup/{controller}/{containerd.namespace}"
        if os.path.isdir(top):
            cgroups += [entry.path for entry in os.scandir(top) if entry.is_dir()]
    found = {"processes": processes, "mounts": mounts, "state": state, "cgroups": cgroups}
    return {key: value for key, value in found.items() if value}


def wait_clean(containerd, seconds=30):
    end = time.monotonic() + seconds
    while left := leftovers(containerd):
        if time.monotonic() > end:
            pytest.fail(f"left behind: {left}\n{containerd.log()}")
        time.sleep(0.05)


class Runner:
    """ctr with one runtime; containers get ids of their own."""

    count = 0

    def __init__(self, containerd, runtime):
        self.containerd = containerd
        self.runtime = runtime
        self.ids = []

    def new(self):
        Runner.count += 1
        self.ids.append(f"c{Runner.count}")
        return self.ids[-1]

    def run_argv(self, flags, cid, command):
        return ["run", "--snapshotter", "native", "--runtime", self.runtime, *flags, IMAGE, cid, *command]

    def run(self, *command, flags=("--rm",), **options):
        """`ctr run`; CompletedProcess."""
        return self.containerd.ctr(*self.run_argv(flags, self.new(), command), check=False, **options)

    def start(self, *command, flags=()):
        """A detached container; its id."""
        cid = self.new()
        self.containerd.ctr(*self.run_argv(("-d", *flags), cid, command))
        return cid

    def exec(self, cid, *command, flags=(), **options):
        Runner.count += 1
        return self.containerd.ctr("tasks", "exec", "--exec-id", f"e{Runner.count}", *flags, cid, *command, check=False, **options)

    def status(self, cid):
        for line in self.containerd.ctr("tasks", "ls").stdout.splitlines()[1:]:
            name, pid, status = line.split()
            if name == cid:
                return status
        return None

    def remove(self, cid):
        self.containerd.ctr("tasks", "rm", "-f", cid, check=False)
        self.containerd.ctr("containers", "rm", cid, check=False)
        self.containerd.ctr("snapshots", "--snapshotter", "native", "rm", cid, check=False)
