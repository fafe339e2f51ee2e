"""The ways in which the benchmark runs a program: natively, in other runtimes and in stockade.

All see the same files: a root directory below an overlay whose changes stay in memory, a tmpfs on /tmp, /proc, /dev,
and what the benchmark brings along on /mnt. Where the runtime cannot make the overlay itself (natively, runc, crun,
proot), it is mounted in a private mount namespace around it; stockade and runsc have their own. "Natively" means in
a chroot of that root.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get("STOCKADE_CACHE") or os.path.join(ROOT, ".cache")
STOCKADE = os.path.join(ROOT, "bin", "stockade")
HERE = os.path.join(ROOT, "benchmarks")
WORK = os.path.join(ROOT, "build", "bench")
STAGE = os.path.join(WORK, "mnt")  # what the programs see on /mnt
PLACE = os.path.join(WORK, "place")  # where the overlay is mounted
MICRO = os.path.join(STAGE, "micro")
BUSYBOX = os.path.join(CACHE, "rootfs", "busybox")
DEBIAN = os.path.join(CACHE, "rootfs", "debian-bench")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Docker's default, without what only networks need.
CAPABILITIES = ["CAP_" + name for name in "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID".split()]

# Arguments: place, root, what to bind on /mnt ("" if the runtime does it), command.
ENTER = """
place=$1 root=$2 bind=$3; shift 3
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$place/upper,workdir=$place/work" "$place/root"
if [ -n "$bind" ]; then
    mount -t proc proc "$place/root/proc"
    mount --rbind /dev "$place/root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$place/root/tmp"
    mount --bind "$bind" "$place/root/mnt"
