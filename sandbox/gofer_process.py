"""The gofer's process: from a clone of the command to a server of the container's files.

It ends in an empty root with nothing open but its socket, the log, and one detached mount tree for the
root and each bind mount.
"""

import os

from gofer import protocol
from sandbox import _host, bundle, confine, log
from sentry.core.creds import CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID

# What serving files as root takes. They hold in the gofer's own user namespace only.
CAPS = 1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_FOWNER | 1 << CAP_FSETID


# --host-uds: what the gofer may do for guests with the host's Unix sockets
HOST_UDS = {"none": 0, "open": protocol.MOUNT_SOCKETS, "create": protocol.MOUNT_BIND, "all": protocol.MOUNT_SOCKETS | protocol.MOUNT_BIND}


class Export:
    """A directory or file to serve. path: host path; readonly: nothing may change; sockets: those of HOST_UDS; flags: protocol.MOUNT_*;
    following: what the host mounts there later is served as well."""

    __slots__ = ("path", "readonly", "flags", "tree", "following")

    def __init__(self, path, readonly, recursive=True, pseudo=False, sockets=0, following=False):
        self.path = path
        self.readonly = readonly
        self.following = following
        self.tree = -1  # its mount tree, where somebody else has taken it
        self.flags = (protocol.MOUNT_CROSS if recursive else 0) | (protocol.MOUNT_PSEUDO if pseudo else 0) | sockets


def prelude(parent) -> None:
    """Load our own code here: the command goes on with its work on another CPU."""
    bundle.preload("gofer")
    from gofer import server  # noqa: F401


def body(parent, sock, exports, may_setgroups, program) -> None:
    """What child.spawn runs. sock: our end of the Sentry's connection; exports: list of Export, the root first;
    program: the seccomp filter. Ends the process when the Sentry closes the connection, with the exit code that
    it was told."""
    from gofer import server

    # Mounts reach a tree only while they would reach the mounts that it was copied from.
    following = [export for export in exports if export.following]
    for export in following:
        if export.tree < 0:
            export.tree = _host.open_tree(export.path)
    confine.private_mounts()
    # Private copies of the trees: what lies above their roots cannot be reached from them. The same for our
    # own descriptors, which the server opens files through: the rest of /proc must stay out of reach, because
    # the host's root (which we still are, without its capabilities) may write to /proc/sys.
    mounts = [(export.tree if export.tree >= 0 else _host.open_tree(export.path), export.readonly, export.flags) for export in exports]
    descriptors = _host.open_tree("/proc/self/fd", recursive=False)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    confine.empty_root([export.tree for export in following])
    confine.detach_from_caller("stockade-gofer")
    confine.become(0, 0, may_setgroups)
    confine.limits()
    confine.null_stdio(null)
    _, debug = log.file_descriptors()
    _host.close_except({0, 1, 2, sock.fileno(), parent.fileno(), descriptors, debug, *(fd for fd, _, _ in mounts)} - {-1})
    confine.lock_down(CAPS, program)
    parent.reach("ready")
    parent.close()
    os._exit(server.serve(sock, mounts, descriptors))
