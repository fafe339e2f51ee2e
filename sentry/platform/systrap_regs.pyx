"""The registers of a guest thread (base.Regs), laid out as the stub has them."""

from libc.stdint cimport uint64_t

from sentry.platform.systrap_host cimport NREGS


cdef class Regs:
    def copy(self):
        """All registers as a tuple, in the order of base.Regs."""
        cdef uint64_t *r = &self.r15
        cdef int i
        return tuple([r[i] for i in range(NREGS)])

    def load(self, values):
        cdef uint64_t *r = &self.r15
        cdef int i
        if len(values) != NREGS:
            raise ValueError("wrong number of registers")
        for i in range(NREGS):
            r[i] = values[i]
