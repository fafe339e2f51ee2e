"""The host name of a container (OCI config.md "Hostname"; uts_namespaces(7))."""

import os

from sandbox import _host, child
from sandbox.errors import CliError


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

    def there():
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _host.setns(namespace, _host.CLONE_NEWUTS)
        return os.uname().nodename

    try:
        return child.ask(there)
    except CliError as error:
        raise CliError(f"UTS namespace {path}: {error}") from None
