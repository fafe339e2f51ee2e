# C view of native/systrap.h and native/systrap_host.h, and the platform's classes for those who cimport them.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "systrap.h":
    const uint64_t ST_LIMIT
    const uint64_t ST_SHARED_LEN
    const uint64_t ST_TEXT
    const uint64_t ST_VDSO
    const uint64_t ST_CTX
    const uint64_t ST_CTX_LEN
    const uint64_t ST_STACK
    const uint64_t ST_STACKS_LEN
    const uint64_t ST_CLONE_FORK
    const uint64_t ST_CLONE_THREAD

    enum:
        ST_SLOTS
        ST_BUF_SIZE
        ST_FD_BELL
        ST_FD_SLOT
        ST_INTR_SIGNAL
        ST_NR_HELLO
        ST_TURN_STUB
        ST_TURN_SENTRY
        ST_EV_SYSCALL
        ST_EV_FAULT
        ST_EV_INTERRUPT
        ST_EV_OPS
        ST_EV_FRAME_FAULT
        ST_EV_CLONE_FAILED
        ST_CMD_RET
        ST_CMD_REGS
        ST_CMD_HANDLER
        ST_CMD_OPS
        ST_CMD_FORK
        ST_CMD_SPAWN
        ST_CMD_EXIT
        ST_FP_RESET
        ST_FP_FROM
        ST_OPS_VALUE
        ST_OPS_REGS
        ST_SEGS
        ST_OUTS
        ST_M_IN
        ST_M_OUT
        ST_M_INOUT
        ST_M_STR
        ST_M_LEN_ARG
        ST_PARTS
        ST_ROWS
        ST_IN_MAX
        ST_OUT_MAX
        ST_RANGES
        ST_MAGIC

    struct st_regs:
        uint64_t rax
        uint64_t orig_rax

    struct st_seg:
        uint64_t addr
        uint32_t len
        uint16_t off
        uint16_t kind

    struct st_ctx:
        uint32_t turn
        uint32_t asleep
        uint32_t park
        uint32_t interrupt
        uint32_t ops_seq
        uint32_t fp_size
        uint64_t gap
        uint32_t cpu
        uint32_t event
        int32_t nr
        uint32_t arch
        uint32_t nsegs
        uint32_t ops_done
        int32_t result
        uint64_t fault[5]
        st_regs regs
        st_seg segs[6]
        uint32_t cmd
        uint32_t flags
        uint64_t value
        uint64_t addr
        uint64_t len
        uint64_t fp_addr
        uint32_t nouts
        uint32_t nops
        st_seg outs[6]

    struct st_op:
        uint32_t op
        uint32_t flags
        uint64_t addr
        uint64_t len
        uint64_t a
        uint64_t b

    struct st_part:
        uint8_t kind
        uint8_t arg
        uint16_t len

    struct st_row:
        uint32_t nparts
        st_part parts[3]

    struct st_shared:
        uint32_t sleeping
        uint32_t spin
        st_row rows[512]


cdef extern from "systrap_host.h":
    ctypedef struct cpu_set_t:
        pass

    struct sh_entry:
        uint64_t *ready
        uint32_t words
        uint32_t index

    struct sh_notif:
        uint64_t id
        int pid
        int nr
        uint64_t args[6]

    struct epoll_event_data "epoll_data":
        int fd

    struct epoll_event:
        uint32_t events
        epoll_event_data data

    uint64_t sh_tsc() nogil
    int64_t sh_now() nogil
    uint32_t sh_turn(st_ctx *c) nogil
    uint32_t sh_read32(uint32_t *p) nogil
    void sh_write32(uint32_t *p, uint32_t v) nogil
    uint64_t sh_peek64(uint64_t *p) nogil
    uint64_t sh_take64(uint64_t *p) nogil
    void sh_give(st_ctx *c) nogil
    int sh_scan(sh_entry *e, int n, uint64_t ticks) nogil
    long sh_vm_read(int pid, void *to, uint64_t addr, uint64_t len) nogil
    long sh_vm_write(int pid, const void *from_, uint64_t addr, uint64_t len) nogil
    int sh_tgkill(int pid, int tid, int sig) nogil
    int sh_pidfd_open(int pid) nogil
    int sh_pidfd_kill(int fd) nogil
    int sh_child(int pid, int reap) nogil
    int64_t sh_cpu_time(int pid) nogil
    int sh_new_context(void **where, int *fd) nogil
    void sh_unmap_context(void *p) nogil
    st_ctx *sh_ctx(void *base, int slot) nogil
    char *sh_buf(void *base, int slot) nogil
    int sh_notif_recv(int fd, sh_notif *out) nogil
    int sh_notif_continue(int fd, uint64_t id) nogil
    int sh_notif_answer(int fd, uint64_t id, int64_t value, int error) nogil
    int sh_notif_addfd(int fd, uint64_t id, int src) nogil
    int sh_notif_valid(int fd, uint64_t id) nogil
    int sh_epoll_ctl(int ep, int op, int fd, uint32_t events) nogil
    int sh_epoll_wait(int ep, epoll_event *events, int max, int64_t timeout) nogil
    int sh_cpus() nogil
    int sh_move(int cpu, const cpu_set_t *allowed) nogil
    int sh_allowed(cpu_set_t *set) nogil
    int sh_has_fsgsbase() nogil


