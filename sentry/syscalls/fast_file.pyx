"""What the fast handlers of files share."""

from cpython.dict cimport PyDict_GetItem
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong
from cpython.object cimport PyObject

from sentry.fs.tmpfs cimport TmpfsRegular
from sentry.kernel.task cimport Task
from sentry.vfs.clock cimport file_ns
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount

from sentry.fs.overlay import OverlayRegular
from sentry.vfs import notify
from sentry.vfs.atime import touch

cdef enum:
    O_NOATIME = 0o1000000
    MS_NOATIME = 1 << 10
    MS_STRICTATIME = 1 << 24

cdef long long DAY = 86400 * 1000000000
cdef dict NOTIFY = vars(notify)
cdef object ACTIVE = "active"
cdef object OVERLAY_REGULAR = OverlayRegular


cdef bint watched() noexcept:
    cdef PyObject *active = PyDict_GetItem(NOTIFY, ACTIVE)
    return active == NULL or <object>active is not 0


cdef unsigned long long soft_limit(Task task, int which) except? 0:
    return PyLong_AsUnsignedLongLong((<tuple?>task.tg.rlimits[which])[0])


cdef bint own_kind(object inode) noexcept:
    return type(inode) is TmpfsRegular or type(inode) is OVERLAY_REGULAR


cdef int accessed(File file) except -1:
    cdef Inode inode = file.inode
    cdef Mount mount = None
    cdef long long atime, mtime, ctime
    cdef int odd_a = 0, odd_m = 0, odd_c = 0
    if file.flags & O_NOATIME:
        return 0
    if file.path is not None:
        mount = <Mount?>file.path.mount
        if mount is not None and mount.flags & MS_NOATIME:
            return 0
    # Mostly relatime asks for nothing; a time that no 64-bit number of nanoseconds holds is left to Python.
    if mount is None or not mount.flags & MS_STRICTATIME:
        atime = PyLong_AsLongLongAndOverflow(inode.atime, &odd_a)
        mtime = PyLong_AsLongLongAndOverflow(inode.mtime, &odd_m)
        ctime = PyLong_AsLongLongAndOverflow(inode.ctime, &odd_c)
        if not (odd_a or odd_m or odd_c) and atime > mtime and atime > ctime and file_ns() - atime < DAY:
            return 0
    touch(mount, inode)
    return 0
