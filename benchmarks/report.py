"""The benchmark's report: Markdown tables and plots."""

import os
import platform
import time
import tomllib

import memory
import runners

MAIN = "stockade systrap"  # whose ratios are held against the targets
RIVAL = "runsc"


def human(nanoseconds):
    """A time with a unit that suits."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / divisor:.3g} {unit}" if nanoseconds < 1e3 * divisor else f"{nanoseconds / divisor:.0f} {unit}"
    return f"{nanoseconds / 1e9:.2f} s"


def notes():
    """rows.toml: {row: {"target": …, "rest": …}}."""
    with open(os.path.join(runners.HERE, "rows.toml"), "rb") as file:
        return tomllib.load(file)


def best_rival(sheet, row):
    """(name, median) of the fastest runsc of a row, or None."""
    found = [(sheet.median(name, row), name) for name in sheet.values if name.startswith(RIVAL)]
    found = [(value, name) for value, name in found if value is not None]
    return min(found)[::-1] if found else None


class Score:
    """How many rows reach their target, and how many beat the rival."""

    def __init__(self):
        self.met, self.asked, self.won, self.fought = 0, 0, 0, 0

    def target(self, ratio, target):
        if target is None or ratio is None:
            return "–"
        self.asked += 1
        self.met += ratio <= target
        return f"{target:g} {'met' if ratio <= target else '**missed**'}"

    def rival(self, ours, best):
        if ours is None or best is None:
            return "–"
        self.fought += 1
        self.won += ours < best[1]
        return f"{ours / best[1]:.2g}" + ("" if ours < best[1] else " **slower**")

    def lines(self):
        if self.asked:
            yield f"\n{self.met} of {self.asked} targets met."
        if self.fought:
            yield f"{self.won} of {self.fought} rows faster than the best {RIVAL}."


def comparison(labels, sheet, what, known):
    """A table with a row for each label: times, ratios to native, target and rival."""
    names = [name for name, rows in sheet.values.items() if rows]
    judged = MAIN in names
    head = [what, *names] + (["target", f"time by best {RIVAL}'s"] if judged else [])
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    score = Score()
    for row, label in labels.items():
        cells = []
        for name in names:
            value, ratio = sheet.median(name, row), sheet.ratio(name, row)
            if value is None:
                cells.append("–")
            elif name == "native" or ratio is None:
                cells.append(human(value))
            else:
                cells.append(f"{human(value)} ({ratio:.3g})" if ratio < 100 else f"{human(value)} ({ratio:.0f})")
        if judged:
            cells.append(score.target(sheet.ratio(MAIN, row), known.get(row, {}).get("target")))
            cells.append(score.rival(sheet.median(MAIN, row), best_rival(sheet, row)))
        yield f"| {label} | " + " | ".join(cells) + " |"
    yield from score.lines()
    for name, rows in sheet.failed.items():
        for row, reason in rows.items():
            yield f"- {name}: no figure for “{labels[row]}”: {reason}"


def rewritten(patch):
    """The share of executed call sites that run rewritten, from the section "patch" of the statistics; "–" without it."""
    seen, patched = patch.get("seen"), patch.get("patched")
    return f"{patched} of {seen} ({100 * patched / seen:.0f} %)" if seen else "–"


def trapped(patch, whole):
    """The calls that came by a trap, with their share of all that the kernel served (str)."""
    traps = patch.get("traps")
    return f"{traps} ({100 * traps / whole:.1f} %)" if traps is not None and whole else "–"


def refusals(patch):
    """Why sites were not rewritten, the most frequent reasons first (str)."""
    refused = sorted(patch.get("refused", {}).items(), key=lambda item: -item[1])
    return ", ".join(f"{reason} {count}" for reason, count in refused[:3] if count) or "–"


def served(labels, kernel):
    """What the kernel of stockade saw of each program.

    The statistics' section "patch" is that of the call-site rewriting: {"seen": sites that trapped, "patched": of them
    rewritten, "refused": {reason: sites}, "traps": calls that came by a trap}.
    """
    for name, rows in kernel.items():
        if not rows:
            continue
        yield f"\n### What the kernel served: {name}\n"
        yield "| program | calls served | of them waited | most frequent | by trap | call sites rewritten | not rewritten because |"
        yield "| --- | ---: | ---: | --- | ---: | ---: | --- |"
        for row, stats in rows.items():
            calls = stats["calls"]
            whole, waits = (sum(call[key] for call in calls.values()) for key in ("calls", "waits"))
            frequent = ", ".join(f"{call} {counts['calls']}" for call, counts in list(calls.items())[:6])
            patch = stats.get("patch") or {}
            cells = (labels[row], whole, waits, frequent, trapped(patch, whole), rewritten(patch), refusals(patch))
            yield "| " + " | ".join(map(str, cells)) + " |"


def start_table(startup):
    base = sorted(startup.get("runc", []))
    middle = base[len(base) // 2] if base else None
    yield "| way | median | best | ratio to runc |\n| --- | ---: | ---: | ---: |"
    for name, values in startup.items():
        median = sorted(values)[len(values) // 2]
        ratio = f"{median / middle:.2f}" if middle else "–"
        yield f"| {name} | {median * 1000:.0f} ms | {min(values) * 1000:.0f} ms | {ratio} |"


def rest(labels, known):
    """Where the rest of the time goes, by row."""
    rows = [(label, known[row]["rest"]) for row, label in labels.items() if known.get(row, {}).get("rest")]
    if rows:
        yield "\n## Where the rest of the time goes\n"
        for label, text in rows:
            yield f"- {label}: {text}"


def machine(measured):
    """What the CPUs took for hand-overs between the groups of rows. measured: the Sheet's `machine`."""
    if measured:
        line, wake = ((min(values), max(values)) for values in zip(*measured, strict=True))
        yield (
            f"\nMeanwhile a cache line went from one CPU to the other and back in {line[0]:.0f} to {line[1]:.0f} ns, wake-ups"
            f" in {wake[0] / 1000:.0f} to {wake[1] / 1000:.0f} µs: a call that another thread serves cannot cost less."
        )


