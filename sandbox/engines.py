"""The configuration files of container engines: an entry for stockade put in and taken out again.

Each engine is a class with NAME, ABOUT, `found`, `add` and `remove`; those return the files to change as
{path: (old text or None, new text or None)}, None meaning that there is no file. `foreign` says whether a text is somebody
else's alone. Nothing is written here but by `apply`.
"""

import os

from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

BEGIN, END = "# stockade begin: `stockade uninstall` removes these lines", "# stockade end"
BACKUP = ".before-stockade"


class Request:
    """What to install: `name` of the runtime, `program` and `shim` (paths as the engine sees them), `flags` of the runtime
    (list of str), `root`: the directory that stands for /."""

    def __init__(self, name, program, flags, root=""):
        self.name = name
        self.program = program
        self.shim = os.path.join(os.path.dirname(program), "containerd-shim-stockade-v1")
        self.flags = flags
        self.root = root.rstrip("/")

    def path(self, name) -> str:
        return self.root + name

    def read(self, path) -> "str | None":
        """The text of a file, None if there is none."""
        try:
            with open(resolve(self.root, path), encoding="utf-8") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            raise CliError(f"{path}: not UTF-8") from None


def quoted(text) -> str:
    """A TOML basic string, which JSON's are but for DEL."""
    return jsonlite.dumps(text).replace("\x7f", "\\u007f")


def toml(path, text) -> dict:
    import tomllib  # and with it re

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CliError(f"{path}: {error}") from None


