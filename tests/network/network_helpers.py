"""What the network tests share."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "peer.py")
GUEST = "/tests/peer.py"


def output(process, seconds=40):
    text, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, text
    return text


def wait_for_port(wire, host, port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        probe = wire.peer(sys.executable, PEER, "probe", host, str(port))
        if "open" in probe.communicate(timeout=20)[0]:
            return
        time.sleep(0.1)
    raise AssertionError(f"{host} port {port} never opened")
