"""Declarations of the ptrace platform: the host's calls (native/ptrace_host.h, guestmem.h) and constants."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "sys/types.h":
    ctypedef int pid_t

cdef extern from "ptrace_host.h" nogil:
    int TR_REGS, TR_EVENT_STOP, TR_OPTIONS, TR_SYSEMU, TR_SYSCALL_INFO, TR_FX
    uint64_t TR_LIMIT, TR_TOP, TR_REGION, TR_SCRATCH, TR_AMX, TR_VSYSCALL_PAGE
    int TR_CONTROL, TR_SLOT
    uint32_t TR_MAGIC2
    enum: NT_X86_XSTATE, AUDIT_ARCH_X86_64
    enum: WNOHANG, __WALL, SIGCHLD, SIGKILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS
    enum: SIG_BLOCK, SIG_SETMASK, SFD_NONBLOCK, SFD_CLOEXEC
    enum: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC, EPOLLIN
    enum: SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_clone, SYS_exit, SYS_recvmsg, SYS_close
    int PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_POKEUSER, PTRACE_GETREGSET, PTRACE_SETREGSET
    int PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GETSIGINFO, PTRACE_GETEVENTMSG
    int PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK, PTRACE_EVENT_CLONE
    struct tr_syscall_info:
        uint8_t op
        uint32_t arch
        uint64_t nr
        uint64_t args[6]
    struct iovec:
        void *iov_base
        size_t iov_len
    ctypedef struct siginfo_t:
        int si_signo
        int si_code
        int si_pid
        void *si_addr
        void *si_call_addr
        int si_syscall
    ctypedef struct sigset_t:
        pass
    cdef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    long ptrace(int request, ...)
    pid_t waitpid(pid_t pid, int *status, int options)
    int kill(pid_t pid, int sig)
    int sigemptyset(sigset_t *)
    int sigaddset(sigset_t *, int)
    int sigprocmask(int, sigset_t *, sigset_t *)
    int signalfd(int, sigset_t *, int)
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event *)
    ssize_t read(int, void *, size_t)
    ssize_t process_vm_writev(pid_t, iovec *, unsigned long, iovec *, unsigned long, unsigned long)
    int tr_spawn(int image, int control, int apart)
    int tr_send_fd(int sock, int fd)
    void tr_drain(int sock)
    int tr_fill_scratch(int pid, uint64_t at)
    uint32_t tr_xstate_size(uint64_t features)
    void tr_fp_initial(uint8_t *area, size_t size)
    void tr_fp_to_frame(uint8_t *area, uint64_t features, uint32_t size)
    uint32_t tr_fp_frame_size(uint8_t *area, uint32_t size)
    int tr_fp_from_frame(uint8_t *area, uint32_t got, uint64_t features, uint32_t mxcsr_mask)
    int tr_epoll_wait(int epfd, epoll_event *events, int maximum, int64_t timeout)
    int tr_trap(int sig, int code, int *error)
    int64_t tr_now()
    int tr_cpus()
    int tr_place(int tid, int cpu)
    int sched_getcpu()

cdef extern from "guestmem.h" nogil:
    size_t guest_copy(int pid, uint64_t addr, void *buf, size_t n, uint64_t limit, int write)
    ssize_t guest_strncpy(int pid, uint64_t addr, char *buf, size_t n, uint64_t limit)

cdef enum:  # base.EV_*, OP_*
    EV_SYSCALL = 1
    EV_FAULT = 2
    EV_INTERRUPT = 3
    EV_OPS = 4
    EV_FRAME_FAULT = 5
    EV_DEAD = 6
    OP_MMAP_ANON = 1
    OP_MMAP_FD = 2
    OP_MUNMAP = 3
    OP_MPROTECT = 4
    OP_MADVISE = 5
    OP_MREMAP = 6
    OP_WRITE = 7
    OP_ZERO = 8
    OP_SAVE_FP = 10

cdef enum:  # Thread.state
    PARKED = 0
    GUEST = 1  # let go with PTRACE_SYSEMU
    INJECTED = 2  # let go with PTRACE_CONT, to make a host call
    WAITING = 3  # for its turn to receive a descriptor, or for the child that it cloned
    QUEUED = 4  # has an event that `wait` has not returned yet
    GONE = 5  # the Sentry has no more use for it

cdef enum:  # Thread.job
    NO_JOB = 0
    JOB_OPS = 1
    JOB_CLONE = 2
    JOB_EXIT = 3

cdef enum:  # words of user_regs_struct
    RBX = 5
    R10 = 7
    R9 = 8
    R8 = 9
    RAX = 10
    RDX = 12
    RSI = 13
    RDI = 14
    ORIG_RAX = 15
    RIP = 16
    CS = 17
    EFLAGS = 18
    RSP = 19
    SS = 20
    FS_BASE = 21
    GS_BASE = 22
    N_REGS = 27

cdef enum:
    USER_CS = 0x33
    USER_SS = 0x2b
    EVENTS = 64  # of one epoll_wait
    SYSCALL_STOP = 0x80 | 5  # SIGTRAP, PTRACE_O_TRACESYSGOOD
    MAP_SHARED = 1
    MAP_PRIVATE = 2
    MAP_FIXED = 0x10
    MAP_ANONYMOUS = 0x20
    MAP_NORESERVE = 0x4000
    MREMAP_MAYMOVE_FIXED = 3
    MSG_FLAGS = 0x40000040  # CMSG_CLOEXEC, DONTWAIT
    CLONE_PARENT = 0x8000
    CLONE_THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000  # VM FS FILES SIGHAND THREAD SYSVSEM
    X32_BIT = 0x40000000
    SYSCALL_ENTRY = 1  # PTRACE_SYSCALL_INFO_ENTRY
