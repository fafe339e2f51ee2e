"""How a shim's containers are configured: the CLI's global flags, from the machine's file and from one that containerd names
(ConfigPath); see sandbox/flags.py."""

import os

import options_pb2

from sandbox import flags, log, main
from sandbox.args import Values
from sandbox.errors import CliError
from shim.ttrpc import INVALID_ARGUMENT, RpcError

STATE = "/run/containerd/stockade"
NOT_HERE = ("version", "log", "log_format", "config")


def settings(namespace, options) -> Values:
    """options: the Any of a Create request. RpcError, OSError."""
    values = Values(main.OPTIONS)
    values.command = "shim"
    values.root = os.path.join(STATE, namespace)
    if os.path.exists(flags.PATH):
        with open(flags.PATH, "rb") as file:
            apply(values, file.read(), flags.PATH)
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
    """Set what the TOML document `text` (bytes) says. RpcError."""
    try:
        flags.apply(values, main.OPTIONS, text, name, NOT_HERE)
    except CliError as error:
        raise RpcError(str(error), INVALID_ARGUMENT) from None
    values.root = os.path.abspath(values.root)
