"""The Sentry's start: from descriptors and a configuration to a running kernel.

`prepare` runs in the command, with its rights; `start_platform` in the Sentry's process before it is confined;
`Sandbox` after that, when nothing can be opened, executed or imported any more.
"""

import os

from sentry import boot_mounts, syscalls  # noqa: F401  (system calls register themselves)
from sentry.boot_config import Config  # noqa: F401  (for the command)
from sentry.control import ControlError, Server, close_all
from sentry.core import hostinfo, log
from sentry.fs.gofer_client import GoferClient, GoferDead
from sentry.fs.hostfd import open_host_fd
from sentry.kernel import trace
from sentry.kernel.container import Container, StartError
from sentry.kernel.kernel import Kernel
from sentry.kernel.uts import UTS

EPOLLIN, EPOLLRDHUP = 1, 0x2000
SIGKILL = 9
REMEMBERED = 1000  # wait statuses of ended `exec` programs that nobody has asked for yet
