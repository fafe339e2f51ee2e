"""Samples of perf, by process role and function: recording, and names that people can read."""

import collections
import os
import re
import shutil
import signal
import subprocess
import time

FREQUENCY = 4000  # samples a second and CPU
STUB_TEXT = 0x7FFE00010000  # where the stub's code lies in a guest (native/systrap.h, ST_TEXT)
STUB_LINKED = 0x400000  # where it is linked (native/stub.ld)


class Unavailable(Exception):
    """perf cannot record here; the text says why."""


class Recorder:
    """perf on some processes and all that they fork from then on."""

    def __init__(self, pids, path):
        if shutil.which("perf") is None:
            raise Unavailable("perf is not installed (Debian: linux-perf)")
        self.path = path
        # Hardware counters may be missing in virtual machines; the CPU clock never is.
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", path, "-p", ",".join(map(str, pids))]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)  # nothing tells when it has attached
        if self.process.poll() is not None:
            raise Unavailable(f"perf record: {self.process.stderr.read().strip()[-300:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        errors = self.process.communicate(timeout=60)[1]
        if not os.path.exists(self.path) or not os.path.getsize(self.path):
            raise Unavailable(f"perf record wrote nothing: {errors.strip()[-300:]}")

    def samples(self):
        """[(pid, address, symbol, file)] of all samples, the innermost frame only."""
        done = subprocess.run(
            ["perf", "script", "-i", self.path, "-F", "pid,ip,sym,dso"], capture_output=True, text=True, errors="replace", timeout=120
        )
        if done.returncode:
            raise Unavailable(f"perf script: {done.stderr.strip()[-300:]}")
        pattern = re.compile(r"\s*(\d+)\s+([0-9a-f]+) (.*) \((.*)\)$")
        matches = map(pattern.match, done.stdout.splitlines())
        return [(int(found[1]), int(found[2], 16), found[3], found[4]) for found in matches if found]


def stub_symbols(path):
    """[(address in a guest, name)] of the stub's functions, sorted, from an executable that has symbols."""
    done = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return sorted((int(row[0], 16) - STUB_LINKED + STUB_TEXT, row[2]) for row in rows if row[1] in "tT")


def stub_function(symbols, address):
    """The stub's function at an address of a guest, or None if that is not the stub's code."""
    name = None
    if address < STUB_TEXT or address >= STUB_TEXT + 0x10000:
        return None
    for start, symbol in symbols:
        if start > address:
            break
        name = symbol
    return f"stub: {name}"


def cython_name(symbol):
    """sentry.platform.systrap.Platform.wait for __pyx_f_6sentry_8platform_7systrap_8Platform_wait; others unchanged.

    Cython puts each name's length before it, or an ordinal before a method's name.
    """
    found = re.match(r"__pyx_(?:f|pw|pf|fuse_\d+)_(\d.*)$", symbol)
    if not found:
        return symbol
    parts, left = [], found[1]
    while digits := re.match(r"\d+", left):
        length, body = int(digits[0]), left[digits.end() :]
        if len(body) < length or len(body) > length and body[length] != "_":
            parts.append(body)
            left = ""
        else:
            parts.append(body[:length])
            left = body[length + 1 :]
    if left:
        parts.append(left)
    return ".".join(parts)


def place(address, symbol, file, symbols):
    """(where, function) of a sample: kernel, stub, guest, interpreter, or the extension's name."""
    if symbols and (stub := stub_function(symbols, address)):
        return "stub", stub
    if "kernel" in file or address >= 1 << 63:
        return "host kernel", f"[k] {symbol}"
    name = os.path.basename(file)
    if name == "sentry.so" or name.endswith(".so") and ".cpython-" in name:
        return "extensions", cython_name(symbol)
    if "python" in name:
        return "interpreter", f"{symbol} ({name})"
    if name.startswith("perf-"):  # memory without a file
        name = "anonymous memory"
    return "other code", f"{symbol} ({name})"


def report(samples, roles, symbols, top):
    """Lines: the shares by role and place, and the functions with the most samples.

    roles: {pid: role}; processes that are not in it are guests. symbols: stub_symbols().
    """
    shares, functions = collections.Counter(), {}
    for pid, address, symbol, file in samples:
        role = roles.get(pid, "guest")
        where, function = place(address, symbol, file, symbols if role == "guest" else ())
        shares[role, where] += 1
        functions.setdefault(role, collections.Counter())[function] += 1
    yield f"{len(samples)} samples of the CPU clock, {FREQUENCY} a second and CPU. Plain Python functions show as the interpreter."
    yield ""
    for (role, where), count in sorted(shares.items(), key=lambda item: (item[0][0], -item[1])):
        yield f"  {role:<8} {where:<12} {count:>7} {100 * count / len(samples):>5.1f} %"
    for role in sorted(functions, key=lambda role: ("sentry", "gofer", "guest").index(role)):
        whole = sum(functions[role].values())
        yield f"\n{role}: {whole} samples"
        for function, count in functions[role].most_common(top):
            yield f"  {100 * count / whole:>5.1f} % {count:>7}  {function}"
