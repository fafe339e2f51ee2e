"""The cgroups of a container, on trees of files: version 2 and systemd's layout need not be there where tests run."""

import os

import pytest

from sandbox import cgroup_stats, cgroups
from sandbox.errors import CliError

FILES = (
    "cgroup.procs", "cgroup.subtree_control", "memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle",
    "cpuset.cpus", "cpuset.mems", "pids.max", "io.weight", "io.max", "memory.high",
)  # fmt: skip


@pytest.fixture
def unified(tmp_path, monkeypatch):
    """A version 2 hierarchy; every directory made in it has the files of a cgroup."""
    monkeypatch.setattr(cgroups, "mounts", lambda: (str(tmp_path), {}))
    makedirs = os.makedirs

    def make(path, mode=0o777, exist_ok=False):
        makedirs(path, mode, exist_ok)
        while True:
            for name in FILES:
                open(os.path.join(path, name), "a").close()
            if path == str(tmp_path):
                return
            path = os.path.dirname(path)

    monkeypatch.setattr(os, "makedirs", make)
    return tmp_path


def spec(path, resources, annotations=None):
    return {"linux": {"cgroupsPath": path, "resources": resources}, "annotations": annotations or {}}


def made(top, path):
    """{file: content} of a cgroup, those that were written to."""
    return {name: text for name in FILES if (text := (top / path / name).read_text())}


def test_version_2(unified):
    resources = {
        "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0", "burst": 1000},
        "pids": {"limit": 10},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}]},
        "unified": {"memory.high": "900"},
    }
    plan = cgroups.plan(spec("/a/b", resources), "c", False)
    assert cgroups.create(plan)
    assert made(unified, "a/b") == {
        "memory.max": "1000", "memory.swap.max": "500", "memory.low": "500", "memory.high": "900", "cpu.weight": "39",
        "cpu.max": "50000 100000", "cpu.max.burst": "1000", "cpuset.cpus": "0-1", "cpuset.mems": "0", "pids.max": str(10 + cgroups.OWN_PROCESSES),
        "io.weight": "4950", "io.max": "8:0 rbps=1048576",
    }  # fmt: skip
    assert plan.directories == [str(unified / "a"), str(unified / "a/b")]
    cgroups.enter(plan, 77)
    assert made(unified, "a/b")["cgroup.procs"] == "77"
    assert made(unified, "a")["cgroup.subtree_control"].startswith("+")
    usage = cgroup_stats.Usage([(controller, leaf) for controller, _, leaf in plan.leaves])
    assert usage.memory_limit == 1000 and usage.pids_limit == 10


def test_no_limit_is_max(unified):
    resources = {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}
    cgroups.create(cgroups.plan(spec("/a", resources), "c", False))
    assert made(unified, "a") == {"memory.max": "max", "memory.swap.max": "max", "pids.max": "max", "cpu.max": "max 100000"}


@pytest.mark.parametrize(
    "bad",
    [
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8}]}}, {"blockIO": {"throttleReadBpsDevice": ["x"]}}, {"blockIO": {"weight": "x"}},
        {"unified": {"../x": "1"}}, {"unified": {"memory.high": 1}}, {"memory": {"limit": "x"}}, {"cpu": {"quota": True}},
    ],
)  # fmt: skip
def test_bad_values(unified, bad):
    with pytest.raises(CliError):
        cgroups.create(cgroups.plan(spec("/a", bad), "c", False))


@pytest.mark.parametrize(
    ("path", "systemd", "wanted"),
    [
        ("system.slice:stockade:c", True, "system.slice/stockade-c.scope"),
        (":stockade:c", True, "system.slice/stockade-c.scope"),
        ("-.slice:stockade:c", True, "stockade-c.scope"),
        ("user.slice::c", True, "user.slice/c.scope"),
        ("", True, "system.slice/stockade-c.scope"),
        ("kubepods-burstable-pod1_2.slice:cri-containerd:abc", False,
         "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope"),
        ("kubepods.slice:crio:abc", True, "kubepods.slice/crio-abc.scope"),
        ("/kubepods/pod1/abc", False, "kubepods/pod1/abc"),
    ],
)  # fmt: skip
def test_paths_of_units(unified, path, systemd, wanted):
    plan = cgroups.plan(spec(path, {"memory": {"limit": 5}}), "c", systemd)
    assert [leaf for _, _, leaf in plan.leaves] == [str(unified / wanted)]
    assert cgroups.create(plan) and made(unified, wanted) == {"memory.max": "5"}


@pytest.mark.parametrize("path", ["/a/b", "a:b", "x:y:z", "a.slice:b:"])
def test_paths_that_are_no_units(path):
    with pytest.raises(CliError, match="cgroupsPath"):
        cgroups.plan(spec(path, {}), "c", True)


def test_version_1_block_devices(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "mounts", lambda: (None, {"blkio": str(tmp_path)}))
    leaf = tmp_path / "a"
    leaf.mkdir()
    for name in ("blkio.throttle.write_iops_device", "blkio.bfq.weight"):
        (leaf / name).touch()
    resources = {"blockIO": {"weight": 300, "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 100}]}}
    assert cgroups.create(cgroups.plan(spec("/a", resources), "c", False))
    assert (leaf / "blkio.throttle.write_iops_device").read_text() == "8:16 100"
    assert (leaf / "blkio.bfq.weight").read_text() == "300"


def test_the_first_container_of_a_pod_has_the_limits_of_all():
    names = "io.kubernetes.cri."
    annotations = {f"{names}sandbox-cpu-shares": "512", f"{names}sandbox-cpu-quota": "-1", f"{names}sandbox-memory": "1000", f"{names}sandbox-cpu-period": "x"}
    own = {"cpu": {"shares": 2}, "pids": {"limit": 5}}
    found = cgroups.resources_of(spec("/a", own, {**annotations, f"{names}container-type": "sandbox"}))
    assert found == {"cpu": {"shares": 512, "quota": -1}, "memory": {"limit": 1000}, "pids": {"limit": 5}}
    assert cgroups.resources_of(spec("/a", own, {**annotations, f"{names}container-type": "container"})) == own
