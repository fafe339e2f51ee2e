"""The Sentry: a Linux kernel in user space that serves every system call of the guest."""
