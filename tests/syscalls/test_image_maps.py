"""Private mappings of files of the image, which nobody changes: new processes carry the often mapped ones (Platform.keep),
small ones are copied. tests/guests/mapfiles.c has run on a volume (test_differential.py)."""

import os

import pytest
from support import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")


@pytest.mark.parametrize("flags", [(), ("--no-patching",)])
def test_mappings_of_the_image(stockade, flags):
    program = os.path.join(GUESTS, "mapfiles")
    done = stockade(*flags, "do", "/bin/sh", "-c", f"for i in 1 2 3; do {program}; done")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and len(lines) % 3 == 0, done.stderr
    assert lines[: len(lines) // 3] * 3 == lines
    assert len(lines) > 600 and not [line for line in lines if line.endswith(": NO")]
