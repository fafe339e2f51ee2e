"""Making a sandbox: state directory, gofer, Sentry, cgroups. Every step that can fail undoes the ones before."""

import fcntl
import os
from stat import S_ISDIR

import _socket

from sandbox import _host, cgroups, child, control, flags, gofer_process, hooks, idmap, log, nameservers, network, oci, sentry_process, state, trees
from sandbox import bundle as bundle_file
from sandbox.errors import CliError, os_text
from sentry.boot_config import Config

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KUID_BASE = 0x70000000  # + host pid of the Sentry: a host user of its own for each live sandbox
NOBODY = 65534
END_TIMEOUT = 10  # seconds
POD_ANNOTATIONS = {"io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"}
SPARED = 500  # how much lower oom_score_adj is for Sentry and gofer than for guests


class Undo:
    """What has to be taken back if a later step fails: functions, last first."""

    def __init__(self):
        self.steps = []
        self.hooked = None  # (hooks, container) once hooks have begun to run

    def add(self, function, *args) -> None:
        self.steps.append((function, args))

    def run(self) -> None:
        while self.steps:
            function, args = self.steps.pop()
            try:
                function(*args)
            except (OSError, CliError) as error:
                log.warning(f"clean-up after a failure: {error}")


def is_rootless(settings) -> bool:
    if settings.rootless == "auto":
        return os.geteuid() != 0
    if settings.rootless == "false" and os.geteuid() != 0:
        raise CliError("this needs root; as an ordinary user run with --rootless")
    return settings.rootless == "true" and os.geteuid() != 0


def filter_program(name) -> "bytes | None":
    """A compiled seccomp filter (sandbox/seccomp/compile.py makes them at build time)."""
    path = os.path.join(PROJECT, "build", "seccomp", name + ".bpf")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CliError(f"seccomp filter: {os_text(error)}; is stockade built? (make build)") from None


def overlay(settings, cid, spec) -> bool:
    """Do changes of the root stay in memory? "auto": not where the engine that made the root expects to find them there, for
    `commit`, `cp`, `diff`, a restart, or as the layer of an image that is being built."""
    if settings.overlay2 == "none" or settings.overlay2 == "auto" and keeps_root(settings, cid, spec):
        return bool(spec["root"].get("readonly"))
    if settings.overlay2 == "auto":
        return True
    kind, _, medium = settings.overlay2.partition(":")
    if kind not in ("root", "all") or medium.split(",")[0] not in ("memory", "self"):
        raise CliError(f"--overlay2 {settings.overlay2!r} is not supported (root:memory, none or auto)")
    if medium.startswith("self"):
        log.unsupported("--overlay2 medium self: memory is used")
    return True


def keeps_root(settings, cid, spec) -> bool:
    """Is this a container of podman (by its annotation), of buildah (by the id it gives them) or of Docker (by the name of its
    containerd namespace, the last part of the state directory)?"""
    manager = (spec.get("annotations") or {}).get("io.container.manager")
    return manager == "libpod" or cid.startswith("buildah-") or os.path.basename(settings.root) == "moby"


def exports_of(undo, settings, spec, bundle, overlaid, ids, rootless) -> "tuple[list, list]":
    """(what the gofer serves, the mounts of the configuration with "export" set to an index into it for binds)."""
    sockets = gofer_process.HOST_UDS[settings.host_uds]
    exports = [gofer_process.Export(spec["root"]["path"], overlaid, sockets=sockets)]
    undo.add(close_trees, exports)
    mounts = []
    for mount in spec.get("mounts") or []:
        mount = dict(mount)
        if mount["type"] == "overlay":
            options = mount.get("options") or []
            export = gofer_process.Export("", "ro" in options, False)
            export.tree = trees.overlay(mount["destination"], ",".join(option for option in options if "=" in option))
            mount.update(type="bind", export=len(exports), directory=True)
            exports.append(export)
        elif mount["type"] == "bind":
            options = mount.get("options") or []
            readonly = "ro" in options or "rro" in options
            path = oci.bind_source(mount, bundle)
            mount["export"] = len(exports)
            mount["directory"] = S_ISDIR(os.stat(path).st_mode)
            following = not {"slave", "rslave", "shared", "rshared"}.isdisjoint(options)
            export = gofer_process.Export(path, readonly, "rbind" in options, on_kernel_fs(path), sockets, following)
            exports.append(export)
            if "idmap" in options or "ridmap" in options or mount.get("uidMappings"):
                if rootless:
                    raise CliError(f"mount {mount['destination']}: an idmapped mount takes root")
                owners = idmap.Map(*(idmap.rows(mount.get(f"{kind}Mappings") or ()) or ids.rows[kind] for kind in ("uid", "gid")))
                export.tree = idmap.mapped_tree(path, "rbind" in options, "ridmap" in options, owners)
        mounts.append(mount)
    return exports, mounts


