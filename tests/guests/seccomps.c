/* seccomp(2) and prctl(PR_SET_SECCOMP): what programs are taken, what each action does, stacking, inheritance, strict
 * mode, TSYNC; then random programs against the verifier and the interpreter. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define NR offsetof(struct seccomp_data, nr)
#define LOW(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define ON(number, action) { LOAD(NR), IF(number, 0, 1), RETURN(action), RETURN(SECCOMP_RET_ALLOW) }

static long seccomp(unsigned operation, unsigned flags, void *args)
{
    return syscall(SYS_seccomp, operation, flags, args);
}

static long install(const struct sock_filter *code, size_t count, unsigned flags)
{
    struct sock_fprog program = { (unsigned short)count, (struct sock_filter *)code };
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void must(const struct sock_filter *code, size_t count)
{
    if (install(code, count, 0))
        say("install: %s", errname(errno)), _exit(98);
}

#define INSTALL(...)                                     \
    do {                                                 \
        struct sock_filter code_[] = __VA_ARGS__;        \
        must(code_, COUNT(code_));                       \
    } while (0)

/* Runs f in a child and tells how that ended. */
static void in_child(const char *what, void (*f)(void))
{
    int status;
    pid_t pid = fork();
    if (!pid) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        f();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        say("%s: %s%s", what, signame(WTERMSIG(status)), WCOREDUMP(status) ? " core" : "");
    else
        say("%s: exit %d", what, WEXITSTATUS(status));
}

