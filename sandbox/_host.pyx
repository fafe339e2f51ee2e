"""Raw host system calls that the standard library lacks: namespaces, mounts, capabilities, seccomp.

Every function raises OSError with the call's name on failure. Nothing here decides anything.
Sources: clone3(2), mount(2), open_tree(2), pivot_root(2), capset(2), prctl(2), seccomp(2).
"""

from libc.errno cimport EINVAL, ENOSYS, errno
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strerror

import os

cdef extern from "<Python.h>":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

    ctypedef struct PyObjectArenaAllocator:
        void *ctx
        void *(*alloc)(void *, size_t) noexcept
        void (*free)(void *, void *, size_t) noexcept
    void PyObject_SetArenaAllocator(PyObjectArenaAllocator *allocator)

cdef extern from "<marshal.h>":
    object PyMarshal_ReadObjectFromString(const char *data, Py_ssize_t length)

cdef extern from "<malloc.h>" nogil:
    int mallopt(int parameter, int value)
    enum:
        M_TOP_PAD, M_TRIM_THRESHOLD

cdef extern from "<sys/mman.h>" nogil:
    void *c_mmap "mmap"(void *place, size_t length, int prot, int flags, int fd, long offset)
    int c_munmap "munmap"(void *place, size_t length)
    int c_madvise "madvise"(void *place, size_t length, int advice)
    enum:
        PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_POPULATE, MADV_DONTNEED, MADV_HUGEPAGE
    void *MAP_FAILED

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)
    int c_pause "pause"()
    void *sbrk(long more)

cdef extern from "<sched.h>" nogil:
    int c_unshare "unshare"(int flags)
    int c_setns "setns"(int fd, int kind)

cdef extern from "<sys/mount.h>" nogil:
    int c_mount "mount"(const char *source, const char *target, const char *kind, unsigned long flags, const void *data)
    int c_umount2 "umount2"(const char *target, int flags)

cdef extern from "<sys/prctl.h>" nogil:
    int c_prctl "prctl"(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)

cdef extern from "<sys/syscall.h>":
    const int SYS_clone3, SYS_pivot_root, SYS_capset, SYS_capget, SYS_seccomp, SYS_close_range
    const int SYS_keyctl, SYS_open_tree, SYS_execveat, SYS_pidfd_send_signal, SYS_mount_setattr, SYS_move_mount, SYS_openat2

cdef extern from "<stdlib.h>" nogil:
    int c_grantpt "grantpt"(int fd)
    int c_unlockpt "unlockpt"(int fd)
    int c_ptsname_r "ptsname_r"(int fd, char *name, size_t size)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD = 0x1000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 8192, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME = 1, 3, 4, 15
PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 24, 28, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
PR_SET_THP_DISABLE = 41

SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4

OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, 0o2000000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 2, 0x10

cdef struct clone_args:
    uint64_t flags
    uint64_t pidfd
    uint64_t child_tid
    uint64_t parent_tid
    uint64_t exit_signal
    uint64_t stack
    uint64_t stack_size
    uint64_t tls

cdef struct mount_attr:
    uint64_t attr_set
    uint64_t attr_clr
    uint64_t propagation
    uint64_t userns_fd

cdef struct open_how:
    uint64_t flags
    uint64_t mode
    uint64_t resolve

cdef struct sock_filter:
    uint16_t code
    unsigned char jt
    unsigned char jf
    uint32_t k

cdef struct sock_fprog:
    uint16_t length
    sock_filter *filter

cdef struct cap_header:
    uint32_t version
    int32_t pid

cdef struct cap_data:
    uint32_t effective
    uint32_t permitted
    uint32_t inheritable


cdef fail(what):
    cdef int number = errno
    raise OSError(number, f"{what}: {strerror(number).decode()}")


