"""The control socket: how commands outside reach the containers of this sandbox.

A SOCK_SEQPACKET Unix socket in the container's state directory, which only its owner can enter; the listening
descriptor was handed to the Sentry before it was confined. One request is one packet, a JSON object, with
descriptors by SCM_RIGHTS where the request needs some:

    {"op": "start"}                                      run the program that was prepared
         "taken": {…}                                    with the network that has come since (sandbox/netlinks.py), a
                                                         packet descriptor for each link
    {"op": "exec", "process": {…}, "stdio": [0, 1, 2]}   descriptors in the order of the guest's numbers;
         "early": true                                   before "start" (hooks)
         "paused": true                                  also while the container is paused: it goes on with the others
         "program": PATH                                 what is executed, if not args[0]
         "terminal": true                                one descriptor: the slave of a host pty in raw mode
         "follow": true                                  its size may change without a "resize"
    {"op": "kill", "signal": N, "pid": N, "all": bool}   no pid: the first process
    {"op": "pause"}, {"op": "resume"}
    {"op": "ps"}                                         {"processes": [...]}
    {"op": "state"}                                      {"status": "created" | "running" | "stopped"}
    {"op": "wait", "pid": N}                             answered when that process ends: {"status": wait(2) status}
    {"op": "resize", "pid": N, "rows": N, "columns": N}
    {"op": "stats", "profile": bool}                     {"stats": {section: …}} (core/stats.py); profile: first begin
                                                         a profile of the dispatcher anew, or end it
    {"op": "stacks"}                                     {"stacks": {"threads": […], "more": N}} (kernel/stacks.py)
    {"op": "log", "level": "debug", "strace": bool}      both may be missing; a descriptor: the log goes there from now on
    {"op": "resources", "resources": {…}}                what the container sees of its limits; "files": names in its cgroup,
                                                         with as many descriptors, that tell what it uses
    {"op": "connect", "port": N}                         one descriptor, a connected stream socket that becomes a guest's
                                                         connection to that TCP port of the sandbox's localhost
    {"op": "listeners"}                                  {"ports": [...]} that guests listen on there; a further answer
                                                         follows whenever they have changed

and for the containers of a pod, which each have such a socket,

    {"op": "seed"}                                       answered with a pidfd: of the process from which all of the next
                                                         `join` on this connection will descend
    {"op": "join", "id": …, "spec": {…}, "mounts": […],  a further container, which is then as a command's `create` leaves
         "overlay": bool, "terminal", "size", "follow",  it; descriptors: gofer, listening control socket, file for the exit
         "stdio": [0, 1, 2], "shared": ["pid", "uts"],   code, those of "stdio". shared: namespaces that are the first
         "pids_of": ID}                                  container's; pids_of: another one whose PID namespace it has
    {"op": "destroy"}                                    end one that joined; answered when it is over

A request too long for a packet is sent as {"op": …, "body": LENGTH} with a memory file as first descriptor, whose
JSON object is merged in. Answers are {"ok": true, …} or {"error": TEXT, "code": exit code}. Everything runs
on the dispatcher; no request may take long or block.
"""

import os

import _socket

from sentry.core import jsonlite, log

EPOLLIN, EPOLLHUP = 1, 16
REQUEST_MAX = 65536
BODY_MAX = 4 << 20
FDS_MAX = 64
CONNECTIONS_MAX = 256
LEVELS = {"debug": log.DEBUG, "info": log.INFO, "warning": log.WARNING, "error": log.ERROR}
FILES_MAX = 16  # of a cgroup


