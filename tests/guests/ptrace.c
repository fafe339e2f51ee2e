/* ptrace(2): requests on a stopped child, their errors, registers, memory, system call stops, single steps. */
#include "check.h"
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define P(request, pid, addr, data) ptrace((enum __ptrace_request)(request), (pid_t)(pid), (void *)(addr), (void *)(data))

static int status;
static volatile long shared_word = 0x1122334455667788;
static const volatile long constant = 0x1020304050607080;

static int next(pid_t pid, int options)
{
    status = 0;
    int got = waitpid(pid, &status, options | __WALL);
    return got == pid ? status : -1;
}

static void stopped(const char *what, pid_t pid)
{
    if (next(pid, 0) == -1)
        say("%s: waitpid %s", what, errname(errno));
    else
        show_status(what, status);
}

/* A child that is stopped by SIGSTOP, traced, and then runs `code`. */
#define TRACEE(...)                                                                               \
    ({                                                                                            \
        pid_t child_ = fork();                                                                    \
        if (child_ == 0) {                                                                        \
            ptrace(PTRACE_TRACEME, 0, 0, 0);                                                      \
            raise(SIGSTOP);                                                                       \
            __VA_ARGS__;                                                                          \
            _exit(0);                                                                             \
        }                                                                                         \
        stopped("tracee", child_);                                                                \
        child_;                                                                                   \
    })

static struct user_regs_struct regs_of(pid_t pid)
{
    struct user_regs_struct regs;
    memset(&regs, 0, sizeof regs);
    if (P(PTRACE_GETREGS, pid, 0, &regs) < 0)
        say("GETREGS: %s", errname(errno));
    return regs;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    stopped("end", pid);
}

