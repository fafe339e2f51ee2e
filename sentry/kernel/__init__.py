"""Tasks, thread groups, signals, futexes, process life cycle.

One dispatcher thread runs everything here; there are no locks. A task is in exactly one of these states:
RUNNING in guest code (the platform has its thread), IN KERNEL (its thread is parked and a handler runs),
BLOCKED (`task.wait` holds the record of the unfinished call), STOPPED, or DEAD (zombie until reaped).
"""
