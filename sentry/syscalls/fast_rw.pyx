"""Fast twins of sys_rw.py: data between the caller's memory and files in the Sentry's memory, donated descriptors, pipes,
Unix sockets, event counters and the plainest devices. It is copied once between the file and what the stub carried; more than the stub
carries goes straight to or from the caller's memory.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from libc.errno cimport EFBIG, ENOMEM, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset
from posix.stat cimport fstat, struct_stat

from sentry.core.guest cimport SLOW, GuestThread
from sentry.fs.eventfd cimport EventFile
from sentry.fs.gofer cimport GoferInode
from sentry.fs.pipe cimport PipeFile
from sentry.fs.tmpfs cimport TmpfsRegular
from sentry.kernel.task cimport Task
from sentry.net.tcp cimport TcpSocket
from sentry.net.unix cimport UnixSocket
from sentry.syscalls.fast cimport fast
from sentry.syscalls.fast_file cimport (
    EAGAIN, EBADF, EFAULT, EINVAL, ENOSPC, ESPIPE, O_APPEND, O_NONBLOCK, O_PATH, PAGE, RLIMIT_FSIZE, accessed, own_kind,
    soft_limit, watched, wide,
)
from sentry.syscalls.fast_mm cimport read_zeros
from sentry.syscalls.fast_pipe cimport read_pipe, write_pipe
from sentry.syscalls.fast_socket cimport read_socket, read_tcp, write_socket, write_tcp
from sentry.vfs.clock cimport file_ns
from sentry.vfs.file cimport File, readable, writable
from sentry.vfs.regular cimport DirFile, RegularFile

from sentry.fs.devfs import NullFile, ZeroFile

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buf, size_t count, long offset)
    ssize_t pwrite(int fd, const void *buf, size_t count, long offset)

cdef enum:
    SEEK_CUR = 1
    SEEK_END = 2
    AT_POSITION = -1  # as `pos`: at the file's position, which moves on
    SMALL = 1 << 18  # larger tmpfs files are memfds (fs/tmpfs.py)
    PIECE = 1 << 17  # what is copied at once between a descriptor and memory that the stub has not carried
    READABLE = 1 | 64  # poll bits
    WRITABLE = 4 | 256

cdef uint64_t USER_END = <uint64_t>1 << 47
cdef uint64_t MAX_COUNT = 0x7FFFF000
cdef long long MAX_SIZE = 0x7FFFFFFFFFFFFFFF
cdef uint64_t EVENT_LIMIT = <uint64_t>-1
cdef object NULL_FILE = NullFile
cdef object ZERO_FILE = ZeroFile
cdef char PIECES[PIECE]


# ---------------------------------------------------------------- reading


cdef long put_memory(GuestThread thread, bytearray data, long long at, long long count) noexcept:
    """`count` bytes of a file at `at`; behind the end of `data` come zeros. Bytes copied, -EFAULT, or SLOW."""
    cdef long long have = PyByteArray_GET_SIZE(data)
    cdef long long part = 0 if at >= have else min(count, have - at)
    cdef char *to = thread.output(1, <uint64_t>count)
    if to == NULL:
        to = wide(thread, thread.a[1], <uint64_t>count)
    if to == NULL:
        return thread.copy_out(thread.a[1], PyByteArray_AS_STRING(data) + at, <uint64_t>count) if part == count else SLOW
    memcpy(to, PyByteArray_AS_STRING(data) + at, <size_t>part)
    memset(to + part, 0, <size_t>(count - part))
    thread.wrote(1, <uint64_t>count)
    return <long>count


cdef long put_descriptor(GuestThread thread, int fd, long long at, long long count) noexcept:
    """The same for what a host descriptor holds."""
    cdef char *to = thread.output(1, <uint64_t>count)
    cdef long n, copied
    cdef long long done = 0
    if to == NULL:
        to = wide(thread, thread.a[1], <uint64_t>count)
    if to != NULL:
        n = pread(fd, to, <size_t>count, at)
        if n < 0:
            return -errno
        thread.wrote(1, <uint64_t>n)
        return n
    while done < count:
        n = pread(fd, PIECES, <size_t>min(count - done, PIECE), at + done)
        if n < 0:
            return <long>done if done else -errno
        if n == 0:
            break
        copied = thread.copy_out(thread.a[1] + <uint64_t>done, PIECES, <uint64_t>n)
        if copied < 0:
            return <long>done if done else copied
        done += copied
        if copied < n:
            break
    return <long>done


cdef long read_regular(RegularFile file, GuestThread thread, uint64_t count, long long pos) except? -9001:
    cdef long long at = file.pos if pos == AT_POSITION else pos
    cdef long long size, want = <long long>count
    cdef long n = 0
    cdef int fd
    cdef TmpfsRegular own
    cdef GoferInode lower
    if watched():
        return SLOW
    if own_kind(file.inode):
        own = <TmpfsRegular?>file.inode
        size, fd = own.size, own.fd
        if own.below is not None:
            if type(own.below) is not GoferInode:
                return SLOW
            lower = <GoferInode?>own.below
            if lower.shared:
                return SLOW
            size, fd = lower.size, lower.fd
            if fd < 0:
                return SLOW
        if at < size:
            want = min(want, size - at)
            n = put_memory(thread, own.data, at, want) if fd < 0 else put_descriptor(thread, fd, at, want)
    elif type(file.inode) is GoferInode:
        lower = <GoferInode?>file.inode
        if lower.fd < 0 or not lower.shared:
            return SLOW
        n = put_descriptor(thread, lower.fd, at, want)
    else:
        return SLOW
    if n == SLOW:
        return SLOW
    if n >= 0 or n == -EFAULT:
        accessed(file)
        if n > 0 and pos == AT_POSITION:
            file.pos = at + n
    return n


cdef long read_event(EventFile file, GuestThread thread, uint64_t count) except? -9001:
    cdef char *to = thread.output(1, count)
    cdef uint64_t value
    if count < 8:
        return -EINVAL
    if not file.count:
        return -EAGAIN if file.flags & O_NONBLOCK else SLOW
    if to == NULL:
        return SLOW
    value = 1 if file.semaphore else file.count
    file.count -= value
    memcpy(to, &value, 8)
    thread.wrote(1, 8)
    if file.queue.entries:
        file.queue.wake(WRITABLE)
    return 8


cdef long read_at(Task task, File file, GuestThread thread, long long pos) except? -9001:
    """read(2) and pread(2), of a file that may be read."""
    cdef uint64_t count = thread.a[2]
    cdef char *to
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if count == 0:
        return SLOW
    count = min(count, MAX_COUNT)
    if type(file) is RegularFile:
        return read_regular(<RegularFile?>file, thread, count, pos)
    if type(file) is NULL_FILE:
        return 0
    if type(file) is ZERO_FILE:
        if count > PAGE:
            return read_zeros(task, file, thread, thread.a[1], count)
        to = thread.output(1, count)
        if to == NULL:
            return SLOW
        memset(to, 0, count)
        thread.wrote(1, count)
        return <long>count
    if pos == AT_POSITION:
        if type(file) is PipeFile:
            return read_pipe(task, <PipeFile?>file, thread, count)
        if type(file) is UnixSocket:
            return read_socket(task, <UnixSocket?>file, thread, count)
        if type(file) is TcpSocket:
            return read_tcp(task, <TcpSocket?>file, thread, count, 0)
        if type(file) is EventFile:
            return read_event(<EventFile?>file, thread, count)
    return SLOW


cdef long read(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    if file is None or not readable(file):
        return -EBADF
    return read_at(<Task?>task, file, thread, AT_POSITION)


cdef long pread64(object task, GuestThread thread) except? -9001:
    cdef File file
    cdef long long pos = <long long>thread.a[3]
    if pos < 0:
        return -EINVAL
    file = (<Task?>task).files.get(<int>thread.a[0])
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is PipeFile or type(file) is EventFile:
        return -ESPIPE
    if not readable(file):
        # of the types below none is without position
        return -EBADF if type(file) is RegularFile else SLOW
    return read_at(<Task?>task, file, thread, pos)


# ---------------------------------------------------------------- writing


cdef long into_memory(TmpfsRegular inode, GuestThread thread, long long at, long long count) except? -9001:
    """`count` bytes into a file that is a bytearray. Bytes copied, -EFAULT, or SLOW."""
    cdef bytearray data = inode.data
    cdef long long have = PyByteArray_GET_SIZE(data)
    cdef long long end = at + count, short = 0
    cdef const char *source = thread.input(1, <uint64_t>count)
    cdef long n = <long>count
    if at > SMALL or end > SMALL or at // PAGE > (have + PAGE - 1) // PAGE:
        return SLOW  # it becomes a memfd
    if end > have:
        short = (end + PAGE - 1) // PAGE - inode.charged
        if short > 0:
            limit = inode.fs.limit_pages
            if limit and limit - inode.fs.used_pages < short:
                return SLOW
        PyByteArray_Resize(data, <Py_ssize_t>end)
        if at > have:
            memset(PyByteArray_AS_STRING(data) + have, 0, <size_t>(at - have))
    if source != NULL:
        memcpy(PyByteArray_AS_STRING(data) + at, source, <size_t>count)
    else:
        n = thread.copy_in(PyByteArray_AS_STRING(data) + at, thread.a[1], <uint64_t>count)
        if end > have and n < count:
            if n < 0:
                PyByteArray_Resize(data, <Py_ssize_t>have)
                return n
            end = max(have, at + n)
            short = (end + PAGE - 1) // PAGE - inode.charged
            PyByteArray_Resize(data, <Py_ssize_t>end)
        if n < 0:
            return n
        end = at + n
    if short > 0:
        inode.fs.used_pages += short
        inode.charged += short
    if end > inode.size:
        inode.size = end
    return n


cdef long into_descriptor(TmpfsRegular inode, GuestThread thread, long long at, long long count) except? -9001:
    """The same for a file that is a memfd."""
    cdef const char *source = thread.input(1, <uint64_t>count)
    cdef long n, done = 0
    cdef long long pages = (inode.size + PAGE - 1) // PAGE
    cdef bint inside = at + count <= inode.size and inode.charged * PAGE >= inode.size  # it takes no more memory than now
    cdef bint appended = at == inode.size and inode.charged == pages  # it takes what comes behind the end
    cdef struct_stat held
    if not inside:
        limit = inode.fs.limit_pages
        if limit and limit - inode.fs.used_pages < count // PAGE + 2:
            return SLOW
    while done < count:
        n = min(count - done, PIECE)
        if source == NULL:
            n = thread.copy_in(PIECES, thread.a[1] + <uint64_t>done, <uint64_t>n)
            if n < 0:
                if not done:
                    return n
                break
        else:
            n = <long>count
        n = pwrite(inode.fd, <const char *>PIECES if source == NULL else source, <size_t>n, at + done)
        if n <= 0:
            if not done:
                return -ENOSPC if errno == ENOMEM or errno == EFBIG else -errno
            break
        done += n
    if at + done > inode.size:
        inode.size = at + done
    if inside:
        return done
    if appended:
        pages = (inode.size + PAGE - 1) // PAGE
    elif fstat(inode.fd, &held) == 0:
        pages = held.st_blocks * 512 // PAGE
    else:
        return done
    if pages != inode.charged:
        inode.fs.used_pages += pages - inode.charged
        inode.charged = pages
    return done


cdef long write_regular(Task task, RegularFile file, GuestThread thread, uint64_t count, long long pos) except? -9001:
    cdef TmpfsRegular inode
    cdef long long at
    cdef long n
    if not own_kind(file.inode) or watched():
        return SLOW
    inode = <TmpfsRegular?>file.inode
    if inode.below is not None or inode.mode & 0o6000:
        return SLOW
    at = inode.size if file.flags & O_APPEND else file.pos if pos == AT_POSITION else pos
    if at > MAX_SIZE - <long long>count or <uint64_t>at + count > soft_limit(task, RLIMIT_FSIZE):
        return SLOW
    if inode.fd < 0:
        n = into_memory(inode, thread, at, <long long>count)
    else:
        n = into_descriptor(inode, thread, at, <long long>count)
    if n > 0:
        inode.mtime = inode.ctime = file_ns()
        if pos == AT_POSITION:
            file.pos = at + n
    return n


cdef long write_event(EventFile file, GuestThread thread, uint64_t count) except? -9001:
    cdef const char *source = thread.input(1, count)
    cdef uint64_t value
    if source == NULL:
        return SLOW
    if count != 8:
        return -EINVAL
    memcpy(&value, source, 8)
    if value == EVENT_LIMIT:
        return -EINVAL
    if value > EVENT_LIMIT - 1 - file.count:
        return -EAGAIN if file.flags & O_NONBLOCK else SLOW
    file.count += value
    if file.queue.entries:
        file.queue.wake(READABLE)
    return 8


cdef long write_at(Task task, File file, GuestThread thread, long long pos) except? -9001:
    """write(2) and pwrite(2), of a file that may be written."""
    cdef uint64_t count = thread.a[2]
    if count > USER_END or thread.a[1] > USER_END - count:
        return -EFAULT
    if count == 0:
        return SLOW
    count = min(count, MAX_COUNT)
    if type(file) is RegularFile:
        return write_regular(task, <RegularFile?>file, thread, count, pos)
    if type(file) is NULL_FILE or type(file) is ZERO_FILE:
        return <long>count
    if pos == AT_POSITION:
        if type(file) is PipeFile:
            return write_pipe(task, <PipeFile?>file, thread, count)
        if type(file) is UnixSocket:
            return write_socket(task, <UnixSocket?>file, thread, count)
        if type(file) is TcpSocket:
            return write_tcp(task, <TcpSocket?>file, thread, count)
        if type(file) is EventFile:
            return write_event(<EventFile?>file, thread, count)
    return SLOW


cdef long write(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    if file is None or not writable(file):
        return -EBADF
    return write_at(<Task?>task, file, thread, AT_POSITION)


cdef long pwrite64(object task, GuestThread thread) except? -9001:
    cdef File file
    cdef long long pos = <long long>thread.a[3]
    if pos < 0:
        return -EINVAL
    file = (<Task?>task).files.get(<int>thread.a[0])
    if file is None or file.flags & O_PATH:
        return -EBADF
    if type(file) is PipeFile or type(file) is EventFile:
        return -ESPIPE
    if not writable(file):
        return -EBADF if type(file) is RegularFile else SLOW
    return write_at(<Task?>task, file, thread, pos)


# ---------------------------------------------------------------- the position


cdef long lseek(object task, GuestThread thread) except? -9001:
    cdef File file = (<Task?>task).files.get(<int>thread.a[0])
    cdef long long offset = <long long>thread.a[1]
    cdef long long base = 0
    cdef int whence = <int>thread.a[2]
    if file is None or file.flags & O_PATH:
        return -EBADF
    if not 0 <= whence <= 4:
        return -EINVAL
    if type(file) is PipeFile:
        return -ESPIPE
    if type(file) is DirFile:
        if whence > SEEK_CUR:
            return -EINVAL
    elif type(file) is not RegularFile or whence > SEEK_END:
        return SLOW
    if whence == SEEK_CUR:
        base = file.pos
    elif whence == SEEK_END:
        if not own_kind(file.inode):
            return SLOW
        base = file.inode.size
    if offset > 0 and base > MAX_SIZE - offset:
        return -EINVAL
    offset += base
    if offset < 0:
        return -EINVAL
    if offset == 0 and type(file) is DirFile:
        (<DirFile?>file).snapshot = None
    file.pos = offset
    return offset


fast("lseek", lseek)
fast("read", read)
fast("write", write)
fast("pread64", pread64)
fast("pwrite64", pwrite64)
