"""The wire format between the Sentry (client) and a gofer (server), used by both sides.

Transport: a SOCK_SEQPACKET Unix socket pair.  One packet is one message, at most MAX_MESSAGE
bytes; an empty packet cannot be told from a closed peer and ends the conversation.

    request   number u32 | sequence u32 | fixed fields | variable fields
    reply     status s32 | sequence u32 | fixed fields | variable fields

Everything is little-endian without padding.  A variable field (BYTES) stands in the fixed part as
its u32 length, its bytes follow the fixed part in field order, and nothing else may follow.  A
status below zero is -errno, and such a reply has no body.  The requests of a client are answered
in order, with their sequence number; CLOSE alone has no reply.  Where a message donates a
descriptor, its successful reply carries exactly one by SCM_RIGHTS, and no other reply carries any.

A message is declared once, as a class with `fields` and `reply`: struct codes or BYTES, variable
fields last.  Number, encoder, decoder and bounds checks of both sides derive from that.

Objects are named by handles: integers that the server gives out, each an inode, never a path.  A
`name` is one path component.  Owners, modes and times are the host's; HELLO has room for id maps.
"""

import struct

VERSION = 1
MAX_MESSAGE = 65536
NAME_MAX = 255
PATH_MAX = 4096  # longest symlink target, terminating NUL included
XATTR_SIZE_MAX = 60000  # Linux allows 65536; a value has to fit a message
WALK_MAX = 64  # components in one WALK

BYTES = "bytes"

REQUEST_HEAD = struct.Struct("<II")
REPLY_HEAD = struct.Struct("<iI")

# mode uid gid nlink blksize attributes | ino size blocks dev rdev | atime mtime ctime btime, as four
# seconds and then four nanoseconds.  dev and rdev as stat(2) gives them, attributes as statx(2).
ATTR = struct.Struct("<6IQqqQQ4q4I")
# handle (0: none was asked for) before the attributes
NODE = struct.Struct("<I6IQqqQQ4q4I")
# cookie of the next entry, inode number, d_type, attributes valid, length of the name; then ATTR, name
DIRENT = struct.Struct("<qQBBH")

NO_ID = 0xFFFFFFFF  # "leave this owner as it is"

# flags of a mount, as ATTACH reports them
MOUNT_RDONLY = 1  # every request that could change something is EROFS
MOUNT_CROSS = 2  # host mounts below the directory are entered, unless of a kernel file system
MOUNT_SOCKETS = 4  # CONNECT is allowed
MOUNT_FIFOS = 8  # OPEN of a fifo is allowed
MOUNT_PSEUDO = 16  # the source itself may be a kernel file system (proc, sysfs ...), read-only
MOUNT_BIND = 32  # BIND is allowed

# WALK flags
WALK_LAST = 1  # a handle for the last component only

# SETATTR mask
SET_MODE = 1
SET_UID = 2
SET_GID = 4
SET_SIZE = 8
SET_ATIME = 16
SET_MTIME = 32
SET_ATIME_NOW = 64
SET_MTIME_NOW = 128
SET_ALL = 255

UNLINK_DIR = 1  # UNLINK flag: rmdir


class Codec:
    """Encoder and decoder of one direction of one message.

    fixed: the struct of head and fixed fields, with a u32 for the length of each variable field.
    variable: how many variable fields there are.
    """

    __slots__ = ("fixed", "size", "scalars", "variable")

    def __init__(self, head, fields):
        codes = [code for _, code in fields]
        self.variable = codes.count(BYTES)
        self.scalars = len(codes) - self.variable
        if BYTES in codes[: self.scalars]:
            raise ValueError("variable fields come last")
        self.fixed = struct.Struct(head + "".join(codes[: self.scalars]) + "I" * self.variable)
        self.size = self.fixed.size

    def encode(self, first, second, values):
        """Bytes of the message; `first` and `second` are the head (see the module), `values` the fields."""
        if not self.variable:
            return self.fixed.pack(first, second, *values)
        tail = values[self.scalars :]
        return self.fixed.pack(first, second, *values[: self.scalars], *map(len, tail)) + b"".join(tail)

    def decode(self, data):
        """Fields of the message `data` (bytes, whole), the head left out; None where it is malformed."""
        size = self.size
        if len(data) < size:
            return None
        if not self.variable:
            return self.fixed.unpack(data)[2:] if len(data) == size else None
        parts = self.fixed.unpack_from(data)
        cut = 2 + self.scalars
        fields = list(parts[2:cut])
        for length in parts[cut:]:
            # lengths are unsigned, so the sum only grows: the last test covers them all
            fields.append(data[size : size + length])
            size += length
        return fields if size == len(data) else None


