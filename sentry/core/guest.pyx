"""See guest.pxd. The methods here are those of a platform that brings no memory along."""

from libc.stdint cimport uint32_t, uint64_t

cdef fast_t TABLE[NR_FAST]
cdef dispatch_t DISPATCH


cdef fast_t *fast_table() noexcept:
    return TABLE


cdef dispatch_t *dispatcher() noexcept:
    return &DISPATCH


cdef class GuestThread:
    def __cinit__(self):
        self.mask_at = &self.own_mask
        self.lists_at = self.own_lists

    @property
    def signal_mask(self):
        """The signal mask as it is at this moment; what a guest wrote there is not checked."""
        return self.mask_at[0]

    @signal_mask.setter
    def signal_mask(self, uint64_t mask):
        self.mask_at[0] = mask

    @property
    def robust_list(self):
        """Address of the head of the thread's robust futexes, 0: none; not checked either."""
        return self.lists_at[0]

    @robust_list.setter
    def robust_list(self, uint64_t head):
        self.lists_at[0] = head

    @property
    def clear_child_tid(self):
        """Address where the thread's end is shown, 0: none; not checked."""
        return self.lists_at[1]

    @clear_child_tid.setter
    def clear_child_tid(self, uint64_t addr):
        self.lists_at[1] = addr

    def tell_start(self, int tid, uint32_t may):
        """See platform/base.py."""

    def tell_pending(self, uint64_t signals):
        """See set_pending in guest.pxd."""
        self.set_pending(signals)

    cdef void set_pending(self, uint64_t signals) noexcept:
        pass

    def tell_altstack(self, stack):
        """The alternate signal stack: (ss_sp, ss_flags, ss_size). A hint."""

    def tell_traced(self, bint traced):
        """See platform/base.py; a platform where each call is such an event has nothing to do."""

    cdef bint enters_signals(self) noexcept:
        return False

    cdef int enter_signal(self, int signo, int code, tuple action, uint64_t mask, int pid, uint32_t uid, tuple trap) except -1:
        raise NotImplementedError

    cdef const char *input(self, int arg, uint64_t length) noexcept:
        return NULL

    cdef const char *text(self, int arg) noexcept:
        return NULL

    cdef const char *vector(self) noexcept:
        return NULL

    cdef char *output(self, int arg, uint64_t room) noexcept:
        return NULL

    cdef void wrote(self, int arg, uint64_t length) noexcept:
        pass

    cdef char *wide(self) noexcept:
        return NULL

    cdef long copy_in(self, void *to, uint64_t addr, uint64_t length) noexcept:
        return -14

    cdef long copy_out(self, uint64_t addr, const void *data, uint64_t length) noexcept:
        return -14

    cdef int answer(self, long value) except -1:
        raise NotImplementedError

    cdef int answer_plain(self, long value) except -1:
        self.ret(value)
        return 0

    cdef int operate(self, int op, uint64_t addr, uint64_t length, uint64_t a, bint noreserve, long value) except -1:
        raise NotImplementedError

    cdef bint waits_plainly(self) noexcept:
        return False

    cdef void sleeps(self) noexcept:
        pass

    def remember(self, int nr, value):
        pass

    def forget_answers(self):
        pass
