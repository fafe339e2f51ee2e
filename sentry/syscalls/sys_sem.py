"""System V semaphores: semget semop semtimedop semctl (semop(2), semctl(2))."""

from struct import Struct
from time import monotonic_ns, time

from sentry.abi.errno import E2BIG, EACCES, EINVAL, EPERM, ERANGE
from sentry.abi.time import FOREVER, get_timespec
from sentry.core.syscall import Int, Ptr, U32, ULong, syscall
from sentry.kernel import ipc, sem

GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL, SEM_STAT, SEM_INFO, SEM_STAT_ANY = range(11, 21)
SEMBUF = Struct("<Hhh")
SEMID_DS = Struct(ipc.PERMISSIONS + "q8xq8xQ16x")
SEMINFO = Struct("<10i")


@syscall("semget", 64, (Int, Int, Int))
def sys_semget(t, key, count, flags):
    return sem.get(t, key, count, flags)


@syscall("semop", 65, (Int, Ptr, U32), blocks=True)
def sys_semop(t, number, addr, count):
    return semop(t, number, addr, count, 0)


@syscall("semtimedop", 220, (Int, Ptr, U32, Ptr), blocks=True)
def sys_semtimedop(t, number, addr, count, timeout):
    return semop(t, number, addr, count, timeout)


def semop(t, number, addr, count, timeout):
    limit = get_timespec(t, timeout) if timeout else None
    if count > sem.SEMOPM:
        return -E2BIG
    if count < 1:
        return -EINVAL
    ops = list(SEMBUF.iter_unpack(t.read(addr, SEMBUF.size * count)))
    if number < 0:
        return -EINVAL
    if limit is not None and limit < 0:
        return limit
    found = sem.TABLE.get(number)
    if found is None:
        return -EINVAL
    if max(op[0] for op in ops) < len(found.values):
        alters = any(change for _, change, _ in ops)
        if not found.permits(t.creds, 0o222 if alters else 0o444):
            return -EACCES
    deadline = None if limit is None else min(monotonic_ns() + limit, FOREVER)
    return sem.operate(t, found, ops, deadline)


def status(found) -> bytes:
    return SEMID_DS.pack(*found.permissions(), found.otime, found.ctime, len(found.values))


@syscall("semctl", 66, (Int, Int, Int, ULong))
def sys_semctl(t, number, index, command, arg):
    if number < 0:
        return -EINVAL
    if command in (ipc.IPC_INFO, SEM_INFO):
        known = sem.TABLE.all()
        used = (20, sem.SEMVMX) if command == ipc.IPC_INFO else (len(known), sum(len(found.values) for found in known))
        info = SEMINFO.pack(
            sem.SEMMNS, sem.SEMMNI, sem.SEMMNS, sem.SEMMNS, sem.SEMMSL, sem.SEMOPM, sem.SEMOPM, used[0], sem.SEMVMX, used[1]
        )
        t.write(arg, info)
        return sem.TABLE.highest()
    if command in (ipc.IPC_STAT, SEM_STAT, SEM_STAT_ANY):
        found = sem.TABLE.get(number) if command == ipc.IPC_STAT else sem.TABLE.at(number)
        if found is None:
            return -EINVAL
        if command != SEM_STAT_ANY and not found.permits(t.creds, 0o444):
            return -EACCES
        t.write(arg, status(found))
        return 0 if command == ipc.IPC_STAT else found.id
    if command in (GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETALL):
        return values(t, number, index, command, arg)
    if command == SETVAL:
        return set_value(t, number, index, arg & 0xFFFFFFFF)
    if command not in (ipc.IPC_SET, ipc.IPC_RMID):
        return -EINVAL
    new = SEMID_DS.unpack(t.read(arg, SEMID_DS.size)) if command == ipc.IPC_SET else None
    found = sem.TABLE.get(number)
    if found is None:
        return -EINVAL
    if not found.may_control(t.creds):
        return -EPERM
    if new is None:
        found.remove()
    else:
        found.set_permissions(new)
    return 0


def values(t, number, index, command, addr):
    found = sem.TABLE.get(number)
    if found is None:
        return -EINVAL
    if not found.permits(t.creds, 0o222 if command == SETALL else 0o444):
        return -EACCES
    count = len(found.values)
    array = Struct(f"<{count}H")
    if command == GETALL:
        t.write(addr, array.pack(*found.values))
        return 0
    if command == SETALL:
        new = list(array.unpack(t.read(addr, array.size)))
        if max(new) > sem.SEMVMX:
            return -ERANGE
        found.values = new
        found.pids = [t.tg.pid] * count
        found.forget_undo(None)
        found.ctime = int(time())
        found.changed()
        return 0
    if not 0 <= index < count:
        return -EINVAL
    if command == GETVAL:
        return found.values[index]
    if command == GETPID:
        return found.pids[index]
    return found.count(index, command == GETZCNT)


def set_value(t, number, index, value):
    if value > sem.SEMVMX:  # below 0 as well
        return -ERANGE
    found = sem.TABLE.get(number)
    if found is None or not 0 <= index < len(found.values):
        return -EINVAL
    if not found.permits(t.creds, 0o222):
        return -EACCES
    found.values[index] = value
    found.pids[index] = t.tg.pid
    found.forget_undo(index)
    found.ctime = int(time())
    found.changed()
    return 0
