"""Events to containerd, in order. While it is away (a restart) they wait."""

from time import time_ns

import events_pb2
import task_pb2

from shim import ttrpc

SERVICE = "containerd.services.events.ttrpc.v1.Events"
TOPICS = {
    "TaskCreate": "create", "TaskStart": "start", "TaskExit": "exit", "TaskDelete": "delete", "TaskOOM": "oom",
    "TaskExecAdded": "exec-added", "TaskExecStarted": "exec-started", "TaskPaused": "paused", "TaskResumed": "resumed",
}  # fmt: skip
QUEUE_MAX = 2048
AGAIN = 1.0  # seconds


def timestamp(ns) -> "task_pb2.Timestamp":
    return task_pb2.Timestamp(seconds=ns // 10**9, nanos=ns % 10**9)


def envelope(namespace, event) -> "events_pb2.Envelope":
    """An event message with its topic and the present time."""
    name = type(event).DESCRIPTOR.name
    packed = task_pb2.Any(type_url=f"containerd.events.{name}", value=event.SerializeToString())
    return events_pb2.Envelope(timestamp=timestamp(time_ns()), namespace=namespace, topic=f"/tasks/{TOPICS[name]}", event=packed)


class Publisher:
    """address: containerd's ttrpc socket (str; empty: nobody wants to know)."""

    def __init__(self, loop, address, namespace, log):
        self.loop = loop
        self.address = address.removeprefix("unix://")
        self.namespace = namespace
        self.log = log
        self.queue = []
        self.client = None
        self.scheduled = False

    def send(self, event) -> None:
        """Soon, after what the caller has under way."""
        if self.address:
            self.queue.append(envelope(self.namespace, event))
            if len(self.queue) > QUEUE_MAX:
                self.log(f"event {self.queue.pop(0).topic} is lost: containerd is away too long")
            self.schedule(0)

    def schedule(self, seconds) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.loop.later(seconds, self.flush)

    def flush(self) -> None:
        self.scheduled = False
        while self.queue:
            try:
                if self.client is None:
                    self.client = ttrpc.Client(self.address)
                self.client.call(SERVICE, "Forward", events_pb2.ForwardRequest(envelope=self.queue[0]))
            except ttrpc.RpcError as error:
                self.log(f"event {self.queue[0].topic}: {error}")
            except (OSError, ttrpc.ProtocolError, ValueError):
                if self.client is not None:
                    self.client.close()
                    self.client = None
                self.schedule(AGAIN)
                return
            self.queue.pop(0)
