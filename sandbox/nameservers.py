"""Name servers of a container as its configuration tells of them: the resolv.conf that is mounted into it."""

import os

DOCKERS = "127.0.0.11"  # of user-defined networks; it listens in the container's network namespace
EXTERNAL = "# ExtServers: ["  # newer versions of Docker tell whom it asks
HOST_FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
SERVERS_MOST = 3  # resolv.conf(5)


def resolv_conf(mounts) -> "str | None":
    """Host path of the resolv.conf that is mounted into the container, if one is."""
    for mount in mounts:
        if mount["type"] == "bind" and os.path.normpath(mount["destination"]) == "/etc/resolv.conf":
            return mount.get("source")
    return None


def behind_dockers(path) -> "list[str] | None":
    """The servers that 127.0.0.11 asks (IPv4 addresses), if the file names that as the container's name server; else None."""
    text = read(path) if path else ""
    if DOCKERS not in servers(text):
        return None
    found = external(text)
    for path in HOST_FILES:
        found = found or [server for server in servers(read(path)) if not server.startswith("127.")]
    return [server for server in found if ":" not in server][:SERVERS_MOST]


def read(path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def servers(text) -> "list[str]":
    rows = (line.split() for line in text.splitlines())
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def external(text) -> "list[str]":
    for line in text.splitlines():
        if line.startswith(EXTERNAL):
            names = line[len(EXTERNAL) :].partition("]")[0].split()
            return [name for name in names if name.replace(".", "").isdigit()]
    return []
