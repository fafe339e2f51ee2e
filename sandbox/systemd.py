"""--systemd-cgroup where systemd runs: the container's cgroup is that of a transient unit, which systemd is asked for over D-Bus
(org.freedesktop.systemd1(5)), so that it knows the processes and their limits and never moves or removes them by itself.

    root       the system bus, or /run/systemd/private where there is none
    rootless   the user's bus; the units are below the cgroup of the user's systemd

Each conversation has a process of its own, because the D-Bus library (jeepney) costs 30 ms and would be in the Sentry as well.
Where systemd does not run, or the library is missing, cgroups.py alone makes the cgroup at the same path.
"""

import os
import sys

import _socket

from sandbox import child, log
from sandbox.cgroups import OWN_PROCESSES, number, unit_path, weight_of
from sandbox.errors import CliError, os_text

BOOTED = "/run/systemd/system"  # sd_booted(3)
PRIVATE = "/run/systemd/private"
TIMEOUT = 30  # seconds, of one conversation
SECOND = 1000000  # in microseconds
UNLIMITED = 2**64 - 1
NAME, PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
# jeepney is Debian's (python3-jeepney), or that of the development environment.
LIBRARIES = ("{prefix}/lib/python3/dist-packages", ".venv/lib/python3.{minor}/site-packages")
PROPERTY = "org.systemd.property."  # annotations that runc and crun hand on


class Unit:
    """A transient unit. name: "PREFIX-NAME.scope"; parent: its slice; rootless: of the user's systemd; path: its cgroup."""

    def __init__(self, path, rootless):
        self.name = os.path.basename(path)
        self.parent = os.path.basename(os.path.dirname(path)) or "-.slice"
        self.rootless = rootless
        self.path = control_group() + path if rootless else path


def unit_of(wanted, rootless) -> "Unit | None":
    """The unit that cgroupsPath names (SLICE:PREFIX:NAME), or None where systemd does not run. CliError."""
    if not os.path.isdir(BOOTED):
        return None
    if not any(os.path.isdir(f"{place}/jeepney") for place in places()):
        log.unsupported("python3-jeepney is not installed: systemd is not asked for the unit")
        return None
    if wanted.startswith(":") and rootless:
        wanted = "user.slice" + wanted
    return Unit(unit_path(wanted), rootless)


def places() -> list:
    """Directories where the library may be."""
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [os.path.join(project, library.format(prefix=sys.prefix, minor=sys.version_info.minor)) for library in LIBRARIES]


def control_group() -> str:
    """The cgroup that the user's systemd has its units in."""
    return talk(True, lambda bus: bus.manager_property("ControlGroup")).rstrip("/")


def start(unit, cid, pids, resources, unified) -> None:
    """Have systemd make the unit with these processes in it. unified: cgroup v2. CliError."""
    properties = [("Description", ("s", f"stockade container {cid}")), ("DefaultDependencies", ("b", False)), *limits(resources, unified)]
    properties += [(f"{name}Accounting", ("b", True)) for name in ("CPU", "Memory", "Tasks", "IO" if unified else "BlockIO")]
    if unit.name.endswith(".slice"):
        properties.append(("Wants", ("as", [unit.parent])))
    else:
        properties += [("Slice", ("s", unit.parent)), ("Delegate", ("b", True)), ("PIDs", ("au", pids)), ("CollectMode", ("s", "inactive-or-failed"))]
    talk(unit.rootless, lambda bus: bus.start(unit.name, properties))


def change(name, rootless, resources, unified) -> None:
    """New limits for a unit. CliError."""
    properties = limits(resources, unified)
    if properties:
        talk(rootless, lambda bus: bus.call("SetUnitProperties", "sba(sv)", (name, True, properties)))


def stop(name, rootless) -> None:
    """End a unit whose processes have ended; nothing if it has gone."""
    try:
        talk(rootless, lambda bus: bus.stop(name))
    except CliError as error:
        log.warning(str(error))


