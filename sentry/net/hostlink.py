"""The host's own answers to questions of rtnetlink(7) and sock_diag(7), in host mode.

The Sentry asks by two sockets that were opened in the container's network namespace before it was confined. A question is made
anew from what is known of it; the host tells the same to everybody, so no rights come with it.
"""

import os

from sentry.abi.errno import EINVAL, EOPNOTSUPP
from sentry.abi.netlink import (
    HEADER,
    IFLA_ALT_IFNAME,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTA_DST,
    RTA_OIF,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    align,
    attr,
    parse_attrs,
)

ROOM = 1 << 18
ATTRS_MOST = 256
# question -> (size of its fixed header, attributes that a question for one thing may have)
QUESTIONS = {
    RTM_GETLINK: (16, (IFLA_IFNAME, IFLA_EXT_MASK, IFLA_ALT_IFNAME)),
    RTM_GETADDR: (8, ()),
    RTM_GETROUTE: (12, (RTA_DST, RTA_OIF)),
    RTM_GETNEIGH: (12, ()),
    RTM_GETRULE: (12, ()),
}

FILES: "dict[str, int]" = {}  # descriptors, core/hostinfo.py: open_network

_asked = 0  # sequence number of the last question


def ask(kind: int, flags: int, body: bytes):
    """Answer of rtnetlink: [(type, body)] or -errno."""
    question = QUESTIONS.get(kind)
    if question is None:
        return -EOPNOTSUPP
    size, allowed = question
    dump = flags & NLM_F_DUMP == NLM_F_DUMP
    if dump:
        # Filters of the header are the guest's own business: programs check what they get.
        return exchange("netlink:route", kind, NLM_F_DUMP, body[:1].ljust(size, b"\0"))
    if len(body) < size:
        return -EINVAL
    attrs = parse_attrs(body, size)
    if attrs is None:
        return -EINVAL
    parts = [attr(key, attrs[key]) for key in allowed if key in attrs and len(attrs[key]) <= ATTRS_MOST]
    return exchange("netlink:route", kind, 0, body[:size] + b"".join(parts))


def exchange(name: str, kind: int, flags: int, body: bytes):
    """Send one question and take its answers: [(type, body)] or -errno. The host answers at once."""
    global _asked
    fd = FILES[name]
    dump = bool(flags)
    _asked = _asked + 1 & 0xFFFFFFFF
    os.write(fd, HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, _asked, 0) + body)
    rows = []
    while True:
        try:
            data = os.read(fd, ROOM)
        except BlockingIOError:
            return rows  # cannot be, but must not hang
        at = 0
        while len(data) - at >= HEADER.size:
            length, got, _, sequence, _ = HEADER.unpack_from(data, at)
            if length < HEADER.size or length > len(data) - at:
                return rows
            if sequence != _asked:  # left over from a question before
                at += align(length)
                continue
            if got == NLMSG_DONE:
                return rows
            content = data[at + HEADER.size : at + length]
            if got == NLMSG_ERROR:
                error = int.from_bytes(content[:4], "little", signed=True)
                return error or rows
            rows.append((got, content))
            at += align(length)
        if rows and not dump:
            return rows


def file(name: str) -> bytes:
    """A file of /proc/net, as it is now; b"" where the host has none."""
    fd = FILES.get(name, -1)
    if fd < 0:
        return b""
    parts, at = [], 0
    while True:
        part = os.pread(fd, 1 << 16, at)
        if not part:
            return b"".join(parts)
        parts.append(part)
        at += len(part)
