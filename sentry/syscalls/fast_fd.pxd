"""Types of fast_fd.pyx."""

from sentry.kernel.task cimport Task
from sentry.vfs.file cimport File

cdef bint droppable(File file) noexcept
cdef int drop(Task task, File file) except -1
