"""The systrap platform: guest calls arrive as SIGSYS in the guest process and travel through shared memory.

Needs native/systrap.h and native/systrap_host.h (headers only; include path native/) to build, and the executable
build/native/stub (native/Makefile) at run time. See sentry/platform/base.py for the contract, guest_filter.py for
what guest processes may call, native/stub.c for the other side.

Who owns what: a context (struct st_ctx) is the stub's while `turn` is ST_TURN_STUB and ours otherwise, but the guest
can write it at any time; so our own view is `Thread.state`, and each event is copied and checked against what may
come (`expect`). An event that may not come ends that host process, nothing else.

One thread runs all this; the GIL is released around the sleep only.
"""

import os
from select import EPOLLIN

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset
from posix.unistd cimport close
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

import errno
import fcntl

from sentry.core import log
from sentry.platform.base import MemFault
from sentry.platform.seed import PlatformError, set_up, spawn

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    enum:
        PROT_READ, PROT_WRITE, MAP_SHARED
    void *MAP_FAILED

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    int epoll_create1(int flags)

cdef extern from *:
    """
    enum { SIZES_AGREE = sizeof(struct st_regs) == 21 * 8 };
    """
    enum:
        SIZES_AGREE

# thread states
cdef enum:
    RUNNING = 0  # the guest or the stub has it
    PARKED = 1
    CLONING = 2  # parked for the kernel, busy with clone
    WAITING = 3  # running for the kernel: operations wait for the descriptor slot
    DEAD = 4

cdef enum:
    EV_DEAD = 6
    OP_MMAP_ANON = 1
    OP_MMAP_FD = 2
    OP_MUNMAP = 3
    OP_MPROTECT = 4
    OP_MADVISE = 5
    OP_MREMAP = 6
    OP_WRITE = 7
    OP_ZERO = 8
    OP_REFUSED = 255  # unknown to the stub: EINVAL
    NREGS = 21
    MAX_EVENTS = 32
    WRITE_PIECE = 32768

cdef uint32_t GUEST = 1 << ST_EV_SYSCALL | 1 << ST_EV_FAULT | 1 << ST_EV_INTERRUPT
cdef uint64_t REGS_SIZE = NREGS * 8
cdef uint32_t ARCH_X86_64 = 0xC000003E
cdef int64_t MS = 1000000
cdef int64_t INTERRUPT_LIMIT = 100 * MS  # of the process's CPU time and thread
cdef int64_t LONG_OPERATION = 10000 * MS
cdef int64_t CLONE_CHECK = 200 * MS
cdef int64_t CHECK_EVERY = 20 * MS

MAP_SHARED_FIXED, MAP_PRIVATE_FIXED = 0x11, 0x12
MAP_ANON_FIXED, MAP_NORESERVE = 0x32, 0x4000
KINDS = {"in": ST_M_IN, "out": ST_M_OUT, "inout": ST_M_INOUT, "str": ST_M_STR}
ADD_SEALS, SEALS = 1033, 0x01 | 0x02 | 0x04 | 0x10  # F_ADD_SEALS; SEAL SHRINK GROW FUTURE_WRITE
STUB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "native", "stub")

if not SIZES_AGREE:
    raise ImportError("native/systrap.h and systrap.pyx disagree")


cdef class Regs:
    def copy(self):
        """All registers as a tuple, in the order of base.Regs."""
        cdef uint64_t *r = &self.r15
        cdef int i
        return tuple([r[i] for i in range(NREGS)])

    def load(self, values):
        cdef uint64_t *r = &self.r15
        cdef int i
        if len(values) != NREGS:
            raise ValueError("wrong number of registers")
        for i in range(NREGS):
            r[i] = values[i]


cdef class HostFd:
    """A descriptor of our own to the file that a mapping was asked for, until it is made: the caller may close its own
    meanwhile, and the number may come to mean another file."""
    cdef int fd

    def __init__(self, int fd):
        self.fd = os.dup(fd)

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)


cdef class Clone:
    """A fork or spawn under way."""


cdef bytes vm_read(int pid, uint64_t addr, uint64_t length, bint whole):
    cdef bytes out
    cdef long n
    if length == 0:
        return b""
    if addr >= ST_LIMIT or length > ST_LIMIT - addr:
        if whole or addr >= ST_LIMIT:
            raise MemFault(addr)
        length = ST_LIMIT - addr
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
    n = sh_vm_read(pid, PyBytes_AS_STRING(out), addr, length)
    if n <= 0 or (whole and <uint64_t>n != length):
        raise MemFault(addr)
    return out if <uint64_t>n == length else out[:n]


cdef long vm_write(int pid, uint64_t addr, data, bint whole) except -1:
    cdef Py_buffer view
    cdef long n
    cdef uint64_t length
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        length = <uint64_t>view.len
        if length == 0:
            return 0
        if addr >= ST_LIMIT or (whole and length > ST_LIMIT - addr):
            raise MemFault(addr)
        if length > ST_LIMIT - addr:
            length = ST_LIMIT - addr
        n = sh_vm_write(pid, view.buf, addr, length)
    finally:
        PyBuffer_Release(&view)
    if n <= 0 or (whole and <uint64_t>n != length):
        raise MemFault(addr)
    return n


