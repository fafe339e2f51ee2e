"""The ways in which the benchmark runs a static program: natively, in other runtimes and in stockade."""

import json
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("STOCKADE_CACHE") or os.path.join(ROOT, ".cache")
STOCKADE = os.path.join(ROOT, "bin", "stockade")
WORK = os.path.join(ROOT, "build", "bench")
MICRO = os.path.join(WORK, "micro")
ROOTFS = os.path.join(CACHE, "rootfs", "busybox")


def build_micro():
    """Compiles micro.c where it is newer than the program."""
    source = os.path.join(ROOT, "benchmarks", "micro.c")
    os.makedirs(WORK, exist_ok=True)
    if not os.path.exists(MICRO) or os.path.getmtime(MICRO) < os.path.getmtime(source):
        subprocess.run(["gcc", "-static", "-O1", "-pthread", "-Wno-unused-result", "-o", MICRO, source], check=True)


def bundle(name, arguments, environment=()):
    """Writes an OCI bundle that every runtime takes; returns its directory."""
    path = os.path.join(WORK, f"bundle-{name}")
    os.makedirs(path, exist_ok=True)
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(arguments),
            "env": ["PATH=/bin", *environment],
            "cwd": "/",
            "capabilities": {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": ROOTFS, "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/mnt", "type": "bind", "source": WORK, "options": ["bind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


class Runner:
    """One way to run a program; `command` makes the argument list for a named bundle and its arguments."""

    serial = 0

    def __init__(self, name, program, flags=(), kind="oci"):
        self.name, self.program, self.flags, self.kind = name, program, list(flags), kind

    @property
    def usable(self):
        return self.kind == "native" or shutil.which(self.program) is not None

    def command(self, arguments, environment=()):
        """The command (list) and environment (dict) that run `arguments` with micro at /mnt/micro."""
        extra = dict(pair.split("=", 1) for pair in environment)
        if self.kind == "native":
            return [argument.replace("/mnt/", WORK + "/") for argument in arguments], extra
        if self.kind == "proot":
            proot = [self.program, "-r", ROOTFS, "-b", f"{WORK}:/mnt", "-b", "/dev/shm:/tmp", "-b", "/proc", "-w", "/"]
            return proot + list(arguments), extra
        Runner.serial += 1
        identity = f"bench-{os.getpid()}-{Runner.serial}"
        path = bundle(self.name.replace(" ", "-"), arguments, environment)
        return [self.program, *self.flags, "run", "--bundle", path, identity], {}

    def run(self, arguments, environment=(), timeout=600):
        """Runs to the end; returns its output (str). Raises RuntimeError with what it said when it fails."""
        command, extra = self.command(arguments, environment)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env={**os.environ, **extra}
            )
        except subprocess.TimeoutExpired:
            if self.kind == "oci":  # the runtime's own parent is gone: its container must not stay
                subprocess.run([self.program, *self.flags, "delete", "--force", command[-1]], capture_output=True, timeout=30)
            raise
        if done.returncode:
            raise RuntimeError(f"{self.name}: exit {done.returncode}: {(done.stderr or done.stdout)[-300:].strip()}")
        return done.stdout


ALL = [
    Runner("native", None, kind="native"),
    Runner("runc", "runc"),
    Runner("crun", "crun"),
    Runner("proot", "proot", kind="proot"),
    Runner("runsc", "runsc", ["--network=none"]),
    Runner("stockade systrap", STOCKADE, ["--platform", "systrap"]),
    Runner("stockade ptrace", STOCKADE, ["--platform", "ptrace"]),
]
