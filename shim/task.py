"""Containers of this shim, and the programs that Exec runs in them."""

import os
from time import time_ns

import task_pb2

from sandbox import control, launch, oci, state
from sandbox.commands import common
from sandbox.errors import CliError
from sentry.core import jsonlite
from shim import loop as events
from shim import forward, main, rootfs
from shim.stdio import Stdio
from shim.ttrpc import ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, RpcError

SIGKILL = 9


class Process:
    """What a container's first program and those of Exec have in common. Subclasses have `pid`, 0 before the start."""

    def __init__(self, task, exec_id, request):
        self.task = task
        self.exec_id = exec_id
        self.request = request  # stdin, stdout, stderr, terminal
        self.pid = 0
        self.status = task_pb2.CREATED
        self.exit_status = 0
        self.exited_at = 0  # ns since the epoch
        self.waiters = []
        self.stdio = Stdio(task.service.loop, request)

    def ended(self, code) -> None:
        self.exited_at = time_ns()
        self.status, self.exit_status = task_pb2.STOPPED, code
        self.stdio.ended()
        self.task.service.exited(self)
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter(self)

    def require(self, *wanted) -> None:
        if self.status not in wanted:
            name = task_pb2.Status.Name(self.status).lower()
            what = f"exec {self.exec_id!r} of container" if self.exec_id else "container"
            raise RpcError(f"{what} {self.task.id!r} is {name}", FAILED_PRECONDITION)


class Task(Process):
    """A container. settings: the CLI's global flags."""

    def __init__(self, service, settings, request):
        self.service = service
        self.settings = settings
        self.id = request.id
        self.bundle = request.bundle
        self.execs = {}
        self.sandbox = None
        self.netns = ""  # of the pod that begins with this container
        self.mirror = None
        Process.__init__(self, self, "", request)
        self.rootfs = os.path.join(self.bundle, "rootfs")

    def create(self, unwanted) -> None:
        """unwanted: function that tells whether nobody waits for the container any more, so that nobody would ever remove it.
        CliError, OSError, RpcError; then nothing is left."""
        try:
            main.remember(self.bundle, self.settings.root)
            rootfs.mount(self.request.rootfs, self.rootfs)
            spec = oci.load(self.bundle)
            terminal = bool(spec["process"].get("terminal"))
            if terminal != self.request.terminal:
                raise RpcError("process.terminal and the request do not agree", INVALID_ARGUMENT)
            pairs = [] if terminal else self.stdio.plain()
            self.sandbox = launch.create(self.settings, self.id, self.bundle, spec, attached=True, pass_fds=pairs, prompt=False)
            self.pid = self.sandbox.keeper.pid
            if terminal:
                self.stdio.attach(self.sandbox.terminal)
            self.stdio.started()
            if unwanted():
                raise RpcError("the client is gone")
        except BaseException:
            self.stdio.close()
            self.discard()
            raise
        self.netns = pod_network(spec)
        self.leaves = self.sandbox.container.own["leaves"]
        self.sandbox.container.close()
        self.service.loop.watch(self.sandbox.keeper.pidfd, events.IN, self.keeper_ended)
        if self.sandbox.gofer is not self.sandbox.keeper:
            self.service.loop.watch(self.sandbox.gofer.pidfd, events.IN, self.gofer_ended)

    def discard(self) -> None:
        """Undo `create`."""
        if self.sandbox is not None:
            common.remove(self.settings, self.sandbox)
            self.sandbox = None
        rootfs.unmount(self.rootfs)
        main.forget(self.bundle)

    def container(self):
        """The locked state.Container. The caller closes it."""
        return state.Container.open(self.settings.root, self.id)

    def call(self, request) -> dict:
        """A request to the Sentry and its answer; CliError."""
        container = self.container()
        try:
            client = control.Client(container)
            try:
                return client.call(request)
            finally:
                client.close()
        finally:
            container.close()

    def start(self) -> None:
        self.require(task_pb2.CREATED)
        container = self.container()
        try:
            common.start_created(container)
        finally:
            container.close()
        self.status = task_pb2.RUNNING
        if self.netns:
            try:
                self.mirror = forward.Mirror(self.service.loop, self.connect, self.netns, self.service.log)
            except (CliError, OSError) as error:
                self.service.log(f"port-forward: {error}")

    def connect(self):
        """A connection to the Sentry that stays."""
        container = self.container()
        try:
            return control.Client(container)
        finally:
            container.close()

    def close_mirror(self) -> None:
        if self.mirror is not None:
            self.mirror.close()
            self.mirror = None

    def change(self, operation, before, after) -> None:
        """Pause and resume."""
        self.require(before)
        self.call({"op": operation})
        container = self.container()
        try:
            container.data["status"] = state.PAUSED if after == task_pb2.PAUSED else state.RUNNING
            container.save()
        finally:
            container.close()
        self.status = after

    def keeper_ended(self, mask) -> None:
        keeper = self.sandbox.keeper
        self.service.loop.unwatch(keeper.pidfd)
        status = keeper.wait()
        keeper.release()
        self.close_mirror()
        for process in tuple(self.execs.values()):
            if process.status == task_pb2.RUNNING:
                process.lost()
        self.ended(control.exit_code(status))

    def gofer_ended(self, mask) -> None:
        gofer = self.sandbox.gofer
        self.service.loop.unwatch(gofer.pidfd)
        gofer.wait()
        gofer.release()

    def kill(self, signo, everyone) -> None:
        if self.status == task_pb2.STOPPED:
            raise RpcError("process already finished", NOT_FOUND)
        self.call({"op": "kill", "signal": signo, "all": everyone})

    def resize(self, rows, columns) -> None:
        self.resize_terminal(self, 0, rows, columns)

    def resize_terminal(self, process, pid, rows, columns) -> None:
        if process.stdio.terminal is None:
            raise RpcError("it has no terminal", FAILED_PRECONDITION)
        process.stdio.resize(rows, columns)
        self.call({"op": "resize", "pid": pid, "rows": rows, "columns": columns})

    def delete(self) -> None:
        if self.status not in (task_pb2.STOPPED, task_pb2.CREATED):
            self.require(task_pb2.STOPPED)
        self.close_mirror()
        container = self.container()
        try:
            launch.destroy(container)
        finally:
            container.close()
        if self.status != task_pb2.STOPPED:
            self.service.loop.unwatch(self.sandbox.keeper.pidfd)
            self.sandbox.keeper.kill()
            self.ended(128 + SIGKILL)
        if self.sandbox.gofer.pid > 0:
            self.service.loop.unwatch(self.sandbox.gofer.pidfd)
            self.sandbox.gofer.kill()
        rootfs.unmount(self.rootfs)
        main.forget(self.bundle)

    def abandon(self) -> None:
        """containerd has removed the bundle without a word to this shim: end what is left."""
        self.close_mirror()
        if os.path.isdir(os.path.join(self.settings.root, self.id)):
            container = self.container()
            try:
                launch.destroy(container)
            finally:
                container.close()
        rootfs.unmount(self.rootfs)

    def update(self, resources) -> None:
        try:
            value = jsonlite.loads(resources)
        except jsonlite.JsonError as error:
            raise RpcError(f"resources: {error}", INVALID_ARGUMENT) from None
        oci.check_linux({"resources": value})
        if self.status != task_pb2.STOPPED:
            container = self.container()
            try:
                launch.update_cgroups(container, value)
                control.tell_resources(container, {key: value[key] for key in ("cpu", "memory", "pids") if value.get(key)})
            finally:
                container.close()

    def add_exec(self, request) -> None:
        if request.exec_id in self.execs:
            raise RpcError(f"exec {request.exec_id!r} exists already", ALREADY_EXISTS)
        self.execs[request.exec_id] = Exec(self, request)

    def process(self, exec_id) -> Process:
        """The container itself for "", else a program of Exec."""
        if not exec_id:
            return self
        if exec_id not in self.execs:
            raise RpcError(f"exec {exec_id!r} of container {self.id!r} does not exist", NOT_FOUND)
        return self.execs[exec_id]


