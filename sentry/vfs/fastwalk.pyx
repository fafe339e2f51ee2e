"""The path walk for what the cache knows: no Python frame, no reference counting of results, no look-ups in file systems.

It answers what `walk.resolve` would, or FAST_GENERAL where more is needed: symbolic links to follow, "..", names that
are not cached, file systems that are asked at every walk, strange paths. Nothing has happened then, and the
caller goes the general way.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject

from sentry.core.creds cimport Creds
from sentry.vfs.context cimport FsContext
from sentry.vfs.dentry cimport Dentry, Path
from sentry.vfs.mount cimport Mount
from sentry.vfs.perm cimport permission

from sentry.vfs.dentry import Path as new_path

cdef enum:
    ENOENT = 2
    ENOTDIR = 20
    MAY_EXEC = 1
    AT_SYMLINK_NOFOLLOW = 0x100
    NAME_MAX = 255
    PATH_MAX = 4096
    S_IFMT = 0o170000
    S_IFLNK = 0o120000
    SEARCHABLE = 0o111  # everybody may walk through


cdef int walk_cached(FsContext fs, Creds creds, Path start, const char *path, Py_ssize_t length, int flags, Place *place) except FAST_FAULT:
    cdef Py_ssize_t at = 0, begin
    cdef Mount mount
    cdef Dentry d, step
    cdef PyObject *found
    cdef int error
    if length <= 0 or length >= PATH_MAX:
        return FAST_GENERAL
    if path[0] == c"/":
        start = fs.root
    mount = start.mount
    d = start.dentry
    if mount is None or mount.revalidate:
        return FAST_GENERAL
    while True:
        while at < length and path[at] == c"/":
            at += 1
        if at == length:
            break
        begin = at
        while at < length and path[at] != c"/":
            at += 1
        if d.children is None:
            return -ENOTDIR
        if d.inode.mode & SEARCHABLE != SEARCHABLE:
            error = permission(creds, d.inode, MAY_EXEC)
            if error:
                return error
        if path[begin] == c".":
            if at - begin == 1:
                continue
            if at - begin == 2 and path[begin + 1] == c".":
                return FAST_GENERAL
        if at - begin > NAME_MAX:
            return FAST_GENERAL
        found = <PyObject *>PyDict_GetItem(d.children, PyBytes_FromStringAndSize(path + begin, at - begin))
        if found is NULL:
            return FAST_GENERAL
        if found is <PyObject *>None:
            return -ENOENT
        step = <Dentry?>found
        if step.inode.mode & S_IFMT == S_IFLNK and (at < length or not flags & AT_SYMLINK_NOFOLLOW):
            return FAST_GENERAL
        d = step
        while d.mounted:
            found = <PyObject *>PyDict_GetItem(mount.submounts, d)
            if found is NULL:
                break
            mount = <Mount?>found
            if mount.revalidate:
                return FAST_GENERAL
            d = mount.root
    if path[length - 1] == c"/" and d.children is None:
        return -ENOTDIR
    place.mount = <PyObject *>mount
    place.dentry = <PyObject *>d
    return 0


def find(FsContext fs not None, Creds creds not None, Path start not None, bytes path not None, int flags=0):
    """The walk for Python: a Path, -errno, or None (FAST_GENERAL)."""
    cdef Place place
    cdef int result = walk_cached(fs, creds, start, path, len(path), flags, &place)
    if result == FAST_GENERAL:
        return None
    if result:
        return result
    return new_path(<object>place.mount, <object>place.dentry)