def on_kernel_fs(path) -> bool:
    """Is `path` in proc or sysfs (such a source is served read-only)?"""
    path = path.rstrip("/") + "/"
    return path.startswith(("/proc/", "/sys/"))


class Sandbox:
    """A sandbox that exists: what its creator needs further. keeper: the process that stands for the container."""

    def __init__(self, container, sentry, gofer, terminal):
        self.container = container
        self.sentry = self.keeper = sentry
        self.gofer = gofer
        self.terminal = terminal  # console.Terminal if we keep the master's end

    def release(self) -> None:
        """Leave it alone: it lives on without us."""
        self.sentry.release()
        self.gofer.release()


def create(settings, cid, bundle, spec, console_socket=None, pid_file=None, attached=False, pass_fds=(), leash=False, boot=None, prompt=None) -> Sandbox:
    """Create container `cid` of the checked configuration `spec`, up to the state "created".

    attached: the caller stays, and has the terminal if there is one. pass_fds: further descriptors for the program,
    as (guest number, host descriptor). leash: the sandbox ends when the caller does. prompt: the start follows at once, so nobody fills the network namespace [attached]. The state directory is locked on return. CliError; then nothing is left.
    """
    undo = Undo()
    undo.add(run_poststop, undo)
    try:
        if (spec.get("annotations") or {}).keys() & POD_ANNOTATIONS:
            from sandbox import pod  # only containers of Kubernetes pay for it

            sandbox = pod.sandbox_of(spec, settings.root)
            if sandbox is not None:
                return pod.join(undo, settings, sandbox, cid, bundle, spec, console_socket, pid_file, attached, pass_fds)
        return build(undo, settings, cid, bundle, spec, console_socket, pid_file, attached, pass_fds, leash, boot, attached if prompt is None else prompt)
    except BaseException:
        undo.run()
        raise


def run_poststop(undo) -> None:
    if undo.hooked is not None:
        hooks.run_after(*undo.hooked)


