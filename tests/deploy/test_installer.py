"""The node installer on a directory that stands for a node, with a cluster's API of the test's own; and its tree, which
needs nothing of a node, in an empty root."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
from support import ROOT, rootfs

HERE = os.path.join(ROOT, "deploy")
sys.path.insert(0, HERE)
import installer  # noqa: E402

CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "pause"\n'


@pytest.fixture
def tree(tmp_path):
    """A tree as the image has it, whose command is this project's."""

    def make(version):
        top = tmp_path / f"image-{version}"
        (top / "bin").mkdir(parents=True)
        (top / "version").write_text(version + "\n")
        (top / "bin/stockade").symlink_to(os.path.join(ROOT, "bin", "stockade"))
        return str(top)

    return make


@pytest.fixture
def node(tmp_path, tree):
    """node(version): an installer.Node; what it did is in .calls."""
    host = tmp_path / "host"
    (host / "etc/containerd").mkdir(parents=True)
    (host / "etc/containerd/config.toml").write_text(CONFIG)
    calls = []

    class Recorder(installer.Node):
        def on_node(self, argv):
            calls.append(argv[0] if "restart" in argv else "bundle")
            return ["true"]

    def make(version, flags=()):
        made = Recorder(str(host), ["containerd"], list(flags), ["systemctl", "restart", "containerd"], lambda value: calls.append(f"label {value}"), tree(version))
        made.calls, made.top = calls, host
        return made

    return make


def test_install_again_update_and_remove(node):
    first = node("v1")
    first.install()
    assert first.calls == ["bundle", "systemctl", "label true"]
    assert os.readlink(first.top / "opt/stockade") == "stockade-v1"
    text = (first.top / "etc/containerd/config.toml").read_text()
    assert text.startswith(CONFIG) and '"/opt/stockade/bin/containerd-shim-stockade-v1"' in text
    first.calls.clear()
    first.install()  # the pod was restarted
    assert first.calls == ["label true"]  # and containerd was not
    first.calls.clear()
    second = node("v2")
    second.install()
    assert second.calls == ["bundle", "label true"]
    assert sorted(os.listdir(second.top / "opt")) == ["stockade", "stockade-v2"]
    assert os.readlink(second.top / "opt/stockade") == "stockade-v2"
    second.calls.clear()
    second.uninstall()
    assert second.calls == ["label None", "systemctl"]
    assert os.listdir(second.top / "opt") == []
    assert {path.name: path.read_text() for path in (second.top / "etc/containerd").iterdir()} == {"config.toml": CONFIG}
    second.calls.clear()
    second.uninstall()
    assert second.calls == ["label None"]


def test_flags_reach_the_runtime(node):
    made = node("v1", ["platform=ptrace"])
    made.install()
    assert (made.top / "etc/containerd/stockade.toml").read_text() == 'platform = "ptrace"\n'


def test_a_configuration_that_is_not_understood(node):
    made = node("v1")
    (made.top / "etc/containerd/config.toml").write_text("version = 1\n")
    with pytest.raises(SystemExit, match="version 1"):
        made.install()
    assert "label true" not in made.calls  # no pod shall come


def test_a_copy_that_was_interrupted(node):
    made = node("v1")
    (made.top / "opt/stockade-v1.part/bin").mkdir(parents=True)
    (made.top / "opt/stockade.new").symlink_to("nowhere")
    made.install()
    assert sorted(os.listdir(made.top / "opt")) == ["stockade", "stockade-v1"]


def test_the_label(tmp_path):
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers["Authorization"], self.headers["Content-Type"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    (tmp_path / "token").write_text("secret\n")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api = installer.Api("node-1", str(tmp_path), f"http://127.0.0.1:{server.server_port}")
        api.label("true")
        api.label(None)
        server.shutdown()
        thread.join()
    where = ("/api/v1/nodes/node-1", "Bearer secret", "application/merge-patch+json")
    assert seen == [(*where, {"metadata": {"labels": {installer.LABEL: value}}}) for value in ("true", None)]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_tree_needs_nothing_of_the_node(tmp_path):
    """A root with busybox only: the installed tree runs a container there (in a mount namespace, its root pivoted)."""
    node = tmp_path / "node"
    for name in ("opt", "bin", "proc", "dev", "sys", "tmp", "run", "old", "bundle"):
        (node / name).mkdir(parents=True)
    subprocess.run([f"{HERE}/build-image.sh", "--tree", str(node / "opt/stockade")], check=True, timeout=120)
    busybox = rootfs("busybox")
    shutil.copytree(f"{busybox}/bin", node / "bin", symlinks=True, dirs_exist_ok=True)
    shutil.copytree(busybox, node / "bundle/rootfs", symlinks=True)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["sh", "-c", "echo inside; exit 3"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
    }
    (node / "bundle/config.json").write_text(json.dumps(config))
    script = f"""set -e
        mount --rbind {node} {node}; cd {node}
        for name in proc dev sys; do mount --rbind /$name $name; done
        pivot_root . old; umount -l /old; export PATH=/bin
        /opt/stockade/bin/stockade --version
        STOCKADE_PYTHON=/opt/stockade/bin/python /opt/stockade/bin/python -X no_debug_ranges /opt/stockade/project/sandbox/bundle.py
        /opt/stockade/bin/containerd-shim-stockade-v1 -v
        code=0; /opt/stockade/bin/stockade run --bundle /bundle tree || code=$?; echo code $code"""
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-2:] == ["inside", "code 3"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("buildah") is None, reason="needs root and buildah")
def test_the_image(tmp_path, tmp_path_factory):
    """buildah makes the image of what is here; its entry point answers."""
    top = tmp_path_factory.getbasetemp()
    (tmp_path / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{top}/b"\n')
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = dict(os.environ, CONTAINERS_STORAGE_CONF=str(tmp_path / "storage.conf"), BUILDAH_FLAGS=f"--signature-policy {tmp_path}/policy.json")
    done = subprocess.run([f"{HERE}/build-image.sh", "localhost/node:test"], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    made = subprocess.run(["buildah", "from", "--signature-policy", f"{tmp_path}/policy.json", "--pull-never", "localhost/node:test"], env=env, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert made.returncode == 0, made.stderr
    place = subprocess.run(["buildah", "mount", made.stdout.strip()], env=env, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    try:
        argv = ["chroot", place, "/opt/stockade/bin/python", "/opt/stockade/installer.py", "fly"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={"PATH": "/bin:/usr/bin:/usr/sbin"})
        assert "usage: installer.py" in done.stderr
    finally:
        subprocess.run(["buildah", "rm", "--all"], env=env, capture_output=True, timeout=60)
