"""proc: the file system of processes (proc(5)). What its files say is in procfs_pid.py, procfs_system.py and
procfs_sysctl.py; here are the directories and links.

Directories of processes are made at each look-up and know their task or process; what has gone meanwhile answers
ESRCH. Inode numbers follow from the task's number, so that they are the same at each look-up.
"""

from stat import S_IFDIR, S_IFLNK, S_IFREG

from sentry.abi.errno import EACCES, EINVAL, EIO, ENOENT, EPERM, ESRCH
from sentry.core.result import BLOCKED, NO_RETURN
from sentry.fs import procfs_net, procfs_pid, procfs_sysctl, procfs_system, procfs_sysvipc
from sentry.fs.pseudo import LazyDir, PseudoDir, PseudoInode, PseudoLink, TextFile, TextInode
from sentry.kernel import ptrace
from sentry.kernel.access import may_access
from sentry.kernel.nsfs import NS_NAMES, namespace_path, namespace_text
from sentry.platform.base import PAGE, TASK_LIMIT, MemFault
from sentry.vfs.dentry import Dentry, Path
from sentry.vfs.file import O_CLOEXEC, File
from sentry.vfs.inode import FileSystem
from sentry.vfs.mount import register_filesystem
from sentry.vfs.regular import open_node

PROC_SUPER_MAGIC = 0x9FA0
MEM_CHUNK = 1 << 20
MASK64 = (1 << 64) - 1
POLL_CHANGED = 2 | 8  # POLLPRI | POLLERR


class ProcFS(FileSystem):
    """One shows the processes of a PID namespace (kernel.pidns.PidNamespace), and the rest of the system as they see it."""

    type_name = "proc"
    magic = PROC_SUPER_MAGIC
    revalidate = True

    def __init__(self, kernel, pids):
        FileSystem.__init__(self)
        self.kernel = kernel
        self.pids = pids
        self.last_ino = 0
        self.source = b"proc"
        self.root = RootDir(self)

    def new_ino(self) -> int:
        self.last_ino += 1
        return self.last_ino


class RootDir(PseudoDir):
    __slots__ = ()

    def __init__(self, fs):
        PseudoDir.__init__(self, fs)
        self.add(b"self", SelfLink(fs, False))
        self.add(b"thread-self", SelfLink(fs, True))
        self.add(b"mounts", PseudoLink(fs, b"self/mounts"))
        self.add(b"net", PseudoLink(fs, b"self/net"))
        procfs_system.fill(self)
        procfs_sysvipc.fill(self)
        self.add(b"sys", LazyDir(fs, procfs_sysctl.fill))

    def lookup(self, name):
        inode = self.names.get(name)
        if inode is not None:
            return inode
        task = task_named(self.fs, name)
        return TaskDir(self.fs, task, True) if task is not None else -ENOENT

    def entries(self):
        out = PseudoDir.entries(self)
        fs = self.fs
        for pid in sorted(fs.pids.groups):
            out.append((b"%d" % pid, task_ino(pid, 0), S_IFDIR))
        return out

    def getattr(self):
        self.nlink = 2 + len(self.fs.pids.groups)
        return 0


def task_named(fs, name: bytes):
    """The task that a directory name means, or None."""
    if not name.isdigit() or (len(name) > 1 and name[:1] == b"0") or len(name) > 7:
        return None
    return fs.pids.tasks.get(int(name))


def task_ino(tid: int, index: int) -> int:
    return 1 << 48 | tid << 24 | index


class SelfLink(PseudoInode):
    """/proc/self, /proc/thread-self."""

    __slots__ = ("of_thread",)

    def __init__(self, fs, of_thread):
        PseudoInode.__init__(self, fs, fs.new_ino(), S_IFLNK | 0o777)
        self.of_thread = of_thread

    def readlink(self, t):
        tg = getattr(t, "tg", None)
        if tg is None or tg.pids is not self.fs.pids:
            return -ENOENT
        return b"%d/task/%d" % (tg.pid, t.tid) if self.of_thread else b"%d" % tg.pid


