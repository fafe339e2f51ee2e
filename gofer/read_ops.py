"""Handlers that change nothing on the host, and the one that forgets handles.

A handler gets the server and the request's fields; it returns the reply's fields or raises OSError.
"""

import errno
import os
import stat
import struct

from gofer import protocol as p
from gofer._host import attributes, entries, file_system
from gofer.nodes import check_name, must, refuse
from gofer.rpc import rpc

_NO_NODE = struct.pack("<I", 0)

# Extended attributes that make sense in a container: what its programs set, and file capabilities (whose
# meaning the Sentry decides).  ACLs are left out as on a file system mounted noacl: the Sentry does not judge by them.
XATTR_PREFIX = b"user."
XATTR_NAMES = (b"security.capability",)


def check_xattr(name):
    """Refuse extended attributes that the client has no business with."""
    if b"\0" in name or not name:
        refuse(errno.EINVAL)
    if len(name) > 255:
        refuse(errno.ERANGE)
    if not name.startswith(XATTR_PREFIX) and name not in XATTR_NAMES:
        refuse(errno.EOPNOTSUPP)


@rpc(p.Hello)
def hello(server, version, flags):
    """Read.  Must come first."""
    if version != p.VERSION or flags:
        refuse(errno.EPROTO)
    server.greeted = True
    return p.VERSION, 0, len(server.nodes.mounts)


@rpc(p.Attach)
def attach(server, index):
    """Read."""
    node, attr, flags = server.nodes.root(index)
    return flags, server.nodes.add(node).to_bytes(4, "little") + attr


@rpc(p.Walk)
def walk(server, handle, flags, names):
    """Read."""
    nodes = server.nodes
    node = nodes.get(handle)
    if node.type != stat.S_IFDIR:
        refuse(errno.ENOTDIR)
    names = names.split(b"\0")
    if flags & ~p.WALK_LAST or len(names) > p.WALK_MAX:
        refuse(errno.EINVAL)
    found = []  # packed nodes
    added = []  # handles, to be taken back if the walk breaks off
    passed = None  # a node found without a handle of its own
    error = 0
    link = b""
    last = len(names) - 1
    try:
        for at, name in enumerate(names):
            try:
                check_name(name)
                child, attr = nodes.find(node, name)
            except OSError as e:
                # a broken request is the client's error; everything else is news about the directory
                if e.errno == errno.EINVAL or (e.errno in (errno.EMFILE, errno.ENFILE) and not found):
                    raise
                error = e.errno
                break
            if passed is not None:
                passed.close()
                passed = None
            if flags & p.WALK_LAST and at < last and child.type == stat.S_IFDIR:
                passed = child
                found.append(_NO_NODE + attr)
            else:
                handle = nodes.add(child)
                added.append(handle)
                found.append(handle.to_bytes(4, "little") + attr)
            node = child
            if child.type != stat.S_IFDIR:
                if child.type == stat.S_IFLNK:
                    link = os.readlink(b"", dir_fd=child.fd)
                break
    except OSError:
        for handle in added:
            nodes.close(handle)
        raise
    finally:
        if passed is not None:
            passed.close()
    return error, b"".join(found), link


@rpc(p.Getattr)
def getattr_(server, handle):
    """Read."""
    return (must(attributes(server.nodes.get(handle).fd)),)


@rpc(p.Readdir)
def readdir(server, handle, cookie, names):
    """Read.  The host's directory offset is the cookie; a handle's descriptor stays open until the pass ends."""
    nodes = server.nodes
    node = nodes.reach(handle, names)
    try:
        if node.type != stat.S_IFDIR:
            refuse(errno.ENOTDIR)
        if node.closed_off:
            return 1, b""
        found = entries(nodes.listing(node), cookie)
        if isinstance(found, int) or found[1] or names:
            nodes.end_listing(node)
    finally:
        if names:
            node.close()
    packed, end = must(found)
    return end, packed


@rpc(p.Readlink)
def readlink(server, handle):
    """Read."""
    node = server.nodes.get(handle)
    if node.type != stat.S_IFLNK:
        refuse(errno.EINVAL)
    return (os.readlink(b"", dir_fd=node.fd),)


@rpc(p.Statfs)
def statfs(server, handle):
    """Read."""
    return must(file_system(server.nodes.get(handle).fd))


@rpc(p.Getxattr)
def getxattr(server, handle, name):
    """Read."""
    node = server.nodes.get(handle)
    check_xattr(name)
    if node.closed_off:
        refuse(errno.EACCES)
    return (os.getxattr(node.path(), name),)


@rpc(p.Listxattr)
def listxattr(server, handle):
    """Read."""
    node = server.nodes.get(handle)
    if node.closed_off:
        return (b"",)
    names = [os.fsencode(name) for name in os.listxattr(node.path())]
    return (b"".join([name + b"\0" for name in names if name.startswith(XATTR_PREFIX) or name in XATTR_NAMES]),)


@rpc(p.Close)
def close(server, handles):
    """Neither: the client's own table only."""
    for at in range(0, len(handles) & ~3, 4):
        server.nodes.close(int.from_bytes(handles[at : at + 4], "little"))
    return ()


@rpc(p.Farewell)
def farewell(server, code):
    server.code = code & 0xFF
    return ()
