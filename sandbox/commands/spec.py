"""stockade spec"""

import os

from sandbox import oci
from sandbox.args import Option
from sandbox.errors import CliError, os_text
from sentry.core import jsonlite

USAGE = "[FLAGS]"
ABOUT = "Writes a config.json that runs a shell in the directory rootfs beside it. An existing file is kept."
OPTIONS = [
    Option("--bundle -b", "DIR", "where to write it", default="."),
    Option("--rootless", None, "for a user without privileges"),
]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    if arguments:
        raise CliError(f"spec takes no arguments, {arguments[0]!r} was given")
    path = os.path.join(values.bundle, "config.json")
    text = jsonlite.pretty(oci.example(values.rootless)) + "\n"
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{path} exists already") from None
    except OSError as error:
        raise CliError(os_text(error)) from None
    return 0
