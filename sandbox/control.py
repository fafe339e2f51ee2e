"""The commands' side of a sandbox's control socket (sentry/control.py has the protocol)."""

import os

import _socket
import select

from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

PACKET_MAX = 60000
ANSWER_MAX = 1 << 20
END_TIMEOUT = 2  # seconds


def address(directory_fd) -> str:
    """The socket's name in a state directory; short, whatever the directory's path (sun_path has 108 bytes)."""
    return f"/proc/self/fd/{directory_fd}/control"


def listen(container):
    """The listening socket of a new container (state.Container)."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        sock.bind(address(container.lock))
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise CliError(f"control socket: {os_text(error)}") from None
    return sock


class Gone(CliError):
    """The sandbox has ended, or ends, and answers no more."""


class Client:
    """A connection to the Sentry of `container` (state.Container, open). Gone, here or later, if that has ended."""

    def __init__(self, container):
        self.cid = container.id
        self.keeper = container.keeper
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self.sock.settimeout(None)
        try:
            self.sock.connect(address(container.lock))
        except OSError as error:
            self.sock.close()
            raise self.gone(f"does not answer: {os_text(error)}") from None

    def gone(self, what) -> "Gone":
        """What to raise if a request cannot be made."""
        if self.ends():
            return Gone(f"container {self.cid!r} is stopped: its sandbox has ended")
        return Gone(f"container {self.cid!r}: its sandbox {what}")

    def unanswered(self) -> "Gone":
        """What to raise if a request was made and the connection closed."""
        self.ends()
        return Gone(f"container {self.cid!r}: its sandbox ended during the request")

    def ends(self) -> bool:
        """A Sentry that lets go of its socket is about to end: wait, so that the container is "stopped" for whoever asks next."""
        pidfd = self.keeper.pidfd()
        try:
            return pidfd < 0 or wait_readable(pidfd, END_TIMEOUT)
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    def send(self, request, fds=()) -> None:
        """Send a request (dict) with descriptors."""
        data = jsonlite.dumps(request).encode("utf-8", "surrogatepass")
        fds = list(fds)
        body = -1
        try:
            if len(data) > PACKET_MAX:
                body = os.memfd_create("request", os.MFD_CLOEXEC)
                os.write(body, data)
                fds.insert(0, body)
                data = jsonlite.dumps({"op": request["op"], "body": len(data)}).encode()
            rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
            self.sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else [])
        except OSError as error:
            raise self.gone(f"is gone: {os_text(error)}") from None
        finally:
            if body >= 0:
                os.close(body)

    def receive(self) -> "dict | None":
        """The answer; None if the Sentry has ended. CliError if it says no."""
        try:
            data = self.sock.recv(ANSWER_MAX)
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise CliError(f"container {self.cid!r}: its sandbox does not answer") from None
        return self.parse(data)

    @staticmethod
    def parse(data) -> "dict | None":
        if not data:
            return None
        answer = jsonlite.loads(data)
        if "error" in answer:
            raise CliError(answer["error"], answer.get("code", 1))
        return answer

    def call(self, request, fds=(), timeout=None) -> dict:
        """Request and answer; CliError also if the Sentry ends instead, or does not answer within `timeout` seconds."""
        self.sock.settimeout(timeout)
        self.send(request, fds)
        answer = self.receive()
        if answer is None:
            raise self.unanswered()
        return answer

    def call_for_descriptor(self, request) -> int:
        """A request that is answered with a descriptor. CliError."""
        self.send(request)
        try:
            data, ancillary, _, _ = self.sock.recvmsg(ANSWER_MAX, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            data, ancillary = b"", ()
        self.parse(data)
        for level, kind, rights in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                return int.from_bytes(rights[:4], "little")
        raise self.unanswered()

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.sock.close()


def tell_resources(container, resources, files=None) -> None:
    """Let the Sentry of `container` show other limits, or read what is used from `files`, {name: descriptor}. CliError."""
    files = files or {}
    client = Client(container)
    try:
        client.call({"op": "resources", "resources": resources, "files": list(files)}, list(files.values()))
    finally:
        client.close()


def exit_code(status) -> int:
    """A wait(2) status as an exit code: 128 + signal for a signal's death."""
    signal = status & 0x7F
    return 128 + signal if signal else status >> 8 & 0xFF


def wait_readable(fd, seconds) -> bool:
    """Wait until `fd` is readable (a pidfd: its process has ended)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
