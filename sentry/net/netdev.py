"""Questions about interfaces by ioctl(2) on any socket (netdevice(7)), and the changes that a privileged guest may make."""

from struct import Struct

from sentry.abi.errno import EADDRNOTAVAIL, EINVAL, ENODEV, ENOTTY, EOPNOTSUPP, EPERM
from sentry.abi.netlink import (
    IFA_BROADCAST,
    IFA_LOCAL,
    IFADDR,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_BROADCAST,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_STATS64,
    IFLA_TXQLEN,
    NLM_F_DUMP,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    parse_attrs,
)
from sentry.core.creds import CAP_NET_ADMIN
from sentry.net import hostlink, rtlinks, rtnetlink, socket

AF_INET = 2
IFNAMSIZ, IFREQ_SIZE = 16, 40
IFREQ_INT = Struct("<i")
IFREQ_SHORT = Struct("<H")
SOCKADDR_IN = Struct("<HH4s8x")
IFCONF = Struct("<i4xQ")
(
    SIOCGIFNAME, SIOCSIFLINK, SIOCGIFCONF, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFADDR, SIOCSIFADDR, SIOCGIFDSTADDR, SIOCSIFDSTADDR,
    SIOCGIFBRDADDR, SIOCSIFBRDADDR, SIOCGIFNETMASK, SIOCSIFNETMASK, SIOCGIFMETRIC, SIOCSIFMETRIC,
) = range(0x8910, 0x891F)  # fmt: skip
SIOCGIFMTU, SIOCSIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMAP = 0x8921, 0x8922, 0x8927, 0x8933, 0x8942, 0x8970
ADDRESSES = (SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK)
KNOWN = (
    SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCSIFFLAGS, *ADDRESSES, SIOCGIFMETRIC, SIOCGIFMTU, SIOCSIFMTU, SIOCGIFHWADDR,
    SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMAP,
)  # fmt: skip


class Device:
    """`addresses`: [(address, prefix length, broadcast address or None, scope, flags)]; `stats`: 24 numbers."""

    __slots__ = ("index", "name", "flags", "kind", "mtu", "hwaddr", "broadcast", "txqlen", "stats", "addresses")


def rows(net, question: int) -> list:
    """Answers of a rtnetlink dump."""
    if net.host:
        found = hostlink.ask(question, NLM_F_DUMP, b"\0")
        return found if type(found) is list else []
    return rtnetlink.DUMPS[question](net, b"\0")


def devices(net) -> "list[Device]":
    found = {}
    for _, body in rows(net, RTM_GETLINK):
        attrs = parse_attrs(body, IFINFO.size)
        device = Device()
        _, device.kind, device.index, device.flags, _ = IFINFO.unpack_from(body)
        device.name = attrs[IFLA_IFNAME].rstrip(b"\0")
        device.mtu = int.from_bytes(attrs.get(IFLA_MTU, b""), "little")
        device.hwaddr = attrs.get(IFLA_ADDRESS, b"")
        device.broadcast = attrs.get(IFLA_BROADCAST, b"")
        device.txqlen = int.from_bytes(attrs.get(IFLA_TXQLEN, b""), "little")
        stats = attrs.get(IFLA_STATS64, b"").ljust(192, b"\0")
        device.stats = [int.from_bytes(stats[at : at + 8], "little") for at in range(0, 192, 8)]
        device.addresses = []
        found[device.index] = device
    for _, body in rows(net, RTM_GETADDR):
        _, bits, flags, scope, index = IFADDR.unpack_from(body)
        attrs = parse_attrs(body, IFADDR.size)
        addr = attrs.get(IFA_LOCAL) or attrs.get(1)
        if addr is not None and index in found:
            found[index].addresses.append((addr, bits, attrs.get(IFA_BROADCAST), scope, flags))
    return list(found.values())


def route_rows(net) -> list:
    return [body for _, body in rows(net, RTM_GETROUTE)]


def mask_of(bits: int) -> bytes:
    return ((1 << 32) - (1 << 32 - bits)).to_bytes(4, "big")


