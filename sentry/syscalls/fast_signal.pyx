"""Fast twins of sys_signal.py."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SENT, SLOW, GuestThread
from sentry.kernel.kernel cimport Kernel
from sentry.kernel.signals cimport Pending, SigHand, StopState
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast

from sentry.abi import siginfo, signal
from sentry.kernel.task import RLIMIT_SIGPENDING
from sentry.platform.base import TASK_LIMIT

cdef enum:
    EINVAL = 22
    SIG_BLOCK = 0
    SIG_UNBLOCK = 1
    SIG_SETMASK = 2

cdef uint64_t UNBLOCKABLE = signal.UNBLOCKABLE
cdef uint64_t SA_ALL = signal.SA_ALL
cdef int NSIG = signal.NSIG
cdef int SIGRTMIN = signal.SIGRTMIN
cdef uint64_t SPECIAL = signal.STOP_SIGNALS | 1 << (signal.SIGCONT - 1) | signal.UNBLOCKABLE
cdef uint64_t SA_NODEFER = signal.SA_NODEFER, SA_RESETHAND = signal.SA_RESETHAND, SA_RESTORER = signal.SA_RESTORER
cdef uint64_t SS_AUTODISARM = signal.SS_AUTODISARM
cdef int SI_TKILL = siginfo.SI_TKILL, SI_USER = siginfo.SI_USER
cdef int SIGPENDING = RLIMIT_SIGPENDING
cdef uint64_t LOWEST = 2, HIGHEST = TASK_LIMIT  # handlers that can be code


cdef long rt_sigprocmask(object task, GuestThread thread) except? -9001:
    cdef Task t = <Task?>task
    cdef int how = <int>thread.a[0]
    cdef const char *new = NULL
    cdef char *old = NULL
    cdef uint64_t before = thread.mask_at[0] & ~UNBLOCKABLE, mask, pending, shared
    if thread.a[3] != 8:
        return -EINVAL
    if thread.a[1]:
        new = thread.input(1, 8)
        if new == NULL:
            return SLOW
    if thread.a[2]:
        old = thread.output(2, 8)
        if old == NULL:
            return SLOW
    if new != NULL:
        memcpy(&mask, new, 8)
        if how == SIG_BLOCK:
            mask |= before
        elif how == SIG_UNBLOCK:
            mask = before & ~mask
        elif how != SIG_SETMASK:
            return -EINVAL
        mask &= ~UNBLOCKABLE
        shared = (<Pending?>t.tg.shared_pending).mask
        pending = (<Pending?>t.pending).mask | shared
        # Something to deliver, or to leave to other threads.
        if pending & ~mask or shared & mask & ~before or (<StopState?>t.tg.stop_state).signo:
            return SLOW
        thread.mask_at[0] = mask
        thread.set_pending(pending)
    if old != NULL:
        memcpy(old, &before, 8)
        thread.wrote(2, 8)
    return 0


cdef long rt_sigaction(object task, GuestThread thread) except? -9001:
    cdef int signo = <int>thread.a[0], i
    cdef const char *new = NULL
    cdef char *old = NULL
    cdef uint64_t fields[4]
    cdef uint64_t before[4]
    cdef tuple action
    cdef SigHand sighand = (<Task?>task).tg.sighand
    if thread.a[3] != 8:
        return -EINVAL
    if thread.a[1]:
        new = thread.input(1, 32)
        if new == NULL:
            return SLOW
        memcpy(fields, new, 32)
    if not 1 <= signo <= NSIG or (new != NULL and UNBLOCKABLE >> (signo - 1) & 1):
        return -EINVAL
    if new != NULL and fields[0] <= 1:  # what is pending may have to go
        return SLOW
    if thread.a[2]:
        old = thread.output(2, 32)
        if old == NULL:
            return SLOW
        action = sighand.actions[signo]
        for i in range(4):
            before[i] = action[i]
        memcpy(old, before, 32)
        thread.wrote(2, 32)
    if new != NULL:
        sighand.actions[signo] = (fields[0], fields[1] & SA_ALL, fields[2], fields[3] & ~UNBLOCKABLE)
    return 0


cdef long to_self(Task t, GuestThread thread, int signo, int code) except? -9001:
    """Send the calling thread a signal and enter its handler: as signals.py does it where nothing else is to be considered."""
    cdef uint64_t here, flags, mask, block
    cdef Kernel kernel = t.kernel
    cdef tuple action
    if not 0 < signo < SIGRTMIN or not thread.enters_signals() or kernel.held:
        return SLOW
    here = <uint64_t>1 << (signo - 1)
    action = (<SigHand?>t.tg.sighand).actions[signo]
    flags = action[1]
    block = action[3]
    if not flags & SA_NODEFER:
        block |= here
    mask = thread.a[5] & ~UNBLOCKABLE
    if (not LOWEST <= action[0] < HIGHEST or flags & SA_RESETHAND or not flags & SA_RESTORER or (mask | SPECIAL) & here
            or <uint64_t>t.stack[1] & SS_AUTODISARM or t.saved_sigmask is not None or (<StopState?>t.tg.stop_state).signo):
        return SLOW
    # What is pending already comes first, or its place is taken; what gets blocked may have to go to another thread.
    if (<Pending?>t.pending).mask & (here | ~mask) or (<Pending?>t.tg.shared_pending).mask & (here | block | ~mask):
        return SLOW
    if kernel.sig_queued or not t.tg.rlimits[SIGPENDING][0]:  # as if it was queued for a moment
        if kernel.sig_queued.get(t.creds.uid, 0) >= t.tg.rlimits[SIGPENDING][0]:
            return SLOW
    t.in_call = -1
    thread.enter_signal(signo, code, action, block, t.tg.pid, t.creds.uid, t.data.get("trap"))
    return SENT


cdef long tgkill(object task, GuestThread thread) except? -9001:
    cdef Task t = <Task?>task
    if <int>thread.a[0] != t.tg.pid or <int>thread.a[1] != t.tid:
        return SLOW
    return to_self(t, thread, <int>thread.a[2], SI_TKILL)


cdef long kill(object task, GuestThread thread) except? -9001:
    cdef Task t = <Task?>task
    if <int>thread.a[0] != t.tg.pid or len(t.tg.tasks) != 1:
        return SLOW
    return to_self(t, thread, <int>thread.a[1], SI_USER)


cdef long sched_yield(object task, GuestThread thread) except? -9001:
    return 0


fast("rt_sigprocmask", rt_sigprocmask)
fast("rt_sigaction", rt_sigaction)
fast("sched_yield", sched_yield)
fast("tgkill", tgkill)
fast("kill", kill)
