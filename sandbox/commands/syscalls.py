"""stockade syscalls"""

from sandbox.args import Option
from sandbox.commands.list_ import print_table
from sandbox.errors import UsageError
from sentry.abi.syscall_names import NUMBERS
from sentry.core import jsonlite

USAGE = "[FLAGS] [NAME...]"
ABOUT = (
    "Prints the system calls of x86-64 and how far they are supported: full, partial (with what is missing), unsupported (with\n"
    "what they answer and why), none (ENOSYS)."
)
OPTIONS = [
    Option("--format -f", "FORMAT", "table, json or csv", default="table", choices=("table", "json", "csv")),
    Option("--level -l", "LEVEL", "only those of a level", choices=("full", "partial", "unsupported", "none")),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    from sentry.core.syscall import TABLE
    from sentry.syscalls import table  # noqa: F401  (registers them)

    rows = []
    for name, nr in NUMBERS.items():
        row = TABLE[nr]
        rows.append((nr, name, row.level if row else "none", row.note if row else ""))
    if unknown := set(arguments) - set(NUMBERS):
        raise UsageError(f"there is no system call {min(unknown)!r}", "syscalls")
    rows = [row for row in sorted(rows) if (not arguments or row[1] in arguments) and values.level in (None, row[2])]
    if values.format == "json":
        print(jsonlite.pretty([{"number": nr, "name": name, "level": level, "note": note} for nr, name, level, note in rows]))
    elif values.format == "csv":
        for nr, name, level, note in [("number", "name", "level", "note"), *rows]:
            quoted = note.replace('"', '""')
            print(f'{nr},{name},{level},"{quoted}"')
    else:
        print_table([("NR", "NAME", "LEVEL", "NOTE"), *(tuple(map(str, row)) for row in rows)])
    return 0
