"""Fast twin of epoll_ctl (sys_epoll.py) for changes of what is watched already, and for additions of and removals of plain
files (no epoll instances)."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLOW, GuestThread
from sentry.fs.epoll cimport EpollFile, Item
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.vfs.file cimport File

cdef enum:
    EBADF = 9
    ENOENT = 2
    EPERM = 1
    EINVAL = 22
    O_PATH = 0o10000000
    CTL_ADD = 1
    CTL_DEL = 2
    CTL_MOD = 3
    EVENT_SIZE = 12
    ALWAYS = 0x18

cdef uint32_t EXCLUSIVE = <uint32_t>1 << 28


cdef long epoll_ctl(object task, GuestThread thread) except? -9001:
    cdef int op = <int>thread.a[1], fd = <int>thread.a[2]
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    cdef File target = (<Task?>task).files.get(fd)
    cdef EpollFile epoll
    cdef Item item
    cdef const char *memory = NULL
    cdef uint32_t events = 0
    cdef uint64_t data = 0
    cdef object found
    if op != CTL_DEL:
        memory = thread.input(3, EVENT_SIZE)
        if memory == NULL:
            return SLOW
        memcpy(&events, memory, 4)
        memcpy(&data, memory + 4, 8)
    if file is None or target is None or (file.flags | target.flags) & O_PATH:
        return -EBADF
    if target.queue is None:
        return -EPERM
    if file is target or type(file) is not EpollFile:
        return -EINVAL
    epoll = <EpollFile?>file
    if op == CTL_ADD:
        if events & EXCLUSIVE or type(target) is EpollFile:
            return SLOW
        return epoll.add(target, fd, events, data)
    found = epoll.items.get((target, fd))
    if found is None:
        return -ENOENT if op == CTL_MOD or op == CTL_DEL else -EINVAL
    item = <Item?>found
    if op == CTL_DEL:
        epoll.remove(item)
        return 0
    if op != CTL_MOD:
        return -EINVAL
    if (item.events | events) & EXCLUSIVE:
        return -EINVAL
    item.events = events | ALWAYS
    item.data = data
    item.entry.mask = item.events & 0xFFFF
    found = item.current()
    if found:
        item.woken(None, found)
    return 0


fast("epoll_ctl", epoll_ctl)
