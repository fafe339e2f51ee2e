"""A command that stays with a program it started: signals on, terminal through, exit code back."""

import fcntl
import os
import select

import _signal

from sandbox.errors import CliError
from sandbox.signals import SIGWINCH

FDS_MAX = 1024
FORWARDED = (1, 2, 3, 10, 12, 15, 18, 20, 21, 22, 23)  # HUP INT QUIT USR1 USR2 TERM CONT TSTP TTIN TTOU URG


class Signals:
    """Catches the signals to pass on; their numbers are read from `fd`."""

    def __init__(self):
        self.fd, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.old = {}
        _signal.set_wakeup_fd(self.writer)
        for number in FORWARDED + (SIGWINCH,):
            self.old[number] = _signal.signal(number, ignore)

    def read(self) -> bytes:
        try:
            return os.read(self.fd, 64)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        for number, handler in self.old.items():
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self.writer)


def ignore(number, frame) -> None:
    """The signal's number is in the pipe."""


def wait(commands, waiter, pid, signals, terminal=None) -> "int | None":
    """Stay until the program ends; its wait(2) status, or None if the sandbox ended without telling.

    commands: control.Client for requests. waiter: one on which "wait" was sent. pid: the guest's process (0: the
    first). signals: Signals set up before the program started. terminal: console.Terminal with the master's end.
    """
    proxy = terminal.proxy() if terminal is not None else None
    if proxy is not None:
        proxy.start()
    try:
        while True:
            poll = select.poll()
            poll.register(waiter.fileno(), select.POLLIN)
            poll.register(signals.fd, select.POLLIN)
            if proxy is not None:
                proxy.interest(poll)
            for fd, events in poll.poll():
                if fd == waiter.fileno():
                    answer = waiter.receive()
                    if proxy is not None:
                        proxy.drain()
                    return None if answer is None else answer["status"]
                if fd == signals.fd:
                    for number in signals.read():
                        tell(commands, number, pid, proxy)
                elif proxy is not None:
                    proxy.serve(fd, events)
    finally:
        if proxy is not None:
            proxy.stop()


def tell(commands, number, pid, proxy) -> None:
    """Pass a signal on to the program; a change of our terminal's size goes to its terminal."""
    try:
        if number != SIGWINCH:
            commands.call({"op": "kill", "signal": number, "pid": pid})
        elif proxy is not None:
            proxy.resize()
            rows, columns = proxy.size()
            commands.call({"op": "resize", "pid": pid, "rows": rows, "columns": columns})
    except CliError:
        pass  # it has ended meanwhile; `wait` will see it


def keep_fds(count) -> "list[tuple[int, int]]":
    """--preserve-fds N: descriptors 3 to 3+N-1 as (guest number, descriptor). CliError if one is not open."""
    pairs = []
    for fd in range(3, 3 + count):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            raise CliError(f"--preserve-fds {count}: descriptor {fd} is not open") from None
        pairs.append((fd, fd))
    return pairs


def pass_fds(texts, taken) -> "list[tuple[int, int]]":
    """--pass-fd HOST:GUEST: (guest number, descriptor) of each. taken: those given already. CliError."""
    pairs = []
    for text in texts:
        host, colon, guest = text.partition(":")
        if not host.isdigit() or not (guest.isdigit() if colon else True):
            raise CliError(f"--pass-fd {text!r} is not HOST:GUEST")
        fd, number = int(host), int(guest if colon else host)
        if number >= FDS_MAX or number in [given for given, _ in [*taken, *pairs]]:
            raise CliError(f"--pass-fd {text!r}: descriptor {number} of the program is given already, or above {FDS_MAX - 1}")
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            raise CliError(f"--pass-fd {text!r}: descriptor {fd} is not open") from None
        pairs.append((number, fd))
    return pairs
