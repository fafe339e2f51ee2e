"""What an idle sandbox costs: memory of Sentry and gofer (PSS, with where it goes) and CPU time."""

import os
import re
import subprocess
import time

PAGE_GROUPS = (
    ("stub and guest", r"stub|/micro|memfd"),
    ("interpreter (libpython or python3)", r"/python3|libpython"),
    ("stockade's extensions", r"/(sentry|gofer|sandbox)/.*\.so"),
    ("the interpreter's extensions", r"lib-dynload"),
    ("C library and others", r"\.so"),
    ("heap", r"\[heap\]"),
    ("stack", r"\[stack"),
    ("anonymous", r"^$"),
)


def children_of(pid):
    """All living descendants of a process (list of int)."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], [pid]
    while queue:
        for child in parents.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return found


def name_of(pid):
    """The kernel's name of a process (stockade-sentry, stockade-gofer, stockade-guest …); "" when gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def cpu_of(pid):
    """CPU ticks of a process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    except OSError:
        return 0


def pss_of(pid):
    """KiB of PSS of a process by group of mapping (dict)."""
    groups, current = {}, "anonymous"
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$", line)
            if head:
                path = head[1].strip()
                current = next((name for name, pattern in PAGE_GROUPS if re.search(pattern, path)), "other files")
            elif line.startswith("Pss:"):
                groups[current] = groups.get(current, 0) + int(line.split()[1])
    return groups


def role_of(pid):
    """sentry, gofer, cli or guest (str) of a process below `stockade run`."""
    name = name_of(pid)
    for role in ("sentry", "gofer"):
        if role in name:
            return role
    return "cli" if name == "stockade" or "python" in name else "guest"


def measure(runner, seconds=3):
    """An idle container: (PSS by role and group, idle CPU in percent, names), or None if it will not start."""
    command, extra, identity = runner.command(["/mnt/micro", "idle"])
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **extra}
    )
    try:
        if process.stdout.readline().strip() != b"ready":
            return None
        time.sleep(1)
        tree = [process.pid, *children_of(process.pid)]
        before = sum(map(cpu_of, tree))
        start = time.monotonic()
        time.sleep(seconds)
        ticks = sum(map(cpu_of, tree)) - before
        idle = 100 * ticks / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)
        memory = {}
        for pid in tree:
            groups = memory.setdefault("cli" if pid == process.pid else role_of(pid), {})
            for group, size in pss_of(pid).items():
                groups[group] = groups.get(group, 0) + size
        return memory, idle, {pid: name_of(pid) for pid in tree}
    finally:
        runner.delete(identity)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def table(memory):
    """The memory of an idle sandbox as Markdown lines."""
    roles = [role for role in ("sentry", "gofer", "cli", "guest") if role in memory]
    groups = sorted({group for role in roles for group in memory[role]}, key=lambda g: -sum(memory[r].get(g, 0) for r in roles))
    yield "| PSS, MiB | " + " | ".join(roles) + " |"
    yield "| --- |" + " ---: |" * len(roles)
    for group in groups:
        yield f"| {group} | " + " | ".join(f"{memory[role].get(group, 0) / 1024:.2f}" for role in roles) + " |"
    yield "| **all** | " + " | ".join(f"**{sum(memory[role].values()) / 1024:.2f}**" for role in roles) + " |"
