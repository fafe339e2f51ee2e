"""Handlers that change the host's files or donate descriptors.

Each asks for its node with writable() first, where a read-only mount ends it.  The same conventions as in read_ops.
"""

import _socket
import errno
import os
import stat

from gofer import protocol as p
from gofer._host import attributes, open_beneath, set_owner, set_times
from gofer._host import rename as host_rename
from gofer.nodes import must, refuse
from gofer.read_ops import check_xattr
from gofer.rpc import rpc

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
_NO_TIME = 0, UTIME_OMIT
SUN_PATH_MAX = 107
BACKLOG_MAX = 4096


def _access(flags):
    """The access mode in open flags (EINVAL for the fourth)."""
    mode = flags & os.O_ACCMODE
    if mode == os.O_ACCMODE:
        refuse(errno.EINVAL)
    return mode


def _mode(mode):
    """Permission bits, refused if there are others."""
    if mode & ~0o7777:
        refuse(errno.EINVAL)
    return mode


def _check_target(target):
    if not target:
        refuse(errno.ENOENT)  # symlink(2)
    if b"\0" in target:
        refuse(errno.EINVAL)
    if len(target) >= p.PATH_MAX:
        refuse(errno.ENAMETOOLONG)


def _settle(server, node, attr, mode, uid, gid):
    """Give the new object `node`, which this takes over, owner and mode -> (handle and attributes, packed).

    attr: its present ATTR.  mode: None for a symlink, which has none of its own."""
    fields = p.ATTR.unpack(attr)
    changed = False
    try:
        if (uid != p.NO_ID and uid != fields[1]) or (gid != p.NO_ID and gid != fields[2]):
            must(set_owner(node.fd, uid, gid))
            changed = True
        # after the owner: chown takes setuid and setgid away.  A setgid directory or a default ACL above adds bits.
        if mode is not None and (changed or mode != fields[0] & 0o7777):
            os.chmod(node.path(), mode)
            changed = True
        if changed:
            attr = must(attributes(node.fd))
    except OSError:
        node.close()
        raise
    return server.nodes.add(node).to_bytes(4, "little") + attr


def _remove(parent, name, type):
    """Undo the making of `name`."""
    try:
        if type == stat.S_IFDIR:
            os.rmdir(name, dir_fd=parent.fd)
        else:
            os.unlink(name, dir_fd=parent.fd)
    except OSError:
        pass  # somebody else was faster; the error that led here is the one to report


def _made(server, parent, name, type, mode, uid, gid):
    """Find the directory, symlink, fifo or socket just made as `name` and settle it -> its node, packed.

    Others may work in the same host directory.  What stands under the name now gets owner and mode only if it can be
    what we made: ours, with no second link (a hard link to another file would be a present to its thief).  If it is not
    ours (a server that squashes owners, say) the answer's attributes tell."""
    node, attr = server.nodes.find(parent, name)
    fields = p.ATTR.unpack(attr)
    if node.type != type:
        node.close()
        refuse(errno.ESTALE)
    if fields[1] != server.uid or (type != stat.S_IFDIR and fields[3] != 1):
        return server.nodes.add(node).to_bytes(4, "little") + attr
    try:
        return _settle(server, node, attr, mode, uid, gid)
    except OSError:
        _remove(parent, name, type)
        raise


@rpc(p.Open)
def open_(server, handle, flags, names):
    """Read; write with a write mode or O_TRUNC."""
    access = _access(flags)
    node = server.nodes.reach(handle, names)
    try:
        server.donate(_open_node(server, node, access, access | flags & os.O_TRUNC))
    finally:
        if names:
            node.close()
    return ()


def _open_node(server, node, access, wanted):
    """A descriptor of the node.  access: its access mode; wanted: that and O_TRUNC, if it is asked for."""
    if node.type == stat.S_IFLNK:
        refuse(errno.ELOOP)
    if node.type == stat.S_IFDIR:
        # not even for reading: a directory descriptor would open everything up to the host's root
        refuse(errno.EISDIR)
    if node.type == stat.S_IFIFO and node.mount.flags & p.MOUNT_FIFOS:
        if wanted != os.O_RDONLY:
            server.nodes.check_writable(node)
        wanted = access | os.O_NONBLOCK  # never wait for the other end here
    elif node.type != stat.S_IFREG:
        refuse(errno.ENXIO)
    elif wanted != os.O_RDONLY:
        server.nodes.check_writable(node)
    if node.closed_off:
        refuse(errno.EACCES)
    return node.open(wanted)


