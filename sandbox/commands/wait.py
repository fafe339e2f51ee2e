"""stockade wait"""

from sandbox import control, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import CliError
from sentry.core import jsonlite

USAGE = "[FLAGS] ID"
ABOUT = "Waits until the container's first process, or the one of --pid, has ended, and prints its exit code as JSON."
OPTIONS = [Option("--pid", "PID", "a program of `exec`, by its number in the container", default="0")]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "wait")
    pid = common.number(values.pid, "--pid")
    container = state.Container.open(settings.root, cid)
    try:
        if container.status() == state.STOPPED and not pid:
            code = container.exit_code()
        else:
            container.require(state.CREATED, state.RUNNING, state.PAUSED)
            code = asked(container, pid)
    finally:
        container.close()
    if code is None:
        raise CliError(f"container {cid!r}: nothing tells how it ended")
    print(jsonlite.dumps({"id": cid, "exitStatus": code}))
    return 0


def asked(container, pid) -> "int | None":
    """The exit code as the Sentry tells it, or as it wrote it down if it ends meanwhile."""
    try:
        client = control.Client(container)
        client.send({"op": "wait", "pid": pid})
        container.unlock()  # others may use it meanwhile
        answer = client.receive()
        if answer is None:
            raise client.unanswered()
        return control.exit_code(answer["status"])
    except control.Gone:
        if pid:
            raise
        return container.exit_code()