cdef class Thread:
    def __init__(self):
        self.regs = Regs()
        self.ops = []
        self.grants = []

    @property
    def args(self):
        # The registers as they came; the kernel may have changed `regs` since.
        return (self.snap[14], self.snap[13], self.snap[12], self.snap[7], self.snap[9], self.snap[8])

    @property
    def fault(self):
        return (<int>self.faults[0], <int>self.faults[1], self.faults[2], <int>self.faults[3], <int>self.faults[4])

    # -- events -----------------------------------------------------------------------------
    cdef int _event(self) except -1:
        """Look whether the stub has an event. 1: hand the thread out."""
        cdef st_ctx *c = self.ctx
        cdef uint32_t event, n, i
        cdef st_seg seg
        cdef uint64_t gap
        if self.state != RUNNING and self.state != CLONING or sh_turn(c) != ST_TURN_SENTRY:
            return 0
        event = sh_read32(&c.event)
        if event > 31 or not (self.expect >> event) & 1:
            if self.state != CLONING:  # the stub has parked before it clones: a late look at an old event
                self.aspace._violation(f"event {event}")
            return 0
        self.platform.running -= 1
        self.state = PARKED
        self.nsegs = 0
        if self.interrupted:
            sh_write32(&c.interrupt, 0)
            self.interrupted = False
            self.platform.interrupting.remove(self)
        if event == ST_EV_CLONE_FAILED:
            self._clone_failed(<int>sh_read32(<uint32_t *>&c.result))
            return 0
        if event == ST_EV_OPS:
            return self._ops_event(sh_read32(&c.ops_done), <int>sh_read32(<uint32_t *>&c.result))
        self.event = <int>event
        if self.ops:
            self._ops_over()
        if event == ST_EV_FRAME_FAULT:
            return 1
        gap = c.gap
        self.platform.gap += (<double>(gap if gap < 1 << 30 else 1 << 30) - self.platform.gap) * 0.125
        self.platform._called_from(<int>(c.cpu & 0xFFF))
        memcpy(self.snap, &c.regs, REGS_SIZE)
        if event == ST_EV_SYSCALL:
            self.nr = <int32_t>sh_read32(<uint32_t *>&c.nr)
            self.snap[15] = <uint64_t>self.nr
            if sh_read32(&c.arch) != ARCH_X86_64 or (self.nr > 0 and self.nr & 0x40000000):
                self.nr = -1
            n = sh_read32(&c.nsegs)
            if n:
                for i in range(n if n < ST_SEGS else ST_SEGS):
                    memcpy(&seg, &c.segs[i], sizeof(seg))
                    if (seg.len and seg.addr < ST_LIMIT and seg.len <= ST_LIMIT - seg.addr
                            and <uint32_t>seg.off + seg.len <= ST_BUF_SIZE and seg.len <= ST_BUF_SIZE):
                        self.segs[self.nsegs] = seg
                        self.nsegs += 1
        elif event == ST_EV_FAULT:
            memcpy(self.faults, c.fault, sizeof(self.faults))
        memcpy(&self.regs.r15, self.snap, REGS_SIZE)
        return 1

    cdef int _parked(self) except -1:
        """1: go on; 0: the thread is dead and the request pointless."""
        if self.state == PARKED:
            return 1
        if self.state == DEAD:
            return 0
        raise RuntimeError(f"thread {self.tid} is not parked (state {self.state})")

    cdef int _give(self, uint32_t cmd, uint32_t expect) except -1:
        self.ctx.cmd = cmd
        self.expect = expect
        self.state = RUNNING
        self.nsegs = 0
        self.nouts = 0
        self.platform.running += 1
        sh_give(self.ctx)
        return 0

    cdef int _put_regs(self) except -1:
        memcpy(&self.ctx.regs, &self.regs.r15, REGS_SIZE)
        return 0

    cdef int _flush(self) except -1:
        """Write staged output by the slow road: the reply will not be a plain return."""
        cdef int i
        for i in range(self.nouts):
            # The stub has found the memory writable; should it be gone since, the guest unmapped it during the call.
            sh_vm_write(self.aspace.pid, self.buf + self.outs[i].off, self.outs[i].addr, self.outs[i].len)
        self.nouts = 0
        return 0

    # -- memory -------------------------------------------------------------------------------
    def read(self, uint64_t addr, uint64_t length):
        cdef int i
        cdef st_seg *s
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind != ST_M_OUT and addr >= s.addr and length <= s.len and addr - s.addr <= s.len - length:
                return PyBytes_FromStringAndSize(self.buf + s.off + (addr - s.addr), <Py_ssize_t>length)
        if self.nouts:
            self._flush()
        return vm_read(self.aspace._reach(), addr, length, True)

    def read_upto(self, uint64_t addr, uint64_t length):
        cdef int i
        cdef st_seg *s
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind != ST_M_OUT and addr >= s.addr and length <= s.len and addr - s.addr <= s.len - length:
                return PyBytes_FromStringAndSize(self.buf + s.off + (addr - s.addr), <Py_ssize_t>length)
        if self.nouts:
            self._flush()
        return vm_read(self.aspace._reach(), addr, length, False)

    def read_cstr(self, uint64_t addr, uint64_t limit):
        cdef int i
        cdef st_seg *s
        cdef bytes text
        cdef const char *start
        cdef const char *nul
        for i in range(self.nsegs):
            s = &self.segs[i]
            if s.kind != ST_M_OUT and addr >= s.addr and addr - s.addr < s.len:
                text = PyBytes_FromStringAndSize(self.buf + s.off + (addr - s.addr), s.len - <Py_ssize_t>(addr - s.addr))
                start = PyBytes_AS_STRING(text)
                nul = <const char *>memchr(start, 0, <size_t>len(text))
                if nul != NULL:
                    return text[:min(<uint64_t>(nul - start), limit)]
        return self.aspace.read_cstr(addr, limit)

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
                o.addr, o.len, o.off, o.kind = addr, <uint32_t>length, <uint16_t>off, 0
                self.nouts += 1
                return 1
        return 0

    def write(self, uint64_t addr, data):
        self._write(addr, data, True)

    def write_upto(self, uint64_t addr, data):
        return self._write(addr, data, False)

    def _write(self, uint64_t addr, data, bint whole):
        cdef Py_buffer view
        cdef int done = 0
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
        return vm_write(self.aspace._reach(), addr, data, whole)

    # -- resumptions ----------------------------------------------------------------------------
    def ret(self, int64_t value):
        cdef int i
        if not self._parked():
            return
        if memcmp(&self.regs.r15, self.snap, REGS_SIZE):
            self._flush()
            self.regs.rax = <uint64_t>value
            self._put_regs()
            self.ctx.flags = 0
            self._give(ST_CMD_REGS, GUEST)
            return
        self.ctx.value = <uint64_t>value
        self.ctx.nouts = self.nouts
        for i in range(self.nouts):
            self.ctx.outs[i] = self.outs[i]
        self._give(ST_CMD_RET, GUEST)

    def resume(self, bint fp_reset=False, uint64_t fp_from=0):
        cdef uint32_t flags = 0, expect = GUEST
        if not self._parked():
            return
        self._flush()
        self._put_regs()
        if fp_reset:
            flags |= ST_FP_RESET
        if fp_from:
            flags |= ST_FP_FROM
            expect |= 1 << ST_EV_FRAME_FAULT
            if fp_from >= ST_LIMIT - ST_BUF_SIZE:
                fp_from = 1  # faults
        self.ctx.flags = flags
        self.ctx.fp_addr = fp_from
        self._give(ST_CMD_REGS, expect)

    def enter_handler(self, uint64_t frame_addr, bytes frame, uint64_t fp_addr):
        cdef Py_ssize_t n = len(frame)
        if n > <Py_ssize_t>ST_BUF_SIZE:
            raise ValueError("signal frame too long")
        if not self._parked():
            return
        self._flush()
        if frame_addr >= ST_LIMIT - ST_BUF_SIZE or fp_addr >= ST_LIMIT - ST_BUF_SIZE:
            frame_addr = 1  # a frame in the stub's region: fault
            fp_addr = 1
        memcpy(self.buf, PyBytes_AS_STRING(frame), <size_t>n)
        self._put_regs()
        self.ctx.flags = 0
        self.ctx.addr = frame_addr
        self.ctx.len = <uint64_t>n
        self.ctx.fp_addr = fp_addr
        self._give(ST_CMD_HANDLER, GUEST | 1 << ST_EV_FRAME_FAULT)

    # -- memory operations ------------------------------------------------------------------------
    def run_ops(self, list ops, value=None):
        cdef uint64_t at
        cdef int index = 0
        cdef bytes data
        cdef bint uses_slot = False
        if not self._parked():
            return
        self._flush()
        todo = []
        files = {}  # descriptor -> HostFd, or an errno
        # Each entry: (op, flags, addr, len, a, b, data, HostFd or errno, number of the caller's operation)
        for entry in ops:
            op = entry[0]
            if op == OP_MMAP_ANON:
                _, addr, length, prot, noreserve = entry
                todo.append((op, MAP_ANON_FIXED | (MAP_NORESERVE if noreserve else 0), addr, length, prot, 0, None, None, index))
            elif op == OP_MMAP_FD:
                _, addr, length, prot, shared, fd, offset = entry
                flags = MAP_SHARED_FIXED if shared else MAP_PRIVATE_FIXED
                if fd not in files:
                    try:
                        files[fd] = HostFd(fd)
                    except OSError as error:  # EBADF, EMFILE: what the mapping shall fail with
                        files[fd] = error.errno
                todo.append((op, flags, addr, length, prot, offset, None, files[fd], index))
                uses_slot = True
            elif op == OP_MUNMAP:
                _, addr, length = entry
                todo.append((op, 0, addr, length, 0, 0, None, None, index))
            elif op == OP_MPROTECT or op == OP_MADVISE:
                _, addr, length, prot = entry
                todo.append((op, 0, addr, length, prot, 0, None, None, index))
            elif op == OP_MREMAP:
                _, addr, length, new_length, new_addr = entry
                if length == 0 or new_addr + new_length > ST_LIMIT:
                    op = OP_REFUSED
                todo.append((op, 0, addr, length, new_length, new_addr, None, None, index))
            elif op == OP_WRITE:
                data = bytes(entry[2])
                at = 0
                addr, length = entry[1], len(data)
                while at < <uint64_t>len(data):
                    part = data[at:at + WRITE_PIECE]
                    todo.append((op, 0, addr + at, len(part), 0, 0, part, None, index))
                    at += <uint64_t>len(part)
            elif op == OP_ZERO:
                addr, length = entry[1], entry[2]
                todo.append((op, 0, addr, length, 0, 0, None, None, index))
            else:
                raise ValueError(f"operation {op}")
            if addr + length > ST_LIMIT and todo[-1][8] == index:
                todo[-1] = (OP_REFUSED, 0, 0, 0, 0, 0, None, None, index)
            index += 1
        self.ops = todo
        self.ops_at = 0
        self.ops_base = index
        self.ops_value = value
        self.uses_slot = uses_slot
        if uses_slot and self.aspace._slot_taken(self):
            self.state = WAITING
            self.platform.running += 1
            return
        self._send_ops()

    cdef int _send_ops(self) except -1:
        """Send as many of the remaining operations as fit."""
        cdef st_op *o
        cdef uint32_t n = 0, room = ST_BUF_SIZE, expect
        cdef int at = self.ops_at, total = len(self.ops)
        cdef bytes data
        cdef bint last
        if self.uses_slot:
            self.aspace.slot_owner = self
        self.grants = []
        self.grant_at = 0
        while at < total:
            op, flags, addr, length, a, b, data, fd, _ = self.ops[at]
            if (n + 1) * sizeof(st_op) + (0 if data is None else <uint32_t>len(data)) > room:
                break
            o = <st_op *>self.buf + n
            o.op, o.flags, o.addr, o.len, o.a, o.b = op, flags, addr, length, a, b
            if data is not None:
                room -= <uint32_t>len(data)
                memcpy(self.buf + room, PyBytes_AS_STRING(data), <size_t>len(data))
                o.a = room
            elif op == OP_MMAP_FD:
                self.grants.append((9, (addr, length, a, flags, ST_FD_SLOT, b), fd))
            elif op == OP_MREMAP:
                self.grants.append((25, (addr, length, a, 3, b), None))
            n += 1
            at += 1
        self.ops_sent = at
        self.ops_seq = sh_read32(&self.ctx.ops_seq)
        last = at == total
        self.ctx.nops = n
        self.ctx.flags = 0
        expect = 1 << ST_EV_OPS
        if last and self.ops_value is not None:
            self.ctx.flags = ST_OPS_VALUE
            self.ctx.value = <uint64_t><int64_t>self.ops_value
            expect |= GUEST
            if memcmp(&self.regs.r15, self.snap, REGS_SIZE):
                self._put_regs()
                self.ctx.flags = ST_OPS_VALUE | ST_OPS_REGS
        self._give(ST_CMD_OPS, expect)
        return 0

    def _ops_over(self):
        self.ops = []
        self.grants = []
        if self.uses_slot:
            self.uses_slot = False
            if self.aspace.slot_owner is self:
                self.aspace.slot_owner = None

    def _ops_event(self, uint32_t done, int error):
        """The stub has carried out a batch, or part of it. 1: hand the thread out."""
        cdef int n = self.ops_sent - self.ops_at
        if done > <uint32_t>n or (error == 0 and done != <uint32_t>n):
            self.aspace._violation("operations that were not asked for")
            return 0
        self.ops_at += <int>done
        if error == 0 and self.ops_at < <int>len(self.ops):
            self._send_ops()
            return 0
        self.ops_errno = error if 0 <= error < 4096 else errno.EINVAL
        self.ops_done = self.ops[self.ops_at][8] if error else self.ops_base
        self._ops_over()
        self.event = ST_EV_OPS
        return 1

    # -- clone --------------------------------------------------------------------------------------
    def fork(self, done):
        self._clone(done, True)

    def spawn(self, done):
        self._clone(done, False)

    def _clone(self, done, bint process):
        cdef Clone clone
        cdef Platform platform = self.platform
        cdef int error = 0
        if not self._parked():
            platform.later.append((done, (None, errno.EAGAIN)))
            return
        self._flush()
        clone = Clone()
        clone.parent = self
        clone.done = done
        clone.process = process
        clone.slot = self.slot
        clone.memfd = -1
        if process:
            error = platform._take_context(clone)
        else:
            clone.slot = self.aspace._free_slot()
            if clone.slot < 0:
                error = errno.EAGAIN
        if error:
            platform.later.append((done, (None, error)))
            return
        clone.nonce = platform._new_nonce()
        platform.clones[clone.nonce] = clone
        if not process:
            self.aspace.slots[clone.slot] = clone
            memset(sh_ctx(self.aspace.base, clone.slot), 0, sizeof(st_ctx))
            sh_write32(&sh_ctx(self.aspace.base, clone.slot).turn, ST_TURN_SENTRY)
        self.clone = clone
        self._send_clone()

    def _send_clone(self):
        cdef Clone clone = self.clone
        clone.granted = False
        clone.since = sh_now()
        self.ctx.value = clone.nonce
        self.ctx.addr = <uint64_t>clone.slot
        self.ctx.result = 0
        self._give(ST_CMD_FORK if clone.process else ST_CMD_SPAWN, 1 << ST_EV_CLONE_FAILED)
        self.state = CLONING

    def _clone_failed(self, int error):
        cdef Clone clone = self.clone
        if error == errno.EINTR and clone.tries < 3:  # the second delivery of one call was refused
            clone.tries += 1
            self._send_clone()
            return
        self.platform._drop_clone(clone)
        self.platform.later.append((clone.done, (None, error if 0 < error < 4096 else errno.EAGAIN)))

    def exit(self):
        if not self._parked():
            return
        self.exiting = True
        self._give(ST_CMD_EXIT, 0)

    # -- running threads ------------------------------------------------------------------------------
    def interrupt(self):
        if (self.state != RUNNING and self.state != WAITING) or self.exiting or self.interrupted:
            return
        self.interrupted = True
        self.platform.interrupting.append(self)
        self.interrupt_cpu = sh_cpu_time(self.aspace.pid)
        sh_write32(&self.ctx.interrupt, 1)
        sh_tgkill(self.aspace.pid, self.tid, ST_INTR_SIGNAL)


