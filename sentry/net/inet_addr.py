"""Internet addresses as the sockets keep them, and struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)).

An address is 4 or 16 bytes. One that a guest writes as ::ffff:a.b.c.d is the IPv4 address.
"""

from struct import Struct

from _socket import inet_pton

from sentry.abi.errno import EAFNOSUPPORT, EINVAL

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10
SIN = Struct("<H2s4s8x")  # family, port (network order), address
SIN6 = Struct("<H2s4s16sI")  # family, port, flow information, address, scope
SIN6_MIN = 24  # without the scope (RFC 2133)

ANY4, ANY6 = bytes(4), bytes(16)
LOOPBACK4, LOOPBACK6 = b"\x7f\0\0\1", bytes(15) + b"\1"
BROADCAST = b"\xff\xff\xff\xff"
MAPPED = bytes(10) + b"\xff\xff"


def is_any(addr: bytes) -> bool:
    return addr == ANY4 or addr == ANY6


def is_loopback(addr: bytes) -> bool:
    return addr[0] == 127 if len(addr) == 4 else addr == LOOPBACK6


def is_multicast(addr: bytes) -> bool:
    return 224 <= addr[0] < 240 if len(addr) == 4 else addr[0] == 255


def is_link_local(addr: bytes) -> bool:
    """fe80::/10."""
    return len(addr) == 16 and addr[0] == 0xFE and addr[1] & 0xC0 == 0x80


def parse(family: int, data: bytes) -> "tuple[bytes, int, int] | int":
    """(address, port, scope) of a struct sockaddr for a socket of `family`, or -EINVAL, -EAFNOSUPPORT."""
    if family == AF_INET:
        if len(data) < SIN.size:
            return -EINVAL
        kind, port, addr = SIN.unpack_from(data)
        if kind != AF_INET and kind != AF_UNSPEC:
            return -EAFNOSUPPORT
        return addr, port[0] << 8 | port[1], 0
    if len(data) < SIN6_MIN:
        return -EINVAL
    kind, port, _, addr, scope = SIN6.unpack_from(data.ljust(SIN6.size, b"\0"))
    if kind != AF_INET6:
        return -EAFNOSUPPORT
    if addr[:12] == MAPPED:
        addr = addr[12:]
    return addr, port[0] << 8 | port[1], scope


def make(family: int, addr: bytes, port: int, scope: int = 0) -> bytes:
    """A struct sockaddr as a socket of `family` shows this address."""
    number = port.to_bytes(2, "big")
    if family == AF_INET:
        return SIN.pack(AF_INET, number, addr)
    if len(addr) == 4:
        addr = ANY6 if addr == ANY4 else MAPPED + addr
    return SIN6.pack(AF_INET6, number, b"\0\0\0\0", addr, scope if is_link_local(addr) else 0)


def masked(addr: bytes, bits: int) -> int:
    """The network part of an address, as a number."""
    width = len(addr) * 8
    return int.from_bytes(addr, "big") >> (width - bits)


def in_network(addr: bytes, network: bytes, bits: int) -> bool:
    return len(addr) == len(network) and masked(addr, bits) == masked(network, bits)


def parse_text(name: str) -> bytes:
    """The address in usual notation. OSError."""
    return inet_pton(AF_INET6 if ":" in name else AF_INET, name)


def text(addr: bytes) -> str:
    """For messages: 10.0.0.1, or hexadecimal groups."""
    if len(addr) == 4:
        return ".".join(map(str, addr))
    return ":".join(f"{addr[i] << 8 | addr[i + 1]:x}" for i in range(0, 16, 2))
