"""User notifications of seccomp (seccomp_unotify(2)): a supervisor reads from the listener's descriptor which calls wait for
it, and says what they answer."""

import os
from struct import pack, unpack

from sentry.abi.errno import EBADF, EFAULT, EINPROGRESS, EINVAL, EMFILE, ENOENT, ENOSYS, ENOTCONN, ENOTTY
from sentry.core.result import BLOCKED
from sentry.core.syscall import NR_MAX, TABLE
from sentry.core.waitq import Wait, WaitEntry, WaitQueue
from sentry.fs.anon import ANON_INODE, AnonFile
from sentry.kernel.hooks import TASK_EXIT
from sentry.kernel.task import RLIMIT_NOFILE
from sentry.platform.base import MemFault
from sentry.vfs.file import O_CLOEXEC, O_RDWR, POLL_READABLE, POLL_WRITABLE, POLLHUP

RECV, SEND, ID_VALID, ID_VALID_OLD, ADDFD, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x80082102, 0x40182103, 0x40082104
ADDFD_NUMBER = 0x40002103  # ADDFD without its size
NOTIF_SIZE, ADDFD_SIZE, SIZE_MAX = 80, 24, 4096
CONTINUE = 1
ADDFD_SETFD, ADDFD_SEND = 1, 2
SYNC_WAKE_UP = 1
INIT, SENT, REPLIED = range(3)
AUDIT_ARCH_X86_64 = 0xC000003E
MASK64 = (1 << 64) - 1
LIMIT = 1 << 63


class Notification(Wait):
    """A call that waits for the supervisor, and its task's wait."""

    __slots__ = ("listener", "id", "task", "data", "state", "value", "error", "flags", "queue", "killable")

    def __init__(self, listener, id_, task, data, queue):
        self.listener, self.id, self.task, self.data = listener, id_, task, data
        self.state = INIT
        self.value = self.error = self.flags = 0
        self.queue = queue
        self.killable = False

    def reply(self, value, error, flags) -> None:
        self.state, self.value, self.error, self.flags = REPLIED, value, error, flags
        self.queue.wake()

    def poll(self, t):
        if self.state != REPLIED:
            return BLOCKED
        if not self.flags & CONTINUE:
            return self.error or self.value
        nr = t.thread.nr
        row = TABLE[nr] if 0 <= nr < NR_MAX else None
        return -ENOSYS if row is None else row.call(t, t.thread.args)

    def release(self, t):
        self.listener.waiting.pop(self.id, None)


class Receive(Wait):
    """A supervisor waits for a notification."""

    __slots__ = ("listener", "addr")

    def __init__(self, listener, addr):
        self.listener = listener.incref()
        self.addr = addr

    def poll(self, t):
        return self.listener.receive(t, self.addr)

    def release(self, t):
        self.listener.decref()


