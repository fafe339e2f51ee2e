"""Counts of live kernel objects, kept in debug runs only (STOCKADE_DEBUG=1), so that tests can assert that
nothing is left: `leaks.add("file")` in a constructor, `leaks.drop("file")` when the object is released."""

import os

ENABLED = bool(os.environ.get("STOCKADE_DEBUG"))
counts: "dict[str, int]" = {}


def add(kind: str) -> None:
    if ENABLED:
        counts[kind] = counts.get(kind, 0) + 1


def drop(kind: str) -> None:
    if ENABLED:
        counts[kind] = counts.get(kind, 0) - 1
