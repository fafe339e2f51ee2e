"""Faster imports: the code of all modules in one file, made at build time.

A container start imports some 230 modules; looking each one up in directories costs more than running it, and the
import machinery still half as much. The bundle has an index (module name -> where its code is, and size and time
of its source) and groups: the modules that a step of the start needs, as one piece, in the order in which they are
complete. `preload` runs a group without the import machinery; what imports find then is already there. The group of the
Sentry takes its extensions from one library that holds them all (setup.py links it), since each library costs some
60 us to map and to relocate. A module whose source has changed since, or that is not in it, is imported in the
ordinary way, so a stale bundle costs time, never correctness. Built by `python -X no_debug_ranges sandbox/bundle.py`, which tries the groups' imports
to learn their order: without docstrings and column numbers, asserts kept.
"""

import os
import sys
from marshal import dumps, loads

from _frozen_importlib_external import ExtensionFileLoader
from _imp import create_dynamic, exec_dynamic

VERSION = 3
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATH = os.path.join(PROJECT, "build", "modules.bin")
JOINT = "build/sentry.so"  # the extensions of sentry/ once more, in one file
PACKAGES = ("sandbox", "sentry", "gofer", "shim")
# Modules of the standard library that are not frozen into the interpreter and that a start needs.
STANDARD = ("bisect", "heapq", "struct", "types", "weakref", "_weakrefset")
# What only some Sentries need (sentry/boot_config.py).
OPTIONAL = ("sentry.platform.systrap", "sentry.platform.ptrace", "sentry.net.lwip", "sentry.net.resolver", "sentry.net.unix_host")
COMMANDS = ("sandbox.main", "sandbox.commands.run", "sandbox.commands.do")
# name -> (what is loaded already, what is imported)
GROUPS = {
    "launch": (("sandbox.main",), COMMANDS[1:]),
    "gofer": (COMMANDS, ("gofer.server",)),
    "sentry.boot": (COMMANDS, ("sentry.boot",)),
    **{name: ((*COMMANDS, "sentry.boot"), (name,)) for name in OPTIONAL},
}
ModuleSpec = type(sys.__spec__) if sys.__spec__ else type(os.__spec__)
ModuleType = type(sys)


class Extension(ExtensionFileLoader):
    """Loads the extension `name`, whose own file is `file`, from the file `origin`; takes down in `done` when it is complete."""

    def __init__(self, name, file, origin, done):
        super().__init__(name, file)
        self.origin = origin
        self.done = done

    def create_module(self, spec):
        module = create_dynamic(ModuleSpec(self.name, self, origin=self.origin))
        module.__file__ = self.path
        return module

    def exec_module(self, module):
        exec_dynamic(module)
        self.done.append(self.name)


class Finder:
    """A sys.meta_path entry over an open bundle file."""

    def __init__(self, fd, index, groups, base):
        self.fd = fd
        self.index = index
        self.groups = groups
        self.base = base
        self.joint = -1  # descriptor of the library of extensions
        self.checked = {}  # groups that are fresh -> the names of their modules
        self.done = []  # names of the modules that were run, in the order of their ends

    def find_spec(self, name, path=None, target=None):
        entry = self.index.get(name)
        if entry is None or not (any(name in names for names in self.checked.values()) or fresh(entry)):
            return None
        file, package = place(entry[0]), entry[1]
        spec = ModuleSpec(name, self.loader(name, file), origin=file, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations[:] = [os.path.dirname(file)]
        return spec

    def loader(self, name, file):
        if not file.endswith(".so"):
            return self
        return Extension(name, file, f"/proc/self/fd/{self.joint}" if self.joint >= 0 and self.joined(name) else file, self.done)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        _, _, _, _, offset, length = self.index[module.__spec__.name]
        exec(loads(os.pread(self.fd, length, self.base + offset)), module.__dict__)
        self.done.append(module.__spec__.name)

    def check(self, group) -> bool:
        """Can the group be preloaded? Opens the library that it takes."""
        if group not in self.checked and group in self.groups:  # else its build did not come to an end
            names = self.groups[group][0]
            if not all(fresh(self.index[name]) for name in names):
                return False
            if self.joint < 0 and any(name not in sys.modules and self.joined(name) for name in names):
                if not fresh(self.index[JOINT]):
                    return False
                self.joint = os.open(place(JOINT), os.O_RDONLY | os.O_CLOEXEC)
            self.checked[group] = set(names)
        return group in self.checked

    def joined(self, name) -> bool:
        """Is the module to be taken from the library of extensions?"""
        return JOINT in self.index and name.startswith("sentry.") and self.index[name][0].endswith(".so")

    def preload(self, group) -> None:
        from sandbox import _host  # not for every command

        if not self.check(group):
            return
        names, offset, length = self.groups[group]
        for name, code in zip(names, _host.load_code(self.fd, self.base + offset, length), strict=True):
            if name not in sys.modules:
                self.run(name, code)

    def run(self, name, code) -> None:
        """What an import of the module `name` would do. All that it imports is there. code: None for an extension."""
        file, package = place(self.index[name][0]), self.index[name][1]
        parent, _, last = name.rpartition(".")
        spec = ModuleSpec(name, self.loader(name, file), origin=file, is_package=package)
        spec.has_location = True
        module = ModuleType(name) if code is not None else spec.loader.create_module(spec)
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, file
        module.__package__ = name if package else parent
        if package:
            module.__path__ = spec.submodule_search_locations
            module.__path__[:] = [os.path.dirname(file)]
        sys.modules[name] = module
        try:
            if code is None:
                exec_dynamic(module)
            else:
                exec(code, module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], last, module)


