"""How a shim's containers are configured: the CLI's global flags from a TOML file that containerd names (ConfigPath).

    platform = "systrap"
    overlay2 = "none"
    debug_log = "/var/log/stockade/%ID%.%COMMAND%.log"

The keys are the flags' names, dashes as underscores. A table `flags` may hold them instead.
"""

import os

import options_pb2

from sandbox import log, main
from sandbox.args import Values
from shim.ttrpc import INVALID_ARGUMENT, RpcError

STATE = "/run/containerd/stockade"
NOT_HERE = ("version", "log", "log_format")


def settings(namespace, options) -> Values:
    """options: the Any of a Create request. RpcError, OSError."""
    values = Values(main.OPTIONS)
    values.command = "shim"
    values.root = os.path.join(STATE, namespace)
    if options.type_url == "containerd.runc.v1.Options":
        values.systemd_cgroup = options_pb2.Runc.FromString(options.value).systemd_cgroup
    elif options.type_url == "runtimeoptions.v1.Options":
        runtime = options_pb2.Runtime.FromString(options.value)
        if runtime.config_body:
            apply(values, runtime.config_body, "the runtime's options")
        elif runtime.config_path:
            with open(runtime.config_path, "rb") as file:
                apply(values, file.read(), runtime.config_path)
    log.setup(None, "text", values.debug)
    return values


def apply(values, text, name) -> None:
    """Set what the TOML document `text` (bytes) says."""
    import tomllib  # costs 30 ms, for those who have a file

    try:
        table = tomllib.loads(text.decode())
    except ValueError as error:
        raise RpcError(f"{name}: {error}", INVALID_ARGUMENT) from None
    known = {option.key: option for option in main.OPTIONS if option.key not in NOT_HERE}
    for key, value in table.pop("flags", table).items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise RpcError(f"{name}: there is no flag {key!r}", INVALID_ARGUMENT)
        if not isinstance(value, str if option.metavar else bool):
            raise RpcError(f"{name}: {key} must be {'a string' if option.metavar else 'true or false'}", INVALID_ARGUMENT)
        if option.choices and value not in option.choices:
            raise RpcError(f"{name}: {key}: {value!r} is none of {', '.join(option.choices)}", INVALID_ARGUMENT)
        setattr(values, option.key, value)
    values.root = os.path.abspath(values.root)