class OfTask(PseudoInode):
    """Anything that belongs to a task; `whole`: to its process."""

    __slots__ = ("tg", "thread", "whole")

    def __init__(self, fs, task, whole, index, mode):
        PseudoInode.__init__(self, fs, task_ino(task.tid, index), mode)
        self.tg = task.tg
        self.thread = task
        self.whole = whole
        self.own()

    @property
    def task(self):
        """The task now (an exec may have changed the leader), or None once it has been reaped."""
        tg, thread = self.tg, self.thread
        if tg.reaped:
            return None
        if self.whole and thread.tid == tg.pid:
            return tg.leader
        return thread if not thread.dead or thread is tg.leader else None

    def own(self) -> None:
        """Files belong to the effective user, or to root if the process is not dumpable (fs/proc/base.c:
        task_dump_owner); a directory that all may read belongs to the user in any case."""
        task = self.task
        if task is not None:
            if task.dumpable == 1 or self.mode == S_IFDIR | 0o555:
                self.uid, self.gid = task.creds.euid, task.creds.egid
            else:
                self.uid = self.gid = 0

    def getattr(self):
        self.own()
        return 0


class TaskDir(OfTask):
    """/proc/PID, /proc/PID/task/TID."""

    __slots__ = ()

    def __init__(self, fs, task, whole):
        OfTask.__init__(self, fs, task, whole, 0 if whole else 1, S_IFDIR | 0o555)
        self.nlink = 9 if whole else 7

    open = open_node

    def lookup(self, name):
        task = self.task
        if task is None:
            return -ENOENT
        number = NAMES.get(name)
        if number is None or not shown(name, self.whole):
            return -ENOENT
        index = (number << 1) + (0 if self.whole else 1)
        known = procfs_pid.ENTRIES.get(name)
        if known is not None:
            return TaskFile(self.fs, task, self.whole, index, *known)
        return SPECIAL[name](self.fs, task, self.whole, index)

    def entries(self):
        task = self.task
        if task is None:
            return -ENOENT
        out = []
        for name, number in NAMES.items():
            if shown(name, self.whole):
                known = procfs_pid.ENTRIES.get(name)
                mode = S_IFREG if known is not None else MODES.get(name, S_IFDIR)
                out.append((name, task_ino(task.tid, (number << 1) + (0 if self.whole else 1)), mode))
        return out


def shown(name, whole) -> bool:
    return name not in (procfs_pid.ONLY_THREAD if whole else procfs_pid.ONLY_PROCESS)


class TaskFile(OfTask):
    """A text about a task."""

    __slots__ = ("show", "store")

    def __init__(self, fs, task, whole, index, mode, show, store):
        OfTask.__init__(self, fs, task, whole, index, S_IFREG | mode)
        self.show = show
        self.store = store

    def open(self, t, path, flags):
        return MountsFile(flags, self, path) if self.show in WATCHED else TextFile(flags, self, path)

    def content(self, t):
        task = self.task
        return -ESRCH if task is None else self.show(t, task, self.whole)

    def take(self, t, data):
        task = self.task
        if task is None:
            return -ESRCH
        return -EPERM if self.store is None else self.store(t, task, data)


WATCHED = (procfs_pid.mounts, procfs_pid.mountinfo)


class MountsFile(TextFile):
    """mounts, mountinfo: poll tells of changes (proc(5))."""

    __slots__ = ("seen", "ns")

    def __init__(self, flags, inode, path):
        TextFile.__init__(self, flags, inode, path)
        task = inode.task
        self.ns = task.fs.ns if task is not None and task.fs is not None else None
        self.seen = self.ns.events if self.ns is not None else 0

    def poll(self):
        bits = TextFile.poll(self)
        if self.ns is not None and self.ns.events != self.seen:
            self.seen = self.ns.events
            bits |= POLL_CHANGED
        return bits


