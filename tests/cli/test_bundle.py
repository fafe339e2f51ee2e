"""The bundle of modules: what it loads at once is what an ordinary import loads."""

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)

from sandbox import bundle  # noqa: E402

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from sandbox import bundle
finder = bundle.install()
for name in {before!r}:
    __import__(name)
if {preload!r}:
    {stale}
    bundle.preload({preload!r})
loaded = set(sys.modules)
for name in {names!r}:
    __import__(name)
late = sorted(name for name in set(sys.modules) - loaded if (getattr(sys.modules[name], "__file__", None) or "").endswith(".py"))
def facts(module):
    spec = module.__spec__
    names = sorted(name for name in vars(module) if not name.startswith("__"))
    return module.__file__, module.__package__, list(getattr(module, "__path__", [])), spec.name, spec.origin, spec.parent, names
print(late)
for name in sorted(sys.modules):
    if name.split(".")[0] in ("sandbox", "sentry", "gofer"):
        print(name, facts(sys.modules[name]))
"""


def run(preload, group, stale=""):
    before, names = bundle.GROUPS[group]
    script = SCRIPT.format(root=ROOT, before=before, names=names, preload=group if preload else "", stale=stale or "pass")
    done = subprocess.run(["/usr/bin/python3", "-ISc", script], capture_output=True, text=True, timeout=60, check=True)
    late, _, modules = done.stdout.partition("\n")
    return late, modules


@pytest.mark.parametrize("group", bundle.GROUPS)
def test_a_group_is_what_imports_make(group):
    late, modules = run(True, group)
    assert late == "[]"  # nothing but extensions was left to import
    assert modules == run(False, group)[1]


def test_a_changed_source_is_imported_in_the_ordinary_way():
    """An index entry of another time stands for a file that was edited since the build."""
    stale = "e = finder.index['sentry.boot']; finder.index['sentry.boot'] = e[:3] + (1,) + e[4:]"
    late, modules = run(True, "sentry", stale)
    assert "sentry.boot" in late
    assert modules == run(False, "sentry")[1]
