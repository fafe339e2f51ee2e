"""/proc/net: the tables of the network namespace. Protocols fill `FILES` with their own; without them each is an
empty table with the header that programs expect."""

from sentry.fs.pseudo import fixed
from sentry.net import unix_names

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
DEV = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    b"compressed\n"
    b"    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0   "
    b"       0\n"
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


# name -> show(t)
FILES = {
    b"arp": fixed(b"IP address       HW type     Flags       HW address            Mask     Device\n"),
    b"dev": fixed(DEV),
    b"if_inet6": fixed(b""),
    b"ipv6_route": fixed(b""),
    b"netlink": fixed(b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"),
    b"netstat": fixed(b"TcpExt: SyncookiesSent\nTcpExt: 0\nIpExt: InNoRoutes\nIpExt: 0\n"),
    b"packet": fixed(b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
    b"protocols": fixed(b"protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n"),
    b"psched": fixed(b"000003e8 00000040 000f4240 3b9aca00\n"),
    b"ptype": fixed(b"Type Device      Function\n"),
    b"raw": fixed(UDP_HEADER),
    b"raw6": fixed(UDP6_HEADER),
    b"route": fixed(ROUTE),
    b"snmp": fixed(SNMP),
    b"sockstat": fixed(SOCKSTAT),
    b"tcp": fixed(TCP_HEADER),
    b"tcp6": fixed(TCP6_HEADER),
    b"udp": fixed(UDP_HEADER),
    b"udp6": fixed(UDP6_HEADER),
    b"unix": show_unix,
    b"wireless": fixed(
        b"Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        b" face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
    ),
}
ORDER = {name: number for number, name in enumerate(sorted(FILES))}
