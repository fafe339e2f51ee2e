"""What a guest sees when its files fail: a dead gofer, a full disk, two writers at one file."""

import os
import signal
import subprocess
import sys
import time

import pytest
from gofer_trees import needs_root


def gofer_of(pid):
    """The gofer among the children of a `stockade do`."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/comm") as comm:
                if "gofer" in comm.read():
                    return int(child)
    pytest.fail("no gofer")


def wait_for(path):
    end = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("busy", [True, False])
def test_killed_gofer(stockade, tmp_path, busy):
    """The container ends at once and says so, whether the guest is asking for files at that moment or asleep."""
    (tmp_path / "file").write_text("content")
    loop = "while read x < /v/file || :; do :; done 2>/dev/null" if busy else "read x"
    process = stockade.popen(
        "do", "-T", "--volume", f"{tmp_path}:/v", "--", "bash", "-c", f": > /v/ready; {loop}; sleep 1000",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(tmp_path / "ready")
    os.kill(gofer_of(process.pid), signal.SIGKILL)
    assert process.wait(30) == 137
    out, err = process.communicate()
    assert out == b"" and err.count(b"\n") == 1 and b"its gofer is gone" in err


@needs_root
def test_full_disk(stockade, tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "t", tmp_path], check=False).returncode:
        pytest.skip("needs mount")
    try:
        script = (
            "yes | head -c 400000 > /v/f; stat -c %s /v/f; echo x > /v/g; echo $?; rm /v/f; echo x > /v/g; cat /v/g"
        )
        result = stockade("do", "-T", "--volume", f"{tmp_path}:/v", "--", "bash", "-c", script)
        assert result.stdout == b"262144\n1\nx\n"
        assert result.stderr.count(b"No space left on device") == 2
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_appending_with_others(stockade, tmp_path):
    """Lines that the host and a guest append to one file at the same time are all there."""
    code = "import os\nfd = os.open('{}/log', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)\nfor i in range(2000): os.write(fd, b'{} %d\\n' % i)"
    host = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)\n" + code.format(tmp_path, "host")])
    result = stockade(
        "do", "-T", "--volume", f"{tmp_path}:/v", "--", "/usr/bin/python3", "-c", code.format("/v", "guest")
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert host.wait(60) == 0
    with open(tmp_path / "log") as file:
        assert sorted(file) == sorted(f"{who} {i}\n" for who in ("host", "guest") for i in range(2000))
