from libc.stdint cimport uint64_t


cdef class Regs:
    cdef uint64_t[27] u  # user_regs_struct
    cdef int tid
    cdef bint valid
    cdef bint dirty

    cdef void fetch(self) noexcept
