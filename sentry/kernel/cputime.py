"""CPU time of guest processes: the CPU clocks of their host processes.

A host process has clocks that any process of the same pid namespace may read (posix-cpu-timers.c): number 2 is
exact, 0 (user and system time) and 1 (user time) count ticks and give the proportion. They cover ended threads too.
The clock of a single thread of another process cannot be read, so that of a thread of several is estimated: see
`thread`. Processes that share an address space without being threads of one another share the host process: while a
vfork child has not called exec its time is its own, as the parent is suspended; with bare CLONE_VM each is given the
time of both.
"""

from time import clock_gettime_ns

from sentry.kernel.hooks import TASK_EXIT

CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED = 0, 1, 2


def host_times(pid: int) -> "tuple[int, int]":
    """User and system time of a host process in ns; (0, 0) once it is gone."""
    base = ~pid << 3
    try:
        exact = clock_gettime_ns(base | CPUCLOCK_SCHED)
        ticks = clock_gettime_ns(base | CPUCLOCK_PROF)
        user_ticks = clock_gettime_ns(base | CPUCLOCK_VIRT)
    except OSError:
        return 0, 0
    # kernel/sched/cputime.c:cputime_adjust
    user = exact if user_ticks >= ticks else exact * user_ticks // ticks
    return user, exact - user


def process(tg) -> "tuple[int, int]":
    """User and system time of a process in ns, without its children's."""
    user, system = tg.cpu_before
    for task in tg.tasks:
        if task.mm is not None:
            more_user, more_system = host_times(task.mm.aspace.pid)
            return max(0, user + more_user), max(0, system + more_system)
    return max(0, user), max(0, system)


def share(child, aspace) -> None:
    """A new process begins in its parent's host process: what that has used so far is not the child's."""
    user, system = host_times(aspace.pid)
    child.cpu_before = (-user, -system)


def leave(task) -> None:
    """The process of `task` is about to leave its host process (exec, end), which is still there: keep the time
    used in it. A suspended vfork parent used none meanwhile."""
    tg = task.tg
    user, system = host_times(task.mm.aspace.pid)
    tg.cpu_before = (tg.cpu_before[0] + user, tg.cpu_before[1] + system)
    wait = task.vfork_done
    if wait is not None:
        parent = wait.task.tg
        parent.cpu_before = (parent.cpu_before[0] - tg.cpu_before[0], parent.cpu_before[1] - tg.cpu_before[1])


class Shares:
    """How a process's time is divided among its threads. `last`: the process's time divided so far; `parts`: Task
    -> its (user, system) in ns."""

    __slots__ = ("last", "parts")

    def __init__(self, tg):
        self.last = process(tg)
        count = len(tg.tasks)
        self.parts = {task: (self.last[0] // count, self.last[1] // count) for task in tg.tasks}

    def settle(self, tg) -> None:
        """Divide what was used since the last time among the threads that do not sleep now."""
        user, system = process(tg)
        more_user, more_system = user - self.last[0], system - self.last[1]
        self.last = user, system
        awake = [task for task in tg.tasks if task.wait is None] or tg.tasks
        for task in awake:
            mine = self.parts.get(task, (0, 0))
            self.parts[task] = mine[0] + more_user // len(awake), mine[1] + more_system // len(awake)


def thread(task) -> "tuple[int, int]":
    """User and system time of a thread in ns: exact for the only one, an estimate for one of several, as the host
    tells no more. The process's time is divided when somebody asks and when a thread ends."""
    tg = task.tg
    shares = tg.data.get("cpu_shares")
    if shares is None:
        shares = tg.data["cpu_shares"] = Shares(tg)
    else:
        shares.settle(tg)
    return shares.parts.get(task, (0, 0))


def thread_ends(task) -> None:
    shares = task.tg.data.get("cpu_shares")
    if shares is not None:
        shares.settle(task.tg)
        shares.parts.pop(task, None)


TASK_EXIT.append(thread_ends)
