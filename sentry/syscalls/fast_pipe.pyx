"""Fast twins of read and write for pipes (fs/pipe.py), with their waits. SIGPIPE and writes with O_DIRECT that do not fit are
left to the plain handlers.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from sentry.core.guest cimport SLEEPS, SLOW, GuestThread
from sentry.core.waitq cimport Wait, WaitEntry, resume_t
from sentry.fs.pipe cimport Chunk, Pipe, PipeFile
from sentry.kernel.task cimport Task
from sentry.syscalls.fast_file cimport EAGAIN, O_DIRECT, O_NONBLOCK, PAGE, wide
from sentry.syscalls.fileio cimport ReadWait, WriteWait

cdef enum:
    READABLE = 1 | 64  # poll bits
    WRITABLE = 4 | 256
    ENDED = 8 | 16  # POLLERR, POLLHUP
    STEP = 1 << 17  # what a read moves at once
    LARGE = 1 << 14  # a chunk that is worth a copy of its own

cdef char PIECES[STEP]


cdef int sleep_on(Task task, PipeFile file, Wait wait, unsigned long long events, resume_t resume) except -1:
    cdef WaitEntry entry = WaitEntry(task, events)
    file.queue.add(entry)
    wait.entries = [entry]
    wait.timer = None
    wait.resume = resume
    task.wait = wait
    return 0


# ---------------------------------------------------------------- reading


cdef inline bint drainable(Chunk chunk) noexcept:
    return not chunk.packet and (type(chunk.data) is bytes or type(chunk.data) is bytearray)


cdef inline const char *content(Chunk chunk) except NULL:
    return PyBytes_AS_STRING(chunk.data) if type(chunk.data) is bytes else PyByteArray_AS_STRING(<bytearray?>chunk.data)


cdef long drain(Pipe pipe, char *to, long count) except? -9001:
    """Pipe.read into memory, of a pipe whose first chunk is drainable."""
    cdef bint was_full = pipe.used >= pipe.slots
    cdef long done = 0, n, before
    cdef Chunk chunk
    while done < count and pipe.chunks:
        chunk = <Chunk?>pipe.chunks[0]
        if not drainable(chunk):
            break
        before = chunk.slots()
        n = min(<long>len(chunk.data) - chunk.offset, count - done)
        memcpy(to + done, content(chunk) + chunk.offset, <size_t>n)
        done += n
        chunk.offset += n
        if chunk.offset == <long>len(chunk.data):
            pipe.chunks.popleft()
            pipe.used -= before
        else:
            pipe.used -= before - chunk.slots()
    pipe.packet = None
    if was_full and pipe.used < pipe.slots and pipe.queue.entries:
        pipe.queue.wake(WRITABLE)
    return done


cdef long held(Pipe pipe, long most) except -1:
    """How many bytes it holds, at most `most`."""
    cdef long n = 0
    cdef Chunk chunk
    for item in pipe.chunks:
        chunk = <Chunk?>item
        n += <long>len(chunk.data) - chunk.offset
        if n >= most:
            return most
    return n


cdef long give_first(Pipe pipe, GuestThread thread, uint64_t done, long count) except? -9001:
    """What is in the first chunk, if that is large, straight behind the first `done` bytes of the caller's buffer: how many bytes,
    -EFAULT, or SLOW."""
    cdef Chunk chunk = <Chunk?>pipe.chunks[0]
    cdef bint was_full = pipe.used >= pipe.slots
    cdef long n, before, copied
    if not drainable(chunk):
        return SLOW
    n = min(<long>len(chunk.data) - chunk.offset, count)
    if n < LARGE:
        return SLOW
    before = chunk.slots()
    copied = thread.copy_out(thread.a[1] + done, content(chunk) + chunk.offset, <uint64_t>n)
    if copied < 0:
        return copied
    pipe.packet = None
    chunk.offset += copied
    if chunk.offset == <long>len(chunk.data):
        pipe.chunks.popleft()
        pipe.used -= before
    else:
        pipe.used -= before - chunk.slots()
    if was_full and pipe.used < pipe.slots and pipe.queue.entries:
        pipe.queue.wake(WRITABLE)
    return copied


cdef long read_now(PipeFile file, GuestThread thread, uint64_t count) except? -9001:
    """From a pipe that is not empty, or has no writer."""
    cdef char *to
    cdef long n, copied, part, done = 0
    cdef bytes data
    if file.pipe.chunks and drainable(<Chunk?>file.pipe.chunks[0]):
        n = held(file.pipe, <long>count)
        to = thread.output(1, <uint64_t>n)
        if to == NULL:
            to = wide(thread, thread.a[1], <uint64_t>n)
        if to != NULL:
            n = drain(file.pipe, to, n)
            thread.wrote(1, <uint64_t>n)
            return n
        while done < n:
            copied = give_first(file.pipe, thread, <uint64_t>done, n - done)
            if copied != SLOW:
                if copied < 0:
                    break
                done += copied
                continue
            part = drain(file.pipe, PIECES, min(n - done, STEP))
            copied = max(0, thread.copy_out(thread.a[1] + <uint64_t>done, PIECES, <uint64_t>part)) if part else 0
            done += copied
            if copied < part:
                file.unread(PyBytes_FromStringAndSize(PIECES + copied, part - copied))
            if copied < part or not part:
                break
        return done if done else -14
    data = file.pipe.read(<long>count)
    n = PyBytes_GET_SIZE(data)
    if not n:
        return 0
    copied = thread.copy_out(thread.a[1], PyBytes_AS_STRING(data), <uint64_t>n)
    if copied < n:
        file.unread(data[max(copied, 0):])
    return copied


cdef long read_pipe(Task task, PipeFile file, GuestThread thread, uint64_t count) except? -9001:
    if file.pipe.chunks or not file.pipe.writers:
        return read_now(file, thread, count)
    if file.flags & O_NONBLOCK:
        return -EAGAIN
    sleep_on(task, file, ReadWait(file, [(thread.a[1], count)], count, None), READABLE | ENDED, read_again)
    return SLEEPS


cdef long read_again(Wait wait, object task, GuestThread thread) except? -9001:
    cdef PipeFile file = <PipeFile?>(<ReadWait?>wait).file
    return read_now(file, thread, thread.a[2]) if file.pipe.chunks or not file.pipe.writers else SLEEPS


# ---------------------------------------------------------------- writing


cdef long put(Pipe pipe, GuestThread thread, uint64_t done, uint64_t count) except? -9001:
    """What fits of the caller's `count` bytes behind the first `done`: how much, or SLOW."""
    cdef uint64_t left = count - done
    cdef long free = pipe.slots - pipe.used
    cdef const char *source = NULL
    cdef Chunk chunk
    cdef bytes data
    if left % PAGE and pipe.chunks and left <= <uint64_t>(free * PAGE):
        free = <long>((left + PAGE - 1) // PAGE)  # perhaps merged with what is there
    elif left % PAGE and pipe.chunks:
        return SLOW
    elif free <= 0:
        return 0
    left = min(left, <uint64_t>(free * PAGE))
    if not done and left == count:
        source = thread.input(1, count)
    data = PyBytes_FromStringAndSize(source, <Py_ssize_t>left)
    if source == NULL and thread.copy_in(PyBytes_AS_STRING(data), thread.a[1] + done, left) != <long>left:
        return SLOW
    if left % PAGE and pipe.chunks:
        return pipe.write(data, False)
    # no packet, and nothing to be merged with
    chunk = Chunk.__new__(Chunk)
    chunk.data = data
    pipe.chunks.append(chunk)
    pipe.used += chunk.slots()
    if pipe.queue.entries:
        pipe.queue.wake(READABLE)
    return <long>left


cdef long write_pipe(Task task, PipeFile file, GuestThread thread, uint64_t count) except? -9001:
    cdef const char *source
    cdef long n
    if not file.pipe.readers:
        return SLOW
    if file.flags & O_DIRECT:
        source = thread.input(1, count)
        if source == NULL or file.pipe.used + <long>((count + PAGE - 1) // PAGE) > file.pipe.slots:
            return SLOW
        return file.pipe.write(PyBytes_FromStringAndSize(source, <Py_ssize_t>count), True)
    n = put(file.pipe, thread, 0, count)
    if n == SLOW or <uint64_t>n == count:
        return n
    if file.flags & O_NONBLOCK:
        return n if n else -EAGAIN
    sleep_on(task, file, WriteWait(file, [(thread.a[1], count)], count, None, n), WRITABLE | ENDED, write_again)
    return SLEEPS


cdef long write_again(Wait wait, object task, GuestThread thread) except? -9001:
    cdef WriteWait record = <WriteWait?>wait
    cdef Pipe pipe = (<PipeFile?>record.file).pipe
    cdef uint64_t count = min(thread.a[2], <uint64_t>0x7FFFF000)
    cdef long done = record.done, n
    if not pipe.readers:
        return SLOW
    n = put(pipe, thread, <uint64_t>done, count)
    if n == SLOW:
        return SLOW
    if <uint64_t>(done + n) == count:
        return <long>count
    record.done = done + n
    return SLEEPS
