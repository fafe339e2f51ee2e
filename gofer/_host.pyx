# cython: language_level=3, boundscheck=True, nonecheck=True, initializedcheck=True
"""Host calls that Python's os lacks, on descriptors that may be O_PATH.

Nothing raises for a failed call: the result is -errno.  Descriptors made here are close-on-exec.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset, strcmp, strlen

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <linux/openat2.h>
    #include <linux/stat.h>
    #include <stdint.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/vfs.h>
    #include <unistd.h>

    #define ONE_BELOW (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

    /* the wire's ATTR and DIRENT, see protocol.py */
    struct attr {
        uint32_t mode, uid, gid, nlink, blksize, attributes;
        uint64_t ino;
        int64_t size, blocks;
        uint64_t dev, rdev;
        int64_t seconds[4];
        uint32_t nanoseconds[4];
    };
    struct __attribute__((packed)) entry {
        int64_t cookie;
        uint64_t ino;
        uint8_t type, known;
        uint16_t length;
    };
    _Static_assert(sizeof(struct attr) == 112, "ATTR");
    _Static_assert(sizeof(struct entry) == 20, "DIRENT");

    struct host_dirent {
        uint64_t ino;
        int64_t off;
        uint16_t reclen;
        uint8_t type;
        char name[];
    };

    /* stat(2)'s device numbers out of statx(2)'s halves: glibc's makedev */
    static uint64_t device(uint64_t major, uint64_t minor)
    {
        return (major & 0xfff) << 8 | (major & ~0xfffULL) << 32 | (minor & 0xff) | (minor & ~0xffULL) << 12;
    }

    static int attr_at(int fd, const char *name, int flags, struct attr *out)
    {
        struct statx x;
        if (syscall(SYS_statx, fd, name, flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
            return -errno;
        out->mode = x.stx_mode;
        out->uid = x.stx_uid;
        out->gid = x.stx_gid;
        out->nlink = x.stx_nlink;
        out->blksize = x.stx_blksize;
        out->attributes = (uint32_t)x.stx_attributes;
        out->ino = x.stx_ino;
        out->size = (int64_t)(x.stx_size & INT64_MAX);
        out->blocks = (int64_t)(x.stx_blocks & INT64_MAX);
        out->dev = device(x.stx_dev_major, x.stx_dev_minor);
        out->rdev = device(x.stx_rdev_major, x.stx_rdev_minor);
        const struct statx_timestamp *t[4] = {&x.stx_atime, &x.stx_mtime, &x.stx_ctime, &x.stx_btime};
        for (int i = 0; i < 4; i++) {
            int there = i < 3 || (x.stx_mask & STATX_BTIME);
            out->seconds[i] = there ? t[i]->tv_sec : 0;
            out->nanoseconds[i] = there ? t[i]->tv_nsec : 0;
        }
        return 0;
    }

    static int open_below(int dir, const char *name, int flags, int mode)
    {
        struct open_how how = {.flags = flags | O_NOFOLLOW | O_CLOEXEC, .mode = mode, .resolve = ONE_BELOW};
        long fd = syscall(SYS_openat2, dir, name, &how, sizeof how);
        return fd < 0 ? -errno : (int)fd;
    }

    static int times_of(int fd, struct timespec *t)
    {
        return syscall(SYS_utimensat, fd, "", t, AT_EMPTY_PATH) < 0 ? -errno : 0;
    }
    """
    struct attr:
        uint32_t mode
    struct entry:
        int64_t cookie
        uint64_t ino
        uint8_t type
        uint8_t known
        uint16_t length
    struct host_dirent:
        uint64_t ino
        int64_t off
        uint16_t reclen
        uint8_t type
        char name[0]
    struct timespec:
        int64_t tv_sec
        long tv_nsec
    struct statfs:
        long f_type
        long f_bsize
        uint64_t f_blocks
        uint64_t f_bfree
        uint64_t f_bavail
        uint64_t f_files
        uint64_t f_ffree
        uint64_t f_fsid
        long f_namelen
        long f_frsize
        long f_flags
    int fstatfs(int, statfs*)
    int fchownat(int, const char*, uint32_t, uint32_t, int)
    int attr_at(int, const char*, int, attr*)
    int open_below(int, const char*, int, int)
    int times_of(int, timespec*)
    long syscall(long, ...)
    int64_t lseek(int, int64_t, int)
    const int AT_EMPTY_PATH, SYS_getdents64, SYS_renameat2, SEEK_SET

