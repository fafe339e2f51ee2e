"""Containers of a pod: which sandbox one belongs to, and how it joins that while it runs.

Annotations of CRI say it (containerd's and CRI-O's). The Sentry, sealed long since, gets all by its control socket: the connection to
the container's gofer, the container's own control socket, its descriptors. Its guest processes descend from a seed that
is in the container's cgroups before it makes any.

The gofer stands for such a container outside: it is the container's `pid`, lives as long, and ends with its exit code.
"""

import os

import _socket

from sandbox import cgroups, control, flags, hooks, idmap, launch, log, state
from sandbox.errors import CliError

KINDS = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)
SHARED = {"pid": "pid", "uts": "uts"}  # namespace type -> as the Sentry names it; network and IPC are shared always


def kind_of(spec) -> "tuple[str, str]":
    """(container type, sandbox id) that the annotations name; empty strings where they do not."""
    annotations = spec.get("annotations") or {}
    for kind, sandbox in KINDS:
        if annotations.get(kind):
            return str(annotations[kind]), str(annotations.get(sandbox) or "")
    return "", ""


def sandbox_of(spec, root) -> "str | None":
    """The id of the sandbox that a container joins; None: it gets one of its own. root: the state directory."""
    kind, sandbox = kind_of(spec)
    if kind != "container":
        return None
    if not sandbox:
        raise CliError("the annotations say that the container belongs to a pod, but not to which (sandbox-id)")
    if (spec.get("annotations") or {}).get("io.container.manager") == "libpod" and not os.path.isdir(os.path.join(root, sandbox)):
        return None  # podman's pods need not have a first container; then they share nothing
    return sandbox


def shared_namespaces(spec, root) -> "tuple[list, str]":
    """(namespaces that are the sandbox container's, the id of another container whose PID namespace is joined, or "")."""
    own = {namespace["type"] for namespace in (spec.get("linux") or {}).get("namespaces") or () if not namespace.get("path")}
    shared = [name for kind, name in SHARED.items() if kind not in own]
    for namespace in (spec.get("linux") or {}).get("namespaces") or ():
        parts = (namespace.get("path") or "").split("/")
        if namespace["type"] == "pid" and len(parts) == 5 and parts[1] == "proc" and parts[2].isdigit():
            return shared, container_of(root, int(parts[2]))
    return shared, ""


def container_of(root, pid) -> str:
    """The id of the container that `pid` stands for, or ""."""
    for cid in state.ids(root):
        try:
            container = state.Container.peek(root, cid)
        except CliError:
            continue  # gone meanwhile
        container.close()
        if container.data.get("pid") == pid and container.own.get("sandbox"):
            return cid
    return ""


class Member:
    """A container that joined a sandbox: what its creator needs further (as launch.Sandbox)."""

    sentry = None

    def __init__(self, container, gofer, terminal):
        self.container = container
        self.gofer = self.keeper = gofer
        self.terminal = terminal

    def release(self) -> None:
        """Leave it alone: it lives on without us."""
        self.gofer.release()


