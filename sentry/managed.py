"""A container of this sandbox as the commands see it: the target of its control socket's requests (control.py).

A sandbox begins with one container; in a pod others join it, each with files, processes and a control socket of its own. When
the first one ends, the Sentry leaves and all end with it; any other only takes what belongs to it along.
"""

import os
from time import monotonic_ns

from sentry import boot_mounts
from sentry.control import ControlError, Server, close_all
from sentry.core import log, stats
from sentry.fs import procfs_sysctl
from sentry.fs.gofer_client import GoferClient, GoferDead
from sentry.fs.hostfd import open_host_fd
from sentry.fs.tty_host import open_host_terminal
from sentry.kernel import freeze, stacks, statistics, trace
from sentry.kernel.container import Container, StartError
from sentry.net import forward, netns
from sentry.vfs.context import Actor

EPOLLRDHUP = 0x2000
SIGKILL, SIGTERM = 9, 15
DRAIN_STEP, DRAIN_TIME = 2000000, 2000000000  # ns: how long the end waits for the last output of a terminal
REMEMBERED = 1000  # ended `exec` programs whose status nobody has asked for yet


class ManagedContainer:
    """config: boot_config.Config; pids, uts, nursery: as for kernel.container.Container. StartError, then nothing is left.

    `sandbox` (boot.Sandbox) is told of the end by `over(self)`.
    """

    def __init__(self, sandbox, config, pids=None, uts=None, nursery=None):
        self.sandbox = sandbox
        self.config = config
        self.kernel = kernel = sandbox.kernel
        self.nursery = nursery
        self.terminals = {}  # pid -> HostTerminal of a program that was started with one
        self.ended = {}  # pid -> wait status of ended exec programs
        self.started = False
        self.code = None  # exit code, if it is not that of the first process
        self.finished = False
        self.enders = []  # callbacks of `destroy`
        self.client = None
        self.container = container = Container(kernel, config.cid, None, config.spec, pids, uts, nursery)
        unused = list(config.stdio.values())
        try:
            self.client = GoferClient(config.gofer, keep=lambda fd: kernel.platform.keep(fd, nursery))
            self.set_sysctls()
            container.ns = boot_mounts.build(config, self.client, kernel, container)
            unused.clear()
            self.process = self.prepare(config.spec["process"], config.stdio, config.terminal, config.size, config.follow)
        except (StartError, GoferDead, boot_mounts.MountError) as error:
            close_all(unused)
            if container.ns is not None:
                container.ns.release()
            if self.client is not None:
                self.client.shutdown()
            if isinstance(error, StartError):
                raise
            raise StartError(f"container {config.cid!r}: {error}") from None
        container.set_id_maps(config.id_maps)
        if config.terminal:
            container.data["console"] = self.terminals[self.process.pid].terminal
        self.init_pid = self.process.pid
        container.on_empty = self.empty
        self.server = Server(kernel.platform, config.control, self)
        kernel.platform.watch(config.gofer, EPOLLRDHUP, self.gofer_gone)
        self.client.on_dead = self.gofer_gone

    def set_sysctls(self):
        """linux.sysctl: parameters of the network are the first namespace's; in host mode the command has set them. The others
        are boot_mounts' business."""
        for name, value in ((self.config.spec.get("linux") or {}).get("sysctl") or {}).items():
            if procfs_sysctl.of_network(name) and not netns.INIT.host and not procfs_sysctl.preset(netns.INIT, name, value):
                raise StartError(f"container {self.config.cid!r}: linux.sysctl {name}: no such parameter, or not with the value {value!r}")

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

    # -- the end
    def exit_code(self) -> int:
        """128 + signal for a signal's death."""
        status = self.container.exit_status
        if self.code is not None:
            return self.code
        return 0 if status is None else 128 + (status & 0x7F) if status & 0x7F else status >> 8

    def empty(self) -> None:
        """The last process has gone."""
        init = self.container.init
        self.when_drained(init.pid if init is not None else 0, self.finish, monotonic_ns() + DRAIN_TIME)

    def finish(self) -> None:
        """Write down the exit code, tell whoever waits, and let go of what is the container's. Once."""
        if self.finished:
            return
        self.finished = True
        os.write(self.config.exit, b"%d\n" % self.exit_code())
        self.sandbox.over(self)

    def release(self) -> None:
        """The sandbox goes on without the container. Its gofer ends with the exit code, which tells the outside."""
        self.client.on_dead = None
        self.kernel.platform.unwatch(self.config.gofer)
        for pid in tuple(self.terminals):
            self.close_terminal(pid)
        self.container.ns.release()
        if self.nursery is not None:
            self.nursery.close()
        os.close(self.config.exit)
        close_all(list(self.container.machine.files.values()))
        for tell in self.enders:
            tell()
        self.server.close()
        self.client.farewell(self.exit_code())
        self.client.shutdown()

    def gofer_gone(self, fd=-1, events=0) -> None:
        """The connection has closed, or a request found out that the gofer is of no use any more (fd -1)."""
        if self.kernel.stopping or self.finished or self.code is not None:
            return
        message = f"container {self.config.cid!r}: its gofer is gone, and with it the container's files"
        log.warning(message)
        if fd >= 0:
            self.kernel.platform.unwatch(fd)
        self.end(message)

    def end(self, message) -> None:
        """End the container now, with code 137; `message` is for those who wait for its programs."""
        if self.code is None:
            self.code = 128 + SIGKILL
        self.server.abandon(message, self.code)
        if self.sandbox.first is self:
            self.finish()  # guest processes end with the Sentry
            return
        freeze.thaw(self.kernel, self.container)
        if not self.started and not self.process.task.dead:
            self.process.abandon()
        self.container.destroy()
        if not self.container.members:
            self.finish()

    # -- requests
    def start(self, taken, links):
        """taken, links: of the sandbox's network, if it has come since `create`."""
        if self.started:
            raise ControlError("it has been started already")
        if taken is not None:
            self.sandbox.take_links(taken, links)
        self.started = True
        self.process.start()

    def exec(self, process, files, terminal, size, follow, early, program, paused):
        """early: before the container's own program has been started. program: what to execute, if not args[0]. paused: also while
        the container is, to go on with the others."""
        try:
            if not self.started and not early:
                raise ControlError("it has not been started")
            if self.container in self.kernel.frozen and not paused:
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
        freeze.hold_new(self.kernel, self.container)
        return {"pid": new.pid}

    def remember(self, pid, status) -> None:
        """A program of `exec` has ended: keep its status, close its terminal."""
        self.ended[pid] = status
        self.when_drained(pid, lambda: self.close_terminal(pid), monotonic_ns() + DRAIN_TIME)
        if len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def kill(self, signo, pid, everyone):
        if not self.started and not pid and signo in (SIGKILL, SIGTERM):
            # Nothing runs yet that could catch it.
            self.code = 128 + signo
            if self.sandbox.first is self:
                self.finish()
            else:
                self.end(f"container {self.config.cid!r} was killed before its start")
            return
        errno = self.container.kill(signo, pid or None, everyone)
        if errno:
            raise ControlError(f"signal {signo}: {os.strerror(-errno)}")
        if signo == SIGKILL:
            freeze.thaw(self.kernel, self.container)  # what is paused must die as well

    def destroy(self, callback):
        """End the container, then callback(). Of a container that joined: the first one ends with its Sentry's process."""
        if self.sandbox.first is self:
            raise ControlError("its sandbox is to be ended instead")
        if self.finished:
            callback()
            return
        self.enders.append(callback)
        self.end(f"container {self.config.cid!r} is deleted")

    def pause(self):
        if not self.started:
            raise ControlError("it has not been started")
        freeze.freeze(self.kernel, self.container)

    def resume(self):
        freeze.thaw(self.kernel, self.container)

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
            pid = self.init_pid
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
        bridge = self.terminals.get(pid or self.init_pid)
        if bridge is None:
            raise ControlError("it has no terminal")
        bridge.resize(rows, columns)

    def stacks(self):
        return {"stacks": stacks.collect(self.container)}

    def log(self, level, strace, fd):
        """Of the whole sandbox."""
        old = log.change(level, fd)
        if old > 2:
            os.close(old)
        if strace is not None:
            trace.switch(self.kernel, strace)
        log.info("the log goes on here, as `stockade debug` asked")

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

    # -- the network of the sandbox, and further containers of the pod
    def connect(self, port, fd, callback):
        outer = forward.wrap(fd)
        if outer is None:
            raise ControlError("connect: the descriptor is no stream socket")
        self.sandbox.forwarder.connect(port, outer, lambda error: callback(forward.refusal(-error) if error else None))

    def listeners(self, callback):
        """Returns a function that ends it."""
        self.sandbox.forwarder.watch(callback)
        return lambda: self.sandbox.forwarder.unwatch(callback)

    def seed(self, callback):
        """callback(Nursery or None, errno): processes for a container that will join."""
        self.kernel.platform.new_nursery(callback)

    def join(self, nursery, request, fds):
        """Make a container; takes what it uses out of `fds`, and the nursery."""
        self.sandbox.join(nursery, request, fds)
