"""Process groups and sessions (setpgid(2), setsid(2), credentials(7)).

A process is in exactly one group from its birth until it is reaped; a group is in one session. Both live as
long as they have members, and their numbers are taken as long as they live.
"""

from sentry.abi import siginfo
from sentry.abi.signal import SIGCONT, SIGHUP
from sentry.kernel import signals


class Session:
    __slots__ = ("sid", "leader", "tty", "groups")

    def __init__(self, sid):
        self.sid = sid
        self.leader = None  # ThreadGroup while it lives
        # Controlling terminal: an object with `foreground` (ProcessGroup or None) and `session_leader_exit(session)`
        # (hang up: SIGHUP and SIGCONT to the foreground group, forget the session).
        self.tty = None
        self.groups = []


class ProcessGroup:
    __slots__ = ("pgid", "session", "members")

    def __init__(self, pgid, session):
        self.pgid = pgid
        self.session = session
        self.members = []  # ThreadGroups, zombies too
        session.groups.append(self)


def enter_group(tg, group) -> None:
    """Move the process into `group`."""
    leave_group(tg)
    group.members.append(tg)
    tg.pgrp = group
    tg.session = group.session


def leave_group(tg) -> None:
    """The process leaves its group (for another, or because it was reaped)."""
    group = tg.pgrp
    if group is None:
        return
    pids = tg.pids
    tg.pgrp = tg.session = None
    group.members.remove(tg)
    if not group.members:
        pids.pgrps.pop(group.pgid, None)
        session = group.session
        session.groups.remove(group)
        if not session.groups:
            pids.sessions.pop(session.sid, None)


def new_group(pids, pgid, session) -> ProcessGroup:
    group = pids.pgrps[pgid] = ProcessGroup(pgid, session)
    return group


def new_session(tg) -> Session:
    """The process becomes leader of a new session and a new group, without a terminal."""
    session = Session(tg.pid)
    session.leader = tg
    group = ProcessGroup(tg.pid, session)
    enter_group(tg, group)
    # Registered last: leaving the old group must not take the new numbers away.
    tg.pids.sessions[tg.pid] = session
    tg.pids.pgrps[tg.pid] = group
    return session


def is_orphaned(group, without=None) -> bool:
    """Has the group no member whose parent is in the same session but in another group
    (kernel/exit.c:will_become_orphaned_pgrp)? `without`: a member that does not count."""
    for tg in group.members:
        parent = tg.parent
        if tg is without or tg.zombie or parent is None:
            continue
        if parent.pgrp is not group and parent.session is group.session:
            return False
    return True


def hang_up_if_orphaned(tg, parent) -> None:
    """kernel/exit.c:kill_orphaned_pgrp: the group of `tg` may have lost, by `tg`'s own end (`parent` None) or by
    its parent's, the last member with a job-control parent; stopped members then get SIGHUP and SIGCONT."""
    group = tg.pgrp
    if group is None:
        return
    if parent is None:
        parent, without = tg.parent, tg
    else:
        without = None
    if parent is None or parent.pgrp is group or parent.session is not group.session:
        return
    if is_orphaned(group, without) and any(signals.is_stopped(member) for member in group.members):
        send_group(group, SIGHUP)
        send_group(group, SIGCONT)


def send_group(group, signo: int) -> None:
    """A signal from the kernel to every member."""
    for member in tuple(group.members):
        signals.send(member, signo, siginfo.kernel(signo))
