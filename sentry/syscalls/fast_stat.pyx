"""Fast twins of sys_stat.py: attributes of files whose inodes are in the Sentry's memory, found by cached names."""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sentry.core.creds cimport Creds
from sentry.core.guest cimport SLOW, GuestThread
from sentry.fs.gofer cimport GoferInode
from sentry.fs.tmpfs cimport TmpfsRegular
from sentry.kernel.task cimport Task
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport EBADF, EFAULT, EINVAL, PAGE
from sentry.syscalls.fast_path cimport KIND_ASK, KIND_GOFER, KIND_NOTHING, KIND_SIZE, find, kind_of
from sentry.vfs.dentry cimport Dentry
from sentry.vfs.fastwalk cimport FAST_GENERAL, Place
from sentry.vfs.file cimport File
from sentry.vfs.inode cimport Inode
from sentry.vfs.mount cimport Mount
from sentry.vfs.perm cimport inode_permission

from sentry.vfs.perm import want_write

cdef extern from "<linux/stat.h>" nogil:
    struct statx_timestamp:
        int64_t tv_sec
        uint32_t tv_nsec
    struct statx:
        uint32_t stx_mask, stx_blksize
        uint64_t stx_attributes
        uint32_t stx_nlink, stx_uid, stx_gid
        unsigned short stx_mode
        uint64_t stx_ino, stx_size, stx_blocks, stx_attributes_mask
        statx_timestamp stx_atime, stx_btime, stx_ctime, stx_mtime
        uint32_t stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor
        uint64_t stx_mnt_id

cdef enum:
    EACCES = 13
    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100
    AT_EACCESS = 0x200
    AT_NO_AUTOMOUNT = 0x800
    AT_EMPTY_PATH = 0x1000
    AT_STATX_SYNC_TYPE = 0x6000
    STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE
    STATX_BTIME = 0x800
    STATX_RESULT = 0x1FFF  # basic attributes, birth time, mount id
    STATX_ATTR_MOUNT_ROOT = 0x2000
    MAY_EXEC = 1
    MAY_WRITE = 2
    MS_NOEXEC = 8
    S_IFMT = 0o170000
    S_IFREG = 0o100000
    S_IFDIR = 0o040000
    S_IFLNK = 0o120000
    SECBIT_NO_SETUID_FIXUP = 4

cdef int64_t SECOND = 1000000000


cdef struct Stat:
    uint64_t dev, ino, nlink
    uint32_t mode, uid, gid, pad
    uint64_t rdev
    int64_t size, blksize, blocks, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns
    int64_t unused[3]


cdef bint split(object time, int64_t *seconds, int64_t *ns) except -1:
    """A time of files as struct stat has it; False: no 64-bit count of nanoseconds holds it."""
    cdef int odd = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(time, &odd)
    if odd:
        return False
    seconds[0] = value // SECOND
    ns[0] = value - seconds[0] * SECOND
    return True


cdef int64_t blocks_of(Inode inode, int kind) except -1:
    cdef TmpfsRegular own
    if kind == KIND_NOTHING:
        return 0
    if kind == KIND_SIZE:
        return (inode.size >> 9) + (inode.size & 511 != 0)
    if kind == KIND_GOFER:
        return (<GoferInode?>inode).block_count
    own = <TmpfsRegular?>inode
    if own.below is None and own.fd < 0:
        return (<int64_t>len(own.data) + PAGE - 1) // PAGE * (PAGE // 512)
    if type(own.below) is GoferInode:
        return (<GoferInode?>own.below).block_count
    return inode.blocks()


cdef long put_stat(GuestThread thread, Inode inode, int arg) except? -9001:
    cdef Stat st
    cdef int kind
    cdef uint32_t dev
    cdef char *to
    if inode is None:
        return SLOW
    kind = kind_of(inode)
    if kind == KIND_ASK:
        return SLOW
    if not (split(inode.atime, &st.atime, &st.atime_ns) and split(inode.mtime, &st.mtime, &st.mtime_ns)
            and split(inode.ctime, &st.ctime, &st.ctime_ns)):
        return SLOW
    dev = inode.fs.dev
    st.dev = dev & 0xFF | <uint64_t>(dev & ~<uint32_t>0xFF) << 12
    st.ino, st.nlink, st.mode, st.uid, st.gid, st.rdev = inode.ino, <uint64_t>inode.nlink, inode.mode, inode.uid, inode.gid, inode.rdev
    st.size, st.blksize, st.blocks = inode.size, 4096, blocks_of(inode, kind)
    st.pad = 0
    memset(st.unused, 0, sizeof(st.unused))
    to = thread.output(arg, sizeof(st))
    if to == NULL:
        return 0 if thread.copy_out(thread.a[arg], &st, sizeof(st)) == sizeof(st) else -EFAULT
    memcpy(to, &st, sizeof(st))
    thread.wrote(arg, sizeof(st))
    return 0


cdef long by_name(Task task, GuestThread thread, int dirfd, int arg, int out, int flags) except? -9001:
    cdef Place place
    cdef int error = find(task, thread, arg, dirfd, flags, &place)
    if error:
        return SLOW if error == FAST_GENERAL else error
    return put_stat(thread, (<Dentry?>place.dentry).inode, out)


cdef long stat(object task, GuestThread thread) except? -9001:
    return by_name(<Task?>task, thread, AT_FDCWD, 0, 1, 0)


cdef long lstat(object task, GuestThread thread) except? -9001:
    return by_name(<Task?>task, thread, AT_FDCWD, 0, 1, AT_SYMLINK_NOFOLLOW)


