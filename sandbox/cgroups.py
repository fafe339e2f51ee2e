"""The container's cgroups (cgroups(7); OCI runtime-spec, config-linux.md "Control groups").

Sentry, gofer and guest processes all go in before any guest code runs. Where cgroups are not writable
(rootless, an outer container) the container runs without, which is logged, unless limits were asked for.
"""

import os
from errno import EACCES, EBUSY, EINVAL, ENOENT, EPERM, EROFS
from time import sleep

from sandbox import log
from sandbox.child import SIGKILL, write
from sandbox.errors import CliError, os_text

V2_PERIOD = 100000
OWN_PROCESSES = 64  # host threads beside those of the guests, whose number the Sentry itself limits (kernel/machine.py)
REMOVE_TRIES = 100  # of 5 ms: the kernel lets a cgroup go a little after its last process


def mounts() -> "tuple[str | None, dict[str, str]]":
    """(mount point of cgroup v2 with controllers or None, {v1 controller: mount point})."""
    unified, v1 = None, {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            place = left.split(" ")[4]
            if "\\" in place:
                place = place.encode("utf-8", "surrogateescape").decode("unicode_escape")
            if kind == "cgroup2":
                unified = place
            elif kind == "cgroup":
                for option in options.strip().split(","):
                    if option in ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"):
                        v1[option] = place
    return unified, v1


def own_paths() -> "dict[str, str]":
    """{controller: our own path}; "" is cgroup v2."""
    paths = {}
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


def unit_name(spec, cid, systemd) -> "str | None":
    """cgroupsPath as SLICE:PREFIX:NAME, if it is one."""
    path = (spec.get("linux") or {}).get("cgroupsPath") or ""
    return path or f":stockade:{cid}" if systemd or is_unit(path) else None


def path_of(spec, cid, systemd) -> "str | None":
    """cgroupsPath as a path below the hierarchies' roots (leading "/") or relative to our own cgroup."""
    unit = unit_name(spec, cid, systemd)
    return unit_path(unit) if unit else (spec.get("linux") or {}).get("cgroupsPath") or None


def is_unit(path) -> bool:
    """Does it name a slice, as containerd writes it for a kubelet with the systemd driver, whatever our flags say?"""
    return path.count(":") == 2 and "/" not in path and path.partition(":")[0].endswith(".slice")


def unit_path(path) -> str:
    """SLICE:PREFIX:NAME as systemd lays its units out (systemd.slice(5)): a-b.slice lies in a.slice. CliError."""
    if path.count(":") != 2:
        raise CliError(f"cgroupsPath {path!r} is not SLICE:PREFIX:NAME, which --systemd-cgroup needs")
    parent, prefix, name = path.split(":")
    if not name or "/" in path:
        raise CliError(f"cgroupsPath {path!r} is not SLICE:PREFIX:NAME")
    parent = parent or "system.slice"
    if not parent.endswith(".slice"):
        raise CliError(f"cgroupsPath {path!r}: {parent!r} is no slice")
    words = parent.removesuffix(".slice").split("-")
    slices = [] if parent == "-.slice" else ["-".join(words[: i + 1]) + ".slice" for i in range(len(words))]
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return "/" + "/".join([*slices, unit])


class Plan:
    """Which cgroups a container gets. leaves: [(controller or "" for v2, mount point, directory)]; directories: the
    leaves, and those above them that are not there yet, parents first."""

    def __init__(self, leaves, resources, limited):
        self.leaves = leaves
        self.resources = resources
        self.unified = any(not controller for controller, _, _ in leaves)
        self.limited = limited
        self.directories = []
        for _, top, leaf in leaves:
            new = [leaf]
            while (leaf := os.path.dirname(leaf)) != top and not os.path.isdir(leaf):
                new.append(leaf)
            self.directories += [directory for directory in reversed(new) if directory not in self.directories]


# Of a pod's limits CRI tells in annotations of its first container, whose own resources are those of an idle program.
POD = (("cpu-shares", "cpu", "shares"), ("cpu-quota", "cpu", "quota"), ("cpu-period", "cpu", "period"), ("memory", "memory", "limit"))


def resources_of(spec) -> dict:
    """linux.resources; of the container that a pod's sandbox begins with, with the whole pod's limits: all run in there."""
    resources = dict((spec.get("linux") or {}).get("resources") or {})
    annotations = spec.get("annotations") or {}
    if "sandbox" in (annotations.get("io.kubernetes.cri.container-type"), annotations.get("io.kubernetes.cri-o.ContainerType")):
        # Two shares would starve the Sentry, which serves all of the pod there.
        resources["cpu"] = {key: value for key, value in (resources.get("cpu") or {}).items() if key != "shares"}
        for name, group, key in POD:
            text = annotations.get(f"io.kubernetes.cri.sandbox-{name}", "")
            if text.removeprefix("-").isdigit() and int(text):
                resources[group] = {**(resources.get(group) or {}), key: int(text)}
    return resources


def plan(spec, cid, systemd, unit=None) -> "Plan | None":
    """The cgroups that the configuration asks for, or None. unit: systemd.Unit that they are of."""
    wanted = unit.path if unit is not None else path_of(spec, cid, systemd)
    resources = resources_of(spec)
    limited = any(resources.get(key) for key in ("memory", "cpu", "pids", "blockIO", "unified"))
    if wanted is None:
        if not limited:
            return None
        wanted = f"stockade/{cid}"
    unified, v1 = mounts()
    tops = v1 or ({"": unified} if unified else {})
    own = {} if wanted.startswith("/") else own_paths()
    leaves = []
    for controller, top in sorted(tops.items()):
        base = top + own.get(controller, "").rstrip("/")
        leaves.append((controller, top, os.path.join(base, wanted.lstrip("/"))))
    return Plan(leaves, resources, limited)


def create(plan) -> bool:
    """Make the cgroups and set their limits. False: it is not permitted, and no limit needs them. CliError."""
    try:
        for controller, top, leaf in plan.leaves:
            os.makedirs(leaf, 0o755, exist_ok=True)
            if not controller:
                enable_v2(top, leaf)
                limit_v2(leaf, plan.resources)
                continue
            if controller == "cpuset":
                inherit_cpuset(top, leaf)
            limit_v1(controller, leaf, plan.resources)
    except OSError as error:
        if error.errno in (EACCES, EPERM, EROFS) and not plan.limited:
            log.warning(f"running without cgroups: {os_text(error)}")
            return False
        raise CliError(f"cgroup: {os_text(error)}") from None
    return True


def inherit_cpuset(top, directory) -> None:
    """cpuset v1: a fresh cgroup has no CPUs and takes no process; fill it from above, downwards."""
    chain = []
    while directory != top and directory.startswith(top):
        chain.append(directory)
        directory = os.path.dirname(directory)
    for below in reversed(chain):
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not read(os.path.join(below, name)).strip():
                write(os.path.join(below, name), read(os.path.join(os.path.dirname(below), name)))


def read(path) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def number(resources, group, key):
    value = (resources.get(group) or {}).get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise CliError(f"linux.resources.{group}.{key} must be a number")
    return value


def limit_v1(controller, directory, resources) -> None:
    def put(name, group, key, skip=(None, 0)):
        value = number(resources, group, key)
        if value not in skip:
            write(os.path.join(directory, name), str(value))

    if controller == "memory":
        limit_v1_memory(directory, number(resources, "memory", "limit"), number(resources, "memory", "swap"))
        put("memory.soft_limit_in_bytes", "memory", "reservation")
        put("memory.swappiness", "memory", "swappiness", (None,))
        if (resources.get("memory") or {}).get("disableOOMKiller"):
            write(os.path.join(directory, "memory.oom_control"), "1")
    elif controller == "cpu":
        put("cpu.shares", "cpu", "shares")
        put("cpu.cfs_period_us", "cpu", "period")
        put("cpu.cfs_quota_us", "cpu", "quota")
        put("cpu.cfs_burst_us", "cpu", "burst")
        put("cpu.rt_period_us", "cpu", "realtimePeriod")
        put("cpu.rt_runtime_us", "cpu", "realtimeRuntime")
        put("cpu.idle", "cpu", "idle")
    elif controller == "cpuset":
        for name, key in (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")):
            value = (resources.get("cpu") or {}).get(key)
            if value:
                write(os.path.join(directory, name), str(value))
    elif controller == "pids":
        value = number(resources, "pids", "limit")
        if value:
            write(os.path.join(directory, "pids.max"), str(value + OWN_PROCESSES) if value > 0 else "max")
    elif controller == "blkio":
        limit_v1_io(directory, resources.get("blockIO") or {})


# linux.resources.blockIO: lists of {major, minor, rate} -> file of v1, key in io.max of v2.
RATES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


def rates(block) -> "list[tuple[str, int, int, int]]":
    """(key, major, minor, rate) of linux.resources.blockIO. CliError."""
    found = []
    for key in RATES:
        for row in block.get(key) or ():
            values = [row.get(name) for name in ("major", "minor", "rate")] if isinstance(row, dict) else [None]
            if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
                raise CliError(f"linux.resources.blockIO.{key}: each entry needs the numbers major, minor and rate")
            found.append((key, *values))
    return found


def limit_v1_io(directory, block) -> None:
    weight = number({"blockIO": block}, "blockIO", "weight")
    if weight:
        put_weight(directory, ("blkio.weight", "blkio.bfq.weight"), weight)
    for key, major, minor, rate in rates(block):
        write(os.path.join(directory, RATES[key][0]), f"{major}:{minor} {rate}")


def put_weight(directory, names, weight) -> None:
    """Into the first of these files that there is; not every scheduler of block devices has one."""
    for name in names:
        if os.path.exists(os.path.join(directory, name)):
            write(os.path.join(directory, name), str(weight))
            return
    log.unsupported("linux.resources.blockIO.weight: this kernel has no weights for block devices")


def limit_v1_memory(directory, memory, swap) -> None:
    """Memory alone, and with swap: the kernel insists that the second is never below the first, so the order depends on
    what was set before. Hosts without swap accounting have no file for the second."""
    steps = [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", swap)]
    steps = [(os.path.join(directory, name), str(value)) for name, value in steps if value]
    steps = [step for step in steps if os.path.exists(step[0])]
    try:
        for step in steps:
            write(*step)
    except OSError as error:
        if error.errno != EINVAL or len(steps) < 2:
            raise
        for step in reversed(steps):
            write(*step)


# What the Sentry shows of the container's use (kernel/machine.py), by controller; "" is version 2.
USE = {
    "": ("memory.current", "memory.peak", "memory.stat", "memory.events", "memory.swap.current", "cpu.stat", "io.stat"),
    "memory": ("memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.stat", "memory.oom_control"),
    "cpu": ("cpu.stat",),
    "cpuacct": ("cpuacct.usage", "cpuacct.stat"),
}


def open_use(leaves) -> "dict[str, int]":
    """{file name: descriptor} of those that there are."""
    found = {}
    for controller, leaf in leaves:
        for name in USE.get(controller, ()):
            try:
                found[name] = os.open(os.path.join(leaf, name), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # this kernel has no such file, or the cgroup has gone
    return found


def update(leaves, resources) -> None:
    """New limits for the cgroups [(controller or "" for v2, directory)] of a container. CliError."""
    if not leaves and any(resources.get(key) for key in ("memory", "cpu", "pids", "blockIO")):
        raise CliError("the container has no cgroups of its own, so its limits cannot be changed")
    try:
        for controller, leaf in leaves:
            if controller:
                limit_v1(controller, leaf, resources)
            else:
                limit_v2(leaf, resources)
    except OSError as error:
        raise CliError(f"cgroup: {os_text(error)}") from None


def weight_of(shares) -> int:
    """The weight of cgroup v2 for the shares of v1, as runc and crun convert it: [2, 262144] -> [1, 10000]."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def enable_v2(top, directory) -> None:
    """Ask each level above for the controllers; a level that refuses (it has processes) is left as it is."""
    chain = []
    above = os.path.dirname(directory)
    while above.startswith(top):
        chain.append(above)
        if above == top:
            break
        above = os.path.dirname(above)
    for level in reversed(chain):
        for controller in ("memory", "cpu", "cpuset", "pids", "io"):
            try:
                write(os.path.join(level, "cgroup.subtree_control"), f"+{controller}")
            except OSError as error:
                if error.errno not in (EBUSY, ENOENT, EACCES, EPERM):
                    log.debug(f"cgroup {level}: {controller}: {os_text(error)}")


def limit_v2(directory, resources) -> None:
    def put(name, text):
        write(os.path.join(directory, name), text)

    def amount(value):
        return "max" if value < 0 else str(value)

    memory = number(resources, "memory", "limit")
    if memory:
        put("memory.max", amount(memory))
    swap = number(resources, "memory", "swap")  # of both together, where v2 counts swap alone
    if swap and os.path.exists(os.path.join(directory, "memory.swap.max")):
        put("memory.swap.max", amount(swap - memory if swap > 0 and memory and memory > 0 else swap))
    reservation = number(resources, "memory", "reservation")
    if reservation:
        put("memory.low", amount(reservation))
    shares = number(resources, "cpu", "shares")
    if shares:
        put("cpu.weight", str(weight_of(shares)))
    quota, period = number(resources, "cpu", "quota"), number(resources, "cpu", "period")
    if quota or period:
        put("cpu.max", f"{amount(quota or -1)} {period or V2_PERIOD}")
    for name, key in (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")):
        value = (resources.get("cpu") or {}).get(key)
        if value:
            put(name, str(value))
    pids = number(resources, "pids", "limit")
    if pids:
        put("pids.max", amount(pids + OWN_PROCESSES if pids > 0 else pids))
    burst, idle = number(resources, "cpu", "burst"), number(resources, "cpu", "idle")
    if burst:
        put("cpu.max.burst", str(burst))
    if idle is not None:
        put("cpu.idle", str(idle))
    block = resources.get("blockIO") or {}
    weight = number(resources, "blockIO", "weight")
    if weight:
        if os.path.exists(os.path.join(directory, "io.bfq.weight")):
            put("io.bfq.weight", str(weight))
        else:  # [10, 1000] -> [1, 10000], the conversion that runc and crun use
            put_weight(directory, ("io.weight",), 1 + (min(max(weight, 10), 1000) - 10) * 9999 // 990)
    for key, major, minor, rate in rates(block):
        put("io.max", f"{major}:{minor} {RATES[key][1]}={rate or 'max'}")
    for name, value in (resources.get("unified") or {}).items():
        if "/" in name or "." not in name or not isinstance(value, str):
            raise CliError(f"linux.resources.unified: {name!r} is no file of a cgroup")
        put(name, value)


def enter(plan, pid) -> None:
    """Move process `pid` into the cgroups."""
    for leaf in {leaf for _, _, leaf in plan.leaves}:
        try:
            write(os.path.join(leaf, "cgroup.procs"), str(pid))
        except OSError as error:
            raise CliError(f"cgroup: {os_text(error)}") from None


def kill(leaves, parent) -> None:
    """End every child of process `parent` in the cgroups [(controller or "" for v2, directory)]."""
    for directory in {leaf for _, leaf in leaves}:
        for _ in range(REMOVE_TRIES):
            try:
                pids = [int(pid) for pid in read(os.path.join(directory, "cgroup.procs")).split()]
            except FileNotFoundError:
                break
            pids = [pid for pid in pids if parent_of(pid) == parent]
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
            sleep(0.005)


def parent_of(pid) -> int:
    try:
        return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def remove(directories) -> None:
    """Remove cgroups, the last of the list first; what is gone already, and what others use too, is no error."""
    for directory in reversed(directories):
        for attempt in range(REMOVE_TRIES):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno == EBUSY and has_children(directory):
                    break
                if error.errno == EBUSY and attempt + 1 < REMOVE_TRIES:
                    sleep(0.005)
                    continue
                log.warning(f"cgroup left behind: {os_text(error)}")
            break


def has_children(directory) -> bool:
    return any(entry.is_dir(follow_symlinks=False) for entry in os.scandir(directory))
