"""The mount option `tmpcopyup`: a tmpfs begins with what the image has in the directory that it is mounted on."""

from sentry.abi.fs import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, AT_SYMLINK_NOFOLLOW
from sentry.vfs import ops, walk
from sentry.vfs.file import O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_WRONLY
from sentry.vfs.regular import DIRENT

AT_FDCWD = -100
PIECE = 1 << 20


class Node:
    """A file of the tree that is copied, below the directory `name` stands in. data: bytes of a regular file, target of a
    symbolic link, children of a directory."""

    __slots__ = ("name", "mode", "uid", "gid", "rdev", "data")

    def __init__(self, name, inode, data):
        self.name, self.data = name, data
        self.mode, self.uid, self.gid, self.rdev = inode.mode, inode.uid, inode.gid, inode.rdev


def read_tree(actor, path: bytes, name: bytes = b"") -> "Node | int":
    """What is at `path`, without other mounts; -errno."""
    place = walk.resolve(actor, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW if name else 0)
    if isinstance(place, int):
        return place
    inode = place.inode
    error = inode.getattr()
    if error:
        return error
    kind = inode.mode & S_IFMT
    data = None
    if kind == S_IFDIR:
        data = read_directory(actor, path)
    elif kind == S_IFLNK:
        data = inode.readlink(actor)
    elif kind == S_IFREG:
        data = read_file(actor, path)
    return data if isinstance(data, int) else Node(name, inode, data)


def read_directory(actor, path) -> "list | int":
    file = ops.open(actor, AT_FDCWD, path, O_RDONLY | O_DIRECTORY)
    if isinstance(file, int):
        return file
    children = []
    try:
        while True:
            records = file.getdents(actor, PIECE)
            if isinstance(records, int):
                return records
            if not records:
                return children
            at = 0
            while at < len(records):
                length = DIRENT.unpack_from(records, at)[2]
                name = records[at + DIRENT.size : at + length].split(b"\0")[0]
                at += length
                if name in (b".", b".."):
                    continue
                node = read_tree(actor, path + b"/" + name, name)
                if isinstance(node, int):
                    return node
                children.append(node)
    finally:
        file.decref()


def read_file(actor, path) -> "bytes | int":
    file = ops.open(actor, AT_FDCWD, path, O_RDONLY)
    if isinstance(file, int):
        return file
    parts = []
    try:
        while True:
            data = file.read(actor, PIECE, None)
            if isinstance(data, int):
                return data
            if not data:
                return b"".join(parts)
            parts.append(data)
    finally:
        file.decref()


def write_tree(actor, path: bytes, children) -> int:
    """Make what `read_tree` has found below the directory `path`. 0 or -errno."""
    for node in children:
        error = write_node(actor, path + b"/" + node.name, node)
        if error:
            return error
    return 0


def write_node(actor, path, node) -> int:
    kind = node.mode & S_IFMT
    if kind == S_IFDIR:
        error = ops.mkdir(actor, AT_FDCWD, path, 0o700) or write_tree(actor, path, node.data)
    elif kind == S_IFLNK:
        error = ops.symlink(actor, node.data, AT_FDCWD, path)
    elif kind == S_IFREG:
        error = write_file(actor, path, node.data)
    else:
        error = ops.mknod(actor, AT_FDCWD, path, node.mode, node.rdev)
    place = walk.resolve(actor, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)
    if error or isinstance(place, int):
        return error or place
    error = ops.chown(actor, place, node.uid, node.gid)
    if error or kind == S_IFLNK:
        return error
    return ops.chmod(actor, place, node.mode & 0o7777)


def write_file(actor, path, data) -> int:
    file = ops.open(actor, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    if isinstance(file, int):
        return file
    try:
        at = 0
        while at < len(data):
            done = file.write(actor, data[at : at + PIECE], None)
            if done < 0:
                return done
            at += done
        return 0
    finally:
        file.decref()
