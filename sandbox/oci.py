"""Reading and checking an OCI bundle's config.json (runtime-spec, config.md).

`load` returns a dict in which what the rest of stockade reads is present and has the right type, or raises
CliError with the place of the first thing wrong. Unknown fields are ignored, as the specification asks.
"""

import os
from stat import S_ISDIR, S_ISREG

from sandbox import log
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

CONFIG_MAX = 16 << 20

MOUNT_TYPES = ("bind", "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2")

RLIMITS = (
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
).split()

CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
TIMEOUT_MAX = 2**31  # seconds

SECCOMP_ACTIONS = tuple("SCMP_ACT_" + name for name in "KILL KILL_THREAD KILL_PROCESS TRAP ERRNO TRACE ALLOW LOG".split())
SECCOMP_OPERATORS = tuple("SCMP_CMP_" + name for name in "NE LT LE EQ GE GT MASKED_EQ".split())
SECCOMP_FLAGS = tuple(
    "SECCOMP_FILTER_FLAG_" + name for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
)

POLICIES = tuple("SCHED_" + name for name in "OTHER FIFO RR BATCH ISO IDLE DEADLINE".split())
IO_CLASSES = tuple("IOPRIO_CLASS_" + name for name in "RT BE IDLE".split())
HOSTNAME_MAX = 64  # sethostname(2)
PROPAGATIONS = tuple(prefix + name for name in "shared slave private unbindable".split() for prefix in ("", "r"))
# What of `linux` is read, here or elsewhere; the rest is said to be unsupported.
LINUX = (
    "uidMappings gidMappings sysctl resources cgroupsPath namespaces devices seccomp rootfsPropagation maskedPaths readonlyPaths "
    "timeOffsets personality"
).split()
RESOURCES = ("memory", "cpu", "pids", "devices")

KINDS = {str: "a string", int: "a number", bool: "true or false", list: "an array", dict: "an object"}


def load(bundle: str, name="config.json") -> dict:
    """The checked configuration of the bundle directory `bundle`; name: of its file."""
    path = os.path.join(bundle, name)
    if os.path.exists(path) and not S_ISREG(os.stat(path).st_mode):
        raise CliError(f"{path} is not a regular file")  # a FIFO would be waited for
    spec = read_json(path)
    try:
        check(spec)
        check_root(spec, bundle)
    except CliError as error:
        raise CliError(f"{path}: {error}", error.code) from None
    return spec


def read_json(path: str):
    """The value of the JSON file `path`; CliError with line and column."""
    try:
        with open(path, "rb") as file:
            data = file.read(CONFIG_MAX + 1)
    except OSError as error:
        raise CliError(os_text(error)) from None
    if len(data) > CONFIG_MAX:
        raise CliError(f"{path}: longer than {CONFIG_MAX >> 20} MiB")
    try:
        value = jsonlite.loads(data)
    except jsonlite.JsonError as error:
        raise CliError(f"{path} is not JSON: {where(data) or error}") from None
    if b"\\ud" in data.lower():
        refuse_surrogates(value, path)
    return value


