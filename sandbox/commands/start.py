"""stockade start"""

from sandbox import state
from sandbox.commands import common

USAGE = "ID"
ABOUT = "Starts the program of a created container."
OPTIONS = []
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "start")
    common.open_debug(settings, cid)
    container = state.Container.open(settings.root, cid)
    try:
        common.start_created(container)
    finally:
        container.close()
    return 0
