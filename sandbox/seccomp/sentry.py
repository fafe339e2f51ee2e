"""What the Sentry may ask of the host: rows of (call, conditions, reason). Everything else kills the process.

Conditions are tuples (argument index, operator, value[, mask]) that must all hold; operators are pyseccomp's: EQ NE LT LE
GT GE, and MASKED_EQ (argument & mask == value). A call with several rows may be made if one of them holds. Rows
are in order of heat: the filter is tried from the top.

There is no open, connect, execve, socket, clone, ptrace (but for the ptrace platform), no new executable mapping, and
no way to raise a descriptor's rights.
"""

from sentry.abi import hostnet

PROT_EXEC = 4
MAP_SHARED, MAP_PRIVATE, MAP_TYPE = 1, 2, 15
EQ, NE, MASKED_EQ = "EQ", "NE", "MASKED_EQ"
AT_EMPTY_PATH = 0x1000

# --- guest memory and the hand-off ------------------------------------------------------------------------------
HOT = [
    ("process_vm_readv", [(5, EQ, 0)], "guest memory beyond what the stub carries"),
    ("process_vm_writev", [(5, EQ, 0)], "the same, outwards"),
    ("futex", [(1, MASKED_EQ, 0, 0x7E)], "FUTEX_WAIT, FUTEX_WAKE, private or not: hand-off to stubs, worker threads"),
    ("futex", [(1, MASKED_EQ, 8, 0x7E)], "FUTEX_WAIT_BITSET, WAKE_BITSET: absolute deadlines"),
    ("epoll_wait", None, "the dispatcher's sleep"),
    ("epoll_pwait", None, "the same, as the C library may call it"),
    ("epoll_pwait2", None, "the same with a deadline in ns"),
]

# --- files that were donated or are our own ---------------------------------------------------------------------
FILES = [
    ("read", None, "standard input, doorbells, timers; only on descriptors that we hold"),
    ("write", None, "standard output, the log, doorbells of worker threads"),
    ("pread64", None, "files donated by the gofer"),
    ("pwrite64", None, "the same"),
    ("readv", None, "the same, many buffers"),
    ("writev", None, "the same"),
    ("preadv", None, "the same"),
    ("pwritev", None, "the same"),
    ("preadv2", None, "the same"),
    ("pwritev2", None, "the same"),
    ("lseek", None, "SEEK_DATA and SEEK_HOLE of donated files"),
    ("close", None, "descriptors that the guest has closed"),
    ("fstat", None, "sizes of donated files; the interpreter's file objects"),
    ("newfstatat", [(3, EQ, AT_EMPTY_PATH)], "fstat, as the C library makes it; a path would lead nowhere in our empty root"),
    ("ftruncate", None, "guest files and memory files"),
    ("fallocate", None, "fallocate(2) of the guest; MADV_REMOVE"),
    ("fsync", None, "fsync(2) of the guest"),
    ("fdatasync", None, "the same"),
    ("sync_file_range", None, "the same"),
    ("fadvise64", None, "hints of the guest for donated files"),
    ("flock", None, "flock(2) on volumes shared with others"),
    ("dup", None, "a second life of a donated descriptor"),
    ("fcntl", [(1, EQ, 1)], "F_GETFD"),
    ("fcntl", [(1, EQ, 2)], "F_SETFD"),
    ("fcntl", [(1, EQ, 3)], "F_GETFL"),
    ("fcntl", [(1, EQ, 4)], "F_SETFL: O_NONBLOCK of standard input and output"),
    ("fcntl", [(1, EQ, 1030)], "F_DUPFD_CLOEXEC"),
    ("fcntl", [(1, EQ, 1033)], "F_ADD_SEALS: memfd_create(2) of the guest, contexts that may not shrink"),
    ("fcntl", [(1, EQ, 1034)], "F_GET_SEALS"),
    ("memfd_create", None, "guest memory that is shared, contexts of stubs"),
    ("poll", None, "is standard input ready"),
    ("ppoll", None, "the same"),
    ("ioctl", [(1, EQ, 0x5401)], "TCGETS of the host terminal"),
    ("ioctl", [(1, EQ, 0x5413)], "TIOCGWINSZ: the size of the host terminal"),
    ("ioctl", [(1, EQ, 0x5414)], "TIOCSWINSZ"),
    ("ioctl", [(1, EQ, 0x541B)], "FIONREAD of standard input"),
    ("ioctl", [(1, EQ, 0x5421)], "FIONBIO: the interpreter sets a socket (non-)blocking so"),
]

