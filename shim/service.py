"""containerd's task service (versions 2 and 3, which differ in the name): the methods, each a request message to an answer."""

import gc
import os

import events_pb2
import options_pb2
import task_pb2
from google.protobuf.message import DecodeError

from sandbox import VERSION, child
from sandbox.errors import CliError, os_text
from shim import config, main, metrics, oom
from shim.publish import timestamp
from shim.task import Task
from shim.ttrpc import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, RpcError

NAMES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
EMPTY = task_pb2.Empty()


class Service:
    """loop: Loop; publisher: Publisher; namespace: str; stop: function that ends the shim; log: function(text)."""

    def __init__(self, loop, publisher, namespace, stop, log):
        self.loop = loop
        self.publisher = publisher
        self.namespace = namespace
        self.stop = stop
        self.log = log
        self.tasks = {}
        self.ooms = {}  # container id -> oom.Watch

    def methods(self) -> dict:
        """{method: function(call, payload)} for ttrpc.Server."""
        table = {
            "State": (task_pb2.ProcessRequest, self.state),
            "Create": (task_pb2.CreateTaskRequest, self.create),
            "Start": (task_pb2.ProcessRequest, self.start),
            "Delete": (task_pb2.DeleteRequest, self.delete),
            "Pids": (task_pb2.ContainerRequest, self.pids),
            "Pause": (task_pb2.ContainerRequest, self.pause),
            "Resume": (task_pb2.ContainerRequest, self.resume),
            "Checkpoint": (task_pb2.ContainerRequest, self.checkpoint),
            "Kill": (task_pb2.KillRequest, self.kill),
            "Exec": (task_pb2.ExecProcessRequest, self.exec),
            "ResizePty": (task_pb2.ResizePtyRequest, self.resize),
            "CloseIO": (task_pb2.CloseIORequest, self.close_io),
            "Update": (task_pb2.UpdateTaskRequest, self.update),
            "Wait": (task_pb2.ProcessRequest, self.wait),
            "Stats": (task_pb2.ContainerRequest, self.stats),
            "Connect": (task_pb2.ContainerRequest, self.connect),
            "Shutdown": (task_pb2.ShutdownRequest, self.shutdown),
        }
        return {name: self.method(kind, function) for name, (kind, function) in table.items()}

    def method(self, kind, function):
        """A ttrpc method from one that takes a message and returns one, or None if it answers later itself."""

        def serve(call, payload):
            try:
                answer = function(kind.FromString(payload), call)
            except RpcError as error:
                call.fail(str(error), error.code)
            except CliError as error:
                call.fail(str(error))
            except OSError as error:
                call.fail(os_text(error))
            except DecodeError as error:
                call.fail(f"{call.method}: {error}", INVALID_ARGUMENT)
            except Exception as error:
                self.log(f"{call.method}: {child.trace(error)}")
                call.fail(f"internal error in the shim: {type(error).__name__}: {error}")
            else:
                if answer is not None:
                    call.reply(answer)

        return serve

    def task(self, cid) -> Task:
        if cid not in self.tasks:
            raise RpcError(f"container {cid!r} does not exist", NOT_FOUND)
        return self.tasks[cid]

    def process(self, request):
        return self.task(request.id).process(request.exec_id)

    def idle(self, connected) -> None:
        """Nothing has happened for a while. End if there is no container, or only some that were removed while nobody was
        connected."""
        for task in tuple(self.tasks.values()):
            if not connected and not main.remembers(task.bundle):
                task.abandon()
                del self.tasks[task.id]
        if not self.tasks:
            self.stop()

    def exited(self, process) -> None:
        """A container or a program of Exec has ended."""
        task = process.task
        if not process.exec_id and task.id in self.ooms:
            self.ooms[task.id].look()  # why it ended must be known before its end
            self.ooms.pop(task.id).close()
        self.publisher.send(events_pb2.TaskExit(
            container_id=task.id, id=process.exec_id or task.id, pid=process.pid, exit_status=process.exit_status,
            exited_at=timestamp(process.exited_at),
        ))  # fmt: skip

    # -- methods
    def create(self, request, call):
        if request.id in self.tasks:
            raise RpcError(f"container {request.id!r} exists already", ALREADY_EXISTS)
        if request.checkpoint:
            raise RpcError("starting from a checkpoint is not implemented", UNIMPLEMENTED)
        settings = config.settings(self.namespace, request.options)
        task = Task(self, settings, request)
        task.create(call.connection.gone)
        self.tasks[request.id] = task
        io = events_pb2.TaskIO(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, terminal=request.terminal)
        self.publisher.send(events_pb2.TaskCreate(
            container_id=request.id, bundle=request.bundle, rootfs=request.rootfs, io=io, pid=task.pid
        ))  # fmt: skip
        return task_pb2.CreateTaskResponse(pid=task.pid)

    def start(self, request, call):
        process = self.process(request)
        process.start()
        cid = process.task.id
        if process.exec_id:
            self.publisher.send(events_pb2.TaskExecStarted(container_id=cid, exec_id=process.exec_id, pid=process.pid))
        else:
            self.ooms[cid] = oom.Watch(self.loop, process.leaves, lambda: self.publisher.send(events_pb2.TaskOOM(container_id=cid)))
            self.publisher.send(events_pb2.TaskStart(container_id=cid, pid=process.pid))
        return task_pb2.StartResponse(pid=process.pid)

    def delete(self, request, call):
        process = self.process(request)
        process.delete()
        task = process.task
        if not process.exec_id:
            del self.tasks[task.id]
            self.publisher.send(events_pb2.TaskDelete(
                container_id=task.id, pid=process.pid, exit_status=process.exit_status, exited_at=timestamp(process.exited_at)
            ))  # fmt: skip
        gc.collect(0)
        return task_pb2.DeleteResponse(pid=process.pid, exit_status=process.exit_status, exited_at=timestamp(process.exited_at))

    def state(self, request, call):
        process = self.process(request)
        io = process.request
        return task_pb2.StateResponse(
            id=process.task.id, bundle=process.task.bundle, pid=process.pid, status=process.status, stdin=io.stdin,
            stdout=io.stdout, stderr=io.stderr, terminal=io.terminal, exit_status=process.exit_status,
            exited_at=timestamp(process.exited_at) if process.exited_at else None, exec_id=process.exec_id,
        )  # fmt: skip

    def pids(self, request, call):
        task = self.task(request.id)
        answer = task_pb2.PidsResponse()
        if task.status in (task_pb2.RUNNING, task_pb2.PAUSED):
            names = {process.pid: process.exec_id for process in task.execs.values()}
            for row in task.call({"op": "ps"})["processes"]:
                entry = answer.processes.add(pid=row["pid"])
                if row["pid"] in names:
                    details = options_pb2.ProcessDetails(exec_id=names[row["pid"]])
                    entry.info.type_url, entry.info.value = "containerd.runc.v1.ProcessDetails", details.SerializeToString()
        return answer

    def pause(self, request, call):
        self.task(request.id).change("pause", task_pb2.RUNNING, task_pb2.PAUSED)
        self.publisher.send(events_pb2.TaskPaused(container_id=request.id))
        return EMPTY

    def resume(self, request, call):
        self.task(request.id).change("resume", task_pb2.PAUSED, task_pb2.RUNNING)
        self.publisher.send(events_pb2.TaskResumed(container_id=request.id))
        return EMPTY

    def checkpoint(self, request, call):
        raise RpcError("checkpoints are not implemented", UNIMPLEMENTED)

    def kill(self, request, call):
        self.process(request).kill(request.signal, request.all)
        return EMPTY

    def exec(self, request, call):
        self.task(request.id).add_exec(request)
        self.publisher.send(events_pb2.TaskExecAdded(container_id=request.id, exec_id=request.exec_id))
        return EMPTY

    def resize(self, request, call):
        self.process(request).resize(request.height, request.width)
        return EMPTY

    def close_io(self, request, call):
        if request.stdin:
            self.process(request).stdio.close_input()
        return EMPTY

    def update(self, request, call):
        self.task(request.id).update(request.resources.value)
        return EMPTY

    def wait(self, request, call):
        process = self.process(request)

        def answer(process):
            call.reply(task_pb2.WaitResponse(exit_status=process.exit_status, exited_at=timestamp(process.exited_at)))

        if process.exited_at:
            answer(process)
        else:
            process.waiters.append(answer)

    def stats(self, request, call):
        return task_pb2.StatsResponse(stats=metrics.of(self.task(request.id).leaves))

    def connect(self, request, call):
        task = self.tasks.get(request.id)
        return task_pb2.ConnectResponse(shim_pid=os.getpid(), task_pid=task.pid if task else 0, version=VERSION)

    def shutdown(self, request, call):
        if not self.tasks or request.now:
            call.reply(EMPTY)
            self.stop()
            return None
        return EMPTY