static void errors(void)
{
    long word = 0;
    SECTION("who may be traced");
    RES(P(PTRACE_ATTACH, 99999, 0, 0));
    RES(P(PTRACE_ATTACH, 0, 0, 0));
    RES(P(PTRACE_ATTACH, -1, 0, 0));
    RES(P(PTRACE_ATTACH, getpid(), 0, 0));
    RES(P(PTRACE_SEIZE, getpid(), 0, 0));
    RES(P(PTRACE_SEIZE, getpid(), 8, 0));
    RES(P(PTRACE_SEIZE, 99999, 0, 1l << 40));
    RES(P(PTRACE_PEEKDATA, 99999, 0, 0));
    RES(P(PTRACE_CONT, getpid(), 0, 0));
    RES(P(12345, getpid(), 0, 0));
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    RES(P(PTRACE_CONT, pid, 0, 0));
    RES(P(PTRACE_GETREGS, pid, 0, 0));
    RES(P(PTRACE_SEIZE, pid, 1, 0));
    RES(P(PTRACE_SEIZE, pid, 0, 1 << 30));
    RES(P(PTRACE_SEIZE, pid, 0, 0));
    RES(P(PTRACE_SEIZE, pid, 0, 0));
    RES(P(PTRACE_ATTACH, pid, 0, 0));
    RES(P(PTRACE_CONT, pid, 0, 0));
    RES(P(PTRACE_PEEKDATA, pid, &shared_word, 0));
    RES(P(PTRACE_DETACH, pid, 0, 0));
    RES(P(PTRACE_LISTEN, pid, 0, 0));
    RES(P(PTRACE_INTERRUPT, pid, 0, 0));
    stopped("interrupted", pid);
    RES(P(99, pid, 0, 0));
    RES(P(PTRACE_CONT, pid, 0, 65));
    RES(P(PTRACE_DETACH, pid, 0, 65));
    RES(P(PTRACE_SETOPTIONS, pid, 0, 1 << 25));
    RES(P(PTRACE_GETSIGMASK, pid, 4, &word));
    RES(P(PTRACE_SETSIGMASK, pid, 16, &word));
    RES(P(PTRACE_GETSIGMASK, pid, 8, 8));
    RES(P(PTRACE_GETREGS, pid, 0, 8));
    RES(P(PTRACE_SETREGS, pid, 0, 8));
    RES(P(PTRACE_GETFPREGS, pid, 0, 8));
    RES(P(PTRACE_SETFPREGS, pid, 0, 8));
    RES(P(PTRACE_GETREGSET, pid, NT_PRSTATUS, 8));
    struct iovec io = {&word, 7};
    RES(P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io));
    RES(P(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io));
    io.iov_len = 8;
    RES(P(PTRACE_GETREGSET, pid, 12345, &io));
    RES(P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io));
    NUM(io.iov_len);
    io.iov_base = (void *)8;
    RES(P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io));
    RES(P(PTRACE_GETREGSET, pid, NT_PRFPREG, &io));
    RES(P(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &io));
    RES(syscall(SYS_ptrace, PTRACE_PEEKDATA, pid, 8, &word));
    RES(syscall(SYS_ptrace, PTRACE_PEEKDATA, pid, -1l, &word));
    RES(syscall(SYS_ptrace, PTRACE_PEEKDATA, pid, &shared_word, 8));
    RES(syscall(SYS_ptrace, PTRACE_PEEKTEXT, pid, 1l << 62, &word));
    RES(P(PTRACE_POKEDATA, pid, 8, 1));
    RES(P(PTRACE_POKEDATA, pid, -8l, 1));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, 4, &word));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, sizeof(struct user), &word));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, -8l, &word));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, 0, 8));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, 400, &word));
    RES(P(PTRACE_POKEUSER, pid, 4, 0));
    RES(P(PTRACE_POKEUSER, pid, sizeof(struct user), 0));
    RES(P(PTRACE_POKEUSER, pid, 400, 0));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, cs), 0));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, ss), 1));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, fs_base), 1l << 47));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, gs_base), -1l));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[4]), 0));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), 1l << 47));
    RES(syscall(SYS_ptrace, PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), &word));
    HEX(word);
    RES(P(PTRACE_GETSIGINFO, pid, 0, 8));
    RES(P(PTRACE_SETSIGINFO, pid, 0, 8));
    RES(P(PTRACE_GETEVENTMSG, pid, 0, 8));
    RES(P(PTRACE_PEEKSIGINFO, pid, 8, 0));
    struct __ptrace_peeksiginfo_args peek = {0, 4, 1};
    RES(P(PTRACE_PEEKSIGINFO, pid, &peek, 0));
    peek.flags = 0, peek.nr = -1;
    RES(P(PTRACE_PEEKSIGINFO, pid, &peek, 0));
    RES(P(PTRACE_GET_SYSCALL_INFO, pid, 100, 8));
    RES(P(PTRACE_DETACH, pid, 0, 0));
    RES(P(PTRACE_CONT, pid, 0, 0));
    kill(pid, SIGTERM);
    reap("detached", pid);

    SECTION("traceme");
    CHILD("twice", RES(P(PTRACE_TRACEME, 0, 0, 0)); RES(P(PTRACE_TRACEME, 0, 0, 0)));
    pid = TRACEE();
    CHILD("another's", RES(P(PTRACE_ATTACH, pid, 0, 0)); RES(P(PTRACE_CONT, pid, 0, 0)); RES(P(PTRACE_INTERRUPT, pid, 0, 0)));
    RES(P(PTRACE_INTERRUPT, pid, 0, 0));
    RES(P(PTRACE_LISTEN, pid, 0, 0));
    end(pid);
    RES(P(PTRACE_CONT, pid, 0, 0));

    SECTION("permissions");
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    CHILD("another user", IS(setresuid(1000, 1000, 1000) == 0); RES(P(PTRACE_ATTACH, pid, 0, 0)); RES(P(PTRACE_SEIZE, pid, 0, 0)));
    kill(pid, SIGKILL);
    reap("victim", pid);
    CHILD("same user", {
        IS(setresuid(1000, 1000, 1000) == 0);
        pid_t inner = fork();
        if (inner == 0) {
            pause();
            _exit(0);
        }
        RES(P(PTRACE_ATTACH, inner, 0, 0)); /* not dumpable since its ids have changed */
        kill(inner, SIGKILL);
        reap("inner", inner);
    });
    pid = fork();
    if (pid == 0)
        _exit(5);
    siginfo_t si;
    waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
    RES(P(PTRACE_ATTACH, pid, 0, 0));
    reap("zombie", pid);
}