cdef long fstat(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    return -EBADF if file is None else put_stat(thread, file.inode, 1)


cdef long newfstatat(object task, GuestThread thread) except? -9001:
    cdef int dirfd = <int>thread.a[0], flags = <int>thread.a[3]
    cdef const char *path
    cdef File file
    if flags & ~STAT_FLAGS:
        return -EINVAL
    if flags & AT_EMPTY_PATH:  # fstat of glibc 2.33 and later, and of others
        if dirfd < 0 or thread.a[1] == 0:
            return SLOW
        path = thread.text(1)
        if path == NULL:
            return SLOW
        if path[0] == 0:
            file = (<Task?>task).files.get(dirfd)
            return -EBADF if file is None else put_stat(thread, file.inode, 2)
    return by_name(<Task?>task, thread, dirfd, 1, 2, flags & AT_SYMLINK_NOFOLLOW)


cdef bint put_time(object time, statx_timestamp *to) except -1:
    cdef int64_t seconds = 0, ns = 0
    if not split(time, &seconds, &ns):
        return False
    to.tv_sec, to.tv_nsec = seconds, <uint32_t>ns
    return True


cdef long statx_call(object task, GuestThread thread) except? -9001:
    cdef int dirfd = <int>thread.a[0], flags = <int>thread.a[2], error, kind
    cdef Place place
    cdef Mount mount
    cdef Dentry d
    cdef Inode inode
    cdef statx st
    cdef char *to
    if <uint32_t>thread.a[3] & 0x80000000 or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE or flags & ~STAT_FLAGS:
        return -EINVAL
    if flags & AT_EMPTY_PATH:
        return SLOW
    error = find(<Task?>task, thread, 1, dirfd, flags & AT_SYMLINK_NOFOLLOW, &place)
    if error:
        return SLOW if error == FAST_GENERAL else error
    mount = <Mount?>place.mount
    d = <Dentry?>place.dentry
    inode = d.inode
    kind = kind_of(inode)
    if kind == KIND_ASK:
        return SLOW
    memset(&st, 0, sizeof(st))
    if not (put_time(inode.atime, &st.stx_atime) and put_time(inode.mtime, &st.stx_mtime)
            and put_time(inode.ctime, &st.stx_ctime) and put_time(inode.btime, &st.stx_btime)):
        return SLOW
    st.stx_mask = STATX_RESULT if inode.btime else STATX_RESULT & ~STATX_BTIME
    st.stx_blksize = 4096
    st.stx_attributes = STATX_ATTR_MOUNT_ROOT if d is mount.root else 0
    st.stx_attributes_mask = STATX_ATTR_MOUNT_ROOT
    st.stx_nlink, st.stx_uid, st.stx_gid, st.stx_mode = <uint32_t>inode.nlink, inode.uid, inode.gid, <unsigned short>inode.mode
    st.stx_ino, st.stx_size, st.stx_blocks = inode.ino, <uint64_t>inode.size, <uint64_t>blocks_of(inode, kind)
    st.stx_rdev_major = (inode.rdev >> 8) & 0xFFF | (inode.rdev >> 32) & ~<uint64_t>0xFFF
    st.stx_rdev_minor = inode.rdev & 0xFF | (inode.rdev >> 12) & ~<uint64_t>0xFF
    st.stx_dev_minor = inode.fs.dev
    st.stx_mnt_id = <uint64_t>mount.id
    to = thread.output(4, sizeof(st))
    if to == NULL:
        return 0 if thread.copy_out(thread.a[4], &st, sizeof(st)) == sizeof(st) else -EFAULT
    memcpy(to, &st, sizeof(st))
    thread.wrote(4, sizeof(st))
    return 0


# ---------------------------------------------------------------- access


cdef long check(Task task, GuestThread thread, int dirfd, int arg, int mode, int flags) except? -9001:
    cdef Creds creds = task.creds
    cdef Place place
    cdef Mount mount
    cdef Inode inode
    cdef uint64_t real
    cdef int error
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -EINVAL
    if not flags & AT_EACCESS:
        real = creds.effective if creds.securebits & SECBIT_NO_SETUID_FIXUP else creds.permitted if creds.uid == 0 else 0
        if creds.fsuid != creds.uid or creds.fsgid != creds.gid or creds.effective != real:
            return SLOW
    error = find(task, thread, arg, dirfd, flags & AT_SYMLINK_NOFOLLOW, &place)
    if error:
        return SLOW if error == FAST_GENERAL else error
    mount = <Mount?>place.mount
    inode = (<Dentry?>place.dentry).inode
    if kind_of(inode) == KIND_ASK:
        return SLOW
    if mode & MAY_EXEC and inode.mode & S_IFMT == S_IFREG and mount.flags & MS_NOEXEC:
        return -EACCES
    error = inode_permission(creds, inode, mode)
    if error or not mode & MAY_WRITE or inode.mode & S_IFMT not in (S_IFREG, S_IFDIR, S_IFLNK):
        return error
    return want_write(mount)


cdef long access(object task, GuestThread thread) except? -9001:
    return check(<Task?>task, thread, AT_FDCWD, 0, <int>thread.a[1], 0)


cdef long faccessat(object task, GuestThread thread) except? -9001:
    return check(<Task?>task, thread, <int>thread.a[0], 1, <int>thread.a[2], 0)


cdef long faccessat2(object task, GuestThread thread) except? -9001:
    return check(<Task?>task, thread, <int>thread.a[0], 1, <int>thread.a[2], <int>thread.a[3])


fast("stat", stat)
fast("lstat", lstat)
fast("fstat", fstat)
fast("newfstatat", newfstatat)
fast("statx", statx_call)
fast("access", access)
fast("faccessat", faccessat)
fast("faccessat2", faccessat2)