def build(undo, settings, cid, bundle, spec, console_socket, pid_file, attached, pass_fds, leash, boot, prompt) -> Sandbox:
    settings = flags.for_container(settings, spec)
    rootless = is_rootless(settings)
    overlaid = overlay(settings, cid, spec)
    ids = idmap.of(spec, rootless)
    exports, mounts = exports_of(undo, settings, spec, bundle, overlaid, ids, rootless)
    wants_terminal = check_terminal(spec, attached, console_socket)
    net = network.Plan(settings.network, spec)
    sentry_filter = filter_program(f"sentry-{settings.platform}" + ("-host" if net.mode == "host" else ""))
    gofer_filter = filter_program("gofer")

    if not spec.get("hostname") and not any(ns["type"] == "uts" for ns in (spec.get("linux") or {}).get("namespaces") or ()):
        spec["hostname"] = os.uname().nodename
    container = new_container(undo, settings, cid, bundle, spec)
    terminal = new_terminal(undo, spec) if wants_terminal else None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    undo.add(ours.close)
    undo.add(theirs.close)

    hook_lists = hooks.of(spec)
    config = Config(cid, spec, settings.platform)
    config.mounts, config.overlay, config.rootfs = mounts, overlaid, spec["root"]["path"]
    config.gofer = ours.fileno()
    config.strace, config.leash = settings.strace, leash
    config.network = net.mode
    config.host_uds = settings.host_uds
    config.id_maps = {kind: ids.text(kind) for kind in ("uid", "gid")}
    config.patching = not settings.no_patching
    config.log_level = 10 if settings.debug else 20 if settings.debug_log else 30
    config.log_json = settings.log_format == "json"
    open_descriptors(undo, settings, container, config, attached)
    if terminal is not None:
        config.stdio, config.terminal, config.size = {0: terminal.slave}, True, terminal.size()
        config.follow = bool(console_socket)
    else:
        config.stdio = {fd: fd for fd in (0, 1, 2) if is_open(fd)}
    config.stdio.update(pass_fds)
    # An own, empty namespace may be filled until the start, by hooks or by whoever called `create`.
    awaited = net.own_namespace and not rootless and (not prompt or bool(hook_lists))
    if net.mode == "sandbox" and (net.prepared or awaited) and can_take_network(settings):
        container.own["resolv_conf"] = nameservers.resolv_conf(mounts)
        config.resolver = bool(container.own["resolv_conf"])
        take_network(undo, net, config, container.own["resolv_conf"])
        config.wire = container.own["wire"] = awaited
    if boot is None and not bundle_file.check(config.modules()):  # its process may have no right to open our files
        for name in config.modules():
            __import__(name)

    config.open_stub()
    net.enter()
    try:
        sentry = child.spawn(
            "sandbox", lambda parent: sentry_process.body(parent, config, boot, rootless, sentry_filter, net),
            lambda parent: sentry_process.prelude(parent, config, boot), net.flags,
        )  # fmt: skip
    finally:
        net.leave()
        if config.stub >= 0:
            os.close(config.stub)
    undo.add(sentry.kill)
    container.set_process("sentry", state.Process(sentry.pid))
    if rootless:
        child.write_maps(sentry.pid, f"{sentry_process.ID} {os.geteuid()} 1\n", f"{sentry_process.ID} {os.getegid()} 1\n", False)
    else:
        uid, gid = (outside_id(kind, sentry.pid) for kind in ("uid", "gid"))
        child.write_maps(sentry.pid, f"{sentry_process.ID} {uid} 1\n", f"{sentry_process.ID} {gid} 1\n", True)
    gofer = None
    if "createContainer" not in hook_lists:  # else they say what it serves
        gofer = start_gofer(undo, theirs, exports, ids, rootless, gofer_filter)
        container.set_process("gofer", state.Process(gofer.pid))
    pids = [process.pid for process in (gofer, sentry) if process is not None]
    enter = make_cgroups(settings, cid, spec, container, hook_lists, pids)
    sentry.expect("loaded")  # not within the container's CPU limits
    for pid in pids:
        enter(pid)
    run_hooks(undo, hook_lists, container, sentry.pid)
    if gofer is None:
        exports[0].tree = hooks.run_in_container(hook_lists, container, sentry.pid, spec["root"]["path"])
        gofer = start_gofer(undo, theirs, exports, ids, rootless, gofer_filter)
        container.set_process("gofer", state.Process(gofer.pid))
        container.save()
        enter(gofer.pid)
    own_score = set_oom_score(sentry.pid, guest_score(spec, spare(sentry.pid)))
    sentry.go()
    gofer.expect("ready")
    gofer.go()
    sentry.expect("seeded")
    set_oom_score(sentry.pid, own_score)
    spare(gofer.pid)
    sentry.go()
    sentry.expect("ready")
    if keeps_root(settings, cid, spec):
        from sandbox import view  # for engines that look there

        view.show(sentry.pid, exports, mounts)

    if console_socket:
        from sandbox import console

        console.send_master(console_socket, terminal)
    container.data.update(status=state.CREATED, pid=sentry.pid)
    container.save()
    if pid_file:
        write_pid_file(pid_file, sentry.pid)
        undo.add(unlink_quietly, pid_file)
    sentry.go()
    if container.own["leaves"]:
        show_use(container)
    ours.close()
    theirs.close()
    if terminal is not None:
        terminal.close_slave()
        if console_socket:
            terminal.close()
            terminal = None
    # The listener must be the Sentry's alone: who connects after its end shall be refused, not wait for ever.
    os.close(config.control)
    os.close(config.exit)
    for fd in config.links:
        os.close(fd)
    return Sandbox(container, sentry, gofer, terminal)


def check_terminal(spec, attached, console_socket) -> bool:
    """Does the program get a terminal? CliError if the flags do not fit."""
    wanted = bool(spec["process"].get("terminal"))
    if wanted and not attached and not console_socket:
        raise CliError("process.terminal is true: give --console-socket, or stay attached with `run`")
    if console_socket and not wanted:
        raise CliError("--console-socket needs process.terminal to be true")
    return wanted