static void registers(void)
{
    SECTION("registers");
    pid_t pid = TRACEE(IS(shared_word == 77); IS(constant == 99));
    struct user_regs_struct regs = regs_of(pid), other;
    NUM(regs.orig_rax == SYS_tgkill);
    NUM(regs.rax);
    HEX(regs.cs);
    HEX(regs.ss);
    NUM(regs.ds | regs.es | regs.fs | regs.gs);
    IS(regs.fs_base != 0);
    NUM(regs.gs_base);
    HEX(regs.eflags & 0x300);
    IS(regs.rcx == regs.rip);
    errno = 0;
    IS((unsigned long)P(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0) == regs.rip && !errno);
    IS((unsigned long)P(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rsp), 0) == regs.rsp);
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, r15), 0x1234567890));
    RES(P(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, r15), 0));
    RES(P(PTRACE_SETREGS, pid, 0, &regs));
    other = regs_of(pid);
    IS(memcmp(&regs, &other, sizeof regs) == 0);
    struct iovec io = {&other, sizeof other + 64};
    memset(&other, 0, sizeof other);
    RES(P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io));
    NUM(io.iov_len);
    IS(memcmp(&regs, &other, sizeof regs) == 0);
    other.rbx ^= 5;
    io.iov_len = 48;
    RES(P(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io));
    IS(regs_of(pid).rbx == other.rbx);
    P(PTRACE_SETREGS, pid, 0, &regs);
    regs.eflags = (unsigned long)-1;
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, eflags), -1l));
    HEX(regs_of(pid).eflags & 0xfffff);
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, eflags), 0));
    HEX(regs_of(pid).eflags & 0xfffff);

    SECTION("FP state");
    struct user_fpregs_struct fp, fp2;
    RES(P(PTRACE_GETFPREGS, pid, 0, &fp));
    HEX(fp.cwd);
    HEX(fp.mxcsr);
    memset(fp.xmm_space, 0x5a, 16);
    fp.st_space[0] = 0x12345678;
    RES(P(PTRACE_SETFPREGS, pid, 0, &fp));
    RES(P(PTRACE_GETFPREGS, pid, 0, &fp2));
    IS(memcmp(fp.xmm_space, fp2.xmm_space, sizeof fp.xmm_space) == 0);
    IS(memcmp(fp.st_space, fp2.st_space, sizeof fp.st_space) == 0);
    fp.mxcsr = -1u;
    RES(P(PTRACE_SETFPREGS, pid, 0, &fp));
    static char xstate[16384] __attribute__((aligned(64)));
    io.iov_base = xstate, io.iov_len = sizeof xstate;
    RES(P(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &io));
    IS(io.iov_len >= 832);
    IS(memcmp(xstate + 160, fp2.xmm_space, 256) == 0);
    IS((*(unsigned long *)(xstate + 464) & 7) == 7);
    IS((*(unsigned long *)(xstate + 512) & 3) == 3);
    xstate[160] = 0x11;
    RES(P(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &io));
    P(PTRACE_GETFPREGS, pid, 0, &fp2);
    HEX(fp2.xmm_space[0]);
    *(unsigned long *)(xstate + 512) |= 1ul << 60;
    RES(P(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &io));
    io.iov_len = 64;
    RES(P(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &io));

    SECTION("memory");
    errno = 0;
    IS(P(PTRACE_PEEKDATA, pid, &shared_word, 0) == 0x1122334455667788 && !errno);
    HEX(P(PTRACE_PEEKDATA, pid, (char *)&shared_word + 3, 0) & 0xffffffff);
    RES(P(PTRACE_POKEDATA, pid, &shared_word, 77));
    RES(P(PTRACE_PEEKDATA, pid, &shared_word, 0));
    RES(P(PTRACE_POKEDATA, pid, &constant, 99));
    RES(P(PTRACE_PEEKDATA, pid, &constant, 0));
    IS(shared_word == 0x1122334455667788 && constant == 0x1020304050607080);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDWR);
    long word = 0;
    RES(pread(fd, &word, 8, (off_t)&constant));
    NUM(word);
    word = 98;
    RES(pwrite(fd, &word, 8, (off_t)&constant));
    RES(P(PTRACE_PEEKDATA, pid, &constant, 0));
    word = 99;
    RES(pwrite(fd, &word, 8, (off_t)&constant));
    RES(pwrite(fd, &word, 8, 8));
    close(fd);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("wrote", pid);
}

