"""Registration of fast handlers, by the name of the plain one."""

from sentry.core.guest cimport fast_t

cdef int fast(str name, fast_t handler) except -1
