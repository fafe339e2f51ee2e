"""stockade syscalls"""

from sandbox.args import Option
from sandbox.commands.list_ import print_table
from sandbox.errors import UsageError
from sentry.core import jsonlite

USAGE = "[FLAGS] [NAME...]"
ABOUT = (
    "Lists the system calls of x86-64 Linux and how far each is supported:\n\n"
    "  full       as on Linux\n"
    "  partial    with the difference that the note tells\n"
    "  refused    answers the errno of a system that forbids it or is built without it\n"
    "  unknown    answers ENOSYS\n\n"
    "docs/differences.md describes what is beyond single calls."
)
LEVELS = ("full", "partial", "refused", "unknown")
OPTIONS = [
    Option("--level", "LEVEL", f"only those: {', '.join(LEVELS)}", choices=LEVELS),
    Option("--format -f", "FORMAT", "table or json", default="table", choices=("table", "json")),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    rows = support()
    known = {row["name"] for row in rows}
    for name in arguments:
        if name not in known:
            raise UsageError(f"there is no system call {name!r}", "syscalls")
    if arguments:
        rows = [row for row in rows if row["name"] in arguments]
    if values.level:
        rows = [row for row in rows if row["level"] == values.level]
    if values.format == "json":
        print(jsonlite.dumps(rows))
        return 0
    print_table([("NR", "NAME", "SUPPORT", "NOTE"), *((str(row["nr"]), row["name"], row["level"], row["note"]) for row in rows)])
    if not arguments and not values.level:
        counts = [f"{sum(row['level'] == level for row in rows)} {level}" for level in LEVELS]
        print(f"\n{len(rows)} calls: {', '.join(counts)}")
    return 0


def support() -> "list[dict]":
    """Every call that Linux has, or that we have, by number: {nr, name, level, note}."""
    from sentry.abi import syscall_names  # the kernel's table: who asks for help does not want to wait for it
    from sentry.core.syscall import FULL, PARTIAL, TABLE
    from sentry.syscalls import table  # noqa: F401

    levels = {FULL: "full", PARTIAL: "partial"}
    names = {nr: name for name, nr in syscall_names.NUMBERS.items()}
    found = []
    for nr in sorted(set(names) | {nr for nr, row in enumerate(TABLE) if row is not None}):
        row = TABLE[nr]
        if row is None:
            found.append({"nr": nr, "name": names[nr], "level": "unknown", "note": ""})
        else:
            found.append({"nr": nr, "name": row.name, "level": levels.get(row.level, "refused"), "note": row.note})
    return found
