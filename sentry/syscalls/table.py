"""All system calls: importing this file registers them; `fill_marshalling` tells the platform's stub what to carry."""

from sentry.core.syscall import TABLE
from sentry.fs import cgroupfs, devfs, devpts, procfs, sysfs  # noqa: F401  (file systems register themselves, too)
from sentry.syscalls import (  # noqa: F401
    sys_attr,
    sys_creds,
    sys_dir,
    sys_epoll,
    sys_eventfd,
    sys_exec,
    sys_fd,
    sys_futex,
    sys_ids,
    sys_info,
    sys_inotify,
    sys_legacy,
    sys_limits,
    sys_lock,
    sys_membarrier,
    sys_memfd,
    sys_mempolicy,
    sys_mm,
    sys_mount,
    sys_mqueue,
    sys_msg,
    sys_open,
    sys_peek,
    sys_pipe,
    sys_poll,
    sys_prctl,
    sys_process,
    sys_ptrace,
    sys_rw,
    sys_sched,
    sys_seccomp,
    sys_sem,
    sys_shm,
    sys_signal,
    sys_socket,
    sys_splice,
    sys_stat,
    sys_sync,
    sys_time,
    sys_timer,
    sys_unsupported,
    sys_wait,
    sys_xattr,
)
from sentry.syscalls import (  # noqa: F401  isort: skip  (fast twins: after the plain handlers)
    fast_dir,
    fast_epoll,
    fast_fd,
    fast_file,
    fast_futex,
    fast_host,
    fast_mm,
    fast_open,
    fast_path,
    fast_poll,
    fast_rw,
    fast_signal,
    fast_socket,
    fast_stat,
)


def fill_marshalling(platform) -> None:
    """Give the stub, for each call, the memory arguments it carries along: (kind, argument, length argument or
    None, size or None). A platform without a stub has no `set_marshal`."""
    set_marshal = getattr(platform, "set_marshal", None)
    if set_marshal is None:
        return
    for row in TABLE:
        if row is None:
            continue
        parts = [(a.kind, i, a.length, a.size) for i, a in enumerate(row.args) if a.kind is not None]
        parts += [(a.vector, i, None, int(a.kind is not None)) for i, a in enumerate(row.args) if a.vector is not None]
        if parts:
            set_marshal(row.nr, parts, row.count)
    platform.set_answered([row.nr for row in TABLE if row is not None and row.lasting])
