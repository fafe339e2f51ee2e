"""stockade events"""

import select

from sandbox import cgroup_stats, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import UsageError
from sentry.core import jsonlite

USAGE = "[FLAGS] ID"
ABOUT = (
    "Prints what the container uses (CPU, memory, processes, block devices), one JSON object a line, every interval\n"
    "until it has ended; and a line when the host has killed one of its processes for want of memory."
)
OPTIONS = [
    Option("--stats", None, "print the figures once"),
    Option("--interval", "SECONDS", "time between two lines (also as 5s)", default="5"),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "events")
    seconds = common.number(values.interval.removesuffix("s"), "--interval")
    if not seconds:
        raise UsageError("--interval must be at least 1", "events")
    container = state.Container.peek(settings.root, cid)
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        sentry = container.keeper.pidfd()
    finally:
        container.close()
    poll = select.poll()
    if sentry >= 0:
        poll.register(sentry, select.POLLIN)
    killed = None
    while True:
        usage = cgroup_stats.Usage(container.own.get("leaves") or [])
        if killed is not None and usage.oom_kills > killed:
            print(jsonlite.dumps({"type": "oom", "id": cid}), flush=True)
        killed = usage.oom_kills
        print(jsonlite.dumps({"type": "stats", "id": cid, "data": view(usage)}), flush=True)
        if values.stats or poll.poll(1000 * seconds):
            return 0


def view(usage) -> dict:
    """The figures as runc's `events` prints them, which go-runc and others parse."""
    throttling = {"periods": usage.periods, "throttledPeriods": usage.throttled, "throttledTime": usage.throttled_ns}
    times = {"total": usage.cpu, "percpu": usage.per_cpu, "kernel": usage.cpu_system, "user": usage.cpu_user}
    return {
        "cpu": {"usage": times, "throttling": throttling},
        "cpuset": {},
        "memory": {
            "cache": usage.memory_stat.get("cache", usage.memory_stat.get("file", 0)),
            "usage": amounts(usage.memory, usage.memory_peak, usage.memory_limit, usage.memory_failures),
            "swap": amounts(usage.swap, usage.swap_peak, usage.swap_limit, 0),
            "kernel": amounts(0, 0, 0, 0),
            "kernelTCP": amounts(0, 0, 0, 0),
            "raw": usage.memory_stat,
        },
        "pids": {"current": usage.pids, "limit": usage.pids_limit},
        "blkio": {
            "ioServiceBytesRecursive": [blkio(row, row[3]) for row in usage.io],
            "ioServicedRecursive": [blkio(row, row[4]) for row in usage.io],
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def amounts(usage, peak, limit, failures) -> dict:
    return {"limit": 2**64 - 1 if limit < 0 else limit, "usage": usage, "max": peak, "failcnt": failures}


def blkio(row, value) -> dict:
    return {"major": row[0], "minor": row[1], "op": row[2], "value": value}
