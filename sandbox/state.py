"""The state directory of containers: ROOT/ID/ with

    state.json   what is known of the container, always replaced as a whole
    control      the Sentry's control socket
    exit         the exit code of the container's init, written by the Sentry

The directory itself is the lock (flock). It appears by mkdir, so that of two `create` of one id one wins,
and goes last of all. A container whose Sentry is gone (pid reused, or a zombie), or of a pod whose gofer is, is "stopped", whatever
state.json says.
"""

import fcntl
import os
from errno import EEXIST, ENOENT, ENOSPC, ENOTDIR
from time import gmtime, strftime, time

from sandbox import OCI_VERSION
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
ID_MAX = 255
ID_CHARS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def check_id(cid: str) -> str:
    if not cid or len(cid) > ID_MAX or cid in (".", "..") or not set(cid) <= ID_CHARS:
        raise CliError(f"container id {cid!r}: use 1 to {ID_MAX} of the characters A-Z a-z 0-9 _ + - .")
    return cid


def start_time(pid: int) -> int:
    """When process `pid` started (clock ticks since boot), or 0 if there is none or it is a zombie (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


class Process:
    """A process that may have gone: pid and start time (ints) tell it from a later one."""

    __slots__ = ("pid", "started")

    def __init__(self, pid, started=None):
        self.pid = pid
        self.started = start_time(pid) if started is None else started

    def alive(self) -> bool:
        return self.pid > 0 and self.started != 0 and start_time(self.pid) == self.started

    def pidfd(self) -> int:
        """A pidfd of the process, or -1 if it is gone. The caller closes it."""
        if self.pid <= 0:
            return -1
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return -1
        if self.alive():
            return fd
        os.close(fd)
        return -1


class Container:
    """One state directory, locked from construction until `close`."""

    def __init__(self, path, cid, lock):
        self.path = path
        self.id = cid
        self.lock = lock
        self.busy = False  # seen by `peek`: another command has the lock
        self.data = {}

    # -- life
    @classmethod
    def new(cls, root, cid, bundle, annotations) -> "Container":
        """Make the directory of a container that does not exist yet. CliError."""
        path = os.path.join(root, check_id(cid))
        try:
            os.makedirs(root, 0o711, exist_ok=True)
            if os.stat(root).st_uid not in (0, os.geteuid()):  # below /tmp anybody may have made it
                raise CliError(f"the state directory {root} belongs to somebody else")
            os.mkdir(path, 0o700)
        except OSError as error:
            if error.errno == EEXIST and os.path.isdir(path):
                raise CliError(f"container {cid!r} already exists") from None
            raise CliError(f"cannot make the state directory: {os_text(error)}") from None
        try:
            self = cls(path, cid, lock(path))
        except FileNotFoundError:
            raise CliError(f"container {cid!r} was deleted while it was made") from None
        self.data = {
            "ociVersion": OCI_VERSION,
            "id": cid,
            "status": CREATING,
            "pid": 0,
            "bundle": bundle,
            "annotations": annotations,
            "stockade": {"created": now(), "processes": {}, "cgroups": []},
        }
        try:
            self.save()
        except BaseException:
            self.remove()
            raise
        return self

    @classmethod
    def peek(cls, root, cid) -> "Container":
        """Read an existing container without its lock, for those that only show it: state.json is replaced as a whole,
        and a command that hangs with the lock must not make `list` hang. CliError as for `open`."""
        self = cls.open(root, cid, locked=False)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(self.lock, fcntl.LOCK_UN)
        except BlockingIOError:
            self.busy = True
        return self

    @classmethod
    def open(cls, root, cid, wait=True, locked=True) -> "Container":
        """Lock and read an existing container. CliError if there is none, or it is locked and `wait` is False."""
        path = os.path.join(root, check_id(cid))
        try:
            self = cls(path, cid, lock(path, wait) if locked else os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR):
                raise CliError(f"container {cid!r} does not exist") from None
            raise CliError(os_text(error)) from None
        try:
            self.load()
        except FileNotFoundError:
            if not os.path.exists(path):  # removed while we waited for the lock
                self.close()
                raise CliError(f"container {cid!r} does not exist") from None
            self.data = broken(cid)  # its creator died between mkdir and the first save
        except jsonlite.JsonError as error:
            self.close()
            raise CliError(f"{path}/state.json is damaged: {error}") from None
        return self

    def close(self) -> None:
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def unlock(self) -> None:
        """Let others use the container while we look on."""
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def remove(self) -> None:
        """Delete the directory, whatever is in it, and unlock."""
        for name in os.listdir(self.path):
            os.unlink(os.path.join(self.path, name))
        os.rmdir(self.path)
        self.close()

    # -- content
    def load(self) -> None:
        with open(os.path.join(self.path, "state.json"), "rb") as file:
            self.data = jsonlite.loads(file.read())

    def save(self) -> None:
        """Replace state.json: readers see the old or the new text, also after a crash."""
        temporary = os.path.join(self.path, "state.json.new")
        text = (jsonlite.dumps(self.data) + "\n").encode("utf-8", "surrogatepass")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.write(fd, text) < len(text):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
            finally:
                os.close(fd)
            os.rename(temporary, os.path.join(self.path, "state.json"))
        except OSError as error:
            raise CliError(f"cannot write {self.path}/state.json: {os.strerror(error.errno)}") from None

    @property
    def own(self) -> dict:
        return self.data["stockade"]

    def set_process(self, role, process) -> None:
        """Remember a host process of the container ("sentry", "gofer", "cli")."""
        self.own["processes"][role] = [process.pid, process.started]

    def process(self, role) -> Process:
        pid, started = self.own["processes"].get(role, (0, 0))
        return Process(pid, started)

    @property
    def keeper(self) -> Process:
        """The process that stands for the container: the Sentry; the gofer for one that joined a sandbox (sandbox/pod.py)."""
        return self.process("gofer" if self.own.get("sandbox") else "sentry")

    def processes(self) -> "list[Process]":
        return [Process(pid, started) for pid, started in self.own["processes"].values()]

    def status(self) -> str:
        """The OCI status as it is now."""
        status = self.data["status"]
        if status == STOPPED:
            return STOPPED
        if status == CREATING:  # locked by its creator while that lives
            return CREATING if self.busy else STOPPED
        return status if self.keeper.alive() else STOPPED

    def exit_code(self) -> "int | None":
        """What the first process ended with; None where the Sentry could not write it down."""
        try:
            with open(f"/proc/self/fd/{self.lock}/exit", "rb") as file:
                text = file.read().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def oci(self) -> dict:
        """The state as the OCI runtime specification prints it, with `created` and `rootfs` beside, as runc does."""
        status = self.status()
        view = {key: self.data[key] for key in ("ociVersion", "id", "status", "pid", "bundle", "annotations")}
        view.update(status=status, pid=0 if status == STOPPED else self.data["pid"])
        view.update(rootfs=self.own.get("rootfs", ""), created=self.own["created"], owner=self.own.get("owner", ""))
        if not view["annotations"]:
            del view["annotations"]
        return view

    def require(self, *wanted) -> str:
        """The status, if it is one of `wanted`; CliError otherwise."""
        status = self.status()
        if status not in wanted:
            raise CliError(f"container {self.id!r} is {status}, not {' or '.join(wanted)}")
        return status


def lock(path, wait=True) -> int:
    """Lock a state directory; FileNotFoundError if there is none when the lock is ours, BlockingIOError if somebody else has it
    and `wait` is False."""
    while True:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # removed and made anew while we waited


def ids(root) -> "list[str]":
    """The ids of all containers below `root`, sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def broken(cid) -> dict:
    return {
        "ociVersion": OCI_VERSION, "id": cid, "status": STOPPED, "pid": 0, "bundle": "", "annotations": {},
        "stockade": {"created": "", "processes": {}, "cgroups": []},
    }  # fmt: skip


def now() -> str:
    t = time()
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(t)) + f".{int(t * 1e6) % 1000000:06d}Z"
