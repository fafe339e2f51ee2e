"""stockade debug"""

from sandbox import control, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.commands.list_ import print_table
from sandbox.errors import UsageError
from sentry.core import jsonlite

USAGE = "--stats [--json] | --profile on|off  [FLAGS] ID"
ABOUT = (
    "Looks into a running sandbox.\n\n--stats shows how often each system call was served by the kernel (those that the stub"
    " in the\nguest's own process answers are not among them) and what other subsystems count. With a profile\nswitched on it"
    " also shows where the kernel's time goes: for each call the time of its handler, and\nhistograms of the handlers, of"
    " handing back the result, and of waiting for events. The profile costs\neach call some 100 ns; switching it on again"
    " begins anew."
)
OPTIONS = [
    Option("--stats", None, "print statistics since the sandbox began"),
    Option("--json", None, "print them as JSON"),
    Option("--profile", "on|off", "first begin a profile of the kernel, or end it", choices=("on", "off")),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    if not values.stats and values.profile is None:
        raise UsageError("say what to do: --stats or --profile", "debug")
    if values.json and not values.stats:
        raise UsageError("--json goes with --stats", "debug")
    request = {"op": "stats"}
    if values.profile is not None:
        request["profile"] = values.profile == "on"
    container = state.Container.open(settings.root, common.one_id(values, arguments, "debug"))
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        client = control.Client(container)
        stats = client.call(request)["stats"]
        client.close()
    finally:
        container.close()
    if values.stats and values.json:
        print(jsonlite.dumps(stats))
    elif values.stats:
        show(stats)
    return 0


def show(stats) -> None:
    """Print all sections (dict); those that are known as tables."""
    for name in sorted(stats, key=lambda name: name in ("calls", "profile")):
        section = stats[name]
        if name == "profile" and section is None:
            continue
        print(f"{name}:")
        if name == "calls":
            show_calls(section)
        elif name == "profile":
            show_profile(section)
        else:
            show_tree(section, "  ")
        print()


def show_tree(value, indent) -> None:
    """Any JSON value, nested dicts indented."""
    if not isinstance(value, dict):
        print(f"{indent}{value}")
        return
    for key, item in value.items():
        if isinstance(item, dict):
            print(f"{indent}{key}:")
            show_tree(item, indent + "  ")
        elif key.endswith("_ns"):
            print(f"{indent}{key.removesuffix('_ns')}: {human(item)}")
        else:
            print(f"{indent}{key}: {item}")


def show_calls(calls) -> None:
    rows = [("  CALL", "SERVED", "FAST", "WAITED")]
    rows += [(f"  {name}", str(row["calls"]), str(row["fast"]), str(row["waits"])) for name, row in calls.items()]
    rows.append(("  all", *(str(sum(row[key] for row in calls.values())) for key in ("calls", "fast", "waits"))))
    print_table(rows)


def show_profile(profile) -> None:
    rows = [("  HANDLER", "CALLS", "MEAN", "TOTAL")]
    for name, row in profile["handlers"].items():
        rows.append((f"  {name}", str(row["calls"]), human(row["mean_ns"]), human(row["total_ns"])))
    print_table(rows)
    for name, stage in profile["stages"].items():
        print(f"\n  {name}: {stage['count']} times, mean {human(stage['mean_ns'])}, together {human(stage['total_ns'])}")
        most = max(stage["below_ns"].values())
        for bound, count in stage["below_ns"].items():
            print(f"    below {human(int(bound)):>9} {count:>9} {'#' * -(-40 * count // most)}")


def human(ns) -> str:
    """Nanoseconds with a unit that suits."""
    for limit, divisor, unit in ((1000, 1, "ns"), (10**6, 10**3, "us"), (10**9, 10**6, "ms")):
        if ns < limit:
            return f"{ns / divisor:.3g} {unit}" if divisor > 1 else f"{ns:.0f} {unit}"
    return f"{ns / 10**9:.4g} s"