def pod_network(spec) -> str:
    """The path of the network namespace of the pod that begins with this container, or ""."""
    if (spec.get("annotations") or {}).get("io.kubernetes.cri.container-type") != "sandbox":
        return ""
    namespaces = (spec.get("linux") or {}).get("namespaces") or ()
    return next((entry.get("path") or "" for entry in namespaces if entry["type"] == "network"), "")


class Exec(Process):
    """A program that Exec runs. Its pid is the one that the guests see."""

    def __init__(self, task, request):
        Process.__init__(self, task, request.exec_id, request)
        try:
            self.spec = jsonlite.loads(request.spec.value)
        except jsonlite.JsonError as error:
            raise RpcError(f"exec {request.exec_id!r}: {error}", INVALID_ARGUMENT) from None
        oci.check_process(self.spec)
        self.commands = self.waiter = None

    def start(self) -> None:
        self.require(task_pb2.CREATED)
        self.task.require(task_pb2.RUNNING)
        terminal = bool(self.request.terminal)
        container = self.task.container()
        try:
            self.run(container, terminal)
        except BaseException:
            self.stdio.close()
            self.status, self.exit_status, self.exited_at = task_pb2.STOPPED, 255, time_ns()
            raise
        finally:
            container.close()
        self.status = task_pb2.RUNNING
        self.task.service.loop.watch(self.waiter.fileno(), events.IN, self.answered)

    def run(self, container, terminal) -> None:
        self.spec["terminal"] = terminal
        request = {"op": "exec", "process": self.spec, "terminal": terminal}
        pty = None
        if terminal:
            from sandbox import console

            pty = console.open_terminal(self.spec)
            pairs = [(0, pty.slave)]
            request["size"] = list(pty.size())
        else:
            pairs = self.stdio.plain()
        request["stdio"] = [number for number, _ in pairs]
        try:
            client = control.Client(container)
            try:
                self.pid = client.call(request, [fd for _, fd in pairs])["pid"]
            finally:
                client.close()
            self.waiter = control.Client(container)
            self.waiter.send({"op": "wait", "pid": self.pid})
            if pty is not None:
                pty.close_slave()
                self.stdio.attach(pty)
            self.stdio.started()
        except BaseException:
            if pty is not None and self.stdio.terminal is None:
                pty.close()
            raise

    def answered(self, mask) -> None:
        try:
            answer = self.waiter.receive()
        except CliError:
            answer = None
        if answer is None:
            self.lost()
        else:
            self.finish(control.exit_code(answer["status"]))

    def lost(self) -> None:
        """The sandbox has ended, and the program with it."""
        self.finish(128 + SIGKILL)

    def finish(self, code) -> None:
        self.task.service.loop.unwatch(self.waiter.fileno())
        self.waiter.close()
        self.ended(code)

    def kill(self, signo, everyone) -> None:
        if self.status != task_pb2.RUNNING:
            raise RpcError("process already finished" if self.exited_at else "process not started", NOT_FOUND)
        self.task.call({"op": "kill", "signal": signo, "pid": self.pid})

    def resize(self, rows, columns) -> None:
        self.task.resize_terminal(self, self.pid, rows, columns)

    def delete(self) -> None:
        if self.status == task_pb2.RUNNING:
            self.require(task_pb2.STOPPED)
        self.stdio.close()
        del self.task.execs[self.exec_id]
