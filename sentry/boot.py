"""The Sentry's start: from descriptors and a configuration to a running kernel.

`learn` and `start_platform` run in the Sentry's process before it is confined, `Sandbox` after that, when nothing can be
opened, executed or imported any more.
"""

import gc
import os
from time import monotonic_ns

from sentry import seal
from sentry.boot_config import HOST_UDS, RESOLVER, WIRE, Config, platform_module
from sentry.control import ControlError, close_all, field
from sentry.core import hostinfo, leaks, log
from sentry.fs.tmpfs import set_memory
from sentry.kernel import clocks, machine, patching, statistics, trace
from sentry.kernel.container import StartError
from sentry.kernel.kernel import Kernel
from sentry.kernel.pidns import PidNamespace
from sentry.managed import ManagedContainer
from sentry.mm.manager import VDSO
from sentry.net import forward, hostinet, hostlink, interfaces, netns
from sentry.syscalls import table

EPOLLRDHUP = 0x2000
SIGKILL = 9
FORWARD_STEP, FORWARD_TIME = 2000000, 2000000000  # ns


def learn(config) -> None:
    """In the Sentry's process before it is confined: what needs files to learn."""
    seal.warm()
    config.host = hostinfo.capture()
    config.meminfo = config.host["meminfo_fd"]


def open_network(config) -> None:
    """In the Sentry's process, in the container's network namespace if that is to be seen: what needs files."""
    if config.network == "host":
        config.net_files = hostinfo.open_network()


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
    """The kernel and its containers: the one that it begins with, and those that join it in a pod."""

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
            table.fast_host.enable()
        if config.host_uds != "none":
            __import__(HOST_UDS).net.unix_host.register()
        if config.strace:
            kernel.trace = trace.trace
        statistics.provide(kernel)
        if config.links:
            self.take_network(config.taken, config.links)
        self.forwarder = forward.Forwarder(kernel)
        self.first = None
        self.joined = {}  # id -> ManagedContainer
        try:
            self.first = ManagedContainer(self, config)
        except StartError as error:
            fail(str(error), error.code)

    def take_network(self, taken, links):
        """As in boot_config.Config. KeyError, TypeError, ValueError: `taken` is not well-formed."""
        count = len(taken["links"])
        if self.config.resolver and "nameservers" in taken:
            __import__(RESOLVER).net.resolver.start(self.kernel, links[count:], taken["nameservers"])
        interfaces.take_over(__import__(WIRE).net.lwip, self.kernel, taken, links[:count])

    def set_clocks(self, platform):
        """Time offsets of the OCI configuration, and the vDSO that guests are told of."""
        host, offsets = self.config.host, (self.config.spec.get("linux") or {}).get("timeOffsets") or {}
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
        if host["vdso"]:
            VDSO[:] = host["vdso"], platform.vdso_image

    # -- life
    def run(self) -> int:
        """Serve until the first container is over; its exit code."""
        first = self.first
        try:
            self.kernel.run()
        except Exception:
            log.exception("the kernel ends")
            first.code = 255
            for managed in (first, *self.joined.values()):
                managed.server.abandon(f"container {managed.config.cid!r}: internal error, the sandbox ends (see its debug log)", 255)
        if leaks.ENABLED:
            left = {kind: count for kind, count in leaks.counts.items() if count}
            log.warning(f"kernel objects left: {left}")
        first.finish()
        return first.exit_code()  # guest processes end with us: we are the first process of their pid namespace

    def over(self, managed) -> None:
        """A container has finished."""
        if managed is self.first:
            if self.kernel.patcher is not None:
                log.info(f"call sites: {self.kernel.patcher.statistics()}")
            self.stop_when_forwarded(monotonic_ns() + FORWARD_TIME)
            for other in self.joined.values():
                other.server.abandon(f"container {other.config.cid!r}: the pod's sandbox has ended", 128 + SIGKILL)
            return
        managed.release()
        del self.joined[managed.config.cid]
        self.forget(managed.container.pids)
        # What it was made of refers to itself in circles, and the collector is off. When the callers have let go of it:
        self.kernel.timers.add(monotonic_ns(), self.collect)

    @staticmethod
    def collect():
        gc.collect()

    def forget(self, pids) -> None:
        """A container has left this PID namespace."""
        if pids is not self.kernel.pids and all(other.container.pids is not pids for other in self.joined.values()):
            self.kernel.pid_namespaces.remove(pids)

    def stop_when_forwarded(self, deadline) -> None:
        """Stop once forwarded connections have put out what guests sent."""
        if self.forwarder.busy() and monotonic_ns() < deadline:
            self.kernel.timers.add(monotonic_ns() + FORWARD_STEP, lambda: self.stop_when_forwarded(deadline))
        else:
            self.kernel.stopping = True

    def take_links(self, taken, links) -> None:
        """Interfaces of a network namespace that was filled after `create`; as in boot_config.Config. ControlError."""
        if not self.config.wire:
            raise ControlError("it has its network already")
        try:
            self.take_network(taken, links)
        except (KeyError, TypeError, ValueError) as error:
            raise ControlError(f"start: bad description of the network: {error!r}") from None
        links.clear()

    def hold(self, fd) -> None:
        """End when the other end of the socket `fd` closes: nobody else knows of this container."""
        self.kernel.platform.watch(fd, EPOLLRDHUP, self.let_go)

    def let_go(self, fd, events) -> None:
        self.first.code = 128 + SIGKILL
        self.kernel.stopping = True

    def join(self, nursery, request, fds) -> None:
        """A container of the pod is made here (control.py, "join"). ControlError."""
        config = joined_config(request, fds)
        if config.cid == self.config.cid or config.cid in self.joined:
            close_all(config.descriptors())
            raise ControlError(f"container {config.cid!r} is in this sandbox already")
        kernel, first = self.kernel, self.first.container
        nursery.ready = True  # its seed is in the container's cgroups now
        shared = field(request, "shared", list, [])
        pids = kernel.pids if "pid" in shared else PidNamespace()
        partner = self.joined.get(field(request, "pids_of", str, ""))
        if partner is not None:
            pids = partner.container.pids
        if pids not in kernel.pid_namespaces:
            kernel.pid_namespaces.append(pids)
        try:
            managed = ManagedContainer(self, config, pids, first.uts if "uts" in shared else None, nursery)
        except StartError as error:
            self.forget(pids)
            close_all([config.control, config.exit])
            raise ControlError(str(error), error.code) from None
        self.joined[config.cid] = managed


def joined_config(request, fds) -> Config:
    """The Config of a container that joins, from its request; takes its descriptors out of `fds`. ControlError."""
    config = Config(field(request, "id", str), field(request, "spec", dict), "")
    config.mounts = field(request, "mounts", list)
    config.overlay = field(request, "overlay", bool)
    config.terminal = field(request, "terminal", bool, False)
    config.size = field(request, "size", list, [0, 0])
    config.follow = field(request, "follow", bool, False)
    config.id_maps = field(request, "id_maps", dict, {})
    numbers = field(request, "stdio", list, [])
    if len(fds) != 3 + len(numbers) or not all(isinstance(n, int) and 0 <= n < 1024 for n in numbers):
        raise ControlError("join: the descriptors do not fit the request")
    config.gofer, config.control, config.exit, *stdio = fds
    config.stdio = dict(zip(numbers, stdio))
    fds.clear()
    return config
