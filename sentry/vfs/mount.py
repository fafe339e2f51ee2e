"""Mounts, mount namespaces, the registry of file system types.

A mount knows what is mounted on its dentries (`submounts`), so crossing into it is one dictionary look-up.
Propagation types are recorded and shown, but nothing is propagated between namespaces.
"""

from sentry.abi.errno import EBUSY, EINVAL, ELOOP, ENOTDIR
from sentry.abi.fs import (
    MNT_DETACH,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PER_MOUNT,
    MS_RDONLY,
    MS_RELATIME,
)
from sentry.vfs.dentry import Dentry, Path, path_text, roots

OPTION_NAMES = (
    (MS_NOSUID, b"nosuid"),
    (MS_NODEV, b"nodev"),
    (MS_NOEXEC, b"noexec"),
    (MS_NOATIME, b"noatime"),
    (MS_NODIRATIME, b"nodiratime"),
    (MS_RELATIME, b"relatime"),
    (MS_NOSYMFOLLOW, b"nosymfollow"),
)
ESCAPED = list(b"\\ \t\n#")  # in the files of /proc

_next_id = 20
_next_group = 0


def new_group() -> int:
    global _next_group
    _next_group += 1
    return _next_group


class Mount:
    """A subtree of a file system, seen at a place."""

    __slots__ = ("id", "fs", "root", "parent", "mountpoint", "flags", "submounts", "propagation", "group", "master", "pins", "detached", "source", "revalidate", "ns", "outward")  # fmt: skip

    def __init__(self, fs, root: "Dentry | None" = None, flags: int = MS_RELATIME, source: "bytes | None" = None):
        global _next_id
        _next_id += 1
        self.id = _next_id
        self.fs = fs
        if fs.root_dentry is None:
            fs.root_dentry = Dentry(None, b"/", fs.root)
            if fs.root_dentry.children is not None:
                roots.append(fs.root_dentry)
        self.root = fs.root_dentry if root is None else root
        self.parent = None
        self.mountpoint = None
        self.flags = flags & MS_PER_MOUNT
        self.submounts = {}  # Dentry -> Mount
        self.propagation = b"private"  # or shared, slave, unbindable
        self.group = 0  # peer group, if shared
        self.master = 0  # peer group it receives from, if slave
        self.pins = 0  # long-lived Paths on it
        self.detached = False
        self.source = fs.source if source is None else source
        self.revalidate = fs.revalidate
        self.ns = None
        self.outward = False  # mounts below should be seen on the host, which cannot be: there are none
        fs.mounts += 1

    def clone(self, root: "Dentry | None" = None) -> "Mount":
        new = Mount(self.fs, self.root if root is None else root, self.flags, self.source)
        new.propagation, new.group, new.master, new.outward = self.propagation, self.group, self.master, self.outward
        return new

    def attach(self, parent: "Mount", mountpoint: Dentry) -> None:
        self.parent = parent
        self.mountpoint = mountpoint
        self.ns = parent.ns
        parent.submounts[mountpoint] = self
        mountpoint.mounted += 1

    def detach(self) -> None:
        """Take it out of its place."""
        if self.parent is not None:
            del self.parent.submounts[self.mountpoint]
            self.mountpoint.mounted -= 1
            self.parent = self.mountpoint = None

    def drop(self) -> None:
        """It is in no namespace any more."""
        self.detach()
        self.detached = True
        self.ns = None
        if self.pins == 0:
            self.finish()

    def finish(self) -> None:
        """Unmounted and unused."""
        fs = self.fs
        fs.mounts -= 1
        if fs.mounts == 0:
            fs.unmounted()

    def tree(self) -> "list[Mount]":
        """This mount and all below it, parents first."""
        out = [self]
        for mount in out:
            out.extend(mount.submounts.values())
        return out

    def options(self) -> bytes:
        """Per-mount options, as in /proc/self/mountinfo."""
        out = [b"ro" if self.flags & MS_RDONLY else b"rw"]
        out += [name for bit, name in OPTION_NAMES if self.flags & bit]
        return b",".join(out)


