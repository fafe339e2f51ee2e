"""The road of a system call through C: the platform hands each call to `serve`, which runs the call's fast handler
(core/guest.pxd) without a Python frame if it has one and nothing stands against it, else the plain one, as Kernel.serve
does it.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_Occurred
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.ref cimport Py_DECREF, PyObject

from sentry.core.counters cimport Profile, answered_fast, called, waited
from sentry.core.guest cimport NR_FAST, RAISED, SENT, SLEEPS, SLOW, GuestThread, dispatcher, fast_t, fast_table
from sentry.core.syscall cimport Row
from sentry.core.waitq cimport Wait, WaitEntry
from sentry.kernel.kernel cimport Kernel
from sentry.kernel.task cimport Task

from sentry.abi.errno import EFAULT, EIO
from sentry.core import log
from sentry.core.result import BLOCKED, SysErr
from sentry.core.syscall import TABLE
from sentry.platform.base import MemFault

cdef extern from "Python.h":
    PyObject *PyLong_FromLongLong(long long value)
    PyObject *PyLong_FromUnsignedLongLong(unsigned long long value)
    object PyObject_Vectorcall(PyObject *callable, PyObject **args, size_t n, PyObject *names)

ctypedef long (*raw_t)(object task, GuestThread thread) noexcept
ctypedef long (*raw_resume_t)(Wait wait, object task, GuestThread thread) noexcept

cdef Kernel KERNEL = None
cdef list ROWS = TABLE
cdef object READY = None  # Kernel.ready
cdef long long TIMERS = 0  # Timers.seq, as seen last
cdef bint COUNT_TRAPS = False  # calls that trapped are counted (kernel/patching.py), or may be a tracee's
cdef Profile PROFILE = None
cdef bint SHUT = False  # see `close`


cdef bint more() except -1:
    """Whether the kernel's own loop has something to do: tasks have been woken that only it can go on with, a timer has been
    set (the platform sleeps until the first of those that it knows of), or it shall end."""
    global TIMERS
    if READY:
        go_on()
    if KERNEL.timers.seq != TIMERS:
        TIMERS = KERNEL.timers.seq
        return True
    return KERNEL.stopping or bool(READY)


def go_on_all():
    """Kernel.go_on: see there."""
    go_on()


cdef int go_on() except -1:
    """Finish the calls of tasks that have been woken, up to the first that takes the kernel's loop."""
    cdef Task task
    cdef Wait wait
    cdef GuestThread thread
    cdef long result
    while READY:
        task = <Task?>READY[0]
        wait = task.wait
        if wait is None:
            READY.popleft()
            task.queued = False
            continue
        if wait.resume == NULL or task.work or task.ptrace is not None or SHUT or KERNEL.held or KERNEL.frozen is not None:
            return 0
        thread = <GuestThread?>task.thread
        if not thread.waits_plainly():
            return 0
        READY.popleft()
        task.queued = False
        result = (<raw_resume_t>wait.resume)(wait, task, thread)
        if result == SLEEPS:
            continue
        if result == SLOW:
            KERNEL.poll_wait(task)
            continue
        if result == RAISED and PyErr_Occurred() != NULL:
            result = failed(task, thread.nr)
        over(task, wait)
        if result == SENT:
            task.in_call = -1
        elif task.work:
            KERNEL.back_to_guest(task, result)
        else:
            task.in_call = -1
            thread.answer(result)
    return 0


cdef int over(Task task, Wait wait) except -1:
    """Kernel.end_wait, but for the answer."""
    cdef WaitEntry entry
    task.wait = None
    for item in wait.entries:
        entry = <WaitEntry?>item
        entry.remove()
    if wait.timer is not None:
        wait.timer.cancel()
    wait.release(task)
    return 0


cdef inline bint barred(Task task, long nr) noexcept:
    """Whether a seccomp filter has to be asked."""
    return task.barred != NULL and (not 0 <= nr < NR_FAST or task.barred[nr] != 0)


