"""Options and steps that several commands share."""

import os

from sandbox import attach, control, hooks, launch, log, network, oci, state
from sandbox.args import Option
from sandbox.errors import CliError, UsageError

SIGKILL = 9

BUNDLE = Option("--bundle -b", "DIR", "the OCI bundle", default=".")
CONFIG = Option("--config -f", "FILE", "the bundle's configuration", default="config.json")
CONSOLE_SOCKET = Option("--console-socket", "PATH", "send the terminal's master to this Unix socket")
PID_FILE = Option("--pid-file", "FILE", "write the host process id of the sandbox to FILE")
PRESERVE_FDS = Option("--preserve-fds", "N", "pass N further descriptors, from 3 on", default="0")
PASS_FD = Option("--pass-fd", "HOST:GUEST", "give the program our descriptor HOST as GUEST", many=True)
IGNORED = [
    Option("--no-pivot", None, "accepted and without effect (the root is never a host mount)"),
    Option("--no-new-keyring", None, "accepted and without effect (keyrings are never shared)"),
    Option("--no-subreaper", None, "accepted and without effect (the program's children are the Sentry's business)"),
]


def one_id(values, arguments, command) -> str:
    """The single argument of commands that take a container id."""
    if len(arguments) != 1:
        raise UsageError("one container id is needed", command)
    return arguments[0]


def number(text, what) -> int:
    if not text.isdigit():
        raise UsageError(f"{what}: {text!r} is not a number")
    return int(text)


def bundle_of(values) -> "tuple[str, dict]":
    """(absolute bundle directory, its checked configuration)."""
    bundle = os.path.abspath(values.bundle)
    return bundle, oci.load(bundle, values.config)


def open_debug(settings, cid) -> None:
    if settings.debug_log:
        try:
            log.open_debug(settings.debug_log, settings.command, cid)
        except OSError as error:
            raise CliError(f"--debug-log: {error.strerror}: {error.filename}") from None


def create(settings, values, cid, bundle, spec, attached, leash=False) -> launch.Sandbox:
    open_debug(settings, cid)
    extra = descriptors(values)
    return launch.create(
        settings, cid, bundle, spec, console_socket=values.console_socket, pid_file=values.pid_file,
        attached=attached, pass_fds=extra, leash=leash,
    )  # fmt: skip


def descriptors(values) -> "list[tuple[int, int]]":
    """What --preserve-fds and --pass-fd say: (guest number, descriptor)."""
    kept = attach.keep_fds(number(values.preserve_fds, "--preserve-fds"))
    return kept + attach.pass_fds(values.pass_fd, kept)


def start(container, client) -> None:
    """Start the program of a created container; CliError, with the exit code 126 or 127 if it cannot be executed."""
    container.require(state.CREATED)
    hook_lists, pid = container.own.get("hooks") or {}, container.process("sentry").pid
    try:
        hooks.run_inside(hook_lists, container)
        start_program(container, client, pid)
        hooks.run(hook_lists, "poststart", container, pid)
    except CliError:
        if hook_lists:
            end(client)
        raise


def end(client) -> None:
    """A hook has failed: so does the container."""
    try:
        client.call({"op": "kill", "signal": SIGKILL, "all": True})
    except CliError as error:
        log.debug(str(error))  # it has ended already


def start_program(container, client, pid) -> None:
    """The control request, with the interfaces that have come into the sandbox's network namespace since `create`."""
    request, links = {"op": "start"}, []
    if container.own.get("wire") and network.has_interfaces(pid):
        from sandbox import nameservers, netlinks

        request["taken"], links = netlinks.take(f"/proc/{pid}/ns/net", nameservers.behind_dockers(container.own.get("resolv_conf")))
        if not links:
            del request["taken"]
    try:
        client.call(request, links)
    finally:
        for fd in links:
            os.close(fd)
    container.data["status"] = state.RUNNING
    container.save()


def run_attached(settings, sandbox, keep=False) -> int:
    """Start the program of a new sandbox, stay until it ends, remove all, unless it is to be kept. Its exit code."""
    container = sandbox.container
    signals = attach.Signals()
    status = None
    try:
        waiter, commands = control.Client(container), control.Client(container)
        waiter.send({"op": "wait", "pid": 0})
        start(container, commands)
        container.close()  # others may use it while it runs
        status = attach.wait(commands, waiter, 0, signals, sandbox.terminal)
        if os.environ.get("STOCKADE_DEBUG"):
            sandbox.keeper.wait()  # debug runs end by themselves and log what is left of the kernel's objects
    finally:
        how = sandbox.sentry.reap() if keep and status is not None else remove(settings, sandbox)
    if status is None:
        raise CliError(f"container {container.id!r}: its sandbox ended unexpectedly: {how}", 137)
    return control.exit_code(status)


def remove(settings, sandbox) -> str:
    """The program is over, or could not begin: end what is left of the sandbox. How the Sentry ended, as words."""
    container = sandbox.container
    try:
        if container.lock < 0:
            container = state.Container.open(settings.root, container.id)
        launch.destroy(container)
    except CliError as error:
        log.debug(str(error))  # somebody deleted it before us
    how = sandbox.keeper.reap()
    sandbox.keeper.release()
    sandbox.gofer.kill()
    return how


def start_created(container) -> None:
    client = control.Client(container)
    try:
        start(container, client)
    finally:
        client.close()
