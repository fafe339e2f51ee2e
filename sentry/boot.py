"""The Sentry's start: from descriptors and a configuration to a running kernel.

`prepare` runs in the command, with its rights; `learn` and `start_platform` in the Sentry's process before it is confined;
`Sandbox` after that, when nothing can be opened, executed or imported any more.
"""

import os
from time import monotonic_ns

from sentry import boot_mounts, seal
from sentry.boot_config import Config  # noqa: F401  (for the command)
from sentry.control import ControlError, Server, close_all
from sentry.core import hostinfo, leaks, log, stats
from sentry.fs import procfs_sysctl
from sentry.fs.gofer_client import GoferClient, GoferDead
from sentry.fs.hostfd import open_host_fd
from sentry.fs.tmpfs import set_memory
from sentry.fs.tty_host import open_host_terminal
from sentry.kernel import clocks, freeze, machine, patching, statistics, trace
from sentry.kernel.container import Container, StartError
from sentry.kernel.kernel import Kernel
from sentry.net import forward, hostinet, hostlink, interfaces, netns
from sentry.syscalls import fast_host, table
from sentry.vfs.context import Actor

EPOLLRDHUP = 0x2000
SIGKILL = 9
DRAIN_STEP, DRAIN_TIME = 2000000, 2000000000  # ns: how long the end waits for the last output of a terminal
REMEMBERED = 1000  # ended `exec` programs whose status nobody has asked for yet
RESOLVER = "sentry.net.resolver"  # only with a name server in the namespace
WIRE = "sentry.net.lwip"  # loaded only for those who have links
HOST_UDS = "sentry.net.unix_host"  # only with --host-uds
STUB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build", "native", "stub")


def prepare(config) -> None:
    """In the command: import the platform, open what must be opened with its rights. OSError."""
    __import__(platform_module(config.platform))
    if config.links or config.wire:
        __import__(WIRE)
    if config.host_uds != "none":
        __import__(HOST_UDS)
    if config.resolver and (config.links or config.wire):
        __import__(RESOLVER)
    if config.platform == "systrap":
        config.stub = os.open(STUB, os.O_RDONLY | os.O_CLOEXEC)


def learn(config) -> None:
    """In the Sentry's process before it is confined: what needs files to learn."""
    seal.warm()
    config.host = hostinfo.capture()
    config.meminfo = config.host["meminfo_fd"]


def open_network(config) -> None:
    """In the Sentry's process, in the container's network namespace if that is to be seen: what needs files."""
    if config.network == "host":
        config.net_files = hostinfo.open_network()


def platform_module(name) -> str:
    return f"sentry.platform.{name}"


def start_platform(config):
    """In the Sentry's process, as its final user: start the first guest process, from which all others descend."""
    module = getattr(__import__(platform_module(config.platform)).platform, config.platform)
    # By descriptor: our user may have no right to walk to where stockade is installed.
    platform = module.Platform(f"/proc/self/fd/{config.stub}") if config.stub >= 0 else module.Platform()
    if platform.entry and not config.patching:
        platform.refuse_sites()
    platform.apart = config.network == "host"
    table.fill_marshalling(platform)
    platform.start()
    if config.stub >= 0:
        os.close(config.stub)
        config.stub = -1
    return platform