class ControlError(Exception):
    """A request that fails. code: the exit code that the command should end with (int)."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


class Connection:
    __slots__ = ("server", "sock", "waiting", "on_close", "nursery")

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.waiting = False  # an answer is still to come, from `reply`
        self.on_close = None  # function without arguments
        self.nursery = None  # for a container that will join

    def ready(self, fd, events):
        """Platform callback: a request has arrived, or the peer has gone."""
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(REQUEST_MAX + 1, _socket.CMSG_SPACE(4 * FDS_MAX), 0)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary, flags = b"", (), 0
        fds = received(ancillary)
        if not data:
            close_all(fds)
            self.close()
            return
        try:
            answer = self.serve(data, fds, flags)
        except ControlError as error:
            answer = {"error": str(error), "code": error.code}
        except Exception:
            log.exception("control request")
            answer = {"error": "internal error in the sandbox (see its debug log)", "code": 1}
        finally:
            close_all(fds)
        if answer is not None:
            self.reply(answer)

    def serve(self, data, fds, flags):
        """The answer (dict) to a request, or None if it comes later. Takes what it uses out of `fds`."""
        if self.waiting:
            raise ControlError("a request is still being waited for on this connection")
        if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC) or len(data) > REQUEST_MAX:
            raise ControlError("the request is too long")
        request = parse(data)
        if "body" in request:
            request.update(parse(read_body(field(request, "body", int), fds)))
        operation = self.server.operations.get(request.get("op"))
        if operation is None:
            raise ControlError(f"unknown control request {str(request.get('op'))[:40]!r}")
        return operation(self, request, fds)

    def reply(self, answer, fd=-1) -> None:
        """Answer, with a descriptor if one is given, which stays the caller's."""
        self.waiting = False
        if self.sock is None:
            return
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))] if fd >= 0 else []
        try:
            self.sock.sendmsg([jsonlite.dumps(answer).encode("utf-8", "backslashreplace")], rights)
        except OSError:
            self.close()  # the command did not wait for its answer

    def close(self) -> None:
        if self.sock is not None:
            self.server.platform.unwatch(self.sock.fileno())
            self.sock.close()
            self.sock = None
            self.server.connections.discard(self)
            if self.on_close is not None:
                self.on_close()
            if self.nursery is not None:
                self.nursery.close()
                self.nursery = None


