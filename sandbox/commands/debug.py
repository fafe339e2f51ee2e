"""stockade debug"""

import os

import select

from sandbox import _host, control, state
from sandbox.args import Option
from sandbox.commands import common
from sandbox.commands.list_ import print_table
from sandbox.errors import CliError, UsageError, os_text
from sentry.core import jsonlite

USAGE = "[FLAGS] ID"
ABOUT = (
    "Looks into a running sandbox.\n\n--stacks shows what each thread of the programs does: the system call that it waits in, and"
    " where it\ncame from (file and offset, for addr2line). Of a sandbox that does not answer it shows what the host\nknows about its"
    " kernel, which is told to write its own stack to its log.\n\n--log-level, --log-file and --strace change the sandbox's log while it"
    " runs.\n\n--stats shows how often each system call was served by the kernel (those that the stub"
    " in the\nguest's own process answers are not among them) and what other subsystems count. With a profile\nswitched on it"
    " also shows where the kernel's time goes: for each call the time of its handler, and\nhistograms of the handlers, of"
    " handing back the result, and of waiting for events. The profile costs\neach call some 100 ns; switching it on again"
    " begins anew."
)
OPTIONS = [
    Option("--stacks", None, "print what all threads do"),
    Option("--log-level", "LEVEL", "debug, info, warning or error", choices=("debug", "info", "warning", "error")),
    Option("--log-file", "FILE", "from now on append the log to FILE"),
    Option("--strace", "on|off", "log the programs' system calls", choices=("on", "off")),
    Option("--stats", None, "print statistics since the sandbox began"),
    Option("--json", None, "print them as JSON"),
    Option("--profile", "on|off", "first begin a profile of the kernel, or end it", choices=("on", "off")),
]
INTERSPERSED = True
ANSWER_TIME = 5  # s
STACK_SIGNAL = 10  # SIGUSR1: sandbox/sentry_process.py


def run(settings, values, arguments) -> int:
    logging = values.log_level or values.log_file or values.strace
    if not (values.stats or values.profile or values.stacks or logging):
        raise UsageError("say what to do: --stacks, --stats, --profile, --log-level, --log-file or --strace", "debug")
    if values.json and not (values.stats or values.stacks):
        raise UsageError("--json goes with --stats or --stacks", "debug")
    stats = stacks = None
    container = state.Container.open(settings.root, common.one_id(values, arguments, "debug"))
    try:
        container.require(state.CREATED, state.RUNNING, state.PAUSED)
        client = control.Client(container)
        if logging:
            change_log(client, values)
        if values.stats or values.profile:
            stats = client.call({"op": "stats", **({"profile": values.profile == "on"} if values.profile else {})})["stats"]
        if values.stacks:
            stacks = ask_stacks(client, container)
        client.close()
    finally:
        container.close()
    if values.json:
        print(jsonlite.dumps({**(stats or {}), **({"stacks": stacks} if stacks is not None else {})}))
        return 0
    if values.stats:
        show(stats)
    if stacks is not None:
        show_stacks(stacks)
    return 0


def change_log(client, values) -> None:
    request, fds = {"op": "log"}, []
    if values.log_level:
        request["level"] = values.log_level
    if values.strace:
        request["strace"] = values.strace == "on"
    try:
        if values.log_file:
            fds.append(os.open(values.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        client.call(request, fds)
    finally:
        for fd in fds:
            os.close(fd)


def ask_stacks(client, container) -> dict:
    """The Sentry's answer; CliError, with what the host tells, if it gives none."""
    client.send({"op": "stacks"})
    poll = select.poll()
    poll.register(client.fileno(), select.POLLIN)
    if not poll.poll(ANSWER_TIME * 1000):
        raise CliError(f"the sandbox's kernel does not answer; {host_view(container.process('sentry'))}")
    answer = client.receive()
    if answer is None:
        raise CliError("the sandbox ended during the request")
    return answer["stacks"]


def host_view(sentry) -> str:
    """What the host tells of a Sentry that hangs; asks it for a stack of its own, which a signal handler in C writes."""
    lines = [f"its process is {sentry.pid}"]
    for name in ("wchan", "syscall", "stack"):
        try:
            with open(f"/proc/{sentry.pid}/{name}", encoding="utf-8") as file:
                text = file.read().strip()
        except OSError as error:
            text = os_text(error)
        lines.append(f"{name}: {text}")
    pidfd = sentry.pidfd()
    if pidfd >= 0:
        _host.pidfd_send_signal(pidfd, STACK_SIGNAL)
        os.close(pidfd)
        lines.append("its own stack goes to its log, if it has one")
    return "\n  ".join(lines)


def show_stacks(stacks) -> None:
    for row in stacks["threads"]:
        what = row["state"]
        if "call" in row:
            what = f"waits in {row['call']}({', '.join(row['args'])}), {row['waits']}"
        print(f"{row['pid']}/{row['tid']} {row['comm']}: {what}")
        for frame in row.get("frames", ()):
            print(f"    {frame}")
    if stacks["more"]:
        print(f"and {stacks['more']} more threads")


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
