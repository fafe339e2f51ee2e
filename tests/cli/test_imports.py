"""Start-up is imports: which modules each command loads is a list, and a change of the list is a decision."""

import os
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Of the standard library, beyond what the interpreter starts with.
BASE = {"_collections_abc", "_json", "errno", "genericpath", "os", "os.path", "posixpath", "stat", "_stat"}
STATE = BASE | {"fcntl"}
CONTROL = STATE | {"_socket"}
TERMINAL = CONTROL | {"_struct", "select", "struct", "termios"}
LAUNCH = TERMINAL | {"faulthandler", "resource", "gc", "_cython_3_3_1", "cython_runtime"}
# What the Sentry's process loads beyond that.
SENTRY = LAUNCH | {
    "_bisect", "_collections", "_heapq", "_operator", "_weakrefset", "bisect", "collections", "heapq", "itertools", "keyword",
    "math", "mmap", "operator", "reprlib", "types", "weakref", "_collections_abc", "_random", "time", "encodings.ascii",
    "encodings.unicode_escape", "encodings.latin_1", "socket", "_functools", "functools", "faulthandler",
}  # fmt: skip

COMMANDS = {
    "spec": STATE,
    "features": BASE,
    "syscalls": STATE,
    "state": LAUNCH,
    "list": STATE,
    "kill": LAUNCH,
    "delete": LAUNCH,
    "ps": LAUNCH,
    "pause": LAUNCH,
    "resume": LAUNCH,
    "wait": LAUNCH,
    "update": LAUNCH,
    "events": LAUNCH,
    "debug": LAUNCH,
    "install": LAUNCH,
    "uninstall": LAUNCH,
    "port-forward": LAUNCH,
    "start": LAUNCH,
    "exec": LAUNCH,
    "create": LAUNCH,
    "run": LAUNCH,
    "do": LAUNCH,
}

# What must never come in, and what it costs in milliseconds.
FORBIDDEN = {
    "argparse": 10, "re": 7, "enum": 5, "dataclasses": 18, "typing": 12, "logging": 23, "subprocess": 13, "ctypes": 8,
    "asyncio": 69, "pathlib": 9, "tempfile": 21, "contextlib": 3, "inspect": 15, "json": 12, "signal": 5, "socket": 9, "selectors": 4,
    "pyseccomp": 40, "pyroute2": 211, "site": 3, "traceback": 8, "linecache": 6, "string": 4, "random": 9, "threading": 4,
}  # fmt: skip

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, {root!r})
from sandbox.main import load
{what}
own = ("sandbox", "sentry", "gofer")
print(" ".join(sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in own)))
"""


def modules(what):
    script = SCRIPT.format(root=ROOT, what=what)
    result = subprocess.run(["/usr/bin/python3", "-ISc", script], capture_output=True, text=True, timeout=60, check=True)
    return {name for name in result.stdout.split() if not name.startswith(("_cython_", "cython_runtime"))}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_what_is_listed(command):
    assert modules(f"load({command!r})") <= COMMANDS[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_forbidden_in_a_command(command):
    assert not modules(f"load({command!r})") & set(FORBIDDEN)


def test_the_sentry_loads_what_is_listed(platform):
    assert modules(f"from sentry import boot\n__import__('sentry.platform.{platform}')") <= SENTRY


def test_nothing_forbidden_in_the_sentry(platform):
    assert not modules(f"from sentry import boot\n__import__('sentry.platform.{platform}')") & set(FORBIDDEN)
