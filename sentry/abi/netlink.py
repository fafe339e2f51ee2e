"""netlink(7), rtnetlink(7), sock_diag(7): numbers and layouts."""

from struct import Struct

NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_KOBJECT_UEVENT = 0, 4, 15
SOL_NETLINK = 270

HEADER = Struct("<IHHII")  # length, type, flags, sequence number, port
ATTR = Struct("<HH")  # length, type
SOCKADDR = Struct("<HHII")  # AF_NETLINK, pad, port, groups

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 1, 2, 4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_CAPPED = 0x100
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_MIN_TYPE = 1, 2, 3, 16

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_GETRULE = 32, 34
RTM_MAX = 123
SOCK_DIAG_BY_FAMILY = 20

# Multicast groups, as bits.
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE = 1, 0x10, 0x40, 0x100, 0x400

IFINFO = Struct("<BxHiII")  # family, type, index, flags, change
IFADDR = Struct("<BBBBI")  # family, prefix length, flags, scope, index
RTMSG = Struct("<BBBBBBBBI")  # family, destination and source length, TOS, table, protocol, scope, type, flags
NDMSG = Struct("<BxxxiHBB")  # family, index, state, flags, type

IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU, IFLA_QDISC, IFLA_STATS = 1, 2, 3, 4, 6, 7
IFLA_TXQLEN, IFLA_OPERSTATE, IFLA_LINKMODE, IFLA_LINKINFO, IFLA_STATS64 = 13, 16, 17, 18, 23
IFLA_LINK, IFLA_MASTER, IFLA_NET_NS_PID, IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_LINK_NETNSID = 5, 10, 19, 20, 28, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_EXT_MASK, IFLA_GROUP, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_CARRIER, IFLA_ALT_IFNAME = 29, 27, 31, 32, 33, 53
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 3, 4, 6, 8
IFA_F_PERMANENT = 0x80
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE, RTA_PREF, RTA_UID = 1, 4, 5, 6, 7, 15, 20, 25
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_IFINDEX = 1, 2, 3, 4, 8
FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE = 6, 14, 15

RT_TABLE_DEFAULT, RT_TABLE_MAIN, RT_TABLE_LOCAL = 253, 254, 255
RTPROT_KERNEL, RTPROT_BOOT = 2, 3
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST = 1, 2, 3

IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP, IFF_MULTICAST, IFF_LOWER_UP = 1, 2, 8, 0x40, 0x80, 0x1000, 0x10000
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772


def align(length: int) -> int:
    return (length + 3) & ~3


def attr(kind: int, body: bytes) -> bytes:
    size = 4 + len(body)
    return ATTR.pack(size, kind) + body + bytes(-size % 4)


def attr32(kind: int, value: int) -> bytes:
    return attr(kind, value.to_bytes(4, "little"))


def parse_attrs(data: bytes, at: int) -> "dict[int, bytes] | None":
    """Attributes from offset `at` on, the last of a kind wins; None if a length is wrong."""
    found = {}
    end = len(data)
    while at + 4 <= end:
        size, kind = ATTR.unpack_from(data, at)
        if size < 4 or at + size > end:
            return None
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += align(size)
    return found