def join(undo, settings, sandbox, cid, bundle, spec, console_socket, pid_file, attached, pass_fds) -> Member:
    """As launch.build, for a container of the sandbox with that id."""
    settings = flags.for_container(settings, spec)
    rootless = launch.is_rootless(settings)
    overlaid = launch.overlay(settings, cid, spec)
    ids = idmap.of(spec, rootless)
    exports, mounts = launch.exports_of(undo, settings, spec, bundle, overlaid, ids, rootless)
    wants_terminal = launch.check_terminal(spec, attached, console_socket)
    gofer_filter = launch.filter_program("gofer")
    pod = state.Container.peek(settings.root, sandbox)
    undo.add(pod.close)
    pod.require(state.CREATED, state.RUNNING)
    if pod.own.get("sandbox"):
        raise CliError(f"container {sandbox!r} is no sandbox")
    client = control.Client(pod)
    undo.add(client.close)

    container = launch.new_container(undo, settings, cid, bundle, spec)
    container.own["sandbox"] = sandbox
    container.own["processes"]["sentry"] = pod.own["processes"]["sentry"]

    terminal = launch.new_terminal(undo, spec) if wants_terminal else None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    undo.add(ours.close)
    undo.add(theirs.close)
    hook_lists = hooks.of(spec)
    gofer = None
    if "createContainer" not in hook_lists:
        gofer = launch.start_gofer(undo, theirs, exports, ids, rootless, gofer_filter)
        container.set_process("gofer", state.Process(gofer.pid))
    seed = seed_of(undo, client)
    container.set_process("seed", state.Process(seed))
    enter = launch.make_cgroups(settings, cid, spec, container, hook_lists, [seed])
    enter(seed)
    launch.run_hooks(undo, hook_lists, container, pod.data["pid"])
    if gofer is None:
        exports[0].tree = hooks.run_in_container(hook_lists, container, pod.data["pid"], spec["root"]["path"])
        gofer = launch.start_gofer(undo, theirs, exports, ids, rootless, gofer_filter)
        container.set_process("gofer", state.Process(gofer.pid))
        container.save()
    enter(gofer.pid)
    listener = control.listen(container)
    undo.add(listener.close)
    end = os.open(os.path.join(container.path, "exit"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    undo.add(os.close, end)
    gofer.expect("ready")
    gofer.go()
    launch.set_oom_score(seed, launch.guest_score(spec, launch.spare(gofer.pid)))

    if terminal is not None:
        stdio, size = {0: terminal.slave}, list(terminal.size())
    else:
        stdio, size = {fd: fd for fd in (0, 1, 2) if launch.is_open(fd)}, [0, 0]
    stdio.update(pass_fds)
    shared, partner = shared_namespaces(spec, settings.root)
    request = {
        "op": "join", "id": cid, "spec": spec, "mounts": mounts, "overlay": overlaid, "terminal": terminal is not None,
        "size": size, "follow": bool(console_socket), "stdio": list(stdio), "shared": shared, "pids_of": partner,
        "id_maps": {kind: ids.text(kind) for kind in ("uid", "gid")},
    }  # fmt: skip
    client.call(request, [ours.fileno(), listener.fileno(), end, *stdio.values()])

    if console_socket:
        from sandbox import console

        console.send_master(console_socket, terminal)
    container.data.update(status=state.CREATED, pid=gofer.pid)
    container.save()
    if pid_file:
        launch.write_pid_file(pid_file, gofer.pid)
        undo.add(launch.unlink_quietly, pid_file)
    if container.own["leaves"]:
        launch.show_use(container)
    for done in (ours, theirs, listener, client, pod):
        done.close()
    os.close(end)
    gofer.sock.close()
    if terminal is not None:
        terminal.close_slave()
        if console_socket:
            terminal.close()
            terminal = None
    return Member(container, gofer, terminal)


def seed_of(undo, client) -> int:
    """Have the Sentry make the container's first process; its pid, as we see it."""
    pidfd = client.call_for_descriptor({"op": "seed"})
    undo.add(os.close, pidfd)
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key == "Pid" and int(value) > 0:
                undo.steps.pop()
                os.close(pidfd)
                return int(value)
    raise CliError("the sandbox's processes are not in our pid namespace")


def destroy(container) -> None:
    """End a container that joined, by its Sentry's hand; what then still lives in its cgroups is killed."""
    gofer = container.process("gofer").pidfd()
    if gofer >= 0:
        try:
            client = control.Client(container)
            try:
                client.call({"op": "destroy"}, timeout=launch.END_TIMEOUT)
            finally:
                client.close()
        except CliError as error:
            log.debug(str(error))  # the sandbox has ended, or hangs
        try:
            if not control.wait_readable(gofer, 1):
                launch.kill(gofer)
                control.wait_readable(gofer, launch.END_TIMEOUT)
        finally:
            os.close(gofer)
    sentry = container.process("sentry")
    if sentry.alive():
        cgroups.kill(container.own.get("leaves") or [], sentry.pid)
