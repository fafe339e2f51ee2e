from libc.stdint cimport uint64_t

# base.OP_*
cdef enum:
    OP_MMAP_ANON = 1
    OP_MMAP_FD = 2
    OP_MUNMAP = 3
    OP_MPROTECT = 4
    OP_MADVISE = 5
    OP_MREMAP = 6
    OP_WRITE = 7
    OP_ZERO = 8
    OP_POKE = 9
    OP_SAVE_FP = 10
    OP_REFUSED = 255  # unknown to the stub: EINVAL


cdef class HostFd:
    cdef int fd


cdef bytes vm_read(int pid, uint64_t addr, uint64_t length, bint whole)
cdef bytes vm_cstr(int pid, uint64_t addr, uint64_t limit)
cdef long vm_write(int pid, uint64_t addr, data, bint whole) except -1
cdef list translate(list ops, long long kept, bint *uses_slot)
