"""Faster imports: the code of all modules in one file, made at build time.

A container start imports some 200 modules; looking each one up in directories costs more than running it. The
bundle has an index (module name -> where its code is, and size and time of its source; extension modules are found
through it, too). A module whose source has
changed since, or that is not in it, is imported in the ordinary way, so a stale bundle costs time, never
correctness. Built by `python -X no_debug_ranges sandbox/bundle.py`: without docstrings and column
numbers, asserts kept.
"""

import os
import sys
from _frozen_importlib_external import ExtensionFileLoader
from marshal import dumps, loads

VERSION = 2
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATH = os.path.join(PROJECT, "build", "modules.bin")
PACKAGES = ("sandbox", "sentry", "gofer")
# Modules of the standard library that are not frozen into the interpreter and that a start needs.
STANDARD = (
    "bisect", "collections", "fcntl", "heapq", "keyword", "operator", "reprlib", "struct", "types", "weakref", "_weakrefset",
    "functools",
)  # fmt: skip
ModuleSpec = type(sys.__spec__) if sys.__spec__ else type(os.__spec__)


class Finder:
    """A sys.meta_path entry over an open bundle file."""

    def __init__(self, fd, index, base):
        self.fd = fd
        self.index = index
        self.base = base

    def find_spec(self, name, path=None, target=None):
        entry = self.index.get(name)
        if entry is None:
            return None
        file, package, size, mtime, _, length = entry
        if file[0] != "/":
            file = f"{PROJECT}/{file}"
        try:
            st = os.stat(file)
        except OSError:
            return None
        if st.st_size != size or st.st_mtime_ns != mtime:
            return None
        if length < 0:
            spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
            spec.has_location = True
            return spec
        spec = ModuleSpec(name, self, origin=file, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations[:] = [os.path.dirname(file)]
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        _, _, _, _, offset, length = self.index[module.__spec__.name]
        exec(loads(os.pread(self.fd, length, self.base + offset)), module.__dict__)


def install() -> None:
    """Use the bundle if there is one for this interpreter."""
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    length = int.from_bytes(os.pread(fd, 4, 0), "little")
    tag, index = loads(os.pread(fd, length, 4))
    if tag == (VERSION, sys.hexversion):
        sys.meta_path.insert(0, Finder(fd, index, 4 + length))


def build() -> None:
    """Write the bundle (build time only)."""
    import ast
    import glob
    import importlib.util

    files, index = [], {}
    for package in PACKAGES:
        for file in sorted(glob.glob(f"{package}/**/*.py", recursive=True, root_dir=PROJECT)):
            stem = file[: -len(".py")]
            if glob.glob(f"{PROJECT}/{stem}.cpython-*.so"):
                continue  # compiled
            name = stem.replace("/", ".")
            package_file = name.endswith(".__init__")
            files.append((name[: -len(".__init__")] if package_file else name, file, package_file))
        for file in sorted(glob.glob(f"{package}/**/*.cpython-*.so", recursive=True, root_dir=PROJECT)):
            st = os.stat(os.path.join(PROJECT, file))
            index[file.split(".", 1)[0].replace("/", ".")] = (file, False, st.st_size, st.st_mtime_ns, 0, -1)
    for name in STANDARD:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            files.append((name, spec.origin, bool(spec.submodule_search_locations)))
    blob = bytearray()
    for name, file, package in files:
        path = os.path.join(PROJECT, file)
        with open(path, "rb") as source:
            st = os.fstat(source.fileno())
            tree = ast.parse(source.read(), path)
        strip_docstrings(ast, tree)
        code = dumps(compile(tree, path, "exec", dont_inherit=True))
        index[name] = (file, package, st.st_size, st.st_mtime_ns, len(blob), len(code))
        blob += code
    head = dumps(((VERSION, sys.hexversion), index))
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
