"""Fast twins of sys_poll.py (select only where something is ready or nothing is to be waited for), and of sys_epoll.py."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from sentry.core.guest cimport SLEEPS, SLOW, GuestThread
from sentry.core.waitq cimport Wait, WaitEntry, WaitQueue
from sentry.fs.epoll cimport EpollFile, Item
from sentry.kernel.kernel cimport Kernel
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast, now, sleep_until
from sentry.syscalls.sys_epoll cimport EpollWait
from sentry.vfs.file cimport File

from sentry.fs import epoll as instances
from sentry.syscalls.sys_epoll import CARRIED_EVENTS
from sentry.syscalls.sys_poll import CARRIED, POLL_TIMESPEC, PollWait
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
    SELECT_IN = 0x1 | 0x40 | 0x80 | 0x10 | 0x8
    SELECT_OUT = 0x4 | 0x100 | 0x200 | 0x8
    SET_WORDS = 16
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

# ---------------------------------------------------------------- poll


cdef long poll(object task, GuestThread thread) except? -9001:
    cdef int timeout = <int>thread.a[2]
    cdef long result = look(<Task?>task, thread, timeout == 0)
    return result if result != SLEEPS else sleep_polling(<Task?>task, thread, timeout)


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
    cdef long result = look(<Task?>task, thread, thread.a[2] != 0)
    return SLOW if result == SLEEPS else result


cdef long look(Task t, GuestThread thread, bint at_once) except? -9001:
    """poll, if something is ready, or the call shall return `at_once`; else SLEEPS: it is to wait."""
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
        return SLEEPS
    memcpy(memory, fds, sizeof(pollfd) * count)
    thread.wrote(0, sizeof(pollfd) * count)
    return found


cdef long sleep_polling(Task t, GuestThread thread, int timeout) except? -9001:
    """PollWait of what `look` has found not to be ready."""
    cdef uint32_t count = <uint32_t>thread.a[1], i
    cdef const char *memory = thread.input(0, sizeof(pollfd) * count)
    cdef pollfd fds[MOST]
    cdef list files = [], asked = [], entries = []
    cdef File file
    cdef WaitEntry entry
    cdef Wait wait
    cdef long long end = 0
    if memory == NULL:
        return SLOW
    memcpy(fds, memory, sizeof(pollfd) * count)
    for i in range(count):
        file = t.files.get(fds[i].fd) if fds[i].fd >= 0 else None
        mask = fds[i].events | POLLERR | POLLHUP
        asked.append((fds[i].fd, fds[i].events - 0x10000 if fds[i].events & 0x8000 else fds[i].events))
        files.append((file, mask))
        if file is not None:
            file.refs += 1
            if file.queue is not None:
                entry = WaitEntry(t, mask)
                file.queue.add(entry)
                entries.append(entry)
    pending = PollWait()
    pending.addr, pending.left, pending.form, pending.restartable = thread.a[0], 0, POLL_TIMESPEC, True
    pending.fds, pending.files, pending.answer, pending.end = asked, files, None, None
    wait = <Wait?>pending
    wait.timer = None
    if timeout >= 0:
        end = now() + timeout * <long long>1000000
        pending.end = end
        wait.timer = (<Kernel?>t.kernel).timers.add(end, t.timed_out)
    wait.entries = entries
    wait.resume = poll_again
    t.wait = wait
    return SLEEPS


cdef long poll_again(Wait wait, object task, GuestThread thread) except? -9001:
    """PollWait.poll: of the files as they were when the call began."""
    cdef list files = wait.files
    cdef uint32_t count = <uint32_t>len(files), i
    cdef pollfd fds[MOST]
    cdef char *memory
    cdef File file
    cdef tuple pair
    cdef unsigned long bits
    cdef long found = 0
    if not 0 < count <= MOST_POLLED:
        return SLOW
    memory = thread.output(0, sizeof(pollfd) * count)
    if memory == NULL:
        return SLOW
    memcpy(fds, memory, sizeof(pollfd) * count)
    for i in range(count):
        pair = <tuple?>files[i]
        file = pair[0]
        bits = 0
        if file is not None:
            bits = <unsigned long>file.poll() & <unsigned long>pair[1]
        fds[i].revents = <unsigned short>bits
        if bits:
            found += 1
    if not found:
        return SLEEPS
    memcpy(memory, fds, sizeof(pollfd) * count)
    thread.wrote(0, sizeof(pollfd) * count)
    return found


# ---------------------------------------------------------------- select


cdef long select(object task, GuestThread thread) except? -9001:
    return look_sets(<Task?>task, thread, 1000000)


cdef long pselect6(object task, GuestThread thread) except? -9001:
    return SLOW if thread.a[5] else look_sets(<Task?>task, thread, 1000000000)


cdef long look_sets(Task t, GuestThread thread, long long second) except? -9001:
    """select, if something is ready or the timeout is zero. `second`: in units of the timeout's smaller part. No time passes
    then, so that stays as it is."""
    cdef int count = <int>thread.a[0], fd, k
    cdef uint64_t given[2][SET_WORDS]
    cdef uint64_t kept[2][SET_WORDS]
    cdef const char *memory
    cdef long long times[2]
    cdef size_t size
    cdef File file
    cdef unsigned long bits
    cdef uint64_t here
    cdef long found = 0
    cdef bint at_once = False
    if not 0 < count <= SET_WORDS * 64 or thread.a[3]:
        return SLOW
    size = (<size_t>count + 63) // 64 * 8
    if thread.a[4]:
        memory = thread.input(4, sizeof(times))
        if memory == NULL:
            return SLOW
        memcpy(times, memory, sizeof(times))
        if times[0] < 0 or not 0 <= times[1] < second:
            return SLOW
        at_once = not times[0] and not times[1]
    memset(given, 0, sizeof(given))
    memset(kept, 0, sizeof(kept))
    for k in range(2):
        if thread.a[k + 1]:
            memory = thread.input(k + 1, size)
            if memory == NULL:
                return SLOW
            memcpy(given[k], memory, size)
    for fd in range(count):
        if fd & 63 == 0 and not (given[0][fd >> 6] | given[1][fd >> 6]):
            continue
        here = <uint64_t>1 << (fd & 63)
        if not (given[0][fd >> 6] | given[1][fd >> 6]) & here:
            continue
        file = t.files.get(fd)
        if file is None or file.flags & O_PATH:
            return SLOW
        bits = <unsigned long>file.poll()
        if given[0][fd >> 6] & here and bits & SELECT_IN:
            kept[0][fd >> 6] |= here
            found += 1
        if given[1][fd >> 6] & here and bits & SELECT_OUT:
            kept[1][fd >> 6] |= here
            found += 1
    if not found and not at_once:
        return SLOW
    return put_sets(thread, given, kept, size, found)


cdef long put_sets(GuestThread thread, uint64_t[2][SET_WORDS] given, uint64_t[2][SET_WORDS] kept, size_t size, long found) noexcept:
    """What has changed of them: the last goes back with the answer."""
    cdef bint changed[2]
    cdef char *memory
    cdef int k
    for k in range(2):
        changed[k] = thread.a[k + 1] != 0 and memcmp(given[k], kept[k], size) != 0
    if changed[0] and changed[1]:
        if thread.copy_out(thread.a[1], kept[0], size) != <long>size:
            return SLOW
        changed[0] = False
    for k in range(2):
        if changed[k]:
            memory = thread.output(k + 1, size)
            if memory == NULL:
                return SLOW
            memcpy(memory, kept[k], size)
            thread.wrote(k + 1, size)
    return found


# ---------------------------------------------------------------- epoll


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
fast("select", select)
fast("pselect6", pselect6)
fast("epoll_wait", epoll_wait)
fast("epoll_pwait", epoll_pwait)
