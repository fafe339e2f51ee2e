"""Programs that run often get patched copies of their code (sentry/mm/images.py); what they notice of it:
tests/guests/copies.c."""

import os
import shutil
import time

import pytest
from support import ROOT

PROGRAM = os.path.join(ROOT, "build", "guests", "copied")
RUN = "for i in 1 2 3 4; do /files/p; done\n"
REWRITTEN, PLAIN = b"rewritten\n", b"as it was\n"


def run(stockade, script, *flags, volume=None):
    more = ("-v", f"{volume}:/files") if volume is not None else ()
    done = stockade(*flags, "do", *more, "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(keepends=True)


@pytest.fixture
def files(tmp_path):
    """A directory with the program, which has been quiet for a while."""
    shutil.copy(PROGRAM, tmp_path / "p")
    time.sleep(0.3)
    return tmp_path


@pytest.mark.parametrize("flags", [(), ("--no-patching",)])
def test_third_run_has_a_copy(stockade, platform, files, flags):
    last = REWRITTEN if platform == "systrap" and not flags else PLAIN
    assert run(stockade, RUN, *flags, volume=files) == [PLAIN, PLAIN, last, last]


@pytest.mark.parametrize(
    "change",
    [
        "cp /files/p /files/q; mv /files/q /files/p",
        "printf x >> /files/p",
        "printf x | dd of=/files/p bs=1 seek=9 conv=notrunc 2>/dev/null",  # a byte of padding
        "touch -d '2020-01-01' /files/p",
    ],
    ids=["replaced", "longer", "written", "other time"],
)
def test_changed_file_is_another(stockade, platform, files, change):
    last = REWRITTEN if platform == "systrap" else PLAIN
    assert run(stockade, RUN + change + "\n/files/p\n", volume=files) == [PLAIN, PLAIN, last, last, PLAIN]


def test_file_just_written_has_none(stockade, platform, files):
    """Nor has one whose time is still to come, which no slow machine makes an old one."""
    assert run(stockade, "touch -d '2037-01-01' /files/p\n" + RUN, volume=files) == [PLAIN] * 4


def test_file_in_memory_has_none(stockade, platform):
    script = f"mkdir /files; cp {PROGRAM} /files/p; sleep 0.4\n"
    assert run(stockade, script + RUN) == [PLAIN] * 4
