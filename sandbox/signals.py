"""Signal names and numbers of Linux x86-64 (the signal module costs an import of enum)."""

from sandbox.errors import CliError

NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU "
    "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
NUMBERS = {name: number for number, name in enumerate(NAMES, 1)}
NUMBERS.update(IOT=6, CLD=17, POLL=29, UNUSED=31)
SIGRTMIN, SIGRTMAX = 34, 64

SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM, SIGCHLD, SIGWINCH = 1, 2, 3, 9, 15, 17, 28


def number(text: str) -> int:
    """"TERM", "SIGTERM", "term", "15", "RTMIN+3" -> number; CliError."""
    name = text.upper()
    if name.startswith("SIG"):
        name = name[3:]
    if name in NUMBERS:
        return NUMBERS[name]
    value = None
    if name.isdigit():
        value = int(name)
    elif name.startswith("RTMIN") and (name == "RTMIN" or name[5:6] == "+" and name[6:].isdigit()):
        value = SIGRTMIN + int(name[6:] or 0)
    elif name.startswith("RTMAX") and (name == "RTMAX" or name[5:6] == "-" and name[6:].isdigit()):
        value = SIGRTMAX - int(name[6:] or 0)
    if value is None or not 0 <= value <= 64:
        raise CliError(f"unknown signal {text!r}")
    return value
