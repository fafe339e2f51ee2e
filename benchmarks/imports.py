"""`make imports`: what each import costs the command line tool, and a process that starts a container."""

import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = (["--version"], ["list"], ["run", "--help"], ["do", "--", "true"])


def costs(arguments):
    """(microseconds, module) of each import of `stockade ARGUMENTS`, the parent's own time only."""
    interpreter = ["/usr/bin/python3", "-IS", "-X", "importtime", os.path.join(ROOT, "bin", "stockade"), "--root", "/run/stockade-imports"]
    done = subprocess.run(interpreter + arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    rows = []
    for line in done.stderr.splitlines():
        match = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line)
        if match:
            rows.append((int(match[1]), match[2]))
    return rows


def main():
    for arguments in COMMANDS:
        rows = costs(arguments)
        print(f"\nstockade {' '.join(arguments)}: {len(rows)} modules, {sum(cost for cost, _ in rows) / 1000:.1f} ms")
        for cost, module in sorted(rows, reverse=True)[:20]:
            print(f"  {cost / 1000:7.2f} ms  {module}")


if __name__ == "__main__":
    main()
