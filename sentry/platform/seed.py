"""Starting the seed, the first guest process of systrap: exec of the stub, its set-up message, its listener.

The other side is native/stub_init.c, which numbers the steps that can fail.
"""

import fcntl
import os
import struct
from _socket import CMSG_LEN, SCM_RIGHTS, SOL_SOCKET, socketpair

from sentry.platform import guest_filter

# native/systrap.h
MAGIC = 0x53544F43
VDSO = 0x7FFE00200000
RANGES = 8

FD_BELL, FD_SOCKET, FD_SHARED, FD_CONTEXTS = 3, 5, 6, 7
SPREAD = 0x100000  # vvar and vDSO lie side by side


class PlatformError(Exception):
    """The host cannot carry this platform; the text says why."""


def spawn(stub, bell, shared, contexts, start=None):
    """Exec the stub with its descriptors; returns (pid, our end of the socket). start(stub, [(descriptor, number)]) -> pid
    takes the place of posix_spawn(3)."""
    if not os.access(stub, os.X_OK):
        raise PlatformError(f"the stub {stub} is missing or not executable: run make")
    ours, theirs = socketpair()
    # Out of the way of the numbers that the stub expects.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (bell, theirs.fileno(), shared, contexts)]
    try:
        places = zip(high, (FD_BELL, FD_SOCKET, FD_SHARED, FD_CONTEXTS), strict=True)
        if start is not None:
            return start(stub, list(places)), ours
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in places]
        return os.posix_spawn(stub, ["stockade-guest"], {}, file_actions=actions), ours
    finally:
        for fd in high:
            os.close(fd)
        theirs.close()


def vdso_ranges(pid):
    """Where the seed shall move the host's vvar and vDSO: ([(address, length, new address)], new address of the vDSO).
    Without procfs: ([], 0), and the guest makes calls for the time."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii") as file:
            lines = file.readlines()
    except OSError:
        return [], 0
    found, vdso = [], 0
    for line in lines:
        fields = line.split()
        if fields[-1].startswith("[vvar") or fields[-1] == "[vdso]":
            start, end = (int(x, 16) for x in fields[0].split("-"))
            found.append((start, end - start))
            if fields[-1] == "[vdso]":
                vdso = start
    if not vdso or len(found) > RANGES or max(found)[0] - min(found)[0] > SPREAD:
        return [], 0
    low = min(found)[0]
    return [(start, length, VDSO + start - low) for start, length in found], VDSO + vdso - low


def set_up(pid, sock):
    """Send filters and places, receive the listener; returns (listener descriptor, address of the vDSO or 0)."""
    a, b = guest_filter.filter_a(), guest_filter.filter_b()
    ranges, vdso = vdso_ranges(pid)
    message = struct.pack("<IIII", MAGIC, len(a) // 8, len(b) // 8, len(ranges))
    message += b"".join(struct.pack("<QQQ", *one) for one in ranges).ljust(24 * RANGES, b"\0")
    sock.settimeout(10)
    try:
        sock.sendall(message + a + b)
        _, ancillary, _, _ = sock.recvmsg(1, CMSG_LEN(4))
    except OSError as error:
        raise PlatformError(f"the stub does not start: {error}; {why(pid)}")
    finally:
        sock.close()
    if not ancillary or ancillary[0][:2] != (SOL_SOCKET, SCM_RIGHTS):
        raise PlatformError(f"the stub does not start: {why(pid)}")
    listener = struct.unpack("i", ancillary[0][2])[0]
    os.set_inheritable(listener, False)
    return listener, vdso


def why(pid):
    """What became of the seed, in words."""
    _, status = os.waitpid(pid, os.WNOHANG)
    if os.WIFEXITED(status) and status:
        return f"set-up step {os.WEXITSTATUS(status)} failed (native/stub_init.c)"
    return f"wait status {status:#x}"
