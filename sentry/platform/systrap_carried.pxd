from libc.stdint cimport uint32_t, uint64_t

from sentry.core.guest cimport GuestThread
from sentry.platform.systrap_host cimport st_row, st_seg


cdef class Carrier(GuestThread):
    cdef char *buf
    cdef const st_row *rows
    cdef uint32_t mask  # parts of the call in the buffer
    cdef bint listed  # segs are made of them
    cdef st_seg segs[3]
    cdef uint32_t seg_part[3]  # which part of the call each is
    cdef int nsegs
    cdef st_seg outs[6]
    cdef int nouts
    cdef char *later_at  # st_ctx.later
    cdef bint here  # the first of them is in `a`
    cdef uint32_t short_out  # output of a fast handler: part and length as in the reply, 0: none
    cdef bint in_scratch  # and it has not been copied to the buffer
    cdef int scratch_for  # argument whose output is in `scratch`, -1, or WHOLE
    cdef char scratch[1024]

    cdef st_seg *_replied(self) noexcept
    cdef int _reach(self) except -1
    cdef int _host_pid(self) noexcept
    cdef int _flush(self) except -1
    cdef bint _has_room(self) noexcept
    cdef uint32_t _kind(self, int arg) noexcept
    cdef uint32_t _short(self) noexcept
    cdef int _list_segs(self) except -1
    cdef object _read(self, uint64_t addr, uint64_t length, bint whole)
    cdef int _staged_out(self, uint64_t addr, const char *data, uint64_t length) except -1