cdef class Regs:
    cdef public uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
    cdef public uint64_t orig_rax, rip, rsp, eflags, fs_base, gs_base


cdef class Clone:
    cdef Thread parent
    cdef object done
    cdef bint process
    cdef uint32_t nonce
    cdef bint granted  # the clone call may have been made
    cdef int tries
    cdef int64_t since
    cdef int slot  # of the new thread
    cdef void *base  # of the new process's context memory
    cdef int memfd


cdef class Thread:
    cdef public object task
    cdef readonly AddressSpace aspace
    cdef readonly int tid
    cdef readonly int event
    cdef readonly long nr
    cdef readonly int ops_done
    cdef readonly int ops_errno
    cdef readonly Regs regs
    cdef Platform platform
    cdef st_ctx *ctx
    cdef char *buf
    cdef int slot
    cdef int state
    cdef uint32_t expect  # bit n: event n may come
    cdef uint64_t snap[21]  # registers as the stub has them
    cdef st_seg segs[6]
    cdef int nsegs
    cdef st_seg outs[6]
    cdef int nouts
    cdef uint64_t faults[5]
    cdef bint exiting
    cdef bint interrupted
    cdef int64_t interrupt_cpu
    cdef Clone clone
    # memory operations under way
    cdef list ops
    cdef int ops_at, ops_sent, ops_base
    cdef object ops_value
    cdef list grants  # notified calls that the batch may make: (nr, args, host fd)
    cdef int grant_at
    cdef bint uses_slot
    cdef uint32_t ops_seq

    cdef int _event(self) except -1
    cdef int _give(self, uint32_t cmd, uint32_t expect) except -1
    cdef int _flush(self) except -1
    cdef int _put_regs(self) except -1
    cdef int _send_ops(self) except -1
    cdef int _staged_out(self, uint64_t addr, const char *data, uint64_t length) except -1
    cdef int _parked(self) except -1


cdef class AddressSpace:
    cdef readonly int pid
    cdef readonly list threads
    cdef Platform platform
    cdef int pidfd
    cdef void *base
    cdef list slots
    cdef int position  # in Platform.entries, or -1
    cdef bint dead
    cdef bint killed
    cdef bint leader_gone
    cdef Thread slot_owner  # has a notified mmap of the descriptor slot under way
    cdef list slot_queue

    cdef int _detach(self) except -1
    cdef int _reach(self) except -1


cdef class Platform:
    cdef readonly str name
    cdef readonly int fp_size
    cdef readonly uint64_t vdso
    cdef st_shared *shared
    cdef sh_entry *entries
    cdef int nentries, entries_room
    cdef list spaces  # AddressSpace, parallel to entries
    cdef int epoll, bell, listener
    cdef dict watched  # host fd -> callback or AddressSpace
    cdef dict by_tid
    cdef dict by_pid
    cdef dict clones  # nonce -> Clone
    cdef list ready  # threads to hand out
    cdef list handed
    cdef list later  # (callback, arguments) to run from wait
    cdef Thread seed
    cdef bint seed_busy
    cdef list pool, waiters
    cdef int pool_target
    cdef list interrupting, slot_waits
    cdef bytes nonces
    cdef int shared_fd
    cdef int running  # threads that the guest or the stub has
    cdef int cpus
    cdef double ticks_per_ns
    cdef uint64_t last_poll, poll_every
    cdef int64_t next_check
    cdef double gap  # average TSC ticks between two events of a guest
    cdef bint ran  # a callback has run
    cdef cpu_set_t allowed
    cdef int caller_cpu, same_cpu  # CPU of the last event, and how many before it came from there
    cdef int pinned  # CPU that the dispatcher keeps to, or -1
    cdef uint64_t moved  # TSC of the last move
    cdef int failed_spins
    cdef bint spin
    cdef uint64_t no_spin_until
    cdef object stub_path
    cdef list spare  # (base, fd) of fresh context memory: Context objects
    cdef uint64_t seed_tsc
    cdef int64_t seed_ns

    cdef int _collect(self) except -1
    cdef int _poll(self, int64_t timeout) except -1
    cdef int _notified(self) except -1
    cdef int _grant(self, Thread thread, sh_notif *n) except -1
    cdef int _newborn(self, sh_notif *n) except -1
    cdef int _stranger(self, sh_notif *n) except -1
    cdef int _add_space(self, AddressSpace space) except -1
    cdef int _remove_space(self, AddressSpace space) except -1
    cdef int _check(self) except -1
    cdef int _run_later(self) except -1
    cdef int _tune(self) except -1
    cdef int _settle(self) except -1
    cdef void _called_from(self, int cpu) noexcept
    cdef int _roam(self) except -1
    cdef AddressSpace _new_space(self, int pid, void *where)
    cdef Thread _new_thread(self, AddressSpace space, int tid, int slot)
