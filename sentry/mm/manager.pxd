"""Types of manager.py. Limits and lengths that a guest names stay Python ints; addresses that are in use fit into 63 bits."""

cimport cython

from sentry.mm.vma cimport VMA, VMAList


@cython.final
cdef class Pending:
    cdef public object task, start, end
    cdef public list ops
    cdef public object value, fresh, then


@cython.final
cdef class MM:
    cdef public object aspace
    cdef public int users
    cdef public VMAList vmas
    cdef public long long brk_start, brk, mmap_top, total, peak_total
    cdef public bint locked_future
    cdef public list pending, queue, first
    cdef public Pending silent
    cdef public object exe, auxv
    cdef public object start_stack, arg_start, arg_end, env_start, env_end, start_code, end_code, start_data, end_data
    cdef public int membarrier
    cdef public object patches
    cdef object __weakref__

    @cython.locals(new=MM, area=VMA, twin=VMA, vmas=VMAList)
    cpdef MM fork(self, aspace)

    cpdef map(self, area)

    @cython.locals(area=VMA)
    cpdef unmap(self, start, end)
