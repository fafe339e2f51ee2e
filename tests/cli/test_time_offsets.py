"""Time offsets of the OCI configuration (linux.timeOffsets), through the vDSO and through calls."""

import json
import os
import subprocess
import time

import pytest
from cli_helpers import needs_root
from support import ROOT

pytestmark = needs_root
MONOTONIC, BOOTTIME = 1000 * 86400 * 10**9 + 999_999_999, -17_250_000_000


def measure(stockade, tmp_path, offsets):
    """{clock number: seconds ahead of the host's}, {clock: difference of vDSO and call, ns}, and the lengths of the sleeps."""
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    subprocess.run(["cp", os.path.join(ROOT, "build", "guests", "clocks"), bundle / "rootfs"], check=True)
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/clocks"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"timeOffsets": offsets},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    result = stockade("run", "--bundle", str(bundle), f"clocks-{os.getpid()}")
    assert result.returncode == 0, result.stderr
    ahead, difference, sleeps = {}, {}, {}
    for line in result.stdout.decode().splitlines():
        name, *values = line.split()
        if name.isdigit():
            ahead[int(name)] = float(values[0]) - time.clock_gettime(int(name))
            difference[int(name)] = int(values[1])
        else:
            sleeps[name] = int(values[0])
    return ahead, difference, sleeps


@pytest.mark.parametrize("shifted", [False, True])
def test_clocks_of_a_container(stockade, tmp_path, shifted):
    offsets = {
        "monotonic": {"secs": MONOTONIC // 10**9, "nanosecs": MONOTONIC % 10**9},
        "boottime": {"secs": BOOTTIME // 10**9, "nanosecs": BOOTTIME % 10**9},
    }
    ahead, difference, sleeps = measure(stockade, tmp_path, offsets if shifted else {})
    monotonic, boottime = (MONOTONIC / 1e9, BOOTTIME / 1e9) if shifted else (0, 0)
    for clock, expected in {0: 0, 1: monotonic, 4: monotonic, 6: monotonic, 7: boottime}.items():
        assert abs(ahead[clock] - expected) < 5, clock
        assert abs(difference[clock]) < 10**9, clock
    assert 20 <= sleeps["sleep"] < 1000 and 20 <= sleeps["until"] < 1000