def new_container(undo, settings, cid, bundle, spec):
    """The state of a new container, locked."""
    container = state.Container.new(settings.root, cid, bundle, spec.get("annotations") or {})
    undo.add(container.remove)
    undo.add(remove_cgroups, container)
    container.own.update(rootfs=spec["root"]["path"], owner=str(os.geteuid()), platform=settings.platform, process=spec["process"])
    container.set_process("cli", state.Process(os.getpid()))
    return container


def new_terminal(undo, spec):
    from sandbox import console  # termios takes a moment to load

    terminal = console.open_terminal(spec["process"])
    undo.add(terminal.close)
    return terminal


def make_cgroups(settings, cid, spec, container, hook_lists, pids):
    """Make the container's cgroups; the function that puts a process there. pids: those that exist already, not yet in there. The
    container is saved: from here on `delete --force` finds everything if we are killed."""
    unit = None if settings.ignore_cgroups else unit_of(settings, cid, spec)
    plan = None if settings.ignore_cgroups else cgroups.plan(spec, cid, settings.systemd_cgroup, unit)
    if unit is not None:
        container.own["unit"] = [unit.name, unit.rootless]
    container.own["cgroups"] = plan.directories if plan else []
    container.own["leaves"] = [(controller, leaf) for controller, _, leaf in plan.leaves] if plan else []
    container.own["hooks"] = hook_lists
    container.save()
    if unit is not None:
        from sandbox import systemd

        systemd.start(unit, cid, pids, plan.resources, plan.unified)
    if plan is not None and cgroups.create(plan):
        return lambda pid: cgroups.enter(plan, pid)
    return lambda pid: None


def unit_of(settings, cid, spec):
    """The systemd.Unit that the container's cgroup is to belong to, or None."""
    wanted = cgroups.unit_name(spec, cid, settings.systemd_cgroup)
    if wanted is None:
        return None
    from sandbox import systemd  # only who has one pays for it

    in_user_namespace = os.environ.get("XDG_RUNTIME_DIR") and child.read_map("uid") != [(0, 2**32 - 1)]
    return systemd.unit_of(wanted, os.geteuid() != 0 or bool(in_user_namespace))


def remove_cgroups(container) -> None:
    """After the end of all processes in them."""
    cgroups.remove(container.own["cgroups"])
    if container.own.get("unit"):
        from sandbox import systemd

        systemd.stop(*container.own["unit"])


def update_cgroups(container, resources) -> None:
    """New limits, an OCI resources object. CliError."""
    leaves = container.own.get("leaves") or []
    cgroups.update(leaves, resources)
    if container.own.get("unit"):
        from sandbox import systemd

        systemd.change(*container.own["unit"], resources, any(not controller for controller, _ in leaves))


def run_hooks(undo, hook_lists, container, pid) -> None:
    """Those of `create` on the host. pid: of the Sentry."""
    if hook_lists:
        undo.hooked = hook_lists, container
        hooks.run(hook_lists, "prestart", container, pid)
        hooks.run(hook_lists, "createRuntime", container, pid)


def start_gofer(undo, sock, exports, ids, rootless, program) -> child.Child:
    may_setgroups = not rootless or len(ids.rows["gid"]) > 1
    gofer = child.spawn("gofer", lambda parent: gofer_process.body(parent, sock, exports, may_setgroups, program), gofer_process.prelude)
    undo.add(gofer.kill)
    idmap.give(gofer.pid, ids, rootless)
    close_trees(exports)
    gofer.go()
    return gofer


def close_trees(exports) -> None:
    for export in exports:
        if export.tree >= 0:
            os.close(export.tree)
            export.tree = -1


def can_take_network(settings) -> bool:
    if is_rootless(settings):
        log.unsupported("--network sandbox without root: the container has the loopback interface only")
        return False
    if not any(name.startswith("lwip.") and name.endswith(".so") for name in os.listdir(os.path.join(PROJECT, "sentry", "net"))):
        log.unsupported("--network sandbox, built without lwIP: the container has the loopback interface only")
        return False
    return True


def take_network(undo, net, config, resolv_conf) -> None:
    """The network namespace that was prepared for the container, if any: what is in it becomes the sandbox's."""
    if net.prepared is None:
        return
    from sandbox import netlinks  # only who has one pays for it

    taken, links = netlinks.take(net.prepared, nameservers.behind_dockers(resolv_conf))
    for fd in links:
        undo.add(os.close, fd)
    if links:
        config.taken, config.links = taken, links


