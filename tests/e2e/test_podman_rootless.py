"""podman as a user without privileges, with stockade and with runc."""

import os
import pathlib
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from e2e_helpers import IMAGE
from support import STOCKADE
from test_podman import ENGINE, POLICY, STORAGE, Podman

pytestmark = pytest.mark.slow
USER = "stockade-podman"


class Rootless(Podman):
    """Runs podman as the user."""

    def __init__(self, top, runtime):
        Podman.__init__(self, top, runtime)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(top), "XDG_RUNTIME_DIR": f"{top}/xdg", "USER": USER, "TMPDIR": str(top),
                    "CONTAINERS_STORAGE_CONF": f"{top}/storage.conf", "CONTAINERS_CONF": f"{top}/containers.conf"}  # fmt: skip

    def argv(self, *arguments):
        return ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--", *Podman.argv(self, *arguments)]

    def __call__(self, *arguments, input="", timeout=60):
        return subprocess.run(self.argv(*arguments), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout, env=self.env, cwd=self.env["HOME"])  # fmt: skip


@pytest.fixture(scope="session")
def home(image):
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a user")
    for program in ("podman", "conmon", "runc", "newuidmap", "useradd", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (scripts/deps.sh e2e)")
    if subprocess.run(["test", "-r", STOCKADE], user=65534, group=65534, extra_groups=[]).returncode:
        pytest.skip("the project lies where other users cannot read")
    subprocess.run(["userdel", USER], stderr=subprocess.DEVNULL, check=False)  # of a run that was killed
    subprocess.run(["useradd", "--no-create-home", USER], check=True)
    top = pathlib.Path(tempfile.mkdtemp(prefix="stockade-rootless-"))  # pytest's own directories are closed to others
    top.chmod(0o755)
    try:
        shutil.copy(image, top / "image.tar")
        (top / "storage.conf").write_text(STORAGE.format(top=top))
        (top / "containers.conf").write_text(ENGINE.format(top=top, stockade=STOCKADE))
        (top / "policy.json").write_text(POLICY)
        (top / "xdg").mkdir(mode=0o700)
        (top / "volume").mkdir()
        subprocess.run(["chown", "-R", f"{USER}:{USER}", top], check=True)
        podman = Rootless(top, "runc")
        loaded = podman("load", "--signature-policy", top / "policy.json", "-i", top / "image.tar")
        assert loaded.returncode == 0, loaded.stdout
        yield top
        podman("rm", "-af", "-t", "0")
        podman("system", "reset", "-f")
    finally:
        end_processes(pwd.getpwnam(USER).pw_uid)
        subprocess.run(["userdel", USER], check=True)
        shutil.rmtree(top)


def end_processes(uid):
    """Those of our user that are left: podman keeps one for its namespaces."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    pidfd = os.pidfd_open(int(name))
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    select.select([pidfd], [], [], 10)
                    os.close(pidfd)
            except (FileNotFoundError, ProcessLookupError):
                pass


@pytest.fixture(params=["stockade", "runc"])
def podman(request, home):
    podman = Rootless(home, request.param)
    yield podman
    assert podman("rm", "-af", "-t", "0").returncode == 0
    state = home / "xdg" / "stockade"
    assert not (os.listdir(state) if state.is_dir() else [])


def test_run(podman, home):
    assert podman.sh("id -u; exit 7") == ("0\n", 7)
    assert podman.sh("id -u; id -g", "--user", "5:6") == ("5\n6\n", 0)
    assert podman.sh("touch /x 2> /dev/null || echo refused; touch /t/x; echo $?", "--read-only", "--tmpfs", "/t") == ("refused\n0\n", 0)
    assert podman.sh("echo new > /v/file; cat /v/file", "-v", f"{home}/volume:/v") == ("new\n", 0)
    assert (home / "volume" / "file").stat().st_uid == os.stat(home).st_uid
    text, code = podman.run(IMAGE, "nosuch")
    assert code == 127 and "executable file" in text


def test_life(podman):
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    done = podman("run", "-d", "--name", "life", IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stdout
    end = time.monotonic() + 20
    while "up" not in podman("logs", "life").stdout:
        assert time.monotonic() < end
        time.sleep(0.1)
    done = podman("exec", "life", "sh", "-c", "echo in; exit 4")
    assert (done.stdout, done.returncode) == ("in\n", 4)
    home = podman.env["HOME"]
    with open(f"{home}/in", "w") as file:
        file.write("copied\n")
    assert podman("cp", f"{home}/in", "life:/in").returncode == 0
    assert podman("exec", "life", "cat", "/in").stdout == "copied\n"
    assert podman("exec", "life", "sh", "-c", "echo more >> /in").returncode == 0
    done = podman("cp", "life:/in", f"{home}/out-{podman.runtime}")
    assert (done.returncode, done.stdout) == (0, "")
    with open(f"{home}/out-{podman.runtime}") as file:
        assert file.read() == "copied\nmore\n"
    assert podman("stop", "life").returncode == 0
    assert podman("wait", "life").stdout == "3\n"
    assert podman("logs", "life").stdout == "up\nbye\n"
