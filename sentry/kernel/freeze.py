"""Pausing a container (`stockade pause`): no guest thread of it runs, and none notices.

A thread that would go back to guest code is held instead (`Kernel.frozen`, looked at in `Kernel.back_to_guest`), also
one whose sleep ends meanwhile. Calls that sleep go on sleeping; they are not interrupted. The fast road is closed
while any container of the sandbox is paused: its handlers answer without asking the kernel.
"""

from time import monotonic_ns

from sentry.kernel import fastroad

FIRST_ROUND, ROUND_MAX = 1000000, 1000000000  # ns


def freeze(kernel, container) -> None:
    """Stop all threads of a Container, as soon as they can be stopped. Nothing if they are."""
    if container not in kernel.frozen:
        kernel.frozen[container] = held = []
        fastroad.close(True)
        chase(kernel, container, held, FIRST_ROUND)


def hold_new(kernel, container) -> None:
    """A program has been started in the container: if that is paused, so is the program."""
    if container in kernel.frozen:
        chase(kernel, container, kernel.frozen[container], FIRST_ROUND)


def chase(kernel, container, held, pause) -> None:
    """Interrupt what runs; again after a while if there was something: a signal's handler, a new program and a new
    thread begin without asking."""
    if kernel.frozen.get(container) is not held:
        return
    still = {task for task, _ in held}
    tasks = [task for tg in container.members for task in tg.tasks]
    running = [task for task in tasks if task.thread is not None and not task.dead and task.wait is None and task not in still]
    for task in running:
        task.thread.interrupt()
    if running:
        kernel.timers.add(monotonic_ns() + pause, lambda: chase(kernel, container, held, min(2 * pause, ROUND_MAX)))


def thaw(kernel, container) -> None:
    """Let them go on. Nothing if they are not stopped."""
    held = kernel.frozen.pop(container, None)
    if held is None:
        return
    if not kernel.frozen:
        fastroad.close(False)
    for task, result in held:
        if not task.dead:
            kernel.back_to_guest(task, result)
