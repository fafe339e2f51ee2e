"""What a container sees of the machine: CPUs and memory as its limits leave them, and what of them it uses.

Programs size themselves by /proc/cpuinfo, /proc/meminfo, sched_getaffinity(2), sysinfo(2), /sys/devices/system/cpu and the files
of cgroup v2; all of them take the figures from here. Limits come from `linux.resources` of the configuration, and for a pod from
annotations of CRI; the host's cgroups enforce them. Figures of use are read from those cgroups' files, where
there are any (`files`, descriptors handed over through the control socket).
"""

import os

from sentry.kernel import cputime, memstat

V1_UNLIMITED = 1 << 62  # cgroup v1 writes "no limit" as a number near 2**63
DEFAULT_PERIOD = 100000  # us
SHARES = (("io.kubernetes.cri.sandbox-cpu-shares", "cpu", "shares"), ("io.kubernetes.cri.sandbox-cpu-quota", "cpu", "quota"),
          ("io.kubernetes.cri.sandbox-cpu-period", "cpu", "period"), ("io.kubernetes.cri.sandbox-memory", "memory", "limit"))  # fmt: skip


def resources_of(spec) -> dict:
    """linux.resources of a configuration."""
    return (spec.get("linux") or {}).get("resources") or {}


def of_pod(spec) -> dict:
    """The limits of the whole pod, from the annotations of its first container, as a resources object."""
    found = {}
    for name, group, key in SHARES:
        text = (spec.get("annotations") or {}).get(name, "")
        if text.removeprefix("-").isdigit() and int(text) > 0:
            found.setdefault(group, {})[key] = int(text)
    return found


def cpu_list(text) -> "set[int]":
    """The numbers of a list as 0-3,8; what is no such list is empty."""
    numbers = set()
    for part in str(text).split(","):
        low, dash, high = part.strip().partition("-")
        if low.isdigit() and (high.isdigit() if dash else True):
            numbers.update(range(int(low), min(int(high or low), 8191) + 1))
    return numbers


class Machine:
    """`view`: the host's facts (core/hostinfo.py) within the limits. Of the limits, 0 means that there is none."""

    __slots__ = ("host", "view", "resources", "files", "memory", "quota", "period", "pids", "pids_peak")

    def __init__(self, host, resources):
        self.host = host
        self.resources = {}
        self.files = {}  # name (of cgroup v1, or of v2 with a dot) -> descriptor
        self.pids_peak = 0
        self.limit(resources)

    def limit(self, resources) -> None:
        """Take over what of a resources object says something."""
        for group in ("cpu", "memory", "pids"):
            values = {key: value for key, value in (resources.get(group) or {}).items() if value is not None}
            self.resources[group] = {**self.resources.get(group, {}), **values}
        cpu, host = self.resources["cpu"], self.host
        self.memory = max(0, number(self.resources["memory"].get("limit")))
        self.pids = max(0, number(self.resources["pids"].get("limit")))
        self.quota, self.period = max(0, number(cpu.get("quota"))), number(cpu.get("period")) or DEFAULT_PERIOD
        allowed = cpu_list(cpu.get("cpus") or "")
        cpus = [cpu for cpu in host["cpus"] if cpu in allowed] or host["cpus"]
        if self.quota:
            cpus = cpus[: max(1, -(-self.quota // self.period))]
        blocks = dict(zip(host["cpus"], host["cpuinfo"], strict=True))
        total = min(host["mem_total"], self.memory) if self.memory else host["mem_total"]
        self.view = {**host, "cpus": cpus, "cpuinfo": [blocks[cpu] for cpu in cpus], "mem_total": total}

    def limited(self) -> bool:
        """Is the memory less than the machine's?"""
        return self.view["mem_total"] < self.host.get("mem_host", self.host["mem_total"])

    # -- what is used
    def text(self, *names) -> str:
        """The content of the first of these files that there is."""
        for name in names:
            fd = self.files.get(name)
            if fd is not None:
                try:
                    return os.pread(fd, 16384, 0).decode("ascii", "replace")
                except OSError:
                    continue
        return ""

    def table(self, *names) -> "dict[str, int]":
        rows = (line.split() for line in self.text(*names).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def amount(self, *names) -> int:
        """A file that is one number; -1 if there is none."""
        text = self.text(*names).strip()
        return int(text) if text.isdigit() else -1

    def used(self, container) -> int:
        """Bytes of memory: the cgroup's figure, or else an upper bound from the areas of the processes."""
        amount = self.amount("memory.current", "memory.usage_in_bytes")
        if amount >= 0:
            return amount
        return min(sum(memstat.peak(tg) for tg in tuple(container.members)), self.view["mem_total"]) if container else 0

    def stat(self) -> "dict[str, int]":
        """memory.stat with the names of v2."""
        table = self.table("memory.stat")
        if "anon" in table or not table:
            return table
        def of(name):
            return table.get("total_" + name, table.get(name, 0))

        return {
            "anon": of("rss"), "file": of("cache"), "shmem": of("shmem"), "file_mapped": of("mapped_file"), "file_dirty": of("dirty"),
            "file_writeback": of("writeback"), "anon_thp": of("rss_huge"), "inactive_anon": of("inactive_anon"),
            "active_anon": of("active_anon"), "inactive_file": of("inactive_file"), "active_file": of("active_file"),
            "unevictable": of("unevictable"), "pgfault": of("pgfault"), "pgmajfault": of("pgmajfault"),
        }  # fmt: skip

    def cpu_time(self, container) -> "tuple[int, int, int]":
        """All, user and system time in us."""
        times = self.table("cpu.stat")
        if "usage_usec" in times:
            return times["usage_usec"], times.get("user_usec", 0), times.get("system_usec", 0)
        usage = self.amount("cpuacct.usage")
        if usage >= 0:
            ticks = self.table("cpuacct.stat")
            user, system = ticks.get("user", 0), ticks.get("system", 0)
            mine = usage // 1000
            share = mine * user // (user + system) if user + system else mine
            return mine, share, mine - share
        user = system = 0
        for tg in tuple(container.members) if container else ():
            more_user, more_system = cputime.process(tg)
            user += more_user + tg.utime_children
            system += more_system + tg.stime_children
        return (user + system) // 1000, user // 1000, system // 1000

    def threads(self, container) -> int:
        """Tasks of the guests."""
        count = sum(len(tg.tasks) for tg in tuple(container.members)) if container else 0
        self.pids_peak = max(self.pids_peak, count)
        return count

    def full(self, container) -> bool:
        """pids.limit (cgroup-v2, "PID"): no more tasks."""
        return bool(self.pids) and self.threads(container) >= self.pids


def number(value) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value < V1_UNLIMITED else 0


def of(t) -> Machine:
    """That of the task's container; of what acts for the kernel itself, the whole sandbox's."""
    container = getattr(getattr(t, "tg", None), "container", None)
    return container.machine if container is not None else Machine(t.kernel.host, {})


def view(t) -> dict:
    """The facts of core/hostinfo.py as the task sees them."""
    container = getattr(getattr(t, "tg", None), "container", None)
    return container.machine.view if container is not None else t.kernel.host
