"""Platforms under test: each test gets a started one and leaves no process behind."""

import importlib
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def pytest_collection_modifyitems(items):
    """Rewritten call sites are systrap's."""
    items[:] = [item for item in items if not is_of_ptrace_by_site(item)]


def is_of_ptrace_by_site(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("platform") == "ptrace" and params.get("road") == "site"


@pytest.fixture(params=["trap", "site"], autouse=True)
def road(request):
    """How the test programs make system calls: by the instruction, or as a rewritten call site does."""
    for module in ("harness", "machine"):
        importlib.import_module(module).ROAD = request.param
    return request.param


@pytest.fixture
def started(platform):
    """A started Platform of each kind; one that is not built is a failure."""
    made = importlib.import_module(f"sentry.platform.{platform}").Platform()
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def mini(started):
    """A kernel of a few lines that runs the programs of guest/ (harness.py)."""
    return importlib.import_module("harness").Mini(started)


@pytest.fixture(scope="session")
def guest_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("guests")


@pytest.fixture
def machine(started, guest_cache):
    """Programs in C inside the tests, served call by call (machine.py)."""
    return importlib.import_module("machine").Machine(started, guest_cache)


@pytest.fixture(autouse=True)
def same_cpus():
    """A platform moves its thread, here pytest's own, to the CPU of its callers; the tests after it get all CPUs."""
    cpus = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cpus)