def markdown(micro, macro, kernel, startup, idle, left_out):
    """The whole report (str). micro, macro: (labels, Sheet) or None."""
    known = notes()
    lines = [
        f"# Benchmark of {time.strftime('%Y-%m-%d %H:%M')}\n",
        f"Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f} at the end. Medians"
        " of interleaved rounds; in brackets the ratio to native, the median of the rounds' ratios.",
    ]
    if micro:
        lines += machine(micro[1].machine)
    lines += [f"\n{name} was left out: {reason}" for name, reason in left_out.items()]
    labels = {}
    for title, what, part in (("One operation", "operation", micro), ("Whole programs", "program", macro)):
        if part:
            labels |= part[0]
            lines += [f"\n## {title}\n", *comparison(*part, what, known)]
    lines += served(labels, kernel)
    lines += rest(labels, known)
    if startup:
        lines += ["\n## Start to end of `true`\n", *start_table(startup)]
    for name, (sizes, cpu, _) in idle.items():
        own = sum(sum(sizes.get(role, {}).values()) for role in ("sentry", "gofer")) / 1024
        lines.append(f"\n## An idle container: {name}\n")
        lines.append(f"Sentry and gofer together {own:.1f} MiB (PSS); CPU while idle {cpu:.2f} %.\n")
        lines += memory.table(sizes)
    return "\n".join(lines) + "\n"


def plot(labels, sheet, title, stem):
    """Bars of the ratio to native, one group a row, and the targets, as stem.png and stem.svg. Returns whether it could."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name, rows in sheet.values.items() if rows and name != "native"]
    rows = [row for row in labels if sheet.median("native", row)]
    if not names or not rows:
        return True
    known, colours = notes(), {runner.name: f"C{number}" for number, runner in enumerate(runners.ALL)}
    figure, axes = pyplot.subplots(figsize=(11, 0.075 * len(rows) * (len(names) + 1) + 2))
    for index, name in enumerate(names):
        places = [place + (index - len(names) / 2 + 0.5) * 0.85 / len(names) for place in range(len(rows))]
        ratios = [sheet.ratio(name, row) for row in rows]
        # A bar begins at 1: to the left is faster than native.
        axes.barh(places, [(ratio or 1) - 1 for ratio in ratios], 0.85 / len(names), left=1, label=name, color=colours[name])
    for place, row in enumerate(rows):
        if "target" in known.get(row, {}):
            axes.plot([known[row]["target"]] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.5)
    axes.plot([], [], color="black", linewidth=1.5, label="target")
    axes.set_yticks(range(len(rows)), [labels[row] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time, ratio to native")
    axes.set_title(title, pad=45)
    axes.legend(ncols=(len(names) + 2) // 2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small", frameon=False)
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(f"{stem}.{kind}", dpi=110)
    pyplot.close(figure)
    return True
