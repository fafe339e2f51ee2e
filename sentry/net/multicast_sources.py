"""Multicast from chosen senders (ip(7), IP_ADD_SOURCE_MEMBERSHIP and its kin; RFC 3678). The neighbours hear of the group only:
the choice is made here."""

from sentry.abi.errno import EADDRNOTAVAIL, EINVAL, ENOBUFS
from sentry.net import inet_addr
from sentry.net import inet_options as opt
from sentry.net.inet_addr import AF_INET, AF_INET6, is_multicast

SOURCES_MAX = 10  # net.ipv4.igmp_max_msf
OF_IP = (opt.IP_UNBLOCK_SOURCE, opt.IP_BLOCK_SOURCE, opt.IP_ADD_SOURCE_MEMBERSHIP, opt.IP_DROP_SOURCE_MEMBERSHIP)
# those that take addresses of either family, with what they mean
OF_ANY = {
    opt.MCAST_BLOCK_SOURCE: opt.IP_BLOCK_SOURCE, opt.MCAST_UNBLOCK_SOURCE: opt.IP_UNBLOCK_SOURCE,
    opt.MCAST_JOIN_SOURCE_GROUP: opt.IP_ADD_SOURCE_MEMBERSHIP, opt.MCAST_LEAVE_SOURCE_GROUP: opt.IP_DROP_SOURCE_MEMBERSHIP,
}  # fmt: skip
STORAGE = 128  # sizeof (struct sockaddr_storage)


class Sources:
    """Of one membership: these senders only (`only`), or all but these."""

    __slots__ = ("only", "senders")

    def __init__(self, only: bool):
        self.only = only
        self.senders = set()

    def admits(self, sender: bytes) -> bool:
        return (sender in self.senders) == self.only


def set4(sock, option: int, data: bytes) -> int:
    """struct ip_mreq_source: group, interface, sender."""
    if len(data) < 12:
        return -EINVAL
    group, interface, sender = data[:4], data[4:8], data[8:12]
    if not is_multicast(group):
        return -EINVAL
    index = sock.net.stack.of_address(interface).index if any(interface) else sock.default_interface(group)
    return change(sock, option, (group, index), sender)


def set_any(sock, option: int, data: bytes) -> int:
    """struct group_source_req: interface, padding, two of struct sockaddr_storage."""
    if len(data) < 8 + 2 * STORAGE:
        return -EINVAL
    addresses = []
    for at in (8, 8 + STORAGE):
        family = int.from_bytes(data[at : at + 2], "little")
        parsed = inet_addr.parse(family, data[at : at + STORAGE]) if family in (AF_INET, AF_INET6) else -EADDRNOTAVAIL
        if isinstance(parsed, int):
            return parsed
        addresses.append(parsed[0])
    group, sender = addresses
    if not is_multicast(group):
        return -EINVAL
    index = int.from_bytes(data[:4], "little") or sock.default_interface(group)
    return change(sock, OF_ANY[option], (group, index), sender)


def change(sock, option: int, row: tuple, sender: bytes) -> int:
    """net/ipv4/igmp.c: ip_mc_source."""
    member = sock.groups is not None and row in sock.groups
    adding = option in (opt.IP_ADD_SOURCE_MEMBERSHIP, opt.IP_BLOCK_SOURCE)
    only = option in (opt.IP_ADD_SOURCE_MEMBERSHIP, opt.IP_DROP_SOURCE_MEMBERSHIP)
    if not member:
        if option != opt.IP_ADD_SOURCE_MEMBERSHIP:
            return -EINVAL
        error = sock.member(*row, True)
        if error:
            return error
        sock.sources[row] = Sources(True)
    found = sock.sources.get(row)
    if found is None:
        found = Sources(False)
    if found.only != only and (found.senders or found.only or member and not only):
        return -EINVAL
    if found.only != only:
        found = Sources(only)  # a member so far of all senders, now of this one
    if adding:
        if sender in found.senders:
            return -EADDRNOTAVAIL
        if len(found.senders) >= SOURCES_MAX:
            return -ENOBUFS
        found.senders.add(sender)
        sock.sources[row] = found
        return 0
    if sender not in found.senders:
        return -EADDRNOTAVAIL
    found.senders.discard(sender)
    if found.only and not found.senders:
        return sock.member(*row, False)
    return 0
