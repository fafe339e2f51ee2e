"""The Sentry's side of the gofer protocol (gofer/protocol.py): one method a request.

Every method waits for the answer, one send and one receive.  Expected errors come back as negative
errno integers and nothing raises.  The gofer is trusted to hold the files, not to behave: answers are
bounds-checked, and a gofer that died, misses its deadline or sends anything malformed is given up
for good (`dead` says why): this call and all later ones return -EIO.

Handles are integers and name inodes, also after renames; the caller releases each one that it was
given.  Donated descriptors come back as plain integers that the caller owns.  Names and targets are bytes; a
name is one component.  Ownership, mode and times are set exactly as given: umask, setgid directories and
permission checks are the caller's business.
"""

import _socket
import errno
import os
import struct

from gofer import protocol as p
from sentry.core import log

_SOL_SOCKET = _socket.SOL_SOCKET
_SCM_RIGHTS = _socket.SCM_RIGHTS
_RIGHTS_SPACE = _socket.CMSG_SPACE(4 * 8)  # room for more than the one expected, so that extra ones are seen and closed
_RELEASE_BATCH = 64
_NSEC = 1000000000

TIME_NOW = -1 << 64  # as a time for setattr: the host's present time

_EIO = -errno.EIO


class GoferDead(Exception):
    """The gofer did not even answer the greeting; the text says why.  Raised by the constructor only."""


class Attr:
    """Attributes of an inode; sizes in bytes, `blocks` in 512 bytes, times in ns, `dev`/`rdev` as st_dev.

    `attributes` are the STATX_ATTR_* bits that fit 32 bits; `btime` is 0 where the host has none.
    """

    __slots__ = (
        "mode", "uid", "gid", "nlink", "blksize", "attributes", "ino", "size", "blocks", "dev", "rdev",
        "atime", "mtime", "ctime", "btime",
    )  # fmt: skip

    def __init__(self, f):
        """f: the fields of protocol.ATTR.  ValueError: no inode looks like that."""
        (self.mode, self.uid, self.gid, self.nlink, self.blksize, self.attributes, self.ino, self.size,
         self.blocks, self.dev, self.rdev, a, m, c, b, an, mn, cn, bn) = f  # fmt: skip
        if self.size < 0 or self.blocks < 0 or (an | mn | cn | bn) >= 1 << 30:
            raise ValueError("impossible attributes")
        self.atime = a * _NSEC + an
        self.mtime = m * _NSEC + mn
        self.ctime = c * _NSEC + cn
        self.btime = b * _NSEC + bn


class Entry:
    """One directory entry: name, ino and type (DT_*) of the directory itself, cookie: where readdir goes on behind it."""

    __slots__ = ("name", "ino", "type", "cookie", "_attr")

    def __init__(self, name, ino, type, attr, cookie):
        """attr: protocol.ATTR, packed, or None."""
        self.name = name
        self.ino = ino
        self.type = type
        self.cookie = cookie
        self._attr = attr

    @property
    def attr(self):
        """Attr; None when the object was gone by then.  Decoded at each use: most listings need none."""
        packed = self._attr
        if packed is None:
            return None
        try:
            return Attr(p.ATTR.unpack(packed))
        except ValueError:
            return None


class Walked:
    """Result of walk: `nodes`, a list of (handle, Attr) of the components found, in order; `errno`, positive, why
    the one behind them failed (ENOENT, EACCES ...) or 0; `link`, the target if the last node is a symlink, else None.

    errno 0 with fewer nodes than names: the last node is no directory.
    """

    __slots__ = ("nodes", "errno", "link")

    def __init__(self, nodes, errno, link):
        self.nodes = nodes
        self.errno = errno
        self.link = link


class Statfs:
    """statfs(2) fields; fsid is one 64-bit integer."""

    __slots__ = ("type", "bsize", "blocks", "bfree", "bavail", "files", "ffree", "fsid", "namelen", "frsize", "flags")

    def __init__(self, f):
        (self.type, self.bsize, self.blocks, self.bfree, self.bavail, self.files, self.ffree, self.fsid,
         self.namelen, self.frsize, self.flags) = f  # fmt: skip


