"""The line discipline of terminals (termios(3), drivers/tty/n_tty.c): what happens to bytes between the two ends.

A LineDiscipline knows nothing of files, processes or sleeping. Its terminal calls `receive` with what was typed,
`read` for the program, `process` for the program's output, and supplies `emit(bytes)` (to the screen) and
`signal(signo)` (to the foreground group).
"""

from _collections import deque
from struct import Struct

from sentry.abi.errno import EAGAIN
from sentry.abi.signal import SIGINT, SIGQUIT, SIGTSTP

ISTRIP, INLCR, IGNCR, ICRNL, IUCLC, IXON, IXANY, IUTF8 = 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x4000
OPOST, OLCUC, ONLCR, OCRNL, ONOCR, ONLRET, TABDLY = 1, 2, 4, 8, 0x10, 0x20, 0x1800
ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, TOSTOP = 1, 2, 8, 0x10, 0x20, 0x40, 0x80, 0x100
ECHOCTL, ECHOKE, IEXTEN = 0x200, 0x800, 0x8000
(
    VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL, VREPRINT, VDISCARD, VWERASE,
    VLNEXT, VEOL2,
) = range(17)  # fmt: skip
DEFAULT_CC = b"\x03\x1c\x7f\x15\x04\x00\x01\x00\x11\x13\x1a\x00\x12\x0f\x17\x16\x00\x00\x00"
TERMIOS = Struct("<IIIIB19s")
SPEEDS = Struct("<II")
LINE_MAX = 4095
ROOM = 4095 + 65536  # a terminal's read buffer and the driver's before it