fi
exec "$@"
"""

# Programs of the benchmark itself: name -> (sources, libraries).
PROGRAMS = {
    "micro": ["micro.c", "micro_calls.c", "micro_files.c", "micro_many.c", "micro_machine.c"],
    "httpload": ["httpload.c"],
}


def build():
    """Fills STAGE: compiles the static programs where a source is newer, copies the scripts."""
    os.makedirs(STAGE, exist_ok=True)
    os.makedirs(PLACE, exist_ok=True)
    for name, sources in PROGRAMS.items():
        target = os.path.join(STAGE, name)
        paths = [os.path.join(HERE, source) for source in sources]
        newest = max(os.path.getmtime(path) for path in [*paths, os.path.join(HERE, "micro.h")])
        if not os.path.exists(target) or os.path.getmtime(target) < newest:
            flags = ["-static", "-O1", "-pthread", "-Wall", "-Wno-unused-result"]
            subprocess.run(["gcc", *flags, "-o", target, *paths], check=True)
    for folder in ("macro", "services"):
        shutil.copytree(os.path.join(HERE, folder), os.path.join(STAGE, folder), dirs_exist_ok=True)


def bundle(name, root, arguments, environment=(), netns=None):
    """Writes an OCI bundle that every runtime takes; returns its directory. netns: path of its network namespace, or a new one."""
    path = os.path.join(WORK, f"bundle-{name}")
    os.makedirs(path, exist_ok=True)
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(arguments),
            "env": [PATH, *environment],
            "cwd": "/",
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
        },
        "root": {"path": root, "readonly": False},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/mnt", "type": "bind", "source": STAGE, "options": ["bind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    if netns:
        config["linux"]["namespaces"][1]["path"] = netns
        config["process"]["capabilities"] = {kind: [*CAPABILITIES, "CAP_NET_BIND_SERVICE"] for kind in ("bounding", "effective", "permitted")}
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return path


class Failed(RuntimeError):
    """A program that could not be run to a good end. output: what it had printed by then (str)."""

    def __init__(self, reason, output):
        super().__init__(reason)
        self.output = output


class Runner:
    """One way to run a program.

    kind: native, proot, oci (an OCI runtime on top of our overlay) or own (one with an overlay of its own).
    """

    serial = 0

    def __init__(self, name, program, flags=(), kind="oci", needs=None, before=""):
        """needs: a device; before: shell commands to run first in the private mount namespace (kind oci)."""
        self.name, self.program, self.flags, self.kind = name, program, list(flags), kind
        self.needs, self.before = needs, before

    @property
    def is_stockade(self):
        return self.program == STOCKADE

    @property
    def missing(self):
        """Why it cannot be tried at all (str), or None."""
        if self.program is not None and shutil.which(self.program) is None:
            return "it is not installed"
        if self.needs and not os.access(self.needs, os.R_OK | os.W_OK):
            return f"{self.needs} is not to be had"
        return None

    def command(self, arguments, environment=(), root=BUSYBOX, netns=None):
        """(command, environment as dict, container id or None) that run `arguments` in the root directory `root`.
        netns: path of a network namespace for them."""
        place = os.path.join(PLACE, "root")
        unshare = ["unshare", "--mount", "--propagation", "private"]
        enter = ["sh", "-ec", self.before + ENTER, "sh", PLACE, root]
        if self.kind in ("native", "proot"):
            unshare += ["--pid", "--mount-proc", "--fork", "--kill-child"]  # nothing outlives the run
            inner = [shutil.which("chroot"), place]
            if self.kind == "proot":
                inner = [shutil.which(self.program), "-r", place, "-b", "/proc", "-b", "/dev", "-w", "/"]
            extra = dict(pair.split("=", 1) for pair in [PATH, *environment])
            if netns:
                unshare = ["nsenter", f"--net={netns}", *unshare]
            return [*unshare, *enter, STAGE, *inner, *arguments], extra, None
        Runner.serial += 1
        identity = f"bench-{os.getpid()}-{Runner.serial}"
        path = bundle(self.name.replace(" ", "-"), root if self.kind == "own" else place, arguments, environment, netns)
        run = [shutil.which(self.program), *self.flags, "run", "--bundle", path, identity]
        return run if self.kind == "own" else [*unshare, *enter, "", *run], {}, identity

    def delete(self, identity):
        """Removes a container whose `run` was given up."""
        subprocess.run([self.program, *self.flags, "delete", "--force", identity], capture_output=True, timeout=30)

    def run(self, arguments, environment=(), timeout=600, root=BUSYBOX, netns=None):
        """Runs to the end; returns its output (str). Failed when it fails or takes longer than `timeout` seconds."""
        return self.run_held(arguments, None, None, environment, timeout, root, netns)[0]

    def run_held(self, arguments, mark, ask, environment=(), timeout=600, root=BUSYBOX, netns=None):
        """As `run`, but once a line that begins with `mark` is printed calls ask(runner, container id), and then gives
        the program a line of input. Returns (output, answer); mark None: no such line is waited for."""
        if mark is not None:
            environment = [*environment, "BENCH_HOLD=1"]
        command, extra, identity = self.command(arguments, environment, root, netns)
        lines, answer, late = [], None, []
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL if mark is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, errors="replace", env={**os.environ, **extra}, start_new_session=True,
            )  # fmt: skip
            timer = threading.Timer(timeout, self.give_up, (process, identity, late))
            timer.start()
            try:
                for line in process.stdout:
                    lines.append(line)
                    if mark is not None and line.startswith(mark):
                        answer = ask(self, identity)
                        process.stdin.write("\n")
                        process.stdin.close()
                code = process.wait()
            except BaseException:
                self.give_up(process, identity, late)
                process.wait()
                raise
            finally:
                timer.cancel()
                process.stdout.close()
            errors.seek(0)
            output, said = "".join(lines), errors.read()
        if late:
            raise Failed(f"no end within {timeout} s", output)
        if code:
            raise Failed(f"exit {code}: {last_words(said or output)}", output)
        return output, answer

    def give_up(self, process, identity, late):
        """Ends a run that takes too long, with all that it started."""
        late.append(True)
        os.killpg(process.pid, signal.SIGKILL)
        if identity:  # the runtime's own parent is gone: its container must not stay
            self.delete(identity)


def last_words(text):
    """The end of what a process said, on one line."""
    lines = text.strip().splitlines()
    return " / ".join(lines[-2:])[-300:] or "it said nothing"


# Its own state directory: it leaves lock files there.
RUNSC = ["--root=" + os.path.join(WORK, "runsc"), "--network=none", "--overlay2=root:memory"]
ALL = [
    Runner("native", None, kind="native"),
    Runner("runc", "runc"),
    # It refuses to run where both cgroup hierarchies are mounted.
    Runner("crun", "crun", before="umount /sys/fs/cgroup/unified 2>/dev/null || :"),
    Runner("proot", "proot", kind="proot"),
    Runner("runsc ptrace", "runsc", [*RUNSC, "--platform=ptrace"], "own"),
    Runner("runsc kvm", "runsc", [*RUNSC, "--platform=kvm"], "own", "/dev/kvm"),
    Runner("stockade systrap", STOCKADE, ["--platform", "systrap"], "own"),
    Runner("stockade ptrace", STOCKADE, ["--platform", "ptrace"], "own"),
]