class GoferClient:
    """A conversation with one gofer.

    mounts: how many mounts it serves.  dead: None, or the reason why it was given up.  on_dead: called without
    arguments when that happens; the socket stays open until shutdown, so that who watches it sees a gofer that died.
    keep: Platform.keep.
    """

    def __init__(self, sock, timeout=10, keep=lambda fd: None):
        """sock: our end of the SOCK_SEQPACKET pair, a descriptor number or a socket (the client owns it from now on).
        timeout: seconds to wait for one answer.  Raises GoferDead."""
        fd = sock if isinstance(sock, int) else sock.detach()
        self._sock = _socket.socket(fileno=fd)
        self._send = self._sock.send
        self._receive = self._sock.recvmsg
        self._recv = self._sock.recv
        self._sequence = 0
        self._released = []
        self.dead = None
        self.on_dead = None
        self.keep = keep
        self.mounts = 0
        # the kernel's own timeouts: Python's would add a poll(2) to each call
        seconds = int(timeout)
        timeval = seconds.to_bytes(8, "little") + int((timeout - seconds) * 1000000).to_bytes(8, "little")
        self._sock.settimeout(None)
        self._sock.setsockopt(_SOL_SOCKET, _socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(_SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
        reply = self._call(p.Hello, (p.VERSION, 0))
        if isinstance(reply, int):
            self._sock.close()
            raise GoferDead(self.dead or f"greeting refused: {os.strerror(-reply)}")
        if reply[0] != p.VERSION:
            self._give_up(f"speaks version {reply[0]}")
            self._sock.close()
            raise GoferDead(self.dead)
        self.mounts = reply[2]

    # ---- handles and looking up

    def attach(self, index):
        """Root of mount `index` -> (handle, Attr, MOUNT_* flags).  ENOENT: no such mount."""
        reply = self._call(p.Attach, (index,))
        if isinstance(reply, int):
            return reply
        node = self._node(reply[1])
        return node if isinstance(node, int) else (*node, reply[0])

    def walk(self, handle, names, last_only=False):
        """Look the list `names` up, one below the other, from directory `handle` -> Walked.

        Never follows a symlink, never leaves the mount; stops at the first component that is missing or no directory.
        At most WALK_MAX names.  last_only: take a handle for the last node only (the others are 0).
        Errors (the walk could not begin): EBADF, ENOTDIR, EINVAL for "", ".", "..", a slash; ENAMETOOLONG is
        reported in Walked.
        """
        reply = self._call(p.Walk, (handle, p.WALK_LAST if last_only else 0, b"\0".join(names)))
        if isinstance(reply, int):
            return reply
        error, packed, link = reply
        try:
            nodes = [(f[0], Attr(f[1:])) for f in p.NODE.iter_unpack(packed)]
        except (struct.error, ValueError):
            return self._give_up("malformed walk")
        if len(nodes) > len(names) or (not nodes and not error) or error > 4095:
            return self._give_up("malformed walk")
        return Walked(nodes, error, link if nodes and not error and nodes[-1][1].mode & 0o170000 == 0o120000 else None)

    def release(self, handle):
        """Give a handle back, in batches: it may stay open a while.  Never fails."""
        released = self._released
        released.append(handle)
        if len(released) >= _RELEASE_BATCH:
            self.flush()

    def flush(self):
        """Send what release has collected."""
        released = self._released
        if released:
            self.close(released)
            released.clear()

    def close(self, handles):
        """Give a sequence of handles back now, without waiting -> 0."""
        if self.dead is not None:
            return _EIO
        packed = b"".join([h.to_bytes(4, "little") for h in handles])
        try:
            for at in range(0, len(packed), 32768):
                self._send(p.Close.request.encode(p.Close.number, 0, (packed[at : at + 32768],)))
        except OSError as e:
            return self._give_up(f"send: {e.strerror}")
        return 0

    def getattr(self, handle):
        """-> Attr."""
        reply = self._call(p.Getattr, (handle,))
        return reply if isinstance(reply, int) else self._attr(reply[0])

    def readdir(self, handle, cookie=0):
        """Some entries of directory `handle` from `cookie` (0: the start, else an Entry's cookie) -> list of Entry,
        empty at the end.  Without "." and "..".  ENOTDIR, EACCES."""
        listed = self.listing(handle, cookie)
        return listed if isinstance(listed, int) else listed[0]

    def listing(self, handle, cookie=0, names=()):
        """The same -> (list of Entry, whether the directory ends with them).

        names: list the directory that they lead to from `handle`; ENOENT, ENOTDIR also for a symlink on the way."""
        reply = self._call(p.Readdir, (handle, cookie, b"\0".join(names)))
        if isinstance(reply, int):
            return reply
        end, data = reply
        entries = []
        at = 0
        unpack = p.DIRENT.unpack_from
        head = p.DIRENT.size
        fixed = head + p.ATTR.size
        try:
            while at < len(data):
                cookie, ino, type, known, length = unpack(data, at)
                attr = data[at + head : at + fixed] if known else None
                at += fixed
                name = data[at : at + length]
                at += length
                if at > len(data) or not _good_name(name):
                    return self._give_up("malformed directory entry")
                entries.append(Entry(name, ino, type, attr, cookie))
        except struct.error:
            return self._give_up("malformed directory")
        if not entries and not end:
            return self._give_up("empty listing")  # or the caller would ask for ever
        return entries, bool(end)

    def readdir_all(self, handle):
        """Every entry of directory `handle` -> list of Entry."""
        entries = []
        cookie = 0
        while True:
            listed = self.listing(handle, cookie)
            if isinstance(listed, int):
                return listed
            entries += listed[0]
            if listed[1]:
                return entries
            cookie = entries[-1].cookie

    def readlink(self, handle):
        """Target of a symlink -> bytes.  EINVAL: no symlink."""
        reply = self._call(p.Readlink, (handle,))
        return reply if isinstance(reply, int) else reply[0]

    def statfs(self, handle):
        """-> Statfs."""
        reply = self._call(p.Statfs, (handle,))
        return reply if isinstance(reply, int) else Statfs(reply)

    # ---- contents

    def open(self, handle, flags, names=()):
        """Open a regular file -> descriptor with exactly the access mode in `flags` (O_RDONLY, O_WRONLY, O_RDWR), truncated
        if O_TRUNC is given; every other flag is dropped (so no O_APPEND: use pwritev2's RWF_APPEND).

        EISDIR, ELOOP for a symlink, ENXIO for a socket or device, or a fifo unless the mount has MOUNT_FIFOS
        (then it is opened with O_NONBLOCK); EROFS; EACCES; EMFILE: we have no slot left, ENFILE: the gofer has none.

        names: open what they lead to from directory `handle`; ENOENT, ENOTDIR also for a symlink on the way."""
        return self._call_fd(p.Open, (handle, flags, b"\0".join(names)), 0)

    def create(self, handle, name, flags, mode, uid=p.NO_ID, gid=p.NO_ID):
        """Make the regular file `name` in directory `handle` -> (handle, Attr, descriptor with access mode `flags`).

        EEXIST; mode: permission bits with setuid, setgid and sticky."""
        return self._node_and_fd(p.Create, (handle, flags, mode, uid, gid, name))

    def tmpfile(self, handle, flags, mode, uid=p.NO_ID, gid=p.NO_ID):
        """Make a regular file without a name in directory `handle` -> as create; link may give it one.

        flags: O_WRONLY or O_RDWR, else EINVAL.  EOPNOTSUPP: the host's file system cannot."""
        return self._node_and_fd(p.Tmpfile, (handle, flags, mode, uid, gid))

    def connect(self, handle, kind):
        """Connect to the Unix socket `handle` -> non-blocking descriptor of a new socket of type `kind` (SOCK_STREAM, SOCK_DGRAM,
        SOCK_SEQPACKET).  EACCES unless the mount has MOUNT_SOCKETS; ECONNREFUSED, EAGAIN, EPROTOTYPE; ENOTSOCK."""
        return self._call_fd(p.Connect, (handle, kind), 0)

    def bind(self, handle, name, kind, mode, uid=p.NO_ID, gid=p.NO_ID):
        """Make the socket `name` -> (handle, Attr, descriptor bound to it).  EACCES: not allowed here."""
        return self._node_and_fd(p.Bind, (handle, kind, mode, uid, gid, name))

    def listen(self, handle, backlog):
        """listen(2) on the socket that bind made -> 0."""
        return self._call_status(p.Listen, (handle, backlog))

    def fsync(self, handle, datasync=False):
        """fsync(2) of a file or directory -> 0."""
        return self._call_status(p.Fsync, (handle, 1 if datasync else 0))

    # ---- changes; all are EROFS on a read-only mount

    def mkdir(self, handle, name, mode, uid=p.NO_ID, gid=p.NO_ID):
        """-> (handle, Attr) of the new directory."""
        return self._call_node(p.Mkdir, (handle, mode, uid, gid, name))

    def symlink(self, handle, name, target, uid=p.NO_ID, gid=p.NO_ID):
        """-> (handle, Attr) of the new symlink."""
        return self._call_node(p.Symlink, (handle, uid, gid, name, target))

    def mknod(self, handle, name, mode, uid=p.NO_ID, gid=p.NO_ID):
        """Make a fifo, socket or regular file by the type in `mode` -> (handle, Attr).  EPERM: a device."""
        return self._call_node(p.Mknod, (handle, mode, uid, gid, name))

    def link(self, handle, parent, name):
        """Hard link `name` in directory `parent` to the inode `handle` -> its Attr.  EXDEV: another mount."""
        reply = self._call(p.Link, (handle, parent, name))
        return reply if isinstance(reply, int) else self._attr(reply[0])

    def rename(self, handle, name, target, new_name, flags=0):
        """`name` in directory `handle` becomes `new_name` in directory `target` -> 0.

        flags: RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2), else EINVAL.  EXDEV: another mount."""
        return self._call_status(p.Rename, (handle, target, flags, name, new_name))

    def unlink(self, handle, name, directory=False):
        """unlink(2), or rmdir(2) if `directory` -> 0."""
        return self._call_status(p.Unlink, (handle, p.UNLINK_DIR if directory else 0, name))

    def setattr(self, handle, mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
        """Change what is given, in this order: size, owner, mode, times (ns, or TIME_NOW) -> the new Attr.

        Not atomic: give one kind at a time where it matters.  mode: permission bits with setuid, setgid, sticky;
        EOPNOTSUPP for a symlink.  chown clears setuid and setgid bits as chown(2) does, unless mode is given too."""
        mask = 0
        if mode is None:
            mode = 0
        else:
            mask |= p.SET_MODE
        if uid is None:
            uid = 0
        else:
            mask |= p.SET_UID
        if gid is None:
            gid = 0
        else:
            mask |= p.SET_GID
        if size is None:
            size = 0
        else:
            mask |= p.SET_SIZE
        if atime is None:
            atime = 0
        elif atime == TIME_NOW:
            atime = 0
            mask |= p.SET_ATIME_NOW
        else:
            mask |= p.SET_ATIME
        if mtime is None:
            mtime = 0
        elif mtime == TIME_NOW:
            mtime = 0
            mask |= p.SET_MTIME_NOW
        else:
            mask |= p.SET_MTIME
        times = (atime // _NSEC, atime % _NSEC, mtime // _NSEC, mtime % _NSEC)
        reply = self._call(p.Setattr, (handle, mask, mode, uid, gid, size, *times))
        return reply if isinstance(reply, int) else self._attr(reply[0])

    def getxattr(self, handle, name):
        """Value of an extended attribute -> bytes.  ENODATA; EOPNOTSUPP: a name that the gofer does not serve."""
        reply = self._call(p.Getxattr, (handle, name))
        return reply if isinstance(reply, int) else reply[0]

    def setxattr(self, handle, name, value, flags=0):
        """-> 0.  flags: XATTR_CREATE (1, EEXIST) or XATTR_REPLACE (2, ENODATA).  ENOSPC above XATTR_SIZE_MAX bytes."""
        if len(value) > p.XATTR_SIZE_MAX:
            return -errno.ENOSPC
        return self._call_status(p.Setxattr, (handle, flags, name, value))

    def listxattr(self, handle):
        """Names of the extended attributes that getxattr serves -> list of bytes."""
        reply = self._call(p.Listxattr, (handle,))
        return reply if isinstance(reply, int) else [name for name in reply[0].split(b"\0") if name]

    def removexattr(self, handle, name):
        """-> 0.  ENODATA."""
        return self._call_status(p.Removexattr, (handle, name))

    # ---- the conversation

    def farewell(self, code):
        """The container has ended with that exit code, and so shall the gofer."""
        if self.dead is None:
            try:
                self._send(p.Farewell.request.encode(p.Farewell.number, 0, (code,)))
            except OSError as e:
                self._give_up(f"send: {e.strerror}")

    def shutdown(self):
        """End the conversation; the gofer process ends by itself."""
        if self.dead is None:
            self.dead = "closed"
        self._sock.close()

    def fileno(self):
        """Descriptor of the connection (readable while no call is on: the gofer died), -1 after shutdown."""
        return self._sock.fileno()

    def _give_up(self, reason):
        """Remember why and say nothing more; returns -EIO.  A late answer must never be taken for another's."""
        if self.dead is None:
            self.dead = reason
            log.warning(f"gofer: {reason}: all its files fail with EIO from now on")
            if self.on_dead is not None:
                self.on_dead()
        return _EIO

    def _begin(self, message, values):
        """Send a request -> its sequence number, or negative errno."""
        if self.dead is not None:
            return _EIO
        self._sequence = sequence = (self._sequence + 1) & 0x7FFFFFFF
        try:
            packet = message.request.encode(message.number, sequence, values)
        except struct.error:  # a value that no field holds: a handle or mode that cannot be
            return -errno.EINVAL
        if len(packet) > p.MAX_MESSAGE:
            return -errno.ENAMETOOLONG
        try:
            self._send(packet)
        except OSError as e:
            return self._give_up(f"send: {e.strerror}")
        return sequence

    def _check(self, message, sequence, data):
        """Fields of the reply `data`, or its negative errno."""
        if len(data) < 8:
            return self._give_up("short reply" if data else "closed by the gofer")
        status, answered = p.REPLY_HEAD.unpack_from(data)
        if answered != sequence:
            return self._give_up("reply to another request")
        if status:
            return status if -4096 < status < 0 and len(data) == 8 else self._give_up("malformed error")
        fields = message.answer.decode(data)
        return self._give_up("malformed reply") if fields is None else fields

    def _call(self, message, values):
        """One round trip without a descriptor -> the reply's fields, or negative errno."""
        sequence = self._begin(message, values)
        if sequence < 0:
            return sequence
        try:
            data = self._recv(p.MAX_MESSAGE + 1)
        except OSError as e:
            return self._give_up(f"receive: {e.strerror}")
        return self._check(message, sequence, data)

    def _call_status(self, message, values):
        """One round trip for a reply without fields -> 0 or negative errno."""
        reply = self._call(message, values)
        return reply if isinstance(reply, int) else 0

    def _call_node(self, message, values):
        """One round trip for a reply of one node -> (handle, Attr) or negative errno."""
        reply = self._call(message, values)
        return reply if isinstance(reply, int) else self._node(reply[0])

    def _call_fd(self, message, values, fields):
        """One round trip with a donation -> the descriptor (or (fields, descriptor)), or negative errno."""
        sequence = self._begin(message, values)
        if sequence < 0:
            return sequence
        try:
            data, ancillary, flags, _ = self._receive(p.MAX_MESSAGE + 1, _RIGHTS_SPACE, _socket.MSG_CMSG_CLOEXEC)
        except OSError as e:
            return self._give_up(f"receive: {e.strerror}")
        fds = []
        for level, type, payload in ancillary:
            if level == _SOL_SOCKET and type == _SCM_RIGHTS:
                fds += [int.from_bytes(payload[at : at + 4], "little") for at in range(0, len(payload) & ~3, 4)]
        reply = self._check(message, sequence, data)
        if isinstance(reply, int) or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            if isinstance(reply, int) and not fds:
                return reply
            if not fds and flags & _socket.MSG_CTRUNC:
                return self._no_room(reply)
            return self._give_up("wrong number of descriptors")
        return (reply, fds[0]) if fields else fds[0]

    def _no_room(self, reply):
        """The descriptor was sent and we have no slot left for it (the kernel has dropped it): -EMFILE.

        What create has made stays; its handle is given back."""
        if reply:
            self.release(p.NODE.unpack(reply[0])[0])
        return -errno.EMFILE

    def _node_and_fd(self, message, values):
        """One round trip for a new file -> (handle, Attr, descriptor) or negative errno."""
        reply = self._call_fd(message, values, 1)
        if isinstance(reply, int):
            return reply
        node = self._node(reply[0][0])
        if isinstance(node, int):
            os.close(reply[1])
            return node
        return node[0], node[1], reply[1]

    def _node(self, packed):
        fields = p.NODE.unpack(packed)
        try:
            return fields[0], Attr(fields[1:])
        except ValueError:
            return self._give_up("malformed attributes")

    def _attr(self, packed):
        try:
            return Attr(p.ATTR.unpack(packed))
        except ValueError:
            return self._give_up("malformed attributes")


def _good_name(name):
    return 0 < len(name) <= p.NAME_MAX and b"/" not in name and b"\0" not in name and name not in (b".", b"..")