def place(file) -> str:
    return file if file[0] == "/" else f"{PROJECT}/{file}"


def fresh(entry) -> bool:
    """Is the file of an index entry the one that was read?"""
    try:
        st = os.stat(place(entry[0]))
    except OSError:
        return False
    return st.st_size == entry[2] and st.st_mtime_ns == entry[3]


def install() -> "Finder | None":
    """Use the bundle if there is one for this interpreter."""
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    length = int.from_bytes(os.pread(fd, 4, 0), "little")
    tag, index, groups = loads(os.pread(fd, length, 4))
    if tag != (VERSION, sys.hexversion):
        os.close(fd)
        return None
    finder = Finder(fd, index, groups, 4 + length)
    sys.meta_path.insert(0, finder)
    return finder


def check(groups) -> bool:
    """Will `preload` load these groups, even in a process that may no longer open our files?"""
    return any(isinstance(finder, Finder) and all(map(finder.check, groups)) and finder.joint >= 0 for finder in sys.meta_path)


def preload(group) -> None:
    """Load the modules of a group (a name in GROUPS) at once, if there is a bundle and it is fresh."""
    for finder in sys.meta_path:
        if isinstance(finder, Finder):
            finder.preload(group)


def build() -> None:
    """Write the bundle (build time only)."""
    index, codes = single_modules()
    write(index, codes, {})
    write(index, codes, {group: order(*imports) for group, imports in GROUPS.items() if all(name in index for name in imports[1])})


def single_modules():
    """(index without places, name -> code object or None for an extension) of all modules."""
    import ast
    import glob
    import importlib.util

    files, index, codes = [], {}, {}
    for package in PACKAGES:
        for file in sorted(glob.glob(f"{package}/**/*.py", recursive=True, root_dir=PROJECT)):
            stem = file[: -len(".py")]
            if glob.glob(f"{PROJECT}/{stem}.cpython-*.so"):
                continue  # compiled
            name = stem.replace("/", ".")
            package_file = name.endswith(".__init__")
            files.append((name[: -len(".__init__")] if package_file else name, file, package_file))
        for file in sorted(glob.glob(f"{package}/**/*.cpython-*.so", recursive=True, root_dir=PROJECT)):
            files.append((file.partition(".")[0].replace("/", "."), file, False))
    if os.path.exists(place(JOINT)):
        st = os.stat(place(JOINT))
        index[JOINT] = (JOINT, False, st.st_size, st.st_mtime_ns)
        codes[JOINT] = None
    for name in STANDARD:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            files.append((name, spec.origin, bool(spec.submodule_search_locations)))
    for name, file, package in files:
        path = os.path.join(PROJECT, file)
        st = os.stat(path)
        index[name] = (file, package, st.st_size, st.st_mtime_ns)
        codes[name] = None
        if not file.endswith(".so"):
            with open(path, "rb") as source:
                tree = ast.parse(source.read(), path)
            strip_docstrings(ast, tree)
            codes[name] = compile(tree, path, "exec", dont_inherit=True)
    return index, codes


def order(before, names) -> "list[str]":
    """The modules of the bundle that importing `names` runs, `before` having been imported, as they end."""
    script = (
        f"import sys; sys.path.insert(0, {PROJECT!r})\n"
        "from sandbox import bundle\n"
        "finder = bundle.install()\n"
        f"for name in {before!r}: __import__(name)\n"
        "finder.done.clear()\n"
        f"for name in {names!r}: __import__(name)\n"
        "print(*finder.done)"
    )
    reader, writer = os.pipe()
    python = os.environ.get("STOCKADE_PYTHON", sys.executable)  # an interpreter that brings its own loader is no executable
    pid = os.posix_spawn(python, [python, "-ISc", script], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    with open(reader, encoding="utf-8") as output:
        done = output.read().split()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit(f"importing {' '.join(names)} failed")
    return done


def write(index, codes, groups) -> None:
    """groups: name -> list of module names."""
    blob, entries, parts = bytearray(), {}, {}
    for name, entry in index.items():
        code = b"" if codes[name] is None else dumps(codes[name])
        entries[name] = (*entry, len(blob), len(code))
        blob += code
    for group, names in groups.items():
        code = dumps([codes[name] for name in names])
        parts[group] = (names, len(blob), len(code))
        blob += code
    head = dumps(((VERSION, sys.hexversion), entries, parts))
    os.makedirs(os.path.dirname(PATH), exist_ok=True)
    with open(PATH + ".new", "wb") as out:
        out.write(len(head).to_bytes(4, "little") + head + blob)
    os.rename(PATH + ".new", PATH)


def strip_docstrings(ast, tree) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body[0] = ast.copy_location(ast.Pass(), first)


if __name__ == "__main__":
    build()
