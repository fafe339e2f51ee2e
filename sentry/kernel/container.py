"""Containers of a sandbox and the processes that are started from outside: the first one and those of `exec`.

A container has its mount namespace and its first process; when that ends, the others get SIGKILL, and the
container is over once all are gone.
"""

from time import monotonic_ns

from sentry.abi.errno import EACCES, EINVAL, ELIBBAD, ENOENT, ENOEXEC, ENOTDIR, EPERM, ESRCH
from sentry.core import creds as capabilities
from sentry.core import log
from sentry.core.creds import Creds
from sentry.kernel import cpulimit, exit, machine, seccomp, seccomp_filter, session, signals
from sentry.kernel import exec as execution
from sentry.kernel.task import Task, ThreadGroup
from sentry.kernel.uts import UTS
from sentry.mm import loader
from sentry.vfs import ops, walk
from sentry.vfs.context import FsContext
from sentry.vfs.file import FdTable

SIGKILL = 9
AT_FDCWD = -100
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip


POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PER_LINUX32 = 8


class StartError(Exception):
    """A process cannot be started. `code`: exit code by convention (126 cannot execute, 127 not found, 1)."""

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


def exec_error(name: str, errno: int) -> StartError:
    """The message and exit code for an executable that cannot be run."""
    if errno in (ENOENT, ENOTDIR):
        # The words by which Docker and podman choose exit code 127.
        reason = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
        return StartError(f'exec: "{name}": {reason}', 127)
    reason = {EACCES: "permission denied", EPERM: "operation not permitted", ENOEXEC: "exec format error",
              ELIBBAD: "broken interpreter"}.get(errno, f"errno {errno}")  # fmt: skip
    return StartError(f'exec: "{name}": {reason}', 126)


def capability_mask(names) -> int:
    mask = 0
    for name in names or ():
        number = getattr(capabilities, name, None)
        if not name.startswith("CAP_") or not isinstance(number, int):
            raise StartError(f"process.capabilities: unknown capability {name!r}")
        mask |= 1 << number
    return mask


def make_creds(process: dict) -> Creds:
    """Credentials of an OCI process object (config.md, "POSIX process")."""
    user = process.get("user") or {}
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    new = Creds(uid, gid, user.get("additionalGids") or ())
    caps = process.get("capabilities")
    if caps is not None:
        new.bounding = capability_mask(caps.get("bounding"))
        new.inheritable = capability_mask(caps.get("inheritable"))
        new.permitted = capability_mask(caps.get("permitted"))
        new.effective = capability_mask(caps.get("effective"))
        new.ambient = capability_mask(caps.get("ambient")) & new.permitted & new.inheritable
    else:
        new.bounding = new.inheritable = new.permitted = new.effective = 0
    return new


def maps_ids(t, kind: str, *numbers: int) -> bool:
    """Whether all these ids exist in the task's container (user_namespaces(7)); kind: "uid" or "gid". 0xFFFFFFFF, which leaves
    an id as it is, counts as one."""
    container = t.tg.container
    ranges = container.id_ranges[kind] if container is not None and container.id_ranges is not None else None
    return ranges is None or all(
        number == 0xFFFFFFFF or any(first <= number < first + count for first, count in ranges) for number in numbers
    )


class Process:
    """A process that is about to begin: everything that can fail has been tried, `start` sets it going."""

    def __init__(self, container, task, job):
        self.container = container
        self.task = task
        self.job = job
        self.pid = task.tid

    def start(self) -> int:
        """Run it. Returns its pid."""
        self.task.tg.start_time = self.task.start_time = monotonic_ns()
        self.job.start()
        return self.pid

    def abandon(self) -> None:
        """It will never run."""
        self.job.layout.abandon()
        self.job.program.close()
        exit.exit_task(self.task)


