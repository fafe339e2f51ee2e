"""--systemd-cgroup with a systemd of the tests' own: what it is asked for, and that a container comes and goes with its unit."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from cli_helpers import HERE, needs_root

from sandbox import cgroups, systemd
from sandbox.errors import CliError

FAKE = os.path.join(HERE, "fake_systemd.py")
BUS = """<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"""


class Fake:
    def __init__(self, top, how):
        self.top, self.how, self.started = top, how, []
        self.address, self.file = str(top / "bus"), top / "calls"

    def start(self):
        if self.how == "bus":
            (self.top / "bus.conf").write_text(BUS.format(path=self.address))
            argv = ["dbus-daemon", f"--config-file={self.top}/bus.conf", "--nofork", "--nopidfile", "--print-address"]
            self.launch(argv)
        self.launch([sys.executable, FAKE, self.how, self.address, str(self.file)])

    def launch(self, argv):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
        self.started.append(process)
        assert process.stdout.readline()

    def stop(self):
        for process in reversed(self.started):
            os.killpg(process.pid, 9)
            process.wait()
            process.stdout.close()

    def calls(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def named(self, method):
        return [arguments for name, arguments in self.calls() if name == method]


@pytest.fixture(params=["listen", "bus"])
def fake(request, tmp_path, monkeypatch):
    if request.param == "bus" and shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed (scripts/deps.sh e2e)")
    fake = Fake(tmp_path, request.param)
    fake.start()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={fake.address}")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={fake.address}")
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
    yield fake
    fake.stop()


def start(name, resources=None, unified=True):
    unit = systemd.unit_of(f"a-b.slice:pre:{name}", False)
    systemd.start(unit, "cid", [4, 5], resources or {}, unified)
    return unit


def test_a_scope(fake):
    unit = start("one")
    assert (unit.name, unit.parent, unit.path) == ("pre-one.scope", "a-b.slice", "/a.slice/a-b.slice/pre-one.scope")
    ((name, mode, properties, others),) = fake.named("StartTransientUnit")
    properties = {key: tuple(value) for key, value in properties}
    assert (name, mode, others) == ("pre-one.scope", "replace", [])
    assert properties["Slice"] == ("s", "a-b.slice") and properties["Delegate"] == ("b", True) and properties["PIDs"] == ("au", [4, 5])
    assert properties["Description"] == ("s", "stockade container cid") and properties["MemoryAccounting"] == ("b", True)
    systemd.stop(unit.name, False)
    assert fake.named("StopUnit") == [["pre-one.scope", "replace"]]


def test_a_slice(fake):
    systemd.start(systemd.unit_of("a.slice::a-c.slice", False), "cid", [4], {}, True)
    properties = dict(fake.named("StartTransientUnit")[0][2])
    assert properties["Wants"] == ["as", ["a.slice"]] and not {"PIDs", "Slice", "Delegate"} & properties.keys()


RESOURCES = {"memory": {"limit": 100, "swap": 150, "reservation": 50}, "cpu": {"shares": 1024, "quota": 12345, "period": 50000},
             "pids": {"limit": 7}, "blockIO": {"weight": 300}}  # fmt: skip
LIMITS = [
    (True, {"MemoryMax": 100, "MemorySwapMax": 50, "MemoryLow": 50, "CPUWeight": 39, "CPUQuotaPerSecUSec": 250000,
            "CPUQuotaPeriodUSec": 50000, "TasksMax": 7 + cgroups.OWN_PROCESSES, "IOWeight": 300}),
    (False, {"MemoryLimit": 100, "CPUShares": 1024, "CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 50000,
             "TasksMax": 7 + cgroups.OWN_PROCESSES, "BlockIOWeight": 300}),
]  # fmt: skip


@pytest.mark.parametrize(("unified", "wanted"), LIMITS)
def test_limits(fake, unified, wanted):
    unit = start("one", RESOURCES, unified)
    given = {key: value[1] for key, value in fake.named("StartTransientUnit")[0][2] if value[0] == "t"}
    assert given == wanted
    systemd.change(unit.name, False, {"memory": {"limit": -1}, "cpu": {"quota": -1}}, unified)
    name, at_run_time, properties = fake.named("SetUnitProperties")[0]
    assert (name, at_run_time) == (unit.name, True)
    assert properties == [["MemoryMax" if unified else "MemoryLimit", ["t", 2**64 - 1]], ["CPUQuotaPerSecUSec", ["t", 2**64 - 1]]]
    systemd.change(unit.name, False, {}, unified)
    assert len(fake.named("SetUnitProperties")) == 1


def test_refusals(fake):
    for prefix, text in (("refused", "BadUnitSetting"), ("failing", "the job ended as 'failed'")):
        unit = systemd.unit_of(f"a.slice:{prefix}:x", False)
        with pytest.raises(CliError, match=text):
            systemd.start(unit, "cid", [4], {}, True)


def test_a_unit_that_failed_before_is_reset(fake):
    systemd.start(systemd.unit_of("a.slice:left:x", False), "cid", [4], {}, True)
    assert [method for method, _ in fake.calls()] == ["Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_unit_that_has_gone_is_stopped_already(fake, capfd):
    systemd.stop("gone.scope", False)
    assert capfd.readouterr().err == ""


def test_rootless(fake):
    """The user's systemd says where its units are."""
    unit = systemd.unit_of(":pre:x", True)
    assert unit.path == "/user.slice/user-1.slice/user@1.service/user.slice/pre-x.scope"


