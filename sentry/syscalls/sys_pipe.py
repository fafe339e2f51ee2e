"""pipe(2), pipe2(2)."""

from sentry.abi.errno import EINVAL
from sentry.core.syscall import Flags, OutStruct, syscall
from sentry.fs.pipe import new_pipe
from sentry.syscalls.fdpair import install_pair
from sentry.vfs.file import O_CLOEXEC, O_DIRECT, O_NONBLOCK


def do_pipe(t, addr, flags):
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        return -EINVAL
    return install_pair(t, new_pipe(t, flags & ~O_CLOEXEC), addr, bool(flags & O_CLOEXEC))


@syscall("pipe", 22, (OutStruct(8),))
def sys_pipe(t, addr):
    return do_pipe(t, addr, 0)


@syscall("pipe2", 293, (OutStruct(8), Flags))
def sys_pipe2(t, addr, flags):
    return do_pipe(t, addr, flags)