# 24 bytes is the shortest host entry and becomes 136 at most; longer ones grow less
cdef enum:
    HOST_ENTRIES = 10800
    PACKED_ENTRIES = 65000
    GROWTH = 6
    ROUND_MIN = 1024  # getdents64 wants room for the longest name


def open_beneath(int directory, bytes name, int flags, int mode=0):
    """Open the one component `name` below `directory` -> descriptor.

    The name must have been checked; the kernel is told again: beneath, no symlink, no magic link (openat2(2))."""
    return open_below(directory, name, flags, mode)


def attributes(int fd):
    """statx(2) of the object that fd refers to -> protocol.ATTR as bytes."""
    cdef attr a
    cdef int error = attr_at(fd, b"", AT_EMPTY_PATH, &a)
    return error if error < 0 else PyBytes_FromStringAndSize(<char*>&a, sizeof(a))


def entries(int fd, int64_t cookie):
    """The entries of directory fd (not O_PATH) from cookie on, with attributes.

    -> (DIRENT, ATTR, name, for each, as bytes; 1 if the directory ends there, else 0)"""
    cdef char raw[HOST_ENTRIES]
    cdef char packed[PACKED_ENTRIES]
    cdef host_dirent* d
    cdef entry e
    cdef attr a
    cdef long got, at
    cdef int end = 0
    cdef size_t length, space, used = 0
    if lseek(fd, cookie, SEEK_SET) < 0:
        return -errno
    while True:
        space = (PACKED_ENTRIES - used) // GROWTH
        if space < ROUND_MIN:
            break
        got = syscall(SYS_getdents64, fd, <void*>raw, min(space, <size_t>HOST_ENTRIES))
        if got < 0:
            if used:
                break  # what we have is good; the next request meets the error again
            return -errno
        if got == 0:
            end = 1
            break
        at = 0
        while at < got:
            d = <host_dirent*>(raw + at)
            at += d.reclen
            if not strcmp(d.name, b".") or not strcmp(d.name, b".."):
                continue
            length = strlen(d.name)
            if length > 255 or used + sizeof(e) + sizeof(a) + length > PACKED_ENTRIES:
                continue  # no name that a walk could use
            e.cookie = d.off
            e.ino = d.ino
            e.type = d.type
            e.length = <uint16_t>length
            e.known = attr_at(fd, d.name, 0, &a) == 0
            if not e.known:
                memset(&a, 0, sizeof(a))
            memcpy(packed + used, &e, sizeof(e))
            memcpy(packed + used + sizeof(e), &a, sizeof(a))
            memcpy(packed + used + sizeof(e) + sizeof(a), d.name, length)
            used += sizeof(e) + sizeof(a) + length
    return PyBytes_FromStringAndSize(packed, used), end


def set_times(int fd, int64_t atime, long atime_nsec, int64_t mtime, long mtime_nsec):
    """utimensat(2) of fd itself; the nanoseconds may be UTIME_NOW or UTIME_OMIT."""
    cdef timespec[2] t
    t[0].tv_sec = atime
    t[0].tv_nsec = atime_nsec
    t[1].tv_sec = mtime
    t[1].tv_nsec = mtime_nsec
    return times_of(fd, t)


def set_owner(int fd, uint32_t uid, uint32_t gid):
    """chown of fd itself, also of a symlink; 0xffffffff leaves one as it is."""
    return -errno if fchownat(fd, b"", uid, gid, AT_EMPTY_PATH) < 0 else 0


def rename(int olddir, bytes oldname, int newdir, bytes newname, unsigned int flags):
    """renameat2(2)."""
    return -errno if syscall(SYS_renameat2, olddir, <char*>oldname, newdir, <char*>newname, flags) < 0 else 0


def file_system(int fd):
    """fstatfs(2) -> (type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags)."""
    cdef statfs s
    cdef uint64_t fsid
    if fstatfs(fd, &s) < 0:
        return -errno
    memcpy(&fsid, &s.f_fsid, sizeof(fsid))
    return (
        <uint32_t>s.f_type, s.f_bsize, s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, fsid,
        s.f_namelen, s.f_frsize, s.f_flags,
    )
