"""Fast handlers: C-level twins of plain ones for the common case (core/guest.pxd says what they may answer). They live
in the fast_*.pyx files of this folder, named after the sys_*.py whose calls they serve; each file registers its own, after the
plain ones (table.py)."""

from sentry.core.guest cimport fast_t, fast_table

from sentry.core.syscall import BY_NAME


cdef int fast(str name, fast_t handler) except -1:
    """The plain handler must be registered already: it is the call's meaning, and serves what the fast one leaves."""
    cdef int nr = BY_NAME[name].nr
    if fast_table()[nr] != NULL:
        raise ValueError(f"system call {name} has two fast handlers")
    fast_table()[nr] = handler
    return 0
