"""Mount trees that are made in a mount namespace of their own and handed over as descriptors: nothing of them is seen on the
host, and they go with the last descriptor."""

import os

import _socket

from sandbox import _host, confine
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

ANSWER_MAX = 16384


def made_elsewhere(what, function) -> int:
    """Run `function` in a process with a private copy of our mount namespace; it returns a descriptor of a tree
    (_host.open_tree), which becomes ours. `what`: for messages. CliError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    child = os.fork()
    if child == 0:
        answer, fds = {"error": f"{what}: internal error"}, []
        try:
            _host.unshare(_host.CLONE_NEWNS)
            confine.private_mounts()
            fds = [function()]
            answer = {}
        except CliError as error:
            answer = {"error": str(error)}
        except OSError as error:
            answer = {"error": f"{what}: {os_text(error)}"}
        finally:
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds[0].to_bytes(4, "little"))] if fds else []
            theirs.sendmsg([jsonlite.dumps(answer).encode()], rights)
            os._exit(0)
    theirs.close()
    data, control_data, _, _ = ours.recvmsg(ANSWER_MAX, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    ours.close()
    os.waitpid(child, 0)
    answer = jsonlite.loads(data) if data else {"error": f"{what}: its process has gone"}
    if "error" in answer:
        raise CliError(answer["error"])
    return int.from_bytes(control_data[0][2], "little")


def overlay(destination, data) -> int:
    """The tree of an overlay mount with these options (podman's volumes of the kind :O). CliError."""

    def there() -> int:
        _host.mount("overlay", confine.HOLLOW, "overlay", 0, data)
        return _host.open_tree(confine.HOLLOW, recursive=False)

    return made_elsewhere(f"mount {destination}: overlay", there)