class Listener(AnonFile):
    """The descriptor. `filter`: that of SECCOMP_FILTER_FLAG_NEW_LISTENER; patient: with WAIT_KILLABLE_RECV, a call whose
    notification has been received is interrupted by the end of its task only."""

    __slots__ = ("kernel", "filter", "patient", "next_id", "waiting")

    def __init__(self, kernel, filter_, patient):
        AnonFile.__init__(self, O_RDWR, ANON_INODE, None, WaitQueue())
        self.kernel = kernel
        self.filter = filter_
        self.patient = patient
        self.next_id = int.from_bytes(os.urandom(8), "little")
        self.waiting = {}  # id -> Notification
        filter_.listener = self

    def anon_name(self):
        return b"anon_inode:seccomp notify"

    def release(self):
        self.filter.listener = None
        for one in tuple(self.waiting.values()):
            if one.state != REPLIED:
                one.reply(0, -ENOSYS, 0)

    # -- the supervised
    def ask(self, task, thread):
        """A call of `task` is to be decided. BLOCKED, or what an interruption answers."""
        data = pack("<iIQ6Q", thread.nr, AUDIT_ARCH_X86_64, thread.regs.rip, *thread.args)
        queue = WaitQueue()
        one = Notification(self, self.next_id, task, data, queue)
        self.next_id = self.next_id + 1 & MASK64
        self.waiting[one.id] = one
        result = task.block(one, queue)
        self.queue.wake(POLL_READABLE)
        return result

    def in_use(self) -> bool:
        """Does any task have the filter?"""
        return any(task.seccomp is not None and not task.dying and task.seccomp.descends_from(self.filter) for task in self.kernel.all_tasks())

    # -- the supervisor
    def poll(self):
        bits = 0
        for one in self.waiting.values():
            bits |= POLL_READABLE if one.state == INIT else POLL_WRITABLE if one.state == SENT else 0
        return bits | (0 if self.in_use() else POLLHUP)

    def ioctl(self, t, cmd, arg):
        if cmd == RECV:
            if any(t.read(arg, NOTIF_SIZE)):
                return -EINVAL
            result = self.receive(t, arg)
            return t.block(Receive(self, arg), exclusive_entry(t, self.queue)) if result == BLOCKED else result
        if cmd == SEND:
            return self.send(*unpack("<QqiI", t.read(arg, 24)))
        if cmd == ID_VALID or cmd == ID_VALID_OLD:
            one = self.waiting.get(int.from_bytes(t.read(arg, 8), "little"))
            return 0 if one is not None and one.state == SENT else -ENOENT
        if cmd == SET_FLAGS:
            return -EINVAL if arg & ~SYNC_WAKE_UP else 0
        if cmd & ~(0x3FFF << 16) == ADDFD_NUMBER:
            return self.add_fd(t, arg, cmd >> 16 & 0x3FFF)
        return -ENOTTY

    def receive(self, t, addr):
        one = next((one for one in self.waiting.values() if one.state == INIT), None)
        if one is None:
            return BLOCKED if self.in_use() else -ENOTCONN
        try:
            t.write(addr, pack("<QII", one.id, one.task.tid, 0) + one.data)
        except MemFault:
            return -EFAULT
        one.state = SENT
        one.killable = self.patient
        self.queue.wake(POLL_WRITABLE)
        return 0

    def send(self, id_, value, error, flags):
        if flags & ~CONTINUE or (flags & CONTINUE and (error or value)):
            return -EINVAL
        one = self.waiting.get(id_)
        if one is None:
            return -ENOENT
        if one.state != SENT:
            return -EINPROGRESS
        one.reply(value, error, flags)
        return 0

    def add_fd(self, t, addr, size):
        if size < ADDFD_SIZE or size > SIZE_MAX:
            return -EINVAL
        id_, flags, source, number, newfd_flags = unpack("<QIIII", t.read(addr, ADDFD_SIZE))
        if newfd_flags & ~O_CLOEXEC or flags & ~(ADDFD_SETFD | ADDFD_SEND) or (number and not flags & ADDFD_SETFD):
            return -EINVAL
        file = t.files.get(source)
        if file is None:
            return -EBADF
        one = self.waiting.get(id_)
        if one is None:
            return -ENOENT
        if one.state != SENT:
            return -EINPROGRESS
        target, limit = one.task, one.task.rlimit(RLIMIT_NOFILE)
        if flags & ADDFD_SETFD:
            if number >= limit:
                return -EBADF
            old = target.files.set(number, file.incref(), bool(newfd_flags))
            if old is not None:
                target.files.closed(target, old)
        else:
            number = target.files.install(file.incref(), limit, bool(newfd_flags))
            if number < 0:
                file.decref()
                return -EMFILE
        if flags & ADDFD_SEND:
            one.reply(number, 0, 0)
        return number


def exclusive_entry(t, queue) -> WaitEntry:
    """A place in the queue: one supervisor is woken for each notification."""
    entry = WaitEntry(t, POLL_READABLE | POLLHUP, True)
    queue.add(entry)
    return entry


def has_listener(chain) -> bool:
    """Has a filter of the chain a listener already?"""
    while chain is not None:
        if chain.listener is not None:
            return True
        chain = chain.previous
    return False


def task_ends(task) -> None:
    """The last task that a listener is about may be going."""
    chain = task.seccomp
    while chain is not None:
        if chain.listener is not None:
            chain.listener.queue.wake(POLLHUP)
        chain = chain.previous


TASK_EXIT.append(task_ends)
