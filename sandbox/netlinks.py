"""--network=sandbox: the interfaces of the network namespace that was prepared for the container (by CNI, say) become the
sandbox's own. A process of its own enters the namespace, reads links, addresses, routes and neighbours, opens a packet
descriptor for each Ethernet link, and takes the addresses off the links: the host answers for them no more.
"""

import os
import sys
from array import array

import _socket

from sandbox import _host, log
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

AF_PACKET, SOCK_RAW = 17, 3
ETH_P_ALL = 0x0300  # network order
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
BUFFER = 8 << 20  # bytes that wait in the host for the Sentry
ARPHRD_ETHER, MAIN_TABLE, UNICAST, PERMANENT = 1, 254, 1, 0x80
KEPT_FLAGS = 0x1 | 0x2 | 0x40 | 0x1000  # UP, BROADCAST, RUNNING, MULTICAST
ANSWER_MAX = 1 << 20
LINKS_MAX = 16
RESOLVERS = 16  # queries to 127.0.0.11 at a time
RESOLVER = ("127.0.0.11", 53)
# pyroute2 is Debian's (python3-pyroute2), or that of the development environment.
LIBRARIES = ("{prefix}/lib/python3/dist-packages", ".venv/lib/python3.{minor}/site-packages")


def take(path, nameservers=None) -> "tuple[dict, list[int]]":
    """Take over what is in the namespace at `path`: ({"links": …, "routes": …, "neighbours": …}, a packet descriptor
    for each link). nameservers: whom the name server 127.0.0.11 in there asks, if the container uses that; then there is
    "nameservers", too, and sockets connected to it follow the links. CliError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            answer(path, theirs, nameservers)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    fds = array("i")
    parts = []
    while True:
        data, control, _, _ = ours.recvmsg(65536, _socket.CMSG_SPACE(4 * (LINKS_MAX + RESOLVERS)), _socket.MSG_CMSG_CLOEXEC)
        for level, kind, body in control:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds.frombytes(body[: len(body) - len(body) % 4])
        if not data:
            break
        parts.append(data)
    ours.close()
    os.waitpid(pid, 0)
    try:
        report = jsonlite.loads(b"".join(parts))
    except ValueError:
        report = {"error": "no answer"}
    if "error" in report:
        for fd in fds:
            os.close(fd)
        raise CliError(f"network namespace {path}: {report['error']}")
    return report, list(fds)


def answer(path, sock, nameservers) -> None:
    """The process's part: its report goes to `sock`."""
    fds = []
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _host.setns(there, _host.CLONE_NEWNET)
        os.close(there)
        if [name for _, name in _socket.if_nameindex() if name != "lo"]:
            report = collect(fds)
            if nameservers is not None:
                report["nameservers"] = nameservers
                fds += [resolver_socket() for _ in range(RESOLVERS)]
        else:
            report = {"links": [], "routes": [], "neighbours": []}
    except OSError as error:
        report = {"error": os_text(error)}
    except ImportError as error:
        report = {"error": f"{error}: python3-pyroute2 is needed to take over its interfaces"}
    data = jsonlite.dumps(report).encode()
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))] if fds else []
    sent = sock.sendmsg([data], rights)
    sock.sendall(data[sent:])


def collect(fds) -> dict:
    """Read everything, open the packet descriptors, then take the addresses off. OSError, ImportError."""
    project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path += [os.path.join(project, library.format(prefix=sys.prefix, minor=sys.version_info.minor)) for library in LIBRARIES]
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        links = []
        for row in route.get_links():
            name = row.get_attr("IFLA_IFNAME")
            if row["ifi_type"] != ARPHRD_ETHER or not row["flags"] & 1 or len(links) == LINKS_MAX:
                continue
            fds.append(packet_descriptor(name))
            links.append({"index": row["index"], "name": name, "mtu": row.get_attr("IFLA_MTU"), "hwaddr": row.get_attr("IFLA_ADDRESS"),
                          "flags": row["flags"] & KEPT_FLAGS, "addresses": []})  # fmt: skip
        by_index = {link["index"]: link for link in links}
        for row in route.get_addr():
            if row["index"] in by_index:
                address = row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS")
                by_index[row["index"]]["addresses"].append([address, row["prefixlen"]])
        routes = [found for found in map(one_route, list(route.get_routes(family=2)) + list(route.get_routes(family=10)))
                  if found is not None and found["index"] in by_index]  # fmt: skip
        neighbours = [[row["ifindex"], row.get_attr("NDA_DST"), row.get_attr("NDA_LLADDR")] for row in route.get_neighbours(family=2)
                      if row["state"] & PERMANENT and row["ifindex"] in by_index and row.get_attr("NDA_LLADDR")]  # fmt: skip
        try:
            for link in links:
                route.flush_addr(index=link["index"])
        except NetlinkError as error:
            raise OSError(error.code, f"addresses of {link['name']}: {os.strerror(error.code)}") from None
    routes.sort(key=lambda found: (-found["bits"], found["metric"]))
    return {"links": links, "routes": routes, "neighbours": neighbours}


def one_route(row) -> "dict | None":
    if (row.get_attr("RTA_TABLE") or row["table"]) != MAIN_TABLE or row["type"] != UNICAST or row.get_attr("RTA_OIF") is None:
        return None
    return {"network": row.get_attr("RTA_DST"), "family": row["family"], "bits": row["dst_len"], "index": row.get_attr("RTA_OIF"),
            "gateway": row.get_attr("RTA_GATEWAY"), "metric": row.get_attr("RTA_PRIORITY") or 0, "source": row.get_attr("RTA_PREFSRC")}  # fmt: skip


def resolver_socket() -> int:
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(RESOLVER)
    except OSError:
        sock.close()
        raise
    return sock.detach()


def packet_descriptor(name) -> int:
    """All frames of a link, in and out, with what the host left undone of them (struct virtio_net_hdr)."""
    sock = _socket.socket(AF_PACKET, SOCK_RAW | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
            try:
                sock.setsockopt(_socket.SOL_SOCKET, option, BUFFER)
            except OSError as error:
                log.warning(f"interface {name}: small buffers: {os_text(error)}")
        sock.bind((name, _socket.ntohs(ETH_P_ALL)))
    except OSError:
        sock.close()
        raise
    return sock.detach()
