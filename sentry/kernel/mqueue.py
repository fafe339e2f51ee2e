"""POSIX message queues (mq_overview(7), ipc/mqueue.c). One table for the sandbox: it has one IPC namespace."""

from _collections import deque
from stat import S_IFREG

from sentry.abi import siginfo
from sentry.abi.errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EEXIST,
    EINVAL,
    EMFILE,
    EMSGSIZE,
    ENAMETOOLONG,
    ENOENT,
    ENOSPC,
    EPERM,
    ETIMEDOUT,
)
from sentry.abi.fs import MAY_READ, MAY_WRITE
from sentry.core.creds import CAP_FOWNER, CAP_SYS_RESOURCE
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait, WaitQueue
from sentry.fs.anon import AnonFS
from sentry.kernel import signals
from sentry.kernel.hooks import GROUP_EXIT
from sentry.kernel.task import RLIMIT_MSGQUEUE
from sentry.vfs.file import O_ACCMODE, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY, POLL_READABLE, POLL_WRITABLE, File
from sentry.vfs.perm import inode_permission

QUEUES_MAX, MSG_DEFAULT, MSGSIZE_DEFAULT, MSG_MAX, MSGSIZE_MAX = 256, 10, 8192, 10, 8192
HARD_MSG_MAX, HARD_MSGSIZE_MAX = 65536, 16 << 20
PRIO_MAX = 32768
NAME_MAX = 255
OVERHEAD = 128  # bytes that a message counts against RLIMIT_MSGQUEUE beside its data
NOBODY = None

MQUEUEFS = AnonFS("mqueue", 0x19800202)
QUEUES: "dict[bytes, Queue]" = {}
USED: "dict[int, int]" = {}  # uid -> bytes of RLIMIT_MSGQUEUE


class Queue:
    """`messages`: deques by priority; `readers`: WaitQueue-less list of those that wait, in order; `notice`: (tg, signal
    or 0, value, File) of mq_notify(3)."""

    def __init__(self, t, name, mode, maxmsg, msgsize):
        self.name = name
        self.inode = MQUEUEFS.inode(S_IFREG | mode, t.creds.fsuid, t.creds.fsgid)
        self.inode.size = 80  # of what a read tells
        self.maxmsg = maxmsg
        self.msgsize = msgsize
        self.messages = {}  # priority -> deque of bytes
        self.count = self.bytes = 0
        self.readers = []
        self.queue = WaitQueue()
        self.notice = NOBODY
        self.uid = t.creds.uid
        self.files = 0
        self.linked = True
        USED[self.uid] = USED.get(self.uid, 0) + self.charge()

    def charge(self) -> int:
        return charge(self.maxmsg, self.msgsize)

    def put(self, data: bytes, priority: int, t) -> None:
        """To the first reader that waits, else into the queue, which may be what somebody wants to be told of."""
        if self.readers:
            self.readers[0].finish((data, priority))
            return
        self.messages.setdefault(priority, deque()).append(data)
        self.count += 1
        self.bytes += len(data)
        if self.count == 1 and self.notice is not NOBODY:
            tg, signo, value, _ = self.notice
            self.notice = NOBODY
            if signo:
                signals.send(tg, signo, siginfo.queue(signo, siginfo.SI_MESGQ, t.tg.pid, t.creds.uid, value))
        self.queue.wake(POLL_READABLE)

    def take(self) -> "tuple[bytes, int]":
        priority = max(self.messages)
        waiting = self.messages[priority]
        data = waiting.popleft()
        if not waiting:
            del self.messages[priority]
        self.count -= 1
        self.bytes -= len(data)
        self.queue.wake(POLL_WRITABLE)
        return data, priority

    def drop(self) -> None:
        """It ends with its name and its last descriptor."""
        if not self.linked and not self.files:
            USED[self.uid] -= self.charge()

    def unlink(self) -> None:
        del QUEUES[self.name]
        self.linked = False
        self.drop()

    def status(self) -> bytes:
        tg, signo = self.notice[:2] if self.notice is not NOBODY else (None, 0)
        kind = 0 if tg is None or signo else 1
        return b"QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n" % (self.bytes, kind, signo, tg.pid if tg is not None else 0)


def charge(maxmsg: int, msgsize: int) -> int:
    return maxmsg * (msgsize + OVERHEAD)


class QueueFile(File):
    """A message queue descriptor."""

    __slots__ = ("mq",)

    def __init__(self, mq, flags):
        File.__init__(self, flags, mq.inode, None, mq.queue)
        self.mq = mq
        mq.files += 1

    def anon_name(self):
        return b"/" + self.mq.name

    def read(self, t, count, pos):
        at = self.pos if pos is None else pos
        data = self.mq.status()[at : at + count]
        if pos is None:
            self.pos += len(data)
        return data

    def write(self, t, data, pos):
        return -EINVAL

    def poll(self):
        mq = self.mq
        return (POLL_READABLE if mq.count else 0) | (POLL_WRITABLE if mq.count < mq.maxmsg else 0)

    def release(self):
        self.mq.files -= 1
        if self.mq.notice is not NOBODY and self.mq.notice[3] is self:
            self.mq.notice = NOBODY
        self.mq.drop()