class Container:
    def __init__(self, kernel, cid: str, ns, spec: dict, pids=None, uts=None, nursery=None):
        """`ns`: its vfs MountNamespace, one use of which becomes the container's. `spec`: the OCI configuration. `pids`,
        `uts`: namespaces that it joins (None: of its own). `nursery`: where its address spaces come from
        (platform/base.py; None: the first)."""
        self.kernel = kernel
        self.id = cid
        self.ns = ns
        self.spec = spec
        self.pids = kernel.pids if pids is None else pids
        self.nursery = nursery
        self.uts = uts if uts is not None else UTS(str(spec.get("hostname") or "localhost").encode(), str(spec.get("domainname") or "(none)").encode())
        self.machine = machine.Machine(kernel.host, machine.resources_of(spec))  # what it sees of the hardware
        self.seccomp = seccomp.profile((spec.get("linux") or {}).get("seccomp"))
        self.init = None  # ThreadGroup
        self.members = set()  # live ThreadGroups
        self.exit_status = None  # wait(2) status of the first process
        self.id_maps = {}  # "uid", "gid": what /proc/PID/*_map show (text)
        self.id_ranges = None  # "uid", "gid": [(first, count)] of the ids that exist; None: all
        self.watchers = {}  # pid -> [callback(pid, status)]
        self.on_empty = None  # called once the last process has gone
        self.data = {}  # "console": the terminal behind /dev/console

    def set_id_maps(self, maps: dict) -> None:
        """maps: the text of user namespace mappings for "uid" and "gid", "inside outside count" a line."""
        self.id_maps = maps
        rows = {kind: [tuple(map(int, line.split())) for line in text.splitlines()] for kind, text in maps.items()}
        if any(row[2] < 0xFFFFFFFF for kind in rows for row in rows[kind]):
            self.id_ranges = {kind: [(first, count) for first, _, count in rows[kind]] for kind in rows}

    # -- starting
    def prepare(self, process: dict, files: list, program: str = "") -> Process:
        """Make a process from an OCI process object; `files`: vfs Files for descriptors 0, 1, 2, … (their
        references pass to the process; None leaves a gap). `program`: what is executed, if not args[0]. Raises StartError."""
        args = process.get("args")
        if not args or not all(isinstance(a, str) for a in args):
            raise StartError("process.args: at least the program's name is needed")
        kernel = self.kernel
        pids = self.pids
        pid = pids.new_pid()
        tg = ThreadGroup(kernel, pid, None)
        tg.pids = pids
        task = Task(kernel, pid, tg, None)
        tg.leader = task
        tg.tasks.append(task)
        tg.container = self
        table = FdTable()
        for fd, file in enumerate(files):
            if file is not None:
                table.set(fd, file, False)
        task.files = table
        task.creds = make_creds(process)
        task.uts = self.uts
        seccomp_filter.attach(task, self.seccomp)
        task.no_new_privs = bool(process.get("noNewPrivileges"))
        user = process.get("user") or {}
        root = self.ns.root_path()
        umask = user.get("umask")
        task.fs = FsContext(self.ns, root, root, 0o022 if umask is None else umask & 0o777)
        tg.oom_score_adj = process.get("oomScoreAdj") or 0
        self.set_rlimits(tg, process)
        self.set_scheduling(task, process)
        cpulimit.watch(tg)
        signals.init_group(tg)
        signals.init_task(task)
        pids.tasks[pid] = task
        pids.groups[pid] = tg
        session.new_session(tg)
        if self.init is None:
            self.init = tg
            if pids.init is None:
                pids.init = tg
        self.members.add(tg)
        try:
            self.enter_cwd(task, process.get("cwd") or "/")
            job = self.load(task, args, process.get("env") or [], program)
        except StartError:
            exit.exit_task(task)
            raise
        return Process(self, task, job)

    def set_rlimits(self, tg, process) -> None:
        if self.init is not None:
            tg.rlimits = list(self.init.rlimits)
        for limit in process.get("rlimits") or ():
            name = str(limit.get("type", ""))
            if name[:7] != "RLIMIT_" or name[7:] not in RLIMITS:
                raise StartError(f"process.rlimits: unknown type {name!r}")
            tg.rlimits[RLIMITS.index(name[7:])] = (limit["soft"], limit["hard"])

    def set_scheduling(self, task, process) -> None:
        """Scheduler, I/O priority and personality, which sandbox/oci.py has checked; recorded and shown, like what guests set."""
        linux = self.spec.get("linux") or {}
        scheduler = process.get("scheduler") or {}
        if scheduler:
            task.sched = (POLICIES[scheduler["policy"]], scheduler.get("priority") or 0)
            task.nice = scheduler.get("nice") or 0
            task.data["sched_reset"] = "SCHED_FLAG_RESET_ON_FORK" in (scheduler.get("flags") or ())
        priority = process.get("ioPriority") or {}
        if priority:
            task.data["ioprio"] = IO_CLASSES[priority["class"]] << 13 | (priority.get("priority") or 0)
        if (linux.get("personality") or {}).get("domain") == "LINUX32":
            task.personality = PER_LINUX32

    def enter_cwd(self, task, cwd: str) -> None:
        path = walk.resolve(task, AT_FDCWD, cwd.encode("utf-8", "surrogateescape"))
        if isinstance(path, int) and path == -ENOENT:
            # As runc does: a missing working directory is made.
            at = ""
            for part in cwd.strip("/").split("/"):
                at += "/" + part
                ops.mkdir(task, AT_FDCWD, at.encode("utf-8", "surrogateescape"), 0o755)
            path = walk.resolve(task, AT_FDCWD, cwd.encode("utf-8", "surrogateescape"))
        if isinstance(path, int):
            raise StartError(f"process.cwd {cwd!r}: errno {-path}")
        if not path.inode.is_dir:
            raise StartError(f"process.cwd {cwd!r}: not a directory")
        task.fs.set_cwd(path)

    def load(self, task, args, env, program=""):
        """Find the program, along PATH if it has no slash, and lay it out."""
        name = program or args[0]
        argv = [a.encode("utf-8", "surrogateescape") for a in args]
        envp = [e.encode("utf-8", "surrogateescape") for e in env]
        if "/" in name:
            candidates = [name]
        else:
            path = next((e[5:] for e in env if e.startswith("PATH=")), DEFAULT_PATH)
            candidates = [f"{d or '.'}/{name}" for d in path.split(":")]
        error = -ENOENT
        for candidate in candidates:
            program = execution.load(task, AT_FDCWD, candidate.encode("utf-8", "surrogateescape"), argv, 0)
            if not isinstance(program, int):
                break
            if error == -ENOENT or program not in (-ENOENT, -ENOTDIR):
                error = program
        else:
            raise exec_error(name, -error)
        creds, secure = execution.new_creds(task, program.file)
        layout = loader.build(task, program.file, program.image, program.interp_file, program.interp, program.argv,
                              envp, candidate.encode("utf-8", "surrogateescape"), creds, secure, self.kernel.host)  # fmt: skip
        if isinstance(layout, int):
            program.close()
            raise exec_error(name, -layout)
        return execution.Exec(task, program, layout, creds)

    # -- life
    def watch(self, pid: int, callback) -> None:
        """callback(pid, wait status) when that process of the container ends."""
        self.watchers.setdefault(pid, []).append(callback)

    def process_exited(self, tg) -> None:
        """kernel/exit.py: the last thread of a process has gone."""
        self.members.discard(tg)
        if tg is self.init:
            self.exit_status = tg.exit_status
            for other in tuple(self.members):
                exit.group_exit(other, SIGKILL)
        for callback in self.watchers.pop(tg.pid, ()):
            callback(tg.pid, tg.exit_status)
        if not self.members and self.on_empty is not None:
            callback, self.on_empty = self.on_empty, None
            callback()

    def kill(self, signo: int, pid: "int | None" = None, everyone: bool = False) -> int:
        """Signal the first process, the process `pid`, or all. 0 or -errno."""
        if not 0 <= signo <= 64:
            return -EINVAL
        if everyone:
            targets = tuple(self.members)
        else:
            tg = self.init if pid is None else self.pids.groups.get(pid)
            targets = (tg,) if tg is not None and tg in self.members else ()
        if not targets:
            return -ESRCH
        for tg in targets:
            signals.send_from_outside(tg, signo)
        return 0

    def processes(self) -> "list[dict]":
        """For `ps`: one dict a process (pid, ppid, uid, start_ns, cmd)."""
        rows = []
        for tg in sorted(self.members, key=lambda g: g.pid):
            task = tg.leader
            rows.append({
                "pid": tg.pid, "ppid": tg.kin_ppid, "uid": task.creds.uid, "start_ns": tg.start_time,
                "threads": len(tg.tasks), "cmd": task.comm.decode("utf-8", "replace"),
            })  # fmt: skip
        return rows

    def destroy(self) -> None:
        """End everything at once; the platform's processes included."""
        for tg in tuple(self.members):
            exit.group_exit(tg, SIGKILL)
        log.debug(f"container {self.id} destroyed")
