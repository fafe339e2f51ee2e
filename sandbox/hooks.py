"""OCI hooks (runtime-spec config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle"): programs of the host that run at six
points of a container's life, with its state as JSON on standard input.

    prestart, createRuntime  `create`, on the host. The Sentry's process exists and waits; its id is the state's pid, and its
                             network namespace the container's, where the configuration names none: what a hook puts there
                             the sandbox takes over.
    createContainer          `create`, in a mount namespace of their own and the container's network namespace. What they
                             mount below the root becomes part of it: the gofer serves that tree.
    startContainer           `start`, inside the container: programs that the Sentry runs, with the user and the
                             capabilities of the container's program.
    poststart                `start`, on the host, once the program runs.
    poststop                 after the container has gone, on the host.

A hook that fails ends the container; one of poststop is logged and the others go on.
"""

import os

import _signal
import select

from sandbox import _host, control, log, trees
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

STATUS = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created",
          "poststart": "running", "poststop": "stopped"}  # fmt: skip
SIGKILL, SIGPIPE, SIGXFSZ = 9, 13, 25
OUTPUT_MAX = 4096  # bytes of what a failed hook wrote, in the message


def of(spec) -> dict:
    """{point: [hook, …]} of a checked configuration, without empty points."""
    return {point: entries for point, entries in (spec.get("hooks") or {}).items() if point in STATUS and entries}


def state_text(container, point, pid) -> bytes:
    """The container's state as a hook reads it."""
    state = {key: container.data[key] for key in ("ociVersion", "id", "status", "pid", "bundle", "annotations")}
    state.update(status=STATUS[point], pid=pid)
    if not state["annotations"]:
        del state["annotations"]
    if not pid:
        del state["pid"]
    return jsonlite.dumps(state).encode("utf-8", "surrogateescape")


def run(hooks, point, container, pid=0, directory=None) -> None:
    """Run the hooks of a point, one after the other; CliError at the first that fails. pid: of the Sentry, or 0;
    directory: where they begin [the bundle]."""
    for i, hook in enumerate(hooks.get(point, ())):
        run_one(hook, f"hook {point}[{i}] ({hook['path']})", state_text(container, point, pid), directory or container.data["bundle"])


def run_after(hooks, container) -> None:
    """The hooks of poststop: all of them, whatever they do."""
    for i, hook in enumerate(hooks.get("poststop", ())):
        try:
            run({"poststop": [hook]}, "poststop", container)
        except CliError as error:
            log.warning(str(error).replace("poststop[0]", f"poststop[{i}]"))


def run_one(hook, name, state, directory) -> None:
    stdin, output = files(state)
    try:
        pid = os.fork()
        if pid == 0:
            execute(hook, stdin, output, directory)
        pidfd = os.pidfd_open(pid)
        in_time = readable(pidfd, hook.get("timeout"))
        os.close(pidfd)
        if not in_time:
            os.kill(pid, SIGKILL)
        _, status = os.waitpid(pid, 0)
        judge(hook, name, status, output, in_time)
    finally:
        os.close(stdin)
        os.close(output)


def execute(hook, stdin, output, directory) -> None:
    """In the hook's process. Never returns."""
    try:
        os.chdir(directory if os.path.isdir(directory) else "/")
        for fd, number in ((stdin, 0), (output, 1), (output, 2)):
            os.dup2(fd, number)
        for number in (SIGPIPE, SIGXFSZ):  # the interpreter ignores them
            _signal.signal(number, _signal.SIG_DFL)
        os.closerange(3, 65536)
        os.execve(hook["path"], hook.get("args") or [hook["path"]], environment(hook))
    except OSError as error:
        os.write(2, os_text(error).encode())
    finally:
        os._exit(127)


def files(state) -> "tuple[int, int]":
    """(standard input with the state, a file for the output)."""
    stdin, output = os.memfd_create("state", os.MFD_CLOEXEC), os.memfd_create("output", os.MFD_CLOEXEC)
    os.write(stdin, state)
    os.lseek(stdin, 0, os.SEEK_SET)
    return stdin, output


def judge(hook, name, status, output, in_time) -> None:
    """CliError unless a hook that ended with this wait(2) status has succeeded."""
    if not in_time:
        raise CliError(f"{name}: it did not end within {hook['timeout']} s")
    if status:
        how = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        raise CliError(f"{name}: {how}{said(os.pread(output, OUTPUT_MAX, 0))}")


def said(output) -> str:
    """What a failed hook wrote, for the message: one line."""
    text = "; ".join(output.decode("utf-8", "replace").split("\n")).strip("; ")
    return f": {text}" if text else ""


def environment(hook) -> dict:
    """The variables of a hook; ours, as with runc, if it names none."""
    return dict(item.partition("=")[::2] for item in hook["env"]) if hook.get("env") else dict(os.environ)


def run_in_container(hooks, container, pid, root) -> int:
    """The hooks of createContainer. A descriptor of the root's mount tree as they leave it. CliError."""

    def there() -> int:
        join_network(pid)
        run(hooks, "createContainer", container, pid, root)
        return _host.open_tree(root)

    return trees.made_elsewhere("hooks createContainer", there)


def join_network(pid) -> None:
    """Into the network namespace of process `pid`."""
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _host.setns(there, _host.CLONE_NEWNET)
    os.close(there)


def run_inside(hooks, container) -> None:
    """The hooks of startContainer, as programs of the container. CliError."""
    for i, hook in enumerate(hooks.get("startContainer", ())):
        name = f"hook startContainer[{i}] ({hook['path']})"
        stdin, output = files(state_text(container, "startContainer", 1))
        commands, waiter = control.Client(container), control.Client(container)
        try:
            process = dict(container.own["process"])
            process.update(args=hook.get("args") or [hook["path"]], env=hook.get("env") or [], cwd="/", terminal=False)
            request = {"op": "exec", "process": process, "program": hook["path"], "early": True, "stdio": [0, 1, 2]}
            try:
                pid = commands.call(request, [stdin, output, output])["pid"]
            except CliError as error:
                raise CliError(f"{name}: {error}") from None
            waiter.send({"op": "wait", "pid": pid})
            in_time = readable(waiter.fileno(), hook.get("timeout"))
            if not in_time:
                commands.call({"op": "kill", "signal": SIGKILL, "pid": pid})
            answer = waiter.receive()
            if answer is None:
                raise CliError(f"{name}: the sandbox ended")
            judge(hook, name, answer["status"], output, in_time)
        finally:
            commands.close()
            waiter.close()
            os.close(stdin)
            os.close(output)


def readable(fd, seconds) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
