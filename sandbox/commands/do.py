"""stockade do"""

import os

from sandbox import launch, oci
from sandbox.args import Option
from sandbox.commands import common
from sandbox.errors import UsageError

USAGE = "[FLAGS] [--] COMMAND [ARGUMENTS]"
ABOUT = (
    "Runs a command in a sandbox whose root shows this machine's files (or those below --root), read-only underneath\n"
    "a private overlay: what the command changes is gone with it. Ends with the command's exit code."
)
OPTIONS = [
    Option("--root", "DIR", "show DIR as the root", default="/"),
    Option("--cwd", "DIR", "working directory [the present one, where --root has it]"),
    Option("--env -e", "NAME[=VALUE]", "set an environment variable, or pass one on", many=True),
    Option("--volume -v", "SRC[:DST[:ro]]", "show the host's SRC as DST; changes reach the host unless :ro", many=True),
    Option("--user -u", "UID[:GID]", "user and group", default="0:0"),
    Option("--hostname", "NAME", "host name inside", default="stockade"),
    Option("--tty -t", None, "give it a terminal even if ours is none"),
    Option("--no-tty -T", None, "give it our standard input and output as they are"),
    common.PID_FILE,
    common.PRESERVE_FDS,
    common.PASS_FD,
]
INTERSPERSED = False
PREFIX = "do-"
PASSED_ON = ("PATH", "TERM", "LANG", "LC_ALL", "HOME", "USER", "LOGNAME", "TZ", "COLUMNS", "LINES")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(settings, values, arguments) -> int:
    if not arguments:
        raise UsageError("a command is needed", "do")
    spec = build(values, arguments)
    oci.check(spec)
    oci.check_root(spec, "/")
    values.console_socket = None
    launch.sweep(settings.root, PREFIX)
    cid = f"{PREFIX}{os.getpid()}-{int.from_bytes(os.urandom(3), 'big'):06x}"
    settings.overlay2 = "root:memory"
    return common.run_attached(settings, common.create(settings, values, cid, "/", spec, True, leash=True))


def build(values, arguments) -> dict:
    """The configuration to run."""
    root = os.path.realpath(values.root)
    uid, _, gid = values.user.partition(":")
    terminal = values.tty or not values.no_tty and os.isatty(0) and os.isatty(1)
    caps = ["CAP_" + name for name in oci.CAPABILITIES]
    process = {
        "terminal": terminal,
        "user": {"uid": common.number(uid, "--user"), "gid": common.number(gid or "0", "--user")},
        "args": arguments,
        "env": environment(values.env, root == "/"),
        "cwd": working_directory(values.cwd, root),
        "capabilities": {kind: caps for kind in ("bounding", "effective", "permitted")},
    }
    if process["user"]["uid"]:
        process["capabilities"] = {"bounding": caps}
    return {
        "ociVersion": "1.1.0",
        "process": process,
        "root": {"path": root, "readonly": False},
        "hostname": values.hostname,
        "mounts": oci.default_mounts() + [volume(text) for text in values.volume],
        "linux": {"maskedPaths": [], "readonlyPaths": []},
    }


def environment(changes, inherit) -> list:
    """Variables of ours that make sense inside, then those asked for."""
    env = {name: os.environ[name] for name in PASSED_ON if inherit and name in os.environ}
    env.setdefault("PATH", DEFAULT_PATH)
    if "TERM" in os.environ:
        env["TERM"] = os.environ["TERM"]
    for change in changes:
        name, equals, value = change.partition("=")
        if not name:
            raise UsageError(f"--env {change!r} is not NAME=VALUE", "do")
        if equals:
            env[name] = value
        elif name in os.environ:
            env[name] = os.environ[name]
    return [f"{name}={value}" for name, value in env.items()]


def working_directory(wanted, root) -> str:
    if wanted is not None:
        if not wanted.startswith("/"):
            raise UsageError(f"--cwd {wanted!r} is not an absolute path", "do")
        return wanted
    here = os.getcwd()
    return here if os.path.isdir(os.path.join(root, here[1:])) else "/"


def volume(text) -> dict:
    source, _, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if mode not in ("", "ro", "rw"):
        raise UsageError(f"--volume {text!r}: {mode!r} is neither ro nor rw", "do")
    source = os.path.abspath(source)
    destination = destination or source
    if not destination.startswith("/"):
        raise UsageError(f"--volume {text!r}: {destination!r} is not an absolute path", "do")
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", mode or "rw"]}
