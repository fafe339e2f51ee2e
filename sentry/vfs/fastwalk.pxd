"""The cached path walk, for handlers in C."""

from cpython.object cimport PyObject

from sentry.core.creds cimport Creds
from sentry.vfs.context cimport FsContext
from sentry.vfs.dentry cimport Path

cdef enum:
    FAST_GENERAL = 1  # ask walk.resolve
    FAST_FAULT = 2  # a Python exception is set


cdef struct Place:
    # Borrowed, not NULL: a Mount and a Dentry. Good until other Python code runs; `<Dentry?>place.dentry` takes a reference.
    PyObject *mount
    PyObject *dentry


# `start`: where a relative path begins; `path`: `length` bytes without NUL; `flags`: AT_SYMLINK_NOFOLLOW or 0.
# 0 and the place, or -errno, or FAST_GENERAL.
cdef int walk_cached(FsContext fs, Creds creds, Path start, const char *path, Py_ssize_t length, int flags, Place *place) except FAST_FAULT
