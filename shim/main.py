"""Entry of containerd-shim-stockade-v1: the bootstrap commands `start` and `delete`, and the shim itself.

`start` makes the socket, forks the shim and prints the address, before anything heavy is imported. Containers of one pod
(the sandbox-id annotation of CRI) have one shim: `start` finds it by the socket's name.
"""

import os
import sys
from time import time_ns

import _signal
import _socket

from sandbox import VERSION, bundle
from sandbox.args import Option, parse
from sandbox.errors import CliError, UsageError, os_text
from sentry.core import jsonlite

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOCKETS = "/run/containerd/s"
GROUPS = ("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID")
OPTIONS = [
    Option("-namespace", "NAME", "containerd's namespace"),
    Option("-id", "ID", "the container"),
    Option("-address", "PATH", "containerd's socket"),
    Option("-publish-binary", "FILE", "accepted; events go by ttrpc"),
    Option("-socket", "PATH", "accepted and without effect"),
    Option("-bundle", "DIR", "the OCI bundle", default=""),
    Option("-debug", None, "accepted and without effect"),
    Option("-v", None, "print the version"),
]
SIGHUP, SIGINT, SIGTERM = 1, 2, 15
MEMORY = "stockade-root"  # file in the bundle: where the state of its container is


def main(argv) -> None:
    """Never returns."""
    code = 1
    try:
        code = run(argv)
        sys.stdout.flush()
    except (CliError, UsageError) as error:
        sys.stderr.write(f"containerd-shim-stockade-v1: {error}\n")
    except OSError as error:
        sys.stderr.write(f"containerd-shim-stockade-v1: {os_text(error)}\n")
        code = 1
    sys.stderr.flush()
    os._exit(code)


def run(argv) -> int:
    values, arguments = parse(OPTIONS, argv)
    if values.v:
        print(f"containerd-shim-stockade-v1:\n  Version: {VERSION}")
        return 0
    if values.help or arguments not in (["start"], ["delete"]):
        print("usage: containerd-shim-stockade-v1 -namespace NAME -id ID [FLAGS] start|delete\n\ncontainerd runs it.")
        return 0 if values.help else 1
    if not values.namespace or not values.id:
        raise UsageError("-namespace and -id are needed")
    return start(values) if arguments == ["start"] else delete(values)


def load_messages() -> None:
    """Make protobuf and the project's messages importable; they cost 20 ms."""
    sys.path += [os.path.join(PROJECT, "build", "protos"), f"{sys.prefix}/lib/python3/dist-packages"]


def group_of(directory, cid) -> str:
    """What shares a shim: the CRI sandbox of the bundle in `directory`, or the container alone."""
    try:
        with open(os.path.join(directory, "config.json"), "rb") as file:
            annotations = jsonlite.loads(file.read()).get("annotations") or {}
    except FileNotFoundError:
        return cid
    except jsonlite.JsonError as error:
        raise CliError(f"config.json: {error}") from None
    for key in GROUPS:
        if annotations.get(key):
            return str(annotations[key])
    return cid


def socket_path(values, group) -> str:
    from _sha256 import sha256  # hashlib brings OpenSSL along

    name = "\0".join((values.address or "", values.namespace, group))
    return os.path.join(SOCKETS, sha256(name.encode()).hexdigest())


def listen(path) -> "_socket.socket | None":
    """A listening socket, or None if a shim serves that path."""
    os.makedirs(SOCKETS, 0o711, exist_ok=True)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    for attempt in (1, 2):
        try:
            sock.bind(path)
            os.chmod(path, 0o600)
            sock.listen(1024)
            return sock
        except OSError:
            if attempt == 2 or not os.path.exists(path):
                raise
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # left by a shim that was killed
        else:
            sock.close()
            return None
        finally:
            probe.close()
    return None


def start(values) -> int:
    path = socket_path(values, group_of(".", values.id))
    listener = listen(path)
    if listener is not None and not os.fork():
        try:
            serve(values, listener, path)
        finally:
            os._exit(1)
    address = f"unix://{path}"
    with open("address", "w", encoding="ascii") as file:
        file.write(address)
    version = os.environ.get("MAX_SHIM_VERSION", "")
    if version.isdigit() and int(version) >= 3:  # containerd's bootstrap parameters; older ones want the bare address
        address = jsonlite.dumps({"version": 3, "address": address, "protocol": "ttrpc"})
    sys.stdout.write(address)
    return 0


