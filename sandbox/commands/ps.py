"""stockade ps"""

from sandbox import control, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.commands.list_ import print_table
from sentry.core import jsonlite

USAGE = "[FLAGS] ID"
ABOUT = "Lists the processes of a container, with their numbers in the container."
OPTIONS = [Option("--format -f", "FORMAT", "table, or json (the numbers only)", default="table", choices=("table", "json"))]
INTERSPERSED = False


def run(settings, values, arguments) -> int:
    container = state.Container.open(settings.root, common.one_id(values, arguments[:1], "ps"))
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        client = control.Client(container)
        processes = client.call({"op": "ps"})["processes"]
        client.close()
    finally:
        container.close()
    if values.format == "json":
        print(jsonlite.dumps([process["pid"] for process in processes]))
        return 0
    rows = [("UID", "PID", "PPID", "THREADS", "CMD")]
    rows += [tuple(str(process[key]) for key in ("uid", "pid", "ppid", "threads", "cmd")) for process in processes]
    print_table(rows)
    return 0
