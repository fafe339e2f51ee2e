"""The systrap platform: guest calls arrive as SIGSYS in the guest process and travel through shared memory.

Needs native/systrap.h and native/systrap_host.h (headers only; include path native/) to build, and the executable
build/native/stub (native/Makefile) at run time. See sentry/platform/base.py for the contract, guest_filter.py for
what guest processes may call, native/stub.c for the other side. Threads and address spaces are in systrap_thread.pyx,
the granting of host calls in systrap_notify.pyx, memory in systrap_memory.pyx; here are start, stop and the loop.

One thread runs all this; the GIL is released around the sleep only.
"""

import os
from select import EPOLLIN

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from sentry.platform.systrap_host cimport (
    DEAD, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, NREGS, PARKED, RUNNING, SH_HOT, ST_EV_SYSCALL, ST_TURN_STUB, ST_M_IN, ST_M_INOUT,
    ST_M_GATHER, ST_M_LEN_ARG, ST_MOST_KEPT, ST_M_OUT, ST_M_SCATTER, ST_M_STR, ST_PARTS, ST_ROWS, ST_SHARED_LEN, ST_START_EXIT, ST_START_FS, ST_START_ROBUST,
    ST_START_RSEQ, ST_START_TID, ST_STARTS, ST_TEXT, ST_VDSO_OFF, epoll_create1, epoll_event,
    sh_allowed, sh_batch, sh_child, sh_cpu, sh_cpu_time, sh_cpus, sh_epoll_ctl, sh_epoll_wait, sh_has_bmi2,
    sh_has_fsgsbase, sh_hush, sh_leave, sh_look, sh_move, sh_now, sh_ordinary, SH_PLACES, sh_spawn_apart,
    sh_pause, sh_peek64, sh_read32, sh_take64, sh_tsc, sh_tscp, sh_turn, sh_unmap_context, sh_vdso_symbol,
    sh_vm_read, sh_write32, sh_yield, st_row, st_shared,
)
from sentry.core.guest cimport dispatcher
from sentry.platform.systrap_notify cimport end_doomed, notified
from sentry.platform.systrap_thread cimport AddressSpace, Clone, Registry, Shelf, Thread

import errno
import fcntl

from sentry.core import log
from sentry.platform.base import START_CALLS, Kept
from sentry.platform.seed import PlatformError, set_up, spawn

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    enum:
        PROT_READ, PROT_WRITE, MAP_SHARED
    void *MAP_FAILED

cdef enum:
    EV_DEAD = 6
    MAX_EVENTS = 32

cdef int64_t MS = 1000000
cdef double CLONE_LOOK = 400000  # ns that a clone is waited for without sleep
cdef double WAKING = 80000  # ns from the wake-up of a thread to its next call, at most
cdef double STUB_SPIN = 30000  # ns that a stub waits for its answer before it sleeps
cdef double STUB_LONG = 75000  # the same while calls move so much data that they take longer than a wake-up
cdef double MOVING = 1000000  # ns since the last of those
cdef double STUB_SHORT = 10000  # the same while there are more threads than CPUs
cdef double SHORT_GAP = 5000  # ns between calls, on average, below which the dispatcher waits for them even then
cdef double SHORT_SPIN = 25000  # and how long
cdef double CROWD_GAP = 60000  # ns between calls of a crowd, more threads than CPUs (see _crowd)
cdef uint32_t CROWD_YIELDS = 4  # how often a stub of a crowd lets others run before it sleeps
cdef double CROWD_SPIN = 500  # ns that it waits before that
cdef double CROWD_LATE = 250000  # ns from a doorbell to the dispatcher, on average, that show that somebody computes without calls
cdef double NO_CROWD = 50000000  # ns until the next attempt
cdef double MOST_MISSED = 0.2  # share of waits in vain, about what a wake-up on one CPU costs of one across CPUs
cdef int64_t INTERRUPT_LIMIT = 100 * MS  # of the process's CPU time and thread
cdef int64_t LONG_OPERATION = 10000 * MS
cdef int64_t CLONE_CHECK = 200 * MS
cdef int MOST_DOOMED = 8  # address spaces that are left to die later, for a millisecond at most, while there is other work
cdef int64_t CHECK_EVERY = 20 * MS
cdef int64_t RESERVE_LOOK = 2 * MS  # the longest sleep while guests are kept off the dispatcher's CPU

