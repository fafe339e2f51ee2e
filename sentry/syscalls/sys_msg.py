"""System V message queues: msgget msgsnd msgrcv msgctl (msgop(2), msgctl(2))."""

from struct import Struct

from sentry.abi.errno import EACCES, EAGAIN, EINVAL, EPERM
from sentry.core.creds import CAP_SYS_RESOURCE
from sentry.core.result import BLOCKED
from sentry.core.syscall import Int, Long, Ptr, Size, syscall
from sentry.kernel import ipc, msg

MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
MSQID_DS = Struct(ipc.PERMISSIONS + "qqqQQQii16x")
MSGINFO = Struct("<7iH2x")
MTYPE = Struct("<q")


@syscall("msgget", 68, (Int, Int))
def sys_msgget(t, key, flags):
    return msg.get(t, key, flags)


@syscall("msgsnd", 69, (Int, Ptr, Size, Int), blocks=True)
def sys_msgsnd(t, number, addr, size, flags):
    (type_,) = MTYPE.unpack(t.read(addr, MTYPE.size))
    if size > msg.MSGMAX or number < 0 or type_ < 1:
        return -EINVAL
    message = msg.Message(type_, t.read(addr + MTYPE.size, size) if size else b"")
    queue = msg.TABLE.get(number)
    if queue is None:
        return -EINVAL
    result = msg.send(t, queue, message)
    if result is not BLOCKED:
        return result
    if flags & ipc.IPC_NOWAIT:
        return -EAGAIN
    return t.block(msg.SendWait(queue, message), queue.senders)


@syscall("msgrcv", 70, (Int, Ptr, Size, Long, Int), blocks=True)
def sys_msgrcv(t, number, addr, size, wanted, flags):
    if number < 0 or size >> 63:
        return -EINVAL
    if flags & msg.MSG_COPY and (flags & msg.MSG_EXCEPT or not flags & ipc.IPC_NOWAIT):
        return -EINVAL
    queue = msg.TABLE.get(number)
    if queue is None:
        return -EINVAL
    if not queue.permits(t.creds, 0o444):
        return -EACCES
    return msg.receive(t, queue, addr, size, wanted, flags)


def status(queue) -> bytes:
    return MSQID_DS.pack(
        *queue.permissions(), queue.stime, queue.rtime, queue.ctime, queue.bytes, len(queue.messages), queue.limit, queue.lspid, queue.lrpid
    )


@syscall("msgctl", 71, (Int, Int, Ptr))
def sys_msgctl(t, number, command, addr):
    if number < 0 or command < 0:
        return -EINVAL
    if command in (ipc.IPC_INFO, MSG_INFO):
        known = msg.TABLE.all()
        used = (msg.MSGMNI * msg.MSGMNB // 1024, msg.MSGMNB, msg.MSGMNB)
        if command == MSG_INFO:
            used = (len(known), sum(len(queue.messages) for queue in known), sum(queue.bytes for queue in known))
        t.write(addr, MSGINFO.pack(used[0], used[1], msg.MSGMAX, msg.MSGMNB, msg.MSGMNI, 16, used[2], 0xFFFF))
        return msg.TABLE.highest()
    if command in (ipc.IPC_STAT, MSG_STAT, MSG_STAT_ANY):
        queue = msg.TABLE.get(number) if command == ipc.IPC_STAT else msg.TABLE.at(number)
        if queue is None:
            return -EINVAL
        if command != MSG_STAT_ANY and not queue.permits(t.creds, 0o444):
            return -EACCES
        t.write(addr, status(queue))
        return 0 if command == ipc.IPC_STAT else queue.id
    if command not in (ipc.IPC_SET, ipc.IPC_RMID):
        return -EINVAL
    new = MSQID_DS.unpack(t.read(addr, MSQID_DS.size)) if command == ipc.IPC_SET else None
    queue = msg.TABLE.get(number)
    if queue is None:
        return -EINVAL
    if not queue.may_control(t.creds):
        return -EPERM
    if new is None:
        queue.remove()
        return 0
    limit = new[13]
    if limit > msg.MSGMNB and not t.creds.capable(CAP_SYS_RESOURCE):
        return -EPERM
    queue.limit = limit
    queue.set_permissions(new)
    queue.controlled()
    return 0
