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
late = sorted(name for name in set(sys.modules) - loaded if (getattr(sys.modules[name], "__file__", None) or "").startswith({root!r}))
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
    assert late == "[]"
    assert modules == run(False, group)[1]


@pytest.mark.parametrize("name", ("sentry.boot", "sentry.kernel.task"))
def test_a_changed_file_is_imported_in_the_ordinary_way(name):
    """An index entry of another time stands for a file that was edited, or an extension that was built, since the build."""
    stale = f"e = finder.index[{name!r}]; finder.index[{name!r}] = e[:3] + (1,) + e[4:]"
    late, modules = run(True, "sentry.boot", stale)
    assert name in late
    assert modules == run(False, "sentry.boot")[1]


@pytest.mark.skipif(not os.path.exists(os.path.join(ROOT, bundle.JOINT)), reason="a build without optimisation")
def test_a_group_that_was_checked_needs_no_files():
    """The Sentry's process loads it, which may have no right to walk to our files."""
    hide = f"assert bundle.check(['sentry.boot']); bundle.PROJECT = '/nowhere'; sys.path.remove({ROOT!r})"
    script = SCRIPT.partition("loaded =")[0] + "print('sentry.kernel.kernel' in sys.modules and 'sentry.boot' in sys.modules)"
    script = script.format(root=ROOT, before=bundle.GROUPS["sentry.boot"][0], preload="sentry.boot", stale=hide)
    done = subprocess.run(["/usr/bin/python3", "-ISc", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
