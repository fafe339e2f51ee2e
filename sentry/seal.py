"""After `seal()` nothing is imported any more.

The seccomp list has no open, so a late import would fail as a missing module, which misleads. It is refused by
its own name instead. What the interpreter loads at first use is loaded before: codecs, and their error handlers.
"""

import gc
import sys


class SealedFinder:
    """First on sys.meta_path; refuses every import of a module that is not there yet."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ImportError(f"import after seal: {name}")


def warm() -> None:
    """Load what loads lazily, while files can still be opened."""
    for codec in ("utf-8", "ascii", "latin-1", "unicode_escape"):
        "x".encode(codec)
    b"\xff".decode("utf-8", "surrogateescape").encode("utf-8", "surrogateescape")
    "\udc80".encode("utf-8", "backslashreplace")


def seal() -> None:
    """Close the door. The garbage collector is off (cycles are broken by hand); what is alive now it would never see."""
    sys.meta_path.insert(0, SealedFinder)
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    gc.disable()
    gc.freeze()
