"""ttrpc, unary calls only: frames of a header of ten bytes (length and stream, big-endian; type; flags) and a protobuf."""

import _socket
import ttrpc_pb2
from google.protobuf.message import DecodeError

from shim import loop as events

REQUEST, RESPONSE = 1, 2
HEADER = 10
DATA_MAX = 4 << 20
# google.rpc.Code
UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNIMPLEMENTED = 2, 3, 5, 6, 9, 12


class RpcError(Exception):
    """A call that fails. code: google.rpc.Code (int)."""

    def __init__(self, message, code=UNKNOWN):
        super().__init__(message)
        self.code = code


class ProtocolError(Exception):
    """The peer does not speak ttrpc."""


def frame(stream, kind, message) -> bytes:
    """A message (protobuf object) with its header."""
    data = message.SerializeToString()
    return len(data).to_bytes(4, "big") + stream.to_bytes(4, "big") + bytes((kind, 0)) + data


def take_frame(buffer) -> "tuple[int, int, bytes] | None":
    """(stream, type, data) of the first frame in `buffer` (bytearray), which loses it; None: not complete.
    ProtocolError."""
    if len(buffer) < HEADER:
        return None
    length = int.from_bytes(buffer[:4], "big")
    if length > DATA_MAX:
        raise ProtocolError(f"a frame of {length} bytes")
    if len(buffer) < HEADER + length:
        return None
    stream, kind = int.from_bytes(buffer[4:8], "big"), buffer[8]
    data = bytes(buffer[HEADER : HEADER + length])
    del buffer[: HEADER + length]
    return stream, kind, data


class Call:
    """A request that is being served; `reply` or `fail` once, at any time."""

    __slots__ = ("connection", "stream", "method")

    def __init__(self, connection, stream, method):
        self.connection = connection
        self.stream = stream
        self.method = method

    def reply(self, message) -> None:
        response = ttrpc_pb2.Response(payload=message.SerializeToString())
        response.status.SetInParent()
        self.connection.send(frame(self.stream, RESPONSE, response))

    def fail(self, text, code=UNKNOWN) -> None:
        response = ttrpc_pb2.Response()
        response.status.code, response.status.message = code, text
        self.connection.send(frame(self.stream, RESPONSE, response))


class Connection:
    """A client of ours."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.input = bytearray()
        self.output = bytearray()
        self.fd = sock.fileno()
        server.connections.add(self)
        server.loop.watch(self.fd, events.IN, self.ready)

    def gone(self) -> bool:
        """Has the client closed its end, or ended?"""
        if self.sock is not None:
            try:
                return not self.sock.recv(1, _socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError:
                pass
        return True

    def ready(self, mask) -> None:
        if mask & events.OUT:
            self.flush()
        if mask & ~events.OUT:
            self.receive()

    def receive(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.input += data
        try:
            while self.sock is not None and (found := take_frame(self.input)) is not None:
                self.server.serve(self, *found)
        except ProtocolError as error:
            self.server.log(f"a client is dropped: {error}")
            self.close()

    def send(self, data) -> None:
        if self.sock is not None:
            self.output += data
            self.flush()

    def flush(self) -> None:
        try:
            while self.output:
                del self.output[: self.sock.send(self.output)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self.server.loop.watch(self.fd, events.IN | (events.OUT if self.output else 0), self.ready)

    def close(self) -> None:
        if self.sock is not None:
            self.server.loop.unwatch(self.fd)
            self.sock.close()
            self.sock = None
            self.server.connections.remove(self)
            self.server.active()


class Server:
    """Serves `services` {name: {method: function(call, payload bytes)}} on a listening socket. active: function that is told when
    a client comes, calls or goes."""

    def __init__(self, loop, listener, services, log, active):
        self.loop = loop
        self.listener = listener
        self.services = services
        self.log = log
        self.active = active
        self.connections = set()
        listener.setblocking(False)
        loop.watch(listener.fileno(), events.IN, self.incoming)

    def incoming(self, mask) -> None:
        try:
            number, _ = self.listener._accept()
        except OSError:  # it gave up
            return
        sock = _socket.socket(fileno=number)
        sock.setblocking(False)
        Connection(self, sock)
        self.active()

    def serve(self, connection, stream, kind, data) -> None:
        if kind != REQUEST or not stream & 1:
            raise ProtocolError(f"a frame of type {kind} on stream {stream}")
        try:
            request = ttrpc_pb2.Request.FromString(data)
        except DecodeError:
            raise ProtocolError("a request that is none") from None
        self.active()
        call = Call(connection, stream, request.method)
        method = self.services.get(request.service, {}).get(request.method)
        if method is None:
            call.fail(f"/{request.service}/{request.method} is not implemented", UNIMPLEMENTED)
            return
        method(call, request.payload)


class Client:
    """Calls to a server, one after the other; blocking, with a time limit. OSError, RpcError, ProtocolError."""

    def __init__(self, address, seconds=5):
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self.sock.settimeout(seconds)
        self.buffer = bytearray()
        self.stream = 1
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise

    def call(self, service, method, message) -> bytes:
        request = ttrpc_pb2.Request(service=service, method=method, payload=message.SerializeToString())
        stream, self.stream = self.stream, self.stream + 2
        self.sock.sendall(frame(stream, REQUEST, request))
        while (found := take_frame(self.buffer)) is None:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the server has closed the connection")
            self.buffer += data
        try:
            response = ttrpc_pb2.Response.FromString(found[2])
        except DecodeError as error:
            raise ProtocolError(str(error)) from None
        if response.status.code:
            raise RpcError(response.status.message, response.status.code)
        return response.payload

    def close(self) -> None:
        self.sock.close()