def limits(resources, unified) -> list:
    """[(property, (signature, value))] of an OCI resources object: what cgroups.py writes into the files, so that systemd writes
    the same when it does."""
    found = []

    def add(name, value):
        if value:
            found.append((name, ("t", value if value > 0 else UNLIMITED)))

    memory = number(resources, "memory", "limit")
    add("MemoryMax" if unified else "MemoryLimit", memory)
    shares, weight = number(resources, "cpu", "shares"), number(resources, "blockIO", "weight")
    if unified:
        add("MemoryLow", number(resources, "memory", "reservation"))
        swap = number(resources, "memory", "swap")
        if swap and (swap < 0 or memory and memory > 0):
            found.append(("MemorySwapMax", ("t", swap - memory if swap > 0 else UNLIMITED)))
    add("CPUWeight" if unified else "CPUShares", weight_of(shares) if shares and unified else shares)
    if weight:
        add("IOWeight" if unified else "BlockIOWeight", weight)
    quota, period = number(resources, "cpu", "quota"), number(resources, "cpu", "period")
    if period:
        add("CPUQuotaPeriodUSec", period)
    if quota and quota > 0:  # systemd counts in hundredths of a CPU
        add("CPUQuotaPerSecUSec", -(-quota * SECOND // (period or 100000) // 10000) * 10000)
    elif quota:
        add("CPUQuotaPerSecUSec", quota)
    pids = number(resources, "pids", "limit")
    add("TasksMax", pids + OWN_PROCESSES if pids and pids > 0 else pids)
    return found


# --- the conversation -----------------------------------------------------------------------------


def talk(rootless, function):
    """function(Bus), in a process of its own; the text that it returns. CliError."""
    try:
        return child.ask(lambda: function(Bus(rootless)) or "")
    except CliError as error:
        raise CliError(f"systemd: {error}") from None


def connect(path):
    """A socket on which messages may follow. The other side knows who we are; to name a user id would be wrong in a user
    namespace. All in one piece: systemd's own server does not look at a message that arrives together with the word BEGIN.
    OSError, CliError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.settimeout(TIMEOUT)
    sock.connect(path)
    sock.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
    line = b""
    while not line.endswith(b"\r\n") or line == b"DATA\r\n":
        line = b"" if line.endswith(b"\r\n") else line
        byte = sock.recv(1)
        if not byte or len(line) > 1000:
            raise CliError("D-Bus: the connection ended")
        line += byte
    if not line.startswith(b"OK "):
        raise CliError(f"D-Bus: {line.decode('utf-8', 'replace').strip()}")
    return sock


class Bus:
    """A connection to systemd's manager object."""

    def __init__(self, rootless):
        sys.path += places()
        import jeepney
        from jeepney.bus import get_bus
        from jeepney.low_level import Parser

        self.jeepney = jeepney
        self.manager = jeepney.DBusAddress(PATH, NAME, NAME + ".Manager")
        self.parser, self.serial, self.removed = Parser(), 0, {}
        try:
            self.sock, with_daemon = connect(get_bus("SESSION" if rootless else "SYSTEM")), True
        except KeyError:
            raise CliError("the user has no bus (DBUS_SESSION_BUS_ADDRESS)") from None
        except OSError as error:
            if rootless or not os.path.exists(PRIVATE):
                raise CliError(f"D-Bus: {os_text(error)}") from None
            self.sock, with_daemon = connect(PRIVATE), False
        if with_daemon:
            daemon = jeepney.message_bus
            self.ask(daemon.Hello())
            rule = jeepney.MatchRule(type="signal", sender=NAME, interface=NAME + ".Manager", member="JobRemoved", path=PATH)
            self.ask(daemon.AddMatch(rule))

    def ask(self, message) -> tuple:
        """Send a method call; what it returns. Signals that come before the answer are kept. CliError."""
        self.serial += 1
        self.sock.sendall(message.serialise(self.serial))
        while True:
            answer = self.receive()
            if answer.header.fields.get(self.jeepney.HeaderFields.reply_serial) == self.serial:
                break
        if answer.header.message_type is self.jeepney.MessageType.error:
            raise BusError(answer.header.fields.get(self.jeepney.HeaderFields.error_name, ""), *answer.body[:1])
        return answer.body

    def receive(self):
        while (message := self.parser.get_next_message()) is None:
            data = self.sock.recv(4096)
            if not data:
                raise CliError("the connection ended")
            self.parser.add_data(data)
        if message.header.fields.get(self.jeepney.HeaderFields.member) == "JobRemoved" and len(message.body) == 4:
            self.removed[message.body[1]] = message.body[3]
        return message

    def call(self, method, signature="", arguments=()) -> None:
        """A method of the manager."""
        self.ask(self.jeepney.new_method_call(self.manager, method, signature, arguments))

    def job(self, method, signature, arguments) -> None:
        """A method that begins a job; wait for its end. CliError unless that is a good one."""
        (path,) = self.ask(self.jeepney.new_method_call(self.manager, method, signature, arguments))
        while path not in self.removed:
            self.receive()
        if self.removed[path] != "done":
            raise CliError(f"{method} {arguments[0]}: the job ended as {self.removed[path]!r}")

    def manager_property(self, name) -> str:
        return self.ask(self.jeepney.Properties(self.manager).get(name))[0][1]

    def start(self, name, properties) -> None:
        self.call("Subscribe")
        arguments = (name, "replace", properties, [])
        try:
            self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)
        except BusError as error:
            if error.kind != NAME + ".UnitExists":
                raise
            self.call("ResetFailedUnit", "s", (name,))  # one that failed stays until then
            self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)

    def stop(self, name) -> None:
        try:
            self.call("Subscribe")
            self.job("StopUnit", "ss", (name, "replace"))
            self.call("ResetFailedUnit", "s", (name,))
        except BusError as error:
            if error.kind != NAME + ".NoSuchUnit":
                raise


class BusError(CliError):
    """systemd has said no. kind: the error's D-Bus name."""

    def __init__(self, kind, text=""):
        super().__init__(f"{text or 'refused'} ({kind})")
        self.kind = kind
