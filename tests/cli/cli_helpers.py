"""What the CLI's tests share."""

import json
import os
import subprocess
import tempfile
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
STANDIN = os.path.join(HERE, "stockade_standin.py")
STOCKADE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bin", "stockade")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Cli:
    """Runs the command with a state directory of its own."""

    def __init__(self, program, state, flags=()):
        self.program = program
        self.state = str(state)
        self.flags = list(flags)

    def argv(self, *arguments):
        return [self.program, "--root", self.state, *self.flags, *map(str, arguments)]

    def __call__(self, *arguments, timeout=60, **options):
        """CompletedProcess with text. Output goes through files: a created container keeps the other end of a pipe."""
        options.setdefault("stdin", subprocess.DEVNULL)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            result = subprocess.run(self.argv(*arguments), stdout=out, stderr=err, timeout=timeout, **options)
            out.seek(0)
            err.seek(0)
            result.stdout, result.stderr = out.read(), err.read()
        return result

    def popen(self, *arguments, **options):
        return subprocess.Popen(self.argv(*arguments), **options)

    def state_of(self, cid):
        return json.loads(self("state", cid).stdout)

    def wait_status(self, cid, status, seconds=60):
        """Poll until the container has that status."""
        end = time.monotonic() + seconds
        while True:
            result = self("state", cid)
            now = json.loads(result.stdout)["status"] if result.returncode == 0 else result.stderr
            if now == status:
                return
            assert time.monotonic() < end, f"{cid} is {now}, not {status}"
            time.sleep(0.02)


def stockade_processes(state):
    """{pid: comm} of every Sentry and gofer that was started with the state directory `state`: clones keep the command
    line of their maker. Guest processes cannot outlive their Sentry, the first process of their pid namespace."""
    marker = os.fsencode(state)
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/comm") as file:
                    comm = file.read().strip()
                with open(f"/proc/{name}/stat") as file:
                    alive = file.read().rpartition(")")[2].split()[0]
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    ours = marker in file.read()
            except OSError:
                continue
            if ours and comm.startswith("stockade-") and alive != "Z":
                found[int(name)] = comm
    return found


def cgroup_directories():
    found = set()
    for top, directories, _ in os.walk("/sys/fs/cgroup"):
        found.update(os.path.join(top, name) for name in directories if "stockade" in name)
        if top.count("/") > 8:
            directories.clear()
    return found


def snapshot(state):
    with open("/proc/self/mountinfo") as file:
        mounts = sorted(line.split(" - ")[0].split(" ", 1)[1] for line in file)
    return {
        "processes": stockade_processes(state),
        # (namespaces are those of network tests, which may run at the same time)
        "mounts": [line for line in mounts if "stockade" in line and "/run/netns/" not in line or os.path.dirname(state) in line],
        "cgroups": cgroup_directories(),
        "state": sorted(os.listdir(state)) if os.path.isdir(state) else [],
    }
