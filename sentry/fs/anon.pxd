"""Types of anon.py."""

from sentry.vfs.file cimport File


cdef class AnonFile(File):
    pass
