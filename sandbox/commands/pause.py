"""stockade pause"""

from sandbox import control, state
from sandbox.commands import common

USAGE = "ID"
ABOUT = "Stops all programs of a container, unnoticed by them, until `stockade resume ID`."
OPTIONS = []
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    return change(settings, common.one_id(values, arguments, "pause"), "pause", state.RUNNING, state.PAUSED)


def change(settings, cid, operation, before, after) -> int:
    """Ask the sandbox of `cid` for `operation`, which leads from one status to another."""
    common.open_debug(settings, cid)
    container = state.Container.open(settings.root, cid)
    try:
        container.require(before)
        client = control.Client(container)
        client.call({"op": operation})
        client.close()
        container.data["status"] = after
        container.save()
    finally:
        container.close()
    return 0
