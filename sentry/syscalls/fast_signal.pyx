"""Fast twins of sys_signal.py."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLOW, GuestThread
from sentry.kernel.signals cimport Pending, SigHand, StopState
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast

from sentry.abi import signal

cdef enum:
    EINVAL = 22
    SIG_BLOCK = 0
    SIG_UNBLOCK = 1
    SIG_SETMASK = 2

cdef uint64_t UNBLOCKABLE = signal.UNBLOCKABLE
cdef uint64_t SA_ALL = signal.SA_ALL
cdef int NSIG = signal.NSIG


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


cdef long sched_yield(object task, GuestThread thread) except? -9001:
    return 0


fast("rt_sigprocmask", rt_sigprocmask)
fast("rt_sigaction", rt_sigaction)
fast("sched_yield", sched_yield)
