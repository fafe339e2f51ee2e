"""Files in flight (SCM_RIGHTS): who is charged for them, and the end of sockets that only messages still hold.

A socket sent through itself, or several sent through each other, keep themselves alive. As on Linux (net/unix/garbage.c) they
are looked for when a Unix socket ends while others are in flight: a socket all of whose references are messages is alive only
if one of these messages waits in a socket that is alive.
"""

from sentry.core.creds import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from sentry.net.socket import Socket, drop

AF_UNIX = 1
RLIMIT_NOFILE = 7

SOCKETS: "dict[Socket, int]" = {}  # Unix sockets in flight: how many references of theirs are messages'
HOLDERS: "dict[object, Socket]" = {}  # messages with Unix sockets, and in whose queue they wait
USERS: "dict[int, int]" = {}  # uid -> files in flight


def too_many(t) -> bool:
    """ETOOMANYREFS: the user has more files in flight than it may open (unix(7))."""
    return USERS.get(t.creds.uid, 0) > t.rlimit(RLIMIT_NOFILE) and not (
        t.creds.capable(CAP_SYS_RESOURCE) or t.creds.capable(CAP_SYS_ADMIN)
    )


def depart(message, owner, uid: int) -> None:
    """`message` with its rights has been put into the queue of `owner` by a task of user `uid`."""
    message.uid = uid
    USERS[uid] = USERS.get(uid, 0) + len(message.rights)
    sockets = False
    for file in message.rights:
        if isinstance(file, Socket) and file.family == AF_UNIX:
            SOCKETS[file] = SOCKETS.get(file, 0) + 1
            sockets = True
    if sockets:
        HOLDERS[message] = owner


def arrive(message) -> list:
    """The message's rights, which are the caller's from now on."""
    rights, message.rights = message.rights, None
    left = USERS[message.uid] - len(rights)
    if left:
        USERS[message.uid] = left
    else:
        del USERS[message.uid]
    if HOLDERS.pop(message, None) is not None:
        for file in rights:
            if isinstance(file, Socket) and file.family == AF_UNIX:
                if SOCKETS[file] == 1:
                    del SOCKETS[file]
                else:
                    SOCKETS[file] -= 1
    return rights


def collect() -> None:
    """End the sockets in flight that nothing alive leads to."""
    held = {}  # socket -> Unix sockets that wait in its queue
    alive = []
    for message, owner in HOLDERS.items():
        owner = owner.listener or owner  # what is not accepted yet belongs to its listener
        inside = [file for file in message.rights if isinstance(file, Socket) and file.family == AF_UNIX]
        if owner in SOCKETS:
            held.setdefault(owner, []).extend(inside)
        else:
            alive.extend(inside)
    alive.extend(sock for sock, count in SOCKETS.items() if sock.refs > count)
    seen = set()
    while alive:
        sock = alive.pop()
        if sock not in seen:
            seen.add(sock)
            alive.extend(held.get(sock, ()))
    lost = [sock for sock in SOCKETS if sock not in seen]
    rights = []
    for sock in lost:
        for queue in (sock, *sock.pending):
            rights.extend(queue.empty())
    drop(rights)
