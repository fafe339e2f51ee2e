"""The host name of a container (OCI config.md "Hostname"; uts_namespaces(7))."""

import os

from sandbox import _host
from sandbox.errors import CliError, os_text


def of(spec) -> "str | None":
    """That of the configuration; else of the UTS namespace that it joins, or ours if it has none of its own. CliError."""
    if spec.get("hostname"):
        return spec["hostname"]
    namespace = next((ns for ns in (spec.get("linux") or {}).get("namespaces") or () if ns["type"] == "uts"), None)
    if namespace is None:
        return os.uname().nodename
    return read(namespace["path"]) if namespace.get("path") else None


def read(path) -> str:
    """The name in the namespace at `path`. CliError."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _host.setns(there, _host.CLONE_NEWUTS)
            os.write(writer, b"." + os.fsencode(os.uname().nodename))
        except OSError as error:
            os.write(writer, b"!" + os_text(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as file:
        text = file.read()
    os.waitpid(child, 0)
    if not text.startswith("."):
        raise CliError(f"UTS namespace {path}: {text[1:] or 'it cannot be read'}")
    return text[1:]