class Message:
    """Base of the declarations; see the module.  `request` and `answer` are the compiled codecs."""

    number = 0
    fields = ()
    reply = ()
    one_way = False  # no reply
    donates = False  # a successful reply carries one descriptor

    def __init_subclass__(cls):
        if cls.number in MESSAGES:
            raise ValueError(f"message number taken twice: {cls.__name__}")
        cls.request = Codec("<II", cls.fields)
        cls.answer = Codec("<iI", cls.reply)
        MESSAGES[cls.number] = cls


MESSAGES = {}  # number -> class
_NODE = (("node", f"{NODE.size}s"),)


class Hello(Message):
    """First message: the client's version; the server's, and how many mounts there are (EPROTO: no common version)."""

    number = 1
    fields = (("version", "I"), ("flags", "I"))
    reply = (("version", "I"), ("flags", "I"), ("mounts", "I"))


class Attach(Message):
    """Handle of the root of mount `index` (from 0), a directory or a single file, and MOUNT_* flags."""

    number = 2
    fields = (("index", "I"),)
    reply = (("flags", "I"),) + _NODE


class Walk(Message):
    """Look `names` (separated by NUL) up one below the other, starting in `handle`.

    `nodes` has a NODE for each component found.  Short of all names, `errno` says why the next one
    failed, or is 0: the last one found is no directory, so the walk stopped there.  When it is a symlink `link`
    is its target.  Symlinks are never followed.
    """

    number = 3
    fields = (("handle", "I"), ("flags", "I"), ("names", BYTES))
    reply = (("errno", "I"), ("nodes", BYTES), ("link", BYTES))


class Getattr(Message):
    """Attributes of `handle`."""

    number = 4
    fields = (("handle", "I"),)
    reply = (("attr", f"{ATTR.size}s"),)


class Setattr(Message):
    """Change what the SET_* bits in `mask` name, in the order size, owner, mode, times; the new attributes."""

    number = 5
    fields = (
        ("handle", "I"),
        ("mask", "I"),
        ("mode", "I"),
        ("uid", "I"),
        ("gid", "I"),
        ("size", "q"),
        ("atime", "q"),
        ("atime_nsec", "I"),
        ("mtime", "q"),
        ("mtime_nsec", "I"),
    )
    reply = Getattr.reply


class Readdir(Message):
    """Entries of a directory from `cookie` (0: start), as many as fit: DIRENT, ATTR, name, for each.

    Of directory `handle`, or of the one that `names` (as in Walk, none left out, no symlink among them) lead to from there.
    Neither "." nor "..".  `end`: not 0 if these are the last.
    """

    number = 6
    fields = (("handle", "I"), ("cookie", "q"), ("names", BYTES))
    reply = (("end", "I"), ("entries", BYTES))


class Readlink(Message):
    """Target of the symlink `handle`."""

    number = 7
    fields = (("handle", "I"),)
    reply = (("target", BYTES),)


class Open(Message):
    """Open `handle`, or what `names` lead to from there (as in Readdir), with `flags` (access mode and O_TRUNC only)
    and donate the descriptor."""

    number = 8
    fields = (("handle", "I"), ("flags", "I"), ("names", BYTES))
    donates = True


class Create(Message):
    """Make the regular file `name`, which must not exist; its node, and a descriptor with access mode `flags`."""

    number = 9
    fields = (("handle", "I"), ("flags", "I"), ("mode", "I"), ("uid", "I"), ("gid", "I"), ("name", BYTES))
    reply = _NODE
    donates = True


