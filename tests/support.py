"""What tests import: where things are, root file systems, running the CLI (fixtures are in conftest.py)."""

import copy
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("STOCKADE_CACHE") or os.path.join(ROOT, ".cache")
STOCKADE = os.path.join(ROOT, "bin", "stockade")
PLATFORMS = ("systrap", "ptrace")


class Stockade:
    """Runs bin/stockade with one platform and a state directory of its own."""

    def __init__(self, platform, state):
        self.base = [STOCKADE, "--root", str(state), "--platform", platform]

    def __call__(self, *arguments, timeout=60, input=None, **options):
        """Runs `stockade ARGUMENTS`; returns CompletedProcess with bytes in stdout and stderr."""
        return subprocess.run(
            [*self.base, *map(str, arguments)],
            input=input if input is not None else b"",
            capture_output=True,
            timeout=timeout,
            **options,
        )

    def on(self, *flags):
        """The same with further global flags."""
        other = copy.copy(self)
        other.base = [*self.base, *flags]
        return other

    def popen(self, *arguments, **options):
        """Starts `stockade ARGUMENTS` and returns the Popen."""
        return subprocess.Popen([*self.base, *map(str, arguments)], **options)


def rootfs(name):
    """The directory of a cached root file system (busybox, debian-min, debian-full …); made on demand."""
    path = os.path.join(CACHE, "rootfs", name)
    kind, _, variant = name.partition("-")
    script = [os.path.join(ROOT, "scripts", f"rootfs-{kind}.sh")] + ([variant] if variant else [])
    subprocess.run(script, check=True, env={**os.environ, "STOCKADE_CACHE": CACHE})
    return path
