"""stockade state"""

from sandbox import state
from sandbox.commands import common
from sentry.core import jsonlite

USAGE = "ID"
ABOUT = "Prints the OCI state of a container as JSON."
OPTIONS = []
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    container = state.Container.peek(settings.root, common.one_id(values, arguments, "state"))
    view = container.oci()
    container.close()
    print(jsonlite.pretty(view))
    return 0
