from libc.stdint cimport int64_t, uint64_t

from sentry.core.guest cimport dispatch_t
from sentry.platform.systrap_host cimport cpu_set_t
from sentry.platform.systrap_thread cimport Registry, Thread


cdef class Nursery:
    cdef Platform host
    cdef Thread seed  # None: closed, or the seed has died
    cdef bint busy  # the seed makes a copy of itself
    cdef public bint ready
    cdef list pool, waiters  # fresh address spaces; callbacks that wait for one
    cdef uint64_t took  # TSC when the last one was taken
    cdef readonly int pid

    cdef int breed(self) except -1


cdef class Platform(Registry):
    cdef readonly str name
    cdef public bint apart
    cdef readonly uint64_t entry
    cdef readonly uint64_t vdso
    cdef int bell
    cdef list handed
    cdef Nursery first  # of the sandbox's own container
    cdef list nurseries
    cdef int pool_target
    cdef int shared_fd
    cdef int cpus
    cdef double ticks_per_ns
    cdef double wake_cost  # ticks from a doorbell to the dispatcher on another CPU, on average
    cdef double spin_below  # an average gap longer than this many ticks is slept through
    cdef uint64_t spin_for  # ticks
    cdef uint64_t breed_after  # ticks from the taking of a fresh address space to the making of the next
    cdef bint spinning
    cdef double pause  # about how many ticks one look takes
    cdef uint64_t last_poll, poll_every
    cdef cpu_set_t allowed
    cdef int pinned  # CPU that the dispatcher keeps to; -1: none, -2: it keeps away from one
    cdef uint64_t moved  # TSC of the last move
    cdef int failed_spins
    cdef bint spin
    cdef uint64_t no_spin_until
    cdef bint crowd
    cdef double late  # ticks from a doorbell to the dispatcher in a crowd, on average
    cdef uint64_t crowded, no_crowd_until  # TSC of the last change; of when there may be one
    cdef object stub_path
    cdef uint64_t seed_tsc
    cdef int64_t seed_ns

    cdef dispatch_t *dispatch

    cdef Nursery _new_nursery(self, Thread seed)
    cdef int _empty(self, Nursery nursery) except -1
    cdef bint _was_fresh(self, Thread thread) except -1
    cdef int _bury(self) except -1
    cdef Nursery _hungry(self)
    cdef bint _hungry_later(self) except -1
    cdef bint _find_clocks(self, uint64_t host) except -1
    cdef int _crowd(self, bint crowd) except -1
    cdef int _take(self, int index) except -1
    cdef int _handle(self, Thread thread) except -1
    cdef int _look(self, uint64_t ticks) except -1
    cdef int _poll(self, int64_t timeout) except -1
    cdef int _check(self) except -1
    cdef int _run_later(self) except -1
    cdef int _tune(self) except -1
    cdef int _settle(self) except -1
    cdef bint _granting(self) noexcept
    cdef int _measured(self, double ticks) except -1
    cdef int _sleep(self, int64_t limit) except -1
    cdef int _roam(self) except -1
    cdef int _spread(self) except -1
