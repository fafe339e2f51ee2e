"""Entry of the `stockade` command: global flags, choice of the command, errors, exit code.

A command is a module in sandbox/commands with USAGE (one line after the command's name), ABOUT (text),
OPTIONS (list of args.Option), INTERSPERSED (bool) and `run(settings, values, arguments) -> exit code`.
Only the module of the command at hand is imported.
"""

import os
import sys

from sandbox import OCI_VERSION, VERSION, bundle, flags, log
from sandbox.args import Option, describe, parse
from sandbox.errors import CliError, UsageError, os_text

COMMANDS = (
    ("run", "run", "create a container, start it and wait for its end"),
    ("do", "do", "run a command with this machine's files below a private overlay"),
    ("create", "create", "create a container from an OCI bundle"),
    ("start", "start", "start the program of a created container"),
    ("state", "state", "print a container's OCI state"),
    ("exec", "exec_", "run a further program in a container"),
    ("kill", "kill", "send a signal to a container"),
    ("pause", "pause", "stop all programs of a container for a while"),
    ("resume", "resume", "let the programs of a paused container go on"),
    ("wait", "wait", "wait for the end of a container and print its exit code"),
    ("update", "update", "change the limits of a container"),
    ("events", "events", "print what a container uses"),
    ("delete", "delete", "remove a container and all that belongs to it"),
    ("list", "list_", "list the containers"),
    ("ps", "ps", "list the processes of a container"),
    ("port-forward", "port_forward", "connect ports of this machine with those of a container"),
    ("debug", "debug", "look into a running sandbox"),
    ("install", "install", "make stockade known to Docker, containerd, CRI-O, podman"),
    ("uninstall", "uninstall", "take that back"),
    ("spec", "spec", "write a config.json to start from"),
    ("syscalls", "syscalls", "print which system calls the programs can make"),
    ("features", "features", "print what this runtime supports, as OCI JSON"),
)

UNSUPPORTED = ("checkpoint", "restore")
LAUNCHING = ("run", "do", "create")  # they need nearly the same modules

PLATFORMS = ("systrap", "ptrace")
TOPICS = ("platforms", "flags")

OPTIONS = [
    Option("--root", "DIR", "where the state of containers is kept [/run/stockade; without root $XDG_RUNTIME_DIR/stockade]"),
    Option("--config", "FILE", f"a TOML file with flags [{flags.PATH} if it exists]"),
    Option("--log", "FILE", "append errors and warnings to FILE"),
    Option("--log-format", "FORMAT", "text or json", default="text", choices=("text", "json")),
    Option("--debug", None, "log details of what is done"),
    Option("--debug-log", "FILE", "write the debug log to FILE; %ID% %COMMAND% %TIMESTAMP% are replaced, DIR/ is a directory"),
    Option("--strace", None, "write the programs' system calls to the debug log"),
    Option("--no-patching", None, "do not rewrite the programs' system call instructions (systrap)"),
    Option("--platform", "NAME", "what carries the programs: systrap or ptrace", default="systrap", choices=PLATFORMS),
    Option("--network", "MODE", "none: loopback only; host: sockets of the container's network namespace; sandbox: a network of its own", default="sandbox", choices=("none", "host", "sandbox")),
    Option("--host-uds", "MODE", "sockets of the host in volumes: none; open: may be connected to; create: may be made; all: both", default="none", choices=("none", "open", "create", "all")),
    Option("--allow-flag-override", None, "let annotations of containers (dev.stockade.flag.NAME) weaken what flags say"),
    Option("--overlay2", "SPEC", "root:memory (changes stay in memory), none (changes reach the bundle's root), or auto (none for containers of Docker, podman and buildah, which keep the root, else root:memory)", default="auto"),
    Option("--file-access", "MODE", "accepted and without effect: what the host may change is always looked at anew", default="shared", choices=("shared", "exclusive")),
    Option("--criu", "PATH", "accepted and without effect"),
    Option("--systemd-cgroup", None, "cgroupsPath is SLICE:PREFIX:NAME: a transient unit of systemd; where that does not run, its cgroup alone"),
    Option("--ignore-cgroups", None, "do not touch cgroups"),
    Option("--rootless", "MODE", "true, false or auto: run without privileges on the host", default="auto", choices=("true", "false", "auto")),
    Option("--version -v", None, "print the version"),
]  # fmt: skip


