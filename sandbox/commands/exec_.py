"""stockade exec"""

import os

from sandbox import _host, attach, console, control, launch, oci, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import CliError, UsageError

USAGE = "[FLAGS] ID COMMAND [ARGUMENTS] | --process FILE ID"
ABOUT = "Runs a further program in a container that is created or running; ends with its exit code (126, 127: it cannot be executed)."
OPTIONS = [
    Option("--cwd", "DIR", "working directory [the container's]"),
    Option("--env -e", "NAME=VALUE", "set an environment variable", many=True),
    Option("--user -u", "UID[:GID]", "user and group [the container's]"),
    Option("--additional-gids -g", "GID", "add a supplementary group", many=True),
    Option("--tty -t", None, "give it a terminal"),
    Option("--process -p", "FILE", "an OCI process object (JSON) instead of a command"),
    Option("--detach -d", None, "do not wait for its end"),
    Option("--cap -c", "CAP", "add a capability to the bounding, effective, permitted and inheritable sets", many=True),
    Option("--no-new-privs", None, "set no_new_privs"),
    Option("--apparmor", "PROFILE", "accepted and without effect"),
    Option("--process-label", "LABEL", "accepted and without effect"),
    Option("--cgroup", "PATH", "accepted and without effect", many=True),
    Option("--ignore-paused", None, "also in a paused container; the program begins when that is resumed"),
    common.CONSOLE_SOCKET,
    common.PRESERVE_FDS,
    common.PASS_FD,
    Option("--pid-file", "FILE", "write the id of the host process that stands for the program to FILE"),
    Option("--internal-pid-file", "FILE", "write the process's number in the container to FILE"),
]
INTERSPERSED = False


def run(settings, values, arguments) -> int:
    if not arguments:
        raise UsageError("a container id is needed", "exec")
    cid, command = arguments[0], arguments[1:]
    if command and command[0] == "--":
        command = command[1:]
    if bool(values.process) == bool(command):
        raise UsageError("either a command or --process is needed", "exec")
    common.open_debug(settings, cid)
    container = state.Container.open(settings.root, cid)
    try:
        status = container.require(state.RUNNING, state.CREATED, *([state.PAUSED] if values.ignore_paused else []))
        return execute(container, values, build(container, values, command), status == state.CREATED)
    finally:
        container.close()


def build(container, values, command) -> dict:
    """The OCI process object to run: the container's own, changed by the flags; or that of --process."""
    if values.process:
        process = oci.read_json(values.process)
        oci.check_process(process, f"{values.process}: ")
    else:
        process = dict(container.own["process"])
        process.update(args=command, terminal=values.tty, env=list(process.get("env") or []))
    process["env"] = merge_env(process.get("env") or [], values.env)
    if values.tty:
        process["terminal"] = True
    if values.cwd:
        if not values.cwd.startswith("/"):
            raise UsageError(f"--cwd {values.cwd!r} is not an absolute path", "exec")
        process["cwd"] = values.cwd
    if values.no_new_privs:
        process["noNewPrivileges"] = True
    user = dict(process.get("user") or {})
    if values.user:
        uid, _, gid = values.user.partition(":")
        user = {"uid": common.number(uid, "--user")}
        user["gid"] = common.number(gid, "--user") if gid else 0
    if values.additional_gids:
        user["additionalGids"] = [common.number(gid, "--additional-gids") for gid in values.additional_gids]
    process["user"] = user
    if values.cap:
        process["capabilities"] = add_caps(process.get("capabilities") or {}, values.cap)
    return process


def merge_env(env, changes) -> list:
    """`env` with each NAME=VALUE of `changes` in place of what it had for NAME."""
    for change in changes:
        name, equals, _ = change.partition("=")
        if not name or not equals:
            raise UsageError(f"--env {change!r} is not NAME=VALUE", "exec")
        env = [item for item in env if item.partition("=")[0] != name] + [change]
    return env


def add_caps(sets, names) -> dict:
    names = [name.upper() if name.upper().startswith("CAP_") else "CAP_" + name.upper() for name in names]
    for name in names:
        if name[4:] not in oci.CAPABILITIES:
            raise UsageError(f"--cap: {name} is unknown", "exec")
    sets = dict(sets)
    for kind in ("bounding", "effective", "permitted", "inheritable"):
        sets[kind] = sorted(set(sets.get(kind) or []) | set(names))
    return sets


def execute(container, values, process, early) -> int:
    """early: the container's own program has not been started yet."""
    wants_terminal = bool(process.get("terminal"))
    if wants_terminal and values.detach and not values.console_socket:
        raise CliError("a detached program with a terminal needs --console-socket")
    extra = common.descriptors(values)
    terminal = console.open_terminal(process) if wants_terminal else None
    client = control.Client(container)
    request = {"op": "exec", "process": process, "terminal": wants_terminal, "paused": values.ignore_paused, "early": early}
    if terminal is not None:
        pairs = [(0, terminal.slave)]
        request["size"] = list(terminal.size())
        request["follow"] = bool(values.console_socket)
    else:
        pairs = [(fd, fd) for fd in (0, 1, 2) if launch.is_open(fd)]
        pairs += extra
    request["stdio"] = [number for number, _ in pairs]
    signals = attach.Signals() if not values.detach else None
    pid = client.call(request, [fd for _, fd in pairs])["pid"]
    waiter = control.Client(container)
    waiter.send({"op": "wait", "pid": pid})
    if terminal is not None:
        terminal.close_slave()
        if values.console_socket:
            console.send_master(values.console_socket, terminal)
            terminal.close()
            terminal = None
    if values.internal_pid_file:
        launch.write_pid_file(values.internal_pid_file, pid)
    container.close()
    if values.detach:
        detach(values, client, waiter, pid)
        return 0
    if values.pid_file:
        launch.write_pid_file(values.pid_file, os.getpid())
    status = attach.wait(client, waiter, pid, signals, terminal)
    if status is None:
        raise CliError(f"container {container.id!r}: its sandbox ended", 137)
    return control.exit_code(status)


def detach(values, client, waiter, pid) -> None:
    """Leave a process behind that stands for the program: callers (conmon, containerd's shim) wait for the process in
    --pid-file, read the program's exit code from it and send it signals. Returns in the command."""
    if not values.pid_file:
        return  # nobody could know of it
    signals = attach.Signals()  # before anybody can send one
    stand_in = os.fork()
    if stand_in:
        launch.write_pid_file(values.pid_file, stand_in)
        return
    code = 255
    try:
        os.setsid()
        os.chdir("/")
        _host.set_name("stockade-exec")
        _host.close_except({client.fileno(), waiter.fileno(), signals.fd, signals.writer})
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        status = attach.wait(client, waiter, pid, signals)
        code = 137 if status is None else control.exit_code(status)
    finally:
        os._exit(code)
