"""Types of memstat.py."""

cimport cython

from sentry.mm.vma cimport VMA


@cython.final
cdef class Sizes:
    cdef public long long total, resident, data, stack, text, library, shared, locked, swap

    @cython.locals(area=VMA, size=cython.longlong)
    cpdef count(self, mm)
