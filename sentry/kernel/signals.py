"""Signals: being written (signal(7)). The functions below are what the dispatcher calls."""


def user_return(task, result) -> None:
    """`task.work` is set and the task is about to return to guest code. `result`: of the system call (may be a
    restart code), or None after an interrupt or fault. Delivers signals, stops, ends the task, or resumes it."""
    raise NotImplementedError


def fault(task, info) -> None:
    """A synchronous fault in guest code: info = (signo, code, addr, trapno, error code)."""
    raise NotImplementedError


def frame_fault(task) -> None:
    """A signal frame could not be written or read: SIGSEGV, forced."""
    raise NotImplementedError


def host_death(task) -> None:
    """The host process of the task is gone: the group ends as by SIGKILL."""
    raise NotImplementedError


def send(task_or_group, signo: int, info=None) -> int:
    raise NotImplementedError
