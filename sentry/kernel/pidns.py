"""PID namespaces: the numbers of processes, threads, process groups and sessions.

Each container has one, unless its configuration joins that of the pod (`linux.namespaces`). They do not nest: nobody sees
two, so a process has one number.
"""

PID_MAX = 4194304
FIRST_INO = 0xEFFFFFFC  # PROC_PID_INIT_INO


class PidNamespace:
    """Tables of numbers; entries come and go as in Linux."""

    __slots__ = ("tasks", "groups", "pgrps", "sessions", "last_pid", "init", "ino")
    next_ino = FIRST_INO

    def __init__(self):
        self.tasks = {}  # tid -> Task, live threads (and zombie leaders)
        self.groups = {}  # pid -> ThreadGroup, zombies too
        self.pgrps = {}  # pgid -> ProcessGroup, kernel/session.py
        self.sessions = {}  # sid -> Session
        self.last_pid = 0
        self.init = None  # ThreadGroup of its first process
        self.ino = PidNamespace.next_ino
        PidNamespace.next_ino = 0xE0000000 if self.ino == FIRST_INO else self.ino + 1

    def taken(self, pid: int) -> bool:
        return pid in self.tasks or pid in self.groups or pid in self.pgrps or pid in self.sessions

    def new_pid(self) -> int:
        """The next free number (kernel/pid.c: cyclic)."""
        pid = self.last_pid
        while True:
            pid = pid + 1 if pid < PID_MAX else 300
            if not self.taken(pid):
                self.last_pid = pid
                return pid