class Server:
    """Accepts connections on `listener` (descriptor) and serves them from `platform.wait`.

    target: has methods named as the operations, each called with keyword arguments; they return a dict (or None for
    {"ok": true}) and raise ControlError. `wait`, `seed`, `destroy`, `connect` and `listeners` get a callback.
    """

    def __init__(self, platform, listener, target):
        self.platform = platform
        self.target = target
        self.connections = set()
        self.listening = listener
        self.listener = _socket.socket(fileno=listener)
        self.listener.setblocking(False)
        self.operations = {
            "start": self.start, "exec": self.exec, "kill": self.kill, "pause": self.pause, "resume": self.resume,
            "ps": self.ps, "state": self.state, "stats": self.stats, "wait": self.wait, "resize": self.resize,
            "stacks": self.stacks, "log": self.log, "resources": self.resources, "connect": self.connect, "listeners": self.listeners,
            "seed": self.seed, "join": self.join, "destroy": self.destroy,
        }  # fmt: skip
        platform.watch(listener, EPOLLIN, self.incoming)

    def incoming(self, fd, events):
        try:
            number, _ = self.listener._accept()
        except OSError:  # EAGAIN, or the peer gave up
            return
        sock = _socket.socket(fileno=number)
        if len(self.connections) >= CONNECTIONS_MAX:
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(self, sock)
        self.connections.add(connection)
        self.platform.watch(number, EPOLLIN, connection.ready)

    def close(self) -> None:
        """Nobody can connect any more; those who have may still read their answers."""
        self.platform.unwatch(self.listening)
        self.listener.close()

    def abandon(self, message, code) -> None:
        """The sandbox ends before its programs do: tell those who wait for them."""
        for connection in tuple(self.connections):
            if connection.waiting:
                connection.reply({"error": message, "code": code})

    # -- operations: check the request, call the target
    def start(self, connection, request, fds):
        taken = field(request, "taken", dict) if "taken" in request else None
        return done(self.target.start(taken=taken, links=fds))

    def exec(self, connection, request, fds):
        process = field(request, "process", dict)
        terminal = field(request, "terminal", bool, False)
        numbers = field(request, "stdio", list, [])
        if len(numbers) != len(fds) or not all(isinstance(n, int) and 0 <= n < 1024 for n in numbers):
            raise ControlError("exec: the descriptors do not fit the request")
        if terminal and len(fds) != 1:
            raise ControlError("exec: a terminal is one descriptor")
        size = field(request, "size", list, [0, 0])
        follow = field(request, "follow", bool, False)
        early, paused = field(request, "early", bool, False), field(request, "paused", bool, False)
        program = field(request, "program", str, "")
        files = dict(zip(numbers, fds))
        fds.clear()  # they are the target's now, also when it fails
        return done(
            self.target.exec(
                process=process, files=files, terminal=terminal, size=size, follow=follow, early=early, program=program, paused=paused
            )
        )

    def kill(self, connection, request, fds):
        return done(self.target.kill(
            signo=field(request, "signal", int), pid=field(request, "pid", int, 0), everyone=field(request, "all", bool, False)
        ))  # fmt: skip

    def pause(self, connection, request, fds):
        return done(self.target.pause())

    def resume(self, connection, request, fds):
        return done(self.target.resume())

    def ps(self, connection, request, fds):
        return done(self.target.ps())

    def state(self, connection, request, fds):
        return done(self.target.state())

    def stats(self, connection, request, fds):
        profile = field(request, "profile", bool) if "profile" in request else None
        return done(self.target.stats(profile=profile))

    def wait(self, connection, request, fds):
        connection.waiting = True

        def ended(status):
            connection.reply({"ok": True, "status": status})

        try:
            self.target.wait(pid=field(request, "pid", int, 0), callback=ended)
        except BaseException:
            connection.waiting = False
            raise
        return None

    def seed(self, connection, request, fds):
        if connection.nursery is not None:
            raise ControlError("seed: there is one already")
        connection.waiting = True

        def made(nursery, errno):
            if nursery is None:
                connection.reply({"error": f"no process for a further container: {os.strerror(errno)}", "code": 1})
            elif connection.sock is None:
                nursery.close()
            else:
                connection.nursery = nursery
                pidfd = os.pidfd_open(nursery.pid)
                connection.reply({"ok": True}, pidfd)
                os.close(pidfd)

        self.target.seed(made)

    def join(self, connection, request, fds):
        nursery, connection.nursery = connection.nursery, None
        if nursery is None:
            raise ControlError("join: there is no seed")
        try:
            return done(self.target.join(nursery, request, fds))
        except BaseException:
            nursery.close()
            raise

    def destroy(self, connection, request, fds):
        connection.waiting = True
        try:
            self.target.destroy(callback=lambda: connection.reply({"ok": True}))
        except BaseException:
            connection.waiting = False
            raise

    def resize(self, connection, request, fds):
        rows, columns = field(request, "rows", int), field(request, "columns", int)
        if not (0 <= rows < 65536 and 0 <= columns < 65536):
            raise ControlError("resize: out of range")
        return done(self.target.resize(pid=field(request, "pid", int, 0), rows=rows, columns=columns))

    def stacks(self, connection, request, fds):
        return done(self.target.stacks())

    def log(self, connection, request, fds):
        level = field(request, "level", str, "")
        if level and level not in LEVELS or len(fds) > 1:
            raise ControlError("log: a level and at most one descriptor are needed")
        strace = field(request, "strace", bool) if "strace" in request else None
        fd = fds.pop() if fds else -1
        return done(self.target.log(level=LEVELS.get(level), strace=strace, fd=fd))

    def resources(self, connection, request, fds):
        resources, names = field(request, "resources", dict, {}), field(request, "files", list, [])
        groups = [resources.get(group) for group in ("cpu", "memory", "pids")]
        if not all(group is None or isinstance(group, dict) for group in groups):
            raise ControlError("resources: not as in the configuration")
        if len(names) != len(fds) or len(names) > FILES_MAX or not all(isinstance(name, str) for name in names):
            raise ControlError("resources: the descriptors do not fit the request")
        taken = list(fds)
        fds.clear()  # they are the target's now
        return done(self.target.resources(resources=resources, names=names, fds=taken))

    def connect(self, connection, request, fds):
        port = field(request, "port", int)
        if not 0 < port < 65536 or len(fds) != 1:
            raise ControlError("connect: a port and one descriptor are needed")
        connection.waiting = True

        def joined(error):
            connection.reply({"ok": True} if error is None else {"error": f"port {port}: {error}", "code": 1})

        try:
            self.target.connect(port=port, fd=fds.pop(), callback=joined)  # the descriptor is the target's, also when it fails
        except BaseException:
            connection.waiting = False
            raise
        return None

    def listeners(self, connection, request, fds):
        if connection.on_close is not None:
            raise ControlError("this connection is told of listeners already")
        connection.on_close = self.target.listeners(callback=lambda ports: connection.reply({"ok": True, "ports": ports}))
        return None


def done(answer):
    return {"ok": True, **(answer or {})}


def field(request, key, kind, default=None):
    """request[key] of that type; `default` if it is not there and a default is given."""
    value = request.get(key, default)
    if not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise ControlError(f"control request: bad or missing field {key!r}")
    return value


def parse(data) -> dict:
    try:
        request = jsonlite.loads(data)
    except jsonlite.JsonError as error:
        raise ControlError(f"control request: {error}") from None
    if not isinstance(request, dict):
        raise ControlError("control request: not an object")
    return request


def read_body(length, fds) -> bytes:
    if not fds or not 0 < length <= BODY_MAX:
        raise ControlError("control request: bad body")
    fd = fds.pop(0)
    try:
        return os.pread(fd, length, 0)
    except OSError as error:
        raise ControlError(f"control request: body: errno {error.errno}") from None
    finally:
        os.close(fd)


def received(ancillary) -> "list[int]":
    """Descriptors of a message's control data."""
    fds = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) - len(data) % 4, 4)]
    return fds


def close_all(fds) -> None:
    for fd in fds:
        os.close(fd)
    if isinstance(fds, list):
        fds.clear()
