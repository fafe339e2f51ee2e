"""Names of Unix sockets (unix(7), "Address format"): paths, abstract names, and the tables that lead to bound sockets."""

from sentry.abi.errno import EADDRINUSE, ECONNREFUSED, EEXIST, EINVAL
from sentry.abi.fs import MAY_WRITE, S_IFMT, S_IFSOCK
from sentry.net.socket import AF_UNIX, Socket
from sentry.vfs import ops, walk
from sentry.vfs.perm import inode_permission

AT_FDCWD = -100
PATH_MAX = 108

# find, mknod, bound of unix_host.py, where --host-uds allows sockets of the host.
HOST: list = []

# Sockets by the identity of the inode they are bound to (they hold its path, so that stays its own); all of them, by the number
# of their own inode. (Abstract names belong to a network namespace.)
BY_INODE: "dict[int | tuple, Socket]" = {}
ALL: "dict[int, Socket]" = {}


def parse(addr: bytes) -> "bytes | int":
    """The name in a sockaddr_un: a path, or b"\\0" + abstract name."""
    if len(addr) <= 2 or len(addr) > 2 + PATH_MAX or int.from_bytes(addr[:2], "little") != AF_UNIX:
        return -EINVAL
    name = addr[2:]
    return name if name[0] == 0 else name.split(b"\0", 1)[0]


def make(name: bytes) -> bytes:
    """sockaddr_un of a bound name, with the length that Linux gives it."""
    return b"\1\0" + name + (b"" if name[0] == 0 else b"\0")


def bind(t, sock, addr: bytes) -> int:
    if len(addr) == 2 and int.from_bytes(addr, "little") == AF_UNIX:
        return autobind(sock)
    name = parse(addr)
    if isinstance(name, int):
        return name
    if name[0] == 0:
        if sock.address:
            return -EINVAL
        if name in sock.net.abstract:
            return -EADDRINUSE
        sock.net.abstract[name] = sock
        sock.bound_name = name
    else:
        # net/unix/af_unix.c: unix_bind_bsd: the file is made first, and taken away if the socket turns out to have a name
        mode = S_IFSOCK | sock.inode.mode & 0o777
        error = HOST[0][1](t, sock, name, mode) if HOST else ops.mknod(t, AT_FDCWD, name, mode, 0)
        if error:
            return -EADDRINUSE if error == -EEXIST else error
        if sock.address:
            ops.unlink(t, AT_FDCWD, name)
            return -EINVAL
        path = walk.resolve(t, AT_FDCWD, name)
        if isinstance(path, int):
            return path
        sock.bound_path = path.incref()
        BY_INODE[path.inode.identity()] = sock
        if HOST:
            HOST[0][2](sock, path.inode)
    sock.address = make(name)
    return 0


def autobind(sock) -> int:
    """An abstract name of five hexadecimal digits (unix(7), "Autobind feature")."""
    if sock.address:
        return 0
    for number in range(1 << 20):
        name = b"\0%05x" % number
        if name not in sock.net.abstract:
            sock.net.abstract[name] = sock
            sock.bound_name = name
            sock.address = make(name)
            return 0
    return -EADDRINUSE


def unbind(sock) -> None:
    """The socket has ended."""
    if sock.bound_path is not None:
        key = sock.bound_path.inode.identity()
        if BY_INODE.get(key) is sock:
            del BY_INODE[key]
        sock.bound_path.decref()
    elif sock.bound_name is not None:
        sock.net.abstract.pop(sock.bound_name, None)


def find(t, sock, addr: bytes) -> "Socket | int":
    """The socket that is bound to the name in a sockaddr_un, for `sock` to connect or send to, or -errno."""
    name = parse(addr)
    if isinstance(name, int):
        return name
    if name[0] == 0:
        return sock.net.abstract.get(name, -ECONNREFUSED)
    path = walk.resolve(t, AT_FDCWD, name)
    if isinstance(path, int):
        return path
    inode = path.inode
    error = inode_permission(t.creds, inode, MAY_WRITE)
    if error:
        return error
    if inode.mode & S_IFMT != S_IFSOCK:
        return -ECONNREFUSED
    found = BY_INODE.get(inode.identity())
    if found is not None:
        return found
    return HOST[0][0](t, sock, inode) if HOST else -ECONNREFUSED
