"""membarrier."""

from sentry.abi.errno import EINVAL, EPERM
from sentry.core.syscall import PARTIAL, U32, Int, syscall
from sentry.kernel.membarrier import barrier

QUERY, GLOBAL, GLOBAL_EXPEDITED, REGISTER_GLOBAL_EXPEDITED = 0, 1, 2, 4
PRIVATE, REGISTER_PRIVATE, SYNC_CORE, REGISTER_SYNC_CORE, GET_REGISTRATIONS = 8, 16, 32, 64, 512
REGISTRATIONS = {REGISTER_GLOBAL_EXPEDITED, REGISTER_PRIVATE, REGISTER_SYNC_CORE}
SUPPORTED = (
    GLOBAL | GLOBAL_EXPEDITED | REGISTER_GLOBAL_EXPEDITED | PRIVATE | REGISTER_PRIVATE | SYNC_CORE | REGISTER_SYNC_CORE
    | GET_REGISTRATIONS
)  # fmt: skip


@syscall("membarrier", 324, (Int, U32, Int), level=PARTIAL, note="no RSEQ commands", blocks=True)
def sys_membarrier(t, cmd, flags, cpu):
    if flags or cmd < 0:
        return -EINVAL
    mm = t.mm
    if cmd == QUERY:
        return SUPPORTED
    if cmd == GET_REGISTRATIONS:
        return mm.membarrier
    if cmd in REGISTRATIONS:
        mm.membarrier |= cmd
        return 0
    everyone = t.kernel.all_tasks()
    if cmd == GLOBAL:
        return barrier(t, everyone)
    if cmd == GLOBAL_EXPEDITED:
        return barrier(t, [task for task in everyone if task.mm is not None and task.mm.membarrier & REGISTER_GLOBAL_EXPEDITED])
    if cmd == PRIVATE or cmd == SYNC_CORE:
        if not mm.membarrier & (cmd << 1):
            return -EPERM
        return barrier(t, [task for task in everyone if task.mm is mm])
    return -EINVAL
