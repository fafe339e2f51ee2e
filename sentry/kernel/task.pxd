"""Types of task.py."""

cimport cython

from sentry.core.creds cimport Creds
from sentry.core.waitq cimport Wait, WaitEntry, Waiter, WaitQueue
from sentry.vfs.context cimport FsContext
from sentry.vfs.file cimport FdTable


@cython.final
cdef class ThreadGroup:
    cdef public object kernel
    cdef public int pid
    cdef public Task leader
    cdef public list tasks
    cdef public ThreadGroup parent
    cdef public list children
    cdef public object pgrp, session
    cdef public int exit_signal
    cdef public object sighand, shared_pending
    cdef public list rlimits
    cdef public WaitQueue child_queue
    cdef public int exit_status
    cdef public bint group_exiting, zombie
    cdef public object stop_state, itimers, posix_timers
    cdef public object utime_children, stime_children
    cdef public long long start_time
    cdef public int oom_score_adj
    cdef public bint subreaper, did_exec
    cdef public object container, pids, data
    cdef public Task parent_task, exec_task
    cdef public object exec_done
    cdef public int unreported_stop
    cdef public bint unreported_continue
    cdef public tuple cpu_before
    cdef public object maxrss, maxrss_children
    cdef public WaitQueue exit_queue
    cdef public bint reaped
    cdef object __weakref__


cdef class Task(Waiter):
    cdef public object kernel
    cdef public int tid
    cdef public ThreadGroup tg
    cdef public object thread, mm
    cdef public FdTable files
    cdef public FsContext fs
    cdef public Creds creds
    cdef public object comm
    cdef public unsigned long long last_sigmask
    cdef public object saved_sigmask, pending
    cdef public tuple stack
    cdef public Wait wait
    cdef public bint queued, work
    cdef public object restart
    cdef public bint dead
    cdef public object stopped_ret, vfork_done
    cdef public bint no_new_privs
    cdef public int dumpable, pdeath_signal
    cdef public long long start_time
    cdef public long long in_call
    cdef public int nice
    cdef public unsigned int personality
    cdef public object ptrace
    cdef public tuple sched
    cdef public int exit_code
    cdef public bint dying
    cdef public object uts, net, data
    cdef public object seccomp
    cdef const unsigned char *barred  # seccomp_filter.Filter.barred of `seccomp`, or NULL
    cdef object __weakref__

    cpdef woken(self, WaitEntry entry, unsigned long long mask)
    cpdef kick(self)
    cpdef bint signal_pending(self) except? -1
