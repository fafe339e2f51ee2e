"""The ptrace platform: guest threads run under PTRACE_SYSEMU (ptrace(2)).

A guest thread is a host thread that is let go with PTRACE_SYSEMU only, so that each of its system calls stops it before the host
looks at the call. Host calls that the Sentry wants made in a guest's address space (mmap, clone …) are *injected*: the thread's
registers are set to run the `syscall; int3` in a page above the guest's addresses, it is let go with PTRACE_CONT, and the int3
stops it again with the result in rax. The guest's own registers stay in the Sentry meanwhile. All guest processes descend from one
seed (native/ptrace_seed.c), all are children of the Sentry (CLONE_PARENT) and are traced by its one thread.

Nothing here waits for a guest: an injected call is a step of a job (`Thread.job`), and what comes next is decided when its stop is
reported to `wait`. The exceptions are process_vm_*, see docs/architecture.md.

Descriptors reach a guest process by SCM_RIGHTS over one socket that all of them share, and are closed once mapped. The guest's
memory holds the arguments of the injected recvmsg, so another thread of that guest may change them. What it gains: nothing,
because the number received is never read but known (the lowest free one, and a process makes one such job at a time), and
because an answer other than the one expected ends the process. A message that was not taken is drained by the Sentry, which keeps
the receiving end too; only one transfer is under way at a time (`Platform.carrier`), so no message reaches the wrong process.

Death at any moment is normal: every ptrace request may fail with ESRCH, which is ignored, because the end of the thread is then
about to be reported by waitpid. Guests cannot block what interrupts them (PTRACE_INTERRUPT is no signal): nothing escalates.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EBADF, ECHILD, EFAULT, EINTR, EINVAL, ENOENT, ESRCH, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sentry.core.guest cimport GuestThread
from sentry.platform.ptrace_fp cimport States
from sentry.platform.ptrace_host cimport (
    __WALL, AUDIT_ARCH_X86_64, CLONE_PARENT, CLONE_THREAD_FLAGS, CS, EFLAGS, EPOLL_CLOEXEC, epoll_create1, epoll_ctl,
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, epoll_event, EPOLLIN, EV_DEAD, EV_FAULT, EV_FRAME_FAULT,
    EV_INTERRUPT, EV_OPS, EV_SYSCALL, EVENTS, GONE, GUEST, guest_strncpy, INJECTED, iovec, JOB_CLONE,
    JOB_EXIT, JOB_OPS, kill, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, MREMAP_MAYMOVE_FIXED,
    MSG_FLAGS, N_REGS, NO_JOB, OP_MADVISE, OP_MMAP_ANON, OP_MMAP_FD, OP_MPROTECT, OP_MREMAP, OP_MUNMAP,
    OP_SAVE_FP, OP_WRITE, OP_ZERO, ORIG_RAX, PARKED, process_vm_writev, ptrace, PTRACE_CONT, PTRACE_EVENT_CLONE,
    PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK, PTRACE_GETEVENTMSG, PTRACE_GETREGS, PTRACE_GETSIGINFO,
    PTRACE_INTERRUPT, PTRACE_POKEUSER, PTRACE_SETREGS, QUEUED, R10, R8, R9, RAX, RDI, RDX, read,
    RIP, RSI, sched_getcpu, SFD_CLOEXEC, SFD_NONBLOCK, SIG_BLOCK, SIG_SETMASK, sigaddset, SIGBUS, SIGCHLD,
    sigemptyset, SIGFPE, SIGILL, siginfo_t, SIGKILL, signalfd, sigprocmask, SIGSEGV, sigset_t, SIGSYS, SIGTRAP, SS,
    SYS_clone, SYS_close, SYS_exit, SYS_madvise, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_recvmsg,
    SYSCALL_ENTRY, SYSCALL_STOP, TR_CONTROL, tr_cpus, tr_drain, tr_epoll_wait, TR_EVENT_STOP, tr_fill_scratch,
    TR_LIMIT, tr_now, tr_place,
    TR_REGION, TR_REGS, TR_SCRATCH, tr_send_fd, TR_SLOT, TR_SYSCALL_INFO, tr_syscall_info, TR_SYSEMU, TR_TOP,
    TR_VSYSCALL_PAGE, tr_trap, USER_CS, USER_SS, WAITING, waitpid, WNOHANG, X32_BIT,
)
from sentry.platform.ptrace_memory cimport read_above, read_guest, write_guest
from sentry.platform.ptrace_regs cimport Regs
from sentry.platform.ptrace_seed cimport checked, next_trap

import _socket
import os
from collections import deque

from sentry.core import log
from sentry.platform import base
from sentry.platform.base import MemFault
from sentry.platform.ptrace_seed import launch

assert base.TASK_LIMIT == TR_LIMIT and TR_REGS == N_REGS
assert (base.EV_SYSCALL, base.EV_DEAD, base.OP_MMAP_ANON, base.OP_ZERO) == (EV_SYSCALL, EV_DEAD, OP_MMAP_ANON, OP_ZERO)

MASK = (1 << 64) - 1


cdef class AddressSpace:
    """A host process: guest memory and the threads in it."""

    cdef readonly int pid
    cdef readonly list threads
    cdef Platform platform
    cdef bint killed
    cdef object __weakref__

    cdef int live(self) except? 0:
        """A thread id to reach the memory by: a first thread that has ended has none any more. 0: none is left."""
        return (<Thread?>self.threads[0]).tid if self.threads else 0

    def read(self, addr, length):
        """Guest memory (bytes of exactly `length`). MemFault."""
        return read_guest(self.live(), addr, length, False)

    def read_upto(self, addr, length):
        """Guest memory up to the first byte that cannot be read. MemFault if that is the first."""
        return read_guest(self.live(), addr, length, True)

    def write(self, addr, data):
        """Copies a buffer to guest memory. MemFault; part may have been written then."""
        write_guest(self.live(), addr, data, False)

    def write_upto(self, addr, data):
        """Copies a buffer to guest memory; how many bytes (int) could be. MemFault if none."""
        return write_guest(self.live(), addr, data, True)

    def kill(self):
        """Ends the host process; its threads have no further events."""
        cdef Thread thread
        if self.killed:
            return
        self.killed = True
        if self.threads:
            kill(self.pid, SIGKILL)
        for thread in self.threads:
            thread.enter(GONE)
            thread.event = 0  # one that `wait` has returned already, with others, is void
        self.threads = []


cdef class Thread(GuestThread):
    """A guest thread. See base.py."""

    cdef readonly AddressSpace aspace
    cdef readonly int tid
    cdef readonly tuple args
    cdef readonly tuple fault
    cdef readonly int ops_done
    cdef readonly int ops_errno
    cdef readonly Regs regs
    cdef Platform platform
    cdef int state
    cdef int job
    cdef int cpu  # the one that it is bound to, or -1
    cdef bint interrupted  # an interrupt is wanted
    cdef list ops
    cdef object value  # what run_ops returns to the guest, or None
    cdef int phase  # of OP_MMAP_FD: 0 receive, 1 map, 2 close
    cdef long mapped  # the result of phase 1
    cdef object done  # of the clone
    cdef bint new_process  # the clone is a fork
    cdef int child
    cdef bint returned  # the clone's own stop has come
    cdef object __weakref__

    # -- guest memory
    def read(self, addr, length):
        """As AddressSpace.read."""
        return read_guest(self.aspace.live(), addr, length, False)

    def read_upto(self, addr, length):
        """As AddressSpace.read_upto."""
        return read_guest(self.aspace.live(), addr, length, True)

    def read_cstr(self, addr, limit):
        """The bytes before the NUL, at most `limit`. MemFault."""
        cdef char[256] small
        cdef uint64_t start
        cdef Py_ssize_t most = limit
        cdef ssize_t got
        if not self.aspace.threads or not 0 <= addr < TR_LIMIT:
            raise MemFault(addr)
        start = addr
        got = guest_strncpy(self.tid, start, small, min(most, 256), TR_LIMIT)
        if 0 <= got < 256 or (got == 256 and most == 256):
            return small[:got]
        if got < 0:
            raise MemFault(addr)
        data = PyBytes_FromStringAndSize(NULL, most)
        got = guest_strncpy(self.tid, start, PyBytes_AS_STRING(data), most, TR_LIMIT)
        if got < 0:
            raise MemFault(addr)
        return data[:got]

    def write(self, addr, data):
        """As AddressSpace.write."""
        write_guest(self.aspace.live(), addr, data, False)

    write_later = write

    def write_upto(self, addr, data):
        """As AddressSpace.write_upto."""
        return write_guest(self.aspace.live(), addr, data, True)

    # -- resumes
    def ret(self, value):
        """Returns from the system call with rax = value (int, may be negative)."""
        cdef uint64_t rax = value & MASK
        if self.state != PARKED:
            return
        # The host restarts a call itself when it sees one of its private errnos (-516…-512) in rax on the
        # way out; orig_rax = -1, which SETREGS below sets, tells it that there is no call.
        if not self.regs.dirty and not -516 <= <int64_t>rax <= -512:
            ptrace(PTRACE_POKEUSER, self.tid, <void *><long>(RAX * 8), <void *>rax)
        else:
            self.regs.fetch()
            self.regs.u[RAX] = rax
            self.regs.dirty = True
        self.go()

    def resume(self, fp_reset=False, fp_from=0):
        """Goes on with `regs`, and the FP state named (base.py)."""
        if self.state != PARKED:
            return
        self.regs.fetch()
        self.regs.dirty = True
        if fp_from:
            if not self.platform.states.load(self.tid, fp_from & MASK):
                self.post(EV_FRAME_FAULT)
                return
        elif fp_reset:
            self.platform.states.reset(self.tid)
        self.go()

    def enter_handler(self, frame_addr, frame, fp_addr):
        """Goes on with `regs` after writing the signal frame (bytes) and the FP image."""
        cdef uint64_t at = frame_addr & MASK, fp_at = fp_addr & MASK
        cdef size_t size = self.platform.fp_size
        cdef iovec local[2]
        cdef iovec remote[2]
        cdef const unsigned char *bytes_of = frame
        cdef size_t length = len(frame)
        if self.state != PARKED:
            return
        if not self.platform.states.save(self.tid):
            return  # it has died
        local[0].iov_base = <void *>bytes_of
        local[0].iov_len = remote[0].iov_len = length
        remote[0].iov_base = <void *>at
        local[1].iov_base = self.platform.states.area
        local[1].iov_len = remote[1].iov_len = size
        remote[1].iov_base = <void *>fp_at
        if not below_limit(at, length) or not below_limit(fp_at, size) or \
                process_vm_writev(self.tid, local, 2, remote, 2, 0) != <ssize_t>(length + size):
            self.post(EV_FRAME_FAULT)
            return
        self.platform.states.reset(self.tid)
        self.regs.fetch()
        self.regs.u[CS] = USER_CS
        self.regs.u[SS] = USER_SS
        self.regs.dirty = True
        self.go()

    def run_ops(self, ops, value=None):
        """Carries out memory operations (list of tuples, base.py), then goes on with rax = value or reports."""
        if self.state != PARKED:
            return
        self.regs.fetch()
        self.regs.dirty = True
        self.job = JOB_OPS
        self.ops = ops
        self.value = value
        self.ops_done = 0
        self.ops_errno = 0
        self.next_op()

    # -- others
    def fork(self, done, meanwhile=None):
        """A copy of the address space: done(thread, errno)."""
        self.clone(done, True)
        if meanwhile is not None:
            meanwhile()

    def spawn(self, done):
        """A thread in this address space: done(thread, errno)."""
        self.clone(done, False)

    def exit(self):
        """Ends this host thread."""
        if self.state == GONE:
            return
        if len(self.aspace.threads) <= 1:
            self.aspace.kill()
            return
        self.aspace.threads.remove(self)
        self.regs.fetch()
        self.job = JOB_EXIT
        self.inject(SYS_exit, 0, 0, 0, 0, 0, 0)
        self.enter(GONE)

    def interrupt(self):
        """Makes a running thread report."""
        if self.state == GUEST:
            self.interrupted = True
            ptrace(PTRACE_INTERRUPT, self.tid, NULL, NULL)
        elif self.job == JOB_OPS:
            self.interrupted = True  # looked at when the operations are done

    # -- running it
    cdef void enter(self, int state) noexcept:
        """Changes `state` and keeps count of running threads."""
        self.platform.running += (state == GUEST or state == INJECTED) - (self.state == GUEST or self.state == INJECTED)
        self.state = state

    cdef void go(self):
        """Lets the guest run."""
        if self.regs.dirty:
            self.regs.u[ORIG_RAX] = MASK
            if ptrace(PTRACE_SETREGS, self.tid, NULL, &self.regs.u[0]) < 0 and errno == 5:
                log.error(f"guest thread {self.tid}: the host refuses its registers: {self.regs.copy()}")
                kill(self.aspace.pid, SIGKILL)
        self.regs.valid = self.regs.dirty = False
        self.enter(GUEST)
        self.interrupted = False
        if self.platform.many_cpus:
            self.place()
        ptrace(TR_SYSEMU, self.tid, NULL, NULL)

    cdef void place(self) noexcept:
        """Where to run. A thread that runs alone shares the Sentry's CPU, because the two take turns: waking one
        another across CPUs costs 60 us a call instead of 10. With others it goes where the host likes."""
        cdef int cpu = sched_getcpu() if self.platform.running == 1 else -1
        if cpu != self.cpu:
            self.cpu = cpu
            tr_place(self.tid, cpu)

    cdef void inject(self, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f):
        """Starts a host call in the thread; `regs` have been fetched."""
        cdef uint64_t[N_REGS] u
        memset(&u[0], 0, sizeof(u))
        u[ORIG_RAX] = MASK
        u[RAX] = nr
        u[RDI], u[RSI], u[RDX], u[R10], u[R8], u[R9] = a, b, c, d, e, f
        u[RIP] = self.platform.region
        u[EFLAGS] = 0x202
        u[CS] = USER_CS
        u[SS] = USER_SS
        ptrace(PTRACE_SETREGS, self.tid, NULL, &u[0])
        self.enter(INJECTED)
        ptrace(PTRACE_CONT, self.tid, NULL, NULL)

    cdef void post(self, int event):
        """Parks the thread with an event for the kernel."""
        self.event = event
        self.enter(QUEUED)
        self.interrupted = False
        self.platform.ready.append(self)

    cdef void violation(self, str what):
        """The guest process did what it cannot do: end it."""
        log.error(f"guest thread {self.tid}: {what}; killing its process")
        kill(self.aspace.pid, SIGKILL)

    # -- memory operations
    cdef void next_op(self):
        """Carries on with operation `ops_done`; those that need no host call in the guest at once."""
        cdef int code, error
        cdef uint64_t addr, length
        while self.ops_done < len(self.ops):
            op = self.ops[self.ops_done]
            code = op[0]
            if code == OP_SAVE_FP:  # `fp` looks itself
                self.ops_done += 1
                continue
            addr = op[1] & MASK
            error = 0
            if code == OP_WRITE or code == OP_ZERO:
                try:
                    write_guest(self.aspace.live(), addr, op[2] if code == OP_WRITE else bytes(op[2]), False)
                except MemFault:
                    error = EFAULT
            else:
                length = op[2] & MASK
                if not below_limit(addr, length):
                    error = EINVAL
                elif code == OP_MMAP_ANON:
                    self.inject(SYS_mmap, addr, length, op[3] & MASK,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (MAP_NORESERVE if op[4] else 0), MASK, 0)
                    return
                elif code == OP_MMAP_FD:
                    self.phase = 0
                    self.enter(WAITING)
                    self.platform.carry(self)
                    return
                elif code == OP_MUNMAP:
                    self.inject(SYS_munmap, addr, length, 0, 0, 0, 0)
                    return
                elif code == OP_MPROTECT:
                    self.inject(SYS_mprotect, addr, length, op[3] & MASK, 0, 0, 0)
                    return
                elif code == OP_MADVISE:
                    self.inject(SYS_madvise, addr, length, op[3] & MASK, 0, 0, 0)
                    return
                elif code == OP_MREMAP and below_limit(op[4] & MASK, op[3] & MASK):
                    self.inject(SYS_mremap, addr, length, op[3] & MASK, MREMAP_MAYMOVE_FIXED, op[4] & MASK, 0)
                    return
                else:
                    error = EINVAL
            if error:
                self.end_ops(error)
                return
            self.ops_done += 1
        self.end_ops(0)

    cdef void op_stop(self, long result):
        """An injected call of the operation has come back."""
        if self.ops[self.ops_done][0] != OP_MMAP_FD:
            if -4096 < result < 0:
                self.end_ops(-result)
                return
        elif self.phase == 0:
            op = self.ops[self.ops_done]
            if result != 1:
                self.platform.carried(self)
                self.violation(f"receiving a descriptor gave {result}")
                return
            self.phase = 1
            self.inject(SYS_mmap, op[1] & MASK, op[2] & MASK, op[3] & MASK,
                        MAP_FIXED | (MAP_SHARED if op[4] else MAP_PRIVATE), TR_SLOT, op[6] & MASK)
            return
        elif self.phase == 1:
            self.mapped = result
            self.phase = 2
            self.inject(SYS_close, TR_SLOT, 0, 0, 0, 0, 0)
            return
        else:
            self.platform.carried(self)
            if result != 0 or self.mapped == -EBADF:
                self.violation(f"a received descriptor was lost: mmap {self.mapped}, close {result}")
                return
            if -4096 < self.mapped < 0:
                self.end_ops(-self.mapped)
                return
        self.ops_done += 1
        self.next_op()

    cdef void receive(self):
        """It is this thread's turn to receive the descriptor of its operation."""
        cdef int error
        op = self.ops[self.ops_done]
        error = tr_send_fd(self.platform.control, op[5])
        if error == 0:
            error = tr_fill_scratch(self.tid, self.platform.region + TR_SCRATCH)
            if error == 0:
                self.inject(SYS_recvmsg, TR_CONTROL, self.platform.region + TR_SCRATCH, MSG_FLAGS, 0, 0, 0)
                return
        self.platform.carried(self)
        self.end_ops(-error)

    cdef void end_ops(self, int error):
        self.job = NO_JOB
        self.ops = None
        self.ops_errno = error
        if error or self.value is None:
            self.post(EV_OPS)
            return
        self.regs.u[RAX] = self.value & MASK
        if self.interrupted:
            self.post(EV_INTERRUPT)
        else:
            self.go()

    # -- clone
    cdef object clone(self, done, bint new_process):
        """Injects clone in this parked thread; `done` is called from `wait`."""
        if self.state == GONE:
            self.platform.calls.append((done, None, ESRCH))
            return
        if self.state != PARKED:
            raise ValueError("clone in a thread that is not parked")
        self.regs.fetch()
        self.regs.dirty = True
        self.job = JOB_CLONE
        self.done = done
        self.new_process = new_process
        self.child = 0
        self.returned = False
        self.platform.clones += 1
        # The child inherits exit signal and parent; its stack pointer is set with its registers.
        self.inject(SYS_clone, (CLONE_PARENT | SIGCHLD) if new_process else CLONE_THREAD_FLAGS, 0, 0, 0, 0, 0)

    cdef void clone_stop(self, long result):
        """The injected clone has returned here."""
        self.enter(WAITING)
        self.returned = True
        if result < 0:
            self.end_clone(None, -result)
        else:
            self.try_end_clone()

    cdef void try_end_clone(self):
        """Ends the job once both sides have stopped."""
        cdef Platform platform = self.platform
        cdef Thread child
        if not self.returned or self.child not in platform.newborn:
            return
        if not platform.newborn.pop(self.child):
            self.end_clone(None, EAGAIN)
            return
        child = platform.adopt(self.child, None if self.new_process else self.aspace)
        child.cpu = self.cpu
        memcpy(&child.regs.u[0], &self.regs.u[0], sizeof(self.regs.u))
        child.regs.valid = child.regs.dirty = True
        self.end_clone(child, 0)

    cdef void end_clone(self, child, int error):
        done = self.done
        self.done = None
        self.job = NO_JOB
        if self.state != GONE:
            self.enter(PARKED)
        self.platform.clones -= 1
        self.platform.calls.append((done, child, error))

    # -- for debuggers
    def reload_call(self):
        """See base.py."""
        cdef uint64_t *u = &self.regs.u[0]
        self.regs.fetch()
        self.nr = <int>u[ORIG_RAX]
        self.args = (u[RDI], u[RSI], u[RDX], u[R10], u[R8], u[R9])

    @property
    def fp(self):
        """The FP state as a signal frame image (bytes)."""
        return self.platform.states.image(self.tid)

    @fp.setter
    def fp(self, image):
        self.platform.states.give(self.tid, image)

    # -- stops
    cdef void stopped(self, int status):
        """waitpid reported a stop of this thread."""
        cdef int sig = status >> 8 & 0xff, event = status >> 16
        cdef unsigned long message = 0
        if self.state == GUEST:
            if event == TR_EVENT_STOP:
                if self.interrupted:
                    self.regs.fetch()
                    self.regs.u[ORIG_RAX] = MASK
                    self.post(EV_INTERRUPT)
                else:  # an interrupt that came together with another stop
                    ptrace(TR_SYSEMU, self.tid, NULL, NULL)
            elif sig == SYSCALL_STOP:
                self.system_call()
            else:
                self.signal_stop(sig)
        elif event == PTRACE_EVENT_FORK or event == PTRACE_EVENT_CLONE or event == PTRACE_EVENT_VFORK:
            ptrace(PTRACE_GETEVENTMSG, self.tid, NULL, &message)
            self.child = message
            ptrace(PTRACE_CONT, self.tid, NULL, NULL)
        elif self.state == INJECTED or self.job == JOB_EXIT:
            self.injected_stop(sig, event)
        # Else the Sentry has no use for it any more, and it is about to die.

    cdef void system_call(self):
        """A system call: the entry stop of PTRACE_SYSEMU."""
        cdef tr_syscall_info info
        if ptrace(TR_SYSCALL_INFO, self.tid, sizeof(info), &info) < 0:
            return
        self.nr = <int>info.nr
        if info.op != SYSCALL_ENTRY or info.arch != <uint32_t>AUDIT_ARCH_X86_64 or (self.nr != -1 and self.nr & X32_BIT):
            self.nr = -1
        self.args = (info.args[0], info.args[1], info.args[2], info.args[3], info.args[4], info.args[5])
        self.post(EV_SYSCALL)

    cdef void signal_stop(self, int sig):
        """A signal in guest code: a fault of the guest, a vsyscall, or one from outside, which is dropped."""
        cdef siginfo_t info
        cdef int trap, error
        cdef uint64_t addr
        cdef uint64_t *u = &self.regs.u[0]
        if ptrace(PTRACE_GETSIGINFO, self.tid, NULL, &info) < 0:
            return
        addr = <uint64_t>info.si_addr
        if info.si_code > 0 and sig == SIGSYS:
            if <uint64_t>info.si_call_addr & ~<uint64_t>0xfff != TR_VSYSCALL_PAGE:
                self.violation(f"a host call of guest code reached the filter: {info.si_syscall}")
                return
            # The host has emulated the return already (arch/x86/entry/vsyscall).
            self.regs.fetch()
            self.regs.dirty = True
            u[ORIG_RAX] = self.nr = info.si_syscall
            self.args = (u[RDI], u[RSI], u[RDX], u[R10], u[R8], u[R9])
            self.post(EV_SYSCALL)
            return
        if info.si_code > 0 and sig in (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP):
            trap = tr_trap(sig, info.si_code, &error)
            self.fault = (sig, info.si_code, addr, trap, error)
            self.post(EV_FAULT)
            return
        log.info(f"guest thread {self.tid}: signal {sig} from outside (pid {info.si_pid}) dropped")
        ptrace(TR_SYSEMU, self.tid, NULL, NULL)

    cdef void injected_stop(self, int sig, int event):
        """A stop while an injected call runs: its end, or something to pass over."""
        cdef uint64_t[N_REGS] u
        cdef siginfo_t info
        if event == 0:
            if sig == SIGTRAP:
                if ptrace(PTRACE_GETREGS, self.tid, NULL, &u[0]) < 0:
                    return
                if u[RIP] == self.platform.region + 3:
                    if self.job == JOB_OPS:
                        self.op_stop(u[RAX])
                    elif self.job == JOB_CLONE:
                        self.clone_stop(u[RAX])
                    return
            if ptrace(PTRACE_GETSIGINFO, self.tid, NULL, &info) < 0:
                return
            if info.si_code > 0 and sig in (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS):
                self.violation(f"an injected call raised signal {sig}")
                return
            log.info(f"guest thread {self.tid}: signal {sig} from outside (pid {info.si_pid}) dropped")
        ptrace(PTRACE_CONT, self.tid, NULL, NULL)

    cdef void died(self):
        """waitpid reported its end; the number may be used again from now on."""
        cdef bint known = self.state != GONE
        if self.platform.carrier is self:
            self.platform.carried(self)
        self.enter(GONE)
        if self in self.aspace.threads:
            self.aspace.threads.remove(self)
        if self.job == JOB_CLONE:
            self.end_clone(None, EAGAIN)
        self.job = NO_JOB
        self.ops = None
        if known:
            if self not in self.platform.ready:
                self.platform.ready.append(self)
            self.event = EV_DEAD


