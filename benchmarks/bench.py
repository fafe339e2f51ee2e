"""`make bench`: one table of what operations cost natively, in other runtimes and in stockade.

All runtimes run the same static program (micro.c), interleaved round by round; medians count. Written
to benchmarks/results as Markdown and, where matplotlib is installed, as a plot. --quick: fewer rounds.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import memory  # noqa: E402
import runners  # noqa: E402

RESULTS = os.path.join(runners.ROOT, "benchmarks", "results")


def say(text):
    print(f"[bench] {text}", file=sys.stderr, flush=True)


def run_rows(chosen, rows, rounds, milliseconds):
    """{runner: {row: [nanoseconds]}} of all rounds, interleaved; a runner that fails is left out with a word."""
    results = {runner.name: {} for runner in chosen}
    failed = {}
    for number in range(rounds):
        for runner in chosen:
            if runner.name in failed:
                continue
            say(f"round {number + 1} of {rounds}: {runner.name}")
            environment = [f"STOCKADE_BENCH_MS={milliseconds}"]
            if runner.kind == "native":
                environment.append("STOCKADE_BENCH_DIR=/dev/shm")
            try:
                output = runner.run(["/mnt/micro", *rows], environment, timeout=300)
            except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
                failed[runner.name] = str(error)
                say(f"left out: {error}")
                continue
            for line in output.splitlines():
                row, value = line.split()
                results[runner.name].setdefault(row, []).append(float(value))
    return {name: rows for name, rows in results.items() if rows}, failed


def run_startup(chosen, rounds):
    """{what: [seconds]} of starting and ending a program that does nothing."""
    times = {}
    ways = [(runner.name, lambda r=runner: r.command(["/bin/true"])) for runner in chosen if runner.kind == "oci"]
    for runner in chosen:
        if runner.name.startswith("stockade"):
            do = [runner.program, *runner.flags, "do", "--", "true"]
            ways.append((f"{runner.name}, do -- true", lambda do=do: (do, {})))
    for number in range(rounds + 1):
        for name, make in ways:
            command, extra = make()
            start = time.perf_counter()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **extra}, timeout=60)
            taken = time.perf_counter() - start
            if done.returncode:
                say(f"{name}: exit {done.returncode}: {done.stderr[-200:].decode(errors='replace').strip()}")
            elif number:  # the first round warms caches
                times.setdefault(name, []).append(taken)
    return times


def human(nanoseconds):
    if nanoseconds < 1000:
        return f"{nanoseconds:.0f} ns"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.1f} µs"
    return f"{nanoseconds / 1_000_000:.2f} ms"


def tables(labels, results, startup, failed, idle):
    """The report as Markdown lines."""
    names = [runner.name for runner in runners.ALL if runner.name in results]
    medians = {name: {row: statistics.median(values) for row, values in results[name].items()} for name in names}
    yield f"# Benchmark of {time.strftime('%Y-%m-%d %H:%M')}"
    yield ""
    yield f"{platform.release()}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f} at the end. Time of one operation, and (ratio to native)."
    yield ""
    yield "| operation | " + " | ".join(names) + " |"
    yield "| --- |" + " ---: |" * len(names)
    for row, label in labels.items():
        cells = []
        for name in names:
            value, native = medians[name].get(row), medians.get("native", {}).get(row)
            if value is None:
                cells.append("–")
            elif name == "native" or not native:
                cells.append(human(value))
            else:
                cells.append(f"{human(value)} ({value / native:.2f})")
        yield f"| {label} | " + " | ".join(cells) + " |"
    for name, reason in failed.items():
        yield f"\n{name} was left out: {reason}"
    if startup:
        base = statistics.median(startup["runc"]) if "runc" in startup else None
        yield "\n## Start to end of `true`\n"
        yield "| way | median | best | ratio to runc |\n| --- | ---: | ---: | ---: |"
        for name, values in startup.items():
            median = statistics.median(values)
            ratio = f"{median / base:.2f}" if base else "–"
            yield f"| {name} | {median * 1000:.0f} ms | {min(values) * 1000:.0f} ms | {ratio} |"
    for name, measured in idle.items():
        sizes, cpu, _ = measured
        own = sum(sum(sizes.get(role, {}).values()) for role in ("sentry", "gofer")) / 1024
        yield f"\n## An idle container: {name}\n"
        yield f"Sentry and gofer together {own:.1f} MiB (PSS); CPU while idle {cpu:.2f} %.\n"
        yield from memory.table(sizes)


def plot(labels, results, path):
    """Bars of the ratio to native, one group a row; silently nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        say("no plot: matplotlib is not installed (scripts/deps.sh bench)")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    native = results.get("native", {})
    names = [name for name in results if name != "native"]
    rows = [row for row in labels if row in native]
    figure, axes = pyplot.subplots(figsize=(10, 0.45 * len(rows) + 2))
    for index, name in enumerate(names):
        ratios = [statistics.median(results[name][row]) / statistics.median(native[row]) if row in results[name] else 0 for row in rows]
        places = [place + (index - len(names) / 2) * 0.8 / len(names) for place in range(len(rows))]
        axes.barh(places, ratios, 0.8 / len(names), label=name)
    axes.set_yticks(range(len(rows)), [labels[row] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of one operation, ratio to native")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--rounds", type=int, help="how often each runtime runs all rows")
    parser.add_argument("--rows", help="only these rows, with commas between")
    parser.add_argument("--only", help="only runtimes whose name contains one of these, with commas between")
    parser.add_argument("--no-startup", action="store_true", help="leave out start-up times and memory")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    runners.build_micro()
    listing = subprocess.run([runners.MICRO, "list"], capture_output=True, text=True, check=True).stdout
    labels = dict(line.split("\t") for line in listing.splitlines())
    rows = options.rows.split(",") if options.rows else list(labels)
    labels = {row: label for row, label in labels.items() if row in rows}
    chosen = [runner for runner in runners.ALL if runner.usable]
    if options.only:
        chosen = [runner for runner in chosen if any(part in runner.name for part in options.only.split(","))]
    say("runtimes: " + ", ".join(runner.name for runner in chosen))
    results, failed = run_rows(chosen, rows, rounds, 5 if options.quick else 30)
    startup, idle = {}, {}
    if not options.no_startup:
        say("start-up times")
        startup = run_startup([runner for runner in chosen if runner.name not in failed], 5 if options.quick else 20)
        for runner in chosen:
            if runner.name.startswith("stockade") and runner.name not in failed:
                say(f"memory and idle CPU: {runner.name}")
                measured = memory.measure(runner)
                if measured:
                    idle[runner.name] = measured
    report = "\n".join(tables(labels, results, startup, failed, idle)) + "\n"
    os.makedirs(RESULTS, exist_ok=True)
    stem = os.path.join(RESULTS, time.strftime("%Y%m%d-%H%M"))
    with open(stem + ".md", "w", encoding="utf-8") as file:
        file.write(report)
    plot(labels, results, stem + ".png")
    print(report)
    say(f"written to {os.path.relpath(stem, runners.ROOT)}.md")


if __name__ == "__main__":
    main()
