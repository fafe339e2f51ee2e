"""/proc/net: the tables of the reader's network namespace. In host mode those of the first one are the host's own, but for
what the host has no part in: Unix and netlink sockets."""

from sentry.abi.netlink import (
    IFF_UP,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTMSG,
    RTN_LOCAL,
    RTN_UNICAST,
    parse_attrs,
)
from sentry.fs.pseudo import fixed
from sentry.net import fabric, hostlink, netdev, rtneighbours, sockets, unix_names

TCP_HEADER = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                    "
    b"                                 \n"
)
TCP6_HEADER = (
    b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when "
    b"retrnsmt   uid  timeout inode\n"
)
UDP_HEADER = (
    b"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops "
    b"            \n"
)
UDP6_HEADER = (
    b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when "
    b"retrnsmt   uid  timeout inode ref pointer drops\n"
)
DEV_HEADER = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    b"compressed\n"
)
ROUTE = b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT" + b" " * 55 + b"\n"
SNMP = (
    b"Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers "
    b"OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits\n"
    b"Ip: 2 64" + b" 0" * 18 + b"\n"
    b"Icmp: InMsgs InErrors InCsumErrors InDestUnreachs OutMsgs OutErrors OutDestUnreachs\n"
    b"Icmp:" + b" 0" * 7 + b"\n"
    b"Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs "
    b"RetransSegs InErrs OutRsts InCsumErrors\n"
    b"Tcp: 1 200 120000 -1" + b" 0" * 11 + b"\n"
    b"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n"
    b"Udp:" + b" 0" * 9 + b"\n"
    b"UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n"
    b"UdpLite:" + b" 0" * 9 + b"\n"
)
SOCKSTAT = (
    b"sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\n"
    b"FRAG: inuse 0 memory 0\n"
)

NETLINK_HEADER = b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
IGMP = (
    b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    b"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
)
SOCKSTAT6 = b"TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_ICMP, IPPROTO_ICMPV6, RAW = 6, 17, 136, 1, 58, -1
AF_INET, AF_INET6 = 2, 10
RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_LOCAL = 1, 2, 4, 0x80000000
LINE = 149


def words(addr: bytes) -> bytes:
    """An address as the tables print it: words of the machine's order."""
    return b"".join(b"%08X" % int.from_bytes(addr[at : at + 4], "little") for at in range(0, len(addr), 4))


def show_dev(t):
    lines = [DEV_HEADER]
    for device in netdev.devices(t.net):
        # struct rtnl_link_stats64: packets, bytes, errors, dropped of both directions alternate
        s = device.stats
        received = (s[2], s[0], s[4], s[6] + s[23], s[14], s[10] + s[11] + s[12] + s[13], s[21], s[8])
        sent = (s[3], s[1], s[5], s[7], s[18], s[9], s[16] + s[17] + s[19] + s[20], s[22])
        lines.append(b"%6s: %7d %7d %4d %4d %4d %5d %10d %9d" % (device.name, *received))
        lines.append(b" %8d %7d %4d %4d %4d %5d %7d %10d\n" % sent)
    return b"".join(lines)


def routing(t):
    """(family, prefix length, table, kind, destination, gateway, interface index, metric) of each route."""
    for body in netdev.route_rows(t.net):
        family, bits, _, _, table, _, _, kind, _ = RTMSG.unpack_from(body)
        attrs = parse_attrs(body, RTMSG.size)
        table = int.from_bytes(attrs[RTA_TABLE], "little") if RTA_TABLE in attrs else table
        width = 4 if family == AF_INET else 16
        yield (family, bits, table, kind, attrs.get(RTA_DST, bytes(width)), attrs.get(RTA_GATEWAY, bytes(width)),
               int.from_bytes(attrs.get(RTA_OIF, b""), "little"), int.from_bytes(attrs.get(RTA_PRIORITY, b""), "little"))  # fmt: skip


def show_route(t):
    names = {device.index: device.name for device in netdev.devices(t.net)}
    lines = [ROUTE]
    for family, bits, table, kind, to, gateway, index, metric in routing(t):
        if family == AF_INET and table == RT_TABLE_MAIN and kind == RTN_UNICAST:
            flags = RTF_UP | (RTF_GATEWAY if any(gateway) else 0) | (RTF_HOST if bits == 32 else 0)
            line = b"%s\t%s\t%s\t%04X\t%d\t%d\t%d\t%s\t%d\t%d\t%d" % (
                names.get(index, b"*"), words(to), words(gateway), flags, 0, 0, metric, words(netdev.mask_of(bits)), 0, 0, 0,
            )  # fmt: skip
            lines.append(line.ljust(127) + b"\n")
    return b"".join(lines)


def show_ipv6_route(t):
    names = {device.index: device.name for device in netdev.devices(t.net)}
    lines = []
    for family, bits, table, kind, to, gateway, index, metric in routing(t):
        if family == AF_INET6 and table in (RT_TABLE_MAIN, RT_TABLE_LOCAL):
            flags = RTF_UP | (RTF_GATEWAY if any(gateway) else 0) | (RTF_LOCAL if kind == RTN_LOCAL else 0)
            lines.append(b"%s %02x %032x 00 %s %08x %08x %08x %08x %8s\n" % (
                to.hex().encode(), bits, 0, gateway.hex().encode(), metric, 1, 0, flags, names.get(index, b"*"),
            ))  # fmt: skip
    return b"".join(lines)