def clone(flags):
    """fork(2) with namespace flags. Returns (pid, pidfd) in the parent and (0, -1) in the child.

    flags: CLONE_NEW*; the child's exit signal is SIGCHLD. The child must end with os._exit. Only for a
    process with one thread: the C library's record of its thread id goes stale in the child (nothing
    here uses it; raise(3) asks the kernel).
    """
    cdef clone_args args
    cdef int pidfd = -1
    cdef long pid
    memset(&args, 0, sizeof(args))
    args.flags = <uint64_t>flags | 0x1000
    args.pidfd = <uint64_t><size_t>&pidfd
    args.exit_signal = 17
    PyOS_BeforeFork()
    pid = syscall(SYS_clone3, &args, sizeof(args))
    if pid == 0:
        PyOS_AfterFork_Child()
        return 0, -1
    PyOS_AfterFork_Parent()
    if pid < 0:
        fail("clone3")
    return pid, pidfd


def unshare(int flags):
    if c_unshare(flags) < 0:
        fail("unshare")


def setns(int fd, int kind=0):
    if c_setns(fd, kind) < 0:
        fail("setns")


def mount(source, target, kind=None, unsigned long flags=0, data=None):
    """mount(2). source, target, kind, data: str, bytes or None."""
    cdef bytes s = os.fsencode(source or b"none")
    cdef bytes t = os.fsencode(target)
    cdef bytes k = os.fsencode(kind or b"")
    cdef bytes d = os.fsencode(data or b"")
    if c_mount(s, t, <const char *>k if kind else NULL, flags, <const char *>d if data else NULL) < 0:
        fail(f"mount {os.fsdecode(target)}")


def umount2(target, int flags=0):
    cdef bytes t = os.fsencode(target)
    if c_umount2(t, flags) < 0:
        fail(f"umount {os.fsdecode(target)}")


def pivot_root(new_root, put_old):
    cdef bytes n = os.fsencode(new_root)
    cdef bytes o = os.fsencode(put_old)
    if syscall(SYS_pivot_root, <const char *>n, <const char *>o) < 0:
        fail("pivot_root")


def open_tree(path, recursive=True):
    """A descriptor of a detached private copy of the mount tree at `path` (str or bytes). ".." above its root
    stays at its root."""
    cdef bytes p = os.fsencode(path)
    cdef long flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    if recursive:
        flags |= AT_RECURSIVE
    cdef long fd = syscall(SYS_open_tree, <long>AT_FDCWD, <const char *>p, flags)
    if fd < 0:
        fail(f"open_tree {os.fsdecode(path)}")
    return fd


def move_mount(fd, target):
    """Attach a detached mount tree (open_tree) to the directory or file `target`: a path, or a descriptor."""
    cdef bytes t = b"" if isinstance(target, int) else os.fsencode(target)
    cdef long place = target if isinstance(target, int) else AT_FDCWD
    cdef long flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if t else MOVE_MOUNT_T_EMPTY_PATH)
    if syscall(SYS_move_mount, <long>fd, <const char *>b"", place, <const char *>t, flags) < 0:
        fail(f"move_mount {target}")


def open_in_root(int root, path):
    """A descriptor (O_PATH) of `path` below the directory `root`, which no link and no ".." leads out of."""
    cdef bytes p = os.fsencode(path)
    cdef open_how how
    how.flags, how.mode, how.resolve = os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    cdef long fd = syscall(SYS_openat2, <long>root, <const char *>p, &how, sizeof(how))
    if fd < 0:
        fail(f"openat2 {path}")
    return fd


def restrict_tree(int tree, readonly):
    """No devices and no set-user-ID programs in the detached mount tree, nor in mounts below; readonly: no changes either."""
    cdef mount_attr attr
    memset(&attr, 0, sizeof(attr))
    attr.attr_set = 0x6 | (0x1 if readonly else 0)  # MOUNT_ATTR_NODEV, _NOSUID, _RDONLY
    if syscall(SYS_mount_setattr, <long>tree, <const char *>b"", <long>(AT_EMPTY_PATH | AT_RECURSIVE), &attr, sizeof(attr)) < 0:
        fail("mount_setattr")


