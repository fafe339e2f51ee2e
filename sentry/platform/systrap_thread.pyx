"""Guest threads and address spaces of the systrap platform, and the register of them.

They know one another, so they stand in one module. A context (struct st_ctx) is the stub's while `turn` is
ST_TURN_STUB and ours otherwise, but the guest can write it at any time; so our own view is `Thread.state`, and each
event is copied and checked against what may come (`expect`). An event that may not come ends that host process,
nothing else. The interface is that of sentry/platform/base.py.
"""

import os
from select import EPOLLET, EPOLLIN

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from sentry.platform.systrap_carried cimport Carrier
from sentry.platform.systrap_host cimport (
    CLONING, DEAD, EPOLL_CTL_ADD, NREGS, PARKED, REGS_SIZE, RUNNING, SH_HOT, SIZES_AGREE, ST_ANSWERS, ST_BUF_SIZE, ST_CTX, ST_CTX_SIZE, ST_CMD_EXIT,
    ST_CMD_FORK, ST_CMD_HANDLER, ST_CMD_OPS, ST_CMD_REGS, ST_CMD_RET, ST_CMD_SIGNAL, ST_CMD_SPAWN, ST_EV_CLONE_FAILED, ST_EV_FAULT,
    ST_EV_FRAME_FAULT, ST_EV_INTERRUPT, ST_EV_OPS, ST_EV_SYSCALL, ST_FD_SLOT, ST_FP_FROM, ST_FP_LENT, ST_FP_RESET,
    ST_INTR_SIGNAL, ST_LENT_OFF, ST_LIMIT, ST_OP_LEND_FP, ST_OPS_REGS, ST_OPS_VALUE, ST_ROWS, ST_SLOTS, ST_TURN_SENTRY,
    ST_TURN_STUB, ST_WHAT_HERE, ST_WHAT_ONSTACK, ST_WHAT_OUTS, ST_WHAT_PARTS, ST_WHAT_SHORT, ST_WHAT_TRAP, WAITING, sh_buf, sh_cpu_time, sh_ctx, sh_entry,
    sh_epoll_ctl, sh_give, sh_new_context, sh_now, sh_pidfd_kill, sh_pidfd_open, sh_read32, sh_tgkill, sh_tsc, sh_turn,
    sh_unmap_context, sh_unpoll, sh_write32, sh_write64, st_ctx, st_op, st_seg, st_signal,
)
from sentry.platform.systrap_reserve cimport Reserve
from sentry.platform.systrap_memory cimport OP_MMAP_ANON, OP_MMAP_FD, OP_MREMAP, OP_SAVE_FP, translate, vm_cstr, vm_read, vm_write

import errno

from sentry.abi import signal
from sentry.core import log
from sentry.platform.base import MemFault

cdef uint32_t GUEST = 1 << ST_EV_SYSCALL | 1 << ST_EV_FAULT | 1 << ST_EV_INTERRUPT
cdef uint32_t ARCH_X86_64 = 0xC000003E
cdef int MOST_IDLE = 8  # host threads of an address space that are kept for the next ones
IDLE = "idle"  # in AddressSpace.slots: taken by one of them
cdef uint64_t SA_ONSTACK = signal.SA_ONSTACK
cdef uint32_t ANON_FIXED = 0x32, ANON_NORESERVE = 0x4032
cdef list ONE = [(0, 0, 0, 0, 0, 0, None, None, 0)]  # Thread.ops for an operation that stands in the buffer already; never changed

if not SIZES_AGREE:
    raise ImportError("native/systrap.h and systrap_thread.pxd disagree")


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


cdef class Clone:
    """A fork or spawn under way."""