static void status_lines(const char *what)
{
    char text[4096];
    int fd = open("/proc/thread-self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *at = strstr(text, "NoNewPrivs:"), *end = at ? strstr(at, "Speculation") : NULL;
    say("%s: %.*s", what, at ? (int)(end - at) : 0, at ? at : "");
}

static void errors(void)
{
    unsigned action;
    struct sock_fprog program = { 0, NULL };
    struct sock_filter allow[] = { RETURN(SECCOMP_RET_ALLOW) };
    struct seccomp_notif_sizes sizes = { 0 };
    report("no such operation", seccomp(17, 0, NULL));
    report("strict with flags", seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL));
    report("strict with an argument", seccomp(SECCOMP_SET_MODE_STRICT, 0, &action));
    report("filter at NULL", seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL));
    report("filter with unknown flags", seccomp(SECCOMP_SET_MODE_FILTER, 0x100, &program));
    report("empty filter", seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
    program.len = 4097;
    report("long filter", seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
    program.len = 1;
    report("code at NULL", seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
    report("TSYNC and listener", install(allow, 1, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER));
    report("WAIT_KILLABLE alone", install(allow, 1, 1 << 5));
    report("prctl mode 0", prctl(PR_SET_SECCOMP, 0, NULL));
    report("prctl mode 3", prctl(PR_SET_SECCOMP, 3, NULL));
    report("get", prctl(PR_GET_SECCOMP));
    static const unsigned actions[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                                        SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12340000, SECCOMP_RET_ERRNO | 1 };
    for (size_t i = 0; i < COUNT(actions); i++) {
        action = actions[i];
        report("available", seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
    }
    report("available with flags", seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &action));
    report("available at NULL", seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL));
    report("sizes with flags", seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
    report("sizes", seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
    say("%d %d %d", sizes.seccomp_notif, sizes.seccomp_notif_resp, sizes.seccomp_data);
}

static void unprivileged(void)
{
    struct sock_filter allow[] = { RETURN(SECCOMP_RET_ALLOW) }, bad[] = { LOAD(3), RETURN(SECCOMP_RET_ALLOW) };
    int status;
    pid_t pid = fork();
    if (!pid) {
        report("setuid", setresuid(1000, 1000, 1000));
        report("without no_new_privs", install(allow, 1, 0));
        report("bad, without no_new_privs", install(bad, 2, 0));
        report("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        report("with", install(allow, 1, 0));
        report("by prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){ 1, allow }));
        report("get", prctl(PR_GET_SECCOMP));
        report("strict after filter", seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
        status_lines("two filters");
        _exit(0);
    }
    waitpid(pid, &status, 0);
    say("%x", status);
}

/* One `syscall` instruction, executed so often that it has been rewritten where that is done. */
static __attribute__((noinline)) long at_one_site(long nr, long a, long b, long c)
{
    long result;
    register long d __asm__("r10") = c;
    __asm__ volatile("mov %%rax, %%rax\n\tmov %[nr], %%eax\n\tsyscall" : "=a"(result) : [nr] "r"((int)nr), "D"(a), "S"(b), "d"(c), "r"(d) : "rcx", "r11", "memory");
    return result;
}

static void errno_values(void)
{
    long before = 0;
    for (int i = 0; i < 100; i++) {
        before |= at_one_site(SYS_getpid, 0, 0, 0) != getpid();
        before |= at_one_site(SYS_getuid, 0, 0, 0) != (long)getuid();
    }
    say("before: %ld", before);
    INSTALL(ON(SYS_getpid, SECCOMP_RET_ERRNO | EXDEV));
    INSTALL(ON(SYS_getuid, SECCOMP_RET_ERRNO | 0));
    INSTALL(ON(SYS_getgid, SECCOMP_RET_ERRNO | 0xFFFF));
    INSTALL(ON(600, SECCOMP_RET_ERRNO | ENOTTY));
    INSTALL(ON(SYS_getppid, SECCOMP_RET_TRACE | 7));
    INSTALL(ON(SYS_sched_yield, SECCOMP_RET_LOG));
    say("%ld %ld %ld %ld %ld %ld %ld", at_one_site(SYS_getpid, 0, 0, 0), at_one_site(SYS_getuid, 0, 0, 0), at_one_site(SYS_getgid, 0, 0, 0),
        at_one_site(600, 0, 0, 0), at_one_site(SYS_getppid, 0, 0, 0), at_one_site(SYS_sched_yield, 0, 0, 0), at_one_site(700, 0, 0, 0));
    say("%ld %ld", syscall(SYS_getpid), at_one_site(SYS_geteuid, 0, 0, 0));
    status_lines("many");
    if (!fork()) {
        say("child: %ld %ld", syscall(SYS_getpid), at_one_site(600, 0, 0, 0));
        _exit(0);
    }
    wait(NULL);
}

static void hot_calls(void)
{
    /* a call of the fast road, refused by its arguments only */
    struct sock_filter code[] = { LOAD(NR), IF(SYS_write, 0, 5), LOAD(LOW(0)), IF(1000, 0, 3), LOAD(LOW(2) + 4), IF(0, 1, 0),
                                  RETURN(SECCOMP_RET_ERRNO | EDOM), RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | ERANGE) };
    code[5].jt = 2, code[5].jf = 0;
    int fd = open("/dev/null", O_WRONLY), sum = 0;
    dup2(fd, 1000);
    for (int i = 0; i < 50; i++)
        sum += (int)at_one_site(SYS_write, 1000, (long)"x", 1);
    must(code, COUNT(code));
    for (int i = 0; i < 50; i++)
        sum += (int)at_one_site(SYS_write, fd, (long)"x", 1);
    say("sum %d", sum);
    say("short %ld long %ld", at_one_site(SYS_write, 1000, (long)"x", 1), at_one_site(SYS_write, 1000, (long)"x", 1L << 32));
    INSTALL(ON(SYS_write, SECCOMP_RET_KILL_PROCESS));
    at_one_site(SYS_write, fd, (long)"x", 1);
}

static siginfo_t seen;
static volatile long seen_rax;

static void on_sigsys(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    (void)signo;
    seen = *info;
    seen_rax = uc->uc_mcontext.gregs[REG_RAX];
    if (uc->uc_mcontext.gregs[REG_RIP] != (long)info->si_call_addr)
        say("rip differs");
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void traps(void)
{
    struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
    sigaction(SIGSYS, &action, NULL);
    INSTALL(ON(SYS_getpid, SECCOMP_RET_TRAP | 42));
    INSTALL(ON(SYS_futex, SECCOMP_RET_TRAP | 1));
    for (int i = 0; i < 40; i++) {
        long result = at_one_site(i & 1 ? SYS_futex : SYS_getpid, 0, 0, 0);
        if (i < 4 || result != 4711)
            say("%ld: signo %d code %d errno %d nr %d arch %x rax %ld", result, seen.si_signo, seen.si_code, seen.si_errno, seen.si_syscall,
                seen.si_arch, seen_rax);
    }
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    at_one_site(SYS_getpid, 0, 0, 0);
    say("not reached");
}

static void trap_ignored(void)
{
    signal(SIGSYS, SIG_IGN);
    INSTALL(ON(SYS_getpid, SECCOMP_RET_TRAP));
    at_one_site(SYS_getpid, 0, 0, 0);
    say("not reached");
}

static void kill_process(void)
{
    signal(SIGSYS, SIG_IGN);
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_PROCESS));
    syscall(SYS_getpid);
    say("not reached");
}

static void unknown_action(void)
{
    INSTALL(ON(SYS_getpid, 0x12340000));
    syscall(SYS_getpid);
    say("not reached");
}

static void kill_thread_alone(void)
{
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_THREAD));
    syscall(SYS_getpid);
    say("not reached");
}

static void *calls_getpid(void *arg)
{
    (void)arg;
    syscall(SYS_getpid);
    say("not reached");
    return NULL;
}

static void kill_one_thread(void)
{
    pthread_t thread;
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_THREAD));
    pthread_create(&thread, NULL, calls_getpid, NULL);
    usleep(50000);
    say("main goes on");
    _exit(5);
}