def refuse_surrogates(value, path) -> None:
    """CliError if a string has half of a surrogate pair in it, which is no character and has no bytes in a path."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise CliError(f"{path}: the string {ascii(value)[:60]} has a lone surrogate in it") from None


def where(data):
    """The place of a syntax error, from the slow parser (its import costs 12 ms, so only now)."""
    import json

    try:
        json.loads(str(data, "utf-8"))
    except UnicodeDecodeError:
        return None
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def get(obj, key, kind, place, required=False, default=None):
    """obj[key] if it has type `kind`; the default where it is absent or null."""
    value = obj.get(key)
    if value is None:
        if required:
            raise CliError(f"{place}{key} is missing")
        return default
    if not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise CliError(f"{place}{key} must be {KINDS[kind]}, not {jsonlite.dumps(value)[:60]}")
    return value


def strings(obj, key, place, required=False):
    """A list of strings without NUL."""
    values = get(obj, key, list, place, required, [])
    for i, value in enumerate(values):
        if not isinstance(value, str) or "\0" in value:
            raise CliError(f"{place}{key}[{i}] must be a string without NUL")
    return values


def check(spec) -> None:
    """Raise CliError unless `spec` is a usable configuration; fills in the defaults that are read later."""
    if not isinstance(spec, dict):
        raise CliError("not an object")
    version = get(spec, "ociVersion", str, "", True)
    if version.split(".")[0] != "1":
        raise CliError(f"ociVersion {version!r} is not supported (1.x is)")
    root = get(spec, "root", dict, "", True)
    get(root, "path", str, "root.", True)
    get(root, "readonly", bool, "root.")
    check_process(get(spec, "process", dict, "", True))
    if len((get(spec, "hostname", str, "") or "").encode()) > HOSTNAME_MAX:
        raise CliError(f"hostname is longer than {HOSTNAME_MAX} bytes")
    get(spec, "domainname", str, "")
    annotations = get(spec, "annotations", dict, "", default={})
    for key, value in annotations.items():
        if not isinstance(value, str):
            raise CliError(f"annotations[{key!r}] must be a string")
    for i, mount in enumerate(get(spec, "mounts", list, "", default=[])):
        check_mount(mount, f"mounts[{i}]")
    check_linux(get(spec, "linux", dict, "", default={}))
    check_hooks(get(spec, "hooks", dict, "", default={}))


def check_hooks(hooks) -> None:
    for point in HOOKS:
        for i, hook in enumerate(get(hooks, point, list, "hooks.", default=[])):
            place = f"hooks.{point}[{i}]"
            if not isinstance(hook, dict):
                raise CliError(f"{place} must be an object")
            path = get(hook, "path", str, place + ".", True)
            if not path.startswith("/") or "\0" in path:
                raise CliError(f"{place}.path {path!r} is not an absolute path")
            strings(hook, "args", place + ".")
            for variable in strings(hook, "env", place + "."):
                if variable.find("=") < 1:
                    raise CliError(f"{place}.env: {variable!r} is not NAME=VALUE")
            timeout = get(hook, "timeout", int, place + ".")
            if timeout is not None and not 0 < timeout <= TIMEOUT_MAX:
                raise CliError(f"{place}.timeout must be a number of seconds above 0")


def check_process(process, place="process.") -> None:
    """`process` of config.json, or the file of `exec --process`."""
    if not isinstance(process, dict):
        raise CliError(f"{place.rstrip('.')} must be an object")
    args = strings(process, "args", place, True)
    if not args:
        raise CliError(f"{place}args is empty")
    cwd = get(process, "cwd", str, place, True)
    if not cwd.startswith("/"):
        raise CliError(f"{place}cwd {cwd!r} is not an absolute path")
    strings(process, "env", place)
    get(process, "terminal", bool, place)
    get(process, "noNewPrivileges", bool, place)
    size = get(process, "consoleSize", dict, place, default={})
    for key in ("height", "width"):
        ranged(get(size, key, int, f"{place}consoleSize."), f"{place}consoleSize.{key}", 0xFFFF)
    user = get(process, "user", dict, place, default={})
    for key in ("uid", "gid", "umask"):
        ranged(get(user, key, int, f"{place}user."), f"{place}user.{key}", 0xFFFFFFFE)
    for i, gid in enumerate(get(user, "additionalGids", list, f"{place}user.", default=[])):
        if not isinstance(gid, int):
            raise CliError(f"{place}user.additionalGids[{i}] must be a number")
        ranged(gid, f"{place}user.additionalGids[{i}]", 0xFFFFFFFE)
    ranged(get(process, "oomScoreAdj", int, place), f"{place}oomScoreAdj", 1000, -1000)
    for i, limit in enumerate(get(process, "rlimits", list, place, default=[])):
        here = f"{place}rlimits[{i}]."
        if not isinstance(limit, dict):
            raise CliError(f"{here.rstrip('.')} must be an object")
        kind = get(limit, "type", str, here, True)
        if not kind.startswith("RLIMIT_") or kind[7:] not in RLIMITS:
            raise CliError(f"{here}type {kind!r} is unknown")
        soft, hard = (ranged(get(limit, key, int, here, True), here + key, 2**64 - 1) for key in ("soft", "hard"))
        if soft > hard:
            raise CliError(f"{here}soft is above hard")
    check_scheduling(process, place)
    sets = get(process, "capabilities", dict, place, default={})
    for kind in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        for name in strings(sets, kind, f"{place}capabilities."):
            if name[4:] not in CAPABILITIES or not name.startswith("CAP_"):
                log.warning(f"{place}capabilities.{kind}: {name} is unknown and ignored")
    for key in ("apparmorProfile", "selinuxLabel"):
        if get(process, key, str, place):
            log.unsupported(f"{place}{key}")


def check_scheduling(process, place) -> None:
    scheduler = get(process, "scheduler", dict, place, default={})
    here = f"{place}scheduler."
    if scheduler:
        policy = one_of(scheduler, "policy", POLICIES, here, True)
        ranged(get(scheduler, "nice", int, here), here + "nice", 19, -20)
        priority = ranged(get(scheduler, "priority", int, here, default=0), here + "priority", 99)
        if (policy in ("SCHED_FIFO", "SCHED_RR")) != (priority > 0):
            raise CliError(f"{here}priority {priority} does not go with {policy}")
        strings(scheduler, "flags", here)
        if policy == "SCHED_DEADLINE":
            raise CliError(f"{here}policy SCHED_DEADLINE is not supported")
    priority = get(process, "ioPriority", dict, place, default={})
    here = f"{place}ioPriority."
    if priority:
        one_of(priority, "class", IO_CLASSES, here, True)
        ranged(get(priority, "priority", int, here), here + "priority", 7)


def one_of(obj, key, values, place, required=False):
    """obj[key], a string out of `values`."""
    value = get(obj, key, str, place, required)
    if value is not None and value not in values:
        raise CliError(f"{place}{key} {value!r} is unknown")
    return value


def ranged(value, place, high, low=0):
    if value is not None and not low <= value <= high:
        raise CliError(f"{place} {value} is out of range")
    return value


def check_mount(mount, place) -> None:
    if not isinstance(mount, dict):
        raise CliError(f"{place} must be an object")
    destination = get(mount, "destination", str, place + ".", True)
    if not destination.startswith("/"):
        raise CliError(f"{place}.destination {destination!r} is not an absolute path")
    options = strings(mount, "options", place + ".")
    kind = get(mount, "type", str, place + ".", default="")
    source = get(mount, "source", str, place + ".", is_bind(mount))
    if is_bind(mount):
        mount["type"] = "bind"
        if not source:
            raise CliError(f"{place}.source is empty")
    elif kind == "overlay":
        if not any(option.startswith("lowerdir=") for option in options):
            raise CliError(f"{place} ({destination}): an overlay has no lowerdir")
    elif kind not in MOUNT_TYPES:
        raise CliError(f"{place} ({destination}): unknown mount type {kind!r}")
    check_mappings(mount, place)


def is_bind(mount) -> bool:
    options = mount.get("options") or []
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def check_linux(linux) -> None:
    path = get(linux, "cgroupsPath", str, "linux.", default="")
    if ".." in path.split("/"):
        raise CliError(f"linux.cgroupsPath {path!r} has '..' in it")
    strings(linux, "maskedPaths", "linux.")
    kinds = set()
    for i, namespace in enumerate(get(linux, "namespaces", list, "linux.", default=[])):
        place = f"linux.namespaces[{i}]"
        if not isinstance(namespace, dict):
            raise CliError(f"{place} must be an object")
        kind = get(namespace, "type", str, place + ".", True)
        if kind in kinds:
            raise CliError(f"{place}: there is a namespace of type {kind!r} already")
        kinds.add(kind)
        path = get(namespace, "path", str, place + ".", default="")
        if path and not path.startswith("/"):
            raise CliError(f"{place}.path {path!r} is not an absolute path")
    strings(linux, "readonlyPaths", "linux.")
    for key, value in get(linux, "sysctl", dict, "linux.", default={}).items():
        if not isinstance(value, str):
            raise CliError(f"linux.sysctl[{key!r}] must be a string")
    for i, device in enumerate(get(linux, "devices", list, "linux.", default=[])):
        check_device(device, f"linux.devices[{i}]")
    resources = get(linux, "resources", dict, "linux.", default={})
    for key in ("memory", "cpu", "pids", "blockIO", "unified"):
        get(resources, key, dict, "linux.resources.")
    offsets = get(linux, "timeOffsets", dict, "linux.", default={})
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            raise CliError(f"linux.timeOffsets: there is no clock {clock!r}; monotonic and boottime have offsets")
        offset = get(offsets, clock, dict, "linux.timeOffsets.", default={})
        seconds = get(offset, "secs", int, f"linux.timeOffsets.{clock}.", default=0)
        if abs(seconds) >= 1 << 33:
            raise CliError(f"linux.timeOffsets.{clock}.secs: {seconds} is out of range")
        if not 0 <= get(offset, "nanosecs", int, f"linux.timeOffsets.{clock}.", default=0) < 10**9:
            raise CliError(f"linux.timeOffsets.{clock}.nanosecs must be below 10^9")
    check_mappings(linux, "linux")
    if (linux.get("uidMappings") or linux.get("gidMappings")) and "user" not in kinds:
        raise CliError("linux.uidMappings: there is no user namespace in linux.namespaces")
    for key, value in linux.items():
        if value and key not in LINUX:
            log.unsupported(f"linux.{key}")
    for key, value in resources.items():
        if value and key not in RESOURCES:
            log.unsupported(f"linux.resources.{key}")
    if one_of(linux, "rootfsPropagation", ("", *PROPAGATIONS), "linux.") in ("shared", "rshared"):
        log.unsupported("linux.rootfsPropagation shared: the host does not see the programs' mounts")
    personality = get(linux, "personality", dict, "linux.", default={})
    if personality:
        one_of(personality, "domain", ("LINUX", "LINUX32"), "linux.personality.", True)
        if strings(personality, "flags", "linux.personality."):
            log.unsupported("linux.personality.flags")
    check_seccomp(get(linux, "seccomp", dict, "linux.", default={}))


def check_seccomp(seccomp, place="linux.seccomp") -> None:
    if not seccomp:
        return
    check_action(seccomp, "defaultAction", "defaultErrnoRet", place)
    for name in strings(seccomp, "architectures", place + "."):
        if not name.startswith("SCMP_ARCH_"):
            raise CliError(f"{place}.architectures: {name!r} is unknown")
    for name in strings(seccomp, "flags", place + "."):
        if name not in SECCOMP_FLAGS:
            raise CliError(f"{place}.flags: {name!r} is unknown")
    for i, rule in enumerate(get(seccomp, "syscalls", list, place + ".", default=[])):
        here = f"{place}.syscalls[{i}]"
        if not isinstance(rule, dict):
            raise CliError(f"{here} must be an object")
        strings(rule, "names", here + ".", True)
        check_action(rule, "action", "errnoRet", here)
        for j, entry in enumerate(get(rule, "args", list, here + ".", default=[])):
            there = f"{here}.args[{j}]"
            if not isinstance(entry, dict):
                raise CliError(f"{there} must be an object")
            ranged(get(entry, "index", int, there + ".", True), there + ".index", 5)
            ranged(get(entry, "value", int, there + ".", True), there + ".value", 2**64 - 1)
            ranged(get(entry, "valueTwo", int, there + "."), there + ".valueTwo", 2**64 - 1)
            op = get(entry, "op", str, there + ".", True)
            if op not in SECCOMP_OPERATORS:
                raise CliError(f"{there}.op {op!r} is unknown")


def check_action(obj, key, errno, place) -> None:
    action = get(obj, key, str, place + ".", True)
    if action == "SCMP_ACT_NOTIFY":
        raise CliError(f"{place}.{key}: SCMP_ACT_NOTIFY is not supported: the agent would be told of calls that the host never sees")
    if action not in SECCOMP_ACTIONS:
        raise CliError(f"{place}.{key} {action!r} is unknown")
    ranged(get(obj, errno, int, place + "."), f"{place}.{errno}", 4095)


def check_mappings(obj, place) -> None:
    """uidMappings and gidMappings of linux and of mounts."""
    for key in ("uidMappings", "gidMappings"):
        entries = get(obj, key, list, place + ".", default=[])
        for i, entry in enumerate(entries):
            here = f"{place}.{key}[{i}]"
            if not isinstance(entry, dict):
                raise CliError(f"{here} must be an object")
            count = ranged(get(entry, "size", int, here + ".", True), f"{here}.size", 2**32 - 1, 1)
            for name in ("containerID", "hostID"):
                ranged(get(entry, name, int, here + ".", True), f"{here}.{name}", 2**32 - 1 - count)
    if bool(obj.get("uidMappings")) != bool(obj.get("gidMappings")):
        raise CliError(f"{place}: uidMappings and gidMappings go together")


def check_device(device, place) -> None:
    if not isinstance(device, dict):
        raise CliError(f"{place} must be an object")
    if not get(device, "path", str, place + ".", True).startswith("/"):
        raise CliError(f"{place}.path is not an absolute path")
    if get(device, "type", str, place + ".", True) not in ("c", "u", "b", "p"):
        raise CliError(f"{place}.type {device['type']!r} is none of c, u, b, p")
    for key, high in (("major", 0xFFF), ("minor", 0xFFFFF), ("fileMode", 0o177777), ("uid", 0xFFFFFFFE), ("gid", 0xFFFFFFFE)):
        ranged(get(device, key, int, place + "."), f"{place}.{key}", high)


def check_root(spec, bundle) -> None:
    """Make root.path absolute; it must be a directory."""
    path = os.path.join(bundle, spec["root"]["path"])
    try:
        if not S_ISDIR(os.stat(path).st_mode):
            raise CliError(f"root.path {path} is not a directory")
    except OSError as error:
        raise CliError(f"root.path: {os_text(error)}") from None
    spec["root"]["path"] = os.path.realpath(path)


def bind_source(mount, bundle) -> str:
    """The absolute host path of a bind mount; CliError if it is not there."""
    source = os.path.join(bundle, mount["source"])
    try:
        os.stat(source)
    except OSError as error:
        raise CliError(f"mount {mount['destination']}: {os_text(error)}") from None
    return os.path.realpath(source)


def example(rootless=False) -> dict:
    """The configuration that `stockade spec` writes: a shell with a terminal, few capabilities."""
    caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    spec = {
        "ociVersion": "1.1.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(caps) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "stockade",
        "mounts": default_mounts(),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    if rootless:
        spec["linux"]["namespaces"].append({"type": "user"})
    return spec


def default_mounts() -> list:
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]  # fmt: skip
