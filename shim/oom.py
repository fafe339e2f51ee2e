"""Does the host's OOM killer take processes of a container?"""

import os

from sandbox import cgroup_stats
from shim import loop as events


class Watch:
    """Calls notify() when a process of the cgroups [[controller or "", directory]] has been killed for want of memory."""

    def __init__(self, loop, leaves, notify):
        self.loop = loop
        self.notify = notify
        self.descriptors = []
        leaves = dict(leaves)
        self.directory = leaves.get("") or leaves.get("memory")
        if not self.directory:
            return
        self.seen = kills(self.directory)
        try:
            watch = watch_unified if leaves.get("") else watch_v1
            self.descriptors = watch(loop, self.directory, self.look)
        except OSError:  # the cgroup is gone, or this kernel does not tell
            pass

    def look(self) -> None:
        """Is there one that we have not told of?"""
        if self.directory:
            now = kills(self.directory)
            if now > self.seen:
                self.seen = now
                self.notify()

    def close(self) -> None:
        for fd in self.descriptors:
            self.loop.unwatch(fd)
            os.close(fd)
        self.descriptors = []
        self.directory = None


def kills(directory) -> int:
    table = cgroup_stats.table(directory, "memory.events") or cgroup_stats.table(directory, "memory.oom_control")
    return table.get("oom_kill", 0)


def watch_unified(loop, directory, look) -> "list[int]":
    """The kernel reports a change of the file as urgent data (cgroup-v2, "notify")."""
    fd = os.open(os.path.join(directory, "memory.events"), os.O_RDONLY | os.O_CLOEXEC)

    def changed(mask) -> None:
        os.pread(fd, 4096, 0)
        look()

    loop.watch(fd, events.PRI, changed)
    return [fd]


def watch_v1(loop, directory, look) -> "list[int]":
    """An eventfd registered with the cgroup (cgroup-v1, memory, "OOM Control"). It is told of the state before the kill,
    so the count is looked at a little later too."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        file = os.open(os.path.join(directory, "memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            control = os.open(os.path.join(directory, "cgroup.event_control"), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(control, f"{event} {file}".encode())
            finally:
                os.close(control)
        finally:
            os.close(file)
    except OSError:
        os.close(event)
        raise

    def happened(mask) -> None:
        try:
            os.read(event, 8)
        except BlockingIOError:
            return
        look()
        loop.later(0.05, look)

    loop.watch(event, events.IN, happened)
    return [event]