cdef bint below_limit(uint64_t addr, uint64_t length):
    return addr <= TR_LIMIT and length <= TR_LIMIT - addr


cdef class Nursery:
    """See base.py."""
    cdef Platform platform
    cdef Thread seed  # None: closed, or it has died
    cdef object queue  # callbacks of new_aspace that wait for the seed
    cdef readonly int pid
    cdef public bint ready

    def __init__(self, Platform platform, Thread seed):
        self.platform, self.seed, self.pid, self.queue = platform, seed, seed.tid, deque()
        platform.nurseries.append(self)

    cdef void feed(self):
        if self.queue and self.seed is not None and self.seed.state == PARKED:
            self.seed.clone(self.queue.popleft(), True)

    def close(self):
        if self.seed is not None:
            self.seed.aspace.kill()
            self.seed = None
            self.platform.nurseries.remove(self)
            while self.queue:
                self.platform.calls.append((self.queue.popleft(), None, ECHILD))


cdef class Platform:
    """See base.py. One a process: it waits for all of the process's children."""

    name = "ptrace"
    entry = 0
    cdef readonly int fp_size
    cdef readonly uint64_t vdso  # address of the host's vDSO in guest processes, 0: none
    cdef readonly bytes vdso_image
    cdef readonly bint filtered  # guest processes have the seccomp filter as a second wall
    cdef dict threads  # tid -> Thread, until its end is reported
    cdef dict newborn  # tid -> whether alive: children that nobody has claimed yet
    cdef int running  # threads in guest code or injected calls
    cdef bint many_cpus
    cdef int clones  # jobs that may claim one
    cdef list ready  # threads with events for the kernel
    cdef list calls  # (done, thread, errno) to be called
    cdef dict watched  # fd -> callback
    cdef Thread seed
    cdef Nursery first  # of the sandbox's own container
    cdef list nurseries
    cdef Thread carrier  # the thread whose turn it is to receive a descriptor
    cdef object carry_queue
    cdef uint64_t region  # the pages above the guest's addresses
    cdef int epoll, signals, control, receiver
    cdef int rounds
    cdef readonly States states  # of the FP registers
    cdef sigset_t old_mask
    cdef int image
    cdef bint started
    cdef public bint apart  # base.py

    def __cinit__(self, int image=-1):
        self.epoll = self.signals = self.control = self.receiver = -1
        self.image = image

    def __init__(self, image=-1):
        """image: a descriptor of the seed executable (int), for hosts that refuse to execute a memfd."""
        self.threads = {}
        self.newborn = {}
        self.ready = []
        self.calls = []
        self.watched = {}
        self.nurseries = []
        self.carry_queue = deque()

    # -- start and stop
    def start(self):
        """Starts the seed. OSError with the step that failed. Blocks SIGCHLD in this thread."""
        cdef sigset_t mask
        cdef int seed
        cdef uint64_t vdso
        sigemptyset(&mask)
        sigaddset(&mask, SIGCHLD)
        sigprocmask(SIG_BLOCK, &mask, &self.old_mask)
        self.started = True
        self.many_cpus = tr_cpus() > 1
        self.signals = checked(signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd")
        self.epoll = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")
        self.epoll_control(EPOLL_CTL_ADD, self.signals, EPOLLIN)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.control, self.receiver = ours.detach(), theirs.detach()
        seed, self.region, vdso, self.filtered = launch(self.image, self.control, self.receiver, self.apart)
        if not self.filtered:
            log.warning("ptrace platform: the host has no seccomp filters; PTRACE_SYSEMU stands alone")
        self.seed = self.adopt(seed, None)
        self.first = Nursery(self, self.seed)
        memset(&self.seed.regs.u[0], 0, sizeof(self.seed.regs.u))
        self.seed.regs.u[EFLAGS] = 0x202
        self.seed.regs.u[CS] = USER_CS
        self.seed.regs.u[SS] = USER_SS
        self.seed.regs.valid = True
        self.clear(0, self.region, vdso)
        self.clear(self.region + TR_REGION, TR_TOP, vdso)
        self.states = States(self.seed.tid)
        self.fp_size = self.states.size + 4
        self.states.reset(self.seed.tid)
        self.vdso_image = read_above(self.seed.tid, self.vdso, 2 * 4096) if self.vdso else b""
        # Refused where the host's Yama is strict, or rights were dropped in the wrong order.
        checked(tr_fill_scratch(self.seed.tid, self.region + TR_SCRATCH), "process_vm_writev")

    def set_time_offsets(self, monotonic, boottime):
        return False

    cdef object clear(self, uint64_t start, uint64_t end, uint64_t vdso):
        """Unmaps [start, end) in the seed, but for a vDSO above the limit with its data: guests read the time there."""
        cdef uint64_t low = vdso - 0x10000, high = vdso + 0x4000
        if start <= low and high <= end and low >= TR_LIMIT:
            self.vdso = vdso
            checked(self.unmap(start, low - start), "munmap")
            start = high
        checked(self.unmap(start, end - start), "munmap")  # EPERM: a vDSO below the limit that the host has sealed

    cdef long unmap(self, uint64_t start, uint64_t length) except? -1:
        """munmap in the seed, before the sandbox runs; its result."""
        cdef uint64_t[N_REGS] u
        self.seed.inject(SYS_munmap, start, length, 0, 0, 0, 0)
        next_trap(self.seed.tid)
        ptrace(PTRACE_GETREGS, self.seed.tid, NULL, &u[0])
        self.seed.enter(PARKED)
        return <long>u[RAX]

    def stop(self):
        """Kills all guest processes, waits for their ends, closes everything."""
        cdef Thread thread
        cdef int status = 0, pid
        pids = {thread.aspace.pid for thread in self.threads.values()}
        for pid in pids:
            kill(pid, SIGKILL)
        while pids:
            pid = waitpid(-1, &status, __WALL)
            if pid < 0:
                if errno == EINTR:
                    continue
                break
            if status & 0x7f != 0x7f:
                pids.discard(pid)
            elif pid not in self.threads:  # newborn
                kill(pid, SIGKILL)
                pids.add(pid)
        for thread in self.threads.values():
            thread.enter(GONE)
            thread.aspace.threads = []
            thread.aspace.killed = True
        self.threads = {}
        self.newborn = {}
        self.ready = []
        self.calls = []
        self.seed = self.carrier = None
        self.first, self.nurseries = None, []
        self.carry_queue.clear()
        for fd in (self.epoll, self.signals, self.control, self.receiver):
            if fd >= 0:
                os.close(fd)
        self.epoll = self.signals = self.control = self.receiver = -1
        self.watched = {}
        if self.started:
            sigprocmask(SIG_SETMASK, &self.old_mask, NULL)
            self.started = False

    # -- address spaces
    cdef Thread adopt(self, int tid, AddressSpace space):
        """The Thread of a stopped host thread; in a new address space when `space` is None."""
        cdef Thread thread = Thread.__new__(Thread)
        if space is None:
            space = AddressSpace.__new__(AddressSpace)
            space.pid = tid
            space.threads = []
            space.platform = self
        thread.platform = self
        thread.aspace = space
        thread.tid = tid
        thread.regs = Regs.__new__(Regs)
        thread.regs.tid = tid
        thread.cpu = -1
        space.threads.append(thread)
        self.threads[tid] = thread
        return thread

    def new_nursery(self, done):
        """See base.py."""
        self.new_aspace(lambda thread, error: done(Nursery(self, thread) if thread is not None else None, error))

    def new_aspace(self, done, Nursery nursery=None):
        """An empty address space: done(thread, errno) from within `wait`."""
        nursery = nursery or self.first
        if nursery is None or nursery.seed is None or nursery.seed.state == GONE:
            self.calls.append((done, None, ECHILD))
            return
        nursery.queue.append(done)
        nursery.feed()

    # -- descriptors on their way into a guest process
    cdef void carry(self, Thread thread):
        """Gives the thread its turn to receive a descriptor, now or later."""
        if self.carrier is None:
            self.carrier = thread
            thread.receive()
        else:
            self.carry_queue.append(thread)

    cdef void carried(self, Thread thread):
        """The turn of `thread` is over, or it will never have one."""
        cdef Thread next_one
        if self.carrier is not thread:
            return
        tr_drain(self.receiver)
        self.carrier = None
        while self.carrier is None and self.carry_queue:
            next_one = self.carry_queue.popleft()
            if next_one.state == WAITING:
                self.carrier = next_one
                next_one.receive()

    # -- waiting
    cdef object epoll_control(self, int op, int fd, uint32_t events):
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = events
        event.data.fd = fd
        if epoll_ctl(self.epoll, op, fd, &event) < 0:
            return errno
        return 0

    def keep(self, fd):
        """See base.py."""

    def watch(self, fd, events, callback):
        """Calls callback(fd, events) from `wait` when the descriptor is ready. OSError if it cannot be watched."""
        error = self.epoll_control(EPOLL_CTL_MOD, fd, events)
        if error == ENOENT:
            error = self.epoll_control(EPOLL_CTL_ADD, fd, events)
        if error:
            raise OSError(error, f"epoll_ctl of descriptor {fd}: {os.strerror(error)}")
        self.watched[fd] = callback

    def unwatch(self, fd):
        """No more callbacks for the descriptor; also after it was closed."""
        if self.watched.pop(fd, None) is not None:
            self.epoll_control(EPOLL_CTL_DEL, fd, 0)

    cdef void reap(self):
        """Takes everything that waitpid has to say."""
        cdef int status = 0, tid
        cdef Thread thread
        cdef Nursery nursery
        while True:
            tid = waitpid(-1, &status, WNOHANG | __WALL)
            if tid <= 0:
                break
            thread = self.threads.get(tid)
            if status & 0x7f != 0x7f:
                if thread is None:
                    self.born(tid, False)
                    continue
                del self.threads[tid]
                thread.died()
                self.seed_died(thread)
            elif thread is not None:
                thread.stopped(status)
            else:
                self.born(tid, True)
        if self.newborn and not self.clones:
            for tid, alive in self.newborn.items():
                if alive:  # the parent died before it could tell
                    kill(tid, SIGKILL)
            self.newborn.clear()
        for nursery in self.nurseries:
            nursery.feed()

    cdef void born(self, int tid, bint alive):
        """A new thread or process has stopped, or died already; its parent's stop came before or comes later."""
        cdef Thread parent
        self.newborn[tid] = alive
        for parent in self.threads.values():
            if parent.job == JOB_CLONE and parent.child == tid:
                parent.try_end_clone()
                return

    cdef void seed_died(self, Thread thread):
        """If that was one: no more address spaces for its container; the guests that there are go on."""
        for nursery in [each for each in self.nurseries if (<Nursery?>each).seed is thread]:
            log.error("ptrace platform: a seed process has died")
            self.ready = [other for other in self.ready if other is not thread]
            nursery.close()

    cdef object sleep(self, int64_t timeout):
        """Waits for SIGCHLD or a watched descriptor, at most `timeout` ns (negative: for ever); callbacks run."""
        cdef epoll_event[EVENTS] events
        cdef int i, n
        with nogil:
            n = tr_epoll_wait(self.epoll, events, EVENTS, timeout)
        for i in range(n):
            fd = events[i].data.fd
            callback = self.watched.get(fd)  # gone when an earlier callback unwatched it
            if callback is not None:
                callback(fd, events[i].events)

    def wait(self, deadline):
        """Threads with events (list). `deadline`: CLOCK_MONOTONIC ns (int), or None."""
        cdef int64_t timeout
        cdef char[2048] drained
        cdef Thread thread
        self.reap()
        self.rounds += 1
        if self.ready or self.calls:
            if self.rounds % 16 == 0:  # a busy guest must not keep descriptors from being looked at
                self.sleep(0)
        else:
            # The signals of what was already taken must not end the sleep.
            while read(self.signals, drained, sizeof(drained)) == sizeof(drained):
                pass
            self.reap()
            if not (self.ready or self.calls):
                timeout = -1
                if deadline is not None:
                    timeout = max(0, <int64_t>deadline - tr_now())
                self.sleep(timeout)
                self.reap()
        if self.calls:
            calls, self.calls = self.calls, []
            for done, child, error in calls:
                done(child, error)
        ready, self.ready = self.ready, []
        events = []
        for thread in ready:
            if thread.state == QUEUED:
                thread.enter(PARKED)
            elif thread.event != EV_DEAD or thread.aspace.killed:
                continue
            events.append(thread)
        return events
