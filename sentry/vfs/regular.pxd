"""Types of regular.py."""

from sentry.vfs.file cimport File


cdef class RegularFile(File):
    pass


cdef class DirFile(File):
    cdef public object snapshot
