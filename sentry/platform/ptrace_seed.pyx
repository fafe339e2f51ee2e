"""Starting the ptrace platform's seed process (native/ptrace_seed.c)."""

from libc.errno cimport EAGAIN, EINTR, EINVAL, errno
from libc.stdint cimport uint64_t

from sentry.platform.ptrace_host cimport (
    N_REGS, PTRACE_CONT, PTRACE_GETREGS, PTRACE_SEIZE, RAX, RBX, RDI, RDX, RSI, SIGKILL, SIGTRAP, TR_OPTIONS, WNOHANG, __WALL,
    kill, ptrace, tr_spawn, waitpid,
)

import os
import select
import time

cdef extern from "ptrace_seed.h":
    const unsigned char tr_seed[]

STEPS = ("", "capabilities", "no_new_privs", "limits", "map", "hello")  # TR_E_* of ptrace_abi.h
TIMEOUT = 10  # seconds


cdef int checked(long result, str what) except -1:
    """The result of a host call of the start, or OSError."""
    cdef int error = errno
    if result < 0:
        if result != -1:
            error = -result
        raise OSError(error, f"ptrace platform: {what}: {os.strerror(error)}")
    return result


def seed_image():
    """The seed executable in a memfd (int), which cannot be written any more."""
    data = tr_seed[:sizeof(tr_seed)]
    try:
        fd = os.memfd_create("stockade-guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | 0x10)  # MFD_EXEC, Linux 6.3
    except OSError as error:
        if error.errno != EINVAL:
            raise
        fd = os.memfd_create("stockade-guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    return fd


cdef int next_trap(int pid) except -1:
    """Waits for the seed's next SIGTRAP; only before the sandbox runs. Other signals are dropped."""
    cdef int status = 0
    while True:
        if waitpid(pid, &status, __WALL) < 0:
            if errno == EINTR:
                continue
            raise OSError(errno, "ptrace platform: waitpid")
        if status & 0x7f != 0x7f:
            raise OSError(0, f"ptrace platform: the seed ended with status {status:#x}")
        if status >> 8 == SIGTRAP:
            return 0
        ptrace(PTRACE_CONT, pid, NULL, NULL)


def launch(image, control, receiver, apart):
    """Executes the seed and seizes it. image: a descriptor of the executable, or -1 for our own copy; control,
    receiver: our end and the seed's end of its socket; apart: in a network namespace of its own. (pid, address of its pages, of the vDSO, whether it has a
    seccomp filter) (tuple of int). OSError says which step failed."""
    cdef int pid
    fd = image if image >= 0 else seed_image()
    pid = tr_spawn(fd, receiver, apart)
    if image < 0:
        os.close(fd)
    if pid < 0:
        raise OSError(-pid, "ptrace platform: fork")
    try:
        return (pid, *greet(pid, control))
    except BaseException:
        kill(pid, SIGKILL)
        waitpid(pid, NULL, __WALL)
        raise


cdef tuple greet(int pid, int control):
    cdef int status = 0
    cdef uint64_t[N_REGS] u
    deadline = time.monotonic() + TIMEOUT
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while not poll.poll(20):
        if waitpid(pid, &status, WNOHANG | __WALL) == pid:
            raise OSError(0, f"ptrace platform: the seed ended with status {status:#x}")
        if time.monotonic() > deadline:
            raise OSError(EAGAIN, "ptrace platform: the seed does not answer")
    message = os.read(control, 2)
    if message[:1] != b"R":
        raise OSError(message[1], f"ptrace platform: executing the seed: {os.strerror(message[1])}")
    checked(ptrace(PTRACE_SEIZE, pid, NULL, <void *><long>TR_OPTIONS), "PTRACE_SEIZE")
    os.write(control, b"G")
    next_trap(pid)
    checked(ptrace(PTRACE_GETREGS, pid, NULL, &u[0]), "PTRACE_GETREGS")
    if u[RAX]:
        raise OSError(<int>u[RBX], f"ptrace platform: the seed failed in step {STEPS[u[RAX]]}: {os.strerror(<int>u[RBX])}")
    return u[RDI], u[RSI], bool(u[RDX])
