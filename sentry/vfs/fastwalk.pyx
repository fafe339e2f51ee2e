"""The path walk for what the cache knows: no Python frame, no reference counting of results, no look-ups in file systems.

It answers what `walk.resolve` would, or FAST_GENERAL where more is needed: names and targets of links that are not
cached, many links, file systems that are asked at every walk, strange paths. Nothing has happened then but that access times
of links have moved, and the caller goes the general way.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memcpy

from sentry.core.creds cimport Creds
from sentry.vfs.atime cimport touch
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
    LINKS = 8  # that are followed here
    MS_NOSYMFOLLOW = 256
    SEARCHABLE = 0o111  # everybody may walk through


cdef int walk_cached(FsContext fs, Creds creds, Path start, const char *path, Py_ssize_t length, int flags, Place *place) except FAST_FAULT:
    cdef Py_ssize_t at = 0, begin, target
    cdef Mount mount
    cdef Dentry d, step
    cdef PyObject *found
    cdef int error, links = 0
    cdef bint trailing
    cdef char joined[2][PATH_MAX]  # the target of a link and what remains of the path; the one before may be its source
    cdef char *into
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
                while d is not fs.root.dentry or mount is not fs.root.mount:
                    if d is not mount.root:
                        if d.parent is not None:
                            d = d.parent
                        break
                    if mount.parent is None:
                        break
                    d = mount.mountpoint
                    mount = mount.parent
                    if mount.revalidate:
                        return FAST_GENERAL
                if d.mounted:
                    return FAST_GENERAL
                continue
        if at - begin > NAME_MAX:
            return FAST_GENERAL
        found = <PyObject *>PyDict_GetItem(d.children, PyBytes_FromStringAndSize(path + begin, at - begin))
        if found is NULL:
            return FAST_GENERAL
        if found is <PyObject *>None:
            return -ENOENT
        step = <Dentry?>found
        trailing = at == length
        if step.inode.mode & S_IFMT == S_IFLNK and (not trailing or not flags & AT_SYMLINK_NOFOLLOW):
            # walk.link_target
            links += 1
            target = len(step.inode.link_text) if step.inode.link_text is not None else 0
            if links > LINKS or target == 0 or mount.flags & MS_NOSYMFOLLOW or target + length - at >= PATH_MAX:
                return FAST_GENERAL
            if trailing and creds.fsuid != step.inode.uid and d.inode.mode & 0o1002 == 0o1002 and d.inode.uid != step.inode.uid:
                return FAST_GENERAL  # protected_symlinks
            touch(mount, step.inode)
            into = joined[links & 1]
            memcpy(into, PyBytes_AS_STRING(step.inode.link_text), target)
            memcpy(into + target, path + at, length - at)
            path = into
            length = target + length - at
            at = 0
            if path[0] == c"/":
                mount = fs.root.mount
                d = fs.root.dentry
                if mount is None or mount.revalidate:
                    return FAST_GENERAL
            continue
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
