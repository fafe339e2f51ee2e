"""Imports go downwards only (docs/architecture.md, Folders), and modules of sentry/ import at the top."""

import ast
import glob
import os
import re

from support import ROOT

# Lower rank: lower layer. Folders of one rank do not import each other, except fs and net.
RANKS = {"abi": 0, "core": 1, "platform": 2, "mm": 3, "vfs": 3, "fs": 4, "net": 4, "kernel": 5, "views": 6, "syscalls": 7, "top": 8}
SAME_RANK = {("net", "fs"), ("fs", "net")}
# Views of the kernel as files: above it, though they stand beside the other file systems.
VIEWS = re.compile(r"sentry\.fs\.(procfs|proc_|sysfs|cgroupfs|timerfd|signalfd|tty|devpts)")

# What the start of a process, or the hot road, cannot afford (milliseconds each) or has no use for.
HEAVY = {
    "argparse",
    "asyncio",
    "contextlib",
    "ctypes",
    "dataclasses",
    "enum",
    "inspect",
    "logging",
    "pathlib",
    "re",
    "subprocess",
    "tempfile",
    "typing",
}

FILES = sorted(
    os.path.relpath(path, ROOT)
    for top in ("sentry", "gofer", "sandbox", "shim")
    for kind in ("py", "pyx", "pxd")
    for path in glob.glob(f"{ROOT}/{top}/**/*.{kind}", recursive=True)
)
SENTRY = [path for path in FILES if path.startswith("sentry/")]


def module_name(path):
    name = os.path.splitext(path)[0].replace("/", ".")
    return name.removesuffix(".__init__")


def layer(module):
    """The layer (str) of a dotted module name inside sentry."""
    if VIEWS.match(module):
        return "views"
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANKS else "top"


def imports(path):
    """(line, module, indented) of each import of a .py, .pyx or .pxd file, `from a import b` as a.b where that is a file."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    found = []
    if path.endswith(".py"):
        tree = ast.parse(text)
        top = set(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name, node not in top) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found.append((node.lineno, f"{node.module}.{alias.name}", node not in top))
    else:
        for number, line in enumerate(text.splitlines(), 1):
            match = re.match(r"(\s*)(?:from\s+([\w.]+)\s+c?import\s+(.+)|c?import\s+([\w.]+))", line)
            if match:
                indent, source, names, module = match.groups()
                targets = [module] if module else [f"{source}.{name.split()[0].strip('()')}" for name in names.split(",") if name.strip(" ()")]
                found += [(number, target, bool(indent)) for target in targets]
    return found


def resolve(target):
    """The module that `target` (module or module.name) is or belongs to."""
    base = os.path.join(ROOT, target.replace(".", "/"))
    if os.path.isdir(base) or any(os.path.exists(base + kind) for kind in (".py", ".pyx", ".pxd")):
        return target
    return target.rsplit(".", 1)[0]


def upward(path):
    """The imports of a file that point up or out, each as a line of text."""
    mine = layer(module_name(path))
    for line, target, _ in imports(path):
        if not target.startswith("sentry."):
            # The Sentry knows one thing of the other parts: the protocol that it speaks with the gofer.
            if target.split(".")[0] in ("sandbox", "gofer", "shim", "tests") and target != "gofer.protocol":
                yield f"{path}:{line}: imports {target}"
            continue
        other = layer(resolve(target))
        if mine != other and (mine, other) not in SAME_RANK and RANKS[other] >= RANKS[mine]:
            yield f"{path}:{line}: {mine} imports {target} ({other})"


def test_imports_point_down():
    wrong = [row for path in SENTRY for row in upward(path)]
    assert not wrong, "\n".join(wrong)


def test_imports_stand_at_the_top():
    """After start the Sentry may not open a module's file any more."""
    wrong = [f"{path}:{line}: {target}" for path in SENTRY for line, target, indented in imports(path) if indented]
    assert not wrong, "\n".join(wrong)


def test_no_heavy_imports():
    wrong = [f"{path}:{line}: {target}" for path in FILES for line, target, _ in imports(path) if target.split(".")[0] in HEAVY]
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_upward_imports(monkeypatch):
    """The rule itself: an import of a higher layer is found."""
    rows = [(1, "sentry.kernel.task", False), (2, "sentry.core.log", False), (3, "sandbox.main", False)]
    monkeypatch.setitem(globals(), "imports", lambda path: rows)
    assert [row.split(":")[1] for row in upward("sentry/vfs/file.py")] == ["1", "3"]
