"""Looking at other processes' resources: kcmp pidfd_getfd."""

from sentry.abi.errno import EBADF, EINVAL, EOPNOTSUPP, EPERM, ESRCH
from sentry.core.syscall import PARTIAL, U32, Fd, Int, ULong, syscall
from sentry.kernel.access import may_access
from sentry.kernel.pidfd import PidFd
from sentry.kernel.task import RLIMIT_NOFILE

KCMP_FILE, KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_IO, KCMP_SYSVSEM, KCMP_EPOLL_TFD = range(8)


def compare(one, other) -> int:
    """0 the same, 1 or 2 a stable order that tells nothing about addresses."""
    if one is other:
        return 0
    return 1 if hash((id(one), SALT)) < hash((id(other), SALT)) else 2


SALT = object()


@syscall("kcmp", 312, (Int, Int, Int, ULong, ULong), level=PARTIAL, note="no KCMP_EPOLL_TFD")
def sys_kcmp(t, pid1, pid2, kind, idx1, idx2):
    one, two = t.tg.pids.tasks.get(pid1), t.tg.pids.tasks.get(pid2)
    if one is None or two is None:
        return -ESRCH
    if not may_access(t, one, True) or not may_access(t, two, True):
        return -EPERM
    if kind == KCMP_FILE:
        files = [task.files.get(fd) if task.files is not None and fd < 1 << 31 else None for task, fd in ((one, idx1), (two, idx2))]
        return -EBADF if None in files else compare(*files)
    if kind == KCMP_VM:
        return compare(one.mm, two.mm)
    if kind == KCMP_FILES:
        return compare(one.files, two.files)
    if kind == KCMP_FS:
        return compare(one.fs, two.fs)
    if kind == KCMP_SIGHAND:
        return compare(one.tg.sighand, two.tg.sighand)
    if kind == KCMP_IO or kind == KCMP_SYSVSEM:
        return 0  # nobody has any
    if kind == KCMP_EPOLL_TFD:
        return -EOPNOTSUPP
    return -EINVAL


@syscall("pidfd_getfd", 438, (Fd, Int, U32))
def sys_pidfd_getfd(t, pidfd, fd, flags):
    if flags:
        return -EINVAL
    file = t.files.get(pidfd)
    if not isinstance(file, PidFd):
        return -EBADF
    task = file.task or file.tg.leader
    if file.tg.reaped or task.dead or task.files is None:
        return -ESRCH
    if not may_access(t, task, True):
        return -EPERM
    wanted = task.files.get(fd)
    if wanted is None:
        return -EBADF
    new = t.files.install(wanted.incref(), t.rlimit(RLIMIT_NOFILE), True)
    if new < 0:
        wanted.decref()
    return new
