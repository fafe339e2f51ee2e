"""Access times, for handlers in C."""

from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount

cpdef int touch(Mount mount, Inode inode) except -1
