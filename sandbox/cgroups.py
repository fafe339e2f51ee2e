"""The container's cgroups (cgroups(7); OCI runtime-spec, config-linux.md "Control groups").

Sentry, gofer and guest processes all go in before any guest code runs. Where cgroups are not writable
(rootless, an outer container) the container runs without, which is logged, unless limits were asked for.
"""

import os
from errno import EACCES, EBUSY, ENOENT, EPERM, EROFS
from time import sleep

from sandbox import log
from sandbox.child import write
from sandbox.errors import CliError, os_text

V2_PERIOD = 100000
REMOVE_TRIES = 100  # of 5 ms: the kernel lets a cgroup go a little after its last process


def mounts() -> "tuple[str | None, dict[str, str]]":
    """(mount point of cgroup v2 with controllers or None, {v1 controller: mount point})."""
    unified, v1 = None, {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            place = left.split(" ")[4].encode().decode("unicode_escape")
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


def path_of(spec, cid, systemd) -> "str | None":
    """cgroupsPath as a path below the hierarchies' roots (leading "/") or relative to our own cgroup."""
    path = (spec.get("linux") or {}).get("cgroupsPath") or ""
    if systemd and path.count(":") == 2:
        log.unsupported("--systemd-cgroup: the cgroup is made without asking systemd")
        parent, prefix, name = path.split(":")
        path = f"/{parent or 'system.slice'}/{prefix}-{name}.scope"
    return path or None


def create(spec, cid, systemd) -> "list[str]":
    """Make the cgroups that the configuration names and set its limits. Returns their directories."""
    wanted = path_of(spec, cid, systemd)
    resources = (spec.get("linux") or {}).get("resources") or {}
    limited = any(resources.get(key) for key in ("memory", "cpu", "pids"))
    if wanted is None:
        if not limited:
            return []
        wanted = f"stockade/{cid}"
    unified, v1 = mounts()
    made = []
    try:
        if v1:
            own = own_paths()
            for controller, place in sorted(v1.items()):
                base = place if wanted.startswith("/") else place + own.get(controller, "/").rstrip("/")
                directory = os.path.join(base, wanted.lstrip("/"))
                if directory not in made:
                    make(directory)
                    made.append(directory)
                    if controller == "cpuset":
                        inherit_cpuset(place, directory)
                limit_v1(controller, directory, resources)
        elif unified:
            base = unified if wanted.startswith("/") else unified + own_paths().get("", "/").rstrip("/")
            directory = os.path.join(base, wanted.lstrip("/"))
            make(directory)
            made.append(directory)
            enable_v2(unified, directory)
            limit_v2(directory, resources)
    except OSError as error:
        remove(made)
        if error.errno in (EACCES, EPERM, EROFS) and not limited:
            log.warning(f"running without cgroups: {os_text(error)}")
            return []
        raise CliError(f"cgroup: {os_text(error)}") from None
    except CliError:
        remove(made)
        raise
    return made


def make(directory) -> None:
    os.makedirs(directory, 0o755, exist_ok=True)


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
        put("memory.limit_in_bytes", "memory", "limit")
        put("memory.soft_limit_in_bytes", "memory", "reservation")
    elif controller == "cpu":
        put("cpu.shares", "cpu", "shares")
        put("cpu.cfs_period_us", "cpu", "period")
        put("cpu.cfs_quota_us", "cpu", "quota")
    elif controller == "cpuset":
        for name, key in (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")):
            value = (resources.get("cpu") or {}).get(key)
            if value:
                write(os.path.join(directory, name), str(value))
    elif controller == "pids":
        value = number(resources, "pids", "limit")
        if value:
            write(os.path.join(directory, "pids.max"), str(value) if value > 0 else "max")


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
    reservation = number(resources, "memory", "reservation")
    if reservation:
        put("memory.low", amount(reservation))
    shares = number(resources, "cpu", "shares")
    if shares:
        # The conversion that runc and crun use: [2, 262144] -> [1, 10000].
        put("cpu.weight", str(1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142))
    quota, period = number(resources, "cpu", "quota"), number(resources, "cpu", "period")
    if quota or period:
        put("cpu.max", f"{amount(quota or -1)} {period or V2_PERIOD}")
    for name, key in (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")):
        value = (resources.get("cpu") or {}).get(key)
        if value:
            put(name, str(value))
    pids = number(resources, "pids", "limit")
    if pids:
        put("pids.max", amount(pids))


def enter(directories, pid) -> None:
    """Move process `pid` into the cgroups."""
    for directory in directories:
        try:
            write(os.path.join(directory, "cgroup.procs"), str(pid))
        except OSError as error:
            raise CliError(f"cgroup: {os_text(error)}") from None


def pids(directories) -> "list[int]":
    """Host processes in the cgroups."""
    for directory in directories:
        try:
            return [int(line) for line in read(os.path.join(directory, "cgroup.procs")).split()]
        except FileNotFoundError:
            pass
    return []


def remove(directories) -> None:
    """Remove the cgroups; what is gone already is no error."""
    for directory in directories:
        for attempt in range(REMOVE_TRIES):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno == EBUSY and attempt + 1 < REMOVE_TRIES:
                    sleep(0.005)
                    continue
                log.warning(f"cgroup left behind: {os_text(error)}")
            break