class TaskLink(OfTask):
    """A magic link: `target(t, task)` answers a Path or -errno."""

    __slots__ = ("target",)

    def __init__(self, fs, task, whole, index, target):
        OfTask.__init__(self, fs, task, whole, index, S_IFLNK | 0o777)
        self.target = target

    def follow(self, t):
        task = self.task
        if task is None:
            return -ENOENT
        if not may_access(t, task):
            return -EACCES
        return self.target(t, task)

    def readlink(self, t):
        path = self.follow(t)
        return path if type(path) is int else path.text(t.fs.root)


def exe_of(t, task):
    return task.mm.exe if task.mm is not None and task.mm.exe is not None else -ENOENT


def cwd_of(t, task):
    return task.fs.cwd if task.fs is not None else -ENOENT


def root_of(t, task):
    return task.fs.root if task.fs is not None else -ENOENT


def link_to(target):
    return lambda fs, task, whole, index: TaskLink(fs, task, whole, index, target)


class ThreadsDir(OfTask):
    """/proc/PID/task."""

    __slots__ = ()

    def __init__(self, fs, task, whole, index):
        OfTask.__init__(self, fs, task, whole, index, S_IFDIR | 0o555)
        self.getattr()

    open = open_node

    def getattr(self):
        self.nlink = 2 + len(self.threads())
        return OfTask.getattr(self)

    def threads(self) -> list:
        tg = self.tg
        if tg.reaped:
            return []
        return tg.tasks if tg.leader in tg.tasks else [tg.leader, *tg.tasks]

    def lookup(self, name):
        task = task_named(self.fs, name)
        return TaskDir(self.fs, task, False) if task is not None and task.tg is self.tg else -ENOENT

    def entries(self):
        return [(b"%d" % task.tid, task_ino(task.tid, 1), S_IFDIR) for task in self.threads()]


class FdDir(OfTask):
    """/proc/PID/fd and fdinfo: `child(fs, task, whole, fd)` makes the entries."""

    __slots__ = ("child", "kind")

    def __init__(self, fs, task, whole, index, child, kind, mode):
        OfTask.__init__(self, fs, task, whole, index, S_IFDIR | mode)
        self.child = child
        self.kind = kind

    def open(self, t, path, flags):
        task = self.task
        if task is None:
            return -ENOENT
        return open_node(self, t, path, flags) if may_access(t, task) else -EACCES

    def lookup(self, name):
        task = self.task
        if task is None or task.files is None or not name.isdigit() or (len(name) > 1 and name[:1] == b"0"):
            return -ENOENT
        fd = int(name)
        return self.child(self.fs, task, self.whole, fd) if task.files.get(fd) is not None else -ENOENT

    def entries(self):
        task = self.task
        if task is None or task.files is None:
            return []
        offset = FD_LINKS if self.kind == S_IFLNK else FD_INFOS
        return [(b"%d" % fd, task_ino(task.tid, offset + fd), self.kind) for fd, _ in task.files.items()]

    def getattr(self):
        OfTask.getattr(self)
        task = self.task
        self.size = len(task.files.items()) if task is not None and task.files is not None else 0
        return 0


FD_LINKS, FD_INFOS = 1 << 22, 1 << 23


class FdLink(OfTask):
    """/proc/PID/fd/N."""

    __slots__ = ("fd",)

    def __init__(self, fs, task, whole, fd):
        file = task.files.get(fd)
        mode = S_IFLNK | (0o400 if file.can_read else 0) | (0o200 if file.can_write else 0) | 0o100
        if file.flags & 0o10000000:  # O_PATH
            mode = S_IFLNK | 0o700
        OfTask.__init__(self, fs, task, whole, FD_LINKS + fd, mode)
        self.fd = fd
        self.size = 64

    def file(self, t):
        task = self.task
        if task is None or task.files is None:
            return -ENOENT
        if not may_access(t, task):
            return -EACCES
        file = task.files.get(self.fd)
        return file if file is not None else -ENOENT

    def follow(self, t):
        file = self.file(t)
        if type(file) is int:
            return file
        if file.path is not None:
            return file.path
        return Path(None, Dentry(None, file.anon_name(), file.inode)) if file.inode is not None else -ENOENT

    def readlink(self, t):
        file = self.file(t)
        return file if type(file) is int else file.shown_name(t.fs.root)


