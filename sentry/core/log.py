"""The Sentry's log: lines to a host descriptor that was opened before the filter closed.

Plain writes, no logging module: it costs 23 ms to import and opens files at first use.
"""

import os
import sys
from time import time, time_ns

from sentry.core import jsonlite

DEBUG, INFO, WARNING, ERROR, TRACE = 10, 20, 30, 40, 100
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error", TRACE: "strace"}

_fd = 2
_level = WARNING
_json = False
_once = set()


def setup(fd: int, level: int, as_json: bool = False) -> None:
    global _fd, _level, _json
    _fd, _level, _json = fd, level, as_json


def change(level: "int | None", fd: int) -> int:
    """Another level (None: the same) and another descriptor (-1: the same). Returns the old descriptor if it is replaced, else -1."""
    global _fd, _level
    old = -1
    if level is not None:
        _level = level
    if fd >= 0:
        old, _fd = _fd, fd
    return old


def enabled(level: int) -> bool:
    return level >= _level


def log(level: int, message: str) -> None:
    if level < _level:
        return
    if _json:
        line = jsonlite.dumps({"level": NAMES[level], "msg": message, "time": stamp(time_ns())}) + "\n"
    else:
        line = f"{time():.6f} {NAMES[level]} {message}\n"
    try:
        os.write(_fd, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full or closed log must not end the sandbox


def stamp(ns: int) -> str:
    """RFC 3339, which callers that read the log insist on. The C library's functions would open /etc/localtime."""
    days, rest = divmod(ns // 1000, 86400 * 10**6)
    year, day = 1970, days
    while day >= (length := 365 + is_leap(year)):
        day -= length
        year += 1
    month = 1
    while day >= (length := 29 if month == 2 and is_leap(year) else MONTHS[month - 1]):
        day -= length
        month += 1
    seconds, micro = divmod(rest, 10**6)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micro:06}"
    return f"{year}-{month:02}-{day + 1:02}T{clock}Z"


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def debug(message: str) -> None:
    log(DEBUG, message)


def info(message: str) -> None:
    log(INFO, message)


def warning(message: str) -> None:
    log(WARNING, message)


def error(message: str) -> None:
    log(ERROR, message)


def once(key, level: int, message: str) -> None:
    """Log the first time `key` is seen."""
    if key not in _once:
        _once.add(key)
        log(level, message)


def exception(context: str) -> None:
    """Log the current exception with its frames. No source lines: that would open files."""
    kind, value, tb = sys.exc_info()
    frames = []
    while tb is not None:
        code = tb.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{tb.tb_lineno} {code.co_name}")
        tb = tb.tb_next
    log(ERROR, f"{context}: {kind.__name__}: {value} [{' < '.join(reversed(frames))}]")


def trace(message: str) -> None:
    """A line of the system call trace, whatever the level."""
    log(TRACE, message)
