"""The mount tree of a new container, from its OCI configuration (config.md, "Mounts"; config-linux.md, "Default
Filesystems", "Default Devices").

The root is the gofer's, with a tmpfs over it unless changes shall reach the host. Everything below happens inside the
Sentry, as an actor with all capabilities whose root is the container's: symbolic links in destinations cannot leave it.
"""

from sentry.abi.errno import EEXIST, ENOENT, errorcode
from sentry.abi.fs import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    makedev,
)
from sentry import boot_copy
from sentry.core import log
from sentry.fs.gofer import GoferFS
from sentry.fs.overlay import OverlayFS
from sentry.fs.procfs_sysctl import of_network
from sentry.fs.tmpfs import TmpfsFS, host_memory
from sentry.vfs import ops, walk
from sentry.vfs.context import Actor
from sentry.vfs.file import O_CREAT, O_EXCL, O_WRONLY
from sentry.vfs.mount import FILE_SYSTEMS, Mount, MountNamespace, new_group

AT_FDCWD = -100

# option -> (bits to set, bits to clear)
FLAGS = {
    "ro": (MS_RDONLY, 0), "rw": (0, MS_RDONLY), "rro": (MS_RDONLY, 0), "nosuid": (MS_NOSUID, 0), "suid": (0, MS_NOSUID),
    "nodev": (MS_NODEV, 0), "dev": (0, MS_NODEV), "noexec": (MS_NOEXEC, 0), "exec": (0, MS_NOEXEC),
    "noatime": (MS_NOATIME, MS_RELATIME), "atime": (0, MS_NOATIME), "nodiratime": (MS_NODIRATIME, 0),
    "diratime": (0, MS_NODIRATIME), "relatime": (MS_RELATIME, 0), "norelatime": (0, MS_RELATIME),
    "strictatime": (0, MS_RELATIME | MS_NOATIME), "nostrictatime": (MS_RELATIME, 0),
}  # fmt: skip
# Accepted without effect: no mount is shared with anybody, and the gofer serves what it serves.
SILENT = {"bind", "rbind", "defaults", "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable", "newinstance",
          "sync", "async", "dirsync", "tmpcopyup", "z", "Z", "U", "idmap", "ridmap", "mand", "nomand", "lazytime", "nolazytime",
          "iversion", "noiversion", "silent", "loud", "symfollow", "acl", "noacl", "copy", "nocopy", "remount"}  # fmt: skip
RECURSIVE = {f"r{name}" for name in FLAGS}  # no mount of the configuration brings others along in the Sentry

