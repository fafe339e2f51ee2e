"""stockade install"""

import os
import sys

from sandbox import engines, main
from sandbox.args import Option, parse
from sandbox.errors import CliError, UsageError

USAGE = "[FLAGS] [ENGINE...]"
ABOUT = (
    "Makes stockade known as a runtime to container engines: those that are named, or all that are there.\n\n"
    + "\n".join(f"  {engine.NAME:<11} {engine.ABOUT}" for engine in engines.ENGINES)
    + "\n\nThe rest of the files stays as it is; what they were is kept in *.before-stockade. A second time changes\nnothing."
    " `stockade uninstall` undoes it."
)
RUNTIME = Option("--runtime", "NAME", "the runtime's name", default="stockade")
SYSROOT = Option("--sysroot", "DIR", "the directory that stands for /, as in a container with the host's files at DIR", default="")
DRY_RUN = Option("--dry-run", None, "show the changes and make none")
OPTIONS = [
    RUNTIME,
    Option("--path", "FILE", "where the engines find the stockade command [this one]"),
    Option("--runtime-flag", "FLAG", "a global flag for the runtime, as platform=ptrace (docker, containerd)", many=True),
    SYSROOT,
    DRY_RUN,
]
INTERSPERSED = True
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "bin", "stockade")


def run(settings, values, arguments) -> int:
    flags = ["--" + flag.lstrip("-") for flag in values.runtime_flag]
    parsed, rest = parse(main.OPTIONS, flags, "install")
    if rest or parsed.help or any("=" not in flag and needs_value(flag) for flag in flags):
        raise UsageError("--runtime-flag takes one flag, as NAME or NAME=VALUE", "install")
    request = engines.Request(name_of(values), os.path.abspath(values.path or PROGRAM), flags, values.sysroot)
    chosen = choose(request, arguments, "install")
    if not chosen:
        raise CliError("no container engine was found; name one of " + ", ".join(engine.NAME for engine in engines.ENGINES))
    plans = [(engine, engine.add(request)) for engine in chosen]  # all of them, before anything is changed
    for engine, changes in plans:
        carry_out(request, engine, changes, values.dry_run, True)
    return 0


def needs_value(flag) -> bool:
    return any(flag in option.names and option.metavar for option in main.OPTIONS)


def name_of(values) -> str:
    if not values.runtime or not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in values.runtime):
        raise UsageError(f"--runtime {values.runtime!r} is no name (letters, digits, - and _)", "install")
    return values.runtime


def choose(request, names, command) -> list:
    """The engines of these names; without names, all that are found."""
    known = {engine.NAME: engine for engine in engines.ENGINES}
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is none of {', '.join(known)}", command)
    if request.root and not os.path.isdir(request.root):
        raise CliError(f"--sysroot {request.root}: no such directory")
    return [known[name] for name in dict.fromkeys(names)] if names else [engine for engine in engines.ENGINES if engine.found(request)]


def carry_out(request, engine, changes, dry_run, adding) -> None:
    if not changes:
        print(f"{engine.NAME}: {'nothing to change' if adding else 'not installed'}")
        return
    if dry_run:
        for path, (old, new) in changes.items():
            sys.stdout.write(difference(path, old, new))
        return
    engines.apply(request, engine, changes, adding)
    for path, (_, new) in changes.items():
        print(f"{engine.NAME}: {'removed' if new is None else 'wrote'} {path}")
    if engine.RESTART and not request.root:
        print(f"{engine.NAME}: to make it take effect: {engine.RESTART}")


def difference(path, old, new) -> str:
    import difflib  # and with it re

    def lines(text):
        return (text or "").splitlines(keepends=True)

    return "".join(difflib.unified_diff(lines(old), lines(new), path if old is not None else "/dev/null", path if new is not None else "/dev/null"))