def map_owners(int tree, int namespace, recursive=True):
    """Make the detached mount tree idmapped, by the mappings of a user namespace (descriptors)."""
    cdef mount_attr attr
    cdef long flags = AT_EMPTY_PATH
    memset(&attr, 0, sizeof(attr))
    attr.attr_set = 0x00100000  # MOUNT_ATTR_IDMAP
    attr.userns_fd = <uint64_t>namespace
    if recursive:
        flags |= AT_RECURSIVE
    if syscall(SYS_mount_setattr, <long>tree, <const char *>b"", flags, &attr, sizeof(attr)) < 0:
        fail("mount_setattr")


def pause():
    """pause(2)"""
    c_pause()


def prctl(int option, unsigned long a=0, unsigned long b=0, unsigned long c=0, unsigned long d=0):
    """prctl(2); returns its value."""
    cdef int value = c_prctl(option, a, b, c, d)
    if value < 0:
        fail(f"prctl {option}")
    return value


def set_name(name):
    """The process's comm (15 bytes are kept)."""
    cdef bytes n = os.fsencode(name)
    c_prctl(15, <unsigned long><size_t><char *>n, 0, 0, 0)


def capset(effective, permitted, inheritable=0):
    """Set this thread's capability sets (bit masks)."""
    cdef cap_header head
    cdef cap_data data[2]
    head.version = 0x20080522
    head.pid = 0
    for i in range(2):
        data[i].effective = (effective >> (32 * i)) & 0xFFFFFFFF
        data[i].permitted = (permitted >> (32 * i)) & 0xFFFFFFFF
        data[i].inheritable = (inheritable >> (32 * i)) & 0xFFFFFFFF
    if syscall(SYS_capset, &head, &data[0]) < 0:
        fail("capset")


def limit_bounding(keep):
    """Drop every capability outside the bits of `keep` from the bounding set. Needs CAP_SETPCAP."""
    cdef int cap
    for cap in range(64):
        if keep >> cap & 1:
            continue
        if c_prctl(24, cap, 0, 0, 0) < 0:
            if errno == EINVAL:
                break  # beyond the host's last capability
            fail("prctl(PR_CAPBSET_DROP)")


def limit_caps(keep):
    """Reduce the ambient, effective, permitted and inheritable sets to the bits of `keep`."""
    if c_prctl(47, 4, 0, 0, 0) < 0:
        fail("prctl(PR_CAP_AMBIENT)")
    capset(keep, keep, 0)


def seccomp_load(program, flags=0):
    """Install a classic BPF program (bytes: an array of struct sock_filter). Needs no_new_privs."""
    cdef bytes code = bytes(program)
    cdef sock_fprog prog
    if len(code) == 0 or len(code) % sizeof(sock_filter) or len(code) // sizeof(sock_filter) > 4096:
        raise ValueError("not a seccomp program")
    prog.length = len(code) // sizeof(sock_filter)
    prog.filter = <sock_filter *>malloc(len(code))
    if prog.filter == NULL:
        raise MemoryError
    memcpy(prog.filter, <const char *>code, len(code))
    cdef long result = syscall(SYS_seccomp, <long>1, <unsigned long>flags, &prog)
    free(prog.filter)
    if result < 0:
        fail("seccomp")
    if result > 0:
        raise OSError(f"seccomp: thread {result} could not be synchronised")


def close_range(unsigned int first, unsigned int last):
    """close_range(2). Kernels below 5.9 lack it; stockade needs 5.19 anyway."""
    if syscall(SYS_close_range, first, last, 0) < 0:
        fail("close_range")


def close_except(keep):
    """Close every descriptor but those in `keep` (iterable of int)."""
    cdef unsigned int low = 0
    for fd in sorted(set(keep)):
        if fd > low:
            close_range(low, fd - 1)
        low = fd + 1
    close_range(low, 0xFFFFFFFF)


