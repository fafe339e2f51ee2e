"""Filters of sockets (socket(7), SO_ATTACH_FILTER; net/core/filter.c): classic BPF programs that say how much of each message a
socket takes, and which socket of a SO_REUSEPORT group gets it.

Messages between sockets of the sandbox are no packets, so what a program may look at is made here, and only where there is one.
"""

from struct import Struct

from sentry.abi.errno import EBADF, EINVAL, ENOENT, ENOPROTOOPT, EPERM
from sentry.core.cbpf import SocketProgram

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_LOCK_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF = 26, 27, 44, 50, 51, 52
SO_DETACH_REUSEPORT_BPF = 68
OPTIONS = (SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF)
INSTRUCTION = 8  # bytes of struct sock_filter
MOST = 4096  # instructions
SOCK_FPROG = Struct("<H6xQ")
IP_HEADER, IP6_HEADER = Struct(">BBHHHBBH4s4s"), Struct(">IHBB16s16s")
UDP_HEADER = Struct(">HHHH")
AF_INET, AF_INET6, SOCK_STREAM = 2, 10, 1
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
LOOPBACK = 1


def set_option(sock, t, option: int, data: bytes) -> int:
    """One of OPTIONS; `data` is an int at least."""
    group = option in (SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF)
    if group and sock.family not in (AF_INET, AF_INET6):
        return -EINVAL if option != SO_DETACH_REUSEPORT_BPF else -ENOENT
    if sock.family in (AF_INET, AF_INET6) and sock.type == SOCK_STREAM and not group:
        return -ENOPROTOOPT  # there are no segments that could be dropped and come again
    if option in (SO_DETACH_FILTER, SO_DETACH_REUSEPORT_BPF):
        return detach_group(sock) if group else detach(sock)
    if option in (SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF):
        return extended(sock, t, data)
    program = read_program(sock, t, data)
    if type(program) is int:
        return program
    if not group:
        sock.bpf = program
        return 0
    if not sock.reuseport:
        return -EINVAL
    for member in members(sock):
        member.group_bpf = program
    return 0


def locked(sock) -> bool:
    return bool(sock.options.get(SO_LOCK_FILTER))


def detach(sock) -> int:
    if locked(sock):
        return -EPERM
    if sock.bpf is None:
        return -ENOENT
    sock.bpf = None
    return 0


def detach_group(sock) -> int:
    if sock.group_bpf is None:
        return -ENOENT
    for member in members(sock):
        member.group_bpf = None
    return 0


def extended(sock, t, data) -> int:
    """Programs of extended BPF come as descriptors, and bpf(2) makes none here."""
    if len(data) != 4:
        return -EINVAL
    if locked(sock):
        return -EPERM
    return -EBADF if t.files.get(int.from_bytes(data, "little")) is None else -EINVAL


def read_program(sock, t, data) -> "SocketProgram | int":
    """struct sock_fprog of a guest."""
    if len(data) != SOCK_FPROG.size:
        return -EINVAL
    length, address = SOCK_FPROG.unpack(data)
    if locked(sock):
        return -EPERM
    if not 0 < length <= MOST or not address:
        return -EINVAL
    try:
        return SocketProgram(bytes(t.read(address, length * INSTRUCTION)))
    except ValueError:
        return -EINVAL


def get(sock, t, addr: int, room: int) -> int:
    """SO_GET_FILTER: the program to guest memory; instructions, or -errno. room: for so many, 0 asks for their number."""
    if sock.bpf is None:
        return 0
    code = sock.bpf.code
    if room:
        if room < len(code) // INSTRUCTION:
            return -EINVAL
        t.write(addr, code)
    return len(code) // INSTRUCTION


# -- messages
def plain(program, data: bytes) -> "bytes | None":
    """What a socket takes of a message without headers: of a Unix or netlink socket; None: nothing."""
    size = program.run(bytes(data), 0, -1, 0, 0, 0, False)
    return data[:size] if size else None


def internet(program, data: bytes, packet: tuple, transport: int, whole: bool = False) -> "bytes | None":
    """The same of an Internet socket. packet: datagram.Datagram.packet; transport: bytes of the header before `data`, which is
    that of UDP; whole: `data` begins with the IP header."""
    source, source_port, host, port, ttl, tos, interface = packet
    four = len(host) == 4
    ports = UDP_HEADER.pack(source_port, port, 8 + len(data) & 0xFFFF, 0) if transport else b""
    start = 0
    shown = ports + data
    if not whole:
        head = ip_header(source, host, 17 if transport else 1, len(shown), ttl, tos)
        start = len(head)
        shown = head + shown
    protocol = ETH_P_IP if four else ETH_P_IPV6
    size = program.run(shown, start, 0, 28 if whole else 8, protocol, interface or LOOPBACK, interface <= LOOPBACK)
    return data[: max(size, transport) - transport] if size else None


def ip_header(source: bytes, host: bytes, protocol: int, length: int, ttl: int, tos: int) -> bytes:
    if len(host) == 4:
        return IP_HEADER.pack(0x45, tos, 20 + length & 0xFFFF, 0, 0x4000, ttl, protocol, 0, source[-4:], host)
    return IP6_HEADER.pack(6 << 28 | tos << 20, length & 0xFFFF, protocol if protocol != 1 else 58, ttl, source, host)


# -- SO_REUSEPORT
def members(sock) -> list:
    """The sockets that share the port of this one."""
    if not sock.port or sock.ports is None:
        return [sock]
    same = [other for other in sock.ports.bound.get(sock.port, ()) if other.reuseport and other.local == sock.local]
    return same or [sock]


def choose(found: list, payload: bytes) -> "int | None":
    """Which of a group's sockets its program names; None: there is no program, or it names none."""
    program = next((sock.group_bpf for sock in found if sock.group_bpf is not None), None)
    if program is None:
        return None
    index = program.run(bytes(payload), 0, -1, 0, 0, LOOPBACK, True)
    return index if index < len(found) else None
