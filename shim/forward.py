"""CRI's PortForward: containerd connects to localhost in the pod's network namespace, where no guest listens.

So for each port that guests listen on, the shim listens on localhost of that namespace (127.0.0.1 and ::1), and hands what it
accepts to the Sentry, which joins it to the guest's socket (sentry/net/forward.py).
"""

import os

import _socket

from sandbox import _host
from sandbox.errors import CliError, os_text
from shim import loop as events

LOOPBACK = ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"))


class Mirror:
    """loop: Loop; connect: function that returns a new control.Client of the sandbox; path: the network namespace;
    log: function(text). CliError, OSError."""

    def __init__(self, loop, connect, path, log):
        self.loop = loop
        self.connect = connect
        self.log = log
        self.listeners = {}  # port -> sockets
        self.asked = {}  # descriptor -> control.Client that waits for its answer
        self.namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.teller = None
        try:
            self.teller = connect()
            self.teller.send({"op": "listeners"})
            loop.watch(self.teller.fileno(), events.IN, self.told)
        except BaseException:
            self.close()
            raise

    def told(self, mask) -> None:
        answer = self.teller.receive()
        if answer is None:
            self.close()
            return
        ports = set(answer["ports"])
        for port in tuple(self.listeners):
            if port not in ports:
                self.drop(port)
        for port in sorted(ports - set(self.listeners)):
            self.listeners[port] = self.listen(port)

    def listen(self, port) -> list:
        """Sockets in the pod's namespace. What cannot be had is left out: that port is not to be forwarded."""
        sockets = []
        for sock in self.make(port):
            self.loop.watch(sock.fileno(), events.IN, lambda mask, sock=sock: self.accept(sock, port))
            sockets.append(sock)
        return sockets

    def make(self, port) -> list:
        made = []
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _host.setns(self.namespace, _host.CLONE_NEWNET)
            try:
                for family, address in LOOPBACK:
                    sock = None
                    try:
                        sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
                        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
                        sock.bind((address, port))
                        sock.listen(128)
                        made.append(sock)
                    except OSError as error:  # the namespace may be without IPv6
                        if sock is not None:
                            sock.close()
                        if family == _socket.AF_INET:
                            self.log(f"port-forward: {address}:{port}: {os_text(error)}")
            finally:
                _host.setns(own, _host.CLONE_NEWNET)
        finally:
            os.close(own)
        return made

    def drop(self, port) -> None:
        for sock in self.listeners.pop(port):
            self.loop.unwatch(sock.fileno())
            sock.close()

    def accept(self, listener, port) -> None:
        try:
            fd, _ = listener._accept()
        except OSError:  # whoever it was has gone again
            return
        try:
            client = self.connect()
            client.send({"op": "connect", "port": port}, [fd])
        except CliError as error:
            self.log(f"port-forward: {error}")
            return
        finally:
            os.close(fd)
        number = client.fileno()
        self.asked[number] = client
        self.loop.watch(number, events.IN, lambda mask: self.answered(number))

    def answered(self, number) -> None:
        """The Sentry has the connection, or has closed it."""
        client = self.asked.pop(number)
        self.loop.unwatch(number)
        try:
            client.receive()
        except CliError as error:
            self.log(f"port-forward: {error}")
        client.close()

    def close(self) -> None:
        """Listen no more. Connections that the Sentry has go on."""
        for port in tuple(self.listeners):
            self.drop(port)
        for number in tuple(self.asked):
            self.loop.unwatch(number)
            self.asked.pop(number).close()
        if self.teller is not None:
            self.loop.unwatch(self.teller.fileno())
            self.teller.close()
            self.teller = None
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1
