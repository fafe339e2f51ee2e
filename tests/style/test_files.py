"""Rules for files that a reader would otherwise have to enforce: length, marks of unfinished work, lint."""

import os
import re
import subprocess
import sys

import pytest
from support import ROOT

LIMIT = 1000

CODE = (".py", ".pyx", ".pxd", ".c", ".h", ".S", ".sh")
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b|(?<!\w)except\s*:|pragma: no " r"cover|assert " r"True\b")


def tracked():
    """The project's files as git knows them, new ones included (list of str)."""
    command = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git work tree")
    return [path for path in done.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, path))]


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def test_files_stay_short():
    long = {}
    for path in tracked():
        if path.endswith(CODE):
            lines = text_of(path).count("\n")
            if lines > LIMIT:
                long[path] = lines
    assert not long


def test_no_marks_of_unfinished_work():
    found = []
    for path in tracked():
        if path.endswith(CODE):
            for number, line in enumerate(text_of(path).splitlines(), 1):
                if MARKS.search(line):
                    found.append(f"{path}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_nothing_built_is_tracked():
    wrong = [path for path in tracked() if path.endswith((".so", ".o", ".pyc")) or path.startswith((".venv", ".cache", "build/"))]
    assert not wrong


def test_cython_checks_stay_on():
    """boundscheck, nonecheck and initializedcheck are on everywhere; casts of objects are checked ones."""
    wrong = []
    for path in tracked():
        if path.endswith((".pyx", ".pxd")):
            for number, line in enumerate(text_of(path).splitlines(), 1):
                if re.search(r"(boundscheck|nonecheck|initializedcheck)\s*(=|\()\s*False", line):
                    wrong.append(f"{path}:{number}: {line.strip()}")
                if re.search(r"<(?!Py_)[A-Z]\w+>\s*\w", line) and not re.search(r"<[A-Z]\w+\s*\*>", line):
                    wrong.append(f"{path}:{number}: unchecked cast: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def run_lint(*command):
    path = os.path.dirname(sys.executable) + ":" + os.environ["PATH"]  # cython-lint looks for pycodestyle
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_ruff():
    run_lint(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", ".")


def test_cython_lint():
    files = [path for path in tracked() if path.endswith((".pyx", ".pxd"))]
    if files:
        run_lint(os.path.join(os.path.dirname(sys.executable), "cython-lint"), *files)
