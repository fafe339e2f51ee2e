"""Fixtures of the end-to-end tests: container engines of their own, an image with busybox."""

import glob
import os
import shutil
import subprocess

import pytest
from e2e_helpers import BRIDGE, PAUSE, RUNTIMES, Containerd, Runner, archive, wait_clean


@pytest.fixture(scope="session")
def containerd(tmp_path_factory, image):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("containerd", "ctr", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/deps.sh e2e)")
    top = tmp_path_factory.mktemp("containerd")
    daemon = Containerd(top)
    daemon.start()
    try:
        daemon.import_image(image)
        yield daemon
    finally:
        for cid in daemon.ctr("containers", "ls", "-q", check=False).stdout.split():
            daemon.ctr("tasks", "rm", "-f", cid, check=False)
            daemon.ctr("containers", "rm", cid, check=False)
        daemon.stop()
        for top in glob.glob(f"/sys/fs/cgroup/*/{daemon.namespace}"):  # runc leaves the cgroup above its containers
            os.rmdir(top)


@pytest.fixture(scope="session")
def image(tmp_path_factory, busybox_root):
    """Path of the image's archive."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    archive(f"{busybox_root}/.", path)
    return str(path)


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    return RUNTIMES[request.param]


@pytest.fixture
def ctr(containerd, runtime):
    runner = Runner(containerd, runtime)
    yield runner
    for cid in runner.ids:
        runner.remove(cid)
    wait_clean(containerd)


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory, image, busybox_root):
    """A containerd with its CRI plugin."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("containerd", "ctr", "runc", "/usr/lib/cni/bridge"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/deps.sh e2e)")
    top = tmp_path_factory.mktemp("cri")
    daemon = Containerd(top, cri=True)
    daemon.start()
    try:
        archive(f"{busybox_root}/.", top / "pause.tar", PAUSE, ("sleep", "1000000"))
        for path in (image, f"{top}/pause.tar"):
            daemon.import_image(path)
        yield daemon
    finally:
        daemon.stop()
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False)