class FdInfo(OfTask):
    """/proc/PID/fdinfo/N."""

    __slots__ = ("fd",)

    def __init__(self, fs, task, whole, fd):
        OfTask.__init__(self, fs, task, whole, FD_INFOS + fd, S_IFREG | 0o400)
        self.fd = fd

    def open(self, t, path, flags):
        task = self.task
        if task is None:
            return -ENOENT
        return TextFile(flags, self, path) if may_access(t, task) else -EACCES

    def content(self, t):
        task = self.task
        file = task.files.get(self.fd) if task is not None and task.files is not None else None
        if file is None:
            return -ENOENT
        flags = file.flags | (O_CLOEXEC if self.fd in task.files.cloexec else 0)
        mount = file.path.mount.id if file.path is not None and file.path.mount is not None else 15
        ino = file.inode.ino if file.inode is not None else 0
        return b"pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n%s" % (file.pos, flags, mount, ino, file.fdinfo())

    def take(self, t, data):
        return -EINVAL


class NsDir(OfTask):
    """/proc/PID/ns."""

    __slots__ = ()

    def __init__(self, fs, task, whole, index):
        OfTask.__init__(self, fs, task, whole, index, S_IFDIR | 0o511)

    open = open_node

    def lookup(self, name):
        task = self.task
        if task is None or name not in NS_NAMES:
            return -ENOENT
        return NsLink(self.fs, task, self.whole, NS_LINKS + NS_NAMES.index(name), name)

    def entries(self):
        return [(name, task_ino(self.thread.tid, NS_LINKS + i), S_IFLNK) for i, name in enumerate(NS_NAMES)]


NS_LINKS = 1 << 20


class NsLink(OfTask):
    __slots__ = ("kind",)

    def __init__(self, fs, task, whole, index, kind):
        OfTask.__init__(self, fs, task, whole, index, S_IFLNK | 0o777)
        self.kind = kind

    def follow(self, t):
        task = self.task
        if task is None or task.dead:
            return -ENOENT
        return namespace_path(task, self.kind) if may_access(t, task) else -EACCES

    def readlink(self, t):
        task = self.task
        if task is None or task.dead:
            return -ENOENT
        return namespace_text(task, self.kind) if may_access(t, task) else -EACCES


class NetDir(OfTask):
    """/proc/PID/net."""

    __slots__ = ("names",)

    def __init__(self, fs, task, whole, index):
        OfTask.__init__(self, fs, task, whole, index, S_IFDIR | 0o555)

    open = open_node

    def lookup(self, name):
        show = procfs_net.FILES.get(name)
        if show is None:
            return -ENOENT
        ino = task_ino(self.thread.tid, NET_FILES + procfs_net.ORDER[name])
        return TextInode(self.fs, 0o444, show, ino=ino)

    def entries(self):
        return [(name, task_ino(self.thread.tid, NET_FILES + i), S_IFREG) for name, i in procfs_net.ORDER.items()]


NET_FILES = 1 << 21


WRITES = (1, 18)  # write, pwrite64


class MemInode(OfTask):
    """/proc/PID/mem."""

    __slots__ = ()

    def __init__(self, fs, task, whole, index):
        OfTask.__init__(self, fs, task, whole, index, S_IFREG | 0o600)

    def open(self, t, path, flags):
        task = self.task
        if task is None:
            return -ESRCH
        return MemFile(flags, self, path, task.mm) if may_access(t, task) else -EACCES


