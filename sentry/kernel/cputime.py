"""CPU time of guest processes: the CPU clocks of their host processes.

A host process has clocks that any process of the same pid namespace may read (posix-cpu-timers.c): number 2 is
exact, 0 (user and system time) and 1 (user time) count ticks and give the proportion. They cover ended threads too. The clock of a single thread of another
process cannot be read, so a thread of several gets no time of its own: see `thread`. Processes that share an
address space without being threads of one another (vfork until exec, bare CLONE_VM) share the host process:
its time counts for the one that entered it first.
"""

from time import clock_gettime_ns

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


def thread(task) -> "tuple[int, int]":
    """User and system time of a thread in ns. For a thread of several: the process's time in equal parts, as
    the host tells no more."""
    user, system = process(task.tg)
    count = max(1, len(task.tg.tasks))
    return user // count, system // count