cdef class AddressSpace:
    def __init__(self):
        self.threads = []
        self.slots = []
        self.slot_queue = []
        self.position = -1
        self.pidfd = -1

    cdef int _reach(self) except -1:
        """The thread id for process_vm_*: the leader's, which stays ours until we reap it, unless it has left its
        memory behind by ending before the others."""
        cdef Thread thread
        if self.dead or self.killed:
            raise MemFault(0)
        if self.leader_gone:
            for thread in self.threads:
                if sh_tgkill(self.pid, thread.tid, 0) == 0:
                    return thread.tid
            raise MemFault(0)
        return self.pid

    def read(self, uint64_t addr, uint64_t length):
        return vm_read(self._reach(), addr, length, True)

    def read_upto(self, uint64_t addr, uint64_t length):
        return vm_read(self._reach(), addr, length, False)

    def read_cstr(self, uint64_t addr, uint64_t limit):
        """As Thread.read_cstr."""
        cdef uint64_t got = 0, n
        cdef bytes part
        cdef list parts = []
        cdef Py_ssize_t end
        while got < limit:
            n = min(limit - got, 4096 - ((addr + got) & 4095))  # up to the end of the page
            part = vm_read(self._reach(), addr + got, n, True)
            end = part.find(b"\0")
            if end >= 0:
                parts.append(part[:end])
                return b"".join(parts)
            parts.append(part)
            got += n
        return b"".join(parts)

    def write(self, uint64_t addr, data):
        vm_write(self._reach(), addr, data, True)

    def write_upto(self, uint64_t addr, data):
        return vm_write(self._reach(), addr, data, False)

    def kill(self):
        cdef Thread thread
        if self.killed or self.dead:
            self.killed = True
            return
        self.killed = True
        sh_pidfd_kill(self.pidfd)
        for thread in self.threads:
            self.platform._forget(thread)
            if thread in self.platform.ready:
                self.platform.ready.remove(thread)
        self._detach()

    def _violation(self, str what):
        """Impossible behaviour: end the host process; its threads are then reported dead."""
        if not self.killed and not self.dead:
            log.info(f"host process {self.pid} killed: unexpected {what}")
            sh_pidfd_kill(self.pidfd)

    def _free_slot(self):
        cdef int i
        for i in range(len(self.slots)):
            if self.slots[i] is None:
                return i
        if len(self.slots) >= ST_SLOTS:
            return -1
        self.slots.append(None)
        i = len(self.slots) - 1
        self.platform.entries[self.position].words = i // 64 + 1
        return i

    def _slot_taken(self, Thread thread):
        """Whether `thread` has to wait for the descriptor slot; then it is queued."""
        cdef Thread owner = self.slot_owner
        if owner is None or owner is thread:
            return False
        if owner.state == DEAD or owner.state == PARKED or sh_read32(&owner.ctx.ops_seq) != owner.ops_seq:
            self.slot_owner = None
            return False
        if thread not in self.slot_queue:
            self.slot_queue.append(thread)
            self.platform.later.append((self._retry_slot, ()))
        return True

    def _retry_slot(self):
        cdef Thread thread
        while self.slot_queue:
            thread = self.slot_queue[0]
            if thread.state == WAITING:
                if self._slot_taken(thread):
                    self.platform.next_check = 0
                    self.platform.slot_waits.append(self)
                    return
                self.platform.running -= 1
                thread.state = PARKED
                thread._send_ops()
            self.slot_queue.pop(0)

    cdef int _detach(self) except -1:
        """Drop what the address space holds, but its host process id (a zombie's, until reaped)."""
        self.platform._remove_space(self)
        if self.base != NULL:
            sh_unmap_context(self.base)
            self.base = NULL
        self.threads = []
        self.slots = []
        self.slot_queue = []
        self.slot_owner = None
        return 0


