"""The time that files are stamped with: that of the last timer tick, as on Linux (ktime_get_coarse_real_ts64), so the
stamps of all operations are in one order, and cost a few nanoseconds."""

from posix.time cimport clock_gettime, timespec

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_REALTIME_COARSE


cdef long long file_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    return <long long>now.tv_sec * 1000000000 + now.tv_nsec


def file_time():
    """Now, for a file's times: ns since the epoch (int)."""
    return file_ns()
