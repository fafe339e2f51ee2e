from libc.stdint cimport uint64_t

cdef enum:
    SLOTS = 513  # one a system call number, the last for numbers outside the table
    BINS = 40  # bin n of a histogram: below 2**n ticks, at least 2**(n-1)
    STAGES = 4

cpdef void called(long nr) noexcept
cdef void answered_fast(long nr) noexcept
cpdef void waited(long nr) noexcept


cdef class Profile:
    cdef uint64_t began  # TSC when the event at hand was seen
    cdef uint64_t answered  # when its handler had answered
    cdef uint64_t looked  # when the look for events began
    cdef uint64_t first_tick, first_ns
    cdef uint64_t counts[STAGES][BINS]
    cdef uint64_t sums[STAGES]  # ticks
    cdef uint64_t calls[SLOTS]  # by number: handlers run, and their ticks
    cdef uint64_t ticks[SLOTS]

    cdef void add(self, int stage, uint64_t ticks) noexcept
    cpdef void begin(self) noexcept
    cpdef void handled(self, long nr) noexcept
    cpdef void replied(self) noexcept
    cpdef void look(self) noexcept
    cpdef void found(self) noexcept
