"""Fast twins of getdents64 and getcwd (sys_dir.py), readlink and readlinkat (sys_stat.py)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sentry.core.guest cimport SLOW, GuestThread
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport EBADF, EFAULT, EINVAL, ENOENT, O_PATH, accessed
from sentry.syscalls.fast_path cimport find
from sentry.vfs.atime cimport touch
from sentry.vfs.context cimport FsContext
from sentry.vfs.dentry cimport Dentry
from sentry.vfs.fastwalk cimport FAST_GENERAL, Place
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount
from sentry.vfs.regular cimport DirFile

cdef enum:
    ERANGE = 34
    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100
    S_IFMT = 0o170000
    S_IFLNK = 0o120000
    PATH_MAX = 4096
    RECORDS = 1 << 18  # GETDENTS_MAX
    HEAD = 19  # bytes of a record before the name

cdef char BUFFER[RECORDS]


cdef long put(GuestThread thread, int arg, const char *data, uint64_t length) noexcept:
    """`length` bytes, not 0, to where argument `arg` points: that many, or -EFAULT."""
    cdef char *to = thread.output(arg, length)
    if to == NULL:
        return <long>length if thread.copy_out(thread.a[arg], data, length) == <long>length else -EFAULT
    memcpy(to, data, length)
    thread.wrote(arg, length)
    return <long>length


cdef long link_at(Task task, GuestThread thread, int dirfd, int arg, int size) except? -9001:
    cdef Place place
    cdef Inode inode
    cdef int error
    if size <= 0:
        return -EINVAL
    error = find(task, thread, arg, dirfd, AT_SYMLINK_NOFOLLOW, &place)
    if error:
        return SLOW if error == FAST_GENERAL else error
    mount = <Mount?>place.mount
    inode = (<Dentry?>place.dentry).inode
    if inode.mode & S_IFMT != S_IFLNK:
        return -EINVAL
    if inode.link_text is None:
        return SLOW
    touch(mount, inode)
    return put(thread, arg + 1, PyBytes_AS_STRING(inode.link_text), <uint64_t>min(PyBytes_GET_SIZE(inode.link_text), size))


cdef long readlink(object task, GuestThread thread) except? -9001:
    return link_at(<Task?>task, thread, AT_FDCWD, 0, <int>thread.a[2])


cdef long readlinkat(object task, GuestThread thread) except? -9001:
    return link_at(<Task?>task, thread, <int>thread.a[0], 1, <int>thread.a[3])


cdef long getcwd(object task, GuestThread thread) except? -9001:
    cdef FsContext fs = (<Task?>task).fs
    cdef Dentry d = fs.cwd.dentry
    cdef Mount mount = fs.cwd.mount
    cdef char text[PATH_MAX]
    cdef Py_ssize_t at = PATH_MAX - 1, length
    if d.dead:
        return -ENOENT
    if mount is None:
        return SLOW
    text[at] = 0
    while d is not fs.root.dentry or mount is not fs.root.mount:
        if d is mount.root:
            if mount.parent is None:
                return SLOW  # not below the root
            d = mount.mountpoint
            mount = mount.parent
            continue
        if d.parent is None:
            return SLOW
        length = PyBytes_GET_SIZE(d.name)
        if length >= at:
            return SLOW
        at -= length
        memcpy(text + at, PyBytes_AS_STRING(d.name), <size_t>length)
        at -= 1
        text[at] = c"/"
        d = d.parent
    if at == PATH_MAX - 1:
        at -= 1
        text[at] = c"/"
    if <uint64_t>(PATH_MAX - at) > thread.a[1]:
        return -ERANGE
    return put(thread, 0, text + at, <uint64_t>(PATH_MAX - at))


cdef long getdents64(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    cdef uint32_t space = min(<uint32_t>thread.a[2], <uint32_t>RECORDS)
    cdef DirFile directory
    cdef list snapshot
    cdef tuple entry
    cdef bytes name
    cdef long long at
    cdef uint64_t ino
    cdef Py_ssize_t n
    cdef uint32_t used = 0, length
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is not DirFile:
        return SLOW
    directory = <DirFile?>file
    if directory.path.dentry.dead:
        return -ENOENT
    if directory.snapshot is None:
        error = directory.take_snapshot()
        if error:
            return error
    snapshot = directory.snapshot
    at = directory.pos
    while at < len(snapshot):
        entry = snapshot[at]
        name = entry[0]
        n = PyBytes_GET_SIZE(name)
        length = <uint32_t>(n + HEAD + 8) & ~<uint32_t>7  # with its NUL, padded to 8
        if length > space - used:
            if not used:
                return -EINVAL
            break
        at += 1
        ino = entry[1]
        memset(BUFFER + used + length - 8, 0, 8)
        memcpy(BUFFER + used, &ino, 8)
        memcpy(BUFFER + used + 8, &at, 8)
        BUFFER[used + 16] = <char>(length & 0xFF)
        BUFFER[used + 17] = <char>(length >> 8)
        BUFFER[used + 18] = <char>((<uint32_t>entry[2] >> 12) & 15)
        memcpy(BUFFER + used + HEAD, PyBytes_AS_STRING(name), <size_t>n)
        used += length
    if used and thread.copy_out(thread.a[1], BUFFER, used) != <long>used:
        return -EFAULT
    directory.pos = at
    accessed(directory)
    return used


fast("readlink", readlink)
fast("readlinkat", readlinkat)
fast("getcwd", getcwd)
fast("getdents64", getdents64)