def sockaddr(addr: bytes) -> bytes:
    return SOCKADDR_IN.pack(AF_INET, 0, addr)


def ioctl(t, sock, cmd: int, arg: int) -> int:
    if cmd not in KNOWN or (cmd in ADDRESSES and sock.family != AF_INET):
        return -ENOTTY
    net = sock.net
    if cmd == SIOCGIFCONF:
        return configuration(t, net, arg)
    request = t.read(arg, IFREQ_SIZE)
    if cmd == SIOCGIFNAME:
        (index,) = IFREQ_INT.unpack_from(request, IFNAMSIZ)
        device = next((one for one in devices(net) if one.index == index), None)
        if device is None:
            return -ENODEV
        t.write(arg, device.name.ljust(IFNAMSIZ, b"\0"))
        return 0
    name = request[: IFNAMSIZ - 1].split(b"\0", 1)[0]
    label = name.split(b":", 1)[0]
    device = next((one for one in devices(net) if one.name == label), None)
    if cmd in (SIOCSIFFLAGS, SIOCSIFMTU):
        return change(t, net, device, cmd, request)
    if device is None:
        return -ENODEV
    value = answer(device, cmd)
    if isinstance(value, int):
        return value
    t.write(arg + IFNAMSIZ, value)
    return 0


def answer(device, cmd: int) -> "bytes | int":
    """The union of struct ifreq."""
    if cmd == SIOCGIFFLAGS:
        return IFREQ_SHORT.pack(device.flags & 0xFFFF)
    if cmd == SIOCGIFMTU:
        return IFREQ_INT.pack(device.mtu)
    if cmd == SIOCGIFINDEX:
        return IFREQ_INT.pack(device.index)
    if cmd == SIOCGIFTXQLEN:
        return IFREQ_INT.pack(device.txqlen)
    if cmd == SIOCGIFMETRIC:
        return IFREQ_INT.pack(0)
    if cmd == SIOCGIFMAP:
        return bytes(24)
    if cmd == SIOCGIFHWADDR:
        return IFREQ_SHORT.pack(device.kind) + device.hwaddr[:14].ljust(14, b"\0")
    first = next((row for row in device.addresses if len(row[0]) == 4), None)
    if first is None:
        return -EADDRNOTAVAIL
    addr, bits, broadcast, _, _ = first
    if cmd == SIOCGIFNETMASK:
        return sockaddr(mask_of(bits))
    if cmd == SIOCGIFBRDADDR:
        return sockaddr(broadcast or bytes(4))
    return sockaddr(addr)


def configuration(t, net, arg: int) -> int:
    """SIOCGIFCONF: the interfaces that have IPv4 addresses."""
    room, buffer = IFCONF.unpack(t.read(arg, IFCONF.size))
    if room < 0:
        return -EINVAL
    entries = [
        device.name.ljust(IFNAMSIZ, b"\0") + sockaddr(addr) + bytes(8)
        for device in devices(net)
        for addr, *_ in device.addresses
        if len(addr) == 4
    ]
    if buffer:
        entries = entries[: room // IFREQ_SIZE]
        if entries:
            t.write(buffer, b"".join(entries))
    t.write(arg, IFREQ_INT.pack(len(entries) * IFREQ_SIZE))
    return 0


def change(t, net, device, cmd: int, request: bytes) -> int:
    if not t.creds.capable(CAP_NET_ADMIN) or net.host:
        return -EPERM
    if device is None:
        return -ENODEV
    link = net.stack.interface(device.index)
    if link.link is not None:
        return -EOPNOTSUPP
    if cmd == SIOCSIFFLAGS:
        (flags,) = IFREQ_SHORT.unpack_from(request, IFNAMSIZ)
        rtlinks.raise_link(link, bool(flags & IFF_UP))
        return 0
    (mtu,) = IFREQ_INT.unpack_from(request, IFNAMSIZ)
    if mtu < 0:
        return -EINVAL
    link.mtu = mtu
    return 0


socket.OTHER_IOCTLS.append(ioctl)
