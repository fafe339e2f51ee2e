"""What the fast handlers of files share."""

from cpython.dict cimport PyDict_GetItem
from cpython.long cimport PyLong_AsUnsignedLongLong
from cpython.object cimport PyObject

from sentry.core.guest cimport WIDE, GuestThread
from sentry.fs.tmpfs cimport TmpfsRegular
from sentry.kernel.task cimport Task
from sentry.mm.manager cimport MM
from sentry.mm.vma cimport VMA
from sentry.vfs.atime cimport touch
from sentry.vfs.file cimport File

from sentry.fs.overlay import OverlayRegular
from sentry.vfs import notify

cdef enum:
    O_NOATIME = 0o1000000
    PROT_WRITE = 2

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
    if file.flags & O_NOATIME:
        return 0
    return touch(None if file.path is None else file.path.mount, file.inode)


cdef char *wide(GuestThread thread, unsigned long long addr, unsigned long long length) noexcept:
    cdef Task task = <Task?>thread.task
    cdef VMA area
    cdef TmpfsRegular file
    if length > WIDE or type(task.mm) is not MM:
        return NULL
    area = (<MM?>task.mm).vmas.find(addr)
    if area is None or area.shared or not area.prot & PROT_WRITE or addr + length > <unsigned long long>area.end:
        return NULL
    if area.backing is not None:  # behind the end of a file is no memory
        if type(area.backing.inode) is not TmpfsRegular:
            return NULL
        file = <TmpfsRegular?>area.backing.inode
        if file.below is not None or area.offset + <long long>(addr + length) - area.start > file.size:
            return NULL
    return thread.wide()
