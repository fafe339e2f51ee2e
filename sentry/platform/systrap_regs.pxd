from libc.stdint cimport uint64_t


cdef class Regs:
    cdef public uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
    cdef public uint64_t orig_rax, rip, rsp, eflags, fs_base, gs_base
