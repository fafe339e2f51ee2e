"""Counters of system calls, cheap enough to be always on, and where the time goes, when somebody asks.

`called` and `waited` are one increment each. A Profile exists only while profiling is switched on
(kernel/statistics.py); it reads the time stamp counter around each call and sorts the differences into
histograms whose bins double.
"""

from time import monotonic_ns

from libc.stdint cimport uint64_t


cdef extern from "<x86intrin.h>" nogil:
    uint64_t __rdtsc()
    int __builtin_clzll(unsigned long long)


# Stages of the dispatcher, as indices of a profile's histograms. (A cpdef enum would import `enum`.)
cdef enum:
    OF_HANDLER
    OF_REPLY
    OF_SERVED
    OF_WAIT

HANDLER = OF_HANDLER  # event seen -> the handler has answered
REPLY = OF_REPLY  # the handler has answered -> the stub has its reply
SERVED = OF_SERVED  # event seen -> the stub has its reply
WAIT = OF_WAIT  # one look for events, sleep included

cdef uint64_t call_counts[SLOTS]
cdef uint64_t wait_counts[SLOTS]
cdef uint64_t fast_counts[SLOTS]


cdef inline long slot(long nr) noexcept:
    return nr if 0 <= nr < SLOTS - 1 else SLOTS - 1


cpdef void called(long nr) noexcept:
    """A call with number `nr` has reached the dispatcher."""
    call_counts[slot(nr)] += 1


cdef void answered_fast(long nr) noexcept:
    """The same, and a fast handler has answered it."""
    call_counts[slot(nr)] += 1
    fast_counts[slot(nr)] += 1


cpdef void waited(long nr) noexcept:
    """The call with number `nr` could not be answered at once: its task waits."""
    wait_counts[slot(nr)] += 1


def counts():
    """[(number, calls, of them answered by fast handlers, waits)] of all numbers that were called; number -1 stands for
    those outside the table."""
    return [
        (nr if nr < SLOTS - 1 else -1, call_counts[nr], fast_counts[nr], wait_counts[nr]) for nr in range(SLOTS) if call_counts[nr]
    ]


cdef class Profile:
    """Histograms of the dispatcher's stages (Stage) and the handlers' time by number, since it was made."""

    def __init__(self):
        self.first_ns = monotonic_ns()
        self.first_tick = __rdtsc()

    cdef void add(self, int stage, uint64_t ticks) noexcept:
        cdef int bin = 0 if ticks == 0 else 64 - __builtin_clzll(ticks)
        self.counts[stage][bin if bin < BINS else BINS - 1] += 1
        self.sums[stage] += ticks

    cpdef void begin(self) noexcept:
        """A system call's event is at hand."""
        self.began = __rdtsc()

    cpdef void handled(self, long nr) noexcept:
        """Its handler has answered, or left the task waiting."""
        cdef uint64_t ticks
        self.answered = __rdtsc()
        ticks = self.answered - self.began
        self.add(OF_HANDLER, ticks)
        self.calls[slot(nr)] += 1
        self.ticks[slot(nr)] += ticks

    cpdef void replied(self) noexcept:
        """The guest thread goes on."""
        cdef uint64_t now = __rdtsc()
        self.add(OF_REPLY, now - self.answered)
        self.add(OF_SERVED, now - self.began)

    cpdef void look(self) noexcept:
        """The dispatcher turns to the platform for events."""
        self.looked = __rdtsc()

    cpdef void found(self) noexcept:
        """It has some, or a deadline has passed."""
        if self.looked:
            self.add(OF_WAIT, __rdtsc() - self.looked)

    def report(self):
        """(ticks per nanosecond, {stage: (histogram, sum of ticks)}, [(number, handlers run, ticks)])."""
        cdef uint64_t ns = monotonic_ns() - self.first_ns
        cdef uint64_t ticks = __rdtsc() - self.first_tick
        stages = {}
        for stage in range(STAGES):
            stages[stage] = ([self.counts[stage][bin] for bin in range(BINS)], self.sums[stage])
        calls = [(nr if nr < SLOTS - 1 else -1, self.calls[nr], self.ticks[nr]) for nr in range(SLOTS) if self.calls[nr]]
        return (ticks / ns if ns else 1.0), stages, calls
