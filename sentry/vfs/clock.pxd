"""Times of files, for handlers in C."""

cdef long long file_ns() noexcept
