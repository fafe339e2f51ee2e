"""The Sentry's process: from a clone of the command to a confined kernel.

The order matters. Final user first, because the platform's first process, which every guest descends from, must
have the same one; then that process starts, while programs may still be executed and descriptors opened; then
root, descriptors, capabilities and the seccomp filter go, and only after that does the Sentry read a byte that
a guest or the gofer wrote.
"""

import faulthandler
import os

import _socket

from sandbox import _host, bundle, confine
from sentry import seal
from sentry.core import log

ID = 65534  # our only user and group id, inside; an unprivileged id of the sandbox's own outside
SIGUSR1 = 10
LOWEST = 20  # our own descriptors live above: low numbers are for nobody, so that a stray use of 0 to 2 is harmless


def prelude(parent, config, boot) -> None:
    """What needs no ids, while the command prepares the rest. boot: None, or a test's stand-in for sentry.boot."""
    if boot is None:
        _host.use_huge_pages()
        for name in config.modules():
            bundle.preload(name)
            __import__(name)
        from sentry import boot
    boot.learn(config)
    parent.report("loaded")


def body(parent, config, boot, rootless, program, net) -> None:
    """What child.spawn runs. config: boot.Config; boot: as in `prelude`; program: the
    seccomp filter (bytes or None); net: network.Plan. Ends the process with the container's exit code."""
    if boot is None:
        from sentry import boot
    confine.private_mounts()
    confine.own_proc()
    if config.spec.get("hostname"):  # for containers of others that join our UTS namespace
        _socket.sethostname(config.spec["hostname"])
    net.settle(ID)
    boot.open_network(config)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    confine.detach_from_caller("stockade-sentry")
    confine.become(ID, ID, not rootless)
    confine.limits()
    config.claim_descriptors(confine.move_up, LOWEST)
    confine.null_stdio(null)
    log.setup(config.log if config.log >= 0 else 2, config.log_level, config.log_json)
    if config.log >= 0:  # for `stockade debug --stacks` when nothing else answers any more
        faulthandler.register(SIGUSR1, config.log)
    keep = config.descriptors() | {0, 1, 2, parent.fileno()}
    _host.close_except(keep)
    # What the guests' first process inherits: no capability can come back by an exec, and its working directory moves
    # with the root (pivot_root(2) moves those that stand on the old root, no others).
    _host.limit_bounding(0)
    os.chdir("/")
    platform = boot.start_platform(config)
    confine.drop_code()
    confine.empty_root()
    parent.reach("seeded")  # the parent may now make our OOM score better than our guests'
    seal.seal()
    confine.lock_down(0, program)
    sandbox = boot.Sandbox(config, platform, parent.fail)
    parent.reach("ready")
    if config.leash:
        sandbox.hold(parent.fileno())
    else:
        parent.close()
    code = sandbox.run()
    os._exit(code)
