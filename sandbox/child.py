"""Processes that a command starts for a sandbox (Sentry, gofer): clone, id maps, step-by-step reports.

The parent and the child talk over a SOCK_SEQPACKET pair, one JSON object a packet:

    child  -> parent   {"at": STAGE}                 waits there for the parent's answer
                       {"error": TEXT, "code": N}    it has failed and ends
    parent -> child    {}                            go on

When the parent dies the child reads end-of-file instead of an answer and ends: nothing is left behind by
a command that is killed half-way.
"""

import os
from errno import EINTR

import _socket

from sandbox import _host, confine, log
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

SIGKILL = 9
REPORT_MAX = 65536
ASKED_MAX = 4096


class Child:
    """Parent's side. pid, pidfd: of the process; sock: our end of the pair."""

    def __init__(self, name, pid, pidfd, sock):
        self.name = name
        self.pid = pid
        self.pidfd = pidfd
        self.sock = sock

    def expect(self, stage) -> None:
        """Wait until the child is at `stage`; CliError with what it says instead."""
        data = self.sock.recv(REPORT_MAX)
        if not data:
            raise CliError(f"the {self.name} ended before it was ready: {self.reap()}")
        report = jsonlite.loads(data)
        if "error" in report:
            raise CliError(report["error"], report.get("code", 1))
        if report.get("at") != stage:
            raise CliError(f"the {self.name} reports {report!r} where {stage!r} was expected")

    def go(self) -> None:
        try:
            self.sock.send(b"{}")
        except OSError as error:
            raise CliError(f"the {self.name} is gone: {os_text(error)}") from None

    def reap(self) -> str:
        """Wait for its end; what happened, as words."""
        return describe(self.wait())

    def wait(self) -> int:
        """Wait for its end; the wait(2) status, or 0 if it has been waited for before."""
        if self.pid <= 0:
            return 0
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        self.pid = 0
        return status

    def kill(self) -> None:
        """End it now, and whatever lives in its pid namespace."""
        if self.pid > 0:
            try:
                _host.pidfd_send_signal(self.pidfd, SIGKILL)
            except ProcessLookupError:
                pass
            self.wait()
        self.release()

    def release(self) -> None:
        """Close our descriptors; the process goes its own way."""
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Parent:
    """Child's side of the pair."""

    def __init__(self, sock):
        self.sock = sock

    def fileno(self) -> int:
        return self.sock.fileno()

    def reach(self, stage) -> None:
        """Report `stage` and wait for the answer; ends the process if the parent is gone."""
        self.report(stage)
        self.wait()

    def report(self, stage) -> None:
        """Report `stage` and go on."""
        self.sock.send(jsonlite.dumps({"at": stage}).encode())

    def wait(self) -> None:
        if not self.sock.recv(REPORT_MAX):
            os._exit(1)

    def fail(self, message, code=1) -> None:
        """Report the failure and end."""
        try:
            self.sock.send(jsonlite.dumps({"error": message[:4000], "code": code}).encode())
        except OSError:
            pass  # the parent is gone, nobody wants to know
        os._exit(1)

    def close(self) -> None:
        self.sock.close()


def ask(function) -> str:
    """The text (at most 4 KiB) that function() returns in a process of its own. CliError: what it raised of that and of OSError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "!internal error"
        try:
            text = "." + function()
        except CliError as error:
            text = f"!{error}"
        except OSError as error:
            text = f"!{os_text(error)}"
        finally:
            os.write(writer, text.encode("utf-8", "surrogateescape")[:ASKED_MAX])
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    os.waitpid(pid, 0)
    if not text.startswith("."):
        raise CliError(text[1:] or "no answer")
    return text[1:]


def describe(status) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"killed by signal {number}" + (" (a system call outside its seccomp list)" if number == 31 else "")
    return f"exit code {os.WEXITSTATUS(status)}"


def spawn(name, body, prelude=None, flags=confine.NAMESPACES) -> Child:
    """Start a process that runs `body(parent: Parent)` in new namespaces and ends.

    The child begins with `prelude(parent)`, which must do without ids, and waits for the parent's first `go`, until when
    the parent writes its id maps.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    ours.settimeout(None)
    theirs.settimeout(None)
    try:
        pid, pidfd = _host.clone(flags)
    except OSError as error:
        ours.close()
        theirs.close()
        raise CliError(f"cannot start the {name} in namespaces of its own: {os_text(error)}") from None
    if pid:
        theirs.close()
        return Child(name, pid, pidfd, ours)
    ours.close()
    parent = Parent(theirs)
    try:
        if prelude is not None:
            prelude(parent)
        parent.wait()
        body(parent)
        parent.fail(f"the {name} came to its end")
    except CliError as error:
        parent.fail(f"{name}: {error}", error.code)
    except OSError as error:
        log.debug(f"{name}: {trace(error)}")
        parent.fail(f"{name}: {os_text(error)}")
    except BaseException as error:  # never return into the caller's code from the child
        parent.fail(f"{name}: internal error: {trace(error)}")
    os._exit(1)


def trace(error) -> str:
    """An exception with the lines it came through."""
    frames, tb = [], error.__traceback__
    while tb is not None:
        frames.append(f"{os.path.basename(tb.tb_frame.f_code.co_filename)}:{tb.tb_lineno}")
        tb = tb.tb_next
    return f"{type(error).__name__}: {error} ({' '.join(frames)})"


# --- id maps (user_namespaces(7)) ---------------------------------------------------------------


def read_map(kind) -> "list[tuple[int, int]]":
    """(first, count) of the ids that exist in our own user namespace. kind: "uid" or "gid"."""
    with open(f"/proc/self/{kind}_map", encoding="utf-8") as file:
        return [(int(a), int(c)) for a, _, c in (line.split() for line in file)]


def identity_map(kind) -> str:
    return "".join(f"{first} {first} {count}\n" for first, count in read_map(kind))


def has_id(kind, number) -> bool:
    return any(first <= number < first + count for first, count in read_map(kind))


def write_maps(pid, uid_map, gid_map, privileged) -> None:
    """Write the maps of a new user namespace, `pid` its first process. Unprivileged writers must give up setgroups."""
    try:
        if not privileged:
            write(f"/proc/{pid}/setgroups", "deny")
        write(f"/proc/{pid}/uid_map", uid_map)
        write(f"/proc/{pid}/gid_map", gid_map)
    except OSError as error:
        raise CliError(f"cannot set up a user namespace: {os_text(error)}") from None


def write(path, text) -> None:
    """One write(2) to an existing file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        while True:
            try:
                os.write(fd, text.encode())
                return
            except OSError as error:
                if error.errno != EINTR:
                    error.filename = path
                    raise
    finally:
        os.close(fd)
