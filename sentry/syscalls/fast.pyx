"""Fast handlers: C-level twins of plain ones for the common case (core/guest.pxd says what they may answer). They live
in the fast_*.pyx files of this folder, named after the sys_*.py whose calls they serve; each file registers its own, after the
plain ones (table.py)."""

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from sentry.core.guest cimport SLEEPS, fast_t, fast_table
from sentry.core.waitq cimport Wait, WaitEntry, WaitQueue
from sentry.kernel.kernel cimport Kernel
from sentry.kernel.task cimport Task

from sentry.core.syscall import BY_NAME


cdef int fast(str name, fast_t handler) except -1:
    """The plain handler must be registered already: it is the call's meaning, and serves what the fast one leaves."""
    cdef int nr = BY_NAME[name].nr
    if fast_table()[nr] != NULL:
        raise ValueError(f"system call {name} has two fast handlers")
    fast_table()[nr] = handler
    return 0


cdef long long now() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec * <long long>1000000000 + t.tv_nsec


cdef long sleep_until(Task task, Wait wait, WaitEntry entry, long long deadline) except? -9001:
    """As `sleep`, with an entry that is in its queue already, or None, and a deadline (CLOCK_MONOTONIC, ns), -1: none."""
    wait.entries = []
    if entry is not None:
        wait.entries.append(entry)
    wait.timer = (<Kernel?>task.kernel).timers.add(deadline, task.timed_out) if deadline >= 0 else None
    task.wait = wait
    return SLEEPS


cdef long sleep(Task task, Wait wait, WaitQueue queue) except? -9001:
    """Task.block for a fast handler, which runs only where no signal is pending; `queue` may be None."""
    cdef WaitEntry entry
    wait.entries = []
    wait.timer = None
    if queue is not None:
        entry = WaitEntry(task)
        queue.add(entry)
        wait.entries.append(entry)
    task.wait = wait
    return SLEEPS
