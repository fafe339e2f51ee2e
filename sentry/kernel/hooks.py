"""What else must be told of the end of threads and processes. Modules with timers, locks, undo lists append
their functions at import; this module imports nothing, so that it is complete whatever is imported first."""

TASK_EXIT = []  # function(task): a thread is about to end, everything of it is still there
GROUP_EXIT = []  # function(tg): its last thread is about to end; the parent has not been told yet
EXEC = []  # function(task): a new program begins (execve(2) lists what it loses)