DEVICES = (
    (b"null", 1, 3), (b"zero", 1, 5), (b"full", 1, 7), (b"random", 1, 8), (b"urandom", 1, 9), (b"tty", 5, 0),
    (b"console", 5, 1),
)  # fmt: skip
LINKS = (
    (b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"), (b"ptmx", b"pts/ptmx"),
)  # fmt: skip


class MountError(Exception):
    """The tree cannot be built; the text says which mount and why."""


def failed(what, errno) -> MountError:
    return MountError(f"{what}: {errorcode.get(-errno, -errno)}")


class Builder(Actor):
    """Acts for the container before it has a task."""

    __slots__ = ("tg", "container", "pids", "uts")
    pid = tid = 0  # /proc/self leads nowhere

    def __init__(self, ns, kernel, container):
        Actor.__init__(self, ns, kernel)
        self.tg = self  # file systems ask for tg.container
        self.container = container
        self.pids = container.pids
        self.uts = container.uts


def build(config, client, kernel, container) -> MountNamespace:
    """config: boot_config.Config. client: GoferClient. MountError."""
    ns = MountNamespace(Mount(root_fs(config, client, container)))
    actor = Builder(ns, kernel, container)
    try:
        for entry in config.mounts:
            add(ns, actor, entry, client)
        linux = config.spec.get("linux") or {}
        add_devices(actor)
        for device in linux.get("devices") or ():
            add_device(actor, device)
        for key, value in (linux.get("sysctl") or {}).items():
            if not of_network(key):
                set_sysctl(actor, key, value)
        for path in linux.get("readonlyPaths") or ():
            make_readonly(ns, actor, path.encode())
        for path in linux.get("maskedPaths") or ():
            mask(ns, actor, path.encode())
        if config.spec["root"].get("readonly"):
            ns.root.flags |= MS_RDONLY
    finally:
        actor.fs.release()
    return ns


def root_fs(config, client, container):
    lower = gofer_fs("root", client, 0, not config.overlay)
    # changes may take what a tmpfs may by default: half of the memory, as the container's limit leaves it
    return OverlayFS(lower, min(host_memory(), container.machine.view["mem_total"]) // 2) if config.overlay else lower


def gofer_fs(what, client, index, shared):
    try:
        return GoferFS(client, index, shared)
    except OSError as error:
        raise failed(what, -error.errno) from None


def parse_options(options) -> "tuple[int, bytes]":
    """(mount flags, what is left for the file system)."""
    flags, data = MS_RELATIME, []
    for option in options or ():
        if option in FLAGS or option in RECURSIVE:
            add_bits, remove_bits = FLAGS[option if option in FLAGS else option[1:]]
            flags = flags & ~remove_bits | add_bits
        elif option not in SILENT:
            data.append(option)
    return flags, ",".join(data).encode()


def add(ns, actor, entry, client) -> None:
    """Mount one entry of the configuration."""
    destination, kind = entry["destination"], entry["type"]
    flags, data = parse_options(entry.get("options"))
    source = (entry.get("source") or kind).encode("utf-8", "surrogateescape")
    if kind == "bind":
        fs = gofer_fs(f"mount {destination}", client, entry["export"], True)
        directory = entry["directory"]
        source = b"none"
    else:
        if kind == "mqueue" and b"mqueue" not in FILE_SYSTEMS:
            kind, data = "tmpfs", b"mode=1777"
        factory = FILE_SYSTEMS.get(kind.encode())
        if factory is None:
            raise MountError(f"mount {destination}: file system type {kind!r} is not supported")
        fs = factory[0](actor, source, data)
        directory = True
    if isinstance(fs, int):
        raise failed(f"mount {destination}", fs)
    path = destination.encode("utf-8", "surrogateescape")
    place = mount_point(actor, path, directory)
    if isinstance(place, int) and destination.startswith("/sys/fs/cgroup/"):  # podman --systemd=always
        log.warning(f"mount {destination}: left out, cgroups of the host are not shown")
        return
    if isinstance(place, int):
        raise failed(f"mount {destination}: mount point", place)
    image = None
    if kind == "tmpfs" and "tmpcopyup" in (entry.get("options") or ()):
        image = boot_copy.read_tree(actor, path)
        if isinstance(image, int):
            raise failed(f"mount {destination}: tmpcopyup", image)
    mount = ns.mount(fs, place, flags & ~MS_RDONLY if image else flags, source)
    if isinstance(mount, int):
        raise failed(f"mount {destination}", mount)
    if kind == "bind" and not {"shared", "rshared"}.isdisjoint(entry.get("options") or ()):
        mount.propagation, mount.group, mount.outward = b"shared", new_group(), True
    if image is not None:
        fill(actor, destination, path, image, data)
        mount.flags = flags


def fill(actor, destination, path, image, data) -> None:
    """The option tmpcopyup: the directory's content and, unless the options say it, its mode; not its owner, as with runc."""
    error = boot_copy.write_tree(actor, path, image.data)
    place = walk.resolve(actor, AT_FDCWD, path)
    given = {option.partition(b"=")[0] for option in data.split(b",")}
    if not error and b"mode" not in given:
        error = ops.chmod(actor, place, image.mode & 0o7777)
    if error:
        raise failed(f"mount {destination}: tmpcopyup", error)


def mount_point(actor, path, directory):
    """The place to mount on; made if it is not there, with the directories above it. Path or -errno."""
    place = walk.resolve(actor, AT_FDCWD, path)
    if place != -ENOENT:
        return place
    result = make_parents(actor, path + b"/x" if directory else path)
    if result:
        return result
    if not directory:
        file = ops.open(actor, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0o644)
        if isinstance(file, int):
            return file
        file.decref()
    return walk.resolve(actor, AT_FDCWD, path)


def make_parents(actor, path) -> int:
    """Make the directories above `path` that are missing. 0 or -errno."""
    parts = [part for part in path.split(b"/") if part]
    for depth in range(1, len(parts)):
        result = ops.mkdir(actor, AT_FDCWD, b"/" + b"/".join(parts[:depth]), 0o755)
        if result not in (0, -EEXIST):
            return result
    return 0


def add_devices(actor) -> None:
    """The devices and links of /dev that every container has. What the image or a mount has there stays."""
    result = ops.mkdir(actor, AT_FDCWD, b"/dev", 0o755)
    if result not in (0, -EEXIST):
        log.warning(f"/dev: {errorcode.get(-result)}")
        return
    for name, major, minor in DEVICES:
        result = ops.mknod(actor, AT_FDCWD, b"/dev/" + name, S_IFCHR | 0o666, makedev(major, minor))
        if result not in (0, -EEXIST):
            log.warning(f"/dev/{name.decode()}: {errorcode.get(-result)}")
    for name, target in LINKS:
        result = ops.symlink(actor, target, AT_FDCWD, b"/dev/" + name)
        if result not in (0, -EEXIST):
            log.warning(f"/dev/{name.decode()}: {errorcode.get(-result)}")


def add_device(actor, device) -> None:
    """A node of `linux.devices`. What such a device is, the Sentry alone decides; one that it does not have cannot be opened."""
    path = device["path"].encode("utf-8", "surrogateescape")
    kind = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}[device["type"]]
    make_parents(actor, path)
    number = makedev(device.get("major") or 0, device.get("minor") or 0)
    mode = device.get("fileMode")
    result = ops.mknod(actor, AT_FDCWD, path, kind, number)
    if result == 0:
        place = walk.resolve(actor, AT_FDCWD, path)
        result = ops.chown(actor, place, device.get("uid") or 0, device.get("gid") or 0)
        result = result or ops.chmod(actor, place, (0o666 if mode is None else mode) & 0o7777)
    if result not in (0, -EEXIST):
        log.warning(f"device {device['path']}: {errorcode.get(-result)}")


def set_sysctl(actor, key, value) -> None:
    """A setting of `linux.sysctl`, where /proc is mounted and has it."""
    path = b"/proc/sys/" + key.replace(".", "/").encode("utf-8", "surrogateescape")
    file = ops.open(actor, AT_FDCWD, path, O_WRONLY, 0)
    result = file
    if not isinstance(file, int):
        result = file.write(actor, value.encode() + b"\n", None)
        file.decref()
    if result < 0:
        log.warning(f"linux.sysctl {key}: {errorcode.get(-result)}")


def make_readonly(ns, actor, path) -> None:
    """A read-only view of `path` over itself; nothing if it does not exist."""
    place = walk.resolve(actor, AT_FDCWD, path)
    if not isinstance(place, int):
        ns.bind(place, place, True, place.mount.flags | MS_RDONLY)


def mask(ns, actor, path) -> None:
    """Hide `path`: an empty directory or /dev/null over it; nothing if it does not exist."""
    place = walk.resolve(actor, AT_FDCWD, path)
    if isinstance(place, int):
        return
    if place.inode.mode & S_IFDIR == S_IFDIR:
        ns.mount(TmpfsFS(0o755), place, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, b"tmpfs")
        return
    null = walk.resolve(actor, AT_FDCWD, b"/dev/null")
    if not isinstance(null, int):
        ns.bind(null, place, False, null.mount.flags)
