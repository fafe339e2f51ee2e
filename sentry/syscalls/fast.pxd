"""Registration of fast handlers, by the name of the plain one."""

from sentry.core.guest cimport fast_t
from sentry.core.waitq cimport Wait, WaitQueue
from sentry.kernel.task cimport Task

cdef int fast(str name, fast_t handler) except -1
cdef long sleep(Task task, Wait wait, WaitQueue queue) except? -9001
