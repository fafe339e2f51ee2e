"""Fast twins of sys_poll.py, where something is ready or nothing is to be waited for, and of sys_epoll.py."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLEEPS, SLOW, GuestThread
from sentry.fs.epoll cimport EpollFile
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.vfs.file cimport File

from sentry.core.result import BLOCKED
from sentry.syscalls.sys_epoll import CARRIED_EVENTS, wait_for_events
from sentry.syscalls.sys_poll import CARRIED

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
    EPOLL_CTL_ADD = 1
    EPOLL_CTL_DEL = 2
    EPOLL_CTL_MOD = 3
    EPOLLEXCLUSIVE = 1 << 28

cdef uint32_t MOST_POLLED = min(CARRIED, MOST)
cdef int MOST_EVENTS = CARRIED_EVENTS

cdef struct pollfd:
    int fd
    unsigned short events
    unsigned short revents


cdef long poll(object task, GuestThread thread) except? -9001:
    cdef Task t = <Task?>task
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
    if not found and <int>thread.a[2]:
        return SLOW
    memcpy(memory, fds, sizeof(pollfd) * count)
    thread.wrote(0, sizeof(pollfd) * count)
    return found


cdef long epoll_wait(object task, GuestThread thread) except? -9001:
    cdef int limit = <int>thread.a[2]
    cdef File file
    cdef EpollFile epoll
    cdef char *memory
    cdef list found
    cdef tuple event
    cdef uint32_t bits
    cdef uint64_t data
    cdef long n = 0
    cdef int timeout
    if not 0 < limit <= MAX_EVENTS:
        return -EINVAL
    file = (<Task?>task).files.get(<int>thread.a[0])
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is not EpollFile:
        return -EINVAL
    epoll = <EpollFile?>file
    if limit > MOST_EVENTS:
        limit = MOST_EVENTS
    memory = thread.output(1, EVENT_SIZE * limit)
    if memory == NULL or (limit == MOST_EVENTS and len(epoll.ready) > limit):
        return SLOW
    found = epoll.collect(limit) if epoll.ready else None
    if not found:
        timeout = <int>thread.a[3]
        if not timeout:
            return 0
        if timeout < 0:
            result = wait_for_events(task, epoll, thread.a[1], <int>thread.a[2], None)
        else:
            result = wait_for_events(task, epoll, thread.a[1], <int>thread.a[2], <long long>timeout * 1000000)
        return SLEEPS if result == BLOCKED else <long>result
    for event in found:
        bits = event[0]
        data = event[1]
        memcpy(memory + EVENT_SIZE * n, &bits, 4)
        memcpy(memory + EVENT_SIZE * n + 4, &data, 8)
        n += 1
    thread.wrote(1, EVENT_SIZE * n)
    return n


cdef long epoll_ctl(object task, GuestThread thread) except? -9001:
    cdef int op = <int>thread.a[1], fd = <int>thread.a[2]
    cdef const char *carried
    cdef uint32_t events
    cdef uint64_t data
    cdef File watcher = (<Task?>task).files.get(<int>thread.a[0])
    cdef File file = (<Task?>task).files.get(fd)
    if watcher is None or file is None or (watcher.flags | file.flags) & O_PATH or type(watcher) is not EpollFile or file.queue is None:
        return SLOW
    if op == EPOLL_CTL_DEL:
        return (<EpollFile?>watcher).delete(file, fd)
    carried = thread.input(3, EVENT_SIZE)
    if carried == NULL or type(file) is EpollFile or not (op == EPOLL_CTL_ADD or op == EPOLL_CTL_MOD):
        return SLOW
    memcpy(&events, carried, 4)
    memcpy(&data, carried + 4, 8)
    if events & EPOLLEXCLUSIVE:
        return SLOW
    if op == EPOLL_CTL_ADD:
        return (<EpollFile?>watcher).add(file, fd, events, data)
    return (<EpollFile?>watcher).modify(file, fd, events, data)


fast("poll", poll)
fast("epoll_ctl", epoll_ctl)
fast("epoll_wait", epoll_wait)
