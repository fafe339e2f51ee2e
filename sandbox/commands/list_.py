"""stockade list"""

from sandbox import state
from sandbox.args import Option
from sandbox.errors import CliError, UsageError
from sentry.core import jsonlite

USAGE = "[FLAGS]"
ABOUT = "Lists the containers below --root."
OPTIONS = [
    Option("--format -f", "FORMAT", "table or json", default="table", choices=("table", "json")),
    Option("--quiet -q", None, "print the ids only"),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    if arguments:
        raise UsageError(f"list takes no arguments, {arguments[0]!r} was given", "list")
    ids = state.ids(settings.root)
    if values.quiet:
        print("".join(f"{cid}\n" for cid in ids), end="")
        return 0
    views = []
    for cid in ids:
        try:
            container = state.Container.peek(settings.root, cid)
        except CliError:
            continue  # deleted since we looked, or not a container's directory
        views.append(container.oci())
        container.close()
    if values.format == "json":
        print(jsonlite.dumps(views))
        return 0
    rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    rows += [tuple(str(view[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")) for view in views]
    print_table(rows)
    return 0


def print_table(rows) -> None:
    """Rows of strings (the first one the header) in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
