"""What the gofer may ask of the host: rows of (call, conditions, reason).  Everything else kills the process.

Conditions are tuples (argument index, operator, value[, mask]) that must all hold; operators are pyseccomp's.  A call with
several rows may be made if one of them holds.  Rows are in order of heat.  The list closes before serve() is called.

There is no execve, clone, ptrace, no file system or namespace call, and no socket but Unix ones.  openat names files in the
working directory /proc/self/fd only, by convention and not by rule: what a gofer in foreign hands can reach is bounded by its
empty root and the detached mount trees that it holds.  openat2's flags lie in memory, where no filter can see them.

The server's tests run behind this list, so a missing row is a failing test.
"""

EQ, MASKED_EQ = "EQ", "MASKED_EQ"

PROT_EXEC = 4
MAP_PRIVATE, MAP_TYPE = 2, 15
INT = 0xFFFFFFFF  # an int argument: whatever stands in the upper half of the register
AT_FDCWD = -100 & INT
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH = (
    0x100,
    0x200,
    0x400,
    0x800,
    0x1000,
)
O_CREAT, O_TMPFILE = 0o100, 0o20000000
S_IFMT, S_IFIFO, S_IFREG, S_IFSOCK = 0o170000, 0o010000, 0o100000, 0o140000
AF_UNIX = 1
FIONBIO = 0x5421
F_DUPFD_CLOEXEC = 1030

CONVERSATION = [
    ("recvfrom", None, "the next request"),
    ("sendto", None, "its answer"),
    ("sendmsg", None, "an answer with a donated descriptor"),
]

READS = [
    ("statx", [(2, MASKED_EQ, AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, INT)], "attributes of a handle"),
    ("statx", [(2, MASKED_EQ, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, INT)], "attributes of directory entries"),
    ("openat2", None, "one component below a handle, with RESOLVE_BENEATH; files made by create"),
    ("close", None, "handles given back, descriptors donated"),
    (
        "openat",
        [(0, MASKED_EQ, AT_FDCWD, INT), (2, MASKED_EQ, 0, O_CREAT | O_TMPFILE)],
        "a handle's inode again, through /proc/self/fd, to be read or written; makes nothing",
    ),
    ("readlinkat", None, "targets of symlinks"),
    ("getdents64", None, "directories"),
    ("lseek", None, "where a directory pass goes on"),
    ("fstatfs", None, "statfs; which file system a mount root belongs to"),
    ("getxattr", None, "extended attributes of a handle's inode"),
    ("listxattr", None, "the same"),
]

WRITES = [
    ("unlinkat", [(2, MASKED_EQ, 0, INT)], "unlink"),
    ("unlinkat", [(2, MASKED_EQ, AT_REMOVEDIR, INT)], "rmdir"),
    ("mkdirat", None, "mkdir"),
    ("mknodat", [(2, MASKED_EQ, S_IFREG, S_IFMT)], "mknod of a regular file"),
    ("mknodat", [(2, MASKED_EQ, S_IFIFO, S_IFMT)], "mkfifo"),
    ("mknodat", [(2, MASKED_EQ, S_IFSOCK, S_IFMT)], "a bound socket's node; never a device"),
    ("symlinkat", None, "symlink"),
    ("linkat", [(4, MASKED_EQ, AT_SYMLINK_FOLLOW, INT)], "link: the source is a handle's inode, through /proc/self/fd"),
    ("renameat2", [(4, MASKED_EQ, 0, INT)], "rename"),
    ("renameat2", [(4, MASKED_EQ, 1, INT)], "RENAME_NOREPLACE"),
    ("renameat2", [(4, MASKED_EQ, 2, INT)], "RENAME_EXCHANGE"),
    ("fchownat", [(4, MASKED_EQ, AT_EMPTY_PATH, INT)], "owner of a handle's inode"),
    ("chmod", None, "mode of a handle's inode, through /proc/self/fd"),
    ("truncate", None, "size, the same way"),
    ("utimensat", [(3, MASKED_EQ, AT_EMPTY_PATH, INT)], "times of a handle's inode"),
    ("setxattr", None, "extended attributes, through /proc/self/fd"),
    ("removexattr", None, "the same"),
    ("fsync", None, "fsync"),
    ("fdatasync", None, "fdatasync"),
]

SOCKETS = [
    ("socket", [(0, MASKED_EQ, AF_UNIX, INT)], "connect to a Unix socket in a volume"),
    ("connect", None, "the same"),
    ("bind", None, "a Unix socket of the guest in a volume"),
    ("listen", None, "the same"),
    ("fcntl", [(1, MASKED_EQ, F_DUPFD_CLOEXEC, INT)], "the same: one descriptor to donate, one to listen on"),
    ("ioctl", [(1, MASKED_EQ, FIONBIO, INT)], "non-blocking connect; the conversation's socket at start"),
]

INTERPRETER = [
    ("mmap", [(2, MASKED_EQ, 0, PROT_EXEC), (3, MASKED_EQ, MAP_PRIVATE, MAP_TYPE)], "malloc, arenas; never executable"),
    ("munmap", None, "the same"),
    ("mremap", None, "realloc of large blocks"),
    ("brk", None, "malloc"),
    ("madvise", None, "free memory goes back to the host"),
    ("mprotect", [(2, MASKED_EQ, 0, PROT_EXEC)], "malloc's heaps; never executable"),
    ("write", None, "a traceback on standard error, the debug log"),
    ("exit_group", None, "the end"),
]

START = [
    ("fchdir", None, "serve() moves to /proc/self/fd"),
    ("umask", None, "modes are set exactly as the Sentry says"),
    ("prlimit64", [(0, EQ, 0)], "our own limit of open files"),
    ("geteuid", None, "whose files we make"),
    ("getsockname", None, "the interpreter asks what kind of socket it was given"),
    ("getsockopt", None, "the same"),
]

ROWS = CONVERSATION + READS + WRITES + INTERPRETER + SOCKETS + START

# Harmless questions of the interpreter: a traceback looks for source files
PROBES = [
    ("newfstatat", None, "source files of a traceback"),
    ("fstat", None, "the same"),
    ("readlink", None, "the same"),
    ("getcwd", None, "the same"),
]