def show_use(container) -> None:
    """Let the container see what it uses, as the host's cgroups count it."""
    files = cgroups.open_use(container.own["leaves"])
    try:
        control.tell_resources(container, {}, files)
    finally:
        for fd in files.values():
            os.close(fd)


def open_descriptors(undo, settings, container, config, attached) -> None:
    """Everything that the Sentry cannot open itself later."""
    listener = control.listen(container)
    undo.add(listener.close)
    config.control = listener.detach()
    undo.add(os.close, config.control)
    config.exit = os.open(os.path.join(container.path, "exit"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    undo.add(os.close, config.exit)
    log_fd, debug_fd = log.file_descriptors()
    if settings.debug_log:
        debug_fd = log.open_debug(settings.debug_log, "boot", container.id)
        undo.add(os.close, debug_fd)
    config.log = debug_fd if debug_fd >= 0 else log_fd
    if config.log < 0 and attached and is_open(2):
        # Nobody else would tell the user of what goes wrong inside.
        config.log, config.log_level = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3), 40
        undo.add(os.close, config.log)


def outside_id(kind, pid) -> int:
    """The host id of a sandbox whose Sentry is `pid`: its own, where our user namespace has that many."""
    wanted = KUID_BASE + pid
    return wanted if child.has_id(kind, wanted) else NOBODY if child.has_id(kind, NOBODY) else 0


def guest_score(spec, spared) -> int:
    """oom_score_adj of the guests' processes; spared: those of stockade have a lower one than ours."""
    score = spec["process"].get("oomScoreAdj")
    if score is None:
        with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
            score = int(file.read())
    return score if spared else min(score + SPARED, 1000)


def set_oom_score(pid, value) -> "int | None":
    """Set oom_score_adj of a process (None: leave it). Returns the old one, to set it back."""
    if value is None:
        return None
    path = f"/proc/{pid}/oom_score_adj"
    try:
        with open(path, encoding="utf-8") as file:
            old = int(file.read())
        child.write(path, str(value))
        return old
    except PermissionError as error:
        log.warning(f"process.oomScoreAdj: {os_text(error)}")
        return None
    except OSError as error:
        raise CliError(f"process.oomScoreAdj: {os_text(error)}") from None


def spare(pid) -> bool:
    """When memory runs out a process of the guests shall be the first to be killed, not the Sentry, with which all end. False:
    that takes CAP_SYS_RESOURCE, and the guests' score has to be higher instead."""
    path = f"/proc/{pid}/oom_score_adj"
    try:
        with open(path, encoding="utf-8") as file:
            score = int(file.read())
        child.write(path, str(max(score - SPARED, -999)))
    except PermissionError:
        return False
    except OSError as error:
        log.warning(f"{path}: {os_text(error)}")
    return True


def write_pid_file(path, pid) -> None:
    """Write the pid, visible as a whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        unlink_quietly(temporary)
        raise CliError(f"pid file: {os_text(error)}") from None


def unlink_quietly(path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def is_open(fd) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def destroy(container) -> None:
    """End the container's processes, remove its cgroups and its state. Guest processes end with the Sentry, which is
    the first process of their pid namespace."""
    if container.own.get("sandbox"):
        from sandbox import pod

        pod.destroy(container)
    else:
        ending = [pidfd for pidfd in (container.process(role).pidfd() for role in ("sentry", "gofer")) if pidfd >= 0]
        for pidfd in ending:
            kill(pidfd)
        for pidfd in ending:
            control.wait_readable(pidfd, END_TIMEOUT)
            os.close(pidfd)
    remove_cgroups(container)
    container.remove()
    if container.own.get("hooks"):
        hooks.run_after(container.own["hooks"], container)


def kill(pidfd) -> None:
    try:
        _host.pidfd_send_signal(pidfd, child.SIGKILL)
    except ProcessLookupError:
        pass


def sweep(root, prefix) -> None:
    """Remove what killed commands have left: stopped containers whose id begins with `prefix`."""
    for cid in state.ids(root):
        if cid.startswith(prefix):
            try:
                container = state.Container.open(root, cid, wait=False)
            except CliError:
                continue  # in use, or gone
            if container.status() == state.STOPPED and not container.process("cli").alive():
                destroy(container)
            container.close()
