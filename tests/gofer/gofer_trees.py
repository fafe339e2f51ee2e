"""A real gofer in a forked process, over real directories."""

import _socket
import contextlib
import errno
import os
import resource
import select
import signal

import pyseccomp
import pytest

from gofer import seccomp_list
from gofer.server import serve
from sentry.fs.gofer_client import GoferClient

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
FD_LIMIT = 256  # of the server, so that exhaustion is quick to test


def pair():
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def seccomp_filter():
    """The gofer's own list, as a filter to be loaded."""
    program = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    for call, conditions, _ in seccomp_list.ROWS:
        program.add_rule(pyseccomp.ALLOW, call, *(argument(*c) for c in conditions or ()))
    for call, _, _ in seccomp_list.PROBES:
        program.add_rule(pyseccomp.ERRNO(errno.EPERM), call)
    return program


def argument(index, operator, value, mask=None):
    """One condition of a row as pyseccomp wants it."""
    if operator == "MASKED_EQ":
        return pyseccomp.Arg(index, pyseccomp.MASKED_EQ, mask, value)
    return pyseccomp.Arg(index, getattr(pyseccomp, operator), value)


FILTER = seccomp_filter()


class Gofer:
    """A server process, behind its seccomp list, and how to talk to it.

    mounts: list of (path, read-only, MOUNT_* flags).  client: a GoferClient, unless raw: then sock is our end.
    uid: the server's, root's if 0.  sabotage: called in the server's process before it serves.
    """

    def __init__(self, mounts, raw=False, uid=0, sabotage=None, fd_limit=FD_LIMIT):
        self.sock, theirs = pair()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (fd_limit, fd_limit))
                for fd in map(int, os.listdir("/proc/self/fd")):
                    if fd > 2 and fd != theirs.fileno():  # what the tests have open is not the server's
                        with contextlib.suppress(OSError):
                            os.close(fd)
                fds = [(os.open(path, os.O_PATH), ro, flags) for path, ro, flags in mounts]
                if uid:
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                if sabotage:
                    sabotage()
                proc = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
                FILTER.load()
                serve(theirs, fds, proc)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        self.client = None if raw else GoferClient(self.sock)

    def descriptors(self):
        """How many descriptors the server has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self):
        """Hang up; the server must end by itself, and well."""
        if self.client:
            self.client.shutdown()
        self.sock.close()
        pidfd = os.pidfd_open(self.pid)
        ended = select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        assert ended, "the server outlived its client"
        assert status == 0, f"the server ended with status {status:#x}"


class Tree:
    """A mount on a directory of the host, with short forms for the tests.

    host: the directory as a Path; root: its handle; outside: a directory beside it that no request may reach.
    """

    def __init__(self, host, outside, gofer, index=0):
        self.host = host
        self.outside = outside
        self.gofer = gofer
        self.client = gofer.client
        self.root, self.attr, self.flags = gofer.client.attach(index)

    def handle(self, path):
        """Handle of a path below the root, which must exist."""
        names = path.encode().split(b"/")
        walked = self.client.walk(self.root, names, last_only=True)
        assert walked.errno == 0 and len(walked.nodes) == len(names), (path, walked.errno)
        return walked.nodes[-1][0]


def populate(host):
    """One of each kind: file, dir/inner, link, fifo, socket (nobody listens)."""
    (host / "file").write_bytes(b"content")
    (host / "dir").mkdir()
    (host / "dir" / "inner").write_bytes(b"inner")
    (host / "link").symlink_to("dir/inner")
    os.mkfifo(host / "fifo")
    os.mknod(host / "socket", 0o140600)
