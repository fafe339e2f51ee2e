"""The C side of a guest thread, for handlers that run without a Python frame ("fast" handlers).

A fast handler is a twin of the plain one (core/syscall.py) for the common case: it answers a value or -errno, or
SLOW, having changed nothing; then the plain handler serves the call; or SLEEPS, having left a Wait in the task.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SLOW = -9000
    RAISED = -9001  # with an exception set
    SENT = -9002  # the handler has sent the thread on itself
    SLEEPS = -9003  # the handler has left a Wait; the thread stays
    NR_FAST = 512
    VECTOR_MOST = 8
    VECTOR_HEAD = 128
    VECTOR_MAX = 8192
    WIDE = 131072


cdef class GuestThread:
    cdef public object task  # the kernel's task; the platform never looks at it
    cdef readonly int event
    cdef readonly long nr
    cdef readonly bint trapped  # the call arrived by a signal, not from a rewritten site
    cdef uint64_t a[6]  # arguments, a copy of our own
    # The thread's signal mask, where it is kept: in memory that the guest can write, if the platform answers rt_sigprocmask.
    cdef volatile uint64_t *mask_at
    cdef uint64_t own_mask
    # Likewise what set_robust_list and set_tid_address were told.
    cdef volatile uint64_t *lists_at
    cdef uint64_t own_lists[2]
    # Of kill and tgkill from a rewritten site, a[5] is the caller's mask at that moment.

    # Memory that argument `arg` points to, as far as the stub brought it along: NULL when it did not, or has less.
    cdef const char *input(self, int arg, uint64_t length) noexcept
    cdef const char *text(self, int arg) noexcept  # ends with NUL within 4096 bytes; read it once
    cdef char *output(self, int arg, uint64_t room) noexcept
    # The first `length` bytes of that output (one a call) go back with the answer.
    cdef void wrote(self, int arg, uint64_t length) noexcept
    # Room for WIDE bytes of output where that is NULL, or NULL as well: a fault would be EFAULT, and the bytes lost, so the caller
    # makes sure that they can be written. It takes the place of all that the call brought along.
    cdef char *wide(self) noexcept
    # The iovec array of a call that names one (readv, writev, recvmsg, sendmsg), at most VECTOR_MOST pieces; if it sends, what
    # they hold follows VECTOR_HEAD bytes behind, if it is at most VECTOR_MAX bytes. NULL: it was not brought along.
    cdef const char *vector(self) noexcept
    # Any guest memory; bytes copied, or -EFAULT.
    cdef long copy_in(self, void *to, uint64_t addr, uint64_t length) noexcept
    cdef long copy_out(self, uint64_t addr, const void *data, uint64_t length) noexcept
    cdef int answer(self, long value) except -1  # back to the guest
    cdef int answer_plain(self, long value) except -1  # the same from a plain handler: `ret` of platform/base.py
    # Back to the guest with `value` by way of one memory operation, not acknowledged unless it fails (base.OP_*: MMAP_ANON
    # with `a` the protection, MUNMAP, MPROTECT, MADVISE), in [addr, addr + length) below the guest's limit.
    cdef int operate(self, int op, uint64_t addr, uint64_t length, uint64_t a, bint noreserve, long value) except -1
    # These signals are pending, for the thread or its process: a change of the mask that concerns one of them is a call to
    # the kernel. To be told before the mask is looked at, so that no signal is lost between the two.
    cdef void set_pending(self, uint64_t signals) noexcept
    # Back to the guest, from a call of a fast handler, with 0 and into the handler of a signal that the call has sent to its
    # own thread: only where `enters_signals` says so. `mask` blocks while it runs, besides what is blocked. `trap`: (number, error
    # code, address) of the last fault, or None. EV_FRAME_FAULT if the frame cannot be written; `entered_signal` is its signal then.
    cdef bint enters_signals(self) noexcept
    cdef int enter_signal(self, int signo, int code, tuple action, uint64_t mask, int pid, uint32_t uid, tuple trap) except -1
    cdef readonly int entered_signal
    # Whether a sleeping thread can be given its answer by `answer`, and memory of its call by the methods above.
    cdef bint waits_plainly(self) noexcept
    cdef void sleeps(self) noexcept  # the answer will take a while

ctypedef long (*fast_t)(object task, GuestThread thread) except? -9001
ctypedef int (*dispatch_t)(GuestThread thread) except -1

cdef fast_t *fast_table() noexcept  # NR_FAST entries, by system call number
cdef dispatch_t *dispatcher() noexcept  # what the platform calls with a system call: 0 not served, 1 served, 2 and the kernel has more to do
