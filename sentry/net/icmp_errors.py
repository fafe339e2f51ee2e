"""ICMP and ICMPv6 messages that tell of an error with a packet of ours, which they quote (icmp(7)): to the socket that sent it."""

from sentry.abi.errno import ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENOPROTOOPT, EPROTO
from sentry.net import inet_options as opt
from sentry.net.inet import ORIGIN_ICMP, ORIGIN_ICMP6

IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6 = 1, 6, 17, 58
UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 11, 12
UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6, PARAMETER_PROBLEM6 = 1, 2, 3, 4
FRAGMENTATION_NEEDED = 4  # code of UNREACHABLE
TYPES = {4: (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM), 16: (UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6, PARAMETER_PROBLEM6)}
LEAST = {4: 36, 16: 56}  # bytes of a message: its head, a quoted header and eight bytes behind that
ECHO = {4: 8, 16: 128}
SYN_SENT = 2
# What a code of "destination unreachable" means to a socket (icmp_err_convert, icmpv6_err_convert); others: EHOSTUNREACH.
ERRORS = {0: ENETUNREACH, 2: ENOPROTOOPT, 3: ECONNREFUSED, 4: EMSGSIZE, 6: ENETUNREACH, 9: ENETUNREACH, 11: ENETUNREACH}
ERRORS6 = {0: ENETUNREACH, 4: ECONNREFUSED}
HARD = (ENOPROTOOPT, ECONNREFUSED, EMSGSIZE, EPROTO)


def errno_of(kind: int, code: int, size: int) -> int:
    if size == 4:
        if kind == UNREACHABLE:
            return ERRORS.get(code, EHOSTUNREACH)
        return EPROTO if kind == PARAMETER_PROBLEM else EHOSTUNREACH
    if kind == UNREACHABLE6:
        return ERRORS6.get(code, EHOSTUNREACH)
    return EMSGSIZE if kind == TOO_BIG6 else EPROTO if kind == PARAMETER_PROBLEM6 else EHOSTUNREACH


def arrive(stack, body: bytes, offender: bytes) -> None:
    """body: the message; offender: who sent it."""
    size = len(offender)
    if len(body) < LEAST[size] or body[0] not in TYPES[size]:
        return
    kind, code, quoted = body[0], body[1], body[8:]
    if size == 4:
        at = (quoted[0] & 15) * 4
        protocol, source, host = quoted[9], quoted[12:16], quoted[16:20]
        mtu = int.from_bytes(body[6:8], "big") if kind == UNREACHABLE and code == FRAGMENTATION_NEEDED else -1
        info = max(mtu, 0)
    else:
        at = 40
        protocol, source, host = quoted[6], quoted[8:24], quoted[24:40]
        mtu = -1  # lwIP's
        info = int.from_bytes(body[4:8], "big") if kind in (TOO_BIG6, PARAMETER_PROBLEM6) else 0
    if len(quoted) < at + 8:
        return
    errno = errno_of(kind, code, size)
    port, peer = int.from_bytes(quoted[at : at + 2], "big"), int.from_bytes(quoted[at + 2 : at + 4], "big")
    if protocol == IPPROTO_UDP:
        for sock in stack.receivers(stack.udp, source, port, host, peer, False):
            if mtu >= 0:
                if stack.wire is not None:
                    stack.wire.learn_mtu(host, mtu)
                if sock.option(opt.SOL_IP, opt.IP_TABLE, opt.IP_MTU_DISCOVER) == opt.IP_PMTUDISC_DONT:
                    continue
            if errno in HARD or sock.wants_errors():
                sock.refused(quoted[at + 8 :], host, peer, errno, kind, code, info, offender)
    elif protocol == IPPROTO_TCP and mtu >= 0:
        if stack.wire is not None:
            stack.wire.too_big(source, port, host, peer, int.from_bytes(quoted[at + 4 : at + 8], "big"), mtu)
    elif protocol == IPPROTO_TCP and kind in (UNREACHABLE, UNREACHABLE6) and (kind == UNREACHABLE) == (size == 4):
        for sock in tuple(stack.tcp.bound.get(port, ())):
            if sock.state == SYN_SENT and sock.remote == host and sock.remote_port == peer and sock.wire is not None:
                sock.stop_connecting()
                sock.fail(errno)
    elif protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and quoted[at] == ECHO[size]:
        number = int.from_bytes(quoted[at + 4 : at + 6], "big")
        for sock in stack.receivers(stack.ping, source, number, host, 0, False):
            if sock.wants_errors():
                origin = ORIGIN_ICMP if size == 4 else ORIGIN_ICMP6
                sock.put_error(errno, quoted[at:], host, 0, origin, kind, code, info, offender)
                sock.fail(errno)
