"""`make bench-network`: what services get through, beside runc and Debian's runsc in the same round.

Each run gets two new network namespaces with a veth pair between them, as a CNI plugin makes them: the container's
(10.77.0.2) and a peer's (10.77.0.1). Rows on loopback stay within the container, the others go across the veth.
Figures are rates, more is better; a ratio is the median of the rounds' ratios to runc.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runners  # noqa: E402

PEER, INSIDE = "10.77.0.1", "10.77.0.2"
IPERF = os.path.join(runners.STAGE, "iperf")
CONTROL = 5201  # iperf3's port
LATEST = 20  # seconds that a server may take to listen

RUNSC = ["--root=" + os.path.join(runners.WORK, "runsc"), "--overlay2=root:memory"]
ALL = [
    runners.Runner("native", None, kind="native"),
    runners.Runner("runc", "runc"),
    runners.Runner("runsc host", "runsc", [*RUNSC, "--network=host"], "own"),
    runners.Runner("runsc sandbox", "runsc", [*RUNSC, "--network=sandbox"], "own"),
    runners.Runner("stockade host", runners.STOCKADE, ["--network", "host"], "own"),
    runners.Runner("stockade sandbox", runners.STOCKADE, ["--network", "sandbox"], "own"),
]


class Pair:
    """Two network namespaces joined by a veth pair, while the `with` lasts."""

    def __init__(self):
        self.a, self.b = f"bench-{os.getpid()}-a", f"bench-{os.getpid()}-b"
        self.path = f"/run/netns/{self.a}"

    def __enter__(self):
        for line in (
            f"netns add {self.a}", f"netns add {self.b}",
            f"link add va netns {self.a} type veth peer name vb netns {self.b}",
            f"-n {self.a} addr add {INSIDE}/24 dev va", f"-n {self.b} addr add {PEER}/24 dev vb",
            f"-n {self.a} link set lo up", f"-n {self.b} link set lo up",
            f"-n {self.a} link set va up", f"-n {self.b} link set vb up",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True, timeout=10)
        return self

    def __exit__(self, *_):
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10)

    def peer(self, *command, **more):
        """A process in the peer's namespace."""
        return subprocess.Popen(["ip", "netns", "exec", self.b, *command], **more)


def stage_iperf():
    """iperf3 of this machine with its libraries, for the container's root has none."""
    os.makedirs(IPERF, exist_ok=True)
    program = shutil.which("iperf3")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"=> (/\S+)", listed)]:
        if not re.search(r"/(libc|libm)\.so", path):
            shutil.copy(path, IPERF)


def iperf(runner, reverse):
    """Gbit/s of one connection between the container and the peer."""
    with Pair() as pair:
        server = pair.peer("iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
        try:
            await_port(pair, PEER, CONTROL, pair.b)
            command = ["/mnt/iperf/iperf3", "-c", PEER, "-J", "-t", "3", *(["-R"] if reverse else [])]
            output = runner.run(command, ["LD_LIBRARY_PATH=/mnt/iperf"], 60, runners.DEBIAN, netns=pair.path)
            return json.loads(output)["end"]["sum_received"]["bits_per_second"] / 1e9
        finally:
            server.kill()
            server.wait()


def loopback(runner, row, operations):
    """Thousands of operations a second of a script in services/ that stays on loopback."""
    with Pair() as pair:
        output = runner.run(["bash", f"/mnt/services/{row}.sh"], timeout=120, root=runners.DEBIAN, netns=pair.path)
    found = re.search(r"^elapsed_us (\d+)$", output, re.MULTILINE)
    if not found:
        raise runners.Failed("no time in its output", output)
    return operations * 1000 / int(found[1])


def nginx_outside(runner):
    """Thousands of requests a second for a file of 1,000 bytes, of wrk in the peer's namespace."""
    with Pair() as pair:
        command, extra, identity = runner.command(["bash", "/mnt/services/nginx_serve.sh"], root=runners.DEBIAN, netns=pair.path)
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **extra}, start_new_session=True
        )
        try:
            await_port(pair, INSIDE, 80, pair.b)
            time.sleep(0.2)
            wrk = pair.peer("wrk", "-t1", "-c16", "-d3", f"http://{INSIDE}/", stdout=subprocess.PIPE, text=True)
            output = wrk.communicate(timeout=30)[0]
            server.communicate(b"\n", timeout=20)
        except BaseException:
            runner.give_up(server, identity, [])
            server.wait()
            raise
    found = re.search(r"Requests/sec: +([\d.]+)", output)
    if not found or "Non-2xx" in output:
        raise runners.Failed(f"wrk: {runners.last_words(output)}", output)
    return float(found[1]) / 1000


