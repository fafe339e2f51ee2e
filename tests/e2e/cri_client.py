"""A small client of the container runtime interface: calls by gRPC, streams by the WebSocket of containerd's streaming server."""

import base64
import importlib
import os
import socket
import struct
import subprocess
import sys
import time
from urllib.parse import urlsplit

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"  # else children of later tests have its threads as well
import grpc  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CALLS = {
    "Version": ("Version", "Version"), "RunPodSandbox": ("RunPodSandboxRequest", "PodId"), "StopPodSandbox": ("PodId", "Empty"),
    "RemovePodSandbox": ("PodId", "Empty"), "PodSandboxStatus": ("PodId", "PodStatusResponse"),
    "ListPodSandbox": ("Empty", "PodList"), "CreateContainer": ("CreateContainerRequest", "ContainerId"),
    "StartContainer": ("ContainerId", "Empty"), "StopContainer": ("StopContainerRequest", "Empty"),
    "RemoveContainer": ("ContainerId", "Empty"), "ContainerStatus": ("ContainerId", "ContainerStatusResponse"),
    "UpdateContainerResources": ("UpdateResourcesRequest", "Empty"), "ReopenContainerLog": ("ContainerId", "Empty"),
    "ExecSync": ("ExecSyncRequest", "ExecSyncResponse"), "Exec": ("ExecRequest", "Url"), "Attach": ("AttachRequest", "Url"),
    "PortForward": ("PortForwardRequest", "Url"), "ContainerStats": ("ContainerId", "StatsResponse"),
}  # fmt: skip
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)  # channels of a WebSocket (v4.channel.k8s.io)


def messages(directory):
    """The module of the messages, compiled into `directory`."""
    subprocess.run(["protoc", "-I", f"{HERE}/protos", f"--python_out={directory}", f"{HERE}/protos/cri.proto"], check=True)
    sys.path += [str(directory), "/usr/lib/python3/dist-packages"]
    return importlib.import_module("cri_pb2")


class Client:
    """cri.Client(messages, socket path).RunPodSandbox(config=…, …) and the other calls: fields in, answer out."""

    def __init__(self, pb, path):
        self.pb = pb
        self.channel = grpc.insecure_channel(f"unix://{path}")

    def __getattr__(self, name):
        request, answer = (getattr(self.pb, kind) for kind in CALLS[name])
        call = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        return lambda **fields: call(request(**fields), timeout=60)


class Stream:
    """A WebSocket whose messages begin with the number of a channel (RFC 6455)."""

    def __init__(self, url, protocol="v4.channel.k8s.io"):
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), timeout=20)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        path = parts.path + ("?" + parts.query if parts.query else "")
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head + self.buffer

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def send(self, channel, data):
        payload = bytes([channel]) + data
        mask = os.urandom(4)
        length = len(payload)
        head = bytes([0x82, 0x80 | length]) if length < 126 else b"\x82\xfe" + struct.pack("!H", length)
        self.sock.sendall(head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))

    def receive(self):
        """(channel, data) of the next message; None at the end."""
        try:
            while True:
                first, second = self.take(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", self.take(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", self.take(8))
                data = self.take(length)
                if first & 0xF == 8:
                    return None
                if first & 0xF in (1, 2, 0) and data:
                    return data[0], data[1:]
        except (EOFError, ConnectionError):
            return None

    def until(self, channel, text, seconds=20):
        """What the channel brings, up to and with `text`."""
        got = b""
        end = time.monotonic() + seconds
        while text not in got:
            assert time.monotonic() < end, got
            message = self.receive()
            assert message is not None, got
            if message[0] == channel:
                got += message[1]
        return got

    def all(self):
        """{channel: data} of everything until the end."""
        got = {}
        while (message := self.receive()) is not None:
            got[message[0]] = got.get(message[0], b"") + message[1]
        return got

    def close(self):
        self.sock.close()
