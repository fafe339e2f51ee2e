"""stockade run"""

from sandbox.args import Option
from sandbox.commands import common

USAGE = "[FLAGS] ID"
ABOUT = (
    "Creates the container ID from an OCI bundle, starts its program and waits for its end; ends with its exit code\n"
    "(128 + number if a signal killed it; 126 or 127 if the program cannot be executed or found)."
)
OPTIONS = [
    common.BUNDLE,
    common.CONFIG,
    common.CONSOLE_SOCKET,
    common.PID_FILE,
    common.PRESERVE_FDS,
    common.PASS_FD,
    Option("--detach -d", None, "do not wait; the container stays until `delete`"),
    Option("--keep", None, "keep the container, stopped, until `delete`"),
    *common.IGNORED,
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "run")
    bundle, spec = common.bundle_of(values)
    sandbox = common.create(settings, values, cid, bundle, spec, not values.detach and not values.console_socket)
    if not values.detach:
        return common.run_attached(settings, sandbox, values.keep)
    try:
        common.start_created(sandbox.container)
    except BaseException:
        common.remove(settings, sandbox)
        raise
    sandbox.container.close()
    sandbox.release()
    return 0
