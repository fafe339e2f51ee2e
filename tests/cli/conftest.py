"""Fixtures of the CLI's tests: bundles, the command with a kernel's stand-in, and a check that nothing is left."""

import json
import subprocess
import time

import pytest
from cli_helpers import STANDIN, STOCKADE, Cli, snapshot


@pytest.fixture
def nothing_left(tmp_path):
    """Fails the test if it leaves processes, mounts, cgroups or state behind. What goes by itself within a moment
    does not count."""
    state = tmp_path / "state"
    before = snapshot(state)
    yield state
    end = time.monotonic() + 30
    while True:
        after = snapshot(state)
        new = {
            "processes": {pid: comm for pid, comm in after["processes"].items() if pid not in before["processes"]},
            "mounts": [line for line in after["mounts"] if line not in before["mounts"]],
            "cgroups": after["cgroups"] - before["cgroups"],
            "state": after["state"],
        }
        if not any(new.values()):
            return
        if time.monotonic() > end:
            pytest.fail(f"left behind: { {key: value for key, value in new.items() if value} }")
        time.sleep(0.05)


@pytest.fixture
def cli(nothing_left):
    """The command with the stand-in kernel."""
    return Cli(STANDIN, nothing_left)


@pytest.fixture
def bundle(tmp_path):
    """bundle("exit", "3", change=function(config)) -> path of a fresh bundle."""
    count = 0

    def make(*args, change=None):
        nonlocal count
        count += 1
        path = tmp_path / f"bundle{count}"
        (path / "rootfs").mkdir(parents=True)
        config = {
            "ociVersion": "1.0.2",
            "process": {"args": list(args), "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
        }
        if change is not None:
            config = change(config) or config
        (path / "config.json").write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def real(nothing_left, platform):
    return Cli(STOCKADE, nothing_left, ["--platform", platform])


@pytest.fixture
def busybox(tmp_path, busybox_root):
    """busybox("sh", "-c", "…", change=function(config)) -> path of a fresh bundle with busybox's root."""
    count = 0

    def make(*args, change=None):
        nonlocal count
        count += 1
        path = tmp_path / f"busybox{count}"
        path.mkdir()
        (path / "rootfs").symlink_to(busybox_root)
        subprocess.run([STOCKADE, "spec", "--bundle", str(path)], check=True)
        config = json.loads((path / "config.json").read_text())
        config["process"].update(args=list(args), terminal=False)
        if change is not None:
            change(config)
        (path / "config.json").write_text(json.dumps(config))
        return path

    return make
