"""Memory files in huge pages: whoever maps one pays for its pages in large pieces, when it touches and when it unmaps it."""

from libc.errno cimport errno
from libc.stdint cimport uintptr_t

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_READ, PROT_WRITE, PROT_NONE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED
    void *MAP_FAILED
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int madvise(void *addr, size_t length, int advice)

cdef enum:
    COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1
HUGE = 2 << 20


def collapse(int fd, size_t size):
    """Move the content of a memory file, `size` bytes, a multiple of HUGE, into huge pages. Returns 0, or a positive
    errno where the host cannot or has none; then the pages are small ones still."""
    cdef uintptr_t huge = HUGE, start
    cdef void *place
    cdef int error = 0
    place = mmap(NULL, size + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if place == MAP_FAILED:
        return errno
    start = (<uintptr_t>place + huge - 1) & ~(huge - 1)
    # Writable as well: only such a mapping may be collapsed where the file was not opened to be executed.
    if mmap(<void *>start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED:
        error = errno
    elif madvise(<void *>start, size, COLLAPSE) < 0:
        error = errno
    munmap(place, size + huge)
    return error
