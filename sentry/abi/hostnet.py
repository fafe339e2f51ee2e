"""What guests may have of the host's Internet sockets (--network=host), as data for the Sentry and for its seccomp list.
Numbers: include/uapi/linux/{in,in6,tcp,udp}.h, include/uapi/asm-generic/socket.h."""

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_DGRAM = 1, 2
IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6, IPPROTO_UDPLITE = 1, 6, 17, 58, 136

# (family, type, protocol); protocol 0 is replaced by the first of its family and type.
SOCKETS = (
    (AF_INET, SOCK_STREAM, IPPROTO_TCP),
    (AF_INET, SOCK_DGRAM, IPPROTO_UDP),
    (AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
    (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE),
    (AF_INET6, SOCK_STREAM, IPPROTO_TCP),
    (AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
    (AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6),
    (AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE),
)

SOL_SOCKET, SOL_IP, SOL_TCP, SOL_UDP, SOL_IPV6, SOL_UDPLITE = 1, 0, 6, 17, 41, 136

# level -> options that may be read and set. SO_RCVTIMEO and SO_SNDTIMEO are missing: host sockets never block, the
# Sentry keeps the time.
OPTIONS = {
    SOL_SOCKET: (
        2,  # SO_REUSEADDR
        5,  # SO_DONTROUTE
        6,  # SO_BROADCAST
        7,  # SO_SNDBUF
        8,  # SO_RCVBUF
        9,  # SO_KEEPALIVE
        10,  # SO_OOBINLINE
        11,  # SO_NO_CHECK
        12,  # SO_PRIORITY
        13,  # SO_LINGER
        15,  # SO_REUSEPORT
        18,  # SO_RCVLOWAT
        25,  # SO_BINDTODEVICE
        29,  # SO_TIMESTAMP
        35,  # SO_TIMESTAMPNS
        37,  # SO_TIMESTAMPING
        40,  # SO_RXQ_OVFL
        42,  # SO_PEEK_OFF
        47,  # SO_MAX_PACING_RATE
        62,  # SO_BINDTOIFINDEX
        63,  # SO_TIMESTAMP_NEW
        64,  # SO_TIMESTAMPNS_NEW
        65,  # SO_TIMESTAMPING_NEW
    ),
    SOL_IP: (
        1,  # IP_TOS
        2,  # IP_TTL
        6,  # IP_RECVOPTS
        7,  # IP_RETOPTS
        8,  # IP_PKTINFO
        10,  # IP_MTU_DISCOVER
        11,  # IP_RECVERR
        12,  # IP_RECVTTL
        13,  # IP_RECVTOS
        15,  # IP_FREEBIND
        20,  # IP_RECVORIGDSTADDR
        21,  # IP_MINTTL
        24,  # IP_BIND_ADDRESS_NO_PORT
        25,  # IP_RECVFRAGSIZE
        26,  # IP_RECVERR_RFC4884
        32,  # IP_MULTICAST_IF
        33,  # IP_MULTICAST_TTL
        34,  # IP_MULTICAST_LOOP
        49,  # IP_MULTICAST_ALL
        50,  # IP_UNICAST_IF
        51,  # IP_LOCAL_PORT_RANGE
    ),
    SOL_TCP: (
        1,  # TCP_NODELAY
        2,  # TCP_MAXSEG
        3,  # TCP_CORK
        4,  # TCP_KEEPIDLE
        5,  # TCP_KEEPINTVL
        6,  # TCP_KEEPCNT
        7,  # TCP_SYNCNT
        8,  # TCP_LINGER2
        9,  # TCP_DEFER_ACCEPT
        10,  # TCP_WINDOW_CLAMP
        12,  # TCP_QUICKACK
        13,  # TCP_CONGESTION
        16,  # TCP_THIN_LINEAR_TIMEOUTS
        18,  # TCP_USER_TIMEOUT
        23,  # TCP_FASTOPEN
        24,  # TCP_TIMESTAMP
        25,  # TCP_NOTSENT_LOWAT
        27,  # TCP_SAVE_SYN
        30,  # TCP_FASTOPEN_CONNECT
        34,  # TCP_FASTOPEN_NO_COOKIE
        36,  # TCP_INQ
    ),
    SOL_UDP: (
        1,  # UDP_CORK
        101,  # UDP_NO_CHECK6_TX
        102,  # UDP_NO_CHECK6_RX
        103,  # UDP_SEGMENT
        104,  # UDP_GRO
    ),
    SOL_UDPLITE: (
        10,  # UDPLITE_SEND_CSCOV
        11,  # UDPLITE_RECV_CSCOV
    ),
    SOL_IPV6: (
        16,  # IPV6_UNICAST_HOPS
        17,  # IPV6_MULTICAST_IF
        18,  # IPV6_MULTICAST_HOPS
        19,  # IPV6_MULTICAST_LOOP
        23,  # IPV6_MTU_DISCOVER
        24,  # IPV6_MTU
        25,  # IPV6_RECVERR
        26,  # IPV6_V6ONLY
        29,  # IPV6_MULTICAST_ALL
        31,  # IPV6_RECVERR_RFC4884
        33,  # IPV6_FLOWINFO_SEND
        49,  # IPV6_RECVPKTINFO
        50,  # IPV6_PKTINFO
        51,  # IPV6_RECVHOPLIMIT
        60,  # IPV6_RECVPATHMTU
        62,  # IPV6_DONTFRAG
        66,  # IPV6_RECVTCLASS
        67,  # IPV6_TCLASS
        70,  # IPV6_AUTOFLOWLABEL
        72,  # IPV6_ADDR_PREFERENCES
        73,  # IPV6_MINHOPCOUNT
        74,  # IPV6_RECVORIGDSTADDR
        76,  # IPV6_UNICAST_IF
        77,  # IPV6_RECVFRAGSIZE
        78,  # IPV6_FREEBIND
    ),
}

READ_ONLY = {
    SOL_SOCKET: (
        3,  # SO_TYPE
        4,  # SO_ERROR
        30,  # SO_ACCEPTCONN
        36,  # SO_MARK
        38,  # SO_PROTOCOL
        39,  # SO_DOMAIN
        49,  # SO_INCOMING_CPU
        55,  # SO_MEMINFO
        56,  # SO_INCOMING_NAPI_ID
        57,  # SO_COOKIE
    ),
    SOL_IP: (
        14,  # IP_MTU
        80,  # SO_ORIGINAL_DST
    ),
    SOL_TCP: (
        11,  # TCP_INFO
        26,  # TCP_CC_INFO
        28,  # TCP_SAVED_SYN
    ),
    SOL_IPV6: (
        61,  # IPV6_PATHMTU
        80,  # IP6T_SO_ORIGINAL_DST
    ),
}

SET_ONLY = {
    SOL_IP: (
        35,  # IP_ADD_MEMBERSHIP
        36,  # IP_DROP_MEMBERSHIP
        37,  # IP_UNBLOCK_SOURCE
        38,  # IP_BLOCK_SOURCE
        39,  # IP_ADD_SOURCE_MEMBERSHIP
        40,  # IP_DROP_SOURCE_MEMBERSHIP
        42,  # MCAST_JOIN_GROUP
        43,  # MCAST_BLOCK_SOURCE
        44,  # MCAST_UNBLOCK_SOURCE
        45,  # MCAST_LEAVE_GROUP
        46,  # MCAST_JOIN_SOURCE_GROUP
        47,  # MCAST_LEAVE_SOURCE_GROUP
    ),
    SOL_IPV6: (
        20,  # IPV6_ADD_MEMBERSHIP
        21,  # IPV6_DROP_MEMBERSHIP
        42,  # MCAST_JOIN_GROUP
        43,  # MCAST_BLOCK_SOURCE
        44,  # MCAST_UNBLOCK_SOURCE
        45,  # MCAST_LEAVE_GROUP
        46,  # MCAST_JOIN_SOURCE_GROUP
        47,  # MCAST_LEAVE_SOURCE_GROUP
    ),
}

# ioctl(2) of a socket that the host answers with an int: SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD
NUMBERS = (0x541B, 0x5411, 0x8905, 0x894B)

READABLE = frozenset((level, o) for table in (OPTIONS, READ_ONLY) for level, options in table.items() for o in options)
SETTABLE = frozenset((level, o) for table in (OPTIONS, SET_ONLY) for level, options in table.items() for o in options)