cdef class Platform:
    """`stub`: path of the stub executable. `pool`: how many fresh address spaces are kept ready. `spin`: whether
    either side may wait busily where that pays."""

    def __init__(self, stub=STUB, int pool=2, bint spin=True):
        self.name = "systrap"
        self.stub_path = stub
        self.pool_target = pool
        self.listener = self.epoll = self.bell = -1
        self.spaces = []
        self.watched = {}
        self.by_tid = {}
        self.by_pid = {}
        self.clones = {}
        self.ready = []
        self.handed = []
        self.later = []
        self.pool = []
        self.waiters = []
        self.interrupting = []
        self.slot_waits = []
        self.spare = []
        self.nonces = b""
        self.cpus = sh_cpus()
        self.spin = spin
        self.seed_tsc = sh_tsc()
        self.seed_ns = sh_now()
        self.gap = 1e9
        sh_allowed(&self.allowed)
        self.pinned = -1
        self._map_shared()

    def __dealloc__(self):
        free(self.entries)

    # -- start and stop ---------------------------------------------------------------------------
    def _map_shared(self):
        cdef void *p
        fd = os.memfd_create("stockade-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, ST_SHARED_LEN)
            p = mmap(NULL, ST_SHARED_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
            if p == MAP_FAILED:
                raise MemoryError()
            self.shared = <st_shared *>p
            # Page protection does not hold against a guest. After this seal only the mapping just made can write.
            fcntl.fcntl(fd, ADD_SEALS, SEALS)
        except BaseException:
            os.close(fd)
            raise
        self.shared_fd = fd

    def set_marshal(self, int nr, parts):
        """Have the stub carry along memory that call `nr` names. parts: (kind, argument, index of the argument that
        holds the length or None, size in bytes or None); kind is "in", "out", "inout" or "str". It changes cost,
        never meaning: what does not fit (three parts, buffer sizes) is left to process_vm_*."""
        cdef st_row *row
        cdef int n = 0
        if not 0 <= nr < ST_ROWS:
            raise ValueError(nr)
        row = &self.shared.rows[nr]
        row.nparts = 0
        for kind, arg, length, size in parts:
            code = KINDS[kind]
            if kind != "str":
                if length is not None:
                    code |= ST_M_LEN_ARG
                    size = length
                elif size is None or size > 0xFFFF:
                    continue
            if n < ST_PARTS:
                row.parts[n].kind = code
                row.parts[n].arg = arg
                row.parts[n].len = 0 if size is None else size
                n += 1
        row.nparts = <uint32_t>n

    def start(self):
        cdef AddressSpace space
        cdef Clone clone
        cdef Thread seed
        cdef int error
        cdef char byte
        if not sh_has_fsgsbase():
            raise PlatformError("systrap needs FSGSBASE (Linux 5.9, and a processor of 2013 or later); use the ptrace platform")
        self.epoll = os_epoll()
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.bell, EPOLLIN)
        clone = Clone()
        error = self._take_context(clone)
        if error:
            raise OSError(error, "context memory")
        try:
            pid, sock = spawn(self.stub_path, self.bell, self.shared_fd, clone.memfd)
        finally:
            os.close(clone.memfd)
        space = self._new_space(pid, clone.base)
        seed = self._new_thread(space, pid, 0)
        seed.state = RUNNING
        seed.expect = 1 << ST_EV_SYSCALL
        self.running += 1
        self.seed = seed
        self.seed_busy = True
        self.listener, self.vdso = set_up(pid, sock)
        sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.listener, EPOLLIN)
        limit = sh_now() + 5000 * MS
        while seed.state == RUNNING:
            self.wait(sh_now() + 50 * MS)
            if seed.state == DEAD or sh_now() > limit:
                raise PlatformError("the stub does not start: it died or hangs after its filters were installed")
        self.fp_size = <int>min(sh_read32(&seed.ctx.fp_size), 1 << 15)
        if self.fp_size < 512:
            raise PlatformError(f"unusable FP state size {self.fp_size}")
        self.ticks_per_ns = <double>(sh_tsc() - self.seed_tsc) / <double>(sh_now() - self.seed_ns)
        self.poll_every = <uint64_t>(50000 * self.ticks_per_ns)
        error = <int>sh_vm_read(pid, &byte, ST_TEXT, 1)
        if error < 0:
            raise PlatformError(f"the host does not let us read guest memory ({os.strerror(-error)}): Yama's ptrace_scope above 1?")

    def stop(self):
        cdef AddressSpace space
        cdef int64_t limit = sh_now() + 500 * MS
        # Children that we do not know yet, and those that we were not told of.
        while self.listener >= 0 and sh_now() < limit and (self.clones or int in map(type, self.watched.values())):
            self._poll(MS)
            self._collect()
        self.later = []
        for space in list(self.by_pid.values()):
            space.kill()
        for pid in list(self.by_pid):
            space = self.by_pid[pid]
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
            self._closed(space)
        self.seed = None
        for context in self.spare:
            sh_unmap_context(<void *><uintptr_t>context[0])
            os.close(context[1])
        self.spare = []
        self.pool = []
        for fd in (self.listener, self.bell, self.epoll, self.shared_fd):
            if fd >= 0:
                os.close(fd)
        self.listener = self.bell = self.epoll = -1
        self.shared_fd = -1
        if self.shared != NULL:
            munmap(self.shared, ST_SHARED_LEN)
            self.shared = NULL

    # -- bookkeeping --------------------------------------------------------------------------------
    def _new_nonce(self):
        while True:
            if not self.nonces:
                self.nonces = os.urandom(256)
            nonce = int.from_bytes(self.nonces[:4], "little")
            self.nonces = self.nonces[4:]
            if nonce and nonce not in self.clones:
                return nonce

    def _take_context(self, Clone clone):
        """Fresh context memory for a new process; an errno."""
        cdef int error
        if self.spare:
            address, clone.memfd = self.spare.pop()
            clone.base = <void *><uintptr_t>address
            return 0
        error = sh_new_context(&clone.base, &clone.memfd)
        if error:
            return -error if error in (-errno.ENOMEM, -errno.EAGAIN) else errno.EAGAIN
        return 0

    def _spare_context(self):
        cdef void *where = NULL
        cdef int fd = -1
        if sh_new_context(&where, &fd) == 0:
            self.spare.append((<uintptr_t>where, fd))

    cdef AddressSpace _new_space(self, int pid, void *where):
        cdef AddressSpace space = AddressSpace()
        space.platform = self
        space.pid = pid
        space.base = where
        space.pidfd = sh_pidfd_open(pid)
        if space.pidfd < 0:
            raise OSError(-space.pidfd, "pidfd_open")
        sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, space.pidfd, EPOLLIN)
        self.watched[space.pidfd] = space
        self.by_pid[pid] = space
        self._add_space(space)
        return space

    cdef Thread _new_thread(self, AddressSpace space, int tid, int slot):
        cdef Thread thread = Thread()
        thread.platform = self
        thread.aspace = space
        thread.tid = tid
        thread.slot = slot
        thread.ctx = sh_ctx(space.base, slot)
        thread.buf = sh_buf(space.base, slot)
        thread.state = PARKED
        while len(space.slots) <= slot:
            space.slots.append(None)
        space.slots[slot] = thread
        self.entries[space.position].words = max(self.entries[space.position].words, <uint32_t>slot // 64 + 1)
        space.threads.append(thread)
        self.by_tid[tid] = thread
        return thread

    cdef int _add_space(self, AddressSpace space) except -1:
        cdef sh_entry *grown
        if self.nentries == self.entries_room:
            grown = <sh_entry *>realloc(self.entries, (self.entries_room + 64) * sizeof(sh_entry))
            if grown == NULL:
                raise MemoryError()
            self.entries = grown
            self.entries_room += 64
        self.entries[self.nentries].ready = <uint64_t *>space.base
        self.entries[self.nentries].words = 1
        space.position = self.nentries
        self.nentries += 1
        self.spaces.append(space)
        return 0

    cdef int _remove_space(self, AddressSpace space) except -1:
        cdef AddressSpace moved
        if space.position < 0:
            return 0
        self.nentries -= 1
        moved = self.spaces.pop()
        if moved is not space:
            self.entries[space.position] = self.entries[self.nentries]
            self.spaces[space.position] = moved
            moved.position = space.position
        space.position = -1
        return 0

    def _forget(self, Thread thread):
        """The thread is gone or about to be: no event of it is reported after this."""
        cdef Clone clone = thread.clone
        if thread.state == DEAD:
            return
        if thread.state != PARKED:
            self.running -= 1
        thread.state = DEAD
        thread.event = 0  # for one that was about to be handed out
        thread.ctx = NULL
        thread.buf = NULL
        thread.nsegs = thread.nouts = 0
        if thread.interrupted:
            thread.interrupted = False
            self.interrupting.remove(thread)
        if self.by_tid.get(thread.tid) is thread:
            del self.by_tid[thread.tid]
        if clone is not None:
            self._drop_clone(clone)
            self.later.append((clone.done, (None, errno.EAGAIN)))
        thread.ops = []
        thread.grants = []

    def _drop_clone(self, Clone clone):
        """A clone that failed, or whose parent is gone."""
        cdef Thread parent = clone.parent
        self.clones.pop(clone.nonce, None)
        parent.clone = None
        clone.parent = None
        if clone.process:
            if clone.memfd >= 0:
                sh_unmap_context(clone.base)
                os.close(clone.memfd)
                clone.memfd = -1
        elif clone.slot < <int>len(parent.aspace.slots) and parent.aspace.slots[clone.slot] is clone:
            parent.aspace.slots[clone.slot] = None

    def _died(self, AddressSpace space):
        """The host process has ended: reap it and report its threads."""
        cdef Thread thread
        cdef list dead = []
        try:
            os.waitpid(space.pid, os.WNOHANG)
        except ChildProcessError:
            pass
        if not space.killed:
            for thread in space.threads:
                if thread.state != DEAD and not thread.exiting:
                    dead.append(thread)
                self._forget(thread)
            space.dead = True
            space._detach()
            for thread in dead:
                if thread is self.seed:
                    log.error("the seed process died: no further guest processes can be made")
                    self.seed = None
                    for done in self.waiters:
                        self.later.append((done, (None, errno.EAGAIN)))
                    self.waiters = []
                elif thread in self.pool:
                    self.pool.remove(thread)
                else:
                    thread.event = EV_DEAD
                    if thread not in self.ready:  # it may have had another event to report
                        self.ready.append(thread)
        self._closed(space)

    def _reap_stranger(self, int pid, int fd):
        del self.watched[fd]
        if sh_child(pid, 0) >= 0:
            sh_child(pid, 1)
        os.close(fd)

    def _closed(self, AddressSpace space):
        space.dead = True
        self.by_pid.pop(space.pid, None)
        self.watched.pop(space.pidfd, None)
        if space.pidfd >= 0:
            os.close(space.pidfd)  # leaves the epoll set as well
            space.pidfd = -1

    # -- new address spaces -----------------------------------------------------------------------------
    def new_aspace(self, done):
        cdef Thread thread
        if self.pool:
            thread = self.pool.pop(0)
            self.later.append((done, (thread, 0)))
            return
        if self.seed is None:
            self.later.append((done, (None, errno.EAGAIN)))
            return
        self.waiters.append(done)
        self._breed()

    def _breed(self):
        """Have the seed make one more copy of itself."""
        if self.seed is not None and not self.seed_busy:
            self.seed_busy = True
            self.seed.fork(self._bred)

    def _bred(self, Thread child, int error):
        cdef int i
        self.seed_busy = False
        if child is not None:
            for i in range(NREGS):
                (&child.regs.r15)[i] = 0
            child.regs.eflags = 0x202
            if self.waiters:
                self.waiters.pop(0)(child, 0)
            else:
                self.pool.append(child)
        elif self.waiters:
            self.waiters.pop(0)(None, error)
        if self.waiters:
            self._breed()

    # -- notified calls ---------------------------------------------------------------------------------
    cdef int _notified(self) except -1:
        cdef sh_notif n
        cdef Thread thread
        if sh_notif_recv(self.listener, &n) < 0:
            return 0  # the caller was killed meanwhile
        if n.nr == 9 and n.args[0] == ST_CTX or n.nr == ST_NR_HELLO:
            return self._newborn(&n)
        thread = self.by_tid.get(n.pid)
        if thread is None or thread.aspace.dead:
            return self._stranger(&n)
        return self._grant(thread, &n)

    cdef int _grant(self, Thread thread, sh_notif *n) except -1:
        """A notified call of a known thread: allowed only if it is exactly what was asked for."""
        cdef Clone clone = thread.clone
        cdef bint fits
        cdef int error
        if n.nr == 56 and clone is not None:
            if clone.process:
                fits = n.args[0] == ST_CLONE_FORK and n.args[1] == 0
            else:
                fits = n.args[0] == ST_CLONE_THREAD and (n.args[1] - ST_STACK) >> 16 == <uint64_t>clone.slot
            if fits:
                if clone.granted:
                    # Delivered again: the host restarts the call, or the guest makes it twice. Never grant two.
                    sh_notif_answer(self.listener, n.id, 0, errno.EINTR)
                else:
                    clone.granted = True
                    sh_notif_continue(self.listener, n.id)
                return 0
        elif n.nr == 60 and thread.exiting:
            sh_notif_continue(self.listener, n.id)
            thread.aspace.slots[thread.slot] = None
            thread.aspace.threads.remove(thread)
            if thread.tid == thread.aspace.pid:
                thread.aspace.leader_gone = True
            self._forget(thread)
            return 0
        elif n.nr == 9 or n.nr == 25:
            args = tuple([n.args[i] for i in range(6 if n.nr == 9 else 5)])
            # The next one of the batch, or the same once more (delivery is not exactly once).
            for at in (thread.grant_at, thread.grant_at - 1):
                if 0 <= at < <int>len(thread.grants):
                    nr, wanted, fd = thread.grants[at]
                    if nr == n.nr and wanted == args:
                        error = 0
                        # Neighbouring mappings of a batch are mostly of one file: then the slot has it already.
                        if type(fd) is int:
                            error = -<int>fd
                        elif fd is not None and (at == 0 or fd is not thread.grants[at - 1][2]):
                            error = sh_notif_addfd(self.listener, n.id, (<HostFd?>fd).fd)
                        if error < 0:  # EBADF: the kernel's own mistake; ENOENT: the caller died
                            sh_notif_answer(self.listener, n.id, 0, -error)
                            return 0
                        thread.grant_at = at + 1
                        sh_notif_continue(self.listener, n.id)
                        return 0
        thread.aspace._violation(f"host call {n.nr}")
        sh_notif_answer(self.listener, n.id, 0, errno.EPERM)
        return 0

    cdef int _newborn(self, sh_notif *n) except -1:
        """The first act of a new process or thread."""
        cdef bint process = n.nr == 9
        cdef uint64_t nonce = n.args[4] >> 32 if process else n.args[0]
        cdef Clone clone = self.clones.get(nonce)
        cdef Thread parent, child, old
        cdef AddressSpace space
        if clone is None or clone.process != process or not clone.granted:
            return self._stranger(n)
        old = self.by_tid.get(n.pid)
        if old is not None:
            if not old.aspace.dead and sh_tgkill(old.aspace.pid, n.pid, 0) == 0:
                return self._stranger(n)
            del self.by_tid[n.pid]
        parent = clone.parent
        if process:
            if n.pid in self.by_pid or sh_child(n.pid, 0) != 0:
                return self._stranger(n)
            if sh_notif_addfd(self.listener, n.id, clone.memfd) < 0:
                return 0  # killed meanwhile: _check finds out
            space = self._new_space(n.pid, clone.base)
            os.close(clone.memfd)
            clone.memfd = -1
            sh_write32(&sh_ctx(clone.base, clone.slot).turn, ST_TURN_SENTRY)
        else:
            space = parent.aspace
            if sh_tgkill(space.pid, n.pid, 0) != 0:
                return self._stranger(n)
        child = self._new_thread(space, n.pid, clone.slot)
        memcpy(child.snap, parent.snap, REGS_SIZE)
        memcpy(&child.regs.r15, &parent.regs.r15, REGS_SIZE)
        child.event = parent.event
        child.nr = parent.nr
        if process:
            sh_notif_continue(self.listener, n.id)
        else:
            sh_notif_answer(self.listener, n.id, 0, 0)
        del self.clones[clone.nonce]
        parent.clone = None
        clone.parent = None
        if parent.state == CLONING:
            parent.state = PARKED
            self.running -= 1
        self.later.append((clone.done, (child, 0)))
        return 0

    cdef int _stranger(self, sh_notif *n) except -1:
        """A notified call that nothing accounts for: end whoever made it."""
        cdef AddressSpace space
        cdef int fd
        for space in self.spaces:
            if sh_tgkill(space.pid, n.pid, 0) == 0:
                space._violation(f"host call {n.nr} of thread {n.pid}")
                return 0
        fd = sh_pidfd_open(n.pid)
        if fd >= 0:
            if sh_notif_valid(self.listener, n.id):
                # Most likely the child of a process that died during its fork; else a forgery.
                log.info(f"unknown host process {n.pid} killed")
                sh_pidfd_kill(fd)
                self.watched[fd] = n.pid
                sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, EPOLLIN)
            else:
                os.close(fd)
        sh_notif_answer(self.listener, n.id, 0, errno.EPERM)
        return 0

    # -- the loop --------------------------------------------------------------------------------------
    def watch(self, int fd, uint32_t events, callback):
        cdef int error
        known = fd in self.watched
        error = sh_epoll_ctl(self.epoll, EPOLL_CTL_MOD if known else EPOLL_CTL_ADD, fd, events)
        if error == -errno.ENOENT or error == -errno.EEXIST:
            error = sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD if known else EPOLL_CTL_MOD, fd, events)
        if error:
            raise OSError(-error, "epoll_ctl")
        self.watched[fd] = callback

    def unwatch(self, int fd):
        if self.watched.pop(fd, None) is not None:
            sh_epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, 0)

    cdef int _collect(self) except -1:
        """Take the events out of all ready words."""
        cdef int i, at, bit
        cdef uint32_t w
        cdef uint64_t *ready
        cdef uint64_t word
        cdef AddressSpace space
        cdef Thread thread
        for i in range(self.nentries - 1, -1, -1):
            if i >= self.nentries:
                continue
            ready = self.entries[i].ready
            for w in range(self.entries[i].words):
                if not sh_peek64(ready + w):
                    continue
                space = self.spaces[i]
                word = sh_take64(ready + w)
                for bit in range(64):
                    if (word >> bit) & 1:
                        at = <int>w * 64 + bit
                        if at < <int>len(space.slots):
                            found = space.slots[at]
                            if type(found) is Thread:
                                thread = found
                                if thread._event():
                                    if thread is self.seed:
                                        self.seed_busy = False
                                    else:
                                        self.ready.append(thread)
        return 0

    cdef int _poll(self, int64_t timeout) except -1:
        """Host descriptors: doorbell, listener, dead processes, watched ones. timeout in ns, -1: none."""
        cdef epoll_event events[MAX_EVENTS]
        cdef int n, i, fd
        cdef uint32_t mask
        if timeout == 0:
            n = sh_epoll_wait(self.epoll, events, MAX_EVENTS, 0)
        else:
            with nogil:
                n = sh_epoll_wait(self.epoll, events, MAX_EVENTS, timeout)
        self.last_poll = sh_tsc()
        for i in range(n):
            fd = events[i].data.fd
            if fd == self.bell:
                try:
                    os.eventfd_read(fd)
                except BlockingIOError:
                    pass
            elif fd == self.listener:
                self._notified()
            else:
                found = self.watched.get(fd)
                if found is None:
                    continue
                mask = events[i].events
                if type(found) is AddressSpace:
                    self._died(found)
                elif type(found) is int:
                    self._reap_stranger(found, fd)
                else:
                    self.ran = True
                    found(fd, mask)
        return n

    cdef int _run_later(self) except -1:
        cdef list calls = self.later
        self.later = []
        for function, arguments in calls:
            self.ran = True
            function(*arguments)
        return 0

    cdef int _tune(self) except -1:
        """How long stubs may spin: not at all when the CPUs are short."""
        cdef uint32_t spin = 0
        if self.no_spin_until and sh_tsc() > self.no_spin_until:
            self.no_spin_until = 0
        if self.spin and self.running + 1 <= self.cpus and not self.no_spin_until:
            spin = <uint32_t>(30000 * self.ticks_per_ns)
        if self.shared.spin != spin:
            sh_write32(&self.shared.spin, spin)
        return 0

    cdef void _called_from(self, int cpu) noexcept:
        if cpu == self.caller_cpu:
            self.same_cpu += 1
        else:
            self.caller_cpu = cpu
            self.same_cpu = 0

    cdef int _settle(self) except -1:
        """Before a sleep: a wake-up on the caller's own CPU costs a sixth of one across CPUs (its call sleeps, so the
        CPU is free). Only while the events come from one CPU, and not often: a move is a wake-up itself."""
        if self.same_cpu < 4:
            if self.pinned >= 0 and self.same_cpu == 0:
                self._roam()
        elif self.pinned != self.caller_cpu and self.cpus > 1 and sh_tsc() - self.moved > 20 * self.poll_every:
            self.moved = sh_tsc()
            if sh_move(self.caller_cpu, &self.allowed) == 0:
                self.pinned = self.caller_cpu
        return 0

    cdef int _roam(self) except -1:
        if self.pinned >= 0:
            sh_move(-1, &self.allowed)
            self.pinned = -1
        return 0

    cdef int _check(self) except -1:
        """What needs a look now and then: interrupts that were not acknowledged, clones that do not come."""
        cdef Thread thread
        cdef Clone clone
        cdef AddressSpace space
        cdef int64_t now = sh_now(), used
        if now < self.next_check:
            return 0
        self.next_check = now + CHECK_EVERY
        for thread in list(self.interrupting):
            used = sh_cpu_time(thread.aspace.pid)
            if (thread.ops and sh_read32(&thread.ctx.ops_seq) == thread.ops_seq
                    and used - thread.interrupt_cpu < LONG_OPERATION):
                continue  # unmapping a large region takes its time
            if used >= 0 and used - thread.interrupt_cpu > INTERRUPT_LIMIT * len(thread.aspace.threads):
                thread.aspace._violation("deafness to interrupts")
        for clone in list(self.clones.values()):
            if now - clone.since > CLONE_CHECK:
                clone.since = now
                self._lost_clone(clone)
        waits, self.slot_waits = self.slot_waits, []
        for space in waits:
            space._retry_slot()
        return 0

    def _lost_clone(self, Clone clone):
        """A child that died before it reported itself leaves its parent waiting. Its number is the parent's claim,
        believed only for a dead child of ours that we do not know."""
        cdef Thread parent = clone.parent
        cdef int pid = <int>sh_read32(<uint32_t *>&parent.ctx.result)
        if not clone.process or not clone.granted or pid <= 0 or pid in self.by_pid:
            return
        if sh_child(pid, 1) == 1:
            self._drop_clone(clone)
            parent.state = PARKED
            self.running -= 1
            self.later.append((clone.done, (None, errno.EAGAIN)))

    def wait(self, deadline):
        cdef Thread thread
        cdef int64_t limit = -1 if deadline is None else deadline, timeout, now
        cdef uint64_t ticks, tried
        cdef bint may_spin
        for thread in self.handed:
            if thread.state == PARKED:
                sh_write32(&thread.ctx.park, 1)  # it blocks: its stub need not spin
        self.handed = []
        self.ran = False
        tried = 0
        while True:
            if self.later:
                self._run_later()
            self._tune()
            self._collect()
            if sh_tsc() - self.last_poll > self.poll_every:
                self._poll(0)
                if self.later:
                    self._run_later()
                if self.interrupting or self.clones or self.slot_waits:
                    self._check()
            if self.ready or self.ran:
                break
            # Nothing to do. Spin where a call is likely soon and a CPU is free, else sleep.
            may_spin = self.spin and 0 < self.running < self.cpus and (not self.no_spin_until or sh_tsc() > self.no_spin_until)
            # (Not for clones: they go hand in hand with the guest, best on its CPU, and a spin only keeps it away.)
            if may_spin and not self.clones and not tried and self.gap < 40000 * self.ticks_per_ns:
                ticks = tried = <uint64_t>(40000 * self.ticks_per_ns)
                self._roam()
                if sh_scan(self.entries, self.nentries, ticks) >= 0:
                    if self.failed_spins:
                        self.failed_spins -= 1
                    continue
                # Calls come fast, yet not while we look: the CPUs are wanted by others. Leave it for 5 ms.
                self.failed_spins += 8
                if self.failed_spins > 40:
                    self.failed_spins = 24
                    self.no_spin_until = sh_tsc() + 100 * self.poll_every
            if self.seed is not None and not self.seed_busy:
                if <int>len(self.pool) < self.pool_target:
                    self._breed()
                    continue
                if len(self.spare) < 2:
                    self._spare_context()
            now = sh_now()
            if limit >= 0:
                timeout = limit - now
                if timeout <= 0:
                    break
            else:
                timeout = -1
            if self.interrupting or self.clones:
                timeout = CHECK_EVERY if timeout < 0 else min(timeout, CHECK_EVERY)
            if self.slot_waits:
                timeout = MS
            self._settle()
            sh_write32(&self.shared.sleeping, 1)
            if sh_scan(self.entries, self.nentries, 0) < 0:
                self._poll(timeout)
            sh_write32(&self.shared.sleeping, 0)
            tried = 0
            if self.interrupting or self.clones or self.slot_waits:
                self._check()
        self.handed = self.ready
        self.ready = []
        return self.handed


def os_epoll():
    """An epoll descriptor as a number (select.epoll objects close themselves)."""
    cdef int fd = epoll_create1(0o2000000)
    if fd < 0:
        raise OSError(errno.EMFILE, "epoll_create1")
    return fd
