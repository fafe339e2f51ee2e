"""Statistics of the running kernel: every subsystem that has some registers a function under a name.

    stats.provide("patch", lambda: {"sites": len(sites), "traps": traps})

The function is called on the dispatcher, when `stockade debug --stats` asks, and returns what JSON can hold: numbers,
strings, lists and dicts with strings as keys. It may neither block nor make host calls.
"""

PROVIDERS = {}


def provide(name: str, function) -> None:
    """Register `function` as the source of the section `name`; a later one takes its place."""
    PROVIDERS[name] = function


def collect() -> "dict[str, object]":
    """All sections, by name. One whose function fails holds the error's text."""
    sections = {}
    for name, function in PROVIDERS.items():
        try:
            sections[name] = function()
        except Exception as error:  # statistics of one subsystem must not hide those of the others
            sections[name] = {"error": f"{type(error).__name__}: {error}"}
    return sections
