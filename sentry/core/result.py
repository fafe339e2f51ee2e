"""How handlers answer: an int (value or -errno), or one of two marks that no value can equal."""

BLOCKED = -(1 << 70)  # the task has been given a Wait; the call goes on later
NO_RETURN = -(1 << 71)  # the handler has resumed or ended the thread itself (exec, sigreturn, exit)


class SysErr(Exception):
    """A guest error met deep below the handler; the dispatcher returns -errno. For rare cases:
    expected errors are returned as negative ints."""

    def __init__(self, errno: int):
        self.errno = errno