def without_block(text) -> str:
    """`text` without our lines and the empty line before them."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.rstrip() == BEGIN:
            inside = True
            if kept and not kept[-1].strip():
                kept.pop()
        elif inside and line.rstrip() == END:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise CliError(f"the line {END!r} is missing")
    return "".join(kept)


def with_block(text, lines) -> str:
    text = without_block(text)
    if text and not text.endswith("\n"):
        text += "\n"
    return text + ("\n" if text else "") + "\n".join([BEGIN, *lines, END]) + "\n"


class Docker:
    NAME, ABOUT = "docker", "an entry of `runtimes` in /etc/docker/daemon.json"
    RESTART = "systemctl reload docker"
    FILE = "/etc/docker/daemon.json"
    PROGRAMS = ("dockerd",)

    @classmethod
    def found(cls, request) -> bool:
        return os.path.isdir(request.path("/etc/docker")) or installed(request, cls.PROGRAMS)

    @classmethod
    def load(cls, request) -> "tuple[str, str | None, dict]":
        path = request.path(cls.FILE)
        text = request.read(path)
        try:
            value = jsonlite.loads(text) if text and text.strip() else {}
        except jsonlite.JsonError as error:
            raise CliError(f"{path}: {error}") from None
        if not isinstance(value, dict) or not isinstance(value.get("runtimes", {}), dict):
            raise CliError(f"{path}: not an object with an object `runtimes`")
        return path, text, value

    @classmethod
    def foreign(cls, request, path, text) -> bool:
        return not text.strip() or request.name not in jsonlite.loads(text).get("runtimes", {})

    @classmethod
    def add(cls, request) -> dict:
        path, text, value = cls.load(request)
        entry = {"path": request.program}
        if request.flags:
            entry["runtimeArgs"] = request.flags
        if value.get("runtimes", {}).get(request.name) == entry:
            return {}
        value["runtimes"] = {**value.get("runtimes", {}), request.name: entry}
        return {path: (text, jsonlite.pretty(value) + "\n")}

    @classmethod
    def remove(cls, request) -> dict:
        path, text, value = cls.load(request)
        if request.name not in value.get("runtimes", {}):
            return {}
        if value.get("default-runtime") == request.name:
            raise CliError(f"{path}: {request.name} is the default-runtime; change that first")
        del value["runtimes"][request.name]
        if not value["runtimes"]:
            del value["runtimes"]
        before = request.read(path + BACKUP)
        if before is not None and (jsonlite.loads(before) if before.strip() else {}) == value:
            return {path: (text, before)}  # as it was written
        return {path: (text, jsonlite.pretty(value) + "\n" if value else None)}


class Containerd:
    """containerd 1.x takes a plugin's whole section from the last file that has it, so there our lines go into that file. From
    configuration version 3 on sections are merged, and a file of our own is enough where one is imported."""

    NAME, ABOUT = "containerd", "a runtime of the CRI plugin, in config.toml or a file that it imports (versions 2 and 3)"
    RESTART = "systemctl restart containerd"
    FILE = "/etc/containerd/config.toml"
    DROP_IN = "/etc/containerd/conf.d/50-stockade.toml"
    OPTIONS = "/etc/containerd/stockade.toml"
    EMPTY = "version = 2\n"  # what stands for no configuration
    PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
    PROGRAMS = ("containerd",)

    @classmethod
    def found(cls, request) -> bool:
        return os.path.isdir(request.path("/etc/containerd")) or installed(request, cls.PROGRAMS)

    @classmethod
    def foreign(cls, request, path, text) -> bool:
        return BEGIN not in text and path not in (request.path(cls.DROP_IN), request.path(cls.OPTIONS))

    @classmethod
    def add(cls, request) -> dict:
        main = request.path(cls.FILE)
        text = request.read(main)
        changes = cls.options(request)
        config = {}
        if text is None or not text.strip():
            version, target, text = 2, main, cls.EMPTY
        else:
            config = toml(main, without_block(text))
            version = config.get("version", 1)
            if version not in cls.PLUGINS:
                raise CliError(f"{main}: version {version} of the configuration is not supported (2 or 3; see `containerd config migrate`)")
            target = cls.place(request, main, config, version)
        if target == request.path(cls.DROP_IN):
            base = "version = 3\n"
            known = cls.runtimes(version, config)
        else:
            base = text if target == main else request.read(target) or ""
            known = cls.runtimes(version, toml(target, without_block(base)))
        if request.name in known:
            raise CliError(f"{target}: there is a runtime {request.name!r} already; remove it or choose another --runtime")
        new = with_block(base, cls.lines(request, version, known))
        toml(target, new)
        old = request.read(target)
        if new != old:
            changes[target] = old, new
        return changes

    @classmethod
    def runtimes(cls, version, config) -> dict:
        return config.get("plugins", {}).get(cls.PLUGINS[version], {}).get("containerd", {}).get("runtimes", {})

    @classmethod
    def options(cls, request) -> dict:
        """The file of the runtime's flags, as the shim reads it."""
        path = request.path(cls.OPTIONS)
        rows = []
        for flag in request.flags:
            name, equals, value = flag.lstrip("-").partition("=")
            rows.append(f"{name.replace('-', '_')} = {quoted(value) if equals else 'true'}")
        new = "\n".join(rows) + "\n" if rows else None
        old = request.read(path)
        return {path: (old, new)} if new != old else {}

    @classmethod
    def place(cls, request, main, config, version) -> str:
        """The file that our lines belong in."""
        imported = [path for pattern in config.get("imports", ()) for path in expand(request, os.path.dirname(main), pattern)]
        if version == 3:
            patterns = [os.path.join(os.path.dirname(main), pattern) for pattern in config.get("imports", ())]
            if request.path(cls.DROP_IN) in imported or any(fits(request, pattern, cls.DROP_IN) for pattern in patterns):
                return request.path(cls.DROP_IN)
            return main
        place = main
        for path in imported:
            if path != main and cls.PLUGINS[2] in toml(path, without_block(request.read(path) or "")).get("plugins", {}):
                place = path
        return place

    @classmethod
    def lines(cls, request, version, known) -> "list[str]":
        """known: other runtimes of the file. Where there are none containerd has runc, but only until one is named."""
        runtimes = f'plugins."{cls.PLUGINS[version]}".containerd.runtimes'
        table = f"{runtimes}.{request.name}"
        lines = [] if known else [f"[{runtimes}.runc]", 'runtime_type = "io.containerd.runc.v2"']
        lines += [f"[{table}]", 'runtime_type = "io.containerd.stockade.v1"', f"runtime_path = {quoted(request.shim)}"]
        lines.append('pod_annotations = ["dev.stockade.*"]')
        if request.flags:
            lines += [f"[{table}.options]", f"ConfigPath = {quoted(cls.OPTIONS)}"]
        return lines

    @classmethod
    def remove(cls, request) -> dict:
        changes = {}
        main = request.path(cls.FILE)
        text = request.read(main)
        files = [main, request.path(cls.DROP_IN)]
        if text is not None and text.strip():
            for pattern in toml(main, text).get("imports", ()):
                files += expand(request, os.path.dirname(main), pattern)
        for path in dict.fromkeys(files):
            old = request.read(path)
            if old is not None and BEGIN in old:
                new, before = without_block(old), request.read(path + BACKUP)
                if path == request.path(cls.DROP_IN) or before is None and new == cls.EMPTY:
                    new = None
                elif before is not None and new.rstrip("\n") == (before if before.strip() else cls.EMPTY).rstrip("\n"):
                    new = before  # as it was written
                changes[path] = old, new
        options = request.path(cls.OPTIONS)
        if (old := request.read(options)) is not None:
            changes[options] = old, None
        return changes


