"""sock_diag(7): what ss(8) asks for, of Internet and Unix sockets."""

from struct import Struct

from sentry.abi.errno import EINVAL, ENOENT
from sentry.abi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, SOCK_DIAG_BY_FAMILY, attr, attr32
from sentry.net import hostlink, sockets
from sentry.net.netlink import SERVERS
from sentry.net.socket import AF_INET, AF_INET6, AF_UNIX

INET_REQUEST = Struct("<BBBxI48x")  # struct inet_diag_req_v2: family, protocol, extensions, states
INET_ANSWER = Struct("<BBBB2s2s16s16sIIIIIIII")  # struct inet_diag_msg
UNIX_REQUEST = Struct("<BBHIII8x")  # struct unix_diag_req: family, protocol, states, inode, what to show
UNIX_ANSWER = Struct("<BBBxIII")
UDIAG_SHOW_NAME, UDIAG_SHOW_VFS, UDIAG_SHOW_PEER, UDIAG_SHOW_ICONS, UDIAG_SHOW_RQLEN = 1, 2, 4, 8, 16
UNIX_DIAG_NAME, UNIX_DIAG_VFS, UNIX_DIAG_PEER, UNIX_DIAG_ICONS, UNIX_DIAG_RQLEN, UNIX_DIAG_SHUTDOWN = 0, 1, 2, 3, 4, 6
NO_COOKIE = 0xFFFFFFFF
IPPROTO_RAW = 255


def answer(t, sock, kind, flags, body):
    if kind != SOCK_DIAG_BY_FAMILY or not body:
        return -EINVAL
    family = body[0]
    if family in (AF_INET, AF_INET6):
        return inet(t, sock, flags, body)
    if family == AF_UNIX:
        return unix(sock, body)
    return -ENOENT  # as where the family's module is missing


def inet(t, sock, flags, body):
    if len(body) < INET_REQUEST.size:
        return -EINVAL
    family, protocol, _, states = INET_REQUEST.unpack_from(body)
    dump = flags & NLM_F_DUMP == NLM_F_DUMP
    if sock.net.host:
        # Filters (attributes) are left away: ss applies them itself.
        return hostlink.exchange("netlink:diag", SOCK_DIAG_BY_FAMILY, flags & NLM_F_DUMP if dump else 0, body[: INET_REQUEST.size])
    if not dump:
        return -ENOENT
    rows = []
    for row in sockets.inet(t.kernel, sock.net, family, -1 if protocol == IPPROTO_RAW else protocol):
        if states >> row.state & 1:
            rows.append((SOCK_DIAG_BY_FAMILY, INET_ANSWER.pack(
                family, row.state, 0, 0, row.port.to_bytes(2, "big"), row.remote_port.to_bytes(2, "big"), row.local, row.remote, 0,
                NO_COOKIE, NO_COOKIE, 0, row.rqueue, row.wqueue, row.uid, row.ino,
            )))  # fmt: skip
    return rows


def unix(sock, body):
    if len(body) < UNIX_REQUEST.size:
        return -EINVAL
    _, _, _, states, ino, show = UNIX_REQUEST.unpack_from(body)
    rows = []
    for one in sockets.unix(sock.net):
        state = state_of(one)
        if not states >> state & 1 or (ino and one.inode.ino != ino):
            continue
        parts = [UNIX_ANSWER.pack(AF_UNIX, one.type, state, one.inode.ino, NO_COOKIE, NO_COOKIE)]
        if show & UDIAG_SHOW_NAME and len(one.address) > 2:
            parts.append(attr(UNIX_DIAG_NAME, one.address[2:]))
        if show & UDIAG_SHOW_PEER and one.peer is not None:
            parts.append(attr32(UNIX_DIAG_PEER, one.peer.inode.ino))
        if show & UDIAG_SHOW_ICONS and state == sockets.LISTEN:
            parts.append(attr(UNIX_DIAG_ICONS, b"".join(waiting.inode.ino.to_bytes(4, "little") for waiting in one.pending)))
        if show & UDIAG_SHOW_RQLEN:
            queued = len(one.pending) if state == sockets.LISTEN else max(0, one.readable_bytes())
            limit = one.backlog if state == sockets.LISTEN else max(0, one.unsent_bytes())
            parts.append(attr(UNIX_DIAG_RQLEN, queued.to_bytes(4, "little") + limit.to_bytes(4, "little")))
        parts.append(attr(UNIX_DIAG_SHUTDOWN, bytes((one.shut & 3,))))
        rows.append((SOCK_DIAG_BY_FAMILY, b"".join(parts)))
    if ino and not rows:
        return -ENOENT
    return rows


def state_of(sock) -> int:
    """The number that tables show for a Unix socket."""
    if sock.listening():
        return sockets.LISTEN
    return sockets.ESTABLISHED if sock.peer is not None or sock.connected else sockets.CLOSE


SERVERS[NETLINK_SOCK_DIAG] = answer
