from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class States:
    cdef uint8_t *area  # a regset, and room for the trailing magic
    cdef uint8_t *initial
    cdef size_t area_size
    cdef readonly uint32_t size  # of a signal frame image, without the trailing magic
    cdef uint64_t features
    cdef uint32_t mxcsr_mask

    cdef bint save(self, int tid)
    cdef void reset(self, int tid)
    cdef bint load(self, int tid, uint64_t addr)
    cdef bint put(self, int tid, uint32_t size)
    cdef bytes image(self, int tid)
    cdef int give(self, int tid, bytes image) except -1