class MountNamespace:
    """A tree of mounts."""

    __slots__ = ("root", "users", "ino", "events")

    def __init__(self, root: Mount):
        self.root = root
        self.users = 1  # tasks' FsContexts and others
        self.ino = 0  # of /proc/pid/ns/mnt, given by the kernel
        self.events = 0  # changes, for poll on /proc/mounts
        for mount in root.tree():
            mount.ns = self

    def root_path(self) -> Path:
        """The place where a task of this namespace starts: the topmost mount on the root."""
        return topmost(Path(self.root, self.root.root))

    def mounts(self) -> "list[Mount]":
        """Every mount, in order of age."""
        return sorted(self.root.tree(), key=lambda mount: mount.id)

    def mount(self, fs, path: Path, flags: int = MS_RELATIME, source: "bytes | None" = None, subdir=None) -> "Mount | int":
        """Mount `fs` (or its dentry `subdir`) at `path` (bits of MS_PER_MOUNT). -ENOTDIR, -EBUSY."""
        return self.attach(Mount(fs, subdir, flags, source), path)

    def attach(self, mount: Mount, path: Path) -> "Mount | int":
        path = topmost(path)
        if (mount.root.children is None) != (path.dentry.children is None):
            mount.drop()
            return -ENOTDIR
        mount.attach(path.mount, path.dentry)
        for below in mount.tree():
            below.ns = self
        if path.mount.propagation == b"shared" and mount.propagation == b"private":
            mount.propagation, mount.group = b"shared", new_group()
        self.events += 1
        return mount

    def bind(self, source: Path, target: Path, recursive: bool, flags: "int | None" = None) -> "Mount | int":
        """mount --bind (or --rbind) of `source` at `target`, with the flags of the source's mount or `flags`."""
        if source.mount.propagation == b"unbindable":
            return -EINVAL
        new = copy_tree(source.mount, source.dentry) if recursive else source.mount.clone(source.dentry)
        if flags is not None:
            new.flags = flags & MS_PER_MOUNT
        return self.attach(new, target)

    def move(self, mount: Mount, target: Path) -> int:
        """mount --move."""
        target = topmost(target)
        m = target.mount
        while m is not None:
            if m is mount:
                return -ELOOP
            m = m.parent
        if mount.parent is None or mount.parent.propagation == b"shared":
            return -EINVAL
        if (mount.root.children is None) != (target.dentry.children is None):
            return -ENOTDIR
        mount.detach()
        mount.attach(target.mount, target.dentry)
        self.events += 1
        return 0

    def umount(self, mount: Mount, flags: int) -> int:
        if mount.parent is None:
            return -EINVAL
        if not flags & MNT_DETACH and (mount.submounts or mount.pins):
            return -EBUSY
        for m in reversed(mount.tree()):
            m.drop()
        self.events += 1
        return 0

    def copy(self) -> "tuple[MountNamespace, dict[Mount, Mount]]":
        """For CLONE_NEWNS: the new namespace, and which mount became which."""
        mapping = {}
        root = copy_tree(self.root, self.root.root, mapping)
        return MountNamespace(root), mapping

    def release(self) -> None:
        """A user is gone."""
        self.users -= 1
        if self.users == 0:
            for mount in reversed(self.root.tree()):
                mount.drop()

    def visible(self, root: Path) -> "list[tuple[Mount, bytes]]":
        """(mount, mount point seen from `root`) of all that can be reached from there."""
        out = []
        for mount in self.mounts():
            if mount is root.mount and mount.root is root.dentry:
                out.append((mount, b"/"))
            elif mount.parent is not None:
                text, reachable = path_text(Path(mount, mount.root), root)
                if reachable:
                    out.append((mount, text))
            elif root.mount is mount:
                out.append((mount, b"/"))
        return out

    def mounts_text(self, root: Path) -> bytes:
        """/proc/pid/mounts, for a task with that root."""
        lines = []
        for mount, place in self.visible(root):
            fs = mount.fs
            options = with_fs_options(mount.options(), fs)
            lines.append(b"%s %s %s %s 0 0\n" % (mangle(mount.source), mangle(place), fs.type_name.encode(), options))
        return b"".join(lines)

    def mountinfo_text(self, root: Path) -> bytes:
        """/proc/pid/mountinfo."""
        lines = []
        for mount, place in self.visible(root):
            fs = mount.fs
            inner, _ = path_text(Path(mount, mount.root), None) if mount.parent is None else (dentry_text(mount.root), True)
            if mount.parent is None:
                inner = dentry_text(mount.root)
            optional = b""
            if mount.propagation == b"shared":
                optional = b" shared:%d" % mount.group
            elif mount.propagation == b"slave":
                optional = b" master:%d" % mount.master
            elif mount.propagation == b"unbindable":
                optional = b" unbindable"
            super_options = with_fs_options(b"ro" if fs.read_only else b"rw", fs)
            lines.append(
                b"%d %d %d:%d %s %s %s%s - %s %s %s\n"
                % (mount.id, mount.parent.id if mount.parent else mount.id, 0, fs.dev, mangle(inner), mangle(place), mount.options(), optional, fs.type_name.encode(), mangle(mount.source), super_options)  # fmt: skip
            )
        return b"".join(lines)


