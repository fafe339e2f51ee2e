"""Pausing a sandbox (`stockade pause`): no guest thread runs, and none notices.

A thread that would go back to guest code is held instead (`Kernel.frozen`, looked at in `Kernel.back_to_guest`), also
one whose sleep ends meanwhile. Calls that sleep go on sleeping; they are not interrupted. The fast road is closed
for the time: its handlers answer without asking the kernel.
"""

from time import monotonic_ns

from sentry.kernel import fastroad

FIRST_ROUND, ROUND_MAX = 1000000, 1000000000  # ns


def freeze(kernel) -> None:
    """Stop all threads, as soon as they can be stopped. Nothing if they are."""
    if kernel.frozen is None:
        kernel.frozen = []
        fastroad.close(True)
        chase(kernel, kernel.frozen, FIRST_ROUND)


def chase(kernel, held, pause) -> None:
    """Interrupt what runs; again after a while if there was something: a signal's handler, a new program and a new
    thread begin without asking."""
    if kernel.frozen is not held:
        return
    still = {task for task, _ in held}
    running = [task for task in kernel.tasks.values() if not task.dead and task.wait is None and task not in still]
    for task in running:
        task.thread.interrupt()
    if running:
        kernel.timers.add(monotonic_ns() + pause, lambda: chase(kernel, held, min(2 * pause, ROUND_MAX)))


def thaw(kernel) -> None:
    """Let them go on. Nothing if they are not stopped."""
    held, kernel.frozen = kernel.frozen, None
    if held is None:
        return
    fastroad.close(False)
    for task, result in held:
        if not task.dead:
            kernel.back_to_guest(task, result)
