"""Call sites are rewritten where they shall be, and nowhere else. (What programs notice of it: tests/guests/sites.c.)"""

import os

import pytest
from support import ROOT

PROGRAM = os.path.join(ROOT, "build", "guests", "rewritten")


@pytest.mark.parametrize("flags", [(), ("--no-patching",)])
def test_where(stockade, platform, flags):
    done = stockade(*flags, "do", PROGRAM)
    wanted = b"rewritten\n" if platform == "systrap" and not flags else b"as it was\n"
    assert (done.returncode, done.stdout) == (0, wanted), done.stderr
