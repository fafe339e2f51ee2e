"""Fast twins of sys_futex.py: WAIT and WAKE on private words."""

from libc.stdint cimport uint32_t, uint64_t
from cpython.ref cimport PyObject

from sentry.core.guest cimport SLOW, GuestThread
from sentry.kernel.futex cimport FutexWait, Waiter
from sentry.kernel.kernel cimport Kernel
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast, now, sleep_until

from sentry.kernel import clocks
from sentry.kernel.futex import wake_key

cdef enum:
    EAGAIN = 11
    EFAULT = 14
    EINVAL = 22
    FUTEX_WAIT = 0
    FUTEX_WAKE = 1
    FUTEX_WAIT_BITSET = 9
    FUTEX_WAKE_BITSET = 10
    FUTEX_PRIVATE = 128
    FUTEX_CLOCK_REALTIME = 256

cdef enum:
    NSEC = 1000000000
    FAR = 1000000000  # seconds: more is left to others
    CLOCK_MONOTONIC = 1

cdef uint32_t MATCH_ANY = 0xFFFFFFFF


cdef long futex(object task, GuestThread thread) except? -9001:
    cdef uint64_t addr = thread.a[0]
    cdef int op = <int>thread.a[1]
    cdef uint32_t value = <uint32_t>thread.a[2]
    cdef int command = op & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME)
    cdef uint32_t bitset = MATCH_ANY, word = 0
    cdef long long times[2]
    cdef long long deadline = -1
    cdef Kernel kernel
    cdef FutexWait record
    cdef Waiter waiter
    cdef object key, queue
    cdef bint waits = command == FUTEX_WAIT or command == FUTEX_WAIT_BITSET
    if not op & FUTEX_PRIVATE or op & FUTEX_CLOCK_REALTIME:
        return SLOW
    if waits:
        if thread.a[3]:
            if thread.copy_in(times, thread.a[3], sizeof(times)) != sizeof(times):
                return SLOW
            if times[0] < 0 or not 0 <= times[1] < NSEC:
                return -EINVAL
            if times[0] > FAR:
                return SLOW
            deadline = times[0] * NSEC + times[1]
            deadline = deadline + now() if command == FUTEX_WAIT else <long long>clocks.deadline(CLOCK_MONOTONIC, deadline)
    elif command != FUTEX_WAKE and command != FUTEX_WAKE_BITSET:
        return SLOW
    if command == FUTEX_WAIT_BITSET or command == FUTEX_WAKE_BITSET:
        bitset = <uint32_t>thread.a[5]
    if not bitset or addr & 3:
        return -EINVAL
    if addr >> 47:
        return -EFAULT
    kernel = (<Task?>task).kernel
    key = (<size_t><PyObject *>(<Task?>task).mm, addr)
    if not waits:
        return wake_key(kernel, key, <int>value, bitset) if key in kernel.futexes else 0
    # Read here, not by the stub: whoever changes the word and wakes before we queue has to be noticed.
    if thread.copy_in(&word, addr, 4) != 4:
        return SLOW
    if word != value:
        return -EAGAIN
    record = FutexWait(task, None if deadline < 0 else deadline, (addr, value, bitset, True))
    waiter = Waiter(key, bitset, record)
    record.waiters.append(waiter)
    queue = kernel.futexes.get(key)
    if queue is None:
        kernel.futexes[key] = [waiter]
    else:
        (<list?>queue).append(waiter)
    return sleep_until(<Task?>task, record, None, deadline)


fast("futex", futex)
