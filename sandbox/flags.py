"""Global flags from other places than the command line: a TOML file of the machine (or of containerd's ConfigPath), and
annotations of one container.

    platform = "systrap"
    overlay2 = "none"
    debug_log = "/var/log/stockade/%ID%.%COMMAND%.log"

A file's keys are the flags' names, dashes as underscores; a table `flags` may hold them instead. What the command line says
goes before the file.

An annotation `dev.stockade.flag.NAME` sets a flag for one container. Whoever writes annotations may be trusted less than who
runs the machine, so without --allow-flag-override they only tighten: see ANNOTATIONS.
"""

import os

from sandbox.errors import CliError, os_text

PATH = "/etc/stockade/config.toml"
NOT_IN_FILES = ("version", "config")
PREFIX = "dev.stockade.flag."
NETWORK = "dev.stockade.network"  # short for dev.stockade.flag.network
# flag -> the values that anybody may ask for; what else the flag takes needs --allow-flag-override. Flags that are not here
# concern more than the container.
ANNOTATIONS = {
    "network": ("none",),
    "overlay2": ("root:memory",),
    "platform": ("systrap", "ptrace"),
    "no_patching": ("true",),
    "strace": ("false",),
    "host_uds": ("none",),
    "debug": ("false",),
    "file_access": ("shared",),
}


def read_file(values, options, wanted) -> None:
    """Set what the file of --config, or that of the machine if there is one, says and the command line does not. CliError."""
    path = PATH if wanted is None else wanted
    if not path or wanted is None and not os.path.exists(path):
        return
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise CliError(f"--config: {os_text(error)}") from None
    apply(values, options, text, path)


def apply(values, options, text, name, left_out=NOT_IN_FILES) -> None:
    """Set what the TOML document `text` (bytes) says, but for flags that were given. CliError."""
    import tomllib  # costs 30 ms, for those who have a file

    try:
        table = tomllib.loads(text.decode())
    except ValueError as error:
        raise CliError(f"{name}: {error}") from None
    known = {option.key: option for option in options if option.key not in left_out}
    table = table.get("flags", table)
    for key, value in table.items() if isinstance(table, dict) else (("flags", table),):
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise CliError(f"{name}: there is no flag {key!r}")
        if not isinstance(value, str if option.metavar else bool):
            raise CliError(f"{name}: {key} must be {'a string' if option.metavar else 'true or false'}")
        if option.choices and value not in option.choices:
            raise CliError(f"{name}: {key}: {value!r} is none of {', '.join(option.choices)}")
        if option.key not in values.given:
            setattr(values, option.key, value)


def for_container(settings, spec):
    """The flags for one container: `settings`, or a copy with what its annotations say. CliError."""
    changed = settings
    for name, value in (spec.get("annotations") or {}).items():
        if name.startswith(PREFIX):
            key = name[len(PREFIX) :].replace("-", "_")
        elif name == NETWORK:
            key = "network"
        else:
            continue
        if key not in ANNOTATIONS:
            raise CliError(f"annotation {name}: no flag that a container can have for itself ({', '.join(sorted(ANNOTATIONS))})")
        old = getattr(settings, key)
        new = {"true": True, "false": False}.get(value, value) if isinstance(old, bool) else value
        if new == old:
            continue
        check(key, value, name)
        if value not in ANNOTATIONS[key] and not settings.allow_flag_override:
            raise CliError(f"annotation {name}={value}: this needs --allow-flag-override")
        if changed is settings:
            changed = settings.copy()
        setattr(changed, key, new)
    return changed


def check(key, value, name) -> None:
    """CliError unless the flag takes the value."""
    from sandbox import main  # who has come here has loaded it

    option = next(option for option in main.OPTIONS if option.key == key)
    choices = option.choices if option.metavar else ("true", "false")
    if choices and value not in choices:
        raise CliError(f"annotation {name}: {value!r} is none of {', '.join(choices)}")