class LineDiscipline:
    __slots__ = (
        "iflag", "oflag", "cflag", "lflag", "line", "cc", "ispeed", "ospeed", "lines", "raw", "edit", "literal", "column",
        "start_column", "stopped", "terminal",
    )  # fmt: skip

    def __init__(self, terminal):
        self.terminal = terminal
        self.iflag = ICRNL | IXON
        self.oflag = OPOST | ONLCR
        self.cflag = 0xBF  # B38400 CS8 CREAD
        self.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN
        self.line = 0
        self.cc = DEFAULT_CC
        self.ispeed = self.ospeed = 38400
        self.lines = deque()  # ICANON: finished lines; an empty one is an end of file
        self.raw = bytearray()  # otherwise: what has come
        self.edit = bytearray()  # the line being typed
        self.literal = False  # after VLNEXT
        self.column = 0
        self.start_column = 0  # where the line being typed began
        self.stopped = False  # by VSTOP

    # -- settings
    def get(self) -> bytes:
        """struct termios of the kernel (36 bytes)."""
        return TERMIOS.pack(self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc)

    def get2(self) -> bytes:
        return self.get() + SPEEDS.pack(self.ispeed, self.ospeed)

    def set(self, data: bytes) -> None:
        """struct termios, or termios2 with its speeds."""
        was = self.lflag
        self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc = TERMIOS.unpack_from(data)
        if len(data) >= 44:
            self.ispeed, self.ospeed = SPEEDS.unpack_from(data, 36)
        if (was ^ self.lflag) & ICANON:
            if self.lflag & ICANON:
                if self.raw:  # what was there counts as a line
                    self.lines.append(self.raw)
                    self.raw = bytearray()
            else:
                for line in self.lines:
                    self.raw += line
                self.raw += self.edit
                self.lines.clear()
                self.edit.clear()
        if self.stopped and not self.iflag & IXON:
            self.stopped = False
            self.terminal.output_started()

    # -- input
    def room(self) -> int:
        if self.lflag & ICANON:
            # A line may grow without end, the excess is dropped; only finished lines fill the buffer.
            return max(0, ROOM - sum(map(len, self.lines)))
        return max(0, ROOM - len(self.raw))

    def available(self) -> int:
        """Bytes that could be read now (FIONREAD)."""
        return sum(map(len, self.lines)) if self.lflag & ICANON else len(self.raw)

    def readable(self, minimum: bool = True) -> bool:
        if self.lflag & ICANON:
            return bool(self.lines)
        least = self.cc[VMIN] if minimum and not self.cc[VTIME] else 1
        return len(self.raw) >= max(1, least)

    def flush_input(self) -> None:
        self.lines.clear()
        self.raw.clear()
        self.edit.clear()
        self.literal = False

    def read(self, count: int, timed_out: bool) -> "bytes | int":
        """What a read of `count` bytes returns now; -EAGAIN: wait. timed_out: VTIME has passed."""
        if self.lflag & ICANON:
            if not self.lines:
                return -EAGAIN
            line = self.lines[0]
            data = bytes(line[:count])
            if len(data) == len(line):
                self.lines.popleft()
            else:
                del line[:count]
            return data
        raw = self.raw
        least, time = self.cc[VMIN], self.cc[VTIME]
        if len(raw) < min(max(least, 1), count) and not timed_out:
            if least or time:
                return -EAGAIN
        data = bytes(raw[:count])
        del raw[: len(data)]
        return data

    def receive(self, data: bytes) -> None:
        """Bytes from the keyboard."""
        lflag, cc = self.lflag, self.cc
        if not lflag & (ICANON | ISIG | ECHO) and not self.iflag & (ISTRIP | INLCR | IGNCR | ICRNL | IUCLC | IXON):
            self.raw += data[: max(0, ROOM - len(self.raw))]
            return
        for c in data:
            if self.iflag & ISTRIP:
                c &= 0x7F
            if self.iflag & IUCLC and lflag & IEXTEN and 0x41 <= c <= 0x5A:
                c |= 0x20
            if self.literal:
                self.literal = False
                self.echo(c)
                self.add(c)
                continue
            if self.stopped and self.iflag & IXANY and self.iflag & IXON and c not in (cc[VSTART], cc[VSTOP]):
                self.start()
            if self.iflag & IXON and c:
                if c == cc[VSTART]:
                    self.start()
                    continue
                if c == cc[VSTOP]:
                    self.stopped = True
                    continue
            if lflag & ISIG and c and c in (cc[VINTR], cc[VQUIT], cc[VSUSP]):
                signo = SIGINT if c == cc[VINTR] else SIGQUIT if c == cc[VQUIT] else SIGTSTP
                self.terminal.signal(signo)
                if not lflag & NOFLSH:
                    self.flush_input()
                    self.terminal.flush_output()
                if self.iflag & IXON:
                    self.start()
                self.echo(c)
                continue
            if c == 13:
                if self.iflag & IGNCR:
                    continue
                if self.iflag & ICRNL:
                    c = 10
            elif c == 10 and self.iflag & INLCR:
                c = 13
            if lflag & ICANON:
                self.receive_canonical(c)
            else:
                self.echo(c)
                self.add(c)

    def start(self) -> None:
        if self.stopped:
            self.stopped = False
            self.terminal.output_started()

    def receive_canonical(self, c: int) -> None:
        cc, lflag, edit = self.cc, self.lflag, self.edit
        if c == 10:
            if lflag & (ECHO | ECHONL):
                self.terminal.emit(self.process(b"\n"))
            self.finish_line(b"\n")
            return
        if c:
            extended = lflag & IEXTEN
            if c in (cc[VERASE], cc[VKILL]) or (c == cc[VWERASE] and extended):
                self.erase(c)
                return
            if c == cc[VLNEXT] and extended:
                self.literal = True
                if lflag & ECHO and lflag & ECHOCTL:
                    self.terminal.emit(b"^\b")
                return
            if c == cc[VREPRINT] and lflag & ECHO and extended:
                self.echo(c)
                self.terminal.emit(self.process(b"\n"))
                for typed in bytes(edit):
                    self.echo(typed)
                return
            if c == cc[VEOF]:
                self.finish_line(b"")
                return
            if c == cc[VEOL] or (c == cc[VEOL2] and extended):
                self.echo(c)
                self.finish_line(bytes((c,)))
                return
        if not edit:
            self.start_column = self.column
        if len(edit) < LINE_MAX:
            self.echo(c)
            edit.append(c)
        else:
            self.terminal.emit(b"\a")

    def finish_line(self, end: bytes) -> None:
        self.lines.append(self.edit + end)
        self.edit = bytearray()

    def add(self, c: int) -> None:
        if self.lflag & ICANON:
            if len(self.edit) < LINE_MAX:
                self.edit.append(c)
        elif len(self.raw) < ROOM:
            self.raw.append(c)

    def erase(self, c: int) -> None:
        """VERASE, VKILL, VWERASE."""
        lflag, edit, cc = self.lflag, self.edit, self.cc
        if not edit:
            return
        if c == cc[VKILL]:
            if not lflag & ECHO:
                edit.clear()
                return
            if lflag & (ECHOK | ECHOKE | ECHOE) != ECHOK | ECHOKE | ECHOE:
                edit.clear()
                self.echo(c)
                if lflag & ECHOK:
                    self.terminal.emit(self.process(b"\n"))
                return
        seen_word = False
        while edit:
            end = len(edit) - 1
            if self.iflag & IUTF8:
                while end and edit[end] & 0xC0 == 0x80:
                    end -= 1
            if c == cc[VWERASE]:
                word = chr(edit[end]).isalnum() or edit[end] == 0x5F
                if word:
                    seen_word = True
                elif seen_word:
                    break
            gone = edit[end]
            del edit[end:]
            if lflag & ECHO:
                if lflag & ECHOE:
                    self.rub_out(gone)
                else:
                    self.echo(cc[VERASE])
            if c == cc[VERASE]:
                break

    def rub_out(self, gone: int) -> None:
        """Take the echo of a character off the screen."""
        if gone == 9:
            column = self.start_column
            for c in self.edit:
                column = column // 8 * 8 + 8 if c == 9 else column + self.width(c)
            width = max(0, self.column - column)
            self.column = column
            self.terminal.emit(b"\b" * width)
            return
        width = self.width(gone)
        self.column = max(0, self.column - width)
        self.terminal.emit(b"\b \b" * width)

    def width(self, c: int) -> int:
        if c < 32 or c == 127:
            return 2 if self.lflag & ECHOCTL else 0
        return 0 if self.iflag & IUTF8 and c & 0xC0 == 0x80 else 1

    def echo(self, c: int) -> None:
        if not self.lflag & ECHO:
            return
        if self.lflag & ECHOCTL and (c < 32 or c == 127) and c not in (9, 10):
            self.terminal.emit(bytes((0x5E, c ^ 0x40)))
            self.column += 2
        else:
            self.terminal.emit(self.process(bytes((c,))))

    # -- output
    def process(self, data: bytes) -> bytes:
        """What the program's bytes become on their way to the screen."""
        oflag = self.oflag
        if not oflag & OPOST:
            return data
        if not oflag & (OLCUC | OCRNL | ONOCR | ONLRET) and (oflag & TABDLY != TABDLY or b"\t" not in data):
            tail = data[max(data.rfind(b"\n"), data.rfind(b"\r")) + 1 :]
            if len(tail) != len(data):
                self.column = 0
            if b"\t" in tail or b"\b" in tail:
                for c in tail:
                    self.column = self.column // 8 * 8 + 8 if c == 9 else max(0, self.column - 1) if c == 8 else self.column + 1
            else:
                self.column += len(tail)
            return data.replace(b"\n", b"\r\n") if oflag & ONLCR else data
        out = bytearray()
        for c in data:
            if c == 10:
                if oflag & ONLRET:
                    self.column = 0
                if oflag & ONLCR:
                    self.column = 0
                    out += b"\r"
            elif c == 13:
                if oflag & ONOCR and not self.column:
                    continue
                if oflag & OCRNL:
                    c = 10
                    if oflag & ONLRET:
                        self.column = 0
                else:
                    self.column = 0
            elif c == 9:
                spaces = 8 - self.column % 8
                self.column += spaces
                if oflag & TABDLY == TABDLY:
                    out += b" " * spaces
                    continue
            elif c == 8:
                self.column = max(0, self.column - 1)
            elif c >= 32:
                if oflag & OLCUC and 0x61 <= c <= 0x7A:
                    c -= 32
                self.column += 1
            out.append(c)
        return bytes(out)