def test_no_bus(fake, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    monkeypatch.setattr(systemd, "PRIVATE", "/nonexistent")
    with pytest.raises(CliError, match="systemd: D-Bus: No such file or directory"):
        start("one")
    if fake.how == "listen":
        monkeypatch.setattr(systemd, "PRIVATE", fake.address)
        start("one")
        assert len(fake.named("StartTransientUnit")) == 1


def test_without_systemd_or_the_library(monkeypatch, tmp_path):
    monkeypatch.setattr(systemd, "BOOTED", "/nonexistent")
    assert systemd.unit_of("a.slice:pre:x", False) is None
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
    monkeypatch.setattr(systemd, "LIBRARIES", (str(tmp_path),))
    assert systemd.unit_of("a.slice:pre:x", False) is None


@needs_root
def test_a_container_and_its_unit(fake, cli, bundle):
    """create, update and delete where systemd seems to run: /run/systemd/system is made in a mount namespace."""
    script = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec "$@"'
    inside = ["unshare", "-m", "sh", "-c", script, "sh"]

    def change(config):
        config["linux"] = {"cgroupsPath": f"stockade-test{os.getpid()}.slice:pre:c", "resources": {"memory": {"limit": 300 << 20}}}

    def command(*arguments):
        return subprocess.run([*inside, *cli.argv("--systemd-cgroup", *arguments)], timeout=30, stdin=subprocess.DEVNULL).returncode

    assert command("create", "--bundle", str(bundle("pause", change=change)), "c") == 0
    ((name, _, properties, _),) = fake.named("StartTransientUnit")
    properties = {key: value[1] for key, value in properties}
    assert name == "pre-c.scope" and properties["Slice"] == f"stockade-test{os.getpid()}.slice"
    assert cli.state_of("c")["pid"] in properties["PIDs"] and len(properties["PIDs"]) == 2
    assert 300 << 20 in (properties.get("MemoryMax"), properties.get("MemoryLimit"))
    assert command("update", "--memory", "200m", "c") == 0
    assert fake.named("SetUnitProperties")[0][2][0][1][1] == 200 << 20
    assert command("delete", "--force", "c") == 0
    assert fake.named("StopUnit") == [["pre-c.scope", "replace"]]
    # one that systemd refuses leaves nothing behind
    assert command("create", "--bundle", str(bundle("pause", change=lambda c: c.update(linux={"cgroupsPath": "stockade-t.slice:refused:c"}))), "d") == 1
    assert cli("list", "-q").stdout == ""
