"""execve and execveat."""

from sentry.abi.errno import E2BIG, EFAULT, EINVAL
from sentry.core.syscall import Fd, Flags, Ptr, Str, syscall
from sentry.kernel.exec import AT_FDCWD, MAX_ARG_STRLEN, do_execve

MAX_STRINGS = 0x7FFFFFFF
WINDOW = 8192  # bytes of strings read at once
AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0x100, 0x1000


def read_strings(t, addr):
    """A null-terminated array of strings; list of bytes or -errno. A null array is an empty one."""
    strings = []
    total = 0
    start, window = 0, b""  # what was read last: the strings mostly follow each other
    while addr:
        chunk = t.read_upto(addr, min(4096 - (addr & 4095) & -8 or 8, 4096))
        if len(chunk) < 8:
            return -EFAULT
        for i in range(0, len(chunk) - 7, 8):
            pointer = int.from_bytes(chunk[i : i + 8], "little")
            if not pointer:
                return strings
            if not start <= pointer < start + len(window):
                start, window = pointer, t.read_upto(pointer, WINDOW)
            end = window.find(0, pointer - start)
            text = window[pointer - start : end] if end >= 0 else t.read_cstr(pointer, MAX_ARG_STRLEN)
            total += len(text) + 9
            if len(text) >= MAX_ARG_STRLEN or total > 6 << 20:
                return -E2BIG
            strings.append(text)
        addr += len(chunk) & -8
    return strings


def execve(t, dirfd, path_addr, argv_addr, envp_addr, flags):
    path = t.read_cstr(path_addr, 4096)
    argv = read_strings(t, argv_addr)
    if isinstance(argv, int):
        return argv
    envp = read_strings(t, envp_addr)
    if isinstance(envp, int):
        return envp
    return do_execve(t, dirfd, path, argv, envp, flags)


@syscall("execve", 59, (Str, Ptr, Ptr))
def sys_execve(t, path, argv, envp):
    return execve(t, AT_FDCWD, path, argv, envp, 0)


@syscall("execveat", 322, (Fd, Str, Ptr, Ptr, Flags))
def sys_execveat(t, dirfd, path, argv, envp, flags):
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    return execve(t, dirfd, path, argv, envp, flags)
