"""How a child process of stockade gives up what it does not need. Each step is one function; the Sentry and
the gofer call them in the order that their own files explain."""

import fcntl
import os
import resource
from errno import EPERM
from stat import S_ISDIR

import _signal

from sandbox import _host

# The namespaces that every child gets, made by one clone3.
NAMESPACES = (
    _host.CLONE_NEWUSER | _host.CLONE_NEWPID | _host.CLONE_NEWNS | _host.CLONE_NEWNET | _host.CLONE_NEWIPC | _host.CLONE_NEWUTS
)  # fmt: skip
HOLLOW = "/proc"  # exists everywhere; in the child's own mount namespace its empty root is mounted over it


def private_mounts() -> None:
    """No mount that we make is seen outside, none made outside reaches us."""
    _host.mount(None, "/", None, _host.MS_REC | _host.MS_PRIVATE)


def drop_code() -> None:
    """Let go of the pages of programs and libraries that the start has used: most are not needed again. They stay in the host's
    page cache, but count as memory of a sandbox that is the only one. Needs /proc."""
    with open("/proc/self/maps", "rb") as file:
        areas = [line.split(None, 5) for line in file]
    for area in areas:
        if area[1] == b"r-xp" and len(area) > 5 and area[5].startswith(b"/"):
            _host.drop_pages(*(int(number, 16) for number in area[0].split(b"-")))


def own_proc() -> None:
    """A procfs of our pid namespace in place of the caller's, where the kernel allows it (outer container runtimes
    that hide parts of theirs make it refuse). Only for the start of the platform; it goes with `empty_root`."""
    try:
        _host.mount("proc", "/proc", "proc", _host.MS_NOSUID | _host.MS_NODEV | _host.MS_NOEXEC)
    except OSError as error:
        if error.errno != EPERM:
            raise


def empty_root(trees=()) -> None:
    """Make an empty, read-only file system the root and drop every other mount of this namespace.

    Descriptors opened before, and detached trees (open_tree), stay usable. trees: such ones that are to be attached, each to a
    place of its own, because mounts do not propagate into detached ones before Linux 6.15.
    """
    flags = _host.MS_NOSUID | _host.MS_NODEV | _host.MS_NOEXEC
    _host.mount("stockade", HOLLOW, "tmpfs", flags, f"size=4k,nr_inodes={2 + len(trees)},mode=0111")
    for number, tree in enumerate(trees):
        place = f"{HOLLOW}/{number}"
        if S_ISDIR(os.fstat(tree).st_mode):
            os.mkdir(place)
        else:
            os.mknod(place)
        _host.move_mount(tree, place)
        _host.mount(None, place, None, _host.MS_REC | _host.MS_SLAVE)
    _host.mount(None, HOLLOW, None, flags | _host.MS_REMOUNT | _host.MS_RDONLY | _host.MS_BIND)
    _host.mount(None, HOLLOW, None, flags | _host.MS_REMOUNT | _host.MS_RDONLY)
    os.chdir(HOLLOW)
    _host.pivot_root(".", ".")  # the old root is now stacked over the new one
    _host.umount2(".", _host.MNT_DETACH)
    os.chdir("/")


def become(uid, gid, may_setgroups) -> None:
    """Take the ids of our user namespace; the supplementary groups go where that is allowed (rootless: it is not)."""
    if may_setgroups:
        os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # A change of ids clears it. Without it nobody of this user may look at our memory, and the kernel would
    # refuse us our own children (ptrace(2), "Ptrace access mode checking").
    _host.prctl(_host.PR_SET_DUMPABLE, 1)


def detach_from_caller(name) -> None:
    """Leave the caller's session, terminal, keyring, signal dispositions and file mode mask."""
    os.setsid()
    try:
        _host.new_session_keyring("stockade")
    except OSError as error:
        if error.errno != EPERM:  # some outer container runtimes filter keyctl
            raise
    for number in (1, 2, 3, 13, 15, 20, 21, 22, 28):  # HUP INT QUIT PIPE TERM TSTP TTIN TTOU WINCH
        _signal.signal(number, _signal.SIG_IGN if number in (2, 13) else _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    os.umask(0)
    _host.set_name(name)


def limits() -> None:
    """As many descriptors as we may have. Core size 1, not 0: 0 does not stop a core_pattern pipe (core(5))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    top = 1 if hard == resource.RLIM_INFINITY or hard >= 1 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (top, top))


def move_up(fd, lowest) -> int:
    """Duplicate `fd` to a number of at least `lowest`, close-on-exec, and close the old one."""
    new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return new


def null_stdio(null) -> None:
    """Descriptors 0, 1 and 2 become `null` (an open /dev/null)."""
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=False)


def lock_down(caps, program) -> None:
    """The last steps: only `caps` (bit mask) are kept, no exec can raise them, and the filter closes.

    program: classic BPF (bytes), or None where a test runs without.
    """
    _host.limit_bounding(caps)
    _host.limit_caps(caps)
    _host.prctl(_host.PR_SET_NO_NEW_PRIVS, 1)
    if program is not None:
        _host.seccomp_load(program, _host.SECCOMP_FILTER_FLAG_TSYNC | _host.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
