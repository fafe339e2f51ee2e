"""System V message queues (msgop(2), ipc/msg.c). A receiver that waits stands in the queue's list: a sender gives it a message
directly. Senders that wait try again when there is room."""

from time import time

from sentry.abi.errno import E2BIG, EACCES, EIDRM, ENOMSG, ERESTARTNOHAND
from sentry.core.result import BLOCKED
from sentry.core.waitq import Wait, WaitQueue
from sentry.kernel import ipc

MSGMNI, MSGMAX, MSGMNB = ipc.MAX_OF_KIND, 8192, 16384
MSG_NOERROR, MSG_EXCEPT, MSG_COPY = 0o10000, 0o20000, 0o40000
LONG_MAX = (1 << 63) - 1

TABLE = ipc.Table(MSGMNI)


class Message:
    __slots__ = ("type", "data")

    def __init__(self, type_: int, data: bytes):
        self.type = type_
        self.data = data


class Queue(ipc.Object):
    """`senders`: those that wait for room; `receivers`: ReceiveWait, in order of arrival."""

    def __init__(self, t, number, key, mode):
        ipc.Object.__init__(self, t, number, key, mode)
        self.messages = []
        self.bytes = 0
        self.limit = MSGMNB
        self.lspid = self.lrpid = 0
        self.stime = self.rtime = 0
        self.senders = WaitQueue()
        self.receivers = []

    def has_room(self, size: int) -> bool:
        return self.bytes + size <= self.limit and len(self.messages) + 1 <= self.limit

    def put(self, t, message: Message) -> None:
        """To the first receiver that waits for it, else into the queue."""
        self.lspid = t.tg.pid
        self.stime = int(time())
        for wait in tuple(self.receivers):
            if not matches(message.type, wait.type, wait.flags):
                continue
            if len(message.data) > wait.size and not wait.flags & MSG_NOERROR:
                wait.finish(-E2BIG)
                continue
            self.lrpid = wait.task.tg.pid
            self.rtime = self.stime
            wait.finish(message)
            return
        self.messages.append(message)
        self.bytes += len(message.data)

    def find(self, wanted: int, flags: int) -> "Message | None":
        if flags & MSG_COPY:
            return self.messages[wanted] if 0 <= wanted < len(self.messages) else None
        found = [message for message in self.messages if matches(message.type, wanted, flags)]
        return (min(found, key=lambda message: message.type) if wanted < 0 else found[0]) if found else None

    def take(self, t, message: Message) -> None:
        self.messages.remove(message)
        self.bytes -= len(message.data)
        self.rtime = int(time())
        self.lrpid = t.tg.pid
        self.senders.wake()

    def remove(self) -> None:
        TABLE.remove(self)
        for wait in tuple(self.receivers):
            wait.finish(-EIDRM)
        self.senders.wake()

    def controlled(self) -> None:
        """IPC_SET: who waits must ask anew."""
        for wait in tuple(self.receivers):
            if not self.permits(wait.task.creds, 0o444):
                wait.finish(-EACCES)
        self.senders.wake()


def matches(type_: int, wanted: int, flags: int) -> bool:
    """Is a message of this type what msgrcv(2) asks for?"""
    if wanted == 0:
        return True
    if wanted < 0:
        return type_ <= min(-wanted, LONG_MAX)
    return (type_ == wanted) != bool(flags & MSG_EXCEPT)


class SendWait(Wait):
    __slots__ = ("queue", "message")
    restart = -ERESTARTNOHAND

    def __init__(self, queue, message):
        self.queue = queue
        self.message = message

    def poll(self, t):
        return send(t, self.queue, self.message)


def send(t, queue: Queue, message: Message) -> int:
    """msgsnd(2): 0, BLOCKED if there is no room, -errno."""
    if queue.removed:
        return -EIDRM
    if not queue.permits(t.creds, 0o222):
        return -EACCES
    if not queue.has_room(len(message.data)):
        return BLOCKED
    queue.put(t, message)
    return 0


class ReceiveWait(Wait):
    """`addr`: of the guest's struct msgbuf."""

    __slots__ = ("queue", "task", "addr", "size", "type", "flags", "result")
    restart = -ERESTARTNOHAND

    def __init__(self, queue, t, addr, size, type_, flags):
        self.queue = queue
        self.task = t
        self.addr = addr
        self.size = size
        self.type = type_
        self.flags = flags
        self.result = None
        queue.receivers.append(self)

    def finish(self, result) -> None:
        self.result = result
        self.queue.receivers.remove(self)
        self.task.woken(None, 0)

    def poll(self, t):
        result = self.result
        if result is None:
            return BLOCKED
        return result if isinstance(result, int) else deliver(t, self.addr, self.size, result)

    def interrupted(self, t):
        return self.restart if self.result is None else self.poll(t)

    def release(self, t):
        if self in self.queue.receivers:
            self.queue.receivers.remove(self)


def deliver(t, addr: int, size: int, message: Message) -> int:
    data = message.data[:size]
    t.write(addr, message.type.to_bytes(8, "little"))
    if data:
        t.write(addr + 8, data)
    return len(data)


def receive(t, queue: Queue, addr: int, size: int, wanted: int, flags: int):
    """msgrcv(2) from a queue that permits it; what a handler answers."""
    message = queue.find(wanted, flags)
    if message is None:
        if flags & ipc.IPC_NOWAIT:
            return -ENOMSG
        return t.block(ReceiveWait(queue, t, addr, size, wanted, flags))
    if len(message.data) > size and not flags & MSG_NOERROR:
        return -E2BIG
    if not flags & MSG_COPY:
        queue.take(t, message)
    return deliver(t, addr, size, message)


def get(t, key: int, flags: int) -> int:
    """msgget(2): an id or -errno."""
    return TABLE.open(t, key, flags, lambda found: True, lambda number: Queue(t, number, key, flags & 0o777))
