"""Types of systrap_reserve.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from sentry.platform.systrap_host cimport cpu_set_t


cdef class Reserve:
    cdef readonly bint on
    cdef bint used  # it has been on
    cdef uint32_t calls, turns  # in this window: calls, and how often another thread than before made one
    cdef uint32_t wakes  # how often an answer found the stub asleep
    cdef void *caller  # the last to call, only to be compared
    cdef double per_ns
    cdef uint32_t looks, short
    cdef uint64_t since, until, not_before, backoff
    cdef double before  # calls a tick without it, in the window before the trial
    cdef bint trial, settling
    cdef cpu_set_t allowed, others

    cdef inline void called(self, void *thread) noexcept:
        self.calls += 1
        if thread != self.caller:
            self.caller = thread
            self.turns += 1

    cdef int weigh(self, dict threads, uint64_t now, bint short) except -1
    cdef int switch(self, dict threads, bint on) except -1
    cdef void place(self, int tid) noexcept