def await_port(pair, host, port, where):
    """Until something listens there, as seen from the namespace `where`."""
    end = time.monotonic() + LATEST
    while time.monotonic() < end:
        listening = where == pair.b and host == PEER and subprocess.run(
            ["ss", "-N", where, "-Htln", f"sport = {port}"], capture_output=True, text=True, timeout=10).stdout
        reached = host != PEER and subprocess.run(
            ["ip", "netns", "exec", where, "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}"], capture_output=True, timeout=10).returncode == 0
        if listening or reached:
            return
        time.sleep(0.05)
    raise runners.Failed(f"nothing listens on {host}:{port}", "")


ROWS = {
    "redis": ("redis GET and SET, 50 clients, loopback (1,000/s)", lambda runner: loopback(runner, "redis_tcp", 40000)),
    "nginx": ("nginx, 1,000 bytes, 4 connections, loopback (1,000/s)", lambda runner: loopback(runner, "nginx_tcp", 20000)),
    "nginx_wrk": ("nginx, 1,000 bytes, wrk with 16 connections outside (1,000/s)", nginx_outside),
    "iperf_out": ("iperf3, out of the container (Gbit/s)", lambda runner: iperf(runner, False)),
    "iperf_in": ("iperf3, into the container (Gbit/s)", lambda runner: iperf(runner, True)),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help=f"some of {','.join(ROWS)}, with commas between")
    parser.add_argument("--only", help="runc and what has one of these in its name, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def measure(chosen, rows, rounds):
    """{row: {runner's name: [rate a round, or None]}}, {(row, runner's name): why it failed}."""
    values, failed = {row: {runner.name: [] for runner in chosen} for row in rows}, {}
    for _ in range(rounds):
        for row in rows:
            for runner in chosen:
                value = None
                if (row, runner.name) not in failed:
                    try:
                        value = ROWS[row][1](runner)
                    except (runners.Failed, subprocess.SubprocessError) as error:
                        failed[row, runner.name] = str(error)
                        print(f"[bench] {runner.name}: {row}: {error}", file=sys.stderr)
                values[row][runner.name].append(value)
    return values, failed


def table(values, failed, names):
    """Markdown: the median rate, and the ratio to runc."""
    yield "| row | " + " | ".join(names) + " |"
    yield "| --- |" + " ---: |" * len(names)
    for row, rates in values.items():
        cells = []
        for name in names:
            pairs = [(mine, base) for mine, base in zip(rates[name], rates["runc"]) if mine and base]
            if not pairs:
                cells.append("failed" if (row, name) in failed else "–")
                continue
            cells.append(f"{statistics.median(mine for mine, _ in pairs):.1f} ({statistics.median(mine / base for mine, base in pairs):.2f})")
        yield f"| {ROWS[row][0]} | " + " | ".join(cells) + " |"


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root: it makes network namespaces")
    runners.build()
    rows = options.rows.split(",") if options.rows else list(ROWS)
    if unknown := [row for row in rows if row not in ROWS]:
        sys.exit(f"no such row: {', '.join(unknown)}")
    chosen = [runner for runner in ALL if runner.missing is None]
    if options.only:
        chosen = [runner for runner in chosen if runner.name == "runc" or any(part in runner.name for part in options.only.split(","))]
    stage_iperf()
    values, failed = measure(chosen, rows, options.rounds)
    print("\n".join(table(values, failed, [runner.name for runner in chosen])))
    for (row, name), reason in failed.items():
        print(f"\n{name}, {row}: {reason}")


if __name__ == "__main__":
    main()
