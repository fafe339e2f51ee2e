"""`make profile`: where the time of a sandbox goes.

Builds a copy of the project with symbols (build/profile/tree; the ordinary build stays as it is), runs operations of
the micro benchmark, or a program of benchmarks/macro, and prints

- for each operation: what the guest sees, how long the kernel had the call, and the rest: stub and hand-off;
- perf's samples of Sentry, gofer and guests by function, where perf can run;
- the kernel's own counts and histograms (`stockade debug --stats`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import measure  # noqa: E402
import memory  # noqa: E402
import perf  # noqa: E402
import report  # noqa: E402
import runners  # noqa: E402

PROFILE = os.path.join(runners.ROOT, "build", "profile")
TREE = os.path.join(PROFILE, "tree")
SOURCES = ("bin", "sandbox", "sentry", "gofer", "native", "shim", "setup.py", "pyproject.toml", "Makefile")
SKIP = (".so", ".o", ".pyc")
ROWS = "lseek,pread4k,pipe,stat,stat_none,open,sigprocmask,mmap"
say = measure.say


def sources():
    """Paths below the project of what the build needs (list of str)."""
    found = []
    for source in SOURCES:
        path = os.path.join(runners.ROOT, source)
        if os.path.isfile(path):
            found.append(source)
        for top, folders, files in os.walk(path):
            folders[:] = [folder for folder in folders if folder != "__pycache__"]
            found += [os.path.relpath(os.path.join(top, file), runners.ROOT) for file in files if not file.endswith(SKIP)]
    return found


def build():
    """Brings the copy up to date and builds it with symbols."""
    wanted = set(sources())
    for top, _, files in os.walk(TREE):
        for file in files:
            path = os.path.relpath(os.path.join(top, file), TREE)
            if path.split("/")[0] in SOURCES and not path.endswith(SKIP) and path not in wanted:
                os.unlink(os.path.join(TREE, path))
    for path in wanted:
        source, target = os.path.join(runners.ROOT, path), os.path.join(TREE, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target) or os.stat(target).st_mtime_ns != os.stat(source).st_mtime_ns:
            shutil.copy2(source, target)
    for name in (".venv", ".cache"):
        if not os.path.lexists(os.path.join(TREE, name)):
            os.symlink(os.path.realpath(os.path.join(runners.ROOT, name)), os.path.join(TREE, name))
    compiler = os.path.join(runners.HERE, "keep-symbols.sh")
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    # -o: what `deps` installs is there.
    command = ["make", "--no-print-directory", "-C", TREE, "-o", "deps", "build", f"CC={compiler}"]
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)


class Run:
    """A container whose program takes a line before each step and prints one after it."""

    def __init__(self, runner, arguments, environment, root):
        self.runner = runner
        command, _, self.identity = runner.command(arguments, environment, root)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace")
        if self.process.stdout.readline().strip() != "ready":
            self.end()
            sys.exit("the program did not start")

    def step(self):
        """Let it go on; the next line that it prints (str)."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.end()
            sys.exit(f"the program ended too early, with exit code {self.process.returncode}")
        return line.strip()

    def debug(self, *flags):
        """The output of `stockade debug FLAGS` (str)."""
        command = [self.runner.program, *self.runner.flags, "debug", *flags, self.identity]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    def processes(self):
        """({pid: role} of Sentry and gofer, the pids of guest processes)."""
        tree = memory.children_of(self.process.pid)
        roles = {pid: role for pid in tree if (role := memory.role_of(pid)) in ("sentry", "gofer")}
        return roles, [pid for pid in tree if pid not in roles]

    def end(self):
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.runner.delete(self.identity)
            self.process.kill()
            self.process.communicate()


def micro_script(rows):
    """A shell program that waits for a line, runs a row, and so on."""
    steps = "".join(f"read line; /mnt/micro {row}\n" for row in rows)
    return f"echo ready\n{steps}read line\n"


