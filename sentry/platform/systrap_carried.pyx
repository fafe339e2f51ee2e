"""The memory that a call of a systrap thread names, as far as its stub carried it along (struct st_row), and what goes
back with the answer; anything else by process_vm_*. Thread (systrap_thread.pyx) is the whole.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from sentry.platform.systrap_host cimport (
    ST_BUF_SIZE, ST_LIMIT, ST_M_GATHER, ST_M_IN, ST_M_INOUT, ST_M_OUT, ST_M_STR, ST_OUTS, ST_PARTS, ST_SEG_LATER, ST_STR_MAX,
    ST_WHAT_LEN, ST_WHAT_ONE, ST_WHAT_OUTS, ST_WHAT_PART, sh_part, sh_vector, sh_vm_read, sh_vm_write, st_place, st_row, st_seg,
)
from sentry.platform.systrap_memory cimport vm_cstr, vm_read, vm_write

from sentry.platform.base import MemFault


cdef enum:
    LATER = 16  # bytes that write_later keeps
    WHOLE = -2  # as `scratch_for`: the output is in the buffer, from its beginning


cdef class Carrier(GuestThread):
    # -- the host process: what Thread knows
    cdef int _reach(self) except -1:
        """Its id; MemFault when it is gone."""
        raise NotImplementedError

    cdef int _host_pid(self) noexcept:
        """Its id, or -1 if it is gone or takes a search."""
        return -1

    def __cinit__(self):
        self.scratch_for = -1

    cdef int _flush(self) except -1:
        """Write staged output by the slow road: the reply will not be a plain return."""
        cdef int i, pid
        cdef char *data
        if not self.nouts:
            return 0
        pid = self._host_pid()
        if pid < 0:
            try:
                pid = self._reach()
            except MemFault:
                pass  # the process is gone, and its memory
        for i in range(self.nouts):
            # The stub has found the memory writable; should it be gone since, the guest unmapped it during the call.
            data = self.later_at if self.outs[i].kind == ST_SEG_LATER else self.buf + self.outs[i].off
            sh_vm_write(pid, data, self.outs[i].addr, self.outs[i].len)
        self.nouts = 0
        return 0

    cdef uint32_t _short(self) noexcept:
        """Staged output in the form that fits into the reply's own line: one piece, from the beginning of a part. 0: it is not."""
        cdef int i
        if self.nouts == 1:
            for i in range(self.nsegs):
                if self.segs[i].off == self.outs[0].off and self.segs[i].addr == self.outs[0].addr:
                    return ST_WHAT_ONE << ST_WHAT_OUTS | self.seg_part[i] << ST_WHAT_PART | self.outs[0].len << ST_WHAT_LEN
        return 0

    # -- memory, for fast handlers ----------------------------------------------------------------
    cdef const char *input(self, int arg, uint64_t length) noexcept:
        cdef uint32_t off = 0, room = 0
        cdef int part = sh_part(&self.rows[self.nr], self.a, self.mask, <unsigned>arg, &off, &room)
        if part < 0 or length > room:
            return NULL
        if part == 0 and self.here:
            return <const char *>&self.a[self.rows[self.nr].nargs]
        return self.buf + off

    cdef const char *vector(self) noexcept:
        cdef long off = sh_vector(&self.rows[self.nr], self.a, self.mask)
        return NULL if off < 0 else self.buf + off

    cdef const char *text(self, int arg) noexcept:
        return self.input(arg, ST_STR_MAX)

    cdef char *output(self, int arg, uint64_t room) noexcept:
        cdef char *to = <char *>self.input(arg, room)
        cdef uint32_t kind
        if to == NULL or self.scratch_for >= 0 and self.scratch_for != arg:
            return to
        kind = self._kind(arg)
        if kind == ST_M_IN or room > sizeof(self.scratch):
            self.scratch_for = -1
            return to
        # Whether it goes back in the reply's own line is known when it has been written; till then no other line is touched.
        if kind == ST_M_INOUT and self.scratch_for < 0:
            memcpy(self.scratch, to, <size_t>room)
        self.scratch_for = arg
        return self.scratch

    cdef bint _has_room(self) noexcept:
        """Can the first part of this call stand behind its arguments? (The stub says that it does; a guest may lie.)"""
        cdef const st_row *row = &self.rows[self.nr]
        cdef uint32_t used = 0
        if not row.nparts or row.parts[0].kind & 0x7F != ST_M_IN or row.nargs > 6:
            return False
        return 0 < st_place(&row.parts[0], self.a, &used) <= <uint32_t>(6 - row.nargs) * 8

    cdef uint32_t _kind(self, int arg) noexcept:
        cdef const st_row *row = &self.rows[self.nr]
        cdef uint32_t i
        for i in range(min(<uint32_t>row.nparts, <uint32_t>ST_PARTS)):
            if row.parts[i].arg == <uint32_t>arg:
                return row.parts[i].kind & 0x7F
        return 0

    cdef void wrote(self, int arg, uint64_t length) noexcept:
        cdef uint32_t off = 0, room = 0
        cdef int part
        cdef st_seg *out
        if self.scratch_for == WHOLE:
            out = self._replied()
            if length and out != NULL and length <= ST_BUF_SIZE:
                out.addr, out.len, out.off, out.kind = self.a[arg], <uint32_t>length, 0, 0
                self.in_scratch = False
                self.short_out = 1 << ST_WHAT_OUTS
            return
        part = sh_part(&self.rows[self.nr], self.a, self.mask, <unsigned>arg, &off, &room)
        if length and part >= 0 and length <= room:
            if self.scratch_for == arg and length > sizeof(self.a):
                memcpy(self.buf + off, self.scratch, <size_t>min(length, <uint64_t>sizeof(self.scratch)))
            self.in_scratch = self.scratch_for == arg and length <= sizeof(self.a)
            self.short_out = ST_WHAT_ONE << ST_WHAT_OUTS | <uint32_t>part << ST_WHAT_PART | <uint32_t>length << ST_WHAT_LEN

    cdef st_seg *_replied(self) noexcept:
        """Where the reply lists what goes back with it; NULL: nowhere."""
        return NULL

    cdef char *wide(self) noexcept:
        if self._replied() == NULL:
            return NULL
        self.scratch_for = WHOLE
        return self.buf

    cdef long copy_in(self, void *to, uint64_t addr, uint64_t length) noexcept:
        cdef long n
        cdef int pid = self._host_pid()
        if pid < 0 or addr >= ST_LIMIT or length > ST_LIMIT - addr:
            return -14
        n = sh_vm_read(pid, to, addr, length)
        return n if n > 0 else -14

    cdef long copy_out(self, uint64_t addr, const void *data, uint64_t length) noexcept:
        cdef long n
        cdef int pid = self._host_pid()
        if pid < 0 or addr >= ST_LIMIT or length > ST_LIMIT - addr:
            return -14
        n = sh_vm_write(pid, data, addr, length)
        return n if n > 0 else -14

    # -- memory -------------------------------------------------------------------------------
    cdef int _list_segs(self) except -1:
        """What the stub brought along, as pieces of guest memory."""
        cdef const st_row *row = &self.rows[self.nr]
        cdef uint32_t used = 0, off, length, kind
        cdef uint32_t i
        cdef const void *nul
        self.listed = True
        self.nsegs = 0
        for i in range(min(<uint32_t>row.nparts, <uint32_t>ST_PARTS)):
            off = used
            length = st_place(&row.parts[i], self.a, &used)
            if not (self.mask >> i) & 1 or not length:
                continue
            if i == 0 and self.here:
                memcpy(self.buf + off, &self.a[row.nargs], length)
            kind = row.parts[i].kind & 0x7F
            if kind >= ST_M_GATHER:
                continue  # for fast handlers
            if kind == ST_M_STR:
                nul = memchr(self.buf + off, 0, length)
                if nul == NULL:
                    continue
                length = <uint32_t>(<const char *>nul - (self.buf + off)) + 1
            self.segs[self.nsegs].addr = self.a[row.parts[i].arg]
            self.segs[self.nsegs].len = length
            self.segs[self.nsegs].off = off
            self.segs[self.nsegs].kind = kind
            self.seg_part[self.nsegs] = i
            self.nsegs += 1
        return 0

    def read(self, uint64_t addr, uint64_t length):
        return self._read(addr, length, True)

    def read_upto(self, uint64_t addr, uint64_t length):
        return self._read(addr, length, False)

    cdef object _read(self, uint64_t addr, uint64_t length, bint whole):
        cdef int i
        cdef st_seg *s
        if self.mask and not self.listed:
            self._list_segs()
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind != ST_M_OUT and addr >= s.addr and length <= s.len and addr - s.addr <= s.len - length:
                return PyBytes_FromStringAndSize(self.buf + s.off + (addr - s.addr), <Py_ssize_t>length)
        if self.nouts:
            self._flush()
        return vm_read(self._reach(), addr, length, whole)

    def read_cstr(self, uint64_t addr, uint64_t limit):
        cdef int i
        cdef st_seg *s
        cdef bytes text
        cdef const char *start
        cdef const char *nul
        if self.mask and not self.listed:
            self._list_segs()
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind != ST_M_OUT and addr >= s.addr and addr - s.addr < s.len:
                text = PyBytes_FromStringAndSize(self.buf + s.off + (addr - s.addr), s.len - <Py_ssize_t>(addr - s.addr))
                start = PyBytes_AS_STRING(text)
                nul = <const char *>memchr(start, 0, <size_t>len(text))
                if nul != NULL:
                    return text[:min(<uint64_t>(nul - start), limit)]
        return vm_cstr(self._reach(), addr, limit)

    cdef int _staged_out(self, uint64_t addr, const char *data, uint64_t length) except -1:
        """Keep output for the reply, if it lies in an announced buffer. 1: done."""
        cdef int i
        cdef st_seg *s
        cdef st_seg *o
        cdef uint32_t off
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind & ST_M_OUT and s.kind <= ST_M_INOUT and addr >= s.addr and length <= s.len and addr - s.addr <= s.len - length:
                off = s.off + <uint32_t>(addr - s.addr)
                if self.nouts:
                    o = &self.outs[self.nouts - 1]
                    if o.addr + o.len == addr and o.off + o.len == off:
                        memcpy(self.buf + off, data, length)
                        o.len += <uint32_t>length
                        return 1
                    if self.nouts == ST_OUTS:
                        return 0
                o = &self.outs[self.nouts]
                memcpy(self.buf + off, data, length)
                o.addr, o.len, o.off, o.kind = addr, <uint32_t>length, off, 0
                self.nouts += 1
                return 1
        return 0

    def write(self, uint64_t addr, data):
        self._write(addr, data, True)

    def write_later(self, uint64_t addr, bytes data):
        cdef size_t n = <size_t>len(data)
        cdef st_seg *o
        if n > LATER or addr > ST_LIMIT - n or self.nouts or self.mask or self.later_at == NULL:
            self._write(addr, data, True)
            return
        o = &self.outs[self.nouts]
        o.addr, o.len, o.off, o.kind = addr, <uint32_t>n, 0, ST_SEG_LATER
        memcpy(self.later_at, PyBytes_AS_STRING(data), n)
        self.nouts += 1

    def write_upto(self, uint64_t addr, data):
        return self._write(addr, data, False)

    def _write(self, uint64_t addr, data, bint whole):
        cdef Py_buffer view
        cdef int done = 0
        if self.mask and not self.listed:
            self._list_segs()
        if self.nsegs:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                if view.len:
                    done = self._staged_out(addr, <const char *>view.buf, <uint64_t>view.len)
                if done:
                    return view.len
            finally:
                PyBuffer_Release(&view)
            if self.nouts:
                self._flush()  # keep the order of writes
        return vm_write(self._reach(), addr, data, whole)
