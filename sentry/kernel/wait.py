"""wait4, waitid: what a parent learns of its children, and a tracer of its tracees (kernel/exit.c:do_wait). Stopping and
continuing leave their reports in `ThreadGroup.unreported_stop` and `.unreported_continue` (signals.py), stops for a tracer
in `Tracee.code` (ptrace.py)."""

from struct import Struct

from sentry.abi import siginfo
from sentry.abi.errno import ECHILD
from sentry.abi.signal import SIGCHLD, SIGCONT
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait
from sentry.kernel import cputime, memstat, ptrace
from sentry.kernel.exit import code_and_status, exit_code_and_status, reap

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

    def __init__(self, tg, code, status, word, task=None):
        self.pid = tg.pid if task is None else task.tid
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
    if "tracees" in t.tg.data:
        found = find_traced(t, which, wanted, options)
        if type(found) is Found:
            return found
        candidates = found == BLOCKED
    for tg in t.tg.children:
        trace = tg.leader.ptrace
        if trace is not None and trace.tracer.tg is t.tg:
            continue  # has been looked at
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
            if options & WEXITED and trace is None:  # else its tracer comes first
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


def find_traced(t, which, wanted, options) -> "Found | int":
    """As `find`, among the tasks that the process traces."""
    candidates = False
    for task in tuple(ptrace.tracees(t.tg)):
        tg, trace = task.tg, task.ptrace
        if which == P_PID:
            if task.tid != wanted:
                continue
        elif which == P_PGID:
            if tg.pgrp is None or tg.pgrp.pgid != wanted:
                continue
        elif which == P_PIDFD and (tg is not wanted or task is not tg.leader):
            continue
        if options & WNOTHREAD and trace.tracer is not t and not (task is tg.leader and tg.parent_task is t):
            continue
        candidates = True
        if task.dead:
            if options & WEXITED and (task is not tg.leader or tg.zombie):
                return take_traced(t, task, options)
        elif trace.stopped and trace.code and not trace.listening:
            code = trace.code
            if not options & WNOWAIT:
                trace.code = 0
            return Found(tg, siginfo.CLD_TRAPPED, code, code << 8 | 0x7F, task)
        elif options & WCONTINUED and tg.unreported_continue:
            if not options & WNOWAIT:
                tg.unreported_continue = False
            return Found(tg, siginfo.CLD_CONTINUED, SIGCONT, 0xFFFF, task)
    return BLOCKED if candidates else -ECHILD


def take_traced(t, task, options) -> Found:
    """A traced thread that has ended."""
    tg = task.tg
    if task is tg.leader and tg.parent is t.tg:
        return take_zombie(t, tg, options)
    word = ptrace.status_of(task)
    found = Found(tg, *code_and_status(word), word & 0xFFFF, task)
    if not options & WNOWAIT:
        ptrace.let_go(task)
    return found


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
