"""Error numbers of Linux x86-64, and the kernel-internal restart codes (include/linux/errno.h)."""

from errno import *  # noqa: F403  (a C module: all E* names)

# A blocked call ended by a signal returns one of these (negative); signal delivery turns it into
# a restart or into EINTR. They never reach the guest.
ERESTARTSYS = 512  # restart if the handler has SA_RESTART, or if there is none
ERESTARTNOINTR = 513  # always restart
ERESTARTNOHAND = 514  # restart only if no handler runs
ERESTART_RESTARTBLOCK = 516  # as NOHAND, but by restart_syscall(2), which keeps the deadline
