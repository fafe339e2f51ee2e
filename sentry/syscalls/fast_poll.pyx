"""Fast twins of sys_poll.py, where something is ready or nothing is to be waited for, and of sys_epoll.py."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLEEPS, SLOW, GuestThread
from sentry.core.waitq cimport Wait, WaitEntry, WaitQueue
from sentry.fs.epoll cimport EpollFile, Item
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast, now, sleep_until
from sentry.syscalls.sys_epoll cimport EpollWait
from sentry.vfs.file cimport File

from sentry.fs import epoll as instances
from sentry.syscalls.sys_epoll import CARRIED_EVENTS
from sentry.syscalls.sys_poll import CARRIED
from sentry.vfs.file import POLL_READABLE

cdef enum:
    EBADF = 9
    EINVAL = 22
    O_PATH = 0o10000000
    POLLERR = 0x8
    POLLHUP = 0x10
    POLLNVAL = 0x20
    RLIMIT_NOFILE = 7
    MOST = 32
    EVENT_SIZE = 12
    MAX_EVENTS = 178956970

cdef uint32_t MOST_POLLED = min(CARRIED, MOST)
cdef int MOST_EVENTS = CARRIED_EVENTS
cdef uint32_t ONESHOT = instances.EPOLLONESHOT, EDGE = instances.EPOLLET, PRIVATE = instances.PRIVATE_BITS
cdef unsigned long long POLLED = POLL_READABLE

cdef struct pollfd:
    int fd
    unsigned short events
    unsigned short revents


cdef long poll(object task, GuestThread thread) except? -9001:
    return look(<Task?>task, thread, <int>thread.a[2] == 0)


cdef long ppoll(object task, GuestThread thread) except? -9001:
    cdef const char *memory
    cdef long long times[2]
    if thread.a[3]:
        return SLOW
    if thread.a[2]:
        memory = thread.input(2, sizeof(times))
        if memory == NULL:
            return SLOW
        memcpy(times, memory, sizeof(times))
        if times[0] or times[1]:  # to be written back
            return SLOW
    return look(<Task?>task, thread, thread.a[2] != 0)


cdef long look(Task t, GuestThread thread, bint at_once) except? -9001:
    """poll, if something is ready, or the call shall return `at_once`."""
    cdef uint32_t count = <uint32_t>thread.a[1], i
    cdef pollfd fds[MOST]
    cdef char *memory
    cdef File file
    cdef unsigned long bits, wanted
    cdef long found = 0
    if not 0 < count <= MOST_POLLED or count > t.tg.rlimits[RLIMIT_NOFILE][0]:
        return SLOW
    memory = thread.output(0, sizeof(pollfd) * count)
    if memory == NULL:
        return SLOW
    memcpy(fds, memory, sizeof(pollfd) * count)  # a copy of our own: the guest can write to the other
    for i in range(count):
        bits = 0
        if fds[i].fd >= 0:
            file = t.files.get(fds[i].fd)
            if file is None or file.flags & O_PATH:
                bits = POLLNVAL
            else:
                wanted = fds[i].events | POLLERR | POLLHUP
                bits = <unsigned long>file.poll() & wanted
        fds[i].revents = <unsigned short>bits
        if bits:
            found += 1
    if not found and not at_once:
        return SLOW
    memcpy(memory, fds, sizeof(pollfd) * count)
    thread.wrote(0, sizeof(pollfd) * count)
    return found


cdef long gather(EpollFile epoll, char *memory, long limit) except -1:
    """EpollFile.collect, with the events in the form that the guest gets."""
    cdef dict ready = epoll.ready
    cdef list again = None
    cdef Item item
    cdef long bits, n = 0
    cdef uint32_t low
    cdef bint level = False
    cdef bint alone = len(ready) == 1
    for found in list(ready):
        if n >= limit:
            break
        item = <Item?>found
        bits = item.current()
        if bits and not item.events & (ONESHOT | EDGE):  # stays in the list, behind the others
            level = True
            if not alone:
                del ready[item]
                if again is None:
                    again = []
                again.append(item)
        else:
            del ready[item]
            if not bits:
                continue
            if item.events & ONESHOT:
                item.events &= PRIVATE
        low = <uint32_t>bits
        memcpy(memory + EVENT_SIZE * n, &low, 4)
        memcpy(memory + EVENT_SIZE * n + 4, &item.data, 8)
        n += 1
    if again is not None:
        for found in again:
            ready[found] = None
    if level and (<WaitQueue?>epoll.queue).entries:
        epoll.queue.wake(POLLED)
    return n


cdef long wait_events(Task t, GuestThread thread) except? -9001:
    cdef int limit = <int>thread.a[2], most
    cdef int timeout = <int>thread.a[3]  # ms
    cdef File file
    cdef EpollFile epoll
    cdef EpollWait wait
    cdef WaitEntry entry
    cdef char *memory
    cdef long n = 0
    if not 0 < limit <= MAX_EVENTS:
        return -EINVAL
    file = t.files.get(<int>thread.a[0])
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is not EpollFile:
        return -EINVAL
    epoll = <EpollFile?>file
    most = limit if limit < MOST_EVENTS else MOST_EVENTS
    memory = thread.output(1, EVENT_SIZE * most)
    if memory == NULL or (most < limit and len(epoll.ready) > most):
        return SLOW
    if epoll.ready:
        n = gather(epoll, memory, most)
    if n:
        thread.wrote(1, EVENT_SIZE * n)
    if n or timeout == 0:
        return n
    epoll.refs += 1
    wait = EpollWait(epoll, thread.a[1], limit)
    wait.resume = wait_again
    entry = WaitEntry(t, POLLED, True)
    epoll.queue.add(entry)
    return sleep_until(t, wait, entry, -1 if timeout < 0 else now() + timeout * <long long>1000000)


cdef long wait_again(Wait wait, object task, GuestThread thread) except? -9001:
    """EpollWait.poll."""
    cdef EpollFile epoll = (<EpollWait?>wait).epoll
    cdef int limit = <int>thread.a[2]
    cdef int most = limit if limit < MOST_EVENTS else MOST_EVENTS
    cdef char *memory = thread.output(1, EVENT_SIZE * most)
    cdef long n
    if memory == NULL or (most < limit and len(epoll.ready) > most):
        return SLOW
    n = gather(epoll, memory, most)
    if not n:
        return SLEEPS
    thread.wrote(1, EVENT_SIZE * n)
    return n


cdef long epoll_wait(object task, GuestThread thread) except? -9001:
    return wait_events(<Task?>task, thread)


cdef long epoll_pwait(object task, GuestThread thread) except? -9001:
    return SLOW if thread.a[4] else wait_events(<Task?>task, thread)


fast("poll", poll)
fast("ppoll", ppoll)
fast("epoll_wait", epoll_wait)
fast("epoll_pwait", epoll_pwait)
