"""Terminals: the program's end of a pseudo-terminal, job control, and the requests of ioctl_tty(2).

A Terminal is what both ends share. Its other end is a PtyMaster (devpts.py) or the host (tty_host.py); both read
`out`, type with `type_in`, and wait on `master_queue`.
"""

from struct import Struct
from time import monotonic_ns

from sentry.abi.errno import EAGAIN, EBUSY, EINVAL, EIO, ENOTTY, ENXIO, EPERM, ERESTARTSYS, ESPIPE, ESRCH
from sentry.abi.signal import SIG_IGN, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH
from sentry.core.creds import CAP_SYS_ADMIN
from sentry.core.waitq import WaitQueue
from sentry.fs.tty_ldisc import ICANON, TOSTOP, VMIN, VTIME, LineDiscipline
from sentry.kernel import session as sessions
from sentry.kernel import signals
from sentry.vfs.devices import register_device
from sentry.vfs.file import (
    O_ACCMODE,
    O_NOCTTY,
    O_NONBLOCK,
    O_WRONLY,
    POLL_READABLE,
    POLL_WRITABLE,
    POLLERR,
    POLLHUP,
    POLLPRI,
    File,
)

OUT_LIMIT = 65536
WINSIZE = Struct("<HHHH")
INT = Struct("<i")

TCGETS, TCSETS, TCSETSW, TCSETSF = 0x5401, 0x5402, 0x5403, 0x5404
TCGETS2, TCSETS2, TCSETSW2, TCSETSF2 = 0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D
TCSBRK, TCXONC, TCFLSH, TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCGPGRP, TIOCSPGRP = range(0x5409, 0x5411)
TIOCOUTQ, TIOCSTI, TIOCGWINSZ, TIOCSWINSZ = 0x5411, 0x5412, 0x5413, 0x5414
FIONREAD, TIOCPKT, TIOCNOTTY, TIOCSETD, TIOCGETD, TCSBRKP = 0x541B, 0x5420, 0x5422, 0x5423, 0x5424, 0x5425
TIOCSBRK, TIOCCBRK, TIOCGSID, TIOCVHANGUP = 0x5427, 0x5428, 0x5429, 0x5437
TIOCGDEV, TIOCGEXCL = 0x80045432, 0x80045440
TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE, TIOCPKT_STOP, TIOCPKT_START = 1, 2, 4, 8
SET_REQUESTS = (TCSETS, TCSETSW, TCSETSF, TCSETS2, TCSETSW2, TCSETSF2)
# Requests that a background process may make only with SIGTTOU blocked or ignored (tty_check_change).
CHANGES = (*SET_REQUESTS, TCSBRK, TCSBRKP, TCXONC, TCFLSH, TIOCSPGRP)