def show_arp(t):
    names = {device.index: device.name for device in netdev.devices(t.net)}
    lines = [b"IP address       HW type     Flags       HW address            Mask     Device\n"]
    for index, addr, hwaddr, state in rtneighbours.of(t.net.stack):
        if len(addr) == 4:
            flags = (2 if hwaddr else 0) | (4 if state & fabric.NUD_PERMANENT else 0)  # ATF_COM, ATF_PERM
            mac = b":".join(b"%02x" % byte for byte in hwaddr or bytes(6))
            lines.append(b"%-16s 0x1         0x%x         %s     *        %s\n" % (b"%d.%d.%d.%d" % tuple(addr), flags, mac, names.get(index, b"*")))
    return b"".join(lines)


def show_if_inet6(t):
    return b"".join(
        b"%s %02x %02x %02x %02x %8s\n" % (addr.hex().encode(), device.index, bits, scope_number(scope), flags, device.name)
        for device in netdev.devices(t.net)
        if device.flags & IFF_UP
        for addr, bits, _, scope, flags in device.addresses
        if len(addr) == 16
    )


def scope_number(scope: int) -> int:
    """IPV6_ADDR_* of a RT_SCOPE_*: loopback, link, global."""
    return {254: 0x10, 253: 0x20}.get(scope, 0)


def inet_table(header, family, protocol, with_drops):
    def show(t):
        lines = [header]
        for number, row in enumerate(sockets.inet(t.kernel, t.net, family, protocol)):
            port = row.port if protocol != RAW else row.protocol
            line = b"%4d: %s:%04X %s:%04X %02X %08X:%08X 00:00000000 00000000 %5d        0 %d %d 0000000000000000" % (
                number, words(row.local), port, words(row.remote), row.remote_port, row.state, row.wqueue, row.rqueue, row.uid,
                row.ino, row.refs,
            )  # fmt: skip
            tail = b" 0" if with_drops else b" 100 0 0 10 0"
            lines.append((line + tail).ljust(LINE) + b"\n")
        return b"".join(lines)

    return show


def show_unix(t) -> bytes:
    """/proc/net/unix (net/unix/af_unix.c: unix_seq_show): flags, type, state (sys/un.h has none: SS_*), inode, name."""
    lines = [b"Num       RefCount Protocol Flags    Type St Inode Path\n"]
    for ino, sock in sorted(unix_names.ALL.items()):
        if sock.net is not t.net:
            continue
        state = (3 if sock.connected else 1) if sock.listener is None else 2
        flags = 0x10000 if sock.backlog is not None else 0
        line = b"%016x: %08X %08X %08X %04X %02X %5d" % (0, sock.refs + 1, 0, flags, sock.type, state, ino)
        if sock.address:
            name = sock.address[2:]
            line += b" " + (b"@" + name[1:].replace(b"\0", b"@") if name[0] == 0 else name[:-1])
        lines.append(line + b"\n")
    return b"".join(lines)


def show_netlink(t):
    lines = [NETLINK_HEADER]
    for (protocol, port), sock in t.net.netlinks.items():
        lines.append(b"0000000000000000 %-3d %-10d %08x %-8d %-8d 0     %-8d %-8d %-8d\n" % (
            protocol, port, sock.groups, sock.held, 0, sock.refs, 0, sock.inode.ino,
        ))  # fmt: skip
    return b"".join(lines)


# name -> show(t)
OWN = {
    b"arp": show_arp,
    b"dev": show_dev,
    b"dev_mcast": fixed(b""),
    b"if_inet6": show_if_inet6,
    b"igmp": fixed(IGMP),
    b"igmp6": fixed(b""),
    b"ipv6_route": show_ipv6_route,
    b"netlink": show_netlink,
    b"netstat": fixed(b"TcpExt: SyncookiesSent\nTcpExt: 0\nIpExt: InNoRoutes\nIpExt: 0\n"),
    b"packet": fixed(b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
    b"protocols": fixed(b"protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n"),
    b"psched": fixed(b"000003e8 00000040 000f4240 3b9aca00\n"),
    b"ptype": fixed(b"Type Device      Function\n"),
    b"raw": inet_table(UDP_HEADER, AF_INET, RAW, True),
    b"raw6": inet_table(UDP6_HEADER, AF_INET6, RAW, True),
    b"route": show_route,
    b"snmp": fixed(SNMP),
    b"snmp6": fixed(b""),
    b"sockstat": fixed(SOCKSTAT),
    b"sockstat6": fixed(SOCKSTAT6),
    b"tcp": inet_table(TCP_HEADER, AF_INET, IPPROTO_TCP, False),
    b"tcp6": inet_table(TCP6_HEADER, AF_INET6, IPPROTO_TCP, False),
    b"udp": inet_table(UDP_HEADER, AF_INET, IPPROTO_UDP, True),
    b"udp6": inet_table(UDP6_HEADER, AF_INET6, IPPROTO_UDP, True),
    b"udplite": inet_table(UDP_HEADER, AF_INET, IPPROTO_UDPLITE, True),
    b"udplite6": inet_table(UDP6_HEADER, AF_INET6, IPPROTO_UDPLITE, True),
    b"unix": show_unix,
    b"wireless": fixed(
        b"Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        b" face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
    ),
}


def of_namespace(name, own):
    """The host's file where the reader is in a namespace of the host's, else `own`."""
    host = name.decode()

    def show(t):
        return hostlink.file(host) if t.net.host else own(t)

    return show


# name -> show(t)
FILES = {name: own if name in (b"unix", b"netlink") else of_namespace(name, own) for name, own in OWN.items()}
ORDER = {name: number for number, name in enumerate(sorted(FILES))}