cdef class Thread(Carrier):
    def __init__(self):
        self._regs = Regs()
        self.ops = []
        self.grants = []
        self.hot = -1

    @property
    def regs(self):
        if not self.have_regs:
            self._get_regs()
        return self._regs

    @property
    def args(self):
        return (self.a[0], self.a[1], self.a[2], self.a[3], self.a[4], self.a[5])

    @property
    def fault(self):
        return (<int>self.faults[0], <int>self.faults[1], self.faults[2], <int>self.faults[3], <int>self.faults[4])

    # -- events -----------------------------------------------------------------------------
    cdef int _event(self) except -1:
        """Look whether the stub has an event. 1: hand the thread out."""
        cdef st_ctx *c = self.ctx
        cdef uint32_t what, event
        if self.state != RUNNING and self.state != CLONING or sh_turn(c) == ST_TURN_STUB:
            return 0
        what = sh_read32(&c.what)
        event = what & 0xFF
        if event > 31 or not (self.expect >> event) & 1:
            if self.state != CLONING:  # the stub has parked before it clones: a late look at an old event
                self.aspace._violation(f"event {event}")
            if self.hot >= 0:
                self.platform._cool(self)
            return 0
        self.platform.running -= 1
        self.state = PARKED
        if self.hot >= 0:
            self.platform.hot_ctx[self.hot] = NULL
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
            self.have_regs = self.have_regs and not self.entered_signal
            return 1
        self.have_regs = False
        if event == ST_EV_SYSCALL:
            memcpy(self.a, c.args, sizeof(self.a))
            self.nr = <int32_t>c.word
            self.mask = (what >> ST_WHAT_PARTS) & 7
            self.here = False
            self.scratch_for = -1
            self.listed = False
            self.trapped = what & ST_WHAT_TRAP != 0
            if self.nr >= ST_ROWS or self.nr < 0:
                self.mask = 0
                if self.nr > 0 and self.nr & 0x40000000:  # x32
                    self.nr = -1
            elif what & ST_WHAT_HERE:
                self.here = self._has_room()
            if self.trapped and sh_read32(&c.arch) != ARCH_X86_64:
                self.nr = -1
                self.mask = 0
        elif event == ST_EV_FAULT:
            memcpy(self.faults, c.fault, sizeof(self.faults))
        if event != ST_EV_SYSCALL:
            self._get_regs()
        return 1

    cdef int _get_regs(self) except -1:
        """The registers of this event: a copy of our own from now on."""
        if self.ctx == NULL:
            memset(self.snap, 0, REGS_SIZE)
        else:
            memcpy(self.snap, &self.ctx.regs, REGS_SIZE)
        if self.event == ST_EV_SYSCALL:
            self.snap[15] = <uint64_t>self.nr
        memcpy(&self._regs.r15, self.snap, REGS_SIZE)
        self.have_regs = True
        return 0

    cdef int _parked(self) except -1:
        """1: go on; 0: the thread is dead and the request pointless."""
        if self.state == PARKED:
            return 1
        if self.state == DEAD:
            return 0
        raise RuntimeError(f"thread {self.tid} is not parked (state {self.state})")

    cdef int _give(self, uint32_t what, uint32_t expect) except -1:
        self.ctx.what = what
        self.expect = expect
        self.state = RUNNING
        self.mask = 0
        self.nsegs = 0
        self.nouts = 0
        self.short_out = 0
        self.platform.running += 1
        if self.hot >= 0:
            self.platform.hot_ctx[self.hot] = self.ctx
        if sh_give(self.ctx):
            self.platform.woken = <int>(self.ctx.cpu & 0xFFF)
            self.platform.woke = sh_tsc()
            self.platform.reserve.wakes += 1
        return 0

    cdef int answer(self, long value) except -1:
        self.ctx.word = <uint64_t>value
        if self.short_out and self.in_scratch:
            memcpy(self.ctx.args, self.scratch, sizeof(self.a))
            self.short_out |= ST_WHAT_SHORT
        return self._give(ST_CMD_RET | self.short_out, GUEST)

    cdef int operate(self, int op, uint64_t addr, uint64_t length, uint64_t a, bint noreserve, long value) except -1:
        cdef st_op *o = <st_op *>self.buf
        if addr + length > ST_LIMIT or addr + length < addr:
            raise ValueError("operation above the guest's limit")
        o.op, o.addr, o.len, o.a, o.b = <uint32_t>op, addr, length, a, 0
        o.flags = 0
        if op == OP_MMAP_ANON:
            o.flags = ANON_NORESERVE if noreserve else ANON_FIXED
        self.ops = ONE
        self.ops_at = self.ops_base = 0
        self.ops_sent = 1
        self.ops_value = value
        self.uses_slot = False
        self.ops_seq = sh_read32(&self.ctx.ops_seq)
        self.ctx.nops = 1
        self.ctx.flags = ST_OPS_VALUE
        self.ctx.word = <uint64_t>value
        return self._give(ST_CMD_OPS, 1 << ST_EV_OPS | GUEST)

    cdef bint waits_plainly(self) noexcept:
        if self.state != PARKED or self.event != ST_EV_SYSCALL or self.lent or self.nouts:
            return False
        return not self.have_regs or memcmp(&self._regs.r15, self.snap, REGS_SIZE) == 0

    cdef void sleeps(self) noexcept:
        if self.ctx != NULL:
            sh_write32(&self.ctx.park, 1)  # its stub need not spin

    cdef int _put_regs(self) except -1:
        memcpy(&self.ctx.regs, &self._regs.r15, REGS_SIZE)
        return 0

    def remember(self, int nr, uint32_t value):
        cdef uint32_t answer = self.platform.shared.rows[nr].answer
        if 0 < answer <= ST_ANSWERS and self.ctx != NULL:
            self.ctx.answers[answer - 1] = value
            self.ctx.known |= <uint32_t>1 << (answer - 1)

    def forget_answers(self):
        if self.ctx != NULL:
            self.ctx.known = 0
            self.ctx.starts = 0

    def tell_start(self, int tid, uint32_t may):
        if self.ctx != NULL:
            self.ctx.tid = tid
            self.ctx.starts = may

    # -- resumptions ----------------------------------------------------------------------------
    def ret(self, int64_t value):
        self.answer_plain(value)

    cdef int answer_plain(self, long value) except -1:
        cdef int i
        cdef uint32_t outs
        if not self._parked():
            return 0
        if self.lent or self.have_regs and memcmp(&self._regs.r15, self.snap, REGS_SIZE):
            self._flush()
            self._regs.rax = <uint64_t>value
            self._put_regs()
            self.ctx.flags = self._lent_flag()
            return self._give(ST_CMD_REGS, GUEST)
        self.ctx.word = <uint64_t>value
        outs = self._short()
        if not outs:
            for i in range(self.nouts):
                self.ctx.outs[i] = self.outs[i]
            outs = <uint32_t>self.nouts << ST_WHAT_OUTS
        return self._give(ST_CMD_RET | outs, GUEST)

    def resume(self, bint fp_reset=False, uint64_t fp_from=0):
        cdef uint32_t flags, expect = GUEST
        if not self._parked():
            return
        self.entered_signal = 0
        flags = self._lent_flag()
        self._flush()
        if not self.have_regs:
            self._get_regs()
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
        if n > <Py_ssize_t>ST_LENT_OFF:
            raise ValueError("signal frame too long")
        if not self._parked():
            return
        self.entered_signal = 0
        self._flush()
        if frame_addr >= ST_LIMIT - ST_BUF_SIZE or fp_addr >= ST_LIMIT - ST_BUF_SIZE:
            frame_addr = 1  # a frame in the stub's region: fault
            fp_addr = 1
        memcpy(self.buf, PyBytes_AS_STRING(frame), <size_t>n)
        if not self.have_regs:
            self._get_regs()
        self._put_regs()
        self.ctx.flags = self._lent_flag()
        self.ctx.addr = frame_addr
        self.ctx.len = <uint64_t>n
        self.ctx.fp_addr = fp_addr
        self._give(ST_CMD_HANDLER, GUEST | 1 << ST_EV_FRAME_FAULT)

    # -- signals ----------------------------------------------------------------------------------
    cdef void set_pending(self, uint64_t signals) noexcept:
        if self.quiet != ~signals and self.ctx != NULL:
            self.quiet = ~signals
            sh_write64(&self.ctx.quiet, self.quiet)

    def tell_altstack(self, stack):
        if self.ctx != NULL:
            self.ctx.alt_stack, self.ctx.alt_flags, self.ctx.alt_size = stack

    cdef bint enters_signals(self) noexcept:
        return not self.trapped and not self.lent and self.platform.frames

    cdef int enter_signal(self, int signo, int code, tuple action, uint64_t mask, int pid, uint32_t uid, tuple trap) except -1:
        cdef st_signal *s = <st_signal *>self.ctx.args
        cdef uint64_t flags = action[1]
        self.entered_signal = signo
        self.ctx.word = <uint64_t>signo | <uint64_t><uint32_t>code << 32
        s.handler, s.restorer, s.block = action[0], action[2], mask
        s.sender = <uint64_t>pid | <uint64_t>uid << 32
        s.trap = s.address = 0
        if trap is not None:
            s.trap = <uint64_t>trap[0] | <uint64_t>trap[1] << 32
            s.address = trap[2]
        return self._give(ST_CMD_SIGNAL | (ST_WHAT_ONSTACK if flags & SA_ONSTACK else 0), GUEST | 1 << ST_EV_FRAME_FAULT)

    # -- for debuggers ----------------------------------------------------------------------------
    def tell_traced(self, bint traced):
        if self.ctx != NULL:
            sh_write32(&self.ctx.traced, traced)
            if traced:  # a stub that looked at `traced` before may set this back: it gets an interrupt as well
                sh_write64(&self.ctx.self_, ST_CTX + <uint64_t>(self.slot + 1) * ST_CTX_SIZE | 1)

    def reload_call(self):
        cdef Regs r = self.regs
        self.nr = <int32_t>r.orig_rax
        self.a[0], self.a[1], self.a[2], self.a[3], self.a[4], self.a[5] = r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9
        self.mask = 0
        self.here = self.listed = False

    @property
    def fp(self):
        if self.buf == NULL:
            return bytes(self.platform.fp_size)
        return PyBytes_FromStringAndSize(self.buf + ST_LENT_OFF, self.platform.fp_size)

    @fp.setter
    def fp(self, bytes image):
        if len(image) != self.platform.fp_size:
            raise ValueError("FP state")
        if self.buf != NULL:
            self._flush()
            self.mask = 0  # what the call brought along may lie there
            self.nsegs = 0
            memcpy(self.buf + ST_LENT_OFF, PyBytes_AS_STRING(image), <size_t>self.platform.fp_size)
            self.lent = True

    # -- memory operations ------------------------------------------------------------------------
    def run_ops(self, list ops, value=None):
        cdef list todo
        cdef bint uses_slot = False
        if not self._parked():
            return
        self._flush()
        if ops and ops[0][0] == OP_SAVE_FP:  # alone; what has been given counts already
            self.saving = not self.lent
            todo = [(ST_OP_LEND_FP, 0, 0, 0, self.slot, 0, None, None, 0)] if self.saving else []
        else:
            todo = translate(ops, self.aspace.shelf, self.aspace.kept, &uses_slot)
        self.ret_after = None
        if self.lent and value is not None:
            self.ret_after, value = value, None
        self.ops = todo
        self.ops_at = 0
        self.ops_base = <int>len(ops)
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
        if self.lent:
            room = ST_LENT_OFF
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
            self.ctx.word = <uint64_t><int64_t>self.ops_value
            expect |= GUEST
            if self.have_regs and memcmp(&self._regs.r15, self.snap, REGS_SIZE):
                self._put_regs()
                self.ctx.flags = ST_OPS_VALUE | ST_OPS_REGS
        self._give(ST_CMD_OPS, expect)
        if self.grants:
            self.platform.granting = self
            self.platform.cloning = sh_tsc()
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
        if self.clone is not None:
            self._ops_over()
            self._lent_fp(error)
            return 0
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
        if error == 0:
            if self.saving:
                self.saving = False
                self.lent = True
            if self.ret_after is not None:
                self.answer_plain(self.ret_after)
                return 0
        self.saving = False
        return 1

    # -- clone --------------------------------------------------------------------------------------
    def fork(self, done, meanwhile=None):
        self._clone(done, True, meanwhile)

    def spawn(self, done):
        self._clone(done, False, None)

    def _clone(self, done, bint process, meanwhile):
        cdef Clone clone
        cdef Registry platform = self.platform
        cdef int error = 0
        if not self._parked():
            platform.later.append((done, (None, errno.EAGAIN)))
            return
        self._flush()
        if not self.have_regs:
            self._get_regs()
        clone = Clone()
        clone.parent = self
        clone.done = done
        clone.meanwhile = meanwhile
        clone.process = process
        clone.slot = self.slot
        clone.memfd = -1
        if process:
            error = platform._take_context(clone)
        elif self.aspace._reuse(clone):
            self._lend_fp(clone)
            return
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
        self.platform.cloning = sh_tsc()
        self.ctx.word = clone.nonce
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
        cdef AddressSpace space = self.aspace
        if not self._parked():
            return
        if not space.killed and self.tid != space.pid and len(space.idle) < MOST_IDLE:
            # The host thread waits for the next spawn: that saves the making of one and two approvals.
            sh_write32(&self.ctx.park, 1)
            space.threads.remove(self)
            space.slots[self.slot] = IDLE
            space.idle.append((self.tid, self.slot))
            self.platform._forget(self)
            return
        self.exiting = True
        self._give(ST_CMD_EXIT, 0)

    # -- a thread made of an idle one: it takes over its maker's FP state, and with its first command the registers
    cdef int _lend_fp(self, Clone clone) except -1:
        cdef st_op *o = <st_op *>self.buf
        memset(o, 0, sizeof(st_op))
        o.op = ST_OP_LEND_FP
        o.a = <uint64_t>clone.slot
        self.clone = clone
        self.ops = ONE
        self.ops_value = None
        self.uses_slot = False
        self.ops_seq = sh_read32(&self.ctx.ops_seq)
        self.ctx.nops = 1
        self.ctx.flags = 0
        return self._give(ST_CMD_OPS, 1 << ST_EV_OPS)

    cdef int _lent_fp(self, int error) except -1:
        cdef Clone clone = self.clone
        cdef Thread child
        self.clone = None
        clone.parent = None
        if error:
            self.aspace.slots[clone.slot] = IDLE
            self.aspace.idle.append((clone.tid, clone.slot))
            self.platform.later.append((clone.done, (None, errno.EAGAIN)))
            return 0
        child = self.platform._new_thread(self.aspace, clone.tid, clone.slot)
        child.lent = True
        child.ctx.known = 0
        child.ctx.stepped = 0
        child._inherit(self)
        self.platform.gap *= 0.5  # both will call soon
        self.platform.later.append((clone.done, (child, 0)))
        return 0

    cdef int _inherit(self, Thread parent) except -1:
        """Begin with the registers of `parent`, as if in the same call."""
        memcpy(self.snap, parent.snap, REGS_SIZE)
        memcpy(&self._regs.r15, &parent._regs.r15, REGS_SIZE)
        self.have_regs = True
        self.event = parent.event
        self.nr = parent.nr
        return 0

    cdef uint32_t _lent_flag(self) noexcept:
        """For a command that leads to guest code."""
        cdef bint lent = self.lent
        self.lent = False
        return ST_FP_LENT if lent else 0

    # -- the host process, for its memory
    cdef st_seg *_replied(self) noexcept:
        return &self.ctx.outs[0] if self.ctx != NULL else NULL

    cdef char *wide(self) noexcept:
        self.platform.moved_much = sh_tsc()
        return Carrier.wide(self)

    cdef int _reach(self) except -1:
        return self.aspace._reach()

    cdef int _host_pid(self) noexcept:
        return -1 if self.aspace.dead or self.aspace.killed or self.aspace.leader_gone else self.aspace.pid

    # -- running threads ------------------------------------------------------------------------------
    def interrupt(self):
        if (self.state != RUNNING and self.state != WAITING) or self.exiting or self.interrupted:
            return
        self.interrupted = True
        self.platform.interrupting.append(self)
        self.interrupt_cpu = sh_cpu_time(self.aspace.pid)
        sh_write32(&self.ctx.interrupt, 1)
        self._signal()

    cdef int _signal(self) except -1:
        """Have the thread look at `interrupt`. One that has just begun looks by itself, or Platform._check comes back to it."""
        if self.unborn and sh_now() < self.unborn:
            return 0
        self.unborn = 0
        sh_tgkill(self.aspace.pid, self.tid, ST_INTR_SIGNAL)
        return 0