KINDS = {"in": ST_M_IN, "out": ST_M_OUT, "inout": ST_M_INOUT, "str": ST_M_STR, "gather": ST_M_GATHER, "scatter": ST_M_SCATTER}
ADD_SEALS, SEALS = 1033, 0x01 | 0x02 | 0x04 | 0x10  # F_ADD_SEALS; SEAL SHRINK GROW FUTURE_WRITE
STUB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "native", "stub")


if START_CALLS != {273: ST_START_ROBUST, 218: ST_START_TID, 158: ST_START_FS, 334: ST_START_RSEQ, 60: ST_START_EXIT, 231: ST_START_EXIT}:
    raise ImportError("native/systrap.h and base.START_CALLS disagree")


cdef class Nursery:
    """See base.py."""

    def __init__(self):
        self.pool = []
        self.waiters = []

    cdef int breed(self) except -1:
        """Have the seed make one more copy of itself."""
        if self.seed is not None and not self.busy:
            self.busy = True
            self.seed.fork(self.bred)
        return 0

    def bred(self, Thread child, int error):
        cdef int i
        self.busy = False
        if child is not None:
            for i in range(NREGS):
                (&child._regs.r15)[i] = 0
            child._regs.eflags = 0x202
            if self.waiters:
                self.waiters.pop(0)(child, 0)
            elif self.seed is not None:
                self.pool.append(child)
            else:
                child.aspace.kill()
        elif self.waiters:
            self.waiters.pop(0)(None, error)
        if self.waiters:
            self.breed()

    def close(self):
        cdef Thread seed = self.seed
        if seed is not None:
            self.host._empty(self)
            seed.aspace.kill()


