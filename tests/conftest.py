"""Fixtures of the whole suite: the platforms to test, root file systems, and running the CLI."""

import pytest
from support import PLATFORMS, Stockade, rootfs


def pytest_addoption(parser):
    parser.addoption("--platform", action="append", choices=PLATFORMS, help="test only this platform")


def pytest_generate_tests(metafunc):
    if "platform" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--platform") or PLATFORMS
        metafunc.parametrize("platform", chosen, scope="session")


@pytest.fixture(scope="session")
def stockade(platform, tmp_path_factory):
    """The command line tool on one platform: call it like a function."""
    return Stockade(platform, tmp_path_factory.mktemp(f"state-{platform}"))


@pytest.fixture(scope="session")
def busybox_root():
    return rootfs("busybox")


@pytest.fixture(scope="session")
def debian_min():
    return rootfs("debian-min")


@pytest.fixture(scope="session")
def debian_full():
    return rootfs("debian-full")
