"""Puts stockade on a Kubernetes node, or takes it away; runs as a DaemonSet's container (node-installer.yaml, node-cleanup.yaml).

install: copies /opt/stockade to the node under a name of its content, points /opt/stockade there, enters the runtime into
containerd's configuration, restarts containerd if that changed, and labels the node. Then it sleeps, so that the pod stays.
uninstall: the same backwards. Each step looks first whether there is anything to do, so a restart of the pod changes nothing.

Settings come from the environment: NODE_NAME; STOCKADE_HOST, where the node's files are [/host]; STOCKADE_ENGINES [containerd];
STOCKADE_FLAGS, global flags for the runtime as "platform=ptrace network=host"; STOCKADE_RESTART, a command of the node
[systemctl restart containerd], empty for none.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LABEL = "stockade.dev/runtime"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
BASE = "/opt/stockade"


def say(text) -> None:
    print(f"stockade installer: {text}", flush=True)


class Node:
    """host: the directory of the node's files; restart: command (list of str), or empty; label: function(value or None)."""

    def __init__(self, host, engines, flags, restart, label, tree=HERE):
        self.host = host.rstrip("/")
        self.engines = engines
        self.flags = flags
        self.restart = restart
        self.label = label
        self.tree = tree
        with open(os.path.join(tree, "version"), encoding="ascii") as file:
            self.version = file.read().strip()

    # -- steps
    def install(self) -> None:
        self.copy()
        changed = self.configure("install", "--path", f"{BASE}/bin/stockade", *(f"--runtime-flag={flag}" for flag in self.flags))
        if changed:
            self.restart_engine()
        self.label("true")
        self.forget_old()

    def uninstall(self) -> None:
        self.label(None)  # first, so that no pod comes any more
        if self.configure("uninstall"):
            self.restart_engine()
        if os.path.islink(self.host + BASE):
            os.unlink(self.host + BASE)
        self.version = ""
        self.forget_old()

    def copy(self) -> None:
        """The tree under its own name, complete or not at all; the link is changed at once."""
        target = f"{self.host}{BASE}-{self.version}"
        if not os.path.isdir(target):
            say(f"copying to {BASE}-{self.version}")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            part = f"{target}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(self.tree, part, symlinks=True)
            os.rename(part, target)
        link, new = self.host + BASE, f"{self.host}{BASE}.new"
        name = os.path.basename(target)
        if os.path.islink(link) and os.readlink(link) == name:
            return
        if os.path.lexists(new):
            os.unlink(new)
        os.symlink(name, new)
        os.rename(new, link)
        self.bundle()

    def bundle(self) -> None:
        """The code of all modules in one file, with the node's file times: only a shorter start depends on it."""
        argv = [f"{BASE}/bin/python", "-X", "no_debug_ranges", f"{BASE}/project/sandbox/bundle.py"]
        environment = {**os.environ, "STOCKADE_PYTHON": f"{BASE}/bin/python"}
        done = subprocess.run(self.on_node(argv), capture_output=True, text=True, env=environment)
        if done.returncode:
            say(f"modules are not bundled, starts take longer: {done.stderr.strip().splitlines()[-1:]}")

    def on_node(self, argv) -> list:
        return ["chroot", self.host, *argv] if self.host else argv

    def configure(self, command, *arguments) -> bool:
        """`stockade install` or `uninstall`; did it change anything?"""
        argv = [os.path.join(self.tree, "bin", "stockade"), command, "--sysroot", self.host or "/", *arguments]
        dry = subprocess.run([*argv, "--dry-run", *self.engines], capture_output=True, text=True)
        if dry.returncode:
            raise SystemExit(dry.stderr.strip())
        if not any(line.startswith("+++ ") for line in dry.stdout.splitlines()):
            return False
        subprocess.run([*argv, *self.engines], check=True)
        return True

    def restart_engine(self) -> None:
        if self.restart:
            say(f"restarting: {' '.join(self.restart)}")
            subprocess.run(self.on_node(self.restart), check=True)

    def forget_old(self) -> None:
        """Remove trees of other versions that no process of the node uses any more."""
        top, prefix = os.path.dirname(self.host + BASE), os.path.basename(BASE) + "-"
        names = os.listdir(top) if os.path.isdir(top) else ()
        for name in names:
            if name.startswith(prefix) and name != prefix + self.version and not in_use(f"{os.path.dirname(BASE)}/{name}/"):
                say(f"removing {name}")
                shutil.rmtree(os.path.join(top, name))


def in_use(path) -> bool:
    """Does a process have a file below `path` mapped? Shims and Sentries do as long as they live."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                if path in file.read():
                    return True
        except OSError:
            continue  # it has ended
    return False


class Api:
    """The cluster, as the pod's service account."""

    def __init__(self, node, account=ACCOUNT, url=None):
        self.node = node
        self.account = account
        self.url = url or f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"

    def label(self, value) -> None:
        """Set the node's label; None removes it."""
        import ssl
        import urllib.request

        with open(os.path.join(self.account, "token"), encoding="ascii") as file:
            token = file.read().strip()
        body = json.dumps({"metadata": {"labels": {LABEL: value}}}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        request = urllib.request.Request(f"{self.url}/api/v1/nodes/{self.node}", body, headers, method="PATCH")
        context = ssl.create_default_context(cafile=os.path.join(self.account, "ca.crt")) if self.url.startswith("https") else None
        with urllib.request.urlopen(request, timeout=30, context=context):
            say(f"node {self.node}: label {LABEL} {'removed' if value is None else 'set to ' + value}")


def main(argv) -> None:
    if argv not in (["install"], ["uninstall"]):
        raise SystemExit("usage: installer.py install|uninstall")
    environment = os.environ.get
    restart = environment("STOCKADE_RESTART", "systemctl restart containerd").split()
    engines = environment("STOCKADE_ENGINES", "containerd").split()
    node = Node(environment("STOCKADE_HOST", "/host"), engines, environment("STOCKADE_FLAGS", "").split(), restart, Api(os.environ["NODE_NAME"]).label)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    getattr(node, argv[0])()
    say("done")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1:])