# --- memory of our own -----------------------------------------------------------------------------------------
MEMORY = [
    ("mmap", [(2, MASKED_EQ, 0, PROT_EXEC), (3, MASKED_EQ, MAP_PRIVATE, MAP_TYPE)], "malloc, Python's arenas; never executable"),
    ("mmap", [(2, MASKED_EQ, 0, PROT_EXEC), (3, MASKED_EQ, MAP_SHARED, MAP_TYPE)], "contexts shared with stubs"),
    ("munmap", None, "the same"),
    ("mremap", None, "realloc"),
    ("mprotect", [(2, MASKED_EQ, 0, PROT_EXEC)], "malloc's heaps, guard pages; never executable"),
    ("madvise", None, "free memory goes back to the host"),
    ("brk", None, "malloc"),
]

# --- guest processes -------------------------------------------------------------------------------------------
PROCESSES = [
    ("tgkill", None, "interrupt a guest thread; only our pid namespace is in reach"),
    ("rt_tgsigqueueinfo", None, "the same"),
    ("kill", None, "end a guest's host process; only our pid namespace is in reach"),
    ("pidfd_send_signal", None, "the same"),
    ("pidfd_open", None, "watch the end of a guest's host process"),
    ("pidfd_getfd", None, "fetch a new container's notification descriptor from its first process"),
    ("wait4", None, "reap guest processes: we are their namespace's first process"),
    ("waitid", None, "the same"),
    ("ioctl", [(1, EQ, 0xC0502100)], "SECCOMP_IOCTL_NOTIF_RECV: calls that stubs make with our approval"),
    ("ioctl", [(1, EQ, 0xC0182101)], "SECCOMP_IOCTL_NOTIF_SEND"),
    ("ioctl", [(1, EQ, 0x40082102)], "SECCOMP_IOCTL_NOTIF_ID_VALID"),
    ("ioctl", [(1, EQ, 0x40182103)], "SECCOMP_IOCTL_NOTIF_ADDFD: the one descriptor that a stub maps"),
    ("prlimit64", [(2, EQ, 0)], "read a limit"),
    ("sched_getaffinity", None, "CPU numbers for guests; do we have CPUs enough to spin"),
    ("sched_setscheduler", [(0, EQ, 0), (1, EQ, 0)], "the dispatcher does not wait for its turn (SCHED_OTHER)"),
    ("sched_setscheduler", [(0, EQ, 0), (1, EQ, 3)], "or does, while a crowd of threads makes calls (SCHED_BATCH)"),
    ("sched_setaffinity", None, "the dispatcher moves to its last caller's CPU before it sleeps"),
    ("sched_yield", None, "let a guest run on our CPU"),
    ("getcpu", None, "where are we (the vDSO's fall-back)"),
]

