"""Descriptors: dup, fcntl, ioctl."""

from sentry.abi.errno import EBADF, EINVAL, ENOTTY, EPERM, ESRCH
from sentry.abi.fs import S_IFDIR, S_IFMT, S_IFREG, S_IFSOCK
from sentry.core.syscall import Fd, Flags, U32, ULong, syscall
from sentry.kernel import fasync
from sentry.syscalls.sys_lock import F_GETLK, F_OFD_GETLK, F_OFD_SETLKW, F_SETLKW, record_lock
from sentry.vfs.file import FASYNC, O_APPEND, O_CLOEXEC, O_DIRECT, O_NOATIME, O_NONBLOCK, O_PATH
from sentry.vfs.perm import owner_or_capable

RLIMIT_NOFILE = 7
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL = 0, 1, 2, 3, 4
F_SETOWN, F_GETOWN, F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX, F_GETOWNER_UIDS = 8, 9, 10, 11, 15, 16, 17
F_SETLEASE, F_GETLEASE, F_NOTIFY, F_DUPFD_QUERY, F_CREATED_QUERY = 1024, 1025, 1026, 1027, 1028
F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS = 1030, 1031, 1032, 1033, 1034
F_GET_RW_HINT, F_SET_RW_HINT, F_GET_FILE_RW_HINT, F_SET_FILE_RW_HINT = 1035, 1036, 1037, 1038
F_UNLCK = 2
PATH_COMMANDS = (F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_CREATED_QUERY, F_GETFD, F_SETFD, F_GETFL)
SETFL_MASK = O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT

FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC, FIONREAD, FIOQSIZE = 0x5451, 0x5450, 0x5421, 0x5452, 0x541B, 0x5460
FIGETBSZ = 2
OWNER_IOCTLS = {0x8901: F_SETOWN, 0x8902: F_SETOWN, 0x8903: F_GETOWN, 0x8904: F_GETOWN}  # FIOSETOWN SIOCSPGRP FIOGETOWN SIOCGPGRP


def dup_to(t, file, minimum, cloexec) -> int:
    fd = t.files.install(file.incref(), t.rlimit(RLIMIT_NOFILE), cloexec, minimum)
    if fd < 0:
        file.decref()
    return fd


@syscall("dup", 32, (Fd,))
def sys_dup(t, fd):
    file = t.files.get(fd)
    return -EBADF if file is None else dup_to(t, file, 0, False)


def replace(t, old, new, cloexec):
    file = t.files.get(old)
    if file is None or not 0 <= new < t.rlimit(RLIMIT_NOFILE):
        return -EBADF
    before = t.files.set(new, file.incref(), cloexec)
    if before is not None:
        t.files.closed(t, before)
    return new


@syscall("dup2", 33, (Fd, Fd))
def sys_dup2(t, old, new):
    if old == new:
        return -EBADF if t.files.get(old) is None else new
    return replace(t, old, new, False)


@syscall("dup3", 292, (Fd, Fd, Flags))
def sys_dup3(t, old, new, flags):
    if flags & ~O_CLOEXEC or old == new:
        return -EINVAL
    return replace(t, old, new, bool(flags))


@syscall("fcntl", 72, (Fd, U32, ULong), blocks=True)
def sys_fcntl(t, fd, cmd, arg):
    files = t.files
    file = files.get(fd)
    if file is None:
        return -EBADF
    if file.flags & O_PATH and cmd not in PATH_COMMANDS:
        return -EBADF
    if cmd == F_GETFD:
        return 1 if fd in files.cloexec else 0
    if cmd == F_SETFD:
        if arg & 1:
            files.cloexec.add(fd)
        else:
            files.cloexec.discard(fd)
        return 0
    if cmd == F_GETFL:
        return file.flags
    if cmd == F_SETFL:
        return set_flags(t, file, fd, arg & 0xFFFFFFFF)
    if cmd == F_DUPFD or cmd == F_DUPFD_CLOEXEC:
        if arg & 0xFFFFFFFF >= t.rlimit(RLIMIT_NOFILE):
            return -EINVAL
        return dup_to(t, file, arg & 0xFFFFFFFF, cmd == F_DUPFD_CLOEXEC)
    if F_GETLK <= cmd <= F_SETLKW or F_OFD_GETLK <= cmd <= F_OFD_SETLKW:
        return record_lock(t, file, cmd, arg)
    if F_SETOWN <= cmd <= F_GETOWNER_UIDS:
        return owner_command(t, file, cmd, arg)
    if cmd == F_DUPFD_QUERY:
        other = files.get(arg & 0xFFFFFFFF)
        return -EBADF if other is None else int(other is file)
    if cmd == F_SETPIPE_SZ or cmd == F_GETPIPE_SZ:
        return file.pipe_size(t, arg if cmd == F_SETPIPE_SZ else None)
    if cmd == F_ADD_SEALS:
        if not file.can_write:
            return -EPERM
        return file.inode.add_seals(arg & 0xFFFFFFFF) if file.inode is not None else -EINVAL
    if cmd == F_GET_SEALS:
        return file.inode.get_seals() if file.inode is not None else -EINVAL
    if cmd == F_GETLEASE:
        return F_UNLCK
    if cmd in (F_GET_RW_HINT, F_GET_FILE_RW_HINT):
        t.write(arg, bytes(8))
        return 0
    if cmd in (F_SET_RW_HINT, F_SET_FILE_RW_HINT):
        return -EINVAL if int.from_bytes(t.read(arg, 8), "little") > 5 else 0
    return -EINVAL


