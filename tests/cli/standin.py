"""A stand-in for sentry.boot: a "kernel" without guests, for tests of all that is around one.

What its program does is the first argument of the container: `exit` N, `sleep`, `die` N (of signal N), `cat` (standard
input to output), `crash` (the Sentry), `slow` (to create), `late` (fails to be created), `missing` and `denied` (cannot be executed).
"""

import os
import select
import sys
import time

from sentry.control import ControlError, Server
from sentry.core import jsonlite
from sentry.fs.gofer_client import GoferClient


class Loop:
    """The part of a platform that the control server uses."""

    def __init__(self):
        self.epoll = select.epoll()
        self.callbacks = {}

    def watch(self, fd, events, callback):
        self.callbacks[fd] = callback
        self.epoll.register(fd, events)

    def unwatch(self, fd):
        del self.callbacks[fd]
        self.epoll.unregister(fd)

    def wait(self):
        for fd, events in self.epoll.poll(5):
            if fd in self.callbacks:
                self.callbacks[fd](fd, events)


def learn(config):
    pass


def open_network(config):
    pass


def start_platform(config):
    return Loop()


class Sandbox:
    def __init__(self, config, platform, fail):
        self.config = config
        self.platform = platform
        self.args = config.spec["process"]["args"]
        self.gofer = GoferClient(config.gofer)
        root = self.gofer.attach(0)
        if isinstance(root, int):
            fail(f"root: errno {-root}")
        self.status = None
        self.started = False
        self.waiters = []
        self.server = Server(platform, config.control, self)
        platform.watch(config.gofer, select.EPOLLIN, self.gofer_gone)
        if self.args[0] == "slow":
            time.sleep(0.2)
        if self.args[0] == "late":
            fail("asked to fail", 3)

    def hold(self, fd):
        self.platform.watch(fd, select.EPOLLRDHUP, self.gofer_gone)

    def gofer_gone(self, fd, events):
        self.end(9)

    def run(self):
        while self.status is None:
            self.platform.wait()
        code = 128 + self.status if self.status & 0x7F else self.status >> 8
        os.write(self.config.exit, b"%d\n" % code)
        for callback in self.waiters:
            callback(self.status)
        return code

    def end(self, status):
        self.status = status

    def start(self, taken=None, links=()):
        kind = self.args[0]
        if kind == "missing":
            raise ControlError('exec: "missing": executable file not found', 127)
        if kind == "denied":
            raise ControlError('exec: "denied": permission denied', 126)
        if kind == "crash":
            os.mkdir("/x")  # not in the seccomp list
        self.started = True
        if kind == "exit":
            self.end(int(self.args[1]) << 8)
        elif kind == "die":
            self.end(int(self.args[1]))
        elif kind == "cat":
            fd = self.config.stdio[0]
            while data := os.read(fd, 4096):
                os.write(self.config.stdio.get(1, fd), data)
                if data.endswith(b"\n.\n"):
                    break
            self.end(0)
        elif kind == "report":
            os.write(self.config.stdio[1], jsonlite.dumps({"now": time.time(), "modules": sorted(sys.modules)}).encode())
            self.end(0)

    def exec(self, process, files, terminal, size, follow, early=False, program="", paused=False):
        for fd in files.values():
            os.close(fd)
        if process["args"][0] == "missing":
            raise ControlError('exec: "missing": executable file not found', 127)
        return {"pid": 7}

    def kill(self, signo, pid, everyone):
        if pid not in (0, 1):
            raise ControlError(f"no process {pid}")
        if signo:
            self.end(signo)

    def ps(self):
        return {"processes": [{"uid": 0, "pid": 1, "ppid": 0, "threads": 1, "cmd": self.args[0]}]}

    def stats(self, profile):
        self.profile = getattr(self, "profile", None) if profile is None else profile
        calls = {"read": {"calls": 3, "fast": 2, "waits": 1}, "getpid": {"calls": 20, "fast": 0, "waits": 0}}
        times = {"count": 2, "mean_ns": 1500.0, "total_ns": 3000, "below_ns": {"1024": 1, "2048": 1}}
        handlers = {"read": {"calls": 2, "mean_ns": 1500.0, "total_ns": 3000}}
        return {
            "stats": {
                "kernel": {"platform": "none", "uptime_ns": 2500000000, "processes": 1},
                "calls": calls,
                "profile": {"stages": {"handler": times}, "handlers": handlers} if self.profile else None,
                "patch": {"sites": 4, "refused": {"no room": 1}},
            }
        }

    def state(self):
        return {"status": "running" if self.started else "created"}

    def wait(self, pid, callback):
        if pid == 7:
            callback(3 << 8)
        else:
            self.waiters.append(callback)

    def resize(self, pid, rows, columns):
        pass

    def resources(self, resources, names, fds):
        for fd in fds:
            os.close(fd)

    def stacks(self):
        wait = {"pid": 1, "tid": 1, "comm": "sh", "state": "waits", "call": "read", "args": ["0x0"], "waits": "ReadWait", "frames": ["/bin/sh+0x1"]}
        return {"stacks": {"threads": [wait, {"pid": 2, "tid": 2, "comm": "x", "state": "runs guest code"}], "more": 3}}

    def log(self, level, strace, fd):
        if fd >= 0:
            os.write(fd, b"log\n")
            os.close(fd)

    def connect(self, port, fd, callback):
        os.close(fd)
        callback("nothing listens on it")

    def listeners(self, callback):
        callback([])
        return lambda: None


