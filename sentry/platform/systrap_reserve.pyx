"""A CPU for the dispatcher alone, while calls follow one another and guests with the dispatcher, or with other processes of the
machine, are more than the CPUs.

Where it shares its CPU with a guest, each call of that guest costs a sleep and two switches, and the guests elsewhere wait
meanwhile: threads that hand work to one another (a pipeline, a server and its client) are 3 to 6 times slower. With the guests
on the other CPUs none of that happens. Whether it pays is measured: the calls of a window with it against those of one without.
"""

from libc.stdint cimport uint64_t

from sentry.platform.systrap_host cimport CPU_CLR, CPU_COUNT, sh_allowed, sh_cpu, sh_move, sh_place

cdef double WINDOW = 4e6  # ns
cdef double DENSE = 12000  # ns between calls, on average, below which it may pay
cdef double SPARSE = 20000  # and above which it ends
cdef double GAIN = 1.15  # as many times the calls as without
cdef double STAY = 4e8  # ns until it is measured again
cdef double PAUSE = 5e7  # ns until the next trial, doubled after each in vain
cdef double LONGEST = 3.2e9
cdef int MOST = 64  # threads: all are moved
cdef double ASLEEP = 0.05  # share of calls whose stubs sleep when the answer comes, from which on others want the CPUs
cdef int TURNS = 16  # in a window; fewer are no hand-overs


cdef class Reserve:
    def __init__(self):
        sh_allowed(&self.allowed)
        self.per_ns = 0

    def start(self, double ticks_per_ns):
        """Before this nothing happens. ticks_per_ns: of the TSC."""
        self.per_ns = ticks_per_ns
        self.backoff = <uint64_t>(PAUSE * ticks_per_ns)

    cdef int weigh(self, dict threads, uint64_t now, bint short) except -1:
        """Now and then: whether to switch. threads: by id; short: at this moment more want to run than there are CPUs."""
        cdef uint64_t length = now - self.since
        cdef double rate
        cdef bint fit
        self.looks += 1
        self.short += short
        if not self.per_ns or length < <uint64_t>(WINDOW * self.per_ns):
            return 0
        rate = <double>self.calls / <double>length
        fit = self.short * 4 >= self.looks and self.turns >= <unsigned>TURNS or self.wakes > self.calls * ASLEEP
        fit = fit and rate * DENSE * self.per_ns > 1
        self.since = now
        self.calls = self.turns = self.wakes = self.looks = self.short = 0
        if self.settling and length < 2 * <uint64_t>(WINDOW * self.per_ns):
            self.settling = False
        elif self.on:
            if rate * SPARSE * self.per_ns < 1:
                self.not_before = now + <uint64_t>(PAUSE * self.per_ns)
                self.switch(threads, False)
            elif self.trial:
                self.trial = False
                self.until = now + <uint64_t>(STAY * self.per_ns)
                if rate < self.before * GAIN:
                    self.not_before = now + self.backoff
                    self.backoff = min(self.backoff * 2, <uint64_t>(LONGEST * self.per_ns))
                    self.switch(threads, False)
                else:
                    self.backoff = <uint64_t>(PAUSE * self.per_ns)
            elif now > self.until:
                self.switch(threads, False)
        elif fit and now >= self.not_before and len(threads) <= MOST:
            self.before = rate
            self.trial = True
            self.switch(threads, True)
        return 0

    cdef int switch(self, dict threads, bint on) except -1:
        cdef int cpu = sh_cpu()
        self.settling = True
        if on:
            self.others = self.allowed
            CPU_CLR(cpu, &self.others)
            if not CPU_COUNT(&self.others) or sh_move(cpu, &self.allowed):
                self.not_before = ~<uint64_t>0
                return 0
            self.used = True
        else:
            sh_move(-1, &self.allowed)
        self.on = on
        for tid in threads:
            self.place(tid)
        return 0

    cdef void place(self, int tid) noexcept:
        """Where this thread may run; a new one has what its maker had."""
        sh_place(tid, &self.others if self.on else &self.allowed)
