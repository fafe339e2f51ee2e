"""The container's cgroup, as a cgroup namespace shows it: the root of a version 2 hierarchy (cgroup-v2 of the kernel's
documentation), whatever the host has. There are no cgroups below it and none can be made; limits are set from outside.

What programs size themselves by: memory.max, cpu.max, memory.current, pids.max. A file without a meaning here is left out.
"""

from sentry.abi.errno import EACCES, EPERM
from sentry.fs.procfs_pid import list_text
from sentry.fs.pseudo import PseudoDir, TextInode
from sentry.kernel import machine
from sentry.vfs.inode import FileSystem
from sentry.vfs.mount import register_filesystem

CGROUP2_MAGIC = 0x63677270
CONTROLLERS = b"cpuset cpu io memory pids\n"
PRESSURE = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def amount(value) -> bytes:
    return b"%d\n" % value if value else b"max\n"


def rows(table) -> bytes:
    return "".join(f"{name} {value}\n" for name, value in table.items()).encode()


class CgroupFS(FileSystem):
    type_name = "cgroup2"
    magic = CGROUP2_MAGIC

    def __init__(self, kernel, container):
        FileSystem.__init__(self)
        self.source = b"cgroup"
        self.last_ino = 0
        self.kernel = kernel
        self.container = container
        self.root = CgroupDir(self)
        for name, show in FILES.items():
            self.root.add(name.encode(), TextInode(self, 0o444, Shown(self, show)))
        self.root.add(b"cgroup.procs", TextInode(self, 0o644, Shown(self, processes), refuse))
        self.root.add(b"cgroup.threads", TextInode(self, 0o644, Shown(self, threads), refuse))

    def new_ino(self) -> int:
        self.last_ino += 1
        return self.last_ino

    @property
    def machine(self):
        return self.container.machine if self.container is not None else machine.Machine(self.kernel.host, {})


class CgroupDir(PseudoDir):
    __slots__ = ()

    def mkdir(self, name, mode, uid, gid):
        return -EPERM

    def create(self, name, mode, uid, gid):
        return -EACCES


class Shown:
    """The `show` of a file: what function(fs, machine) answers."""

    __slots__ = ("fs", "function")

    def __init__(self, fs, function):
        self.fs = fs
        self.function = function

    def __call__(self, t):
        return self.function(self.fs, self.fs.machine)


def refuse(t, data):
    return -EPERM


def processes(fs, m):
    groups = fs.container.members if fs.container is not None else fs.kernel.pids.groups.values()
    return b"".join(b"%d\n" % pid for pid in sorted(tg.pid for tg in groups if not tg.zombie))


def threads(fs, m):
    groups = fs.container.members if fs.container is not None else fs.kernel.pids.groups.values()
    return b"".join(b"%d\n" % tid for tid in sorted(task.tid for tg in groups for task in tg.tasks))


def cpu_max(fs, m):
    return (b"%d %d\n" % (m.quota, m.period)) if m.quota else b"max %d\n" % m.period


def cpu_weight(fs, m):
    shares = machine.number(m.resources["cpu"].get("shares"))
    if not shares:
        return b"100\n"
    return b"%d\n" % (1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142)  # as runc and crun convert


def cpu_stat(fs, m):
    usage, user, system = m.cpu_time(fs.container)
    times = m.table("cpu.stat")
    table = {"usage_usec": usage, "user_usec": user, "system_usec": system, "nr_periods": times.get("nr_periods", 0)}
    table["nr_throttled"] = times.get("nr_throttled", 0)
    table["throttled_usec"] = times.get("throttled_usec", times.get("throttled_time", 0) // 1000)
    return rows(table)


def swap_max(fs, m):
    memory = m.resources["memory"]
    swap = machine.number(memory.get("swap"))
    return b"%d\n" % max(0, swap - m.memory) if swap > 0 else b"max\n"


def memory_low(fs, m):
    return b"%d\n" % max(0, machine.number(m.resources["memory"].get("reservation")))


def memory_peak(fs, m):
    return b"%d\n" % max(m.amount("memory.peak", "memory.max_usage_in_bytes"), m.used(fs.container))


def memory_events(fs, m):
    events = m.table("memory.events", "memory.oom_control")
    events.setdefault("oom", events.get("oom_kill", 0))
    return rows({name: events.get(name, 0) for name in ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")})


def pids_peak(fs, m):
    m.threads(fs.container)
    return b"%d\n" % m.pids_peak


FILES = {
    "cgroup.controllers": lambda fs, m: CONTROLLERS,
    "cgroup.events": lambda fs, m: b"populated 1\nfrozen %d\n" % (fs.container in fs.kernel.frozen),
    "cgroup.max.depth": lambda fs, m: b"max\n",
    "cgroup.max.descendants": lambda fs, m: b"max\n",
    "cgroup.stat": lambda fs, m: b"nr_descendants 0\nnr_dying_descendants 0\n",
    "cgroup.subtree_control": lambda fs, m: b"\n",
    "cgroup.type": lambda fs, m: b"domain\n",
    "cpu.max": cpu_max,
    "cpu.pressure": lambda fs, m: PRESSURE,
    "cpu.stat": cpu_stat,
    "cpu.weight": cpu_weight,
    "cpuset.cpus": lambda fs, m: str(m.resources["cpu"].get("cpus") or "").encode() + b"\n",
    "cpuset.cpus.effective": lambda fs, m: list_text(m.view["cpus"] if m.resources["cpu"].get("cpus") else m.host["cpus"]) + b"\n",
    "cpuset.mems": lambda fs, m: b"\n",
    "cpuset.mems.effective": lambda fs, m: b"0\n",
    "io.pressure": lambda fs, m: PRESSURE,
    "io.stat": lambda fs, m: m.text("io.stat").encode(),
    "memory.current": lambda fs, m: b"%d\n" % m.used(fs.container),
    "memory.events": memory_events,
    "memory.events.local": memory_events,
    "memory.high": lambda fs, m: b"max\n",
    "memory.low": memory_low,
    "memory.max": lambda fs, m: amount(m.memory),
    "memory.min": lambda fs, m: b"0\n",
    "memory.oom.group": lambda fs, m: b"0\n",
    "memory.peak": memory_peak,
    "memory.pressure": lambda fs, m: PRESSURE,
    "memory.stat": lambda fs, m: rows(m.stat()),
    "memory.swap.current": lambda fs, m: b"%d\n" % max(0, m.amount("memory.swap.current")),
    "memory.swap.max": swap_max,
    "pids.current": lambda fs, m: b"%d\n" % m.threads(fs.container),
    "pids.max": lambda fs, m: amount(m.pids),
    "pids.peak": pids_peak,
}


def new_cgroup(t, source: bytes, data: bytes):
    fs = CgroupFS(t.kernel, getattr(getattr(t, "tg", None), "container", None))
    if source:
        fs.source = source
    return fs


register_filesystem("cgroup2", new_cgroup)
register_filesystem("cgroup", new_cgroup)  # of version 1 there is nothing: configurations name it when they mean the container's
