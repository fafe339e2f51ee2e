"""Registration of fast handlers, by the name of the plain one."""

from sentry.core.guest cimport fast_t
from sentry.core.waitq cimport Wait, WaitEntry, WaitQueue
from sentry.kernel.task cimport Task

cdef int fast(str name, fast_t handler) except -1
cdef long long now() noexcept  # CLOCK_MONOTONIC, ns
cdef long sleep_until(Task task, Wait wait, WaitEntry entry, long long deadline) except? -9001
cdef long sleep(Task task, Wait wait, WaitQueue queue) except? -9001
