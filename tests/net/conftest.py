"""Two network namespaces of this machine, joined by a pair of veth interfaces."""

import os
import subprocess
import time

import pytest


class Pair:
    """`inside`, `outside`: names of the namespaces (`ip netns`); 10.77.9.1 and 10.77.9.2, fd77:9::1 and ::2."""

    def __init__(self):
        self.inside, self.outside = f"st-in-{os.getpid()}", f"st-out-{os.getpid()}"
        self.address, self.peer = "10.77.9.1", "10.77.9.2"

    def make(self):
        def ip(*arguments):
            subprocess.run(["ip", *arguments], check=True)

        for name in (self.inside, self.outside):
            ip("netns", "add", name)
        ip("link", "add", "veth-i", "netns", self.inside, "type", "veth", "peer", "name", "veth-o", "netns", self.outside)
        for name, link, number in ((self.inside, "veth-i", 1), (self.outside, "veth-o", 2)):
            ip("-n", name, "addr", "add", f"10.77.9.{number}/24", "dev", link)
            ip("-n", name, "-6", "addr", "add", f"fd77:9::{number}/64", "dev", link, "nodad")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")
        end = time.monotonic() + 30  # link-local addresses wait for their duplicate check
        while time.monotonic() < end and any(self.tentative(name) for name in (self.inside, self.outside)):
            time.sleep(0.1)

    def tentative(self, name):
        return "tentative" in subprocess.run(["ip", "-n", name, "addr"], capture_output=True, text=True, check=True).stdout

    def remove(self):
        for name in (self.inside, self.outside):
            subprocess.run(["ip", "netns", "del", name], check=False)

    def outside_run(self, *command, **options):
        """Run a program natively at the other end; CompletedProcess with text."""
        options = {"capture_output": True, "text": True, "timeout": 30, **options}
        return subprocess.run(["ip", "netns", "exec", self.outside, *command], **options)


@pytest.fixture(scope="session")
def pair():
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces: needs root")
    made = Pair()
    try:
        made.make()
        yield made
    finally:
        made.remove()
