"""/proc/net: the tables of the network namespace. Protocols fill `FILES` with their own; without them each is an
empty table with the header that programs expect."""

from sentry.fs.pseudo import fixed

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
    b"unix": fixed(b"Num       RefCount Protocol Flags    Type St Inode Path\n"),
    b"wireless": fixed(
        b"Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
        b" face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
    ),
}
ORDER = {name: number for number, name in enumerate(sorted(FILES))}
