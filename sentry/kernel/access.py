"""May one task look into another (ptrace(2), "Ptrace access mode checking"; kernel/ptrace.c)?"""

from sentry.core.creds import CAP_SYS_PTRACE


def may_access(t, target, real_creds: bool = False) -> bool:
    """`t`: the task that asks, with its file-system ids or (real_creds) its real ones."""
    if t.tg is target.tg:
        return True
    mine, theirs = t.creds, target.creds
    if mine.capable(CAP_SYS_PTRACE):
        return True
    uid, gid = (mine.uid, mine.gid) if real_creds else (mine.fsuid, mine.fsgid)
    if (uid,) * 3 != (theirs.uid, theirs.euid, theirs.suid) or (gid,) * 3 != (theirs.gid, theirs.egid, theirs.sgid):
        return False
    # security/commoncap.c:cap_ptrace_access_check
    caller = mine.permitted if real_creds else mine.effective
    return target.dumpable == 1 and not theirs.permitted & ~caller
