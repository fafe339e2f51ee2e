"""Nothing is left of processes that have ended: the kernel counts its objects in debug runs (core/leaks.py) and logs
what is left when the container is over."""

import os
import re

import pytest
from support import ROOT

STORM = os.path.join(ROOT, "build", "guests", "storm")

SCRIPTS = {
    "one after the other": 'i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done',
    "at once": 'i=0; while [ $i -lt 100 ]; do /bin/sleep 0.5 & i=$((i+1)); done; wait',
    "pipelines": 'i=0; while [ $i -lt 20 ]; do echo $i | /bin/cat | /bin/cat >/dev/null; i=$((i+1)); done',
    "left behind": '/bin/sleep 100 & (/bin/sleep 200 &); exit 0',
    "storm": STORM,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_left(stockade, tmp_path, monkeypatch, name):
    monkeypatch.setenv("STOCKADE_DEBUG", "1")
    log = tmp_path / "log"
    done = stockade("--debug-log", log, "do", "--", "/bin/sh", "-c", SCRIPTS[name], timeout=120)
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    assert "internal error" not in text
    found = re.search(r"kernel objects left: \{(.*)\}", text)
    assert found, text[-2000:]
    counts = dict(re.findall(r"'([^']+)': (-?\d+)", found[1]))
    counts.pop("tmpfs inode", None)  # the content of the file systems, which are still mounted
    assert counts == {}
