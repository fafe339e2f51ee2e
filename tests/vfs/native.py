"""The same system calls, asked of the host's kernel (for comparison)."""

import ctypes
import os

from sentry.core.syscall import BY_NAME

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class NativeTask:
    """Runs calls of this process, in its working directory."""

    def call(self, name, *args):
        raw = []
        keep = []
        for arg in args:
            if isinstance(arg, bytes):
                buf = ctypes.create_string_buffer(arg + b"\0")
                keep.append(buf)
                raw.append(ctypes.c_void_p(ctypes.addressof(buf)))
            elif isinstance(arg, bytearray):
                buf = (ctypes.c_char * len(arg)).from_buffer(arg)
                keep.append(buf)
                raw.append(ctypes.c_void_p(ctypes.addressof(buf)))
            else:
                raw.append(ctypes.c_long(arg if arg < 1 << 63 else arg - (1 << 64)))
        result = libc.syscall(ctypes.c_long(BY_NAME[name].nr), *raw)
        return -ctypes.get_errno() if result == -1 else result


def in_child(work):
    """Run work() in a forked child; returns what it returned (through repr)."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            text = repr(work())
        except BaseException as e:  # the parent must see everything
            text = repr("child failed: %r" % (e,))
        with os.fdopen(w, "w") as out:
            out.write(text)
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as data:
        text = data.read()
    os.waitpid(pid, 0)
    return eval(text)  # our own child's repr
