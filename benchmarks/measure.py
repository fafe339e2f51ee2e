"""The measurements of the benchmark: micro rows, whole programs, start-up. All runtimes take turns, round by round."""

import json
import os
import re
import statistics
import subprocess
import sys
import time

import runners

GROUP = 10  # micro rows of one run: the runtimes take turns every second or so
PROBE_SECONDS = 20
MICRO_SECONDS, MACRO_SECONDS = 120, 180


def say(text):
    print(f"[bench] {text}", file=sys.stderr, flush=True)


class Sheet:
    """Times by runner, row and round, and what failed."""

    def __init__(self, names):
        self.values = {name: {} for name in names}  # runner -> row -> {round: value}
        self.failed = {name: {} for name in names}  # runner -> row -> reason
        self.machine = []  # results of `machine`, between groups of rows

    def add(self, runner, row, number, value):
        self.values[runner].setdefault(row, {})[number] = value

    def fail(self, runner, row, reason):
        if row not in self.failed[runner]:
            say(f"{runner}: {row}: {reason}")
        self.failed[runner][row] = reason

    def median(self, runner, row):
        """The median of all rounds, or None."""
        values = self.values.get(runner, {}).get(row)
        return statistics.median(values.values()) if values else None

    def ratio(self, runner, row, base="native"):
        """The median of the rounds' ratios to `base`, each taken within one round; None where one is missing."""
        mine, other = self.values.get(runner, {}).get(row, {}), self.values.get(base, {}).get(row, {})
        both = [mine[number] / other[number] for number in mine if other.get(number)]
        return statistics.median(both) if both else None


def usable(chosen):
    """(the runners that start a program that does nothing, {name of another: reason})."""
    works, left_out = [], {}
    for runner in chosen:
        reason = runner.missing
        if reason is None:
            try:
                runner.run(["/mnt/micro", "nothing"], timeout=PROBE_SECONDS)
            except (runners.Failed, OSError) as error:
                reason = str(error)
        if reason is None:
            works.append(runner)
        else:
            left_out[runner.name] = reason
            say(f"{runner.name} is left out: {reason}")
    return works, left_out


def micro_rows():
    """{row: what it is} of the micro benchmark."""
    listing = subprocess.run([runners.MICRO, "list"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("\t") for line in listing.splitlines())


def calibrate():
    """What computing rows are told: steps in a microsecond (str)."""
    return subprocess.run([runners.MICRO, "calibrate"], capture_output=True, text=True, check=True).stdout.strip()


def machine():
    """Nanoseconds there and back between two CPUs: [(of a cache line, of wake-ups)]; with one CPU empty."""
    done = subprocess.run([runners.MICRO, "machine"], capture_output=True, text=True)
    return [] if done.returncode else [tuple(map(float, done.stdout.split()))]


def micro(chosen, rows, rounds, milliseconds):
    """Sheet of nanoseconds an operation."""
    sheet = Sheet([runner.name for runner in chosen])
    environment = [f"STOCKADE_BENCH_MS={milliseconds}", f"STOCKADE_BENCH_STEPS={calibrate()}"]
    groups = [rows[i : i + GROUP] for i in range(0, len(rows), GROUP)]
    for number in range(rounds):
        for index, group in enumerate(groups):
            say(f"micro, round {number + 1} of {rounds}, rows {index * GROUP + 1}-{index * GROUP + len(group)} of {len(rows)}")
            sheet.machine += machine()
            for runner in chosen:
                micro_group(sheet, runner, group, number, environment)
    return sheet


def micro_group(sheet, runner, group, number, environment):
    wanted = [row for row in group if row not in sheet.failed[runner.name]]
    if not wanted:
        return
    reason = "no result"
    try:
        output = runner.run(["/mnt/micro", *wanted], environment, MICRO_SECONDS)
    except runners.Failed as error:
        output, reason = error.output, str(error)
    for line in output.splitlines():
        row, _, value = line.partition(" ")
        if value.startswith("failed "):
            sheet.fail(runner.name, row, value)
        else:
            sheet.add(runner.name, row, number, float(value.split()[0]))
    for row in wanted:
        if number not in sheet.values[runner.name].get(row, {}) and row not in sheet.failed[runner.name]:
            sheet.fail(runner.name, row, reason)


def macro_rows():
    """{row: (what it is, whether it belongs to the quick form)} of the scripts in macro/."""
    rows = {}
    folder = os.path.join(runners.HERE, "macro")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        label = re.search(r"^# row: (.+)$", text, re.MULTILINE)
        if label:
            rows[name.removesuffix(".sh")] = label[1], "\n# quick: yes\n" in text
    return rows


def macro(chosen, rows, rounds):
    """(Sheet of nanoseconds, {runner: {row: statistics of the kernel}} of stockade's last round)."""
    sheet, kernel = Sheet([runner.name for runner in chosen]), {}
    for number in range(rounds):
        for index, row in enumerate(rows):
            say(f"programs, round {number + 1} of {rounds}, {row} ({index + 1} of {len(rows)})")
            for runner in chosen:
                if row in sheet.failed[runner.name]:
                    continue
                stats = kernel.setdefault(runner.name, {}) if runner.is_stockade and number == rounds - 1 else None
                try:
                    sheet.add(runner.name, row, number, program(runner, row, stats))
                except runners.Failed as error:
                    sheet.fail(runner.name, row, str(error))
    return sheet, kernel


def program(runner, row, stats):
    """Nanoseconds of one run of a macro row; puts the kernel's statistics into stats[row] unless `stats` is None."""
    command = ["bash", f"/mnt/macro/{row}.sh"]
    if stats is None:
        output = runner.run(command, timeout=MACRO_SECONDS, root=runners.DEBIAN)
    else:
        output, stats[row] = runner.run_held(command, "elapsed_us", kernel_stats, timeout=MACRO_SECONDS, root=runners.DEBIAN)
    found = re.search(r"^elapsed_us (\d+)$", output, re.MULTILINE)
    if not found:
        raise runners.Failed("no time in its output", output)
    return int(found[1]) * 1000


def kernel_stats(runner, identity):
    """What `stockade debug --stats` says about a running container (dict); raises Failed."""
    command = [runner.program, *runner.flags, "debug", "--stats", "--json", identity]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise runners.Failed(f"debug --stats: {runners.last_words(done.stderr)}", "")
    return json.loads(done.stdout)


def startup(chosen, rounds):
    """{way: [seconds]} of starting and ending a program that does nothing."""
    times = {}
    ways = [(runner.name, lambda r=runner: r.command(["/bin/true"])) for runner in chosen if runner.kind in ("oci", "own")]
    for runner in chosen:
        if runner.is_stockade:
            do = [runner.program, *runner.flags, "do", "--", "true"]
            ways.append((f"{runner.name}, do -- true", lambda do=do: (do, {}, None)))
    for number in range(rounds + 1):
        for name, make in ways:
            command, extra, _ = make()
            start = time.perf_counter()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, **extra}, text=True, timeout=60)
            taken = time.perf_counter() - start
            if done.returncode:
                say(f"{name}: exit {done.returncode}: {runners.last_words(done.stderr)}")
            elif number:  # the first round warms caches
                times.setdefault(name, []).append(taken)
    return times
