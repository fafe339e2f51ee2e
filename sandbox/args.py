"""The argument parser of the commands.

Our own because importing argparse costs 10 ms, half of a container start. It takes what OCI callers send:
`--flag value`, `--flag=value`, `-f value`, `-flag value` (Go's style), `--switch`, `--switch=false`, grouped
short switches, and `--`.
"""

from sandbox.errors import UsageError


class Option:
    """One flag. names: "--name" first, then "-n"; metavar: None for a switch; many: collect a list."""

    __slots__ = ("names", "metavar", "help", "default", "many", "key", "choices")

    def __init__(self, names, metavar, help, default=None, many=False, choices=None):
        self.names = names.split()
        self.metavar = metavar
        self.help = help
        self.default = default
        self.many = many
        self.choices = choices
        self.key = self.names[0].lstrip("-").replace("-", "_")


class Values:
    """Parsed options as attributes (dashes become underscores). given: the keys of those that were there."""

    def __init__(self, options):
        self.given = set()
        for option in options:
            setattr(self, option.key, [] if option.many else option.default if option.metavar else bool(option.default))


    def copy(self) -> "Values":
        other = Values(())
        other.__dict__.update(self.__dict__)
        return other


def parse(options, argv, command=None, interspersed=True):
    """(Values, positional arguments). interspersed False: flags end at the first positional argument.

    Raises UsageError. An argument "--help" or "-h" sets `values.help`.
    """
    values = Values(options)
    values.help = False
    table = {name: option for option in options for name in option.names}
    positional = []
    i = 0
    while i < len(argv):
        arg = argv[i]
        i += 1
        if arg == "--":
            positional += argv[i:]
            break
        if arg == "-" or not arg.startswith("-"):
            positional.append(arg)
            if not interspersed:
                positional += argv[i:]
                break
            continue
        name, equals, value = arg.partition("=")
        option = table.get(name)
        if option is None and not name.startswith("--"):
            option = table.get("-" + name)  # Go style: -bundle
        if option is None:
            if name in ("--help", "-h", "-help"):
                values.help = True
                continue
            if not name.startswith("--") and len(name) > 2 and not equals and set_group(values, table, name[1:]):
                continue
            raise UsageError(f"unknown flag {name}{hint(name, table)}", command)
        values.given.add(option.key)
        if option.metavar is None:
            setattr(values, option.key, truth(name, value, command) if equals else True)
            continue
        if not equals:
            if i >= len(argv):
                raise UsageError(f"flag {name} needs a value ({option.metavar})", command)
            value = argv[i]
            i += 1
        if option.choices and value not in option.choices:
            raise UsageError(f"flag {name}: {value!r} is none of {', '.join(option.choices)}", command)
        if option.many:
            getattr(values, option.key).append(value)
        else:
            setattr(values, option.key, value)
    return values, positional


def set_group(values, table, letters):
    """`-it` as `-i -t`; False unless every letter is a switch."""
    found = [table.get("-" + letter) for letter in letters]
    if any(option is None or option.metavar for option in found):
        return False
    for option in found:
        setattr(values, option.key, True)
    return True


def truth(name, value, command):
    if value in ("true", "1", "t", "yes"):
        return True
    if value in ("false", "0", "f", "no"):
        return False
    raise UsageError(f"flag {name}: {value!r} is neither true nor false", command)


def hint(name, table):
    """A "did you mean" for a name that another flag begins with, or that differs in one character."""
    for known in table:
        if len(name) > 3 and (known.startswith(name) or name.startswith(known) and len(known) > 3 or near(name, known)):
            return f" (did you mean {known}?)"
    return ""


def near(a, b):
    """Do the words differ by one replaced, added, missing or swapped character?"""
    if abs(len(a) - len(b)) > 1:
        return False
    k = 0
    while k < min(len(a), len(b)) and a[k] == b[k]:
        k += 1
    return a[k + 1 :] == b[k + 1 :] or a[k:] == b[k + 1 :] or a[k + 1 :] == b[k:] or (
        len(a) == len(b) and sorted(a[k : k + 2]) == sorted(b[k : k + 2]) and a[k + 2 :] == b[k + 2 :]
    )  # fmt: skip


def describe(options):
    """The help text of the options, one or more lines each."""
    lines = []
    for option in options:
        left = ", ".join(reversed(option.names))
        if option.metavar:
            left += f" {option.metavar}"
        text = option.help
        if option.many:
            text += " (may be repeated)"
        if option.metavar and option.default not in (None, ""):
            text += f" [{option.default}]"
        if len(left) > 26:
            lines.append(f"  {left}")
            left = ""
        lines.append(f"  {left:<26} {text}")
    return "\n".join(lines)
