"""Types of kernel.py."""

from sentry.core.timers cimport Timers
from sentry.core.waitq cimport Wait
from sentry.kernel.task cimport Task


cdef class Kernel:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object platform
    cdef public Timers timers
    cdef public object ready
    cdef public dict futexes, sig_queued, held
    cdef public object host, pids
    cdef public list pid_namespaces
    cdef public object boot_time, load, boot_id, forks
    cdef public bint stopping
    cdef public dict frozen
    cdef public object go_on, signalfds, core_dump, patcher, trace, profile

    cpdef loop(self)
    cpdef dispatch(self, thread)
    cpdef system_call(self, Task task, thread)
    cpdef bint count_trap(self, Task task, thread) except -1
    cpdef serve(self, Task task, thread)
    cpdef poll_wait(self, Task task)
    cpdef time_out(self, Task task)
    cpdef end_wait(self, Task task, Wait wait, result)
    cpdef back_to_guest(self, Task task, result)