def operation(line, stats, label):
    """A table line: what the guest sees of an operation, and how long the kernel had it."""
    parts = line.split()
    if parts[1] == "failed":
        return f"  {label:<40} {' '.join(parts[1:])}"
    seen, operations = float(parts[1]), int(parts[2])
    stages = stats["profile"]["stages"]
    count, handled, served = (stages.get(name, {}) for name in ("handler", "handler", "served"))
    calls = count.get("count", 0) / operations
    cells = [report.human(seen), f"{calls:.2f}"]
    for part in (handled, served):
        cells.append(report.human(part.get("total_ns", 0) / operations))
    cells.append(report.human(max(0, seen - served.get("total_ns", 0) / operations)))
    return f"  {label:<40}" + "".join(f"{cell:>12}" for cell in cells)


def run_micro(run, rows, labels):
    """Lines of the operations' table; each row is profiled on its own, and the whole once more for what follows."""
    yield f"  {'an operation':<40}" + "".join(f"{head:>12}" for head in ("guest sees", "calls", "handlers", "served", "the rest"))
    for row in rows:
        run.debug("--profile", "on")
        line = run.step()
        yield operation(line, json.loads(run.debug("--stats", "--json")), labels[row])
    yield "  served: from the event seen to the reply given, waits of blocked calls not counted; the rest: stub, hand-off, waits,"
    yield "  and the guest's own code. Profiling itself costs each call some 100 ns."


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=ROWS, help=f"operations of the micro benchmark, with commas between [{ROWS}]")
    parser.add_argument("--program", help="a program of benchmarks/macro instead (needs the root of scripts/rootfs-debian.sh bench)")
    parser.add_argument("--platform", choices=("systrap", "ptrace"), default="systrap")
    parser.add_argument("--milliseconds", type=int, default=60, help="length of a batch of an operation, of which there are 7 [60]")
    parser.add_argument("--top", type=int, default=25, help="how many functions of each process to show [25]")
    return parser.parse_args()


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("the profile needs root")
    build()
    runners.build()
    runner = runners.Runner("profile", os.path.join(TREE, "bin", "stockade"), ["--platform", options.platform], "own")
    if options.program:
        if options.program not in measure.macro_rows():
            sys.exit(f"no such program: {options.program}")
        script = f"echo ready; read -r _; BENCH_HOLD=1 exec bash /mnt/macro/{options.program}.sh"
        run = Run(runner, ["bash", "-c", script], [], runners.DEBIAN)
    else:
        labels, rows = measure.micro_rows(), options.rows.split(",")
        if unknown := [row for row in rows if row not in labels]:
            sys.exit(f"no such operation: {', '.join(unknown)}")
        environment = [f"STOCKADE_BENCH_MS={options.milliseconds}", f"STOCKADE_BENCH_STEPS={measure.calibrate()}"]
        run = Run(runner, ["sh", "-c", micro_script(rows)], environment, runners.BUSYBOX)
    lines = profile(run, options, None if options.program else (rows, labels))
    text = "\n".join(lines) + "\n"
    with open(os.path.join(PROFILE, "report.txt"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
    say(f"written to {os.path.relpath(PROFILE, runners.ROOT)}/report.txt; perf's data beside it in perf.data")


def profile(run, options, micro):
    """All lines of the report (list). micro: (rows, labels) or None for a program. Ends the run."""
    recorder, reason, samples = None, "nothing ran long enough", []
    try:
        roles, guests = run.processes()
        try:
            recorder = perf.Recorder([*roles, *guests], os.path.join(PROFILE, "perf.data"))
        except perf.Unavailable as error:
            reason = str(error)
        if micro:
            lines = [f"operations in stockade {options.platform}:\n", *run_micro(run, *micro)]
        else:
            run.debug("--profile", "on")
            lines = [f"{options.program} in stockade {options.platform}: {run.step()}"]
        stats = run.debug("--stats")
        if recorder:
            recorder.stop()
    except perf.Unavailable as error:
        recorder, reason = None, str(error)
    finally:
        run.end()
    if recorder:
        # Not earlier: perf would look for the living processes' files in their roots, which are empty.
        try:
            samples = recorder.samples()
        except perf.Unavailable as error:
            reason = str(error)
    lines.append("\n--- perf ---\n")
    if samples:
        symbols = perf.stub_symbols(os.path.join(TREE, "build", "native", "stub"))
        lines += perf.report(samples, roles, symbols, options.top)
    else:
        lines.append(f"perf gave no samples: {reason}")
    lines.append("\n--- the kernel's figures (calls: since the start; profile: of the last operation, or of the program) ---\n")
    return [*lines, stats]


if __name__ == "__main__":
    main()
