"""Network namespaces (network_namespaces(7)): what of the network is not one for the whole sandbox.

A task has one (`Task.net`), a socket keeps that of its maker (`Socket.net`). Only the first can have interfaces that lead
out of the sandbox; each later one begins with a loopback interface that is down.
"""

from weakref import ref

from sentry.net import fabric
from sentry.net.stack import IFF_LOOPBACK, STACK, Stack

FIRST_INO = 0xF0000000  # include/linux/proc_ns.h

_last_ino = 0xF1000000


class NetNamespace:
    """`abstract`: bound abstract names of Unix sockets; `sysctls`: changed parameters below net/, path -> text;
    `host`: sockets are the host's (--network=host); `stack`: interfaces, addresses, routes, ports; `netlinks`: (protocol,
    port) -> bound netlink socket; `ids`: numbers that this one has for others (RTM_GETNSID), inode number -> number."""

    __slots__ = ("ino", "abstract", "sysctls", "host", "stack", "netlinks", "ids", "__weakref__")

    def __init__(self, ino, stack):
        self.ino = ino
        self.stack = stack
        self.netlinks = {}
        self.abstract = {}
        self.sysctls = {}
        self.host = False
        self.ids = {}
        stack.net = ref(self)

    def __del__(self):
        if fabric is not None:  # else the interpreter ends
            fabric.destroy_all(self.stack)

    def id_of(self, other: "NetNamespace") -> int:
        """The number by which netlink messages here name another namespace."""
        return self.ids.setdefault(other.ino, len(self.ids))


def new() -> NetNamespace:
    global _last_ino
    _last_ino += 1
    stack = Stack()
    lo = stack.interfaces[0]
    lo.flags = IFF_LOOPBACK
    lo.addresses.clear()
    return NetNamespace(_last_ino, stack)


def by_descriptor(t, fd: int) -> "NetNamespace | int":
    """The namespace that a descriptor of task `t` stands for, or -errno."""
    return FINDERS[0](t, fd)


def by_process(t, pid: int) -> "NetNamespace | int":
    return FINDERS[1](t, pid)


FINDERS: list = []  # kernel/nsfs.py's, who knows tasks and their files
INIT = NetNamespace(FIRST_INO, STACK)
