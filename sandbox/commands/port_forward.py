"""stockade port-forward"""

import os
import sys

import _socket
import select

from sandbox import control, log, state
from sandbox.args import Option
from sandbox.errors import CliError, UsageError, os_text

USAGE = "[FLAGS] ID [LOCAL:]REMOTE..."
ABOUT = (
    "Listens on ports of this machine and carries connections to TCP ports that programs of the container\nlisten on, on the"
    " container's own localhost. Several ports may be given; without LOCAL the numbers are\nthe same, and with LOCAL 0 or"
    " empty any free port is taken. Ends when the container does."
)
OPTIONS = [Option("--address", "ADDRESS", "listen on this address of the machine [127.0.0.1 and ::1]", many=True)]
INTERSPERSED = True

LOOPBACK = ("127.0.0.1", "::1")


def run(settings, values, arguments) -> int:
    if len(arguments) < 2:
        raise UsageError("a container id and a port at least are needed", "port-forward")
    cid, ports = arguments[0], [parse_port(text) for text in arguments[1:]]
    container = state.Container.open(settings.root, cid)
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        container.unlock()  # others may use it meanwhile
        forward = Forward(container)
        for local, remote in ports:
            forward.listen(values.address, local, remote)
        forward.serve()
    finally:
        container.close()
    return 0


def parse_port(text) -> "tuple[int, int]":
    """(local, remote) of [LOCAL:]REMOTE; UsageError."""
    local, colon, remote = text.rpartition(":")
    numbers = [local or "0", remote] if colon else [remote, remote]
    if not all(part.isascii() and part.isdigit() and int(part) < 65536 for part in numbers) or int(remote) == 0:
        raise UsageError(f"{text!r} is not [LOCAL:]REMOTE with port numbers", "port-forward")
    return int(numbers[0]), int(numbers[1])


class Forward:
    def __init__(self, container):
        self.container = container
        self.end = control.Client(container)  # closes with the sandbox
        self.poll = select.poll()
        self.poll.register(self.end.fileno(), select.POLLIN)
        self.listeners = {}  # descriptor -> (socket, remote port)
        self.asked = {}  # descriptor -> (control.Client that waits for its answer, remote port)

    def listen(self, addresses, local, remote) -> None:
        """Listen for one pair of ports; CliError unless every address that was asked for, or one of the machine's loopback
        addresses, can be had."""
        failure = None
        made = 0
        for address in addresses or LOOPBACK:
            try:
                sock = listener(address, local)
            except OSError as error:
                failure = CliError(f"cannot listen on {shown(address, local)}: {os_text(error)}")
                if addresses or error.errno not in NO_SUCH_FAMILY:
                    raise failure from None
                continue
            made += 1
            local = sock.getsockname()[1]  # the same for the other address
            self.listeners[sock.fileno()] = sock, remote
            self.poll.register(sock.fileno(), select.POLLIN)
            print(f"Forwarding from {shown(address, local)} -> {remote}")
        sys.stdout.flush()
        if not made:
            raise failure

    def serve(self) -> None:
        """Carry on until the sandbox ends."""
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.end.fileno():
                    return
                if fd in self.listeners:
                    self.accept(*self.listeners[fd])
                elif fd in self.asked:
                    self.answered(*self.asked[fd])

    def accept(self, listener, remote) -> None:
        """Hand a connection over to the Sentry; its answer comes later."""
        try:
            fd, _ = listener._accept()
        except OSError:  # whoever it was has gone again
            return
        try:
            client = control.Client(self.container)
            client.send({"op": "connect", "port": remote}, [fd])
        except CliError as error:
            log.error(str(error))
            return
        finally:
            os.close(fd)
        self.asked[client.fileno()] = client, remote
        self.poll.register(client.fileno(), select.POLLIN)

    def answered(self, client, remote) -> None:
        self.poll.unregister(client.fileno())
        del self.asked[client.fileno()]
        try:
            client.receive()
        except CliError as error:
            log.error(f"a connection was refused: {error}")
        client.close()


NO_SUCH_FAMILY = (97, 99)  # EAFNOSUPPORT, EADDRNOTAVAIL: a machine without IPv6


def listener(address, port):
    """A listening socket; OSError."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def shown(address, port) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
