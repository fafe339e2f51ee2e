"""What containers cost beside what runs in them: start, exec, through containerd, and a hundred idle ones.

    benchmarks/lifecycle.py [--rounds N] [--pods N] [ROW...]      rows: run exec ctr-run ctr-exec pods

Runtimes take turns within each round, so that the machine's moods hit all alike; a figure is the median. `make bench` runs it too.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests", "e2e")]
import e2e_helpers  # noqa: E402
import runners  # noqa: E402
from support import STOCKADE, rootfs  # noqa: E402

# Row -> (what it is, the most that stockade may take, as a multiple of runc)
ROWS = {
    "run": ("run of /bin/true", 2.0),
    "exec": ("exec of /bin/true", 2.0),
    "ctr-run": ("ctr run --rm of /bin/true", 1.5),
    "ctr-exec": ("ctr tasks exec of /bin/true", 2.0),
}
PSS_TARGET = 25.0  # MiB, an idle container beside its workload
STATS_TARGET = 100.0  # ms of CPU for Stats of 100
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def timed(argv) -> float:
    """Milliseconds that a command takes; RuntimeError if it fails."""
    start = time.monotonic_ns()
    code = subprocess.run(argv, **QUIET).returncode
    took = (time.monotonic_ns() - start) / 1e6
    if code:
        raise RuntimeError(f"{' '.join(argv)}: exit code {code}")
    return took


class Direct:
    """The commands of OCI runtimes themselves."""

    def __init__(self, top):
        self.top = top
        self.programs = {"runc": ["runc"], "runsc": ["runsc", "--network=none", "--ignore-cgroups"], "stockade": [STOCKADE]}
        self.programs = {name: argv for name, argv in self.programs.items() if shutil.which(argv[0])}
        self.count = 0

    def argv(self, name, *arguments):
        return [*self.programs[name], "--root", f"{self.top}/{name}", *arguments]

    def bundle(self, *arguments):
        return runners.bundle("lifecycle", os.path.realpath(rootfs("busybox")), arguments)

    def run(self, rounds):
        found = {name: [] for name in self.programs}
        path = self.bundle("/bin/true")
        for _ in range(rounds + 1):
            for name in found:
                self.count += 1
                found[name].append(timed(self.argv(name, "run", "--bundle", path, f"r{self.count}")))
        return found

    def exec(self, rounds):
        path = self.bundle("/bin/sleep", "1000")
        found = {name: [] for name in self.programs}
        try:
            for name in found:
                subprocess.run(self.argv(name, "run", "--detach", "--bundle", path, "e"), check=True, **QUIET)
            for _ in range(rounds + 1):
                for name in found:
                    found[name].append(timed(self.argv(name, "exec", "e", "/bin/true")))
        finally:
            for name in found:
                subprocess.run(self.argv(name, "delete", "--force", "e"), **QUIET)
        return found


class Engine:
    """A containerd of its own."""

    def __init__(self, top):
        self.daemon = e2e_helpers.Containerd(top)
        self.daemon.start()
        e2e_helpers.archive(f"{rootfs('busybox')}/.", top / "image.tar")
        self.daemon.ctr("images", "import", "--snapshotter", "native", str(top / "image.tar"))
        self.runners = {name: e2e_helpers.Runner(self.daemon, runtime) for name, runtime in e2e_helpers.RUNTIMES.items()}

    def run(self, rounds):
        found = {name: [] for name in self.runners}
        for _ in range(rounds + 1):
            for name, runner in self.runners.items():
                found[name].append(timed(self.daemon.argv(*runner.run_argv(("--rm",), runner.new(), ("/bin/true",)))))
        return found

    def exec(self, rounds):
        found = {name: [] for name in self.runners}
        ids = {name: runner.start("sleep", "1000") for name, runner in self.runners.items()}
        try:
            for number in range(rounds + 1):
                for name, cid in ids.items():
                    found[name].append(timed(self.daemon.argv("tasks", "exec", "--exec-id", f"x{number}", cid, "/bin/true")))
        finally:
            for name, cid in ids.items():
                self.runners[name].remove(cid)
        return found

    def pods(self, count) -> dict:
        """Idle containers, each with a shim of its own: seconds to start and stop all, MiB each, ms of CPU for Stats of all."""
        runner = self.runners["stockade"]
        start = time.monotonic()
        ids = [runner.start("sleep", "1000") for _ in range(count)]
        started = time.monotonic() - start
        time.sleep(0.5)
        processes = ours(self.daemon)
        kinds = {}
        for pid, name in processes.items():
            kinds[name] = kinds.get(name, 0) + pss(pid)
        workload = kinds.pop("stockade-guest", 0)  # with the stub, some 0.1 MiB
        before = sum(map(cpu_ns, processes)) + cpu_ns(self.daemon.daemon.pid)
        for cid in ids:
            self.daemon.ctr("tasks", "metrics", cid)
        stats = sum(map(cpu_ns, processes)) + cpu_ns(self.daemon.daemon.pid) - before
        shims = [pid for pid, name in processes.items() if name == "stockade-shim"]
        before = sum(map(cpu_ns, shims))
        for cid in ids:
            self.daemon.ctr("tasks", "metrics", cid)
        of_shims = sum(map(cpu_ns, shims)) - before
        start = time.monotonic()
        for cid in ids:
            runner.remove(cid)
        return {
            "count": count, "start_s": started, "stop_s": time.monotonic() - start, "stats_ms": stats / 1e6, "stats_shims_ms": of_shims / 1e6,
            "pss_mib": {name: size / 1024 / count for name, size in sorted(kinds.items())}, "workload_mib": workload / 1024 / count,
        }  # fmt: skip

    def close(self):
        for runner in self.runners.values():
            for cid in runner.ids:
                if self.daemon.ctr("containers", "info", cid, check=False).returncode == 0:
                    runner.remove(cid)
        self.daemon.stop()


def ours(daemon) -> "dict[int, str]":
    """{pid: name} of every process that containers of this containerd consist of."""
    names, parents, found = {}, {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                head, _, rest = file.read().rpartition(")")
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        pid, comm = int(name), head.partition("(")[2]
        names[pid], parents[pid] = comm, int(rest.split()[1])
        if daemon.top.encode() in line and comm.startswith("stockade-"):
            found[pid] = comm
    while more := {pid: names[pid] for pid, parent in parents.items() if parent in found and pid not in found}:
        found.update(more)
    return found


def pss(pid) -> int:
    """KiB."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(row.split()[1]) for row in file if row.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def cpu_ns(pid) -> int:
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0])
    except OSError:
        return 0