class MemFile(File):
    """The memory of the process as it was when this was opened."""

    __slots__ = ("mm",)

    def __init__(self, flags, inode, path, mm):
        File.__init__(self, flags, inode, path)
        self.mm = mm

    def usable(self) -> bool:
        return self.mm is not None and self.mm.users > 0 and self.mm.aspace is not None

    def read(self, t, count, pos):
        at = self.pos & MASK64 if pos is None else pos
        if not self.usable():
            return b""
        try:
            data = self.mm.peek(at, min(count, MEM_CHUNK, TASK_LIMIT - at if at < TASK_LIMIT else PAGE))
        except MemFault:
            return -EIO
        if pos is None:
            self.pos += len(data)
        return data

    def write(self, t, data, pos):
        at = self.pos & MASK64 if pos is None else pos
        if not self.usable():
            return 0
        if at >= TASK_LIMIT:
            return -EIO
        try:
            done = self.mm.aspace.write_upto(at, bytes(data[: min(MEM_CHUNK, TASK_LIMIT - at)]))
        except MemFault:
            # Only where this is all of the call may its thread be sent away to do it, or wait for a tracee that does it.
            if t.thread.nr not in WRITES or t.thread.args[2] != len(data):
                return -EIO
            if t.mm is not self.mm:
                return self.write_tracee(t, at, bytes(data[:PAGE]), pos)
            done = self.mm.force(t, at, bytes(data[:PAGE]))
            if done > 0:
                if pos is None:
                    self.pos += done
                return NO_RETURN
        else:
            if pos is None:
                self.pos += done
        return done

    def write_tracee(self, t, at, data, pos):
        tracee = ptrace.stopped_in(t, self.mm)
        if tracee is None:
            return -EIO
        result = ptrace.force_write(t, tracee, at, data)
        if result == BLOCKED and pos is None:
            self.pos += len(data)
        return result

    def seek(self, t, offset, whence):
        # fs/proc/base.c:mem_lseek: addresses are unsigned
        if whence == 1:
            offset += self.pos
        elif whence != 0:
            return -EINVAL
        offset &= MASK64
        self.pos = offset if offset < 1 << 63 else offset - (1 << 64)  # kept as a signed number, as fdinfo shows it
        return offset if offset < 1 << 63 else -EINVAL


class AttrDir(OfTask):
    """/proc/PID/attr: no security module is there, every file is unreadable (EINVAL)."""

    __slots__ = ()
    NAMES = (b"current", b"prev", b"exec", b"fscreate", b"keycreate", b"sockcreate")

    def __init__(self, fs, task, whole, index):
        OfTask.__init__(self, fs, task, whole, index, S_IFDIR | 0o555)

    open = open_node

    def lookup(self, name):
        if name not in self.NAMES:
            return -ENOENT
        ino = task_ino(self.thread.tid, ATTRS + self.NAMES.index(name))
        return TextInode(self.fs, 0o666, no_module, ino=ino)

    def entries(self):
        return [(name, task_ino(self.thread.tid, ATTRS + i), S_IFREG) for i, name in enumerate(self.NAMES)]


ATTRS = 3 << 20


def no_module(t):
    return -EINVAL


SPECIAL = {
    b"task": ThreadsDir,
    b"fd": lambda fs, task, whole, index: FdDir(fs, task, whole, index, FdLink, S_IFLNK, 0o500),
    b"fdinfo": lambda fs, task, whole, index: FdDir(fs, task, whole, index, FdInfo, S_IFREG, 0o555),
    b"ns": NsDir,
    b"net": NetDir,
    b"attr": AttrDir,
    b"mem": MemInode,
    b"exe": link_to(exe_of),
    b"cwd": link_to(cwd_of),
    b"root": link_to(root_of),
}
MODES = {b"mem": S_IFREG, b"exe": S_IFLNK, b"cwd": S_IFLNK, b"root": S_IFLNK}  # of those that are no directories
NAMES = {name: number for number, name in enumerate((*SPECIAL, *procfs_pid.ENTRIES), 2)}
procfs_pid.ONLY_PROCESS.add(b"task")


def new_proc(t, source: bytes, data: bytes):
    """For mount(2). The options of proc(5) are checked and shown; hidepid has no effect."""
    for option in data.split(b","):
        key = option.partition(b"=")[0]
        if key and key not in (b"hidepid", b"gid", b"subset"):
            return -EINVAL
    fs = ProcFS(t.kernel, t.tg.pids)
    fs.options = data
    if source:
        fs.source = source
    return fs


register_filesystem("proc", new_proc)