class Sandbox:
    """The kernel with one container, and the target of the control socket's requests (control.py)."""

    def __init__(self, config, platform, fail):
        """fail(message, exit code) reports why the container cannot be made, and does not return."""
        self.config = config
        config.host["meminfo_fd"] = config.meminfo
        config.host["mem_host"] = config.host["mem_total"]
        config.host = {**machine.Machine(config.host, machine.of_pod(config.spec)).view}
        set_memory(machine.Machine(config.host, machine.resources_of(config.spec)).view["mem_total"])
        self.kernel = kernel = Kernel(platform)
        kernel.host = config.host
        if platform.entry:
            kernel.patcher = patching.Patcher(kernel)
        self.set_clocks(platform)
        if config.network == "host":
            netns.INIT.host = True
            hostlink.FILES.update(config.net_files)
            hostinet.register()
            fast_host.enable()
        if config.host_uds != "none":
            __import__(HOST_UDS).net.unix_host.register()
        if config.strace:
            kernel.trace = trace.trace
        statistics.provide(kernel)
        if config.links:
            self.take_network(config.taken, config.links)
        self.forwarder = forward.Forwarder(kernel)
        self.terminals = {}  # pid -> HostTerminal of a program that was started with one
        self.ended = {}  # pid -> wait status of ended exec programs
        self.started = False
        self.code = None
        try:
            client = GoferClient(config.gofer)
            self.container = container = Container(kernel, config.cid, None, config.spec)
            self.set_sysctls(fail)
            container.data["id_maps"] = config.id_maps
            container.ns = boot_mounts.build(config, client, kernel, container)
            self.process = self.prepare(config.spec["process"], config.stdio, config.terminal, config.size, config.follow)
            if config.terminal:
                container.data["console"] = self.terminals[self.process.pid].terminal
        except (GoferDead, boot_mounts.MountError) as error:
            fail(f"container {config.cid!r}: {error}", 1)
        except StartError as error:
            fail(str(error), error.code)
        container.on_empty = self.empty
        self.server = Server(platform, config.control, self)
        platform.watch(config.gofer, EPOLLRDHUP, self.gofer_gone)
        if client is not None:
            client.on_dead = self.gofer_gone

    def take_network(self, taken, links):
        """As in boot_config.Config. KeyError, TypeError, ValueError: `taken` is not well-formed."""
        count = len(taken["links"])
        if self.config.resolver and "nameservers" in taken:
            __import__(RESOLVER).net.resolver.start(self.kernel, links[count:], taken["nameservers"])
        interfaces.take_over(__import__(WIRE).net.lwip, self.kernel, taken, links[:count])

    def set_sysctls(self, fail):
        """linux.sysctl: parameters of the network are the first namespace's; in host mode the command has set them. The others
        are boot_mounts' business."""
        for name, value in (self.config.spec.get("linux", {}).get("sysctl") or {}).items():
            if procfs_sysctl.of_network(name) and self.config.network != "host" and not procfs_sysctl.preset(netns.INIT, name, value):
                fail(f"container {self.config.cid!r}: linux.sysctl {name}: no such parameter, or not with the value {value!r}", 1)

    def set_clocks(self, platform):
        """Time offsets of the OCI configuration, and the vDSO that guests are told of."""
        host, offsets = self.config.host, self.config.spec.get("linux", {}).get("timeOffsets") or {}
        ahead = [
            (offset.get("secs") or 0) * 10**9 + (offset.get("nanosecs") or 0)
            for offset in (offsets.get("monotonic") or {}, offsets.get("boottime") or {})
        ]
        host["vdso"] = platform.vdso
        if any(ahead):
            clocks.set_offsets(*ahead)
            self.kernel.boot_time -= ahead[1]
            if not platform.set_time_offsets(*ahead):
                host["vdso"] = 0

    def prepare(self, process, stdio, terminal, size, follow, program=""):
        """A kernel.container.Process with its descriptors: stdio {guest descriptor: host descriptor, now ours}, or the
        slave of a host pty as 0 if `terminal`; follow: somebody else has its master. StartError."""
        if not terminal:
            files = [None] * (max(stdio) + 1) if stdio else []
            for number, fd in stdio.items():
                files[number] = open_host_fd(self.kernel, fd)
            return self.container.prepare(process, files, program)
        actor = Actor(self.container.ns, self.kernel)
        opened = open_host_terminal(self.kernel, actor, stdio[0], *size)
        actor.fs.release()
        if isinstance(opened, int):
            os.close(stdio[0])
            raise StartError(f"terminal: {os.strerror(-opened)}")
        bridge, file = opened
        if follow:
            bridge.follow_size(self.kernel.timers)
        try:
            new = self.container.prepare(process, [file, file.incref(), file.incref()])
        except StartError:
            bridge.close()
            raise
        bridge.terminal.make_controlling(new.task.tg)
        self.terminals[new.pid] = bridge
        return new

    def when_drained(self, pid, then, deadline) -> None:
        """Call then() once the terminal of program `pid`, if it has one, has put out all that was written to it."""
        bridge = self.terminals.get(pid)
        if bridge is not None and not bridge.closed and bridge.terminal.out and monotonic_ns() < deadline:
            self.kernel.timers.add(monotonic_ns() + DRAIN_STEP, lambda: self.when_drained(pid, then, deadline))
        else:
            then()

    # -- life
    def run(self) -> int:
        """Serve until the container is over; its exit code."""
        try:
            self.kernel.run()
        except Exception:
            log.exception("the kernel ends")
            self.code = 255
            self.server.abandon(f"container {self.config.cid!r}: internal error, the sandbox ends (see its debug log)", 255)
        if leaks.ENABLED:
            left = {kind: count for kind, count in leaks.counts.items() if count}
            log.warning(f"kernel objects left: {left}")
        status = self.container.exit_status
        if self.code is None:
            self.code = 0 if status is None else 128 + (status & 0x7F) if status & 0x7F else status >> 8
        os.write(self.config.exit, b"%d\n" % self.code)
        return self.code  # guest processes end with us: we are the first process of their pid namespace

    def empty(self) -> None:
        """The last process has gone."""
        if self.kernel.patcher is not None:
            log.info(f"call sites: {self.kernel.patcher.statistics()}")
        init = self.container.init
        deadline = monotonic_ns() + DRAIN_TIME
        self.when_drained(init.pid if init is not None else 0, lambda: self.when_forwarded(deadline), deadline)

    def when_forwarded(self, deadline) -> None:
        """Stop once forwarded connections have put out what guests sent."""
        if self.forwarder.busy() and monotonic_ns() < deadline:
            self.kernel.timers.add(monotonic_ns() + DRAIN_STEP, lambda: self.when_forwarded(deadline))
        else:
            self.stop()

    def stop(self) -> None:
        self.kernel.stopping = True

    def gofer_gone(self, fd=-1, events=0) -> None:
        """The connection has closed, or a request found out that the gofer is of no use any more (fd -1)."""
        if self.kernel.stopping:
            return
        message = f"container {self.config.cid!r}: its gofer is gone, and with it the container's files"
        log.warning(message)
        if fd >= 0:
            self.kernel.platform.unwatch(fd)
        self.code = 128 + SIGKILL
        self.server.abandon(message, self.code)
        self.stop()

    def hold(self, fd) -> None:
        """End when the other end of the socket `fd` closes: nobody else knows of this container."""
        self.kernel.platform.watch(fd, EPOLLRDHUP, self.let_go)

    def let_go(self, fd, events) -> None:
        self.code = 128 + SIGKILL
        self.stop()

    # -- requests
    def start(self, taken, links):
        """taken, links: as in boot_config.Config, of a network namespace that was filled after `create`."""
        if self.started:
            raise ControlError("it has been started already")
        if taken is not None:
            if not self.config.wire:
                raise ControlError("it has its network already")
            try:
                self.take_network(taken, links)
            except (KeyError, TypeError, ValueError) as error:
                raise ControlError(f"start: bad description of the network: {error!r}") from None
            links.clear()
        self.started = True
        self.process.start()

    def exec(self, process, files, terminal, size, follow, early, program):
        """early: before the container's own program has been started. program: what to execute, if not args[0]."""
        try:
            if not self.started and not early:
                raise ControlError("it has not been started")
            if self.kernel.frozen is not None:
                raise ControlError("it is paused")
            if self.container.exit_status is not None:
                raise ControlError("its first process has ended")
            stdio = dict(files)
            files.clear()
            new = self.prepare(process, stdio, terminal, size, follow, program)
        except StartError as error:
            raise ControlError(str(error), error.code) from None
        finally:
            close_all(list(files.values()))
        self.container.watch(new.pid, self.remember)
        new.start()
        return {"pid": new.pid}

    def remember(self, pid, status) -> None:
        """A program of `exec` has ended: keep its status, close its terminal."""
        self.ended[pid] = status
        self.when_drained(pid, lambda: self.close_terminal(pid), monotonic_ns() + DRAIN_TIME)
        if len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def kill(self, signo, pid, everyone):
        if not self.started and not pid and signo in (SIGKILL, 15):
            # Nothing runs yet that could catch it.
            self.code = 128 + signo
            self.kernel.stopping = True
            return
        errno = self.container.kill(signo, pid or None, everyone)
        if errno:
            raise ControlError(f"signal {signo}: {os.strerror(-errno)}")
        if signo == SIGKILL:
            freeze.thaw(self.kernel)  # what is paused must die as well

    def pause(self):
        if not self.started:
            raise ControlError("it has not been started")
        freeze.freeze(self.kernel)

    def resume(self):
        freeze.thaw(self.kernel)

    def ps(self):
        return {"processes": self.container.processes() if self.started else []}

    def state(self):
        if not self.started:
            return {"status": "created"}
        return {"status": "running" if self.container.exit_status is None else "stopped"}

    def stats(self, profile):
        if profile is not None:
            statistics.set_profiling(self.kernel, profile)
        return {"stats": stats.collect()}

    def wait(self, pid, callback):
        if not pid:
            pid = self.process.pid
        elif pid in self.ended:
            callback(self.ended.pop(pid))
            return
        if all(group.pid != pid for group in self.container.members):
            raise ControlError(f"no process {pid}")
        self.container.watch(pid, lambda _, status: self.tell(pid, callback, status))

    def tell(self, pid, callback, status) -> None:
        self.when_drained(pid, lambda: callback(status), monotonic_ns() + DRAIN_TIME)

    def close_terminal(self, pid) -> None:
        bridge = self.terminals.pop(pid, None)
        if bridge is not None:
            bridge.close()

    def resize(self, pid, rows, columns):
        bridge = self.terminals.get(pid or self.process.pid)
        if bridge is None:
            raise ControlError("it has no terminal")
        bridge.resize(rows, columns)

    def resources(self, resources, names, fds):
        """New limits (an OCI resources object), files of the cgroup that tell what is used, or both."""
        view = self.container.machine
        try:
            view.limit(resources)
        finally:
            for name, fd in zip(names, fds, strict=True):
                if name in view.files:
                    os.close(view.files[name])
                view.files[name] = fd

    def connect(self, port, fd, callback):
        outer = forward.wrap(fd)
        if outer is None:
            raise ControlError("connect: the descriptor is no stream socket")
        self.forwarder.connect(port, outer, lambda error: callback(forward.refusal(-error) if error else None))

    def listeners(self, callback):
        """Returns a function that ends it."""
        self.forwarder.watch(callback)
        return lambda: self.forwarder.unwatch(callback)
