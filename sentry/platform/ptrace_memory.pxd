from libc.stdint cimport uint64_t


cdef object read_guest(int tid, where, Py_ssize_t length, bint partial)
cdef Py_ssize_t write_guest(int tid, where, data, bint partial) except -1
cdef bytes read_above(int tid, uint64_t addr, size_t length)
