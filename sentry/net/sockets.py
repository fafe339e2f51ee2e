"""The sockets of a network namespace, found through the descriptors of its tasks: /proc/net and sock_diag(7) look seldom, so that
nothing is kept for them."""

from sentry.net import unix_names
from sentry.net.socket import AF_INET, AF_INET6, Socket

ANY = {4: bytes(4), 16: bytes(16)}
ESTABLISHED, CLOSE, LISTEN = 1, 7, 10


def of(kernel, net) -> "list[Socket]":
    """Every socket of the namespace that some descriptor leads to, or that waits to be accepted."""
    found = {}
    tables = {id(task.files): task.files for task in kernel.all_tasks() if task.files is not None}
    for table in tables.values():
        for _, file in table.items():
            if isinstance(file, Socket) and file.net is net and id(file) not in found:
                found[id(file)] = file
                for waiting in getattr(file, "pending", None) or ():
                    if isinstance(waiting, Socket):
                        found[id(waiting)] = waiting
    return list(found.values())


class InetRow:
    """What tables tell of an Internet socket. Addresses are 4 or 16 bytes."""

    __slots__ = ("family", "state", "local", "port", "remote", "remote_port", "rqueue", "wqueue", "uid", "ino", "protocol", "refs")


def inet(kernel, net, family: int, protocol: int) -> "list[InetRow]":
    """The sockets of AF_INET or AF_INET6 and IPPROTO_TCP, UDP or ICMP; protocol -1: raw ones."""
    rows = []
    for sock in of(kernel, net):
        if sock.family != family or sock.family not in (AF_INET, AF_INET6):
            continue
        raw = sock.type == 3
        if raw != (protocol == -1) or not raw and sock.protocol != protocol:
            continue
        row = InetRow()
        row.family, row.protocol = family, sock.protocol
        row.local, row.port = wide(sock.local, family), sock.port
        connected = sock.remote is not None
        row.remote = wide(sock.remote, family) if connected else ANY[16 if family == AF_INET6 else 4]
        row.remote_port = sock.remote_port if connected else 0
        row.state = getattr(sock, "state", ESTABLISHED if connected else CLOSE)
        if row.state == CLOSE and protocol == 6:
            continue
        if row.state == LISTEN:
            row.rqueue, row.wqueue = len(sock.pending), sock.backlog or 0
        else:
            row.rqueue, row.wqueue = max(0, sock.readable_bytes()), max(0, sock.unsent_bytes())
        row.uid, row.ino, row.refs = sock.inode.uid, sock.inode.ino, sock.refs
        rows.append(row)
    return rows


def wide(addr: bytes, family: int) -> bytes:
    """An address as a socket of the family shows it."""
    if family != AF_INET6 or len(addr) == 16:
        return addr
    return bytes(16) if addr == bytes(4) else bytes(10) + b"\xff\xff" + addr


def unix(net) -> list:
    return [sock for _, sock in sorted(unix_names.ALL.items()) if sock.net is net]
