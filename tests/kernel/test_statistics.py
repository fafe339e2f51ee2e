"""Statistics: the registry of providers, the counters and the profile's arithmetic."""

from types import SimpleNamespace

import pytest

from sentry.core import counters, stats
from sentry.kernel import statistics


@pytest.fixture
def providers(monkeypatch):
    monkeypatch.setattr(stats, "PROVIDERS", {})


def test_sections(providers):
    stats.provide("a", lambda: {"x": 1})
    stats.provide("b", lambda: 1 // 0)
    stats.provide("a", lambda: {"x": 2})
    found = stats.collect()
    assert found["a"] == {"x": 2}
    assert found["b"]["error"].startswith("ZeroDivisionError")


def test_counts_by_number():
    before = {nr: (calls, waits) for nr, calls, _, waits in counters.counts()}
    for nr in (0, 0, 511, 512, -1, 1 << 40):
        counters.called(nr)
    counters.waited(0)
    after = {nr: (calls, waits) for nr, calls, _, waits in counters.counts()}

    def grown(nr):
        old = before.get(nr, (0, 0))
        return after[nr][0] - old[0], after[nr][1] - old[1]

    assert grown(0) == (2, 1)
    assert grown(511) == (1, 0)
    assert grown(-1) == (3, 0)


def test_profile():
    kernel = SimpleNamespace(profile=None)
    assert statistics.of_profile(kernel) is None
    statistics.set_profiling(kernel, True)
    profile = kernel.profile
    profile.found()  # switched on between a look and its end
    for _ in range(3):
        profile.look()
        profile.found()
        profile.begin()
        profile.handled(0)
    profile.replied()
    report = statistics.of_profile(kernel)
    assert {name: stage["count"] for name, stage in report["stages"].items()} == {
        "handler": 3, "reply": 1, "served": 1, "look for events": 3,
    }  # fmt: skip
    assert sum(report["stages"]["handler"]["below_ns"].values()) == 3
    assert list(report["handlers"].values())[0]["calls"] == 3
    statistics.set_profiling(kernel, False)
    assert statistics.of_profile(kernel) is None
