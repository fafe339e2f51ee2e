"""What a container uses, read from its cgroups (cgroups(7); cgroup-v1 and cgroup-v2 of the kernel's documentation)."""

import os

from sandbox.cgroups import OWN_PROCESSES

USER_HZ = os.sysconf("SC_CLK_TCK")
NS = 10**9


def number(directory, name, default=0) -> int:
    """The number in a file; `default` where there is no such file, -1 for "max"."""
    text = text_of(directory, name).strip()
    return -1 if text == "max" else int(text) if text.isdigit() else default


def text_of(directory, name) -> str:
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def table(directory, name) -> "dict[str, int]":
    """A file of lines "KEY NUMBER"."""
    rows = (line.split() for line in text_of(directory, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def io_rows(directory, name) -> "list[tuple[int, int, str, int]]":
    """blkio v1 files: (major, minor, operation, value)."""
    rows = []
    for line in text_of(directory, name).splitlines():
        device, _, rest = line.partition(" ")
        operation, _, value = rest.partition(" ")
        major, _, minor = device.partition(":")
        if major.isdigit() and minor.isdigit() and value.isdigit():
            rows.append((int(major), int(minor), operation, int(value)))
    return rows


def io_stat(directory) -> "list[tuple[int, int, str, int, int]]":
    """io.stat of v2: (major, minor, "Read" or "Write", bytes, operations)."""
    rows = []
    for line in text_of(directory, "io.stat").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.split("=") for pair in pairs if "=" in pair)
        for letter, operation in (("r", "Read"), ("w", "Write")):
            size, count = values.get(letter + "bytes", "0"), values.get(letter + "ios", "0")
            rows.append((int(major), int(minor), operation, int(size), int(count)))
    return rows


def guests(limit) -> int:
    """pids.limit of the configuration, to which the host's has something added; 0 for none."""
    return max(limit - OWN_PROCESSES, 0)


class Usage:
    """Plain numbers: times in ns, sizes in bytes. leaves: [[controller or "", directory]] of the container."""

    def __init__(self, leaves):
        self.leaves = leaves = dict(leaves)
        self.unified = leaves.get("")
        self.cpu = self.cpu_user = self.cpu_system = self.throttled_ns = self.periods = self.throttled = 0
        self.per_cpu = []
        self.memory = self.memory_peak = self.memory_failures = self.swap = self.swap_peak = 0
        self.memory_limit = self.swap_limit = self.pids_limit = 0
        self.memory_stat = {}
        self.oom_kills = self.pids = 0
        self.io = []  # (major, minor, operation, bytes, operations)
        if self.unified:
            self.read_unified(self.unified)
        else:
            self.read_v1(leaves)

    def read_v1(self, leaves) -> None:
        cpu, account = leaves.get("cpu", ""), leaves.get("cpuacct", "")
        self.cpu = number(account, "cpuacct.usage")
        self.per_cpu = [int(part) for part in text_of(account, "cpuacct.usage_percpu").split()]
        times = table(account, "cpuacct.stat")
        self.cpu_user, self.cpu_system = (times.get(key, 0) * NS // USER_HZ for key in ("user", "system"))
        throttling = table(cpu, "cpu.stat")
        self.periods, self.throttled = throttling.get("nr_periods", 0), throttling.get("nr_throttled", 0)
        self.throttled_ns = throttling.get("throttled_time", 0)
        memory = leaves.get("memory", "")
        self.memory = number(memory, "memory.usage_in_bytes")
        self.memory_peak = number(memory, "memory.max_usage_in_bytes")
        self.memory_limit = number(memory, "memory.limit_in_bytes")
        self.memory_failures = number(memory, "memory.failcnt")
        self.swap = number(memory, "memory.memsw.usage_in_bytes")
        self.swap_peak = number(memory, "memory.memsw.max_usage_in_bytes")
        self.swap_limit = number(memory, "memory.memsw.limit_in_bytes")
        self.memory_stat = table(memory, "memory.stat")
        self.oom_kills = table(memory, "memory.oom_control").get("oom_kill", 0)
        self.pids = number(leaves.get("pids", ""), "pids.current")
        self.pids_limit = guests(number(leaves.get("pids", ""), "pids.max"))
        blkio = leaves.get("blkio", "")
        counts = {row[:3]: row[3] for row in io_rows(blkio, "blkio.throttle.io_serviced")}
        for row in io_rows(blkio, "blkio.throttle.io_service_bytes"):
            self.io.append((*row, counts.get(row[:3], 0)))

    def read_unified(self, leaf) -> None:
        times = table(leaf, "cpu.stat")
        self.cpu, self.cpu_user, self.cpu_system, self.throttled_ns = (
            times.get(key, 0) * 1000 for key in ("usage_usec", "user_usec", "system_usec", "throttled_usec")
        )
        self.periods, self.throttled = times.get("nr_periods", 0), times.get("nr_throttled", 0)
        self.memory, self.memory_limit = number(leaf, "memory.current"), number(leaf, "memory.max")
        self.memory_peak = number(leaf, "memory.peak")
        self.swap, self.swap_limit = number(leaf, "memory.swap.current"), number(leaf, "memory.swap.max")
        self.memory_stat = table(leaf, "memory.stat")
        events = table(leaf, "memory.events")
        self.oom_kills, self.memory_failures = events.get("oom_kill", 0), events.get("max", 0)
        self.pids, self.pids_limit = number(leaf, "pids.current"), guests(number(leaf, "pids.max"))
        self.io = io_stat(leaf)
