"""Dentries (names in the tree) and Paths (a dentry seen through a mount).

A dentry lives as long as something refers to it: its parent's `children` (the cache), an open file, a working
directory. Names known not to exist are cached as None in `children`, without an object. Cycles
(parent <-> children) are broken when a name is dropped or a file system goes.
"""

from stat import S_ISDIR, S_ISSOCK
from sys import getrefcount
from weakref import ref

from sentry.abi.fs import MS_NOEXEC, MS_NOSUID

NEGATIVE_MAX = 20000
CACHE_MIN = 16384

cached = 0  # names cached since the last pruning, and those that it left
cache_limit = CACHE_MIN  # prune when there are more
roots = []  # root dentries of the file systems in use


class Dentry:
    """A name. `inode` is never None: there are no negative Dentry objects."""

    __slots__ = ("name", "parent", "inode", "children", "mounted", "dead", "__weakref__")

    def __init__(self, parent: "Dentry | None", name: bytes, inode):
        self.parent = parent  # None: root of a file system (or of an anonymous file)
        self.name = name
        self.inode = inode
        self.children = {} if S_ISDIR(inode.mode) else None
        self.mounted = 0  # mounts on this dentry, in all namespaces
        self.dead = False  # unlinked or removed

    def add(self, name: bytes, inode) -> "Dentry":
        """The child `name` exists now, as `inode`."""
        global cached
        child = self.children[name] = Dentry(self, name, inode)
        cached += 1
        if cached > cache_limit:
            prune()
        return child

    def drop(self, name: bytes) -> None:
        """The child `name` has been removed."""
        child = self.children.pop(name, None)
        if child is not None:
            child.dead = True

    def known_missing(self, name: bytes) -> None:
        """Cache that `name` does not exist."""
        global _negatives
        if len(_negatives) >= NEGATIVE_MAX:
            old, _negatives = _negatives[: NEGATIVE_MAX // 2], _negatives[NEGATIVE_MAX // 2 :]
            for parent, stale in old:
                d = parent()
                if d is not None and d.children.get(stale, self) is None:
                    del d.children[stale]
        self.children[name] = None
        _negatives.append((ref(self), name))

    def move(self, new_parent: "Dentry", new_name: bytes) -> None:
        """This name is now `new_name` below `new_parent`; what was there is gone."""
        children = self.parent.children
        if children.get(self.name) is self:
            del children[self.name]
        old = new_parent.children.get(new_name)
        if old is not None:
            old.dead = True
        self.parent = new_parent
        self.name = new_name
        new_parent.children[new_name] = self

    def exchange(self, other: "Dentry") -> None:
        self.parent, other.parent = other.parent, self.parent
        self.name, other.name = other.name, self.name
        self.parent.children[self.name] = self
        other.parent.children[other.name] = other

    def below(self, ancestor: "Dentry") -> bool:
        """Is this `ancestor` or something below it?"""
        d = self
        while d is not None:
            if d is ancestor:
                return True
            d = d.parent
        return False

    def forget(self) -> None:
        """Drop the cache below, breaking the reference cycles (the file system is going)."""
        if self in roots:
            roots.remove(self)
        stack = [self]
        while stack:
            d = stack.pop()
            if d.children:
                stack.extend(child for child in d.children.values() if child is not None)
                d.children.clear()


def references(children: dict, name: bytes) -> int:
    """References to this child; UNUSED if only the cache has one."""
    child = children[name]
    return getrefcount(child)


def prune() -> None:
    """Drop the names that nobody uses: leaves first, so that a directory goes with its last name."""
    global cached, cache_limit
    kept = 0
    order = list(roots)
    for d in order:
        order.extend(child for child in d.children.values() if child is not None and child.children is not None)
    while order:
        d = order.pop()
        children = d.children
        for name in list(children):
            child = children[name]
            if child is None:
                continue
            # a bound socket and what inotify watches is more than a look-up could make again
            spare = not child.children and child.inode.watches is None and not S_ISSOCK(child.inode.mode)
            del child
            if spare and references(children, name) == UNUSED and not children[name].mounted:
                del children[name]
            else:
                kept += 1
    cached = kept
    cache_limit = max(CACHE_MIN, 2 * kept)


UNUSED = references({b"": Dentry.__new__(Dentry)}, b"")

_negatives = []  # (weak reference to a directory, name), oldest first


class Path:
    """A place: mount and dentry. A plain value; whoever keeps one for long (open file, working directory,
    root) pins its mount with `incref`, so that umount(2) finds it busy."""

    __slots__ = ("mount", "dentry")

    def __init__(self, mount, dentry: Dentry):
        self.mount = mount
        self.dentry = dentry

    @property
    def inode(self):
        return self.dentry.inode

    def incref(self) -> "Path":
        if self.mount is not None:
            self.mount.pins += 1
        return self

    def decref(self) -> None:
        mount = self.mount
        if mount is not None:
            mount.pins -= 1
            if mount.pins == 0 and mount.detached:
                mount.finish()

    def nosuid(self) -> bool:
        return self.mount is not None and bool(self.mount.flags & MS_NOSUID)

    def noexec(self) -> bool:
        return self.mount is not None and bool(self.mount.flags & MS_NOEXEC)

    def same(self, other: "Path") -> bool:
        return self.dentry is other.dentry and self.mount is other.mount

    def text(self, root: "Path | None" = None) -> bytes:
        """As /proc/pid/fd shows it, seen from `root` (fs/d_path.c:d_path)."""
        text, _ = path_text(self, root)
        return text + b" (deleted)" if self.dentry.dead else text


def path_text(path: Path, root: "Path | None") -> "tuple[bytes, bool]":
    """(absolute name of `path` seen from `root`, whether it is reachable from there)."""
    mount, d = path.mount, path.dentry
    if mount is None:
        return d.name, True  # anonymous: "pipe:[7]", "anon_inode:[eventfd]"
    names = []
    root_mount, root_d = (root.mount, root.dentry) if root is not None else (None, None)
    while True:
        if d is root_d and mount is root_mount:
            return b"/" + b"/".join(reversed(names)), True
        if d is mount.root:
            if mount.parent is None:
                return b"/" + b"/".join(reversed(names)), root is None and not mount.detached
            d, mount = mount.mountpoint, mount.parent
            continue
        if d.parent is None:
            return b"/" + b"/".join(reversed(names)), False
        names.append(d.name)
        d = d.parent