static void kill_all_threads(void)
{
    pthread_t thread;
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_PROCESS));
    pthread_create(&thread, NULL, calls_getpid, NULL);
    usleep(500000);
    say("not reached");
}

static void precedence(void)
{
    INSTALL({ RETURN(SECCOMP_RET_ALLOW) });
    INSTALL(ON(SYS_getpid, SECCOMP_RET_ERRNO | 1));
    INSTALL(ON(SYS_getpid, SECCOMP_RET_ERRNO | 2)); /* the newest of equal ones */
    INSTALL(ON(SYS_getpid, SECCOMP_RET_LOG));
    say("%ld", at_one_site(SYS_getpid, 0, 0, 0));
    INSTALL(ON(SYS_getpid, SECCOMP_RET_TRACE));
    say("%ld", at_one_site(SYS_getpid, 0, 0, 0));
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_THREAD));
    INSTALL(ON(SYS_getpid, SECCOMP_RET_KILL_PROCESS));
    INSTALL(ON(SYS_getpid, SECCOMP_RET_TRAP));
    at_one_site(SYS_getpid, 0, 0, 0);
}

static void denies_seccomp(void)
{
    struct sock_filter allow[] = { RETURN(SECCOMP_RET_ALLOW) };
    INSTALL(ON(SYS_seccomp, SECCOMP_RET_ERRNO | EPERM));
    report("another", install(allow, 1, 0));
    INSTALL({ RETURN(SECCOMP_RET_ALLOW) });
}

static void signal_calls(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (int i = 0; i < 50; i++)
        sigprocmask(i & 1 ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
    INSTALL(ON(SYS_rt_sigprocmask, SECCOMP_RET_ERRNO | ENOLINK));
    report("sigprocmask", sigprocmask(SIG_SETMASK, NULL, &old));
}

static void nothing(int signo)
{
    (void)signo;
}

static void no_sigreturn(void)
{
    signal(SIGUSR1, nothing);
    for (int i = 0; i < 50; i++)
        raise(SIGUSR1);
    INSTALL(ON(SYS_rt_sigreturn, SECCOMP_RET_KILL_PROCESS));
    raise(SIGUSR1);
    say("not reached");
}

static void strict(void)
{
    static const char text[] = "strict writes\n";
    char byte;
    int pair[2];
    if (pipe(pair) || write(pair[1], "a", 1) != 1)
        say("pipe");
    report("strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    if (write(1, text, sizeof text - 1) < 0 || read(pair[0], &byte, 1) != 1)
        syscall(SYS_exit, 9);
    syscall(SYS_exit, 3);
}

static void strict_dies(void)
{
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_getpid);
}

static void strict_group_exit(void)
{
    seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL);
    _exit(0);
}

static void execs(void)
{
    INSTALL(ON(SYS_getuid, SECCOMP_RET_ERRNO | EXDEV));
    execl("/proc/self/exe", "seccomps", "after-exec", NULL);
}

