"""Where a task stands in the tree: root, working directory, umask (fs_struct)."""

from sentry.core.creds import Creds


class FsContext:
    """Shared by CLONE_FS (`users` counts the tasks); owns pins on its two paths and a use of the namespace."""

    __slots__ = ("root", "cwd", "umask", "ns", "users")

    def __init__(self, ns, root, cwd, umask: int = 0o022):
        self.ns = ns  # MountNamespace; this takes a use of it
        ns.users += 1
        self.root = root.incref()
        self.cwd = cwd.incref()
        self.umask = umask
        self.users = 1

    def copy(self) -> "FsContext":
        return FsContext(self.ns, self.root, self.cwd, self.umask)

    def set_cwd(self, path) -> None:
        path.incref()
        self.cwd.decref()
        self.cwd = path

    def set_root(self, path) -> None:
        path.incref()
        self.root.decref()
        self.root = path

    def unshare_mounts(self) -> None:
        """CLONE_NEWNS: continue at the same places of a copy of the namespace."""
        ns, mapping = self.ns.copy()
        self._enter(ns, mapping)
        ns.users -= 1  # the use that MountNamespace() began with is now ours

    def _enter(self, ns, mapping) -> None:
        path = type(self.root)
        root = path(mapping.get(self.root.mount, ns.root), self.root.dentry)
        cwd = path(mapping.get(self.cwd.mount, ns.root), self.cwd.dentry)
        old = self.ns
        self.ns = ns
        ns.users += 1
        self.set_root(root)
        self.set_cwd(cwd)
        old.release()

    def set_namespace(self, ns) -> None:
        """setns(2) with a mount namespace: root and working directory become its root."""
        ns.users += 1
        old, self.ns = self.ns, ns
        path = ns.root_path()
        self.set_root(path)
        self.set_cwd(path)
        old.release()

    def release(self) -> None:
        """One task less."""
        self.users -= 1
        if self.users == 0:
            self.cwd.decref()
            self.root.decref()
            self.ns.release()


class Actor:
    """What the walk and the operations need of a task, for the kernel itself (start-up, loading of programs):
    all capabilities, no descriptors."""

    __slots__ = ("fs", "creds", "files", "kernel")

    def __init__(self, ns, kernel=None, creds=None):
        root = ns.root_path()
        self.fs = FsContext(ns, root, root, 0)
        self.creds = creds or Creds()
        self.files = None
        self.kernel = kernel

    def rlimit(self, resource: int) -> int:
        return (1 << 64) - 1

    def signal_pending(self) -> bool:
        return False