@rpc(p.Create)
def create(server, handle, flags, mode, uid, gid, name):
    """Write."""
    parent = server.nodes.writable_directory(handle, name)
    fd = must(open_beneath(parent.fd, name, _access(flags) | os.O_CREAT | os.O_EXCL | os.O_NOCTTY, _mode(mode) & 0o777))
    try:
        node, attr = server.nodes.adopt(os.open(b"%d" % fd, os.O_PATH | os.O_CLOEXEC), parent.mount)
        packed = _settle(server, node, attr, mode, uid, gid)
    except OSError:
        os.close(fd)
        _remove(parent, name, stat.S_IFREG)
        raise
    server.donate(fd)
    return (packed,)


@rpc(p.Tmpfile)
def tmpfile(server, handle, flags, mode, uid, gid):
    """Write."""
    parent = server.nodes.writable(handle)
    if parent.type != stat.S_IFDIR:
        refuse(errno.ENOTDIR)
    # "." is the one name that the kernel wants here; it cannot lead anywhere else
    fd = must(open_beneath(parent.fd, b".", _access(flags) | os.O_TMPFILE | os.O_NOCTTY, _mode(mode) & 0o777))
    try:
        node, attr = server.nodes.adopt(os.open(b"%d" % fd, os.O_PATH | os.O_CLOEXEC), parent.mount)
        packed = _settle(server, node, attr, mode, uid, gid)
    except OSError:
        os.close(fd)
        raise
    server.donate(fd)
    return (packed,)


@rpc(p.Mkdir)
def mkdir(server, handle, mode, uid, gid, name):
    """Write."""
    parent = server.nodes.writable_directory(handle, name)
    os.mkdir(name, _mode(mode) & 0o1777, dir_fd=parent.fd)
    return (_made(server, parent, name, stat.S_IFDIR, mode, uid, gid),)


@rpc(p.Symlink)
def symlink(server, handle, uid, gid, name, target):
    """Write."""
    parent = server.nodes.writable_directory(handle, name)
    _check_target(target)
    os.symlink(target, name, dir_fd=parent.fd)
    return (_made(server, parent, name, stat.S_IFLNK, None, uid, gid),)


@rpc(p.Mknod)
def mknod(server, handle, mode, uid, gid, name):
    """Write."""
    parent = server.nodes.writable_directory(handle, name)
    type = stat.S_IFMT(mode)
    if type in (stat.S_IFCHR, stat.S_IFBLK):
        refuse(errno.EPERM)
    if type not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
        refuse(errno.EINVAL)
    os.mknod(name, type | mode & 0o777, dir_fd=parent.fd)
    return (_made(server, parent, name, type, mode & 0o7777, uid, gid),)


@rpc(p.Link)
def link(server, handle, parent, name):
    """Write."""
    directory = server.nodes.writable_directory(parent, name)
    node = server.nodes.writable(handle)
    if node.mount is not directory.mount:
        refuse(errno.EXDEV)
    if node.type == stat.S_IFDIR:
        refuse(errno.EPERM)
    os.link(node.path(), name, dst_dir_fd=directory.fd, follow_symlinks=True)  # up to the inode, see Node.path
    return (must(attributes(node.fd)),)


@rpc(p.Rename)
def rename(server, handle, target, flags, name, new_name):
    """Write."""
    old = server.nodes.writable_directory(handle, name)
    new = server.nodes.writable_directory(target, new_name)
    if old.mount is not new.mount:
        refuse(errno.EXDEV)
    if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        refuse(errno.EINVAL)
    must(host_rename(old.fd, name, new.fd, new_name, flags))
    return ()


@rpc(p.Unlink)
def unlink(server, handle, flags, name):
    """Write."""
    parent = server.nodes.writable_directory(handle, name)
    if flags & ~p.UNLINK_DIR:
        refuse(errno.EINVAL)
    if flags:
        os.rmdir(name, dir_fd=parent.fd)
    else:
        os.unlink(name, dir_fd=parent.fd)
    return ()