static pthread_barrier_t barrier;
static int other_tid;

static void *installs_own(void *arg)
{
    other_tid = (int)syscall(SYS_gettid);
    if (arg)
        INSTALL({ RETURN(SECCOMP_RET_ALLOW) });
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    say("other: %ld", syscall(SYS_getpid) == getpid() ? 0 : (long)errno);
    status_lines("other");
    return NULL;
}

static void tsync(void *own)
{
    struct sock_filter code[] = ON(SYS_getpid, SECCOMP_RET_ERRNO | EXDEV);
    pthread_t thread;
    INSTALL({ RETURN(SECCOMP_RET_ALLOW) });
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, installs_own, own);
    pthread_barrier_wait(&barrier);
    long result = install(code, COUNT(code), SECCOMP_FILTER_FLAG_TSYNC);
    say("tsync: %s", result == 0 ? "0" : result == other_tid ? "tid" : errname(errno));
    if (result)
        report("tsync esrch", install(code, COUNT(code), SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

static void tsync_works(void)
{
    tsync(NULL);
}

static void tsync_refused(void)
{
    tsync("own");
}

static void chain_limit(void)
{
    static struct sock_filter code[4096];
    int count = 0;
    for (size_t i = 0; i < COUNT(code); i++)
        code[i] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    while (count < 100 && !install(code, COUNT(code), 0))
        count++;
    say("%d filters, %s", count, errname(errno));
}

/* Filters by the address of the call. */
static void by_address(void)
{
    unsigned long address;
    long result = 0;
    __asm__ volatile("lea after_call(%%rip), %0" : "=r"(address));
    struct sock_filter code[] = { LOAD(NR), IF(SYS_getpid, 0, 4), LOAD(offsetof(struct seccomp_data, instruction_pointer)), IF((unsigned)address, 0, 2),
                                  LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4), IF((unsigned)(address >> 32), 1, 0),
                                  RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_ERRNO | EXDEV) };
    must(code, COUNT(code));
    for (int i = 0; i < 60; i++) {
        long one;
        __asm__ volatile("mov $39, %%eax\n\tsyscall\n\t.globl after_call\nafter_call:" : "=a"(one) : : "rcx", "r11", "memory");
        result += one == -EXDEV;
    }
    say("%ld by address, elsewhere %d", result, syscall(SYS_getpid) > 0);
}

/* --- random programs ------------------------------------------------------------------------- */

static uint64_t state = 88172645463325252ull;

static unsigned roll(unsigned below)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 20) % below;
}

static const unsigned short codes[] = {
    0x20, 0x80, 0x00, 0x60, 0x81, 0x01, 0x61, 0x02, 0x03, 0x05, 0x06, 0x16, 0x07, 0x87, 0x84, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c,
    0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0xa4, 0xac, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d,
    /* not for seccomp */ 0x94, 0x9c, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0x0e, 0xff, 0x1234
};

static size_t random_program(struct sock_filter *code, size_t most, unsigned kinds)
{
    size_t n = 1 + roll((unsigned)most);
    for (size_t i = 0; i < n; i++) {
        unsigned left = (unsigned)(n - i);
        code[i].code = codes[roll(kinds)];
        code[i].jt = (unsigned char)roll(left < 200 ? left + (left < 3 || !roll(40)) : 200);
        code[i].jf = (unsigned char)roll(left < 200 ? left + (left < 3 || !roll(40)) : 200);
        code[i].k = roll(3) ? roll(16) * (roll(2) ? 4 : 1) : roll(4) ? roll(0x7fffffff) : ~0u;
        if (code[i].code == 0x05)
            code[i].k = roll(left + 1);
    }
    if (roll(8))
        code[n - 1] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    return n;
}

