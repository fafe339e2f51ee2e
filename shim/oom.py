"""Does the host's OOM killer take processes of a container?"""

import os

from sandbox import cgroup_stats
from shim import loop as events


def watch(loop, leaves, notify) -> "list[int]":
    """Call notify() when a process of the cgroups [[controller or "", directory]] has been killed for want of memory.
    Returns the descriptors to unwatch and close."""
    leaves = dict(leaves)
    directory = leaves.get("") or leaves.get("memory")
    if not directory:
        return []
    seen = kills(directory)

    def look() -> None:
        nonlocal seen
        now = kills(directory)
        if now > seen:
            seen = now
            notify()

    try:
        return watch_unified(loop, directory, look) if leaves.get("") else watch_v1(loop, directory, look)
    except OSError:  # the cgroup is gone, or this kernel does not tell
        return []


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
