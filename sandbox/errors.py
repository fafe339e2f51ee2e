"""What a command may fail with."""


class CliError(Exception):
    """A failure to tell the user in one line. code: exit status of the command (int)."""

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


class UsageError(CliError):
    """Wrong arguments; `command` (str or None) is whose help to point to."""

    def __init__(self, message: str, command=None):
        super().__init__(message, 1)
        self.command = command


def os_text(error: OSError) -> str:
    """The text of an OSError without its number: "No such file or directory: '/x'"."""
    text = error.strerror or str(error)
    if error.filename is not None:
        text += f": {os_name(error.filename)}"
    return text


def os_name(name) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
