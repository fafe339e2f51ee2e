"""Reading and writing of pipes, for fast_rw.pyx."""

from libc.stdint cimport uint64_t

from sentry.core.guest cimport GuestThread
from sentry.fs.pipe cimport PipeFile
from sentry.kernel.task cimport Task

# read(2) and write(2) of argument 1, `count` bytes (not 0).
cdef long read_pipe(Task task, PipeFile file, GuestThread thread, uint64_t count) except? -9001
cdef long write_pipe(Task task, PipeFile file, GuestThread thread, uint64_t count) except? -9001
