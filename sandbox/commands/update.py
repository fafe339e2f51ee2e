"""stockade update"""

import sys

from sandbox import control, launch, oci, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import CliError, UsageError
from sentry.core import jsonlite

USAGE = "[FLAGS] ID"
ABOUT = "Changes the limits of a container. -r takes the OCI resources object; flags change single limits."
OPTIONS = [
    Option("--resources -r", "FILE", "an OCI resources object (JSON); - is standard input"),
    Option("--memory", "BYTES", "limit of memory (also with k, m, g)"),
    Option("--memory-reservation", "BYTES", "what it keeps when memory is short"),
    Option("--memory-swap", "BYTES", "limit of memory and swap together; -1: none"),
    Option("--cpu-share", "N", "weight beside others"),
    Option("--cpu-quota", "US", "CPU time in each period"),
    Option("--cpu-period", "US", "length of a period"),
    Option("--cpuset-cpus", "LIST", "CPUs it may use"),
    Option("--cpuset-mems", "LIST", "memory nodes it may use"),
    Option("--pids-limit", "N", "how many host threads there may be; -1: any number"),
    Option("--cpu-burst", "US", "CPU time of earlier periods that it may use in addition"),
    Option("--cpu-idle", "N", "1: it runs when nobody else wants to"),
    Option("--cpu-rt-period", "US", "length of a period of real-time programs (cgroup v1)"),
    Option("--cpu-rt-runtime", "US", "their CPU time in each (cgroup v1)"),
    Option("--blkio-weight", "N", "weight of its access to block devices, 10 to 1000"),
    Option("--l3-cache-schema", "SCHEMA", "accepted and without effect"),
    Option("--mem-bw-schema", "SCHEMA", "accepted and without effect"),
    Option("--kernel-memory", "BYTES", "accepted and without effect"),
    Option("--kernel-memory-tcp", "BYTES", "accepted and without effect"),
]
INTERSPERSED = True

FLAGS = (
    ("memory", "memory", "limit"), ("memory_reservation", "memory", "reservation"), ("memory_swap", "memory", "swap"),
    ("cpu_share", "cpu", "shares"), ("cpu_quota", "cpu", "quota"), ("cpu_period", "cpu", "period"),
    ("cpuset_cpus", "cpu", "cpus"), ("cpuset_mems", "cpu", "mems"), ("pids_limit", "pids", "limit"),
    ("cpu_burst", "cpu", "burst"), ("cpu_idle", "cpu", "idle"), ("cpu_rt_period", "cpu", "realtimePeriod"),
    ("cpu_rt_runtime", "cpu", "realtimeRuntime"), ("blkio_weight", "blockIO", "weight"),
)  # fmt: skip
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "update")
    resources = read(values.resources) if values.resources else {}
    for flag, group, key in FLAGS:
        text = getattr(values, flag)
        if text is not None:
            resources.setdefault(group, {})[key] = text if key in ("cpus", "mems") else amount(text, flag)
    common.open_debug(settings, cid)
    container = state.Container.open(settings.root, cid)
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        launch.update_cgroups(container, resources)
        control.tell_resources(container, {key: resources[key] for key in ("cpu", "memory", "pids") if key in resources})
    finally:
        container.close()
    return 0


def read(path) -> dict:
    if path != "-":
        resources = oci.read_json(path)
    else:
        try:
            resources = jsonlite.loads(sys.stdin.buffer.read(oci.CONFIG_MAX))
        except jsonlite.JsonError as error:
            raise CliError(f"standard input is not JSON: {error}") from None
    if not isinstance(resources, dict):
        raise CliError("--resources: not an object")
    oci.check_linux({"resources": resources})
    return {key: dict(value) if isinstance(value, dict) else value for key, value in resources.items() if value is not None}


def amount(text, flag) -> int:
    number, unit = (text[:-1], UNITS[text[-1].lower()]) if text[-1:].lower() in UNITS else (text, 1)
    if not number.removeprefix("-").isdigit():
        raise UsageError(f"--{flag.replace('_', '-')}: {text!r} is not a number", "update")
    return int(number) * unit
