"""Fast twins of sys_open.py: files and directories that exist and whose names are cached. (close: fast_fd.pyx.)"""

from libc.stdint cimport uint32_t

from sentry.core.guest cimport SLOW, GuestThread
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport ENOTDIR, O_APPEND, O_NONBLOCK, RLIMIT_NOFILE, own_kind, watched
from sentry.syscalls.fast_path cimport find
from sentry.vfs.dentry cimport Dentry, Path
from sentry.vfs.fastwalk cimport FAST_GENERAL, Place
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount
from sentry.vfs.perm cimport inode_permission
from sentry.vfs.regular cimport DirFile, RegularFile

from sentry.core import leaks
from sentry.fs.overlay import OverlayDir
from sentry.fs.tmpfs import TmpfsDir

cdef enum:
    EISDIR = 21
    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100
    O_ACCMODE = 3
    O_RDONLY = 0
    O_WRONLY = 1
    O_NOCTTY = 0o400
    O_DSYNC = 0o10000
    O_LARGEFILE = 0o100000
    O_DIRECTORY = 0o200000
    O_NOFOLLOW = 0o400000
    O_CLOEXEC = 0o2000000
    O_SYNC = 0o4010000
    O_KNOWN = 0o37777703
    # what does not concern how a file is found or made
    SIMPLE = O_ACCMODE | O_NOCTTY | O_APPEND | O_NONBLOCK | O_SYNC | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    KEPT = SIMPLE & ~(O_CLOEXEC | O_NOCTTY)
    MAY_READ = 4
    MAY_WRITE = 2
    MS_RDONLY = 1
    S_IFMT = 0o170000
    S_IFLNK = 0o120000

cdef object TMPFS_DIR = TmpfsDir
cdef object OVERLAY_DIR = OverlayDir
cdef bint COUNTED = leaks.ENABLED


cdef long open_at(Task task, GuestThread thread, int arg, int dirfd, uint32_t flags) except? -9001:
    cdef Place place
    cdef Mount mount
    cdef Dentry d
    cdef Inode inode
    cdef Path path
    cdef File file
    cdef long fd
    cdef int error, mask
    flags = flags & O_KNOWN | O_LARGEFILE
    if flags & ~<uint32_t>SIMPLE or watched():
        return SLOW
    error = find(task, thread, arg, dirfd, AT_SYMLINK_NOFOLLOW if flags & O_NOFOLLOW else 0, &place)
    if error:
        return SLOW if error == FAST_GENERAL else error
    mount = <Mount?>place.mount
    d = <Dentry?>place.dentry
    inode = d.inode
    # open_path and may_open (vfs/ops.py)
    if own_kind(inode):
        if flags & O_DIRECTORY:
            return -ENOTDIR
    elif type(inode) is not OVERLAY_DIR and type(inode) is not TMPFS_DIR:
        return SLOW
    elif flags & O_ACCMODE:
        return -EISDIR
    mask = MAY_READ if flags & O_ACCMODE == O_RDONLY else MAY_WRITE if flags & O_ACCMODE == O_WRONLY else MAY_READ | MAY_WRITE
    error = inode_permission(task.creds, inode, mask)
    if error:
        return error
    if flags & O_ACCMODE and (mount.flags & MS_RDONLY or mount.fs.read_only or inode.writers < 0):
        return SLOW
    path = Path.__new__(Path)
    path.mount = mount
    path.dentry = d
    if d.children is None:
        file = RegularFile.__new__(RegularFile)
    else:
        file = DirFile.__new__(DirFile)
    file.flags = flags & KEPT
    file.path = path
    file.inode = inode
    file.refs = 1
    fd = task.files.install(file, (<tuple?>task.tg.rlimits[RLIMIT_NOFILE])[0], flags & O_CLOEXEC != 0)
    if fd < 0:
        return fd
    # from here on it counts as an open file: File.__init__, and those of the two classes
    mount.pins += 1
    inode.opens += 1
    if flags & O_ACCMODE:
        inode.writers += 1
        file.claim = 1
    if COUNTED:
        leaks.add("file")
    return fd


cdef long open(object task, GuestThread thread) except? -9001:
    return open_at(<Task?>task, thread, 0, AT_FDCWD, <uint32_t>thread.a[1])


cdef long openat(object task, GuestThread thread) except? -9001:
    return open_at(<Task?>task, thread, 1, <int>thread.a[0], <uint32_t>thread.a[2])


fast("open", open)
fast("openat", openat)
