"""The gofer's conversation: one packet in, one handler, one packet out, in one thread.

Between requests the process sleeps in recv(2); it uses no CPU when idle and ends when the peer closes.
"""

import _socket
import errno
import os
import resource

from gofer import protocol as p
from gofer import read_ops, write_ops  # noqa: F401  (they register themselves)
from gofer.nodes import RESERVED_FDS, Mount, Nodes
from gofer.rpc import HANDLERS

SANDBOX_LOST = 137  # as if killed


class Server:
    """State of one conversation.

    sock: our end, a _socket.socket.  nodes: the handle table.  uid: our own, as owner of what we make.
    """

    def __init__(self, sock, mounts, limit):
        self.sock = sock
        self.nodes = Nodes(mounts, limit)
        self.uid = os.geteuid()
        self.greeted = False
        self.donation = -1
        self.code = SANDBOX_LOST

    def donate(self, fd):
        """Send fd, which this takes over, with the reply of the present request."""
        self.donation = fd

    def answer(self, data):
        """Handle the packet `data` -> the reply's bytes, or None where there is none."""
        if len(data) < p.REQUEST_HEAD.size:
            return p.REPLY_HEAD.pack(-errno.EBADMSG, 0)
        number, sequence = p.REQUEST_HEAD.unpack_from(data)
        entry = HANDLERS.get(number)
        if entry is None:
            return p.REPLY_HEAD.pack(-errno.EOPNOTSUPP, sequence)
        message, handler = entry
        values = message.request.decode(data) if len(data) <= p.MAX_MESSAGE else None
        if values is None:
            status = -errno.EBADMSG
        elif not self.greeted and message is not p.Hello:
            status = -errno.EPROTO
        else:
            try:
                reply = handler(self, *values)
                if message.one_way:
                    return None
                return message.answer.encode(0, sequence, reply)
            except OSError as e:
                status = -e.errno
            except MemoryError:
                status = -errno.ENOMEM
        return None if message.one_way else p.REPLY_HEAD.pack(status, sequence)

    def run(self):
        """Serve until the peer closes, or breaks the connection."""
        receive = self.sock.recv
        send = self.sock.send
        size = p.MAX_MESSAGE + 1
        while True:
            try:
                # a plain recv: descriptors that come along are dropped by the kernel
                data = receive(size)
                if not data:
                    return
                reply = self.answer(data)
                if self.donation >= 0:
                    self._send_donation(reply)
                elif reply is not None:
                    send(reply)
            except ConnectionError:
                return

    def _send_donation(self, reply):
        fd = self.donation
        self.donation = -1
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))]
        try:
            self.sock.sendmsg([reply], rights)
        except ConnectionError:
            raise
        except OSError as e:
            # ETOOMANYREFS: too many descriptors under way that the client does not fetch; unix(7)
            self.sock.send(p.REPLY_HEAD.pack(-e.errno, p.REPLY_HEAD.unpack_from(reply)[1]))
        finally:
            os.close(fd)


def serve(sock, mounts, proc_fd=-1):
    """Serve one client until it closes the connection.

    sock: our end of the SOCK_SEQPACKET pair, a descriptor number or socket.
    mounts: list of (directory or file descriptor, which may be O_PATH; read-only: bool; MOUNT_* flags).
    proc_fd: descriptor of /proc/self/fd, opened by this process; -1: /proc is still there and is opened now.

    Closes the connection and the handles at the end, not the mounts' descriptors.  Sets umask, working directory and the
    soft limit of open files of the process, raised to the hard one.  Raises OSError if it cannot begin.

    Returns the exit code that the client has bidden farewell with, SANDBOX_LOST if it just went.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0)
    if proc_fd < 0:
        proc_fd = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(proc_fd)
        os.close(proc_fd)
    else:
        os.fchdir(proc_fd)
    connection = _socket.socket(fileno=sock if isinstance(sock, int) else sock.detach())
    connection.settimeout(None)
    table = []
    for fd, readonly, flags in mounts:
        table.append(Mount(fd, flags | (p.MOUNT_RDONLY if readonly or flags & p.MOUNT_PSEUDO else 0)))
    server = Server(connection, table, max(hard - RESERVED_FDS - len(table), 16))
    try:
        server.run()
    finally:
        server.nodes.close_all()
        connection.close()
    return server.code
