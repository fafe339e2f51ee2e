"""Files by name, for fast handlers."""

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memchr, memcpy

from sentry.core.guest cimport GuestThread
from sentry.fs.gofer cimport GoferInode
from sentry.kernel.task cimport Task
from sentry.syscalls.fast_file cimport EBADF, own_kind
from sentry.vfs.dentry cimport Path
from sentry.vfs.fastwalk cimport FAST_GENERAL, Place, walk_cached
from sentry.vfs.file cimport File

from sentry.fs.tmpfs import TmpfsInode
from sentry.vfs.inode import Inode

cdef enum:
    AT_FDCWD = -100
    PATH_MAX = 4096

cdef dict KINDS = {}  # class of inodes -> KIND_*


cdef int kind_of(object inode) except -1:
    cdef PyObject *known
    if own_kind(inode):
        return KIND_REGULAR
    if type(inode) is GoferInode:
        return KIND_ASK if (<GoferInode?>inode).shared else KIND_GOFER
    known = PyDict_GetItem(KINDS, <object>type(inode))
    if known == NULL:
        return learn(type(inode))
    return <object>known


cdef int learn(object cls) except -1:
    cdef int kind = KIND_ASK
    if cls.getattr is Inode.getattr:
        kind = KIND_SIZE if cls.blocks is Inode.blocks else KIND_NOTHING if cls.blocks is TmpfsInode.blocks else KIND_ASK
    KINDS[cls] = kind
    return kind


cdef int find(Task task, GuestThread thread, int arg, int dirfd, int flags, Place *place) except 2:
    cdef char path[PATH_MAX]  # our own: the guest may change its memory meanwhile
    cdef const char *text = thread.text(arg)
    cdef const void *end
    cdef Py_ssize_t length
    cdef Path start = task.fs.cwd
    cdef File file
    if text == NULL:
        return FAST_GENERAL
    end = memchr(text, 0, PATH_MAX)
    if end == NULL or end == text:
        return FAST_GENERAL
    length = <const char *>end - text
    memcpy(path, text, length)
    if memchr(path, 0, length) != NULL:
        return FAST_GENERAL
    if dirfd != AT_FDCWD and path[0] != c"/":
        file = task.files.get(dirfd)
        if file is None:
            return -EBADF
        start = file.path
        if start is None or start.dentry.children is None:
            return FAST_GENERAL
    return walk_cached(task.fs, task.creds, start, path, length, flags, place)
