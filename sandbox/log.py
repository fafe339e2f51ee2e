"""The command's own log: `--log FILE` (what OCI callers read their errors from) and `--debug-log`."""

import os
import sys
from time import gmtime, strftime, time

from sentry.core import jsonlite

LEVELS = ("debug", "info", "warning", "error")

_file = -1
_json = False
_level = 2
_debug = -1
_once = set()


def setup(path, log_format, debug) -> None:
    """path: str or None; OSError if it cannot be opened."""
    global _file, _json, _level
    if path:
        _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    _json = log_format == "json"
    _level = 0 if debug else 2


def open_debug(pattern, command, cid) -> int:
    """Open the debug log that `pattern` names: %ID%, %COMMAND%, %TIMESTAMP% are replaced, a trailing "/" means
    a directory. Returns the descriptor; OSError."""
    global _debug
    if pattern.endswith("/"):
        pattern += "%TIMESTAMP%.%ID%.%COMMAND%.log"
    stamp = strftime("%Y%m%d-%H%M%S", gmtime()) + f".{int(time() * 1000000) % 1000000:06d}"
    path = pattern.replace("%ID%", cid or "-").replace("%COMMAND%", command).replace("%TIMESTAMP%", stamp)
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)
    _debug = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    return _debug


def file_descriptors():
    """(--log descriptor, debug descriptor), -1 where there is none."""
    return _file, _debug


def log(level, message) -> None:
    """level: index of LEVELS. The line goes to --log, to the debug log, and nowhere else."""
    now = time()
    stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(now)) + f".{int(now * 1e6) % 1000000:06d}Z"
    if _file >= 0 and level >= _level:
        if _json:
            line = jsonlite.dumps({"level": LEVELS[level], "msg": message, "time": stamp})
        else:
            line = f"time={stamp} level={LEVELS[level]} msg={jsonlite.dumps(message)}"
        write(_file, line)
    if _debug >= 0:
        write(_debug, f"{stamp} {LEVELS[level]} [{os.getpid()}] {message}")


def write(fd, line) -> None:
    try:
        os.write(fd, (line + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full or closed log must not end the command


def debug(message) -> None:
    if _debug >= 0 or _level == 0:
        log(0, message)


def info(message) -> None:
    log(1, message)


def warning(message) -> None:
    log(2, message)


def unsupported(what) -> None:
    """Say once that something in the bundle is not honoured."""
    if what not in _once:
        _once.add(what)
        warning(f"not supported: {what}")


def error(message) -> None:
    """The one line that tells why the command failed: standard error and the logs."""
    log(3, message)
    sys.stderr.write(f"stockade: {message}\n")
    sys.stderr.flush()