def set_flags(t, file, fd, arg) -> int:
    if arg & O_NOATIME and not file.flags & O_NOATIME:
        if file.inode is not None and not owner_or_capable(t.creds, file.inode):
            return -EPERM
    if arg & O_DIRECT and not file.flags & O_DIRECT:
        kind = file.inode.mode & S_IFMT if file.inode is not None else 0
        if kind == S_IFDIR:
            return -EINVAL
    if (arg ^ file.flags) & FASYNC and file.async_events():
        fasync.set_async(t, file, fd, bool(arg & FASYNC))
    file.flags = file.flags & ~SETFL_MASK | arg & SETFL_MASK
    return 0


def owner_command(t, file, cmd, arg) -> int:
    """Who gets SIGIO."""
    kind, who, signo, uid, euid, _ = file.owner or fasync.NOBODY
    if cmd == F_GETOWN:
        return -who if kind == fasync.F_OWNER_PGRP else who
    if cmd == F_SETOWN:
        value = arg & 0xFFFFFFFF
        value = value - (1 << 32) if value & 0x80000000 else value
        if value == -(1 << 31):
            return -EINVAL
        return set_owner(t, file, fasync.F_OWNER_PGRP if value < 0 else fasync.F_OWNER_PID, abs(value))
    if cmd == F_GETSIG:
        return signo
    if cmd == F_SETSIG:
        if arg > 64:
            return -EINVAL
        fasync.set_signal(t, file, arg)
        return 0
    if cmd == F_SETOWN_EX:
        raw = t.read(arg, 8)
        kind = int.from_bytes(raw[:4], "little")
        if kind > fasync.F_OWNER_PGRP:
            return -EINVAL
        return set_owner(t, file, kind, int.from_bytes(raw[4:], "little", signed=True))
    if cmd == F_GETOWN_EX:
        t.write(arg, kind.to_bytes(4, "little") + who.to_bytes(4, "little", signed=True))
        return 0
    if cmd == F_GETOWNER_UIDS:
        t.write(arg, uid.to_bytes(4, "little") + euid.to_bytes(4, "little"))
        return 0
    return -EINVAL


def set_owner(t, file, kind, who) -> int:
    if who and not fasync.find(t.tg.pids, kind, who):
        return -ESRCH
    fasync.set_owner(t, file, kind, who)
    return 0


@syscall("ioctl", 16, (Fd, U32, ULong), blocks=True)
def sys_ioctl(t, fd, cmd, arg):
    files = t.files
    file = files.get(fd)
    if file is None or file.flags & O_PATH:
        return -EBADF
    if cmd == FIOCLEX:
        files.cloexec.add(fd)
        return 0
    if cmd == FIONCLEX:
        files.cloexec.discard(fd)
        return 0
    if cmd == FIONBIO or cmd == FIOASYNC:
        on = int.from_bytes(t.read(arg, 4), "little") != 0
        if cmd == FIONBIO:
            file.flags = file.flags | O_NONBLOCK if on else file.flags & ~O_NONBLOCK
        elif on != bool(file.flags & FASYNC):
            if not file.async_events():
                return -ENOTTY
            fasync.set_async(t, file, fd, on)
        return 0
    kind = file.inode.mode & S_IFMT if file.inode is not None else 0
    if kind == S_IFREG and cmd == FIONREAD:
        file.inode.getattr()
        t.write(arg, (file.inode.size - file.pos & 0xFFFFFFFF).to_bytes(4, "little"))
        return 0
    if cmd == FIGETBSZ and kind in (S_IFREG, S_IFDIR):
        t.write(arg, (4096).to_bytes(4, "little"))
        return 0
    if cmd == FIOQSIZE and kind in (S_IFREG, S_IFDIR):
        t.write(arg, file.inode.size.to_bytes(8, "little"))
        return 0
    if kind == S_IFSOCK and cmd in OWNER_IOCTLS:
        if OWNER_IOCTLS[cmd] == F_SETOWN:
            return owner_command(t, file, F_SETOWN, int.from_bytes(t.read(arg, 4), "little"))
        t.write(arg, owner_command(t, file, F_GETOWN, 0).to_bytes(4, "little", signed=True))
        return 0
    return file.ioctl(t, cmd, arg)
