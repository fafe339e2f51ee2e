"""stockade kill"""

from sandbox import control, signals, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import UsageError

USAGE = "[FLAGS] ID [SIGNAL]"
ABOUT = "Sends SIGNAL (a name or number; TERM if none is given) to the container's first process."
OPTIONS = [
    Option("--all -a", None, "to every process of the container"),
    Option("--pid", "PID", "to this process, by its number in the container"),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    if not 1 <= len(arguments) <= 2:
        raise UsageError("a container id, and at most one signal, are needed", "kill")
    signo = signals.number(arguments[1] if len(arguments) == 2 else "TERM")
    request = {"op": "kill", "signal": signo, "all": values.all}
    if values.pid is not None:
        request["pid"] = common.number(values.pid, "--pid")
    container = state.Container.open(settings.root, arguments[0])
    try:
        if values.all and container.status() == state.STOPPED:
            return 0  # nothing is left to signal: what `kill --all` before a delete wants
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        client = control.Client(container)
        client.call(request)
        client.close()
    except control.Gone:
        if not values.all:
            raise
    finally:
        container.close()
    return 0