def serve(values, listener, path) -> None:
    """The shim, in a process of its own. Ends with it."""
    os.setsid()
    for number in (SIGHUP, SIGINT, SIGTERM):
        _signal.signal(number, _signal.SIG_IGN)
    log = open_log()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=True)
    os.close(null)
    load_messages()
    from sandbox import _host, child

    _host.set_name("stockade-shim")
    _host.use_huge_pages()
    for group in ("launch", "gofer"):  # here, so that gofers share them with us
        bundle.preload(group)
    from shim.idle import Idle
    from shim.loop import Loop
    from shim.publish import Publisher
    from shim.service import NAMES, Service
    from shim.ttrpc import Server

    def write(text) -> None:
        try:
            os.write(log, f"level=warning msg={jsonlite.dumps(text)} runtime=stockade\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # containerd is away

    loop = Loop(lambda error: write(child.trace(error)))
    publisher = Publisher(loop, os.environ.get("TTRPC_ADDRESS", ""), values.namespace, write)

    def stop() -> None:
        publisher.flush()
        loop.running = False

    service = Service(loop, publisher, values.namespace, stop, write)
    idle = Idle(loop, lambda: bool(service.tasks and server.connections), lambda: service.idle(bool(server.connections)))
    server = Server(loop, listener, dict.fromkeys(NAMES, service.methods()), write, idle.active)
    loop.run()
    os.unlink(path)
    os._exit(0)


def open_log() -> int:
    """containerd's pipe for our log; it has the other end open."""
    try:
        return os.open("log", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


# -- cleaning up


def remember(directory, root) -> None:
    """A container is being made: leave in the bundle where its state is."""
    with open(os.path.join(directory, MEMORY), "w", encoding="utf-8") as file:
        file.write(root)


def remembers(directory) -> bool:
    """Neither `forget` nor containerd's removal of the bundle has been there."""
    return os.path.exists(os.path.join(directory, MEMORY))


def forget(directory) -> None:
    """Nothing of it is left."""
    try:
        os.unlink(os.path.join(directory, MEMORY))
    except FileNotFoundError:
        pass


def delete(values) -> int:
    """Clean up after a shim that is gone, and print what containerd shall believe of the container's end. containerd calls
    it after every orderly end too, when nothing is left to do."""
    directory = values.bundle or "."
    code, pid = 137, 0
    try:
        with open(os.path.join(directory, MEMORY), encoding="utf-8") as file:
            root = file.read()
    except FileNotFoundError:
        pass
    else:
        code, pid = clean(directory, root, values.id)
    sys.stdout.buffer.write(delete_response(pid, code, time_ns()))
    return 0


def clean(directory, root, cid) -> "tuple[int, int]":
    """End and remove what a shim has left. Returns the exit code and the pid of the container."""
    from sandbox import launch, state
    from shim import rootfs

    code, pid = None, 0
    if os.path.isdir(os.path.join(root, cid)):
        container = state.Container.open(root, cid)
        pid, code = container.data["pid"], container.exit_code()
        launch.destroy(container)
    rootfs.unmount(os.path.join(directory, "rootfs"))
    remove_socket(directory)
    forget(directory)
    return 137 if code is None else code, pid


def remove_socket(directory) -> None:
    """Of the shim that is gone; a pod's shim that serves other containers keeps its own."""
    try:
        with open(os.path.join(directory, "address"), encoding="ascii") as file:
            path = file.read().removeprefix("unix://")
    except FileNotFoundError:
        return
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        pass
    finally:
        probe.close()


def delete_response(pid, code, ns) -> bytes:
    """task_pb2.DeleteResponse, without protobuf, which costs more than all else that `delete` does."""
    when = b"\x08" + varint(ns // 10**9) + b"\x10" + varint(ns % 10**9)
    return b"\x08" + varint(pid) + b"\x10" + varint(code) + b"\x1a" + varint(len(when)) + when


def varint(number) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