cdef class Shelf:
    """The descriptors that a seed keeps for its descendants (Platform.keep), and nobody else's."""

    def __init__(self):
        self.kept = []


cdef class AddressSpace:
    def __init__(self):
        self.threads = []
        self.slots = []
        self.slot_queue = []
        self.idle = []
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
        return vm_cstr(self._reach(), addr, limit)

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
        if not self.platform.doomed:
            self.platform.doomed_since = sh_tsc()
        self.platform.doomed.append(self)  # not yet: its end would take the CPU from those that wait for our answer
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

    cdef bint _reuse(self, Clone clone) except -1:
        """Take an idle host thread for `clone`, if there is one."""
        cdef int tid, slot
        while self.idle:
            tid, slot = self.idle.pop()
            if sh_tgkill(self.pid, tid, 0) == 0 and tid not in self.platform.by_tid:
                clone.tid, clone.slot = tid, slot
                clone.granted = True  # no host call is to be made
                self.slots[slot] = clone
                return True
            self.slots[slot] = None
        return False

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
            self.platform.unused.append(<uintptr_t>self.base)
            self.base = NULL
        self.threads = []
        self.slots = []
        self.idle = []
        self.slot_queue = []
        self.slot_owner = None
        return 0


cdef class Registry:
    """The threads, spaces and clones of one platform, and what they keep there. Platform (systrap.pyx) is the whole."""

    def __init__(self):
        self.listener = self.epoll = -1
        self.spaces = []
        self.watched = {}
        self.by_tid = {}
        self.by_pid = {}
        self.clones = {}
        self.ready = []
        self.later = []
        self.interrupting = []
        self.slot_waits = []
        self.spare = []
        self.unused = []
        self.doomed = []
        self.ended = []
        self.nonces = b""
        self.hot = [None] * SH_HOT
        self.gap = 1e9
        self.reserve = Reserve()

    def __dealloc__(self):
        free(self.entries)

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

    cdef int _unmap_unused(self) except -1:
        """Drop the context memory of one address space that is gone: done when nobody waits for anything else."""
        if self.unused:
            sh_unmap_context(<void *><uintptr_t>self.unused.pop())
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
        sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, space.pidfd, EPOLLIN | EPOLLET)
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
        thread.rows = self.shared.rows
        sh_write64(&thread.ctx.quiet, 0)
        thread.tell_altstack((0, 0, 0))
        thread.mask_at = &thread.ctx.sigmask
        thread.lists_at = &thread.ctx.robust
        thread.later_at = <char *>thread.ctx.later
        thread.ctx.robust = thread.ctx.clear_tid = 0
        thread.ctx.starts = 0
        sh_write32(&thread.ctx.traced, 0)
        thread.state = PARKED
        while len(space.slots) <= slot:
            space.slots.append(None)
        space.slots[slot] = thread
        self.entries[space.position].words = max(self.entries[space.position].words, <uint32_t>slot // 64 + 1)
        space.threads.append(thread)
        self.by_tid[tid] = thread
        if self.reserve.used:
            self.reserve.place(tid)
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
        self._cool(thread)
        thread.state = DEAD
        thread.event = 0  # for one that was about to be handed out
        thread.own_mask = thread.mask_at[0]
        thread.mask_at = &thread.own_mask
        thread.own_lists[0], thread.own_lists[1] = thread.lists_at[0], thread.lists_at[1]
        thread.lists_at = thread.own_lists
        thread.ctx = NULL
        thread.buf = thread.later_at = NULL
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

    cdef int _heat(self, Thread thread) except -1:
        """Look at this thread's turn itself from now on, in place of the one that has been looked at longest."""
        cdef int at = self.next_hot
        cdef Thread old = self.hot[at]
        if old is not None:
            self._cool(old)
        self.next_hot = (at + 1) % SH_HOT
        self.hot[at] = thread
        thread.hot = at
        thread.ctx.polled = 1
        self.hot_ctx[at] = thread.ctx if thread.state == RUNNING else NULL
        return 0

    cdef int _cool(self, Thread thread) except -1:
        cdef int at = thread.hot
        if at < 0:
            return 0
        thread.hot = -1
        self.hot[at] = None
        self.hot_ctx[at] = NULL
        if thread.ctx == NULL:
            return 0
        if thread.state == PARKED:
            thread.ctx.polled = 0
        else:
            sh_unpoll(thread.ctx, <uint64_t *>thread.aspace.base, thread.slot)
        return 0

    cdef void _called_from(self, int cpu) noexcept:
        if cpu == self.caller_cpu:
            self.same_cpu += 1
        else:
            self.caller_cpu = cpu
            self.same_cpu = 0
