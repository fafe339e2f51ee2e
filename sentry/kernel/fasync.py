"""SIGIO and SIGURG: signals about files (fcntl(2), "Managing signals"; fs/fcntl.c).

A file for which they are asked has a Notifier in its wait queue. It stands in `File.epolls` as well, so that it goes with
the file. `File.owner`: (kind, id, signal, uid, euid, PidNamespace) of F_SETOWN and F_SETSIG, the last three those of who asked.
"""

from sentry.abi import siginfo
from sentry.core.waitq import ALL, WaitEntry, Waiter
from sentry.kernel import signals
from sentry.vfs.file import FASYNC, POLL_READABLE, POLL_WRITABLE, POLLERR, POLLHUP, POLLPRI, POLLRDBAND, POLLWRBAND

F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP = 0, 1, 2
SIGURG, SIGIO = 23, 29
POLL_IN, POLL_OUT, POLL_PRI, POLL_HUP = 1, 2, 5, 6  # si_code
BANDS = {POLL_IN: POLL_READABLE, POLL_OUT: POLL_WRITABLE | POLLWRBAND, POLL_PRI: POLLPRI | POLLRDBAND, POLL_HUP: POLLHUP | POLLERR}
SPECIFIC = (4, 5, 7, 8, 11, 17, 31)  # signals whose si_code means something of its own
NOBODY = (F_OWNER_PID, 0, 0, 0, 0, None)


class Notifier(Waiter):
    """Owner of an entry in the file's queue. `fd`: as it was when FASYNC was set."""

    __slots__ = ("kernel", "file", "fd", "entry")

    def __init__(self, kernel, file):
        self.kernel = kernel
        self.file = file
        self.fd = -1
        self.entry = WaitEntry(self, file.async_events() | POLLPRI)
        file.queue.add(self.entry)
        if file.epolls is None:
            file.epolls = []
        file.epolls.append(self)

    def woken(self, entry, mask):
        file = self.file
        if mask == ALL:
            code = POLL_HUP if file.poll() & POLLHUP else POLL_IN
        elif mask & POLLPRI:
            code = POLL_PRI
        else:
            code = POLL_IN if mask & entry.mask & POLL_READABLE else POLL_OUT
        signo = (file.owner or NOBODY)[2]
        if code == POLL_OUT and not file.poll() & POLL_WRITABLE:
            return  # a listener, which wakes those that wait to connect
        if code == POLL_PRI:
            send(file.owner, SIGURG, None)
        if file.flags & FASYNC:
            if signo:
                info = siginfo.poll(signo, siginfo.SI_SIGIO if signo in SPECIFIC else code, BANDS[code], self.fd)
                if send(file.owner, signo, info):
                    send(file.owner, SIGIO, None)  # its queue is full
            elif code != POLL_PRI:
                send(file.owner, SIGIO, None)

    def file_closed(self):
        self.entry.remove()
        self.file.epolls.remove(self)


def notifier(kernel, file) -> Notifier:
    """The file's, made if it has none."""
    for item in file.epolls or ():
        if type(item) is Notifier:
            return item
    return Notifier(kernel, file)


def set_async(t, file, fd: int, on: bool) -> None:
    """O_ASYNC of a file that can (`async_events`)."""
    if on:
        file.flags |= FASYNC
        notifier(t.kernel, file).fd = fd
    else:
        file.flags &= ~FASYNC


def set_owner(t, file, kind: int, who: int) -> None:
    """F_SETOWN, F_SETOWN_EX."""
    file.owner = (kind, who, (file.owner or NOBODY)[2], t.creds.uid, t.creds.euid, t.tg.pids)
    if who and file.async_events() & POLLPRI:
        notifier(t.kernel, file)  # SIGURG asks for no O_ASYNC


def set_signal(t, file, signo: int) -> None:
    """F_SETSIG."""
    kind, who, _, *creds = file.owner or NOBODY
    file.owner = (kind, who, signo, *creds)


def find(pids, kind: int, who: int) -> list:
    """The processes (ThreadGroups), or the thread (Task), of an owner in a PidNamespace; empty: there are none."""
    if kind == F_OWNER_PGRP:
        return [tg for tg in pids.groups.values() if tg.pgrp is not None and tg.pgrp.pgid == who]
    found = pids.tasks.get(who) if kind == F_OWNER_TID else pids.groups.get(who)
    return [] if found is None else [found]


def send(owner, signo: int, info) -> int:
    """-EAGAIN if a queue is full."""
    kind, who, _, uid, euid, pids = owner or NOBODY
    result = 0
    for target in find(pids, kind, who) if who else ():
        creds = target.creds if kind == F_OWNER_TID else target.leader.creds
        if euid == 0 or euid in (creds.suid, creds.uid) or uid in (creds.suid, creds.uid):  # sigio_perm
            result = signals.send(target, signo, info) or result
    return result
