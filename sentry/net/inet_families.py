"""socket(2) for AF_INET and AF_INET6. They belong to the sandbox's first network namespace; others have none."""

from sentry.abi.errno import EINVAL, ESOCKTNOSUPPORT
from sentry.net import raw, tcp, udp, udplite
from sentry.net.socket import AF_INET, AF_INET6, FAMILIES, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM

IPPROTO_MAX = 262 + 1


def create_inet(t, family, type_, protocol, flags):
    if not 0 <= protocol < IPPROTO_MAX:
        return -EINVAL
    if type_ == SOCK_STREAM:
        return tcp.create(t, family, protocol, flags)
    if type_ == SOCK_DGRAM:
        if protocol == raw.ping_protocol(family):
            return raw.create_ping(t, family, protocol, flags)
        if protocol == udp.IPPROTO_UDPLITE:
            return udplite.create(t, family, protocol, flags)
        return udp.create(t, family, protocol, flags)
    if type_ == SOCK_RAW:
        return raw.create_raw(t, family, protocol, flags)
    return -ESOCKTNOSUPPORT if type_ < 11 else -EINVAL


def create4(t, type_, protocol, flags):
    return create_inet(t, AF_INET, type_, protocol, flags)


def create6(t, type_, protocol, flags):
    return create_inet(t, AF_INET6, type_, protocol, flags)


FAMILIES[AF_INET] = (create4, None)
FAMILIES[AF_INET6] = (create6, None)

