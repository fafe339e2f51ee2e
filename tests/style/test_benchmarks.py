"""The benchmark's lists fit each other, and its tables say what was measured."""

import os
import re

import pytest
from support import ROOT

HERE = os.path.join(ROOT, "benchmarks")


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's modules by name."""
    monkeypatch.syspath_prepend(HERE)
    return {name: __import__(name) for name in ("measure", "report", "perf")}


def micro_names():
    names = []
    for file in ("micro_calls.c", "micro_files.c", "micro_many.c"):
        with open(os.path.join(HERE, file), encoding="utf-8") as source:
            names += re.findall(r'^\t\{"(\w+)", "', source.read(), re.MULTILINE)
    return names


def test_every_target_belongs_to_a_row(bench):
    programs = bench["measure"].macro_rows()
    names = micro_names() + list(programs)
    assert len(set(names)) == len(names)
    known = bench["report"].notes()
    assert not set(known) - set(names)
    assert all(set(row) <= {"target", "rest"} for row in known.values())


def test_every_script_is_a_row(bench):
    scripts = {name.removesuffix(".sh") for name in os.listdir(os.path.join(HERE, "macro"))} - {"lib"}
    assert scripts == set(bench["measure"].macro_rows())
    assert any(quick for _, quick in bench["measure"].macro_rows().values())


def test_a_table(bench):
    sheet = bench["measure"].Sheet(["native", "runsc ptrace", "stockade systrap"])
    for number, (native, rival, ours) in enumerate(((100, 900, 110), (200, 800, 200), (50, 1000, 70))):
        sheet.add("native", "a", number, native)
        sheet.add("runsc ptrace", "a", number, rival)
        sheet.add("stockade systrap", "a", number, ours)
    sheet.add("native", "b", 0, 10)
    sheet.fail("stockade systrap", "b", "it fell over")
    assert sheet.ratio("stockade systrap", "a") == 1.1  # of single rounds, not of the medians
    lines = list(bench["report"].comparison({"a": "first", "b": "second"}, sheet, "operation", {"a": {"target": 1.2}}))
    assert "| first | 100 ns | 900 ns (9) | 110 ns (1.1) | 1.2 met | 0.12 |" in lines
    assert "| second | 10 ns | – | – | – | – |" in lines
    assert "1 of 1 rows faster than the best runsc." in lines
    assert "- stockade systrap: no figure for “second”: it fell over" in lines


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_6sentry_8platform_7systrap_8Platform__poll", "sentry.platform.systrap.Platform._poll"),
        ("__pyx_pw_6sentry_8platform_7systrap_8Platform_29wait", "sentry.platform.systrap.Platform.wait"),
        ("__pyx_f_6sentry_4core_8counters_called", "sentry.core.counters.called"),
        ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
    ],
)
def test_names_of_functions(bench, symbol, name):
    assert bench["perf"].cython_name(symbol) == name


def test_functions_of_the_stub(bench):
    symbols = [(0x7FFE00010000, "first"), (0x7FFE00010100, "second")]
    assert bench["perf"].stub_function(symbols, 0x7FFE000100FF) == "stub: first"
    assert bench["perf"].stub_function(symbols, 0x7FFE00010100) == "stub: second"
    assert bench["perf"].stub_function(symbols, 0x401000) is None


def test_the_lifecycle_table(bench, monkeypatch):
    lifecycle = __import__("lifecycle")
    found = {"run": {"runc": [99, 20, 20, 22], "stockade": [99, 30, 38, 44]}, "ctr-run": {"runc": [9, 100], "stockade": [9, 160]}}
    lines = lifecycle.table(found)
    assert lines[2] == "| run of /bin/true | 20.0 (1.00) | 38.0 (1.90) | 2.0 met |"
    assert lines[3] == "| ctr run --rm of /bin/true | 100.0 (1.00) | 160.0 (1.60) | 1.5 missed |"
    pods = {"count": 50, "start_s": 1, "stop_s": 1, "stats_ms": 80, "stats_shims_ms": 40, "pss_mib": {"stockade-sentry": 9.5, "stockade-gofer": 7}, "workload_mib": 1}
    text = "\n".join(lifecycle.pods_text(pods))
    assert "16.5 MiB PSS (sentry 9.5, gofer 7.0), target 25 met" in text and "Stats of 100: 80 ms of CPU in the shims, target 100 met" in text