class MqWait(Wait):
    __slots__ = ("mq", "result", "task")

    def timeout(self, t):
        return -ETIMEDOUT


class SendWait(MqWait):
    __slots__ = ("message",)

    def poll(self, t):
        if self.mq.count >= self.mq.maxmsg:
            return BLOCKED
        self.mq.put(*self.message, t)
        return 0


class ReceiveWait(MqWait):
    """`result`: the message, once somebody has sent one."""

    __slots__ = ("addr", "priority_addr")

    def finish(self, message) -> None:
        self.result = message
        self.mq.readers.remove(self)
        self.task.woken(None, 0)

    def poll(self, t):
        return BLOCKED if self.result is None else deliver(t, self.addr, self.priority_addr, self.result)

    def timeout(self, t):
        return -ETIMEDOUT if self.result is None else self.poll(t)

    def interrupted(self, t):
        return self.restart if self.result is None else self.poll(t)

    def release(self, t):
        if self in self.mq.readers:
            self.mq.readers.remove(self)


def deliver(t, addr, priority_addr, message) -> int:
    data, priority = message
    if priority_addr:
        t.write(priority_addr, priority.to_bytes(4, "little"))
    if data:
        t.write(addr, data)
    return len(data)


def open_queue(t, name: bytes, flags: int, mode: int, attributes: "tuple | None") -> "QueueFile | int":
    """mq_open(2): `name` without a slash in front; attributes: (longest, size of a message)."""
    if not name or b"/" in name or name in (b".", b".."):
        return -EACCES if name else -ENOENT
    if len(name) > NAME_MAX:
        return -ENAMETOOLONG
    mq = QUEUES.get(name)
    if mq is None:
        if not flags & O_CREAT:
            return -ENOENT
        mq = create(t, name, mode, attributes)
        if isinstance(mq, int):
            return mq
    else:
        if flags & O_CREAT and flags & O_EXCL:
            return -EEXIST
        access = flags & O_ACCMODE
        if access == O_ACCMODE:
            return -EINVAL
        wanted = (MAY_READ if access != O_WRONLY else 0) | (MAY_WRITE if access != O_RDONLY else 0)
        error = inode_permission(t.creds, mq.inode, wanted)
        if error:
            return error
    return QueueFile(mq, flags & (O_ACCMODE | O_NONBLOCK))


def create(t, name, mode, attributes) -> "Queue | int":
    privileged = t.creds.capable(CAP_SYS_RESOURCE)
    if len(QUEUES) >= QUEUES_MAX and not privileged:
        return -ENOSPC
    maxmsg, msgsize = attributes if attributes is not None else (MSG_DEFAULT, MSGSIZE_DEFAULT)
    most, largest = (HARD_MSG_MAX, HARD_MSGSIZE_MAX) if privileged else (MSG_MAX, MSGSIZE_MAX)
    if not 0 < maxmsg <= most or not 0 < msgsize <= largest:
        return -EINVAL
    if USED.get(t.creds.uid, 0) + charge(maxmsg, msgsize) > t.rlimit(RLIMIT_MSGQUEUE):
        return -EMFILE
    mq = QUEUES[name] = Queue(t, name, mode & 0o777 & ~t.fs.umask, maxmsg, msgsize)
    return mq


def unlink(t, name: bytes) -> int:
    mq = QUEUES.get(name)
    if mq is None:
        return -ENOENT if b"/" not in name else -EACCES
    # the directory is everybody's and sticky
    if t.creds.fsuid not in (0, mq.inode.uid) and not t.creds.capable(CAP_FOWNER):
        return -EPERM
    mq.unlink()
    return 0


def send(t, file: QueueFile, data: bytes, priority: int, deadline: "int | None"):
    mq = file.mq
    if mq.count >= mq.maxmsg:
        if file.flags & O_NONBLOCK:
            return -EAGAIN
        wait = SendWait()
        wait.mq, wait.task, wait.result, wait.message = mq, t, None, (data, priority)
        return t.block(wait, mq.queue, deadline=deadline)
    mq.put(data, priority, t)
    return 0


def receive(t, file: QueueFile, addr: int, size: int, priority_addr: int, deadline: "int | None"):
    mq = file.mq
    if size < mq.msgsize:
        return -EMSGSIZE
    if mq.count:
        return deliver(t, addr, priority_addr, mq.take())
    if file.flags & O_NONBLOCK:
        return -EAGAIN
    wait = ReceiveWait()
    wait.mq, wait.task, wait.result, wait.addr, wait.priority_addr = mq, t, None, addr, priority_addr
    mq.readers.append(wait)
    return t.block(wait, deadline=deadline)


def notify(t, file: QueueFile, notice: "tuple[int, int] | None") -> int:
    """mq_notify(2): notice is (signal, or 0 for none; value), or None to be told no more."""
    mq = file.mq
    if notice is None:
        if mq.notice is not NOBODY and mq.notice[0] is t.tg:
            mq.notice = NOBODY
        return 0
    if mq.notice is not NOBODY:
        return -EBUSY
    mq.notice = (t.tg, *notice, file)
    return 0


def exit_process(tg) -> None:
    for mq in QUEUES.values():
        if mq.notice is not NOBODY and mq.notice[0] is tg:
            mq.notice = NOBODY


GROUP_EXIT.append(exit_process)