def table(found) -> "list[str]":
    """Markdown lines of {row: {runtime: [ms]}}; the first round warms up and does not count."""
    names = [name for name in ("runc", "runsc", "stockade") if any(name in row for row in found.values())]
    lines = ["| ms, median (beside runc) | " + " | ".join(names) + " | target |", "| --- |" + " ---: |" * (len(names) + 1)]
    for row, values in found.items():
        label, target = ROWS[row]
        medians = {name: statistics.median(times[1:]) for name, times in values.items()}
        cells = [f"{medians[name]:.1f} ({medians[name] / medians['runc']:.2f})" if name in medians else "–" for name in names]
        met = medians["stockade"] <= target * medians["runc"]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {target} {'met' if met else 'missed'} |")
    return lines


def pods_text(pods) -> "list[str]":
    each = sum(pods["pss_mib"].values())
    parts = ", ".join(f"{name.removeprefix('stockade-')} {size:.1f}" for name, size in pods["pss_mib"].items())
    per100 = pods["stats_shims_ms"] * 100 / pods["count"]
    return [
        f"{pods['count']} idle containers under containerd: started in {pods['start_s']:.1f} s, stopped in {pods['stop_s']:.1f} s.",
        f"Memory of each beside its workload: {each:.1f} MiB PSS ({parts}), target {PSS_TARGET:.0f} {'met' if each <= PSS_TARGET else 'missed'};"
        f" the workload has {pods['workload_mib']:.1f}.",
        f"Stats of 100: {per100:.0f} ms of CPU in the shims, target {STATS_TARGET:.0f} {'met' if per100 <= STATS_TARGET else 'missed'}"
        f" ({pods['stats_ms'] * 100 / pods['count']:.0f} ms with containerd's share).",
    ]


def measure(rows, rounds, count) -> dict:
    """{"rows": {row: {runtime: [ms]}}, "pods": …}."""
    result = {"rows": {}, "pods": None}
    top = pathlib.Path(tempfile.mkdtemp(prefix="lc"))
    engine = None
    try:
        os.makedirs(runners.STAGE, exist_ok=True)
        direct = Direct(top)
        for row, function in (("run", direct.run), ("exec", direct.exec)):
            if row in rows:
                result["rows"][row] = function(rounds)
        if set(rows) & {"ctr-run", "ctr-exec", "pods"} and shutil.which("containerd"):
            engine = Engine(top)
            for row, function in (("ctr-run", engine.run), ("ctr-exec", engine.exec)):
                if row in rows:
                    result["rows"][row] = function(rounds)
            if "pods" in rows:
                result["pods"] = engine.pods(count)
    finally:
        if engine is not None:
            engine.close()
        shutil.rmtree(top, ignore_errors=True)
    return result


def markdown(result) -> "list[str]":
    lines = table(result["rows"]) if result["rows"] else []
    return lines + (["", *pods_text(result["pods"])] if result["pods"] else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="run exec ctr-run ctr-exec pods [all]")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # containers are removed then too
    result = measure(options.rows or [*ROWS, "pods"], options.rounds, options.pods)
    print(json.dumps(result) if options.json else "\n".join(markdown(result)))


if __name__ == "__main__":
    main()
