"""Programs that run often get patched copies of their code (sentry/mm/images.py); what they notice of it:
tests/guests/copies.c."""

import os

import pytest
from support import ROOT

PROGRAM = os.path.join(ROOT, "build", "guests", "copied")
RUN = 'for i in 1 2 3 4; do /tmp/p; done\n'
HEAD = f"cp {PROGRAM} /tmp/p; sleep 0.4\n"
REWRITTEN, PLAIN = b"rewritten\n", b"as it was\n"


def run(stockade, script, *flags):
    done = stockade(*flags, "do", "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(keepends=True)


@pytest.mark.parametrize("flags", [(), ("--no-patching",)])
def test_third_run_has_a_copy(stockade, platform, flags):
    last = REWRITTEN if platform == "systrap" and not flags else PLAIN
    assert run(stockade, f"for i in 1 2 3 4; do {PROGRAM}; done", *flags) == [PLAIN, PLAIN, last, last]


@pytest.mark.parametrize(
    "change",
    [
        f"cp {PROGRAM} /tmp/q; mv /tmp/q /tmp/p",
        "printf x >> /tmp/p",
        "printf x | dd of=/tmp/p bs=1 seek=9 conv=notrunc 2>/dev/null",  # a byte of padding
    ],
    ids=["replaced", "longer", "written"],
)
def test_changed_file_is_another(stockade, platform, change):
    last = REWRITTEN if platform == "systrap" else PLAIN
    got = run(stockade, HEAD + RUN + change + "\n/tmp/p\n")
    assert got == [PLAIN, PLAIN, last, last, PLAIN]


def test_file_just_written_has_none(stockade, platform):
    assert run(stockade, HEAD.replace("sleep 0.4", ":") + RUN)[:3] == [PLAIN] * 3
