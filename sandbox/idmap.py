"""User and group ids: those of the container, and which host ids they stand for (OCI config-linux.md "User namespace
mappings", config.md "Mounts": idmapped mounts; user_namespaces(7), mount_setattr(2)).

The gofer's user namespace has the container's mapping, so it shows and takes the container's ids, and the host kernel says
which files it may touch: the same as for a container whose programs are in that namespace. The Sentry knows the
container's ids only.
"""

import os

from sandbox import _host, child
from sandbox.errors import CliError, os_text

NEWIDMAP = {"uid": "newuidmap", "gid": "newgidmap"}
PLACES = ("/usr/bin/", "/bin/", "/usr/local/bin/")


class Map:
    """Mappings of a container: lists of (id inside, id outside, count) for "uid" and "gid"."""

    def __init__(self, uid, gid):
        self.rows = {"uid": uid, "gid": gid}

    def text(self, kind) -> str:
        return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in self.rows[kind])

    def has(self, kind, number) -> bool:
        """Is there such an id in the container?"""
        return any(inside <= number < inside + count for inside, _, count in self.rows[kind])


def rows(entries) -> list:
    """The rows of a checked list of OCI mappings."""
    return [(entry["containerID"], entry["hostID"], entry["size"]) for entry in entries]


def of(spec, rootless) -> Map:
    """The mapping of a container. Without one in the configuration: without privileges root stands for the caller, else
    each id for itself. CliError if ids that are needed are missing."""
    linux = spec.get("linux") or {}
    joined = next((ns["path"] for ns in linux.get("namespaces") or () if ns["type"] == "user" and ns.get("path")), None)
    if linux.get("uidMappings"):
        map = Map(rows(linux["uidMappings"]), rows(linux.get("gidMappings") or ()))
    elif joined:
        map = read(joined)
    elif rootless:
        map = Map([(0, os.geteuid(), 1)], [(0, os.getegid(), 1)])
    else:
        return Map([(first, first, count) for first, count in child.read_map("uid")], [(first, first, count) for first, count in child.read_map("gid")])
    user = spec["process"].get("user") or {}
    for kind in ("uid", "gid"):
        for number, what in ((0, "the container's root"), (user.get(kind) or 0, f"process.user.{kind}")):
            if not map.has(kind, number):
                raise CliError(f"linux.{kind}Mappings: {kind} {number} is not mapped ({what})")
    return map


def read(path) -> Map:
    """The mapping of the user namespace at `path`, as ids of ours. CliError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _host.setns(fd, _host.CLONE_NEWUSER)
            for kind in ("uid", "gid"):
                with open(f"/proc/self/{kind}_map", "rb") as file:
                    os.write(writer, file.read() + b".")
        except OSError as error:
            os.write(writer, b"!" + os_text(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read().decode()
    os.waitpid(pid, 0)
    if "!" in data or data.count(".") != 2:
        raise CliError(f"user namespace {path}: {data.partition('!')[2] or 'it cannot be read'}")
    return Map(*([tuple(map(int, line.split())) for line in part.splitlines()] for part in data.split(".")[:2]))


def give(pid, map, rootless) -> None:
    """Write the mapping of a new user namespace, `pid` its first process. CliError."""
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    if rootless and any(len(map.rows[kind]) != 1 or map.rows[kind][0][1:] != (own[kind], 1) for kind in own):
        for kind in ("uid", "gid"):
            run_helper(kind, pid, map)
        return
    child.write_maps(pid, map.text("uid"), map.text("gid"), not rootless)


def run_helper(kind, pid, map) -> None:
    """newuidmap(1) and newgidmap(1), which look the ranges up in /etc/subuid and /etc/subgid. CliError."""
    name = NEWIDMAP[kind]
    path = next((place + name for place in PLACES if os.path.exists(place + name)), None)
    if path is None:
        raise CliError(f"linux.{kind}Mappings: {name} is needed to map several ids without root, and is not installed")
    reader, writer = os.pipe()
    arguments = [name, str(pid), *map.text(kind).split()]
    helper = os.posix_spawn(path, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 2)])
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as file:
        said = " ".join(file.read(4096).split())
    if os.waitpid(helper, 0)[1]:
        raise CliError(f"linux.{kind}Mappings: {said or name + ' failed'}")


def mapped_tree(path, recursive, below, map) -> int:
    """A descriptor of the mount tree at `path` (recursive: with the mounts below) with its owners mapped: id `inside` of the
    file system is `outside`; below: also in those mounts. CliError."""
    pid, pidfd = _host.clone(_host.CLONE_NEWUSER)
    if pid == 0:
        try:
            while True:
                _host.pause()
        finally:
            os._exit(0)
    tree = -1
    try:
        child.write_maps(pid, map.text("uid"), map.text("gid"), True)
        namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            tree = _host.open_tree(path, recursive)
            _host.map_owners(tree, namespace, below)
        finally:
            os.close(namespace)
    except OSError as error:
        if tree >= 0:
            os.close(tree)
        raise CliError(f"idmapped mount of {path}: {os_text(error)}") from None
    finally:
        _host.pidfd_send_signal(pidfd, 9)
        os.waitpid(pid, 0)
        os.close(pidfd)
    return tree
