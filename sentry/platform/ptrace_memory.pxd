from libc.stdint cimport uint64_t

cdef bint below_limit(uint64_t addr, uint64_t length) noexcept
cdef object read_guest(int tid, where, Py_ssize_t length, bint partial)
cdef Py_ssize_t write_guest(int tid, where, data, bint partial) except -1
