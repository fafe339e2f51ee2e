"""devpts and pseudo-terminal masters (pts(4), drivers/tty/pty.c, fs/devpts/inode.c)."""

from struct import Struct

from sentry.abi.errno import EAGAIN, EINVAL, EIO, ENODEV, ENOENT, ENOSPC, ESPIPE
from sentry.abi.fs import S_IFCHR, S_IFDIR, makedev
from sentry.fs.tty import (
    FIONREAD,
    INT,
    TIOCPKT,
    Terminal,
    open_terminal,
    tty_ioctl,
)
from sentry.kernel import session as sessions
from sentry.kernel.task import RLIMIT_NOFILE
from sentry.vfs.dentry import Path
from sentry.vfs.devices import register_device
from sentry.vfs.file import (
    O_CLOEXEC,
    O_NOCTTY,
    POLL_READABLE,
    POLL_WRITABLE,
    POLLHUP,
    POLLPRI,
    File,
)
from sentry.vfs.inode import FileSystem, Inode, NoXattr
from sentry.vfs.mount import register_filesystem
from sentry.vfs.regular import open_node

DEVPTS_MAGIC = 0x1CD1
PTS_MAJOR = 136
TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK, TIOCGPTPEER, TIOCGPKT, TIOCSIG = 0x80045430, 0x40045431, 0x80045439, 0x5441, 0x80045438, 0x40045436
MAX_PTYS = 1024
UINT = Struct("<I")


class PtsInode(NoXattr, Inode):
    """/dev/pts/N."""

    __slots__ = ("terminal", "locked")

    def open(self, t, path, flags):
        if self.locked:
            return -EIO
        return open_terminal(t, self.terminal, flags, self, path)


class PtmxInode(NoXattr, Inode):
    """/dev/pts/ptmx: opening it makes a new pair."""

    __slots__ = ()

    def open(self, t, path, flags):
        return self.fs.new_pair(t, flags, self, path)


class PtsDir(NoXattr, Inode):
    __slots__ = ()

    open = open_node

    def lookup(self, name):
        fs = self.fs
        if name == b"ptmx":
            return fs.ptmx
        if name.isdigit() and (name == b"0" or name[:1] != b"0"):
            node = fs.nodes.get(int(name))
            if node is not None:
                return node
        return -ENOENT

    def entries(self):
        fs = self.fs
        return [(b"%d" % n, node.ino, node.mode) for n, node in fs.nodes.items()] + [(b"ptmx", fs.ptmx.ino, fs.ptmx.mode)]


class DevptsFS(FileSystem):
    """One instance: the pairs made through its ptmx."""

    type_name = "devpts"
    magic = DEVPTS_MAGIC
    revalidate = True  # names come and go with the masters

    def __init__(self, mode=0o600, uid=None, gid=None, ptmxmode=0, limit=MAX_PTYS):
        FileSystem.__init__(self)
        self.source = b"devpts"
        self.node_mode, self.node_uid, self.node_gid = mode, uid, gid
        self.limit = limit
        self.root = PtsDir(self, 1, S_IFDIR | 0o755)
        self.root.nlink = 2
        self.ptmx = PtmxInode(self, 2, S_IFCHR | ptmxmode)
        self.ptmx.rdev = makedev(5, 2)
        self.nodes = {}  # index -> PtsInode, while the master is open
        self.taken = set()  # indices in use by either end
        self.options = (b"gid=%d," % gid if gid is not None else b"") + b"mode=%03o,ptmxmode=%03o" % (mode, ptmxmode)

    def new_node(self, t, timers) -> "PtsInode | int":
        """A new terminal with a node of its own, unlocked by its maker."""
        if len(self.taken) >= self.limit:
            return -ENOSPC
        index = 0
        while index in self.taken:
            index += 1
        self.taken.add(index)
        node = PtsInode(self, index + 3, S_IFCHR | self.node_mode)
        node.uid = t.creds.fsuid if self.node_uid is None else self.node_uid
        node.gid = t.creds.fsgid if self.node_gid is None else self.node_gid
        node.rdev = makedev(PTS_MAJOR + (index >> 8), index & 0xFF)
        node.locked = True
        node.terminal = Terminal(timers, index, node.rdev)
        self.nodes[index] = node
        return node

    def drop_node(self, node) -> None:
        """The master has been closed: the name goes now, the number when the other end is closed too."""
        index = node.terminal.index
        self.nodes.pop(index, None)
        terminal = node.terminal
        if terminal.slaves:
            terminal.on_last_close = lambda: self.taken.discard(index)
        else:
            self.taken.discard(index)

    def new_pair(self, t, flags, inode, path):
        node = self.new_node(t, t.kernel.timers)
        return node if isinstance(node, int) else PtyMaster(node, flags, inode, path)