class Terminal:
    """`session`, `foreground`: sessions.Session and ProcessGroup, or None. `rdev`: device number."""

    __slots__ = (
        "ldisc", "winsize", "session", "foreground", "rdev", "out", "queue", "master_queue", "slaves", "opened", "hung",
        "exclusive", "packet", "packet_status", "timer", "timers", "timed_out", "on_last_close", "index",
    )  # fmt: skip

    def __init__(self, timers, index: int, rdev: int):
        self.ldisc = LineDiscipline(self)
        self.winsize = (0, 0, 0, 0)  # rows, columns, pixels
        self.session = None
        self.foreground = None
        self.index = index
        self.rdev = rdev
        self.out = bytearray()  # to the other end
        self.queue = WaitQueue()  # the program's end
        self.master_queue = WaitQueue()
        self.slaves = 0  # open files of the program's end
        self.opened = False  # there has been one
        self.hung = False
        self.exclusive = False
        self.packet = False  # TIOCPKT
        self.packet_status = 0
        self.timers = timers  # core.timers.Timers
        self.timer = None  # of VTIME
        self.timed_out = False
        self.on_last_close = None  # function() when no program has it open any more

    # -- for the line discipline
    def emit(self, data: bytes) -> None:
        """Echo: to the screen if there is room."""
        if len(self.out) < OUT_LIMIT:
            self.put_out(data)

    def put_out(self, data: bytes) -> None:
        self.out += data
        if self.master_queue.entries:
            self.master_queue.wake(POLL_READABLE)

    def signal(self, signo: int) -> None:
        if self.foreground is not None:
            sessions.send_group(self.foreground, signo)

    def flush_output(self) -> None:
        self.out.clear()
        self.tell_packet(TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE)
        self.queue.wake(POLL_WRITABLE)

    def output_started(self) -> None:
        self.tell_packet(TIOCPKT_START)
        self.queue.wake(POLL_WRITABLE)

    def tell_packet(self, status: int) -> None:
        if self.packet:
            self.packet_status |= status
            self.master_queue.wake(POLL_READABLE | POLLPRI)

    # -- for the other end
    def type_in(self, data: bytes) -> int:
        """Bytes from the keyboard; how many were taken (0: no room)."""
        n = min(len(data), self.ldisc.room())
        if not n:
            return 0
        self.ldisc.receive(data[:n])
        if self.timer is not None and self.ldisc.cc[VMIN]:
            self.start_timer()  # VTIME counts between bytes
        if self.ldisc.readable(False):
            self.queue.wake(POLL_READABLE)
        return n

    def take_out(self, count: int) -> bytes:
        """Up to `count` bytes of output."""
        was_full = len(self.out) >= OUT_LIMIT
        data = bytes(self.out[:count])
        del self.out[: len(data)]
        if was_full and self.queue.entries:
            self.queue.wake(POLL_WRITABLE)
        return data

    def set_size(self, winsize: tuple) -> None:
        if winsize != self.winsize:
            self.winsize = winsize
            self.signal(SIGWINCH)

    def hang_up(self) -> None:
        """The other end is gone (tty_vhangup): readers see the end, the session loses its terminal."""
        if self.hung:
            return
        self.hung = True
        session = self.session
        if session is not None:
            leader = session.leader
            if leader is not None:
                signals.send(leader, SIGHUP)
                signals.send(leader, SIGCONT)
            self.leave_session()
        self.queue.wake()
        self.master_queue.wake()

    # -- sessions
    def leave_session(self) -> None:
        if self.session is not None:
            self.session.tty = None
        self.session = self.foreground = None

    def make_controlling(self, tg) -> None:
        """It becomes the controlling terminal of the session that `tg` leads."""
        self.leave_session()
        self.session = tg.session
        self.foreground = tg.pgrp
        tg.session.tty = self

    def session_leader_exit(self, session) -> None:
        """kernel/exit.c: disassociate_ctty(1). A pseudo-terminal stays usable; its foreground group is told."""
        if self.foreground is not None:
            sessions.send_group(self.foreground, SIGHUP)
        self.leave_session()

    # -- VTIME
    def start_timer(self) -> None:
        self.stop_timer()
        self.timed_out = False
        self.timer = self.timers.add(monotonic_ns() + self.ldisc.cc[VTIME] * 100000000, self.timer_fired)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def timer_fired(self) -> None:
        self.timer = None
        self.timed_out = True
        self.queue.wake(POLL_READABLE)

    # -- ends
    def slave_opened(self) -> None:
        self.slaves += 1
        self.opened = True

    def slave_closed(self) -> None:
        self.slaves -= 1
        if self.slaves == 0:
            self.stop_timer()
            self.exclusive = False
            self.leave_session()
            self.master_queue.wake()
            if self.on_last_close is not None:
                self.on_last_close()


def in_background(t, terminal) -> bool:
    return t.tg.session is not None and t.tg.session.tty is terminal and t.tg.pgrp is not terminal.foreground


def ignores(t, signo: int) -> bool:
    return bool(t.sigmask >> (signo - 1) & 1) or t.tg.sighand.actions[signo][0] == SIG_IGN


def check_change(t, terminal, signo: int) -> int:
    """May a process change the terminal, or with SIGTTIN read from it (__tty_check_change)? 0, -EIO, or
    -ERESTARTSYS after stopping its group."""
    if terminal.foreground is None or not in_background(t, terminal):
        return 0
    if ignores(t, signo):
        return -EIO if signo == SIGTTIN else 0
    if sessions.is_orphaned(t.tg.pgrp):
        return -EIO
    sessions.send_group(t.tg.pgrp, signo)
    return -ERESTARTSYS


