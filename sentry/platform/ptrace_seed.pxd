cdef int checked(long result, str what) except -1
cdef int next_trap(int pid) except -1
