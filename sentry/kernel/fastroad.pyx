"""The road of a system call without a Python frame: the platform hands each call to `serve`, which runs the call's fast
handler (core/guest.pxd) if it has one and nothing stands against it. Else the plain one serves it (kernel.py).
"""

from cpython.exc cimport PyErr_Occurred

from sentry.core.counters cimport Profile, called, waited
from sentry.core.guest cimport NR_FAST, RAISED, SENT, SLEEPS, SLOW, GuestThread, dispatcher, fast_t, fast_table
from sentry.kernel.task cimport Task

from sentry.abi.errno import EIO
from sentry.core import log

ctypedef long (*raw_t)(object task, GuestThread thread) noexcept

cdef object READY = None  # Kernel.ready
cdef bint COUNT_TRAPS = False  # calls that trapped are counted (kernel/patching.py)
cdef Profile PROFILE = None


cdef int serve(GuestThread thread) except -1:
    """0: not served; 1: served; 2: served, and tasks have been woken."""
    cdef fast_t handler
    cdef Task task
    cdef long result
    if not 0 <= thread.nr < NR_FAST:
        return 0
    handler = fast_table()[thread.nr]
    if handler == NULL:
        return 0
    task = <Task?>thread.task
    if task.work or (COUNT_TRAPS and thread.trapped):
        return 0
    if PROFILE is not None:
        PROFILE.begin()
    # Without Cython's own check after the call: a value may equal RAISED only by accident of a handler's.
    result = (<raw_t>handler)(task, thread)
    if result == SLOW:
        return 0
    if result == RAISED and PyErr_Occurred() != NULL:
        result = failed(task, thread.nr)
    called(thread.nr)
    if PROFILE is not None:
        PROFILE.handled(thread.nr)
    if result == SLEEPS:
        task.in_call = thread.nr
        waited(thread.nr)
        thread.sleeps()
        return 2 if READY else 1
    if result != SENT:
        if task.work:
            return back(task, result)
        thread.answer(result)
    if PROFILE is not None:
        PROFILE.replied()
    return 2 if READY else 1


cdef int back(Task task, long result) except -1:
    """The call itself has sent its caller a signal."""
    task.kernel.back_to_guest(task, result)
    return 2


cdef int reraise() except -1:
    return -1


cdef long failed(Task task, long nr) except? -1:
    try:
        reraise()
    except Exception:
        log.exception(f"internal error serving call {nr} of task {task.tid} ({task.comm!r})")
    return -EIO


def install(kernel):
    """From now on calls go the fast road to this kernel; not while they are traced."""
    global READY, COUNT_TRAPS
    READY = kernel.ready
    COUNT_TRAPS = kernel.patcher is not None
    if kernel.trace is None:
        dispatcher()[0] = serve


def remove():
    global READY
    READY = None
    dispatcher()[0] = NULL


def set_profile(profile):
    """Record the times of fast handlers in this counters.Profile; None: do not."""
    global PROFILE
    PROFILE = profile
