"""The gofer: the process that holds a container's files and serves one Sentry.

Who trusts whom.  The Sentry may be in the hands of its guest, so the gofer believes nothing that it
sends: every message is bounds-checked, every handle looked up, every name examined.  The Sentry in
turn checks the form of every answer and gives a misbehaving gofer up.  The host's files may be
changed by others at any moment (volumes), so no check of a path is relied upon later.

Objects.  A *mount* is a directory, or a single file, given as a descriptor at start, with MOUNT_*
flags.  A *handle* is a number for one inode below one mount; behind it stands an O_PATH descriptor, so it
names the same inode whatever is renamed or swapped on the way to it, and opening one has no side effect.
Handles are never given out twice and belong to the conversation: when it ends the process ends.

Never outside.  A request names a handle and one component.  The component is checked ("", ".", "..",
slash, NUL, length) and then opened with openat2(2) and RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS, one at a
time: a symlink is an object like any other and only the Sentry interprets its target.  A host mount below a
mount's directory is entered only with MOUNT_CROSS, and never if it is one of the kernel's own file systems
(proc, sysfs, cgroup ...: their files are controls of the host); otherwise its root shows its attributes, is
empty, and cannot be opened.  Devices are never opened, fifos and sockets only where the mount allows, and so are sockets made.

From a handle to an open file.  An O_PATH descriptor cannot be read, and its name may be another's by now, so it
is reopened through /proc/self/fd.  serve() makes that directory its working directory; from then on the relative
path "7" is the inode behind descriptor 7, for open, link, truncate, chmod, connect and the xattr calls, and no
absolute path is ever used: the root may be empty.  The sandbox hands in a descriptor of /proc/self/fd from a procfs
of the gofer's own pid namespace (best mounted with subset=pid), opened by the gofer itself.

What each request guarantees.  *Reads* (attach walk getattr readdir readlink getxattr listxattr statfs) change
nothing on the host.  *Writes* (the others, except close, connect, listen and fsync) are refused with EROFS on a read-only
mount before the host is asked anything; open with a write mode or O_TRUNC counts as one.  A donated descriptor is a regular
file (or an allowed fifo) with exactly the access mode asked for, or a connected socket where allowed; never a
directory, so no path starts from it.  What create, mkdir, symlink and mknod make has the owner and mode given,
exactly; a failure on the way removes it again.

    protocol.py      messages, shared with the Sentry
    rpc.py           registration of handlers
    server.py        the conversation: decode, dispatch, answer
    nodes.py         mounts, handles, names, mount crossings
    read_ops.py      handlers that only read
    write_ops.py     handlers that change
    _host.pyx        the host calls that Python lacks
    seccomp_list.py  the host calls that the process needs
"""
