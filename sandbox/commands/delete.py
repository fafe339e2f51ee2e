"""stockade delete"""

from sandbox import launch, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import CliError

USAGE = "[FLAGS] ID"
ABOUT = "Removes a container that has stopped or was never started, and all that belongs to it."
OPTIONS = [Option("--force -f", None, "end it first if it runs; no error if it does not exist")]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "delete")
    common.open_debug(settings, cid)
    try:
        container = state.Container.open(settings.root, cid)
    except CliError as error:
        if values.force and str(error).endswith("does not exist"):
            return 0
        raise
    try:
        if not values.force:
            container.require(state.STOPPED, state.CREATED)
        launch.destroy(container)
    finally:
        container.close()
    return 0