class Mkdir(Message):
    """Make the directory `name`."""

    number = 10
    fields = (("handle", "I"), ("mode", "I"), ("uid", "I"), ("gid", "I"), ("name", BYTES))
    reply = _NODE


class Symlink(Message):
    """Make the symlink `name` to `target`."""

    number = 11
    fields = (("handle", "I"), ("uid", "I"), ("gid", "I"), ("name", BYTES), ("target", BYTES))
    reply = _NODE


class Mknod(Message):
    """Make a fifo, regular file or socket node, by the type in `mode`."""

    number = 12
    fields = (("handle", "I"), ("mode", "I"), ("uid", "I"), ("gid", "I"), ("name", BYTES))
    reply = _NODE


class Link(Message):
    """Hard link `name` in directory `parent` to `handle`; the attributes of `handle` afterwards."""

    number = 13
    fields = (("handle", "I"), ("parent", "I"), ("name", BYTES))
    reply = Getattr.reply


class Rename(Message):
    """renameat2(2) with RENAME_NOREPLACE or RENAME_EXCHANGE; handles go on naming the same inodes."""

    number = 14
    fields = (("handle", "I"), ("target", "I"), ("flags", "I"), ("name", BYTES), ("new_name", BYTES))


class Unlink(Message):
    """unlink(2), or rmdir(2) with UNLINK_DIR."""

    number = 15
    fields = (("handle", "I"), ("flags", "I"), ("name", BYTES))


class Getxattr(Message):
    """Value of an extended attribute (ENODATA)."""

    number = 16
    fields = (("handle", "I"), ("name", BYTES))
    reply = (("value", BYTES),)


class Setxattr(Message):
    """Set an extended attribute; flags XATTR_CREATE or XATTR_REPLACE."""

    number = 17
    fields = (("handle", "I"), ("flags", "I"), ("name", BYTES), ("value", BYTES))


class Listxattr(Message):
    """Names of the extended attributes that the client may see, each ended by NUL."""

    number = 18
    fields = (("handle", "I"),)
    reply = (("names", BYTES),)


class Removexattr(Message):
    """Remove an extended attribute."""

    number = 19
    fields = (("handle", "I"), ("name", BYTES))


class Statfs(Message):
    """statfs(2) of the file system of `handle`."""

    number = 20
    fields = (("handle", "I"),)
    reply = (
        ("type", "Q"),
        ("bsize", "Q"),
        ("blocks", "Q"),
        ("bfree", "Q"),
        ("bavail", "Q"),
        ("files", "Q"),
        ("ffree", "Q"),
        ("fsid", "Q"),
        ("namelen", "Q"),
        ("frsize", "Q"),
        ("flags", "Q"),
    )


class Fsync(Message):
    """fsync(2) of a file or directory, fdatasync(2) where `datasync` is not 0."""

    number = 21
    fields = (("handle", "I"), ("datasync", "I"))


class Connect(Message):
    """Donate a socket of type `kind` connected to the Unix socket `handle`."""

    number = 22
    fields = (("handle", "I"), ("kind", "I"))
    donates = True


class Bind(Message):
    """Make the Unix socket `name` and donate a socket of type `kind` that is bound to it; LISTEN goes to the node's handle."""

    number = 25
    fields = (("handle", "I"), ("kind", "I"), ("mode", "I"), ("uid", "I"), ("gid", "I"), ("name", BYTES))
    reply = _NODE
    donates = True


class Listen(Message):
    """listen(2) on the socket that BIND made with `handle`."""

    number = 26
    fields = (("handle", "I"), ("backlog", "I"))


class Tmpfile(Message):
    """Make a regular file without a name in directory `handle` (O_TMPFILE), which Link may give one; as Create."""

    number = 24
    fields = (("handle", "I"), ("flags", "I"), ("mode", "I"), ("uid", "I"), ("gid", "I"))
    reply = _NODE
    donates = True


class Close(Message):
    """Forget handles (u32 each).  Unknown ones are ignored.  No reply."""

    number = 23
    fields = (("handles", BYTES),)
    one_way = True


class Farewell(Message):
    """The container has ended; the gofer, which in a pod stands for it, shall end with exit code `code`. No reply."""

    number = 27
    fields = (("code", "I"),)
    one_way = True