def new_session_keyring(name):
    """Join a fresh session keyring, so that no key of the caller's session is reachable. ENOSYS is no error."""
    cdef bytes n = os.fsencode(name)
    if syscall(SYS_keyctl, <long>1, <const char *>n) < 0 and errno != ENOSYS:
        fail("keyctl")


def pidfd_send_signal(int pidfd, int signo):
    if syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0:
        fail("pidfd_send_signal")


def open_pty():
    """A new host pty: (master, slave descriptor, slave's path)."""
    cdef char name[64]
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if c_grantpt(master) < 0 or c_unlockpt(master) < 0 or c_ptsname_r(master, name, sizeof(name)) != 0:
            fail("ptmx")
        path = name.decode()
        slave = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave, path


# --- memory of a start ---------------------------------------------------------------------------

cdef enum:
    HUGE = 2 << 20
    ARENAS = 8 << 20
    HEAP = 6 << 20

cdef char *arena_next = NULL
cdef char *arena_end = NULL


cdef void *new_arena(void *ctx, size_t size) noexcept:
    global arena_next
    cdef void *place
    if <size_t>(arena_end - arena_next) >= size:
        place = arena_next
        arena_next += size
        return place
    place = c_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return NULL if place == MAP_FAILED else place


cdef void free_arena(void *ctx, void *place, size_t size) noexcept:
    c_munmap(place, size)


def use_huge_pages():
    """Let the objects that come next lie in huge pages, where the host gives those on request. A start touches 2,000
    pages of fresh memory; one at a time they cost some 1.2 us each, in huge pages 0.1."""
    global arena_next, arena_end
    cdef PyObjectArenaAllocator allocator
    cdef uintptr_t low, high, start
    cdef void *place = c_mmap(NULL, ARENAS + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if place != MAP_FAILED:
        low = <uintptr_t>place
        start = (low + HUGE - 1) & ~<uintptr_t>(HUGE - 1)
        if start > low:
            c_munmap(place, start - low)
        if low + HUGE > start:
            c_munmap(<void *>(start + ARENAS), low + HUGE - start)
        c_madvise(<void *>start, ARENAS, MADV_HUGEPAGE)
        arena_next, arena_end = <char *>start, <char *>start + ARENAS
        allocator.ctx, allocator.alloc, allocator.free = NULL, new_arena, free_arena
        PyObject_SetArenaAllocator(&allocator)
    # The C heap, for what is longer than 512 bytes: grow it by one step. (No argument of mallopt(3) can ask for this.)
    low = <uintptr_t>sbrk(0)
    mallopt(M_TRIM_THRESHOLD, HEAP)
    mallopt(M_TOP_PAD, HEAP)
    free(malloc(100000))
    mallopt(M_TOP_PAD, 128 << 10)
    high = <uintptr_t>sbrk(0) & ~<uintptr_t>(HUGE - 1)
    low = (low + HUGE - 1) & ~<uintptr_t>(HUGE - 1)
    if high > low:
        c_madvise(<void *>low, high - low, MADV_HUGEPAGE)


def drop_pages(low, high):
    """Map the pages between two addresses no longer; what is used of them comes back from its file at a fault. OSError."""
    if c_madvise(<void *><uintptr_t>low, <size_t>(high - low), MADV_DONTNEED) != 0:
        fail("madvise")


def load_code(int fd, long offset, long length):
    """marshal.loads of a part of a file, without a copy of it."""
    cdef long start = offset & ~4095
    cdef size_t whole = <size_t>(offset - start + length)
    cdef char *place
    if length <= 0 or os.fstat(fd).st_size < offset + length:
        raise EOFError("file too short")
    place = <char *>c_mmap(NULL, whole, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, start)
    if place == <char *>MAP_FAILED:
        fail("mmap")
    try:
        return PyMarshal_ReadObjectFromString(place + (offset - start), length)
    finally:
        c_munmap(place, whole)