@rpc(p.Setattr)
def setattr_(server, handle, mask, mode, uid, gid, size, atime, atime_nsec, mtime, mtime_nsec):
    """Write."""
    node = server.nodes.writable(handle)
    both = p.SET_ATIME | p.SET_ATIME_NOW
    also = p.SET_MTIME | p.SET_MTIME_NOW
    if mask & ~p.SET_ALL or mask & both == both or mask & also == also or atime_nsec | mtime_nsec >= 1 << 30:
        refuse(errno.EINVAL)
    if max(atime_nsec, mtime_nsec) >= 1000000000:  # UTIME_NOW and UTIME_OMIT among them
        refuse(errno.EINVAL)
    if mask & p.SET_SIZE:
        if node.type == stat.S_IFDIR:
            refuse(errno.EISDIR)
        if node.type != stat.S_IFREG or size < 0:
            refuse(errno.EINVAL)
        os.truncate(node.path(), size)
    if mask & (p.SET_UID | p.SET_GID):
        must(set_owner(node.fd, uid if mask & p.SET_UID else p.NO_ID, gid if mask & p.SET_GID else p.NO_ID))
    if mask & p.SET_MODE:
        if node.type == stat.S_IFLNK:
            refuse(errno.EOPNOTSUPP)
        os.chmod(node.path(), _mode(mode))
    if mask & (both | also):
        a = (0, UTIME_NOW) if mask & p.SET_ATIME_NOW else (atime, atime_nsec) if mask & p.SET_ATIME else _NO_TIME
        m = (0, UTIME_NOW) if mask & p.SET_MTIME_NOW else (mtime, mtime_nsec) if mask & p.SET_MTIME else _NO_TIME
        must(set_times(node.fd, *a, *m))
    return (must(attributes(node.fd)),)


@rpc(p.Setxattr)
def setxattr(server, handle, flags, name, value):
    """Write."""
    node = server.nodes.writable(handle)
    check_xattr(name)
    if flags & ~(os.XATTR_CREATE | os.XATTR_REPLACE):
        refuse(errno.EINVAL)
    os.setxattr(node.path(), name, value, flags)
    return ()


@rpc(p.Removexattr)
def removexattr(server, handle, name):
    """Write."""
    node = server.nodes.writable(handle)
    check_xattr(name)
    os.removexattr(node.path(), name)
    return ()


@rpc(p.Fsync)
def fsync(server, handle, datasync):
    """Neither: nothing changes that was not changed before, so a read-only mount allows it."""
    node = server.nodes.get(handle)
    if node.type not in (stat.S_IFREG, stat.S_IFDIR):
        refuse(errno.EINVAL)
    if node.closed_off:
        refuse(errno.EACCES)
    fd = node.open(os.O_RDONLY)
    try:
        if datasync:
            os.fdatasync(fd)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)
    return ()


@rpc(p.Connect)
def connect(server, handle, kind):
    """Neither: talks to whoever listens there on the host, where the mount allows it."""
    node = server.nodes.get(handle)
    if not node.mount.flags & p.MOUNT_SOCKETS or node.closed_off:
        refuse(errno.EACCES)
    if node.type != stat.S_IFSOCK:
        refuse(errno.ENOTSOCK)
    if kind not in (_socket.SOCK_STREAM, _socket.SOCK_DGRAM, _socket.SOCK_SEQPACKET):
        refuse(errno.EINVAL)
    sock = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)  # a full backlog must not hold the gofer up: EAGAIN
        sock.connect(node.path())
        server.donate(sock.detach())
    finally:
        sock.close()
    return ()


@rpc(p.Bind)
def bind(server, handle, kind, mode, uid, gid, name):
    """Write; the host's programs can connect to what is made, where the mount allows it."""
    parent = server.nodes.writable_directory(handle, name)
    if not parent.mount.flags & p.MOUNT_BIND:
        refuse(errno.EACCES)
    if kind not in (_socket.SOCK_STREAM, _socket.SOCK_DGRAM, _socket.SOCK_SEQPACKET):
        refuse(errno.EINVAL)
    path = parent.path() + b"/" + name
    if len(path) > SUN_PATH_MAX:
        refuse(errno.ENAMETOOLONG)
    mode = _mode(mode)
    sock = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sock.setblocking(False)
        sock.bind(path)
        packed = _made(server, parent, name, stat.S_IFSOCK, mode, uid, gid)
        server.nodes.get(int.from_bytes(packed[:4], "little")).socket = os.dup(sock.fileno())
        server.donate(sock.detach())
    finally:
        sock.close()
    return (packed,)


@rpc(p.Listen)
def listen(server, handle, backlog):
    """Neither."""
    node = server.nodes.get(handle)
    if node.socket < 0:
        refuse(errno.EINVAL)
    sock = _socket.socket(fileno=node.socket)
    try:
        sock.listen(min(backlog, BACKLOG_MAX))
    finally:
        sock.detach()
    return ()