cdef class Platform(Registry):
    """`stub`: path of the stub executable. `pool`: how many fresh address spaces are kept ready. `spin`: whether
    either side may wait busily where that pays. `sites`: whether call sites may be rewritten."""

    def __init__(self, stub=STUB, int pool=2, bint spin=True, bint sites=True):
        Registry.__init__(self)
        self.name = "systrap"
        self.entry = ST_TEXT if sites and sh_has_bmi2() else 0
        self.stub_path = stub
        self.pool_target = pool
        self.bell = -1
        self.handed = []
        self.nurseries = []
        self.cpus = sh_cpus()
        self.spin = spin
        self.seed_tsc = sh_tsc()
        self.seed_ns = sh_now()
        sh_allowed(&self.allowed)
        self.pinned = self.woken = -1
        self.no_crowd_until = 0 if sh_ordinary() else ~<uint64_t>0
        self.dispatch = dispatcher()
        self._map_shared()
        self.shared.sites = self.entry != 0

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

    def set_marshal(self, int nr, parts, int count=6):
        """Have the stub carry along memory that call `nr`, of `count` arguments, names. parts: (kind, argument, index of the argument that
        holds the length or None, size in bytes or None); kind is "in", "out", "inout", "str", or for iovec arrays "gather"
        or "scatter" (size 1: in the msghdr that the argument points to). It changes cost,
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
        row.nparts = n
        row.nargs = count

    def refuse_sites(self):
        """Before the start: no call site will be rewritten."""
        self.entry = 0
        self.shared.sites = 0

    def set_answered(self, numbers):
        """The calls whose results the stub may keep for a thread (Thread.remember) and return on its own."""
        cdef int i
        for i in range(len(numbers)):
            self.shared.rows[<int>numbers[i]].answer = i + 1
        for nr in START_CALLS:
            self.shared.rows[<int>nr].answer = ST_STARTS

    def start(self):
        cdef AddressSpace space
        cdef Clone clone
        cdef Thread seed
        cdef Nursery nursery
        cdef int error
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
            pid, sock = spawn(self.stub_path, self.bell, self.shared_fd, clone.memfd, spawn_apart if self.apart else None)
        finally:
            os.close(clone.memfd)
        space = self._new_space(pid, clone.base)
        seed = self._new_thread(space, pid, 0)
        seed.state = RUNNING
        seed.expect = 1 << ST_EV_SYSCALL
        self.running += 1
        self.first = nursery = self._new_nursery(seed)
        nursery.busy = nursery.ready = True
        self.listener, host = set_up(pid, sock)
        self.vdso = ST_TEXT + ST_VDSO_OFF if self._find_clocks(host) else 0
        sh_epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.listener, EPOLLIN)
        limit = sh_now() + 5000 * MS
        while seed.state == RUNNING:
            self.wait(sh_now() + 50 * MS)
            if seed.state == DEAD or sh_now() > limit:
                raise PlatformError("the stub does not start: it died or hangs after its filters were installed")
        self.fp_size = <int>min(sh_read32(&seed.ctx.fp_size), 1 << 15)
        memcpy(self.shared.fp_sw, seed.ctx.fp_sw, sizeof(self.shared.fp_sw))
        self.frames = self.fp_size > 512  # with XSAVE
        if self.fp_size < 512:
            raise PlatformError(f"unusable FP state size {self.fp_size}")
        self.ticks_per_ns = <double>(sh_tsc() - self.seed_tsc) / <double>(sh_now() - self.seed_ns)
        self.poll_every = <uint64_t>(50000 * self.ticks_per_ns)
        self.pause = 24 * self.ticks_per_ns
        self.wake_cost = 55000 * self.ticks_per_ns  # until it has been measured
        self.breed_after = <uint64_t>(700000 * self.ticks_per_ns)
        self._measured(0)
        self.reserve.start(self.ticks_per_ns)
        image = PyBytes_FromStringAndSize(NULL, 2 * 4096)
        error = <int>sh_vm_read(pid, PyBytes_AS_STRING(image), ST_TEXT + ST_VDSO_OFF, 2 * 4096)
        self.vdso_image = image if self.vdso else b""
        if error < 0:
            raise PlatformError(f"the host does not let us read guest memory ({os.strerror(-error)}): Yama's ptrace_scope above 1?")

    cdef bint _find_clocks(self, uint64_t host) except -1:
        """Tell our vDSO where the functions of the host's are, which the seed has moved to `host` (0: it has none). False:
        they are not all there, and guests make calls for the time."""
        cdef uint64_t *place = &self.shared.host_clock_gettime
        cdef int i
        cdef bytes name
        names = (b"clock_gettime", b"clock_getres", b"gettimeofday", b"time", b"getcpu")
        for i in range(5):
            name = b"__vdso_" + names[i]
            place[i] = sh_vdso_symbol(name)
            if not host or not place[i]:
                return False
            place[i] += host
        try:
            with open("/sys/devices/system/clocksource/clocksource0/current_clocksource", encoding="ascii") as file:
                self.shared.slow_clock = file.read().strip() not in ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page")
        except OSError:
            self.shared.slow_clock = 1
        return True

    def set_time_offsets(self, monotonic, boottime):
        """See base.py."""
        self.shared.monotonic.sec, self.shared.monotonic.nsec = divmod(monotonic, 1000000000)
        self.shared.boottime.sec, self.shared.boottime.nsec = divmod(boottime, 1000000000)
        self.shared.shifted = monotonic != 0 or boottime != 0
        return True

    def stop(self):
        cdef AddressSpace space
        cdef Clone clone
        cdef int64_t limit = sh_now() + 500 * MS
        if self.crowd:
            self._crowd(False)
        if self.reserve.used or self.pinned != -1:
            sh_move(-1, &self.allowed)
        for clone in self.clones.values():
            clone.done = nobody
        # Children that we do not know yet, and those that we were not told of.
        while self.listener >= 0 and sh_now() < limit and (self.clones or int in map(type, self.watched.values())):
            self._poll(MS)
            self._look(0)
        self.later = []
        for space in list(self.by_pid.values()):
            space.kill()
        end_doomed(self)
        for pid in list(self.by_pid):
            space = self.by_pid[pid]
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
            self._closed(space)
        self.ended = []
        for nursery in self.nurseries[:]:
            self._empty(nursery)
        self.first = None
        for context in self.spare:
            sh_unmap_context(<void *><uintptr_t>context[0])
            os.close(context[1])
        self.spare = []
        while self.unused:
            self._unmap_unused()
        for fd in (self.listener, self.bell, self.epoll, self.shared_fd):
            if fd >= 0:
                os.close(fd)
        self.listener = self.bell = self.epoll = -1
        self.shared_fd = -1
        if self.shared != NULL:
            munmap(self.shared, ST_SHARED_LEN)
            self.shared = NULL

    # -- ends of host processes -----------------------------------------------------------------------
    def _died(self, AddressSpace space):
        """The host process has ended: report its threads and reap it, or later, when its end was asked for."""
        cdef Thread thread
        cdef list dead = []
        self.ended.append(space)
        if not space.killed:
            for thread in space.threads:
                if thread.state != DEAD and not thread.exiting:
                    dead.append(thread)
                self._forget(thread)
            space.dead = True
            space._detach()
            for thread in dead:
                if thread.nursery is not None:
                    log.error("a seed process died: its container can have no further guest processes")
                    self._empty(<Nursery?>thread.nursery)
                elif not self._was_fresh(thread):
                    thread.event = EV_DEAD
                    if thread not in self.ready:  # it may have had another event to report
                        self.ready.append(thread)
            self._bury()

    cdef int _bury(self) except -1:
        """Reap what has ended: nobody waits for that, so it is done when there is nothing else to do, or too many are left."""
        cdef AddressSpace space
        ended, self.ended = self.ended, []
        for space in ended:
            try:
                os.waitpid(space.pid, os.WNOHANG)
            except ChildProcessError:
                pass
            self._closed(space)
        return 0

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
    cdef Nursery _new_nursery(self, Thread seed):
        cdef Nursery nursery = Nursery()
        cdef Shelf shelf
        nursery.host = self
        nursery.seed = seed
        nursery.pid = seed.aspace.pid
        seed.nursery = nursery
        shelf = Shelf()
        if seed.aspace.shelf is not None:
            shelf.foreign = max(len(seed.aspace.shelf.kept), seed.aspace.shelf.foreign)
        seed.aspace.shelf, seed.aspace.kept = shelf, 0
        self.nurseries.append(nursery)
        return nursery

    def new_nursery(self, done):
        """See base.py."""

        def made(thread, error):
            done(self._new_nursery(thread) if thread is not None else None, error)

        self.new_aspace(made)

    def new_aspace(self, done, Nursery nursery=None):
        cdef Thread thread
        if nursery is None:
            nursery = self.first
        if nursery is None or nursery.seed is None:
            self.later.append((done, (None, errno.EAGAIN)))
        elif nursery.pool:
            thread = nursery.pool.pop(0)
            nursery.took = sh_tsc()
            self.later.append((done, (thread, 0)))
        else:
            nursery.waiters.append(done)
            nursery.breed()

    cdef int _empty(self, Nursery nursery) except -1:
        """Its seed is gone, or will be, and so do the processes that nobody has taken yet."""
        cdef Thread thread
        for kept in nursery.seed.aspace.shelf.kept:
            kept.lost = True
        nursery.seed.aspace.shelf.kept = []
        nursery.seed.nursery = None
        nursery.seed = None
        self.nurseries.remove(nursery)
        for thread in nursery.pool:
            thread.aspace.kill()
        nursery.pool = []
        for done in nursery.waiters:
            self.later.append((done, (None, errno.EAGAIN)))
        nursery.waiters = []
        return 0

    cdef bint _was_fresh(self, Thread thread) except -1:
        """A process has died that nobody had taken yet."""
        cdef Nursery nursery
        for nursery in self.nurseries:
            if thread in nursery.pool:
                nursery.pool.remove(thread)
                return True
        return False

    cdef Nursery _hungry(self):
        """One that shall make a fresh address space for later. Not at once: whoever took the last one has more to do with us
        now, and wants the CPUs."""
        cdef Nursery nursery
        for nursery in self.nurseries:
            if nursery.ready and not nursery.busy and <int>len(nursery.pool) < self.pool_target:
                if not nursery.pool or sh_tsc() - nursery.took > self.breed_after:
                    return nursery
        return None

    cdef bint _hungry_later(self) except -1:
        cdef Nursery nursery
        for nursery in self.nurseries:
            if nursery.ready and not nursery.busy and <int>len(nursery.pool) < self.pool_target:
                return True
        return False

    def keep(self, int fd, Nursery nursery=None):
        """See base.py. The place of one that nobody has mapped for a while is taken when there is none left."""
        cdef Shelf shelf
        cdef int place
        if nursery is None:
            nursery = self.first
        if nursery is None or nursery.seed is None:
            return None
        shelf = nursery.seed.aspace.shelf
        try:
            kept = Kept(os.dup(fd))
        except OSError:  # no descriptor left
            return None
        place = len(shelf.kept)
        if place == ST_MOST_KEPT:
            for _ in range(2 * ST_MOST_KEPT):
                place = shelf.hand
                shelf.hand = (place + 1) % ST_MOST_KEPT
                if not shelf.kept[place].used:
                    break
                shelf.kept[place].used = False
            shelf.kept[place].lost = True
        else:
            shelf.kept.append(None)
        shelf.changes += 1
        kept.home, kept.place, kept.since = shelf, place, shelf.changes
        shelf.kept[place] = kept
        return kept

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

    cdef int _handle(self, Thread thread) except -1:
        """An event of `thread`, if there is one: served at once, or put among those to hand out."""
        cdef int served = 0
        if thread._event():
            if thread.nursery is not None:
                (<Nursery?>thread.nursery).busy = False
                return 0
            self.reserve.called(<void *>thread)
            if thread.event == ST_EV_SYSCALL and self.dispatch[0] != NULL:
                served = self.dispatch[0](thread)
                if served == 2:
                    self.ran = True
            if not served:
                self.ready.append(thread)
        return 0

    cdef int _take(self, int index) except -1:
        """Serve what the ready words of address space number `index` name."""
        cdef int at, bit
        cdef uint32_t w
        cdef uint64_t *ready = self.entries[index].ready
        cdef uint64_t word
        cdef AddressSpace space = self.spaces[index]
        cdef Thread thread
        for w in range(self.entries[index].words):
            if not sh_peek64(ready + w):
                continue
            word = sh_take64(ready + w)
            for bit in range(64):
                if (word >> bit) & 1:
                    at = <int>w * 64 + bit
                    if at < <int>len(space.slots):
                        found = space.slots[at]
                        if type(found) is Thread:
                            thread = found
                            if self.spinning and thread.hot < 0 and thread.state == RUNNING and thread.nursery is None:
                                self._heat(thread)
                            self._handle(thread)
            if space.position < 0:
                break
        return 0

    cdef int _look(self, uint64_t ticks) except -1:
        """Serve what is ready, and wait busily for more until nothing has come for `ticks` of the TSC, something is to be
        handed out, or other things want a look. 1: events were served."""
        cdef int at
        cdef unsigned last = 0
        cdef uint32_t idle = 0, served = 0, cpu = 0
        cdef uint64_t start = 0, now
        while True:
            at = sh_look(self.hot_ctx, last, self.entries, self.nentries)
            if at >= 0:
                if at < SH_HOT:
                    last = <unsigned>at
                    self._handle(<Thread?>self.hot[at])
                else:
                    self._take(at - SH_HOT)
                served += 1
                if served & 7 == 0:  # nobody is overlooked because others always have something
                    for at in range(self.nentries - 1, -1, -1):
                        if at < self.nentries:
                            self._take(at)
                self.missed *= 0.875
                if idle < 16:
                    self.gap -= (self.gap - idle * self.pause) * 0.125
                else:
                    self.gap -= (self.gap - <double>(sh_tsc() - start)) * 0.125
                idle = 0
                if self.ready or self.ran or self.later or served & 63 == 0:
                    return 1
                continue
            if not ticks:
                return served != 0
            sh_pause()
            idle += 1
            if idle & 127 == 0 and sh_tsc() - self.woke < self.poll_every * 4:
                sh_yield()  # the kernel may have put the one that was woken behind us
            if idle & 7 == 0:
                now = sh_tscp(&cpu)
                if cpu != self.shared.cpu:
                    sh_write32(&self.shared.cpu, cpu)
                if idle == 8:
                    start = now - <uint64_t>(8 * self.pause)
                if now - start > ticks or now - self.last_poll > self.poll_every:
                    return served != 0

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
                sh_hush(fd)
            elif fd == self.listener:
                notified(self)
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
        """How long stubs may spin. When the CPUs are short, only as long as a sleep would cost anyway."""
        cdef uint32_t spin = 0
        cdef bint free, crowd, moving
        if self.no_spin_until and sh_tsc() > self.no_spin_until:
            self.no_spin_until = 0
        if self.spin and self.cpus > 1:
            self.reserve.weigh(self.by_tid, sh_tsc(), self.running >= self.cpus)
            free = self.running + 1 <= self.cpus and not self.no_spin_until
            crowd = self.running > self.cpus and self.gap < CROWD_GAP * self.ticks_per_ns and sh_tsc() > self.no_crowd_until
            crowd = crowd and not self.reserve.on
            moving = sh_tsc() - self.moved_much < <uint64_t>(MOVING * self.ticks_per_ns)
            spin = <uint32_t>((STUB_LONG if free and moving else STUB_SPIN if free else CROWD_SPIN if crowd else STUB_SHORT) * self.ticks_per_ns)
            if crowd != self.crowd and sh_tsc() - self.crowded > 20 * self.poll_every:
                self._crowd(crowd)
        if self.shared.spin != spin:
            sh_write32(&self.shared.spin, spin)
        return 0

    cdef int _crowd(self, bint crowd) except -1:
        """More threads than CPUs that call often: an interrupt for each call, to a CPU where another thread computes, costs as
        much as all the rest of it. So the dispatcher waits for its turn (SCHED_BATCH) and serves what has come until then,
        and a stub gives its CPU to the others (sched_yield) before it sleeps."""
        self.crowded = sh_tsc()
        if sh_batch(crowd) == 0:
            self.crowd = crowd
            sh_write32(&self.shared.yields, CROWD_YIELDS if crowd else 0)
        return 0

    cdef int _settle(self) except -1:
        """Before a sleep: a wake-up on the caller's own CPU costs a sixth of one across CPUs (its call sleeps, so the
        CPU is free). Only while the events come from one CPU, and not often: a move is a wake-up itself."""
        if self.same_cpu < 4:
            if self.pinned != -1 and self.same_cpu == 0:
                self._roam()
        elif self.pinned != self.caller_cpu and self.cpus > 1 and sh_tsc() - self.moved > 20 * self.poll_every:
            self.moved = sh_tsc()
            if sh_move(self.caller_cpu, &self.allowed) == 0:
                self.pinned = self.caller_cpu
        return 0

    cdef int _roam(self) except -1:
        if self.pinned != -1:
            sh_move(-1, &self.allowed)
            self.pinned = -1
        return 0

    cdef int _spread(self) except -1:
        """Two that hand over to each other by spinning on one CPU never meet, and sleep too often for the scheduler to part
        them. Not often: a move costs tens of microseconds."""
        cdef uint64_t now
        if self.woken == sh_cpu() and self.cpus > 1:
            now = sh_tsc()
            if now - self.moved > 20 * self.poll_every:
                self.moved = now
                sh_leave(self.woken, &self.allowed)
        self.woken = -1
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
            if thread.unborn:
                thread._signal()
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
        cdef Nursery nursery
        cdef Thread thread
        cdef int64_t limit = -1 if deadline is None else deadline, now
        cdef uint64_t idle_since = 0, ticks
        cdef bint may_spin
        for thread in self.handed:
            if thread.state == PARKED:
                sh_write32(&thread.ctx.park, 1)  # it blocks: its stub need not spin
        self.handed = []
        self.ran = False
        if self.doomed and (len(self.doomed) > MOST_DOOMED or sh_tsc() - self.doomed_since > 20 * self.poll_every):
            end_doomed(self)
        if len(self.ended) > MOST_DOOMED:
            self._bury()
        while True:
            if self.later:
                self._run_later()
            self._tune()
            # Spin where a call is likely soon and a CPU is free.
            # (Not for clones: they go hand in hand with the guest, best on its CPU, and a spin only keeps it away.)
            # (Nor where every few calls the wait would be in vain, and each costs a wake-up across CPUs instead of one on its own.)
            may_spin = (self.spin and 0 < self.running < self.cpus + self.reserve.on and not self.clones and self.gap < self.spin_below
                        and (self.missed < MOST_MISSED or self.same_cpu < 4 or self.reserve.on)
                        and (not self.no_spin_until or sh_tsc() > self.no_spin_until))
            if self.reserve.on:
                self.pinned = self.woken = -1
            elif may_spin:
                if self.pinned >= 0:
                    self._roam()
                if not self.spinning:
                    self.woken = self.caller_cpu
                if self.woken >= 0:
                    self._spread()
            self.spinning = may_spin
            if self._granting():
                may_spin = False
            ticks = self.spin_for if may_spin else 0
            # A thread that was woken needs a while until it calls, and the one that woke it is often about to sleep.
            if (self.spin and 0 < self.running <= self.cpus and not self.clones and self.gap < self.spin_below
                    and sh_tsc() - self.woke < <uint64_t>(WAKING * self.ticks_per_ns)):
                ticks = max(ticks, <uint64_t>(WAKING * self.ticks_per_ns) - (sh_tsc() - self.woke))
            # CPUs are short, but calls follow one another so closely that a sleep would cost more than the wait.
            if (not ticks and self.spin and self.cpus > 1 and self.running and not self.clones and self.granting is None
                    and self.gap < SHORT_GAP * self.ticks_per_ns):
                ticks = <uint64_t>(SHORT_SPIN * self.ticks_per_ns)
            if self._look(ticks):
                idle_since = 0
                if self.failed_spins:
                    self.failed_spins -= 1
            if sh_tsc() - self.last_poll > self.poll_every:
                self._poll(0)
                if self.later:
                    self._run_later()
                if self.interrupting or self.clones or self.slot_waits:
                    self._check()
            if self.ready or self.ran:
                break
            if self.later:
                continue
            if limit >= 0 and sh_now() >= limit:
                break
            if (self.clones or self._granting()) and self.spin and sh_tsc() - self.cloning < <uint64_t>(CLONE_LOOK * self.ticks_per_ns):
                # Its steps follow each other quickly; whoever wants this CPU meanwhile gets it.
                sh_yield()
                if self._poll(0):
                    continue
                if not self.spare:
                    self._spare_context()  # for the next one
                elif self.ended:
                    self._bury()
                continue
            if may_spin:
                now = <int64_t>sh_tsc()
                if not idle_since:
                    idle_since = <uint64_t>now
                if <uint64_t>now - idle_since < self.spin_for:
                    continue
                # Calls come fast, yet not while we look: the CPUs are wanted by others. Leave it for 5 ms.
                self.failed_spins += 8
                if self.failed_spins > 40:
                    self.failed_spins = 24
                    self.no_spin_until = sh_tsc() + 100 * self.poll_every
            if self.doomed:
                end_doomed(self)
                continue
            if self.ended:
                self._bury()
                continue
            nursery = self._hungry()
            if nursery is not None:
                nursery.breed()
                continue
            if len(self.spare) < 2 and self.first is not None and not self.first.busy:
                self._spare_context()
            if self.unused:
                self._unmap_unused()
                continue
            self._sleep(limit)
            idle_since = 0
        self.handed = self.ready
        self.ready = []
        return self.handed

    cdef bint _granting(self) noexcept:
        """Whether a thread is about to make host calls that are to be granted: they follow each other as a clone's do."""
        cdef Thread thread = self.granting
        if thread is None:
            return False
        if thread.state != RUNNING or not thread.ops or thread.grant_at >= len(thread.grants):
            self.granting = None
            return False
        return True

    cdef int _measured(self, double ticks) except -1:
        """A wake-up across CPUs has taken that long (0: none to tell of). A busy wait pays up to about the wake-up that it
        saves: callers whose average gap is longer are slept for."""
        if ticks:
            self.wake_cost += (min(ticks, 200000 * self.ticks_per_ns) - self.wake_cost) * 0.0625
        # (Not less than for 55 µs: short ones are of wake-ups that met the dispatcher on its way into the sleep.)
        self.spin_below = max(60000 * self.ticks_per_ns, self.wake_cost * 1.1)
        self.spin_for = <uint64_t>(self.spin_below * 1.5)
        return 0

    cdef int _sleep(self, int64_t limit) except -1:
        """Until a doorbell, a descriptor, or `limit`."""
        cdef int64_t timeout = -1
        cdef uint64_t since = sh_tsc(), woken, posted
        cdef int i, cpu = sh_cpu()
        cdef Thread thread
        if limit >= 0:
            timeout = max(0, limit - sh_now())
        if self.interrupting or self.clones:
            timeout = CHECK_EVERY if timeout < 0 else min(timeout, CHECK_EVERY)
        if self.slot_waits or self._hungry_later():
            timeout = MS if timeout < 0 else min(timeout, MS)
        if not self.reserve.on:
            self._settle()
        elif timeout < 0 or timeout > RESERVE_LOOK:
            timeout = RESERVE_LOOK
        for i in range(SH_HOT):
            if self.hot[i] is not None:
                self._cool(<Thread?>self.hot[i])
        sh_write32(&self.shared.sleeping, 1)
        if sh_look(self.hot_ctx, 0, self.entries, self.nentries) < 0:
            self._poll(timeout)
        woken = sh_tsc()
        sh_write32(&self.shared.sleeping, 0)
        i = sh_look(self.hot_ctx, 0, self.entries, self.nentries)
        if i >= SH_HOT:
            for found in (<AddressSpace?>self.spaces[i - SH_HOT]).threads:
                thread = <Thread?>found
                if thread.state == RUNNING and sh_turn(thread.ctx) != ST_TURN_STUB:
                    # The stub stamped this event: a wake-up's length must not count as the guest's. (If it did not, the
                    # event came before `sleeping` was set.) No gap counts for more than what a busy wait may cost.
                    posted = thread.ctx.posted - since
                    if posted > woken - since:
                        posted = 0
                    self.gap -= (self.gap - <double>min(posted, self.spin_for)) * 0.125
                    self.missed -= (self.missed - <double>(posted > self.spin_for)) * 0.125
                    self._called_from(<int>(thread.ctx.cpu & 0xFFF))
                    if self.crowd and posted and 0 < woken - thread.ctx.posted < 1 << 40:
                        self.late -= (self.late - <double>(woken - thread.ctx.posted)) * 0.125
                        if self.late > CROWD_LATE * self.ticks_per_ns:
                            self.late = 0
                            self.no_crowd_until = woken + <uint64_t>(NO_CROWD * self.ticks_per_ns)
                    if self.caller_cpu != cpu and 0 < woken - thread.ctx.posted < 1 << 24:
                        self._measured(<double>(woken - thread.ctx.posted))
                    break
        if self.interrupting or self.clones or self.slot_waits:
            self._check()
        return 0


def spawn_apart(stub, places):
    """Execute the stub in a network namespace of its own; places: [(descriptor, number it shall have there)]. Its pid."""
    cdef int have[SH_PLACES]
    cdef int want[SH_PLACES]
    cdef int i, pid
    for i in range(SH_PLACES):
        have[i], want[i] = places[i]
    pid = sh_spawn_apart(os.fsencode(stub), have, want)
    if pid < 0:
        raise OSError(-pid, "the stub, in a network namespace of its own")
    return pid


def nobody(child, error):
    """For clones whose kernel has stopped."""


def os_epoll():
    """An epoll descriptor as a number (select.epoll objects close themselves)."""
    cdef int fd = epoll_create1(0o2000000)
    if fd < 0:
        raise OSError(errno.EMFILE, "epoll_create1")
    return fd