def default_root() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 and not (runtime and in_user_namespace()):
        return "/run/stockade"
    return os.path.join(runtime, "stockade") if runtime else f"/tmp/stockade-{os.geteuid()}"


def in_user_namespace() -> bool:
    """Is our root not the host's, as where podman runs without privileges?"""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.readline().split() != ["0", "0", "4294967295"]


def help_text() -> str:
    rows = "\n".join(f"  {name:<12} {about}" for name, _, about in COMMANDS)
    return (
        "usage: stockade [FLAGS] COMMAND [ARGUMENTS]\n\nRuns OCI containers whose every system call is answered by a"
        f" kernel of their own.\n\ncommands:\n{rows}\n\nflags:\n{describe(OPTIONS)}\n\n"
        "`stockade COMMAND --help` describes a command, `stockade help platforms` and `stockade help flags` those."
    )


def command_help(name, module) -> str:
    text = f"usage: stockade [FLAGS] {name} {module.USAGE}\n\n{module.ABOUT}"
    if module.OPTIONS:
        text += f"\n\nflags:\n{describe(module.OPTIONS)}"
    return text


def load(name):
    """The module of a command; UsageError."""
    for command, module, _ in COMMANDS:
        if command == name:
            if name in LAUNCHING:
                bundle.preload("launch")
            return getattr(__import__(f"sandbox.commands.{module}").commands, module)
    if name in UNSUPPORTED:  # engines ask `checkpoint --help` whether they may offer it
        raise CliError(f"{name}: checkpoints are not supported")
    raise UsageError(f"unknown command {name!r}")


def dispatch(argv) -> int:
    settings, rest = parse(OPTIONS, rootless_switch(argv), interspersed=False)
    if settings.version:
        print(f"stockade version {VERSION}\nspec: {OCI_VERSION}")
        return 0
    if settings.help or not rest or rest[0] == "help" and len(rest) == 1:
        print(help_text())
        return 0 if settings.help or rest else 1
    name, arguments = rest[0], rest[1:]
    if name == "help" and arguments[0] in TOPICS:
        from sandbox import topics

        print(topics.text(arguments[0], OPTIONS))
        return 0
    if name == "help":
        name, arguments = arguments[0], ["--help"]
    settings.command = name
    flags.read_file(settings, OPTIONS, settings.config)
    if settings.root is None:
        settings.root = default_root()
    settings.root = os.path.abspath(settings.root)
    module = load(name)
    try:
        log.setup(settings.log, settings.log_format, settings.debug)
    except OSError as error:
        raise CliError(f"--log: {os_text(error)}") from None
    values, positional = parse(module.OPTIONS, arguments, name, module.INTERSPERSED)
    if values.help:
        print(command_help(name, module))
        return 0
    return module.run(settings, values, positional)


def rootless_switch(argv):
    """`--rootless` alone means `--rootless=true` (as with other runtimes), `--rootless MODE` stays."""
    out = list(argv)
    for i, arg in enumerate(out):
        if not arg.startswith("-"):
            break
        if arg == "--rootless" and (i + 1 == len(out) or out[i + 1] not in ("true", "false", "auto")):
            out[i] = "--rootless=true"
    return out


def main(argv) -> None:
    """Never returns; always ends by os._exit so that nothing runs at interpreter exit."""
    code = 1
    try:
        code = dispatch(argv)
        if sys.stdout is not None:  # it was closed when we were started
            sys.stdout.flush()
    except UsageError as error:
        log.error(f"{error} (see `stockade {error.command + ' ' if error.command else ''}--help`)")
        code = error.code
    except CliError as error:
        log.error(str(error))
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 141
    except OSError as error:
        log.error(os_text(error))
        code = 1  # output that could not be written, after all else went well
    os._exit(code)
