"""stockade resume"""

from sandbox import state
from sandbox.commands import common, pause

USAGE = "ID"
ABOUT = "Lets the programs of a paused container go on."
OPTIONS = []
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    return pause.change(settings, common.one_id(values, arguments, "resume"), "resume", state.PAUSED, state.RUNNING)
