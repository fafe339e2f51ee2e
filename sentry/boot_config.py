"""What the command that makes a sandbox tells the Sentry: plain values and descriptors, nothing else."""

import os

BOOT = "sentry.boot"
RESOLVER = "sentry.net.resolver"  # only with a name server in the namespace
WIRE = "sentry.net.lwip"  # loaded only for those who have links
HOST_UDS = "sentry.net.unix_host"  # only with --host-uds
STUB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "native", "stub")


class Config:
    """Descriptors are ints, -1 where there is none. `stdio` maps the first program's descriptor numbers to ours."""

    __slots__ = (
        "cid", "spec", "platform", "mounts", "overlay", "rootfs", "gofer", "control", "exit", "log", "log_level",
        "log_json", "strace", "patching", "stdio", "terminal", "size", "stub", "meminfo", "host", "leash", "follow",
        "network", "net_files", "taken", "links", "wire", "resolver", "host_uds", "id_maps",
    )  # fmt: skip

    def __init__(self, cid, spec, platform):
        self.cid = cid
        self.spec = spec  # the checked OCI configuration
        self.platform = platform  # "systrap" or "ptrace"
        self.mounts = []  # mounts of the configuration; binds have "export", their number at the gofer
        self.overlay = True  # changes of the root stay in memory
        self.rootfs = ""  # host path of the root, shown nowhere but in the log
        self.gofer = -1  # connection
        self.control = -1  # listening socket
        self.exit = -1  # file for the exit code
        self.log = -1
        self.log_level = 30  # core.log
        self.log_json = False
        self.strace = False
        self.patching = True  # call sites of the guests are rewritten, where the platform can
        self.stdio = {}
        self.terminal = False  # stdio is {0: the slave of a host pty in raw mode}
        self.size = (0, 0)  # of the terminal: rows, columns
        self.follow = False  # its size may change without our being told
        self.network = "sandbox"  # or "none", "host"
        self.host_uds = "none"  # or "open", "create", "all": sockets of the host in volumes
        self.net_files = {}  # with "host": name below /proc/net -> open file; "route", "diag": netlink sockets
        self.stub = -1  # the guest processes' first executable
        self.meminfo = -1  # /proc/meminfo
        self.leash = False  # end when the command that made us does
        self.taken = None  # what was in the namespace that the sandbox took over (sandbox/netlinks.py); None: loopback only
        self.id_maps = {}  # "uid", "gid": what /proc/PID/*_map show (text)
        self.wire = False  # `start` may bring links
        self.links = []  # a packet descriptor for each of its links, then sockets for 127.0.0.11
        self.resolver = False  # with these may come sockets connected to the name server 127.0.0.11 of the namespace
        self.host = None  # facts about the machine that need files to learn (core/hostinfo.py)

    def modules(self) -> "list[str]":
        """What a Sentry of this configuration consists of; all else is imported by these."""
        names = [BOOT, platform_module(self.platform)]
        if self.links or self.wire:
            names.append(WIRE)
            if self.resolver:
                names.append(RESOLVER)
        if self.host_uds != "none":
            names.append(HOST_UDS)
        return names

    def open_stub(self) -> None:
        """In the command, with its rights. OSError."""
        if self.platform == "systrap":
            self.stub = os.open(STUB, os.O_RDONLY | os.O_CLOEXEC)

    SINGLE = ("gofer", "control", "exit", "log", "stub", "meminfo")

    def descriptors(self) -> "set[int]":
        """Every descriptor that the Sentry needs."""
        return {getattr(self, name) for name in self.SINGLE} - {-1} | set(self.stdio.values()) | set(self.net_files.values()) | set(self.links)

    def claim_descriptors(self, move_up, lowest: int) -> None:
        """Move them all out of the low numbers: move_up(fd, lowest) -> new fd."""
        moved = {}
        for fd in sorted(self.descriptors()):
            moved[fd] = move_up(fd, lowest)
        for name in self.SINGLE:
            setattr(self, name, moved.get(getattr(self, name), -1))
        self.net_files = {name: moved[fd] for name, fd in self.net_files.items()}
        self.links = [moved[fd] for fd in self.links]
        self.stdio = {number: moved[fd] for number, fd in self.stdio.items()}


def platform_module(name) -> str:
    return f"sentry.platform.{name}"
