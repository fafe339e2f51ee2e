"""Types of syscall.py."""

cimport cython


@cython.final
cdef class Row:
    cdef public object name, level, note, fn
    cdef public long nr, count
    cdef public tuple args, convert
    cdef public bytes widths  # one of WIDTHS for each argument
    cdef public bint blocks, lasting

    @cython.locals(args=list, i=cython.long, v=object)
    cpdef call(self, object t, object raw)
