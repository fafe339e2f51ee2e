"""stockade uninstall"""

from sandbox import engines
from sandbox.commands.install import DRY_RUN, RUNTIME, SYSROOT, carry_out, choose, name_of
from sandbox.errors import CliError

USAGE = "[FLAGS] [ENGINE...]"
ABOUT = (
    "Takes back what `stockade install` did for the engines that are named, or for all. A file that has not been\nchanged otherwise"
    " since is again what it was, byte for byte."
)
OPTIONS = [RUNTIME, SYSROOT, DRY_RUN]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    request = engines.Request(name_of(values), "", [], values.sysroot)
    failures = []
    for engine in choose(request, arguments, "uninstall") if arguments else engines.ENGINES:
        try:
            changes = engine.remove(request)
            if changes or arguments:
                carry_out(request, engine, changes, values.dry_run, False)
        except CliError as error:
            failures.append(str(error))  # the others go on
    if failures:
        raise CliError("; ".join(failures))
    return 0
