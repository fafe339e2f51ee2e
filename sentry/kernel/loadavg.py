"""Load averages of the sandbox (kernel/sched/loadavg.c), brought up to date when somebody asks.

Linux samples every 5 s; here the number of running tasks now stands for the whole time since the last question,
which costs nothing while nobody asks.
"""

from math import exp
from time import monotonic_ns

PERIODS = (60e9, 300e9, 900e9)


class Load:
    __slots__ = ("averages", "when")

    def __init__(self, when):
        self.averages = [0.0, 0.0, 0.0]
        self.when = when


def running(kernel) -> int:
    """Tasks that run or could run."""
    return sum(1 for task in kernel.all_tasks() if not task.dead and task.wait is None)


def load_averages(kernel) -> "list[float]":
    load = kernel.load
    if load is None:
        load = kernel.load = Load(kernel.boot_time)
    now = monotonic_ns()
    elapsed = now - load.when
    if elapsed > 1_000_000_000:
        active = running(kernel)
        load.averages = [
            active + (average - active) * exp(-elapsed / period)
            for average, period in zip(load.averages, PERIODS, strict=True)
        ]
        load.when = now
    return load.averages
