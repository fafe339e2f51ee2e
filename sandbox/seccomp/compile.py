"""Compiles the seccomp lists into classic BPF: `python sandbox/seccomp/compile.py [DIRECTORY]` (default build/seccomp).

At build time only: libseccomp's binding costs 40 ms to import. The result is loaded as it is (sandbox/_host.pyx).
"""

import errno
import importlib
import os
import sys

import pyseccomp

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def compile_rows(rows, probes, path):
    """Write the program that allows `rows`, answers `probes` with EPERM and kills the process for all else."""
    program = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    for position, (call, conditions, reason) in enumerate(rows):
        if not reason:
            raise SystemExit(f"{call}: a row needs its reason")
        args = [argument(*condition) for condition in conditions or ()]
        program.add_rule(pyseccomp.ALLOW, call, *args)
        program.syscall_priority(call, max(255 - position, 1)) if position < 255 else None
    for call, *conditions, _ in probes:
        args = [argument(*condition) for condition in (conditions and conditions[0]) or ()]
        program.add_rule(pyseccomp.ERRNO(errno.EPERM), call, *args)
    temporary = path + ".new"
    with open(temporary, "wb") as file:
        program.export_bpf(file)
    os.rename(temporary, path)


def argument(index, operator, value, mask=None):
    if operator == "MASKED_EQ":
        return pyseccomp.Arg(index, pyseccomp.MASKED_EQ, mask, value)
    return pyseccomp.Arg(index, getattr(pyseccomp, operator), value)


def main(directory):
    sys.path.insert(0, PROJECT)
    os.makedirs(directory, exist_ok=True)
    sentry = importlib.import_module("sandbox.seccomp.sentry")
    compile_rows(sentry.ROWS, sentry.PROBES, os.path.join(directory, "sentry-systrap.bpf"))
    compile_rows(sentry.PTRACE + sentry.ROWS, sentry.PROBES, os.path.join(directory, "sentry-ptrace.bpf"))
    for platform, first in (("systrap", []), ("ptrace", sentry.PTRACE)):
        rows = first + sentry.HOT + sentry.HOST_NETWORK + sentry.COOL
        compile_rows(rows, sentry.PROBES, os.path.join(directory, f"sentry-{platform}-host.bpf"))
    if not os.path.exists(os.path.join(PROJECT, "gofer", "seccomp_list.py")):
        return
    gofer = importlib.import_module("gofer.seccomp_list")
    compile_rows(gofer.ROWS, getattr(gofer, "PROBES", ()), os.path.join(directory, "gofer.bpf"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(PROJECT, "build", "seccomp"))