def expand(request, directory, pattern) -> "list[str]":
    """Files of an entry of containerd's `imports`, sorted."""
    import glob

    path = request.path(pattern) if os.path.isabs(pattern) else os.path.join(directory, pattern)
    return sorted(glob.glob(path)) if "*" in path else [path]


def fits(request, pattern, name) -> bool:
    import fnmatch

    path = pattern if pattern.startswith(request.root + "/") and request.root else request.path(pattern)
    return fnmatch.fnmatch(request.path(name), path)


class DropIn:
    """An engine that reads every file of a directory."""

    FILE = ""

    @classmethod
    def found(cls, request) -> bool:
        return os.path.isdir(request.path(os.path.dirname(os.path.dirname(cls.FILE)))) and installed(request, cls.PROGRAMS)

    @classmethod
    def file(cls, request) -> str:
        return request.path(cls.FILE)

    @classmethod
    def foreign(cls, request, path, text) -> bool:
        return False  # the whole file is ours

    @classmethod
    def add(cls, request) -> dict:
        path = cls.file(request)
        old, new = request.read(path), "\n".join(cls.lines(request)) + "\n"
        return {path: (old, new)} if new != old else {}

    @classmethod
    def remove(cls, request) -> dict:
        path = cls.file(request)
        old = request.read(path)
        return {} if old is None else {path: (old, None)}


class Crio(DropIn):
    NAME, ABOUT = "cri-o", "/etc/crio/crio.conf.d/50-stockade.conf"
    RESTART = "systemctl restart crio"
    FILE = "/etc/crio/crio.conf.d/50-stockade.conf"
    PROGRAMS = ("crio",)

    @classmethod
    def lines(cls, request) -> "list[str]":
        if request.flags:
            raise CliError("cri-o passes no flags to a runtime: leave them out")
        return [
            f"[crio.runtime.runtimes.{request.name}]", f"runtime_path = {quoted(request.program)}", 'runtime_type = "oci"',
            'runtime_root = "/run/stockade-crio"', 'allowed_annotations = ["dev.stockade."]',
        ]  # fmt: skip


class Podman(DropIn):
    NAME, ABOUT = "podman", "/etc/containers/containers.conf.d/50-stockade.conf, for podman and buildah"
    RESTART = None
    FILE = "/etc/containers/containers.conf.d/50-stockade.conf"
    PROGRAMS = ("podman", "buildah")

    @classmethod
    def file(cls, request) -> str:
        """Of the person's own configuration, for those who are not root."""
        if os.geteuid() == 0 or request.root:
            return request.path(cls.FILE)
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", "/"), ".config")
        return os.path.join(home, cls.FILE.removeprefix("/etc/"))

    @classmethod
    def lines(cls, request) -> "list[str]":
        if request.flags:
            raise CliError("podman takes flags of a runtime on its command line only (--runtime-flag): leave them out")
        return ["[engine.runtimes]", f"{request.name} = [{quoted(request.program)}]"]


ENGINES = (Docker, Containerd, Crio, Podman)


def installed(request, programs) -> bool:
    places = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
    return any(os.path.exists(request.path(os.path.join(place, name))) for place in places for name in programs)


# -- writing


def apply(request, engine, changes, adding) -> None:
    """Replace files as a whole. adding: a file that is changed for the first time is kept beside as *.before-stockade;
    else those are removed. CliError."""
    for path, (old, new) in changes.items():
        target = resolve(request.root, path)
        backup = path + BACKUP
        try:
            if new is None:
                os.unlink(target)
            else:
                os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
                if adding and old is not None and engine.foreign(request, path, old) and not os.path.exists(backup):
                    write(backup, old, target)
                write(target, new, target)
            if not adding:
                drop(backup)
        except OSError as error:
            raise CliError(os_text(error)) from None


def resolve(root, path) -> str:
    """What a symbolic link leads to, below `root`: the link shall stay."""
    for _ in range(40):
        if not os.path.islink(path):
            return path
        target = os.readlink(path)
        path = root + target if os.path.isabs(target) else os.path.join(os.path.dirname(path), target)
    raise CliError(f"{path}: too many symbolic links")


def drop(path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def write(path, text, like) -> None:
    """The file at once or not at all, with mode and owner of the file `like`."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            st = os.stat(like)
        except FileNotFoundError:
            os.fchmod(fd, 0o644)
        else:
            os.fchmod(fd, st.st_mode & 0o7777)
            os.fchown(fd, st.st_uid, st.st_gid)
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        drop(temporary)
        raise
    finally:
        os.close(fd)