class TtyFile(File):
    """The program's end of a terminal."""

    __slots__ = ("terminal",)

    def __init__(self, terminal, flags, inode, path):
        File.__init__(self, flags, inode, path, terminal.queue)
        self.terminal = terminal
        terminal.slave_opened()

    def anon_name(self):
        return b"/dev/pts/%d" % self.terminal.index

    def release(self):
        self.terminal.slave_closed()

    def read(self, t, count, pos):
        if pos is not None:
            return -ESPIPE
        terminal = self.terminal
        if terminal.hung:
            return b""
        error = check_change(t, terminal, SIGTTIN)
        if error:
            return error
        ldisc = terminal.ldisc
        data = ldisc.read(count, terminal.timed_out)
        if isinstance(data, bytes):
            terminal.timed_out = False
            terminal.stop_timer()
            if terminal.master_queue.entries:
                terminal.master_queue.wake(POLL_WRITABLE)
            return data
        if not ldisc.lflag & ICANON and ldisc.cc[VTIME] and terminal.timer is None and not self.flags & O_NONBLOCK:
            if not ldisc.cc[VMIN] or ldisc.raw:
                terminal.start_timer()
        return data

    def write(self, t, data, pos):
        if pos is not None:
            return -ESPIPE
        terminal = self.terminal
        if terminal.hung:
            return -EIO
        ldisc = terminal.ldisc
        if ldisc.lflag & TOSTOP:
            error = check_change(t, terminal, SIGTTOU)
            if error:
                return error
        room = OUT_LIMIT - len(terminal.out)
        if ldisc.stopped or (room <= 0 and data):
            return -EAGAIN
        data = data[:room]
        terminal.put_out(ldisc.process(data))
        return len(data)

    def async_events(self):
        return POLL_READABLE

    def poll(self):
        terminal = self.terminal
        if terminal.hung:
            return POLL_READABLE | POLL_WRITABLE | POLLERR | POLLHUP
        bits = POLL_READABLE if terminal.ldisc.readable() else 0
        if len(terminal.out) < OUT_LIMIT and not terminal.ldisc.stopped:
            bits |= POLL_WRITABLE
        return bits

    def ioctl(self, t, cmd, arg):
        if self.terminal.hung:
            return -ENOTTY if cmd == TIOCSPGRP else -EIO
        return tty_ioctl(t, self.terminal, cmd, arg, False)


def tty_ioctl(t, terminal, cmd: int, arg: int, master: bool) -> int:
    """Requests that both ends answer alike, about the program's end."""
    ldisc = terminal.ldisc
    if cmd in CHANGES and not master:
        error = check_change(t, terminal, SIGTTOU)
        if error:
            return error
    if cmd == TCGETS:
        t.write(arg, ldisc.get())
    elif cmd == TCGETS2:
        t.write(arg, ldisc.get2())
    elif cmd in SET_REQUESTS:
        data = t.read(arg, 44 if cmd >= TCSETS2 else 36)
        if cmd in (TCSETSF, TCSETSF2):
            ldisc.flush_input()
        ldisc.set(data)
        terminal.queue.wake(POLL_READABLE)
    elif cmd == TIOCGWINSZ:
        t.write(arg, WINSIZE.pack(*terminal.winsize))
    elif cmd == TIOCSWINSZ:
        terminal.set_size(WINSIZE.unpack(t.read(arg, 8)))
    elif cmd == FIONREAD:
        t.write(arg, INT.pack(ldisc.available()))
    elif cmd == TIOCOUTQ:
        t.write(arg, INT.pack(0 if master else len(terminal.out)))
    elif cmd == TCFLSH:
        if not 0 <= arg <= 2:
            return -EINVAL
        if arg in (0, 2):
            ldisc.flush_input()
            terminal.tell_packet(TIOCPKT_FLUSHREAD)
            terminal.master_queue.wake(POLL_WRITABLE)
        if arg in (1, 2):
            terminal.flush_output()
    elif cmd == TCXONC:
        if not 0 <= arg <= 3:
            return -EINVAL
        if arg == 0:
            ldisc.stopped = True
            terminal.tell_packet(TIOCPKT_STOP)
        elif arg == 1:
            ldisc.start()
    elif cmd == TIOCGETD:
        t.write(arg, INT.pack(0))
    elif cmd == TIOCSETD:
        return 0 if INT.unpack(t.read(arg, 4))[0] == 0 else -EINVAL
    elif cmd == TIOCEXCL:
        terminal.exclusive = True
    elif cmd == TIOCNXCL:
        terminal.exclusive = False
    elif cmd == TIOCGEXCL:
        t.write(arg, INT.pack(terminal.exclusive))
    elif cmd == TIOCGDEV:
        t.write(arg, INT.pack(terminal.rdev))
    elif cmd == TIOCSTI:
        return -EIO  # dev.tty.legacy_tiocsti is 0
    elif cmd == TIOCVHANGUP:
        if not t.creds.capable(CAP_SYS_ADMIN):
            return -EPERM
        terminal.hang_up()
    elif cmd not in (TCSBRK, TCSBRKP, TIOCSBRK, TIOCCBRK):  # a break has no meaning here
        return job_control(t, terminal, cmd, arg, master)
    return 0