cdef int serve(GuestThread thread) except -1:
    """1: served; 2: served, and the kernel has more to do."""
    cdef fast_t handler = NULL
    cdef Task task = <Task?>thread.task
    cdef long result
    cdef bint trapped = COUNT_TRAPS and thread.trapped
    if trapped and task.ptrace is None:
        if KERNEL.count_trap(task, thread):
            return 2 if more() else 1
        trapped = False
    if 0 <= thread.nr < NR_FAST:
        handler = fast_table()[thread.nr]
    if handler == NULL or task.work or trapped or barred(task, thread.nr):
        return plain(task, thread, trapped)
    if PROFILE is not None:
        PROFILE.begin()
    result = (<raw_t>handler)(task, thread)
    if result == SLOW:
        return plain(task, thread, False)
    if result == RAISED and PyErr_Occurred() != NULL:
        result = failed(task, thread.nr)
    answered_fast(thread.nr)
    if PROFILE is not None:
        PROFILE.handled(thread.nr)
    if result == SLEEPS:
        task.in_call = thread.nr
        waited(thread.nr)
        thread.sleeps()
        return 2 if more() else 1
    if result != SENT:
        if task.work:
            return back(task, result)
        thread.answer(result)
    if PROFILE is not None:
        PROFILE.replied()
    return 2 if more() else 1


cdef int plain(Task task, GuestThread thread, bint trapped) except -1:
    """What Kernel.system_call does, which serves the rare cases: traced tasks, unknown calls, filters. trapped: the trap is still to
    be counted."""
    cdef object result
    cdef Row row
    cdef long value
    cdef int overflow = 0
    if trapped:
        KERNEL.system_call(task, thread)
    elif not 0 <= thread.nr < <long>len(ROWS) or ROWS[thread.nr] is None or barred(task, thread.nr):
        KERNEL.serve(task, thread)
    else:
        if PROFILE is not None:
            PROFILE.begin()
        called(thread.nr)
        task.in_call = thread.nr
        row = <Row?>ROWS[thread.nr]
        try:
            result = run(row, task, thread)
        except MemFault:
            result = -EFAULT
        except SysErr as error:
            result = -error.errno
        except Exception:
            log.exception(f"internal error serving call {task.in_call} of task {task.tid} ({task.comm!r})")
            result = -EIO
        if row.lasting:
            thread.remember(row.nr, result)
        if PROFILE is not None:
            PROFILE.handled(row.nr)
        value = PyLong_AsLongAndOverflow(result, &overflow)
        if overflow:  # BLOCKED or NO_RETURN
            if result == BLOCKED:
                waited(row.nr)
        elif task.work or KERNEL.held or KERNEL.frozen:
            KERNEL.back_to_guest(task, result)
        else:
            task.in_call = -1
            thread.answer_plain(value)
        if PROFILE is not None:
            PROFILE.replied()
    if task.wait is not None:
        thread.sleeps()
    return 2 if more() else 1


cdef object run(Row row, Task task, GuestThread thread):
    """Row.call."""
    cdef PyObject *args[7]
    cdef long i, n = 0
    cdef long count = row.count
    cdef const char *widths = PyBytes_AS_STRING(row.widths)
    args[0] = <PyObject *>task
    try:
        while n < count and n < 6:
            if widths[n] == b"U":
                args[n + 1] = PyLong_FromUnsignedLongLong(thread.a[n])
            elif widths[n] == b"i":
                args[n + 1] = PyLong_FromLongLong(<int>thread.a[n])
            elif widths[n] == b"u":
                args[n + 1] = PyLong_FromLongLong(<unsigned int>thread.a[n])
            else:
                args[n + 1] = PyLong_FromLongLong(<long long>thread.a[n])
            if args[n + 1] == NULL:
                raise MemoryError()
            n += 1
        return PyObject_Vectorcall(<PyObject *>row.fn, args, <size_t>(n + 1), NULL)
    finally:
        for i in range(n):
            Py_DECREF(<object>args[i + 1])


cdef int serve_plainly(GuestThread thread) except -1:
    return plain(<Task?>thread.task, thread, COUNT_TRAPS and thread.trapped)


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
    global KERNEL, READY, COUNT_TRAPS
    KERNEL = kernel
    READY = kernel.ready
    COUNT_TRAPS = kernel.patcher is not None
    if kernel.trace is None:
        dispatcher()[0] = serve
        kernel.go_on = go_on_all


def count_traps():
    """Calls that trap go to Kernel.system_call from now on."""
    global COUNT_TRAPS
    COUNT_TRAPS = True


def close(bint shut):
    """Whether every call goes to the plain handlers for the time being (a paused sandbox)."""
    global SHUT
    SHUT = shut
    if KERNEL.trace is None:
        dispatcher()[0] = serve_plainly if shut else serve


def remove():
    global KERNEL, READY
    KERNEL = READY = None
    dispatcher()[0] = NULL


def set_profile(profile):
    """Record the times of fast handlers in this counters.Profile; None: do not."""
    global PROFILE
    PROFILE = profile
