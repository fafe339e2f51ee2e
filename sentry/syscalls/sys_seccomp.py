"""seccomp (seccomp(2), kernel/seccomp.c); prctl's PR_SET_SECCOMP is the same."""

from struct import pack, unpack

from sentry.abi.errno import EBUSY, EINVAL, EMFILE, ENOMEM, EOPNOTSUPP, ESRCH
from sentry.core.syscall import U32, Ptr, syscall
from sentry.kernel import seccomp
from sentry.kernel.seccomp_filter import Program
from sentry.kernel.seccomp_notify import Listener, has_listener
from sentry.kernel.task import RLIMIT_NOFILE

SET_MODE_STRICT, SET_MODE_FILTER, GET_ACTION_AVAIL, GET_NOTIF_SIZES = range(4)
TSYNC, LOG, SPEC_ALLOW, NEW_LISTENER, TSYNC_ESRCH, WAIT_KILLABLE = 1, 2, 4, 8, 16, 32
INSNS_MAX, INSN_SIZE = 4096, 8
CHAIN_MAX = 32768  # instructions of a chain
NOTIF_SIZES = pack("<HHH", 80, 24, 64)
AVAILABLE = {seccomp.KILL_PROCESS, seccomp.KILL_THREAD, seccomp.TRAP, seccomp.ERRNO, seccomp.USER_NOTIF, seccomp.TRACE, seccomp.LOG, seccomp.ALLOW}


@syscall("seccomp", 317, (U32, U32, Ptr))
def sys_seccomp(t, operation, flags, args):
    if operation == SET_MODE_STRICT:
        return set_strict(t) if flags == 0 and args == 0 else -EINVAL
    if operation == SET_MODE_FILTER:
        return set_filter(t, flags, args)
    if operation == GET_ACTION_AVAIL:
        if flags:
            return -EINVAL
        (action,) = unpack("<I", t.read(args, 4))
        return 0 if action in AVAILABLE else -EOPNOTSUPP
    if operation == GET_NOTIF_SIZES:
        if flags:
            return -EINVAL
        t.write(args, NOTIF_SIZES)
        return 0
    return -EINVAL


def set_by_prctl(t, mode, args, c, d):
    if mode == seccomp.MODE_STRICT:
        return set_strict(t)
    return set_filter(t, 0, args) if mode == seccomp.MODE_FILTER else -EINVAL


def set_strict(t) -> int:
    if seccomp.mode(t) not in (seccomp.MODE_DISABLED, seccomp.MODE_STRICT):
        return -EINVAL
    seccomp.set_chain(t, seccomp.STRICT)
    return 0


def set_filter(t, flags: int, args: int) -> int:
    if flags & ~(TSYNC | LOG | SPEC_ALLOW | NEW_LISTENER | TSYNC_ESRCH | WAIT_KILLABLE):
        return -EINVAL
    if flags & TSYNC and flags & NEW_LISTENER and not flags & TSYNC_ESRCH:
        return -EINVAL
    if flags & WAIT_KILLABLE and not flags & NEW_LISTENER:
        return -EINVAL
    length, address = unpack("<H6xQ", t.read(args, 16))
    if not 0 < length <= INSNS_MAX:
        return -EINVAL
    errno = seccomp.may_filter(t)
    if errno:
        return errno
    if not address:
        return -EINVAL
    code = t.read(address, length * INSN_SIZE)
    strict = t.seccomp is seccomp.STRICT
    try:
        new = Program(None if strict else t.seccomp, code)
    except ValueError:
        return -EINVAL
    if strict:
        return -EINVAL
    if new.total > CHAIN_MAX:
        return -ENOMEM
    new.logs = bool(flags & LOG)
    others = [task for task in t.tg.tasks if task is not t] if flags & TSYNC else []
    for other in others:
        if other.seccomp is seccomp.STRICT or not (t.seccomp is None and other.seccomp is None or descends(t.seccomp, other.seccomp)):
            return -ESRCH if flags & TSYNC_ESRCH else other.tid
    listener = 0
    if flags & NEW_LISTENER:
        if has_listener(t.seccomp):
            return -EBUSY
        file = Listener(t.kernel, new, bool(flags & WAIT_KILLABLE))
        listener = t.files.install(file, t.rlimit(RLIMIT_NOFILE), True)
        if listener < 0:
            file.decref()
            return -EMFILE
    for task in (t, *others):
        seccomp.set_chain(task, new)
        task.no_new_privs = task.no_new_privs or t.no_new_privs
    return listener


def descends(mine, other) -> bool:
    """Whether the chain `other` is a part of mine (is_ancestor), so that a thread that has it may be given mine."""
    return other is None or (mine is not None and mine.descends_from(other))
