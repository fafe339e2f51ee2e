"""Types of seccomp_filter.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NUMBERS = 512


cdef struct seccomp_data:  # include/uapi/linux/seccomp.h
    uint32_t nr
    uint32_t arch
    uint64_t ip
    uint64_t args[6]


cdef class Filter:
    cdef readonly Filter previous
    cdef readonly int count  # filters of the chain
    cdef readonly int total  # instructions of the chain, as the kernel counts them for its limit
    cdef public object listener  # seccomp_notify.Listener that it tells of calls, or None
    cdef public bint logs  # SECCOMP_FILTER_FLAG_LOG
    cdef uint8_t barred[NUMBERS]  # per call number, for the chain: 0 allowed whatever its arguments, 1 to be decided

    cdef uint32_t result(self, const seccomp_data *data, bint *constant) except? 0xFFFFFFFF
    cdef int prepare(self) except -1