def with_fs_options(options: bytes, fs) -> bytes:
    return options + b"," + fs.options if fs.options else options


def dentry_text(d: Dentry) -> bytes:
    """Name of a dentry within its file system."""
    names = []
    while d.parent is not None:
        names.append(d.name)
        d = d.parent
    return b"/" + b"/".join(reversed(names))


def mangle(text: bytes) -> bytes:
    """Escapes of /proc/mounts (fs/proc_namespace.c:mangle)."""
    for char in ESCAPED:
        if char in text:
            text = text.replace(bytes((char,)), b"\\%03o" % char)
    return text


def topmost(path: Path) -> Path:
    """`path`, or what is mounted on it."""
    mount, d = path.mount, path.dentry
    while d.mounted:
        over = mount.submounts.get(d)
        if over is None:
            break
        mount, d = over, over.root
    return path if d is path.dentry else Path(mount, d)


def copy_tree(mount: Mount, root: Dentry, mapping: "dict | None" = None) -> Mount:
    """A copy of `mount` from `root` on, and of what is mounted below it; unbindable mounts are left out
    unless a whole namespace is copied (`mapping` is given)."""
    new = mount.clone(root)
    if mapping is not None:
        mapping[mount] = new
    work = [(mount, new, root)]
    while work:
        old, copy, top = work.pop()
        for mountpoint, sub in old.submounts.items():
            if top is not None and not mountpoint.below(top):
                continue
            if mapping is None and sub.propagation == b"unbindable":
                continue
            sub_copy = sub.clone()
            sub_copy.attach(copy, mountpoint)
            if mapping is not None:
                mapping[sub] = sub_copy
            work.append((sub, sub_copy, None))
    return new


# name -> (factory(t, source: bytes, data: bytes) -> FileSystem | -errno, needs no device)
FILE_SYSTEMS: "dict[bytes, tuple]" = {}


def register_filesystem(name: str, factory, nodev: bool = True) -> None:
    """Make `mount -t name` possible; also for /proc/filesystems. `factory(t, source, data)` answers a
    FileSystem or -errno; it may hand out the same instance again (proc)."""
    FILE_SYSTEMS[name.encode()] = (factory, nodev)


def filesystems_text() -> bytes:
    """/proc/filesystems."""
    return b"".join((b"nodev\t" if nodev else b"\t") + name + b"\n" for name, (_, nodev) in FILE_SYSTEMS.items())