static long syscall_info(pid_t pid)
{
    struct __ptrace_syscall_info info;
    memset(&info, 0, sizeof info);
    long size = P(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
    unsigned long message = 0;
    P(PTRACE_GETEVENTMSG, pid, 0, &message);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        say("  size %ld, entry of %d, message %ld", size, (int)info.entry.nr, message);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
        say("  size %ld, exit, error %d, message %ld", size, info.exit.is_error, message);
    else
        say("  size %ld, op %d, message %ld", size, info.op, message);
    return info.op == PTRACE_SYSCALL_INFO_EXIT ? info.exit.rval : 0;
}

static void calls(void)
{
    siginfo_t si;
    SECTION("system calls");
    pid_t pid = TRACEE(syscall(SYS_getuid); say("getppid gives %ld", syscall(SYS_getppid));
                       report("close", close(-1)); report("other", syscall(SYS_getppid, 1, 2)));
    RES(P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
    for (int i = 0; i < 2; i++) {
        P(PTRACE_SYSCALL, pid, 0, 0);
        stopped("call", pid);
        NUM(status >> 8 & 0x80);
        P(PTRACE_GETSIGINFO, pid, 0, &si);
        say("signo %d code %#x pid %d", si.si_signo, si.si_code, si.si_pid == pid);
        syscall_info(pid);
    }
    struct user_regs_struct regs;
    while ((P(PTRACE_SYSCALL, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax != SYS_getppid))
        ;
    regs = regs_of(pid);
    IS((long)regs.rax == -ENOSYS);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("its end", pid);
    IS(syscall_info(pid) == getpid());
    regs = regs_of(pid);
    regs.rax = 4711;
    P(PTRACE_SETREGS, pid, 0, &regs);
    for (int i = 0; i < 3; i++) {
        P(PTRACE_SYSCALL, pid, 0, 0);
        stopped("next", pid);
        say("call %lld", regs_of(pid).orig_rax);
    }
    P(PTRACE_SYSCALL, pid, 0, 0); /* close(-1) ends */
    stopped("close", pid);
    say("error %ld", syscall_info(pid));
    while ((P(PTRACE_SYSCALL, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax != SYS_getppid))
        ;
    regs = regs_of(pid);
    regs.orig_rax = SYS_write, regs.rdi = 1, regs.rsi = (unsigned long)"changed\n", regs.rdx = 8;
    P(PTRACE_SETREGS, pid, 0, &regs);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("a call is left out");
    pid = TRACEE(report("getppid", syscall(SYS_getppid)); report("getppid", syscall(SYS_getppid)));
    P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    while ((P(PTRACE_SYSCALL, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax != SYS_getppid))
        ;
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1l);
    P(PTRACE_SYSCALL, pid, 0, 0);
    stopped("left out", pid);
    regs = regs_of(pid);
    say("orig_rax %lld rax %lld", regs.orig_rax, regs.rax);
    while ((P(PTRACE_SYSEMU, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax == SYS_write)) {
        regs = regs_of(pid);
        regs.rax = regs.rdx; /* pretend */
        P(PTRACE_SETREGS, pid, 0, &regs);
    }
    say("emulated call %lld", regs_of(pid).orig_rax);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), 123);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("memory of a call is changed at its entry");
    static char text[] = "before\n";
    pid = TRACEE(write(1, text, 7); int fd = open("/proc/nowhere", O_RDONLY); report("open", fd));
    while ((P(PTRACE_SYSCALL, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax != SYS_write))
        ;
    struct iovec local = {"AFTER", 5}, remote = {text, 5};
    RES(process_vm_writev(pid, &local, 1, &remote, 1, 0));
    while ((P(PTRACE_SYSCALL, pid, 0, 0), next(pid, 0), regs_of(pid).orig_rax != SYS_openat))
        ;
    regs = regs_of(pid);
    long old = P(PTRACE_PEEKDATA, pid, regs.rsi + 6, 0), new;
    memcpy(&new, "self\0\0\0", 8);
    IS(memcmp(&old, "nowhere", 8) == 0);
    RES(P(PTRACE_POKEDATA, pid, regs.rsi + 6, new));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);
}

extern char step_begin[], step_call[], step_end[];
static long __attribute__((noinline)) steps(void)
{
    long result;
    __asm__ volatile("step_begin: mov $0, %%ebx\n"
                     "1: inc %%ebx\n"
                     "cmp $3, %%ebx\n"
                     "jne 1b\n"
                     "mov $110, %%eax\n"
                     "step_call: syscall\n"
                     "mov %%rbx, %%rax\n"
                     "step_end: nop\n"
                     : "=a"(result)
                     :
                     : "rbx", "rcx", "r11", "memory");
    return result;
}

static void stepping(void)
{
    siginfo_t si;
    struct user_regs_struct regs;
    SECTION("single steps");
    pid_t pid = TRACEE(NUM(steps()));
    long old = P(PTRACE_PEEKTEXT, pid, step_begin, 0);
    RES(P(PTRACE_POKETEXT, pid, step_begin, (old & ~0xffl) | 0xcc));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("breakpoint", pid);
    regs = regs_of(pid);
    NUM(regs.rip - (unsigned long)step_begin);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("signo %d code %#x", si.si_signo, si.si_code);
    RES(P(PTRACE_POKETEXT, pid, step_begin, old));
    regs.rip--;
    P(PTRACE_SETREGS, pid, 0, &regs);
    for (int i = 0; i < 16; i++) {
        P(PTRACE_SINGLESTEP, pid, 0, 0);
        if (next(pid, 0) == -1 || !WIFSTOPPED(status))
            break;
        regs = regs_of(pid);
        P(PTRACE_GETSIGINFO, pid, 0, &si);
        say("at %lld rbx %lld flags %#llx orig_rax %lld: %s code %d addr %d", regs.rip - (unsigned long)step_begin,
            regs.rbx, regs.eflags & 0x100, regs.orig_rax, signame(si.si_signo), si.si_code, (unsigned long)si.si_addr == regs.rip);
        if (regs.rip == (unsigned long)step_end)
            break;
    }
    unsigned long dr6 = (unsigned long)P(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), 0);
    HEX(dr6);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("a step into a signal's handler");
    static volatile int hits;
    void handler(int number) { hits += number; }
    pid = TRACEE(signal(SIGUSR1, handler); NUM(steps()); NUM(hits));
    P(PTRACE_POKETEXT, pid, step_begin, (old & ~0xffl) | 0xcc);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("breakpoint", pid);
    P(PTRACE_POKETEXT, pid, step_begin, old);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rip), step_begin);
    P(PTRACE_SINGLESTEP, pid, 0, SIGUSR1);
    stopped("in the handler", pid);
    regs = regs_of(pid);
    IS(regs.rip == (unsigned long)handler);
    NUM(regs.rdi);
    P(PTRACE_GETSIGINFO, pid, 0, &si);
    say("signo %d code %#x", si.si_signo, si.si_code);
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);

    SECTION("hardware breakpoints");
    static volatile long watched;
    pid = TRACEE(watched = 1; watched = 2; NUM(steps()); watched = 3);
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), &watched));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1 | 1 << 16 | 2 << 18));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[1]), step_call));
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 5 | 1 << 16 | 2 << 18));
    for (int i = 0; i < 4; i++) {
        P(PTRACE_CONT, pid, 0, 0);
        stopped("watch", pid);
        dr6 = (unsigned long)P(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), 0);
        P(PTRACE_GETSIGINFO, pid, 0, &si);
        say("dr6 %lx code %d value %ld call %d", dr6 & 15, si.si_code, P(PTRACE_PEEKDATA, pid, &watched, 0), regs_of(pid).rip == (unsigned long)step_call);
    }
    RES(P(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0));
    P(PTRACE_CONT, pid, 0, 0);
    stopped("end", pid);
}

int main(void)
{
    GUARD(60);
    errors();
    registers();
    calls();
    stepping();
    return 0;
}