static void fuzz_verifier(void)
{
    static struct sock_filter code[64];
    pthread_t thread;
    unsigned long hash = 0, taken = 0;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, installs_own, "own");
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 20000; i++) {
        size_t n = random_program(code, 1 + roll(12), roll(3) ? COUNT(codes) - 9 : COUNT(codes));
        long result = install(code, n, SECCOMP_FILTER_FLAG_TSYNC); /* a valid one fails because of the other thread */
        int good = result == other_tid;
        if (!good && (result != -1 || errno != EINVAL))
            say("%ld %s", result, errname(errno));
        taken += good;
        hash = hash * 31 + good;
        if (i % 1000 == 999)
            say("verifier %d: %lu taken, %lx", i + 1, taken, hash);
    }
    _exit(0);
}

/* A random computation over number and arguments, whose result comes back as an errno. */
static void fuzz_one(int seed)
{
    struct sock_filter code[60];
    size_t n = 0;
    for (unsigned i = 0; i < 4; i++) {
        code[n++] = (struct sock_filter)LOAD(roll(16) * 4);
        if (i & 1)
            code[n++] = (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_ST, i);
    }
    /* what the first calls load would differ between two runs */
    for (size_t i = 0; i < n; i++)
        if (code[i].code == 0x20 && (code[i].k == 8 || code[i].k == 12))
            code[i].k = 16;
    size_t body = n + 8 + roll(30);
    while (n < body) {
        unsigned short op = codes[roll(41)];
        unsigned left = (unsigned)(body - n);
        if (op == 0x06 || op == 0x16)
            continue;
        unsigned k = op == 0x20 ? (roll(2) ? 0 : 4 * (4 + roll(12))) : op == 0x60 || op == 0x61 ? roll(4) : op == 2 || op == 3 ? roll(16) :
            op == 0x64 || op == 0x74 ? roll(32) : op == 0x05 ? roll(left) : roll(2) ? roll(64) : roll(0x7fffffff) * 2 + 1;
        if (op == 0x34 && !k)
            k = 3;
        code[n++] = (struct sock_filter){ op, (unsigned char)roll(left), (unsigned char)roll(left), k };
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xfff);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
    struct sock_filter guarded[64] = { LOAD(NR), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 500, 1, 0), RETURN(SECCOMP_RET_ALLOW) };
    memcpy(guarded + 3, code, n * sizeof *code);
    long result = install(guarded, n + 3, 0);
    if (result) {
        say("program %d: %s", seed, errname(errno));
        return;
    }
    unsigned long hash = 0;
    for (unsigned i = 0; i < 8; i++) {
        long value = syscall(500 + roll(3) * 6, (long)(state * 3), (long)state >> roll(64), (long)roll(100), ~(long)roll(9), (long)state, 1L << roll(64));
        hash = hash * 1000003 + (unsigned long)(value ? errno : 0);
        roll(2);
    }
    say("program %d: %lx", seed, hash);
}

static void fuzz_interpreter(void)
{
    for (int i = 0; i < 300; i++) {
        uint64_t seed = state;
        pid_t pid = fork();
        int status;
        if (!pid) {
            fuzz_one(i);
            _exit(0);
        }
        waitpid(pid, &status, 0);
        if (status)
            say("program %d: status %x", i, status);
        state = seed * 6364136223846793005ull + 1442695040888963407ull;
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        say("after exec: %ld", at_one_site(SYS_getuid, 0, 0, 0));
        status_lines("after exec");
        return 0;
    }
    status_lines("start");
    errors();
    unprivileged();
    in_child("errno", errno_values);
    in_child("hot calls", hot_calls);
    in_child("traps", traps);
    in_child("trap ignored", trap_ignored);
    in_child("kill process", kill_process);
    in_child("unknown action", unknown_action);
    in_child("kill thread alone", kill_thread_alone);
    in_child("kill one thread", kill_one_thread);
    in_child("kill all threads", kill_all_threads);
    in_child("precedence", precedence);
    in_child("denies seccomp", denies_seccomp);
    in_child("signal calls", signal_calls);
    in_child("no sigreturn", no_sigreturn);
    in_child("strict", strict);
    in_child("strict dies", strict_dies);
    in_child("strict, exit_group", strict_group_exit);
    in_child("exec", execs);
    in_child("tsync", tsync_works);
    in_child("tsync refused", tsync_refused);
    in_child("chain", chain_limit);
    in_child("address", by_address);
    in_child("verifier", fuzz_verifier);
    in_child("interpreter", fuzz_interpreter);
    return 0;
}
