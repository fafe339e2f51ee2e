"""What the kernel itself tells `stockade debug --stats`: counts of system calls, of tasks, and the profile."""

from time import monotonic_ns

from sentry.core import counters, stats
from sentry.core.syscall import TABLE
from sentry.kernel import fastroad

STAGES = {
    counters.HANDLER: "handler",
    counters.REPLY: "reply",
    counters.SERVED: "served",
    counters.WAIT: "look for events",
}


def provide(kernel) -> None:
    """Register the sections of `kernel` (kernel.Kernel)."""
    stats.provide("kernel", lambda: of_kernel(kernel))
    stats.provide("calls", of_calls)
    if kernel.patcher is not None:
        stats.provide("patch", kernel.patcher.statistics)
    stats.provide("profile", lambda: of_profile(kernel))


def name_of(nr: int) -> str:
    """A system call's name; its number where this kernel does not have it."""
    row = TABLE[nr] if nr >= 0 else None
    if row is not None:
        return row.name
    return f"#{nr}" if nr >= 0 else "other"


def of_kernel(kernel) -> dict:
    return {
        "platform": kernel.platform.name,
        "uptime_ns": monotonic_ns() - kernel.boot_time,
        "processes": sum(len(pids.groups) for pids in kernel.pid_namespaces),
        "threads": sum(len(pids.tasks) for pids in kernel.pid_namespaces),
        "forks": kernel.forks,
        "timers": len(kernel.timers.heap),
        "futexes": len(kernel.futexes),
    }


def of_calls() -> dict:
    """{name: {"calls": times served by the dispatcher, "fast": of them by a fast handler, "waits": had to wait}}, the most
    frequent first."""
    rows = sorted(counters.counts(), key=lambda row: -row[1])
    return {name_of(nr): {"calls": calls, "fast": fast, "waits": waits} for nr, calls, fast, waits in rows}


def set_profiling(kernel, on: bool) -> None:
    """Begin a profile anew, or end it."""
    kernel.profile = counters.Profile() if on else None
    fastroad.set_profile(kernel.profile)


def of_profile(kernel) -> "dict | None":
    """Times in nanoseconds: each stage with a histogram {upper bound: count}, each call's handler. None: not switched on."""
    if kernel.profile is None:
        return None
    ratio, stages, calls = kernel.profile.report()
    answer = {"stages": {}, "handlers": {}}
    for stage, (bins, ticks) in stages.items():
        count = sum(bins)
        if count:
            histogram = {str(round((1 << n) / ratio)): number for n, number in enumerate(bins) if number}
            answer["stages"][STAGES[stage]] = {
                "count": count, "mean_ns": ticks / ratio / count, "total_ns": round(ticks / ratio), "below_ns": histogram,
            }  # fmt: skip
    for nr, count, ticks in sorted(calls, key=lambda row: -row[2]):
        answer["handlers"][name_of(nr)] = {"calls": count, "mean_ns": ticks / ratio / count, "total_ns": round(ticks / ratio)}
    return answer
