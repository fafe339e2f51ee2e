"""`make bench`: what operations and whole programs cost natively, in other runtimes and in stockade.

One table for single operations (micro*.c), one for programs from Debian (macro/), the start of a container, and the
memory of an idle one. Written to benchmarks/results as Markdown, JSON and, where matplotlib is installed, plots.
"""

import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lifecycle  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import report  # noqa: E402
import runners  # noqa: E402

RESULTS = os.path.join(runners.HERE, "results")
say = measure.say


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, fewer programs")
    parser.add_argument("--rounds", type=int, help="how often each runtime runs everything")
    parser.add_argument("--rows", help="only these operations and programs, with commas between (--list names them)")
    parser.add_argument("--only", help="only native and runtimes whose name contains one of these, with commas between")
    parser.add_argument("--no-micro", action="store_true", help="leave out single operations")
    parser.add_argument("--no-macro", action="store_true", help="leave out programs")
    parser.add_argument("--no-startup", action="store_true", help="leave out start-up times and memory")
    parser.add_argument("--list", action="store_true", help="list operations, programs and runtimes, and end")
    return parser.parse_args()


def choose(options):
    """(labels of the operations, labels of the programs) to measure."""
    micro, macro = measure.micro_rows(), measure.macro_rows()
    if options.rows:
        wanted = options.rows.split(",")
        unknown = [row for row in wanted if row not in micro and row not in macro]
        if unknown:
            sys.exit(f"no such row: {', '.join(unknown)} (--list shows them)")
        micro = {row: label for row, label in micro.items() if row in wanted}
        macro = {row: label for row, label in macro.items() if row in wanted}
    elif options.quick:
        macro = {row: label for row, label in macro.items() if label[1]}
    macro = {row: label for row, (label, _) in macro.items()}
    return {} if options.no_micro else micro, {} if options.no_macro else macro


def show_list():
    for title, rows in (("operations", measure.micro_rows()), ("programs", {k: v[0] for k, v in measure.macro_rows().items()})):
        print(f"{title}:")
        for row, label in rows.items():
            print(f"  {row:<16} {label}")
    print("runtimes:")
    for runner in runners.ALL:
        print(f"  {runner.name:<16} {runner.missing or ''}".rstrip())


def save(stem, micro, macro, kernel, startup, idle, left_out, life):
    text = report.markdown(micro, macro, kernel, startup, idle, left_out)
    if life is not None:
        text += "\n".join(["\n## Lifecycle\n", *lifecycle.markdown(life), ""])
    os.makedirs(RESULTS, exist_ok=True)
    with open(stem + ".md", "w", encoding="utf-8") as file:
        file.write(text)
    raw = {"kernel": kernel, "startup": startup, "left_out": left_out, "lifecycle": life}
    for name, part in (("micro", micro), ("macro", macro)):
        if part:
            raw[name] = {"values": part[1].values, "failed": part[1].failed, "machine": part[1].machine}
            if not report.plot(*part, f"stockade's benchmark: {name}", f"{stem}-{name}"):
                say("no plots: matplotlib is not installed (scripts/deps.sh bench)")
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(raw, file)
    print(text)
    say(f"written to {os.path.relpath(stem, runners.ROOT)}.md")


def main():
    options = arguments()
    runners.build()
    if options.list:
        show_list()
        return
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root: it mounts the roots of the other runtimes")
    micro_labels, macro_labels = choose(options)
    wanted = runners.ALL
    if options.only:
        parts = options.only.split(",")
        wanted = [runner for runner in wanted if runner.kind == "native" or any(part in runner.name for part in parts)]
    chosen, left_out = measure.usable(wanted)
    say("runtimes: " + ", ".join(runner.name for runner in chosen))
    started = time.strftime("%Y%m%d-%H%M%S")
    micro = macro = None
    kernel, startup, idle, life = {}, {}, {}, None
    if micro_labels:
        rounds = options.rounds or (2 if options.quick else 5)
        micro = micro_labels, measure.micro(chosen, list(micro_labels), rounds, 4 if options.quick else 20)
    if macro_labels:
        rounds = options.rounds or (1 if options.quick else 5)
        sheet, kernel = measure.macro(chosen, list(macro_labels), rounds)
        macro = macro_labels, sheet
    if not options.no_startup:
        say("start-up times")
        startup = measure.startup(chosen, 5 if options.quick else 20)
        for runner in chosen:
            if runner.is_stockade:
                say(f"memory and idle CPU: {runner.name}")
                measured = memory.measure(runner)
                if measured:
                    idle[runner.name] = measured
        say("start, exec and idle containers, also under containerd")
        life = lifecycle.measure([*lifecycle.ROWS, "pods"], 5 if options.quick else 20, 20 if options.quick else 100)
    save(os.path.join(RESULTS, started), micro, macro, kernel, startup, idle, left_out, life)


if __name__ == "__main__":
    main()
