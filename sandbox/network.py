"""The network of a container seen from the host: its mode, and the network namespace that the Sentry lives in.

In the modes none and sandbox that is a fresh, empty one, whatever the configuration says of the container's. In the mode
host it is the container's: the Sentry then makes host sockets in it, without any capability over it.
"""

import fcntl
import os
import struct
from errno import EINVAL, ENOENT

import _socket

from sandbox import _host, confine, log
from sandbox.errors import CliError, os_text

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SYSCTLS = "/proc/sys/"


class Plan:
    """Where the Sentry is started. `flags`: its namespaces; `path`: the network namespace to start it in, or None."""

    def __init__(self, mode, spec):
        linux = spec.get("linux") or {}
        entry = next((ns for ns in linux.get("namespaces") or () if ns["type"] == "network"), None)
        self.mode = mode
        self.prepared = entry.get("path") or None if entry else None  # where the container's interfaces are
        self.own_namespace = entry is not None and self.prepared is None
        self.flags = confine.NAMESPACES
        self.path = None
        self.fresh = True
        self.sysctls = {name: value for name, value in (linux.get("sysctl") or {}).items() if in_network(name)}
        self.own = -1
        if mode == "host":
            self.path = entry.get("path") or None if entry else None
            self.fresh = entry is not None and self.path is None
            if not self.fresh:
                self.flags &= ~_host.CLONE_NEWNET
            if entry is None and self.sysctls:
                raise CliError(f"linux.sysctl {next(iter(self.sysctls))}: the container has the network namespace of the caller")

    def enter(self) -> None:
        """Go to the namespace to start the Sentry in, and let it have what guests may do there. CliError."""
        if self.path is None:
            return
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                same = os.fstat(there).st_ino == os.fstat(self.own).st_ino
                _host.setns(there, _host.CLONE_NEWNET)
            finally:
                os.close(there)
        except OSError as error:
            self.leave()
            raise CliError(f"network namespace {self.path}: {os_text(error)}") from None
        try:
            set_sysctls(self.sysctls)
            if not same:
                open_ports("0 2147483647")
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Back to our own."""
        if self.own >= 0:
            own, self.own = self.own, -1
            try:
                _host.setns(own, _host.CLONE_NEWNET)
            finally:
                os.close(own)

    def settle(self, group) -> None:
        """In the Sentry's process, which has capabilities yet: a namespace of our own gets its loopback interface."""
        if self.mode != "host" or not self.fresh:
            return
        raise_loopback()
        set_sysctls(self.sysctls)
        open_ports(f"{group} {group}")


def has_interfaces(pid) -> bool:
    """Is there more than the loopback interface in the network namespace of process `pid`?"""
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        return any(line.split(":")[0].strip() != "lo" for line in file.readlines()[2:])


def in_network(name) -> bool:
    return name.replace("/", ".").startswith("net.")


def raise_loopback() -> None:
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        answer = fcntl.ioctl(sock.fileno(), SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack_from("16sH", answer)[1] | IFF_UP
        fcntl.ioctl(sock.fileno(), SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags))
    finally:
        sock.close()


def open_ports(groups) -> None:
    """Low ports and ping without capabilities over the namespace: who of the guests may is decided by the Sentry, from
    the guest's capabilities. groups: for net.ipv4.ping_group_range."""
    for name, value in (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", groups)):
        try:
            write_sysctl(name, value)
        except OSError as error:
            log.warning(f"{name}: {os_text(error)}; some ports or ping are refused to the container")


def set_sysctls(values) -> None:
    for name, value in values.items():
        try:
            write_sysctl(name, value)
        except OSError as error:
            raise CliError(f"linux.sysctl {name}: {os_text(error)}") from None


def write_sysctl(name, value) -> None:
    """One parameter of the network namespace that we are in. OSError."""
    parts = name.split("/") if "/" in name else name.split(".")
    if ".." in parts:
        raise OSError(EINVAL, "not a name", name)
    path = SYSCTLS + "/".join(parts)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(ENOENT, "no such parameter", name) from None
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
