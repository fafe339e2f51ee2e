"""wait4, waitid: what a parent learns of its children (kernel/exit.c:do_wait). Stopping and continuing leave their
reports in `ThreadGroup.unreported_stop` and `.unreported_continue` (signals.py)."""

from struct import Struct

from sentry.abi import siginfo
from sentry.abi.errno import ECHILD
from sentry.abi.signal import SIGCHLD, SIGCONT
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait
from sentry.kernel import cputime, memstat
from sentry.kernel.exit import exit_code_and_status, reap

WNOHANG, WSTOPPED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x1000000
WNOTHREAD, WALL, WCLONE = 0x20000000, 0x40000000, 0x80000000
P_ALL, P_PID, P_PGID, P_PIDFD = 0, 1, 2, 3

RUSAGE = Struct("<18q")


def rusage_bytes(user: int, system: int, maxrss: int = 0) -> bytes:
    """struct rusage from times in ns and bytes; the host tells the Sentry nothing about the other fields."""
    user, system = user // 1000, system // 1000
    return RUSAGE.pack(user // 1000000, user % 1000000, system // 1000000, system % 1000000, maxrss >> 10, *(0,) * 13)


class Found:
    """A report about a child."""

    __slots__ = ("pid", "uid", "code", "status", "word", "rusage")

    def __init__(self, tg, code, status, word):
        self.pid = tg.pid
        self.uid = tg.leader.creds.uid
        self.code = code
        self.status = status
        self.word = word  # as wait4 stores it
        user, system = cputime.process(tg)
        maxrss = max(memstat.peak(tg), tg.maxrss_children)
        self.rusage = rusage_bytes(user + tg.utime_children, system + tg.stime_children, maxrss)


class ChildWait(Wait):
    """A wait for children. `which`/`wanted`: P_* and number (P_PIDFD: the ThreadGroup). `deliver(t, found,
    arguments)` writes the answer and returns the call's result; `found` is a Found, None for WNOHANG without a
    report, or -errno."""

    __slots__ = ("which", "wanted", "options", "deliver", "arguments")

    def __init__(self, which, wanted, options, deliver, arguments):
        self.which = which
        self.wanted = wanted
        self.options = options
        self.deliver = deliver
        self.arguments = arguments

    def poll(self, t):
        found = find(t, self.which, self.wanted, self.options)
        if found == BLOCKED:
            if not self.options & WNOHANG:
                return BLOCKED
            found = None
        return self.deliver(t, found, self.arguments)


def do_wait(t, which, wanted, options, deliver, arguments) -> int:
    wait = ChildWait(which, wanted, options, deliver, arguments)
    result = wait.poll(t)
    if result == BLOCKED:
        return t.block(wait, t.tg.child_queue)
    return result


def find(t, which, wanted, options) -> "Found | int":
    """A report that matches, consumed unless WNOWAIT; BLOCKED if there may be one later; -ECHILD."""
    candidates = False
    for tg in t.tg.children:
        if which == P_PID:
            if tg.pid != wanted:
                continue
        elif which == P_PGID:
            if tg.pgrp is None or tg.pgrp.pgid != wanted:
                continue
        elif which == P_PIDFD and tg is not wanted:
            continue
        if options & WNOTHREAD and tg.parent_task is not t:
            continue
        # "clone" children are those with another exit signal than SIGCHLD (wait(2): __WCLONE, __WALL).
        if not options & WALL and (tg.exit_signal != SIGCHLD) != bool(options & WCLONE):
            continue
        candidates = True
        if tg.zombie:
            if options & WEXITED:
                return take_zombie(t, tg, options)
        elif options & WSTOPPED and tg.unreported_stop:
            signo = tg.unreported_stop
            if not options & WNOWAIT:
                tg.unreported_stop = 0
            return Found(tg, siginfo.CLD_STOPPED, signo, signo << 8 | 0x7F)
        elif options & WCONTINUED and tg.unreported_continue:
            if not options & WNOWAIT:
                tg.unreported_continue = False
            return Found(tg, siginfo.CLD_CONTINUED, SIGCONT, 0xFFFF)
    return BLOCKED if candidates else -ECHILD


def take_zombie(t, tg, options) -> Found:
    code, status = exit_code_and_status(tg)
    found = Found(tg, code, status, tg.exit_status & 0xFFFF)
    if not options & WNOWAIT:
        parent = t.tg
        user, system = cputime.process(tg)
        parent.utime_children += user + tg.utime_children
        parent.stime_children += system + tg.stime_children
        parent.maxrss_children = max(parent.maxrss_children, memstat.peak(tg), tg.maxrss_children)
        reap(tg)
    return found
