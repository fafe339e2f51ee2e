"""FP and vector registers of the ptrace platform's threads, as regsets and as signal frame images."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EFAULT, EINVAL, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from sentry.platform.ptrace_host cimport (
    NT_X86_XSTATE, PTRACE_GETREGSET, PTRACE_SETREGSET, TR_AMX, TR_FX, TR_LIMIT, TR_MAGIC2, guest_copy, iovec, ptrace,
    tr_fp_frame_size, tr_fp_from_frame, tr_fp_initial, tr_fp_to_frame, tr_xstate_size,
)
from sentry.platform.ptrace_seed cimport checked


cdef class States:
    """tid: a stopped thread, from which is learnt how large FP state is here, and of what it consists."""

    def __init__(self, int tid):
        cdef iovec io
        self.area_size = 1 << 16
        self.area = <uint8_t *>calloc(1, self.area_size)
        io.iov_base, io.iov_len = self.area, self.area_size
        checked(ptrace(PTRACE_GETREGSET, tid, <void *><long>NT_X86_XSTATE, &io), "PTRACE_GETREGSET")
        self.area_size = io.iov_len
        self.initial = <uint8_t *>calloc(1, self.area_size)
        tr_fp_initial(self.initial, self.area_size)
        memcpy(&self.features, self.area + 464, 8)
        self.features &= ~TR_AMX
        memcpy(&self.mxcsr_mask, self.area + 28, 4)
        self.mxcsr_mask = self.mxcsr_mask or 0xffbf
        self.size = tr_xstate_size(self.features)

    def __dealloc__(self):
        free(self.area)
        free(self.initial)

    cdef bint save(self, int tid):
        """Leaves the thread's signal frame image in `area`. False: it has died."""
        cdef iovec io
        io.iov_base, io.iov_len = self.area, self.area_size
        if ptrace(PTRACE_GETREGSET, tid, <void *><long>NT_X86_XSTATE, &io) < 0:
            return False
        tr_fp_to_frame(self.area, self.features, self.size)
        return True

    cdef void reset(self, int tid):
        cdef iovec io
        io.iov_base, io.iov_len = self.initial, self.area_size
        ptrace(PTRACE_SETREGSET, tid, <void *><long>NT_X86_XSTATE, &io)

    cdef bint load(self, int tid, uint64_t addr):
        """Loads the FP state from a frame image in guest memory; False on a fault or when it is invalid."""
        cdef uint8_t *area = self.area
        cdef uint32_t size, magic
        memset(area, 0, self.area_size)
        if addr > TR_LIMIT - TR_FX or guest_copy(tid, addr, area, TR_FX, TR_LIMIT, 0) != TR_FX:
            return False
        size = tr_fp_frame_size(area, self.size)
        if size > <uint32_t>TR_FX:
            # The first part is not read again: it may have changed.
            if guest_copy(tid, addr + TR_FX, area + TR_FX, size + 4 - TR_FX, TR_LIMIT, 0) != size + 4 - TR_FX:
                return False
            memcpy(&magic, area + size, 4)
            memset(area + size, 0, 4)
            if magic != TR_MAGIC2:
                memset(area + TR_FX, 0, size - TR_FX)
                size = TR_FX
        return self.put(tid, size)

    cdef bint put(self, int tid, uint32_t size):
        """Loads the frame image in `area`, `size` bytes without the trailing magic; False when it is invalid."""
        cdef iovec io
        if tr_fp_from_frame(self.area, size, self.features, self.mxcsr_mask) < 0:
            return False
        io.iov_base, io.iov_len = self.area, self.area_size
        if ptrace(PTRACE_SETREGSET, tid, <void *><long>NT_X86_XSTATE, &io) < 0:
            return errno != EINVAL and errno != EFAULT
        return True

    cdef bytes image(self, int tid):
        """The thread's signal frame image; zeros when it has died."""
        return PyBytes_FromStringAndSize(<char *>self.area, self.size + 4) if self.save(tid) else bytes(self.size + 4)

    cdef int give(self, int tid, bytes image) except -1:
        """Loads such an image."""
        if len(image) != self.size + 4:
            raise ValueError("FP state")
        memset(self.area, 0, self.area_size)
        memcpy(self.area, PyBytes_AS_STRING(image), self.size)
        self.put(tid, self.size)
        return 0