class PtyMaster(File):
    """The other end: reads what programs write, writes what is typed."""

    __slots__ = ("node", "terminal")

    def __init__(self, node, flags, inode, path):
        self.node = node
        self.terminal = node.terminal
        File.__init__(self, flags, inode, path, self.terminal.master_queue)

    def release(self):
        self.terminal.hang_up()
        self.node.fs.drop_node(self.node)

    def gone(self) -> bool:
        """Has the program's end been open, and is closed now (TTY_OTHER_CLOSED)?"""
        return self.terminal.opened and not self.terminal.slaves

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        terminal = self.terminal
        if terminal.packet:
            if terminal.packet_status:
                status, terminal.packet_status = terminal.packet_status, 0
                return bytes((status,))
            if terminal.out and count:
                return b"\0" + terminal.take_out(count - 1)
        elif terminal.out:
            return terminal.take_out(count)
        return -EIO if self.gone() else -EAGAIN

    def write(self, t, data, pos):
        if pos is not None:
            return -ESPIPE
        if self.gone():
            return -EIO
        if not data:
            return 0
        return self.terminal.type_in(data) or -EAGAIN

    def async_events(self):
        return POLL_READABLE

    def poll(self):
        terminal = self.terminal
        bits = 0
        if terminal.out:
            bits |= POLL_READABLE
        if terminal.packet_status:
            bits |= POLLPRI | POLL_READABLE
        if self.gone():
            bits |= POLLHUP
        elif terminal.ldisc.room():
            bits |= POLL_WRITABLE
        return bits

    def ioctl(self, t, cmd, arg):
        terminal = self.terminal
        if cmd == TIOCGPTN:
            t.write(arg, UINT.pack(terminal.index))
        elif cmd == TIOCSPTLCK:
            self.node.locked = INT.unpack(t.read(arg, 4))[0] != 0
        elif cmd == TIOCGPTLCK:
            t.write(arg, INT.pack(self.node.locked))
        elif cmd == TIOCGPTPEER:
            return self.open_peer(t, arg)
        elif cmd == TIOCPKT:
            terminal.packet = INT.unpack(t.read(arg, 4))[0] != 0
            terminal.packet_status = 0
        elif cmd == TIOCGPKT:
            t.write(arg, INT.pack(terminal.packet))
        elif cmd == TIOCSIG:
            if not 1 <= arg <= 64:
                return -EINVAL
            if terminal.foreground is not None:
                sessions.send_group(terminal.foreground, arg)
        elif cmd == FIONREAD:
            t.write(arg, INT.pack(len(terminal.out)))
        else:
            return tty_ioctl(t, terminal, cmd, arg, True)
        return 0

    def open_peer(self, t, flags: int) -> int:
        """TIOCGPTPEER: a descriptor of the program's end, whatever is mounted where."""
        path = None
        for mount in t.fs.ns.mounts():
            if mount.fs is self.node.fs:
                name = b"%d" % self.terminal.index
                dentry = mount.root.children.get(name) if mount.root.children is not None else None
                if dentry is None or dentry.inode is not self.node:
                    dentry = mount.root.add(name, self.node)
                path = Path(mount, dentry)
        file = open_terminal(t, self.terminal, flags & ~O_CLOEXEC | O_NOCTTY, self.node, path)
        if isinstance(file, int):
            return file
        fd = t.files.install(file, t.rlimit(RLIMIT_NOFILE), bool(flags & O_CLOEXEC))
        if fd < 0:
            file.decref()
        return fd


def open_ptmx(t, inode, path, flags):
    """/dev/ptmx as a device node: the devpts that is mounted last in this namespace (Linux: on pts beside it)."""
    found = None
    for mount in t.fs.ns.mounts():
        if isinstance(mount.fs, DevptsFS):
            found = mount.fs
    return -ENODEV if found is None else found.new_pair(t, flags, inode, path)


def new_devpts(t, source: bytes, data: bytes) -> "DevptsFS | int":
    """For mount(2): options mode, uid, gid, ptmxmode, max, newinstance."""
    values = {b"mode": 0o600, b"uid": None, b"gid": None, b"ptmxmode": 0, b"max": MAX_PTYS}
    for option in data.split(b","):
        key, _, value = option.partition(b"=")
        if key in values:
            try:
                number = int(value, 8 if key.endswith(b"mode") else 10)
            except ValueError:
                return -EINVAL
            values[key] = number & 0o777 if key.endswith(b"mode") else number
        elif key not in (b"", b"newinstance"):
            return -EINVAL
    fs = DevptsFS(values[b"mode"], values[b"uid"], values[b"gid"], values[b"ptmxmode"], min(values[b"max"], MAX_PTYS))
    if source:
        fs.source = source
    return fs


register_filesystem("devpts", new_devpts)
register_device(5, 2, open_ptmx)
