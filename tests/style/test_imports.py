"""The standard library's modules that each command may import: start-up time is counted in milliseconds,
and one careless import costs tens of them. `make imports` shows what each costs."""

import os
import sys

import pytest
from support import ROOT

sys.path.insert(0, os.path.join(ROOT, "benchmarks"))
import imports  # noqa: E402

OWN = ("sandbox", "sentry", "gofer")

ANY = set(
    """_abc _codecs _collections_abc _frozen_importlib_external _io _json _signal _stat abc codecs encodings encodings.aliases
    encodings.utf_8 gc genericpath io marshal os posix posixpath stat time zipimport""".split()
)
LIST = ANY | {"errno", "fcntl"}
RUN = LIST | set("_socket _struct resource select struct termios".split())
# With the Sentry, which imports everything before its filter closes.
SENTRY = RUN | set(
    """_bisect _collections _heapq _operator _weakrefset bisect collections encodings.unicode_escape heapq itertools keyword math
    mmap operator reprlib types weakref""".split()
)

COMMANDS = {("--version",): ANY, ("list",): LIST, ("run", "--help"): RUN, ("do", "--", "true"): SENTRY}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_modules_of_a_command(command):
    found = {module for _, module in imports.costs(list(command)) if module.split(".")[0] not in OWN}
    assert found, "the command did not run"
    assert not found - COMMANDS[command]