# --- events, gofer and control sockets --------------------------------------------------------------------------
EVENTS = [
    ("epoll_ctl", None, "which descriptors the dispatcher watches"),
    ("epoll_create1", None, "an instance of its own for a file"),
    ("eventfd2", None, "doorbells"),
    ("timerfd_create", None, "deadlines of the dispatcher"),
    ("timerfd_settime", None, "the same"),
    ("sendmsg", None, "gofer and control socket; no address can be given to connected pairs"),
    ("sendto", [(4, EQ, 0)], "the same (send); no address"),
    ("recvmsg", None, "gofer and control socket, with descriptors"),
    ("recvfrom", None, "the same (recv)"),
    ("accept4", None, "the control socket"),
    ("shutdown", None, "the end of a connection"),
    ("setsockopt", [(1, EQ, 1), (2, EQ, 20)], "SO_RCVTIMEO of the gofer's connection"),
    ("setsockopt", [(1, EQ, 1), (2, EQ, 21)], "SO_SNDTIMEO of the gofer's connection"),
    ("getsockopt", [(1, EQ, 1), (2, EQ, 3)], "SO_TYPE: the interpreter asks when it wraps a descriptor"),
    ("getsockopt", [(1, EQ, 1), (2, EQ, 38)], "SO_PROTOCOL: the same"),
    ("getsockopt", [(1, EQ, 1), (2, EQ, 39)], "SO_DOMAIN: the same"),
    ("getsockopt", [(1, EQ, 1), (2, EQ, 4)], "SO_ERROR"),
    ("getsockname", None, "the interpreter's socket objects"),
]

# --- the interpreter and the C library -------------------------------------------------------------------------
INTERPRETER = [
    ("clock_gettime", None, "time, where the vDSO cannot answer"),
    ("clock_nanosleep", None, "a short wait"),
    ("nanosleep", None, "the same"),
    ("gettimeofday", None, "the vDSO's fall-back"),
    ("time", None, "the same"),
    ("getrandom", None, "random numbers for guests"),
    ("getpid", None, "the interpreter"),
    ("gettid", None, "the C library's locks"),
    ("rt_sigprocmask", None, "abort(3), thread ends"),
    ("rt_sigreturn", None, "return from a signal handler (self-tests of memory)"),
    ("restart_syscall", None, "a sleep that a stop and a continue interrupted"),
    ("sigaltstack", None, "the end of a worker thread"),
    ("getrusage", None, "CPU time for guests"),
    ("times", None, "the same"),
    ("sysinfo", None, "sysinfo(2) of the guest"),
    ("set_robust_list", None, "worker threads"),
    ("rseq", None, "worker threads"),
    ("exit", None, "the end of a worker thread"),
    ("exit_group", None, "the end"),
]

# --- host networking: in front of the rest, and only in that mode --------------------------------------------------
NONBLOCK_CLOEXEC = 0o2004000
HOST_NETWORK = [
    ("bind", None, "sockets of the container's network namespace, all made by the rows for socket"),
    ("connect", None, "the same; the Sentry holds no socket of another kind that is not connected already"),
    ("listen", None, "the same"),
    ("sendto", None, "datagrams of the guest, with their addresses"),
    ("getpeername", None, "the same"),
    *(
        ("socket", [(0, EQ, family), (1, EQ, type_ | NONBLOCK_CLOEXEC), (2, EQ, protocol)], "a kind of socket that guests may have")
        for family, type_, protocol in hostnet.SOCKETS
    ),
    *(("getsockopt", [(1, EQ, level), (2, EQ, option)], "an option that guests may read") for level, option in sorted(hostnet.READABLE)),
    *(("setsockopt", [(1, EQ, level), (2, EQ, option)], "an option that guests may set") for level, option in sorted(hostnet.SETTABLE)),
    *(("ioctl", [(1, EQ, number)], "how much is to be read, or is not sent yet") for number in hostnet.NUMBERS),
]

COOL = FILES + MEMORY + PROCESSES + EVENTS + INTERPRETER
ROWS = HOT + COOL

# Harmless probes that the interpreter makes when it prints a traceback or looks for a module: answered with EPERM,
# because a kill for them would end the pod.
PROBES = [
    ("openat", None, "a traceback shows source lines"),
    ("newfstatat", [(3, NE, AT_EMPTY_PATH)], "import looks for files"),
    ("readlink", None, "the same"),
    ("getcwd", None, "the same"),
]

# For the ptrace platform, in front of the others.
PTRACE = [
    ("ptrace", None, "the platform itself: only our own children are in reach, in our user namespace"),
]
