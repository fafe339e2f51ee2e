"""C view of native/systrap.h and native/systrap_host.h, and the constants that the systrap modules share."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "systrap.h":
    const uint64_t ST_LIMIT
    const uint32_t ST_WHAT_SHORT
    const uint64_t ST_SHARED_LEN
    const uint64_t ST_TEXT
    const uint64_t ST_VDSO
    const uint64_t ST_VDSO_OFF
    const uint64_t ST_CTX
    const uint64_t ST_CTX_SIZE
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
        ST_FD_CTX
        ST_FD_KEPT
        ST_MOST_KEPT
        ST_INTR_SIGNAL
        ST_NR_HELLO
        ST_TURN_STUB
        ST_TURN_SENTRY
        ST_TURN_ASLEEP
        ST_WHAT_PARTS
        ST_WHAT_TRAP
        ST_WHAT_HERE
        ST_WHAT_OUTS
        ST_WHAT_ONE
        ST_WHAT_PART
        ST_WHAT_LEN
        ST_ANSWERS
        ST_STARTS
        ST_SEG_LATER
        ST_START_ROBUST
        ST_START_TID
        ST_START_FS
        ST_START_RSEQ
        ST_START_EXIT
        ST_STR_MAX
        ST_LENT_OFF
        ST_OP_LEND_FP
        ST_OP_MMAP_KEPT
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
        ST_CMD_SIGNAL
        ST_WHAT_ONSTACK
        ST_FP_RESET
        ST_FP_FROM
        ST_FP_LENT
        ST_OPS_VALUE
        ST_OPS_REGS
        ST_OUTS
        ST_M_IN
        ST_M_OUT
        ST_M_INOUT
        ST_M_STR
        ST_M_GATHER
        ST_M_SCATTER
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
        uint32_t off  # 24 bits
        uint32_t kind  # 8 bits

    struct st_ctx:
        uint32_t turn
        uint32_t what
        uint64_t word
        uint64_t args[6]
        uint32_t park
        uint32_t interrupt
        uint32_t polled
        uint32_t known
        uint32_t traced
        uint64_t self_ "self"
        uint32_t stepped
        uint32_t answers[11]
        uint64_t posted
        uint32_t cpu
        uint32_t ops_seq
        uint32_t ops_done
        int32_t result
        uint32_t fp_size
        uint32_t arch
        st_regs regs
        uint64_t fault[5]
        uint32_t flags
        uint32_t nops
        uint64_t addr
        uint64_t len
        uint64_t fp_addr
        st_seg outs[6]
        uint8_t fp_sw[48]
        uint64_t quiet
        uint64_t alt_stack
        uint64_t alt_size
        uint32_t alt_flags
        uint32_t starts
        int32_t tid
        uint8_t later[16]
        uint64_t sigmask
        uint64_t robust
        uint64_t clear_tid

    struct st_signal:
        uint64_t handler
        uint64_t restorer
        uint64_t block
        uint64_t sender
        uint64_t trap
        uint64_t address

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
        uint8_t nparts
        uint8_t answer
        uint8_t nargs
        st_part parts[3]

    struct st_offset:
        int64_t sec
        uint64_t nsec

    struct st_shared:
        uint64_t host_clock_gettime
        uint64_t host_clock_getres
        uint64_t host_gettimeofday
        uint64_t host_time
        uint64_t host_getcpu
        st_offset monotonic
        st_offset boottime
        uint32_t shifted
        uint32_t slow_clock
        uint32_t sleeping
        uint32_t cpu
        uint32_t spin
        uint32_t yields
        uint32_t sites
        uint8_t fp_sw[48]
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
    uint64_t sh_tscp(uint32_t *cpu) nogil
    int64_t sh_now() nogil
    uint32_t sh_turn(st_ctx *c) nogil
    uint32_t sh_read32(uint32_t *p) nogil
    void sh_write32(uint32_t *p, uint32_t v) nogil
    void sh_write64(uint64_t *p, uint64_t v) nogil
    uint64_t sh_peek64(uint64_t *p) nogil
    uint64_t sh_take64(uint64_t *p) nogil
    int sh_give(st_ctx *c) nogil
    void sh_unpoll(st_ctx *c, uint64_t *ready, int slot) nogil
    int sh_look(st_ctx **hot, unsigned last, sh_entry *e, int n) nogil
    int sh_part(const st_row *row, const uint64_t *args, uint32_t mask, unsigned arg, uint32_t *off, uint32_t *len) nogil
    long sh_vector(const st_row *row, const uint64_t *args, uint32_t mask) nogil
    uint32_t st_place(const st_part *p, const uint64_t *args, uint32_t *used) nogil
    void sh_pause() nogil
    void sh_yield() nogil
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
    int sh_notif_hand_fd(int fd, uint64_t id, int src, int to) nogil
    int sh_notif_addfd(int fd, uint64_t id, int src, int to) nogil
    int sh_notif_valid(int fd, uint64_t id) nogil
    int sh_epoll_ctl(int ep, int op, int fd, uint32_t events) nogil
    int sh_epoll_wait(int ep, epoll_event *events, int max, int64_t timeout) nogil
    enum:
        SH_HOT

    void sh_hush(int bell) nogil
    int sh_cpus() nogil
    int sh_batch(int batch) nogil
    bint sh_ordinary()
    int sh_move(int cpu, const cpu_set_t *allowed) nogil
    int sh_cpu() nogil
    void sh_leave(int cpu, const cpu_set_t *allowed) nogil
    int sh_allowed(cpu_set_t *set) nogil
    void sh_place(int tid, const cpu_set_t *set) nogil
    void CPU_CLR(int cpu, cpu_set_t *set) nogil
    int CPU_COUNT(cpu_set_t *set) nogil
    enum:
        SH_PLACES
    int sh_spawn_apart(const char *stub, const int *have, const int *want) nogil
    int sh_has_fsgsbase() nogil
    int sh_has_bmi2() nogil
    uint64_t sh_vdso_symbol(const char *name) nogil


cdef extern from *:
    """
    enum { SIZES_AGREE = sizeof(struct st_regs) == 21 * 8 };
    """
    enum:
        SIZES_AGREE

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    int epoll_create1(int flags)

# thread states
cdef enum:
    RUNNING = 0  # the guest or the stub has it
    PARKED = 1
    CLONING = 2  # parked for the kernel, busy with clone
    WAITING = 3  # running for the kernel: operations wait for the descriptor slot
    DEAD = 4

cdef enum:
    NREGS = 21
    REGS_SIZE = 168
