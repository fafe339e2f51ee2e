"""Fixtures of the whole suite: the platforms to test, root file systems, and running the CLI."""

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("STOCKADE_CACHE") or os.path.join(ROOT, ".cache")
STOCKADE = os.path.join(ROOT, "bin", "stockade")
PLATFORMS = ("systrap", "ptrace")

if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


def pytest_addoption(parser):
    parser.addoption("--platform", action="append", choices=PLATFORMS, help="test only this platform")


def pytest_generate_tests(metafunc):
    if "platform" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--platform") or PLATFORMS
        metafunc.parametrize("platform", chosen, scope="session")


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

    def popen(self, *arguments, **options):
        """Starts `stockade ARGUMENTS` and returns the Popen."""
        return subprocess.Popen([*self.base, *map(str, arguments)], **options)


@pytest.fixture(scope="session")
def stockade(platform, tmp_path_factory):
    """The command line tool on one platform: call it like a function."""
    return Stockade(platform, tmp_path_factory.mktemp(f"state-{platform}"))


def rootfs(name):
    """The directory of a cached root file system (busybox, debian-min, debian-full); made on demand."""
    path = os.path.join(CACHE, "rootfs", name)
    kind, _, variant = name.partition("-")
    script = [os.path.join(ROOT, "scripts", f"rootfs-{kind}.sh")] + ([variant] if variant else [])
    subprocess.run(script, check=True, env={**os.environ, "STOCKADE_CACHE": CACHE})
    return path


@pytest.fixture(scope="session")
def busybox_root():
    return rootfs("busybox")


@pytest.fixture(scope="session")
def debian_min():
    return rootfs("debian-min")


@pytest.fixture(scope="session")
def debian_full():
    return rootfs("debian-full")
