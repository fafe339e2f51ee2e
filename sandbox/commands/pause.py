"""stockade pause"""

from sandbox import control, state
from sandbox.commands import common
from sandbox.errors import CliError

USAGE = "ID"
ABOUT = "Stops all programs of a container, unnoticed by them, until `stockade resume ID`."
OPTIONS = []
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    return change(settings, common.one_id(values, arguments, "pause"), "pause", state.RUNNING, state.PAUSED)


def change(settings, cid, operation, before, after) -> int:
    """Ask the sandbox of `cid` for `operation`, which leads from one status to another. Written down first: whoever is killed in
    between has paused it in any case, so that it can be resumed."""
    common.open_debug(settings, cid)
    container = state.Container.open(settings.root, cid)
    try:
        container.require(before)
        client = control.Client(container)
        if after == state.PAUSED:
            write(container, after)
        try:
            client.call({"op": operation})
        except CliError:
            write(container, before)
            raise
        client.close()
        write(container, after)
    finally:
        container.close()
    return 0


def write(container, status) -> None:
    container.data["status"] = status
    container.save()
