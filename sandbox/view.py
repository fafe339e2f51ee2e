"""What others find in the mount namespace of a container: its root, with its volumes.

`podman cp` joins the mount namespace of a running container's pid, which is the Sentry's. The Sentry's own root there is empty,
and so is that of the guests' processes. The container's files are mounted over it once all these run, by a process of the
command: who joins the namespace stands on the mount that is on top; who was there before stays below, and has no system call
that looks up a path. Mounts that live in the Sentry (tmpfs, proc, dev …), and idmapped ones, are shown as empty and read-only.
"""

import os
from errno import ENOENT, ENOTDIR
from stat import S_ISDIR

from gofer.protocol import MOUNT_CROSS
from sandbox import _host, log
from sandbox.errors import os_text

EMPTY = "size=4k,nr_inodes=2,mode=0555"


def show(pid, exports, mounts) -> None:
    """Mount the files into the mount namespace of Sentry `pid`. exports, mounts: of launch.exports_of. A failure is logged: the
    container does without."""
    child = os.fork()
    if child == 0:
        try:
            mount_all(pid, exports, mounts)
        except OSError as error:
            log.warning(f"the container's files cannot be seen in its mount namespace: {os_text(error)}")
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def mount_all(pid, exports, mounts) -> None:
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = tree_of(exports[0], False)
    trees = [(mount["destination"], tree_of(exports[mount["export"]], is_mapped(mount)) if "export" in mount else -1) for mount in mounts]
    _host.setns(namespace, _host.CLONE_NEWNS)
    _host.move_mount(root, "/")
    for destination, tree in trees:
        try:
            place = _host.open_in_root(root, destination.lstrip("/") or ".")
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                raise
            continue  # it lies in a mount of the Sentry's
        if tree >= 0:
            _host.move_mount(tree, place)
        elif S_ISDIR(os.fstat(place).st_mode):
            os.fchdir(place)
            flags = _host.MS_NOSUID | _host.MS_NODEV | _host.MS_NOEXEC | _host.MS_RDONLY
            _host.mount("stockade", ".", "tmpfs", flags, EMPTY)
        os.close(place)


def is_mapped(mount) -> bool:
    options = mount.get("options") or ()
    return "idmap" in options or "ridmap" in options or bool(mount.get("uidMappings"))


def tree_of(export, mapped) -> int:
    """A copy of the mount tree of an export without devices and set-user-ID programs, or -1."""
    if mapped or not export.path:
        return -1
    tree = _host.open_tree(export.path, bool(export.flags & MOUNT_CROSS))
    _host.restrict_tree(tree, export.readonly)
    return tree
