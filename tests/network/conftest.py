"""Two network namespaces joined by a veth pair: one that a CNI plugin might have prepared for a container, and a peer."""

import glob
import os
import subprocess
import time

import pytest


class Wire:
    """`inside`: path of the container's namespace (10.77.0.2, fd77::2); the peer is 10.77.0.1 and fd77::1."""

    def __init__(self, name):
        self.a, self.b = f"{name}-a", f"{name}-b"
        self.inside = f"/run/netns/{self.a}"

    def make(self):
        for line in (
            f"netns add {self.a}", f"netns add {self.b}",
            f"link add va netns {self.a} type veth peer name vb netns {self.b}",
            f"-n {self.a} addr add 10.77.0.2/24 dev va", f"-n {self.b} addr add 10.77.0.1/24 dev vb",
            f"-n {self.a} addr add fd77::2/64 dev va nodad", f"-n {self.b} addr add fd77::1/64 dev vb nodad",
            f"-n {self.a} link set lo up", f"-n {self.b} link set lo up",
            f"-n {self.a} link set va up", f"-n {self.b} link set vb up",
            f"-n {self.a} route add default via 10.77.0.1",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True, timeout=10)
        end = time.monotonic() + 5  # link-local addresses of the peer wait for their duplicate check
        while "tentative" in self.ip("addr") and time.monotonic() < end:
            time.sleep(0.1)

    def ip(self, *args, where=None):
        done = subprocess.run(["ip", "-n", where or self.b, *args], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout

    def peer(self, *command, **more):
        """A process in the peer's namespace."""
        return subprocess.Popen(["ip", "netns", "exec", self.b, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def remove(self):
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10)


@pytest.fixture
def wire():
    if os.geteuid():
        pytest.skip("needs root")
    if not glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "sentry", "net", "lwip.*.so")):
        pytest.skip("built without lwIP: its source could not be fetched")
    made = Wire(f"stockade-{os.getpid()}")
    try:
        made.make()
        yield made
    finally:
        made.remove()
