"""Files by name, for fast handlers."""

from sentry.core.guest cimport GuestThread
from sentry.kernel.task cimport Task
from sentry.vfs.fastwalk cimport Place

cdef enum:
    KIND_ASK  # attributes are to be asked for: the plain handler's
    KIND_SIZE  # st_blocks follows from the size
    KIND_NOTHING  # st_blocks is 0
    KIND_REGULAR  # TmpfsRegular or the overlay's
    KIND_GOFER

# What can be said of the attributes of such an inode without asking anybody.
cdef int kind_of(object inode) except -1

# Walk to the path that argument `arg` points to; `flags`: AT_SYMLINK_NOFOLLOW or 0. 0 and the place, -errno, or
# FAST_GENERAL: leave the call to the plain handler (an empty path, too).
cdef int find(Task task, GuestThread thread, int arg, int dirfd, int flags, Place *place) except 2
