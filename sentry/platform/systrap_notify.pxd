from sentry.platform.systrap_thread cimport Registry


cdef int notified(Registry host) except -1
cdef int end_doomed(Registry host) except -1