def job_control(t, terminal, cmd: int, arg: int, master: bool) -> int:
    session = t.tg.session
    mine = session is not None and session.tty is terminal
    if cmd == TIOCSCTTY:
        return set_controlling(t, terminal, arg)
    if cmd == TIOCNOTTY:
        if not mine:
            return -ENOTTY
        if session.leader is t.tg:
            group = terminal.foreground
            terminal.leave_session()
            if group is not None:
                sessions.send_group(group, SIGHUP)
                sessions.send_group(group, SIGCONT)
        return 0  # a terminal belongs to the session here, not to each process
    if cmd == TIOCGPGRP:
        if not mine and not master:
            return -ENOTTY
        t.write(arg, INT.pack(terminal.foreground.pgid if terminal.foreground is not None else 0))
        return 0
    if cmd == TIOCGSID:
        if (not mine and not master) or terminal.session is None:
            return -ENOTTY
        t.write(arg, INT.pack(terminal.session.sid))
        return 0
    if cmd == TIOCSPGRP:
        if session is None or session.tty is None or (not mine and not master) or session is not terminal.session:
            return -ENOTTY
        (number,) = INT.unpack(t.read(arg, 4))
        if number < 0:
            return -EINVAL
        group = t.tg.pids.pgrps.get(number)
        if group is None:
            return -ESRCH
        if group.session is not session:
            return -EPERM
        terminal.foreground = group
        return 0
    return -ENOTTY


def set_controlling(t, terminal, arg: int) -> int:
    session = t.tg.session
    if session is not None and session.leader is t.tg and terminal.session is session:
        return 0
    if session is None or session.leader is not t.tg or session.tty is not None:
        return -EPERM
    if terminal.session is not None and not (arg == 1 and t.creds.capable(CAP_SYS_ADMIN)):
        return -EPERM
    terminal.make_controlling(t.tg)
    return 0


def open_terminal(t, terminal, flags: int, inode, path) -> "TtyFile | int":
    """open(2) of the program's end; may make it the controlling terminal (tty_open_proc_set_tty)."""
    if terminal.hung:
        return -EIO
    if terminal.exclusive and not t.creds.capable(CAP_SYS_ADMIN):
        return -EBUSY
    file = TtyFile(terminal, flags, inode, path)
    tg = getattr(t, "tg", None)  # the kernel itself opens terminals, too
    if (
        tg is not None
        and not flags & O_NOCTTY
        and flags & O_ACCMODE != O_WRONLY
        and tg.session is not None
        and tg.session.leader is tg
        and tg.session.tty is None
        and terminal.session is None
    ):
        terminal.make_controlling(tg)
    return file


def open_dev_tty(t, inode, path, flags):
    """/dev/tty: the controlling terminal of whoever opens it (tty(4))."""
    session = t.tg.session
    terminal = session.tty if session is not None else None
    if terminal is None:
        return -ENXIO
    return open_terminal(t, terminal, flags | O_NOCTTY, inode, path)


def open_console(t, inode, path, flags):
    """/dev/console: the terminal that the container was started with."""
    container = t.tg.container
    terminal = container.data.get("console") if container is not None and hasattr(container, "data") else None
    return -ENXIO if terminal is None else open_terminal(t, terminal, flags | O_NOCTTY, inode, path)


register_device(5, 0, open_dev_tty)
register_device(5, 1, open_console)
