/* selfsignals: a thread that signals itself so often that neither the call nor the return from the handler traps any more.
 * What handlers see and change, masks, alternate stacks, vector registers, frames that cannot be, frames that were tampered
 * with; all while other signals come in between. */
#include "check.h"
#include <setjmp.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define WARM 100

static volatile int count, depth, deepest, other;
static volatile long seen[16];
static sigset_t mask_seen;
static void *volatile stack_seen;

static void install(int signo, void *handler, int flags, int blocks)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (blocks)
        sigaddset(&action.sa_mask, blocks);
    sigaction(signo, &action, NULL);
}

static void counter(int signo) { count++; }

static void warm(void)
{
    install(SIGUSR1, counter, 0, 0);
    for (int i = 0; i < WARM; i++) {
        raise(SIGUSR1);
        kill(getpid(), SIGUSR1);
    }
}

/* --- what the handler is told --- */

static void told(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    seen[0] = signo * 1000 + info->si_signo;
    seen[1] = info->si_code;
    seen[2] = info->si_pid == getpid();
    seen[3] = info->si_uid == getuid();
    seen[4] = uc->uc_flags;
    seen[5] = (uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff) << 16 | (uc->uc_mcontext.gregs[REG_CSGSFS] >> 48);
    seen[6] = uc->uc_mcontext.gregs[REG_RAX];
    seen[7] = uc->uc_stack.ss_flags * 100000 + (long)uc->uc_stack.ss_size;
    seen[8] = ((long)uc & 15) == 0;
    seen[9] = (long)uc->uc_mcontext.fpregs % 64;
    seen[10] = uc->uc_mcontext.gregs[REG_OLDMASK];
    seen[11] = uc->uc_mcontext.gregs[REG_RIP] == uc->uc_mcontext.gregs[REG_RCX];
    pthread_sigmask(SIG_BLOCK, NULL, &mask_seen);
    seen[12] = *(long *)&mask_seen;
    stack_seen = __builtin_frame_address(0);
}

static void show_told(const char *what)
{
    say("%s: signal %ld code %ld mine %ld %ld flags %lx cs,ss %lx rax %ld stack %ld aligned %ld %ld old %lx rcx %ld mask %lx", what,
        seen[0], seen[1], seen[2], seen[3], seen[4], seen[5], seen[6], seen[7], seen[8], seen[9], seen[10], seen[11], seen[12]);
    memset((void *)seen, 0, sizeof seen);
}

static void tells(void)
{
    sigset_t set;
    SECTION("what a handler is told");
    install(SIGUSR1, told, SA_SIGINFO, 0);
    raise(SIGUSR1);
    show_told("raise");
    kill(getpid(), SIGUSR1);
    show_told("kill");
    install(SIGUSR1, told, SA_SIGINFO | SA_NODEFER, SIGHUP);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    show_told("nodefer, another blocked");
    sigprocmask(SIG_BLOCK, NULL, &mask_seen);
    HEX(*(long *)&mask_seen);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    install(SIGUSR1, told, SA_SIGINFO | SA_RESETHAND, 0);
    raise(SIGUSR1);
    show_told("once");
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    IS(now.sa_handler == SIG_DFL);
    warm();
    RES(kill(getpid(), 0));
    RES(kill(getpid(), 65));
    RES(raise(-1));
    RES(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
    RES(syscall(SYS_tgkill, 0, gettid(), SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    RES(raise(SIGUSR1));
    CHILD("default", signal(SIGUSR1, SIG_DFL); raise(SIGUSR1));
}

/* --- registers --- */

#define REGISTERS 13

static long tgkill_with(const long *in, long *out, long pid, long tid)
{
    long result;
    asm volatile("push %%rbp\n\t"
                 "push %%rbx\n\t"
                 "push %2\n\t"
                 "mov %1, %%rcx\n\t"
                 "mov (%%rcx), %%rbx\n\t"
                 "mov 8(%%rcx), %%rbp\n\t"
                 "mov 16(%%rcx), %%r12\n\t"
                 "mov 24(%%rcx), %%r13\n\t"
                 "mov 32(%%rcx), %%r14\n\t"
                 "mov 40(%%rcx), %%r15\n\t"
                 "mov 48(%%rcx), %%r8\n\t"
                 "mov 56(%%rcx), %%r9\n\t"
                 "mov 64(%%rcx), %%r10\n\t"
                 "mov $10, %%edx\n\t"
                 "movq $0x1234, -8(%%rsp)\n\t"
                 "movq $0x5678, -128(%%rsp)\n\t"
                 "std\n\t"
                 "stc\n\t"
                 "mov $234, %%eax\n\t"
                 "syscall\n\t"
                 "mov -8(%%rsp), %%r11\n\t"
                 "mov -128(%%rsp), %%rcx\n\t"
                 "push %%rcx\n\t"
                 "pushf\n\t"
                 "cld\n\t"
                 "mov 16(%%rsp), %%rcx\n\t"
                 "mov %%rbx, (%%rcx)\n\t"
                 "mov %%rbp, 8(%%rcx)\n\t"
                 "mov %%r12, 16(%%rcx)\n\t"
                 "mov %%r13, 24(%%rcx)\n\t"
                 "mov %%r14, 32(%%rcx)\n\t"
                 "mov %%r15, 40(%%rcx)\n\t"
                 "mov %%r8, 48(%%rcx)\n\t"
                 "mov %%r9, 56(%%rcx)\n\t"
                 "mov %%r10, 64(%%rcx)\n\t"
                 "mov %%r11, 72(%%rcx)\n\t"
                 "pop %%r11\n\t"
                 "and $0xcd5, %%r11\n\t"
                 "mov %%r11, 80(%%rcx)\n\t"
                 "pop %%r11\n\t"
                 "mov %%r11, 88(%%rcx)\n\t"
                 "mov %%rdx, 96(%%rcx)\n\t"
                 "pop %%rcx\n\t"
                 "pop %%rbx\n\t"
                 "pop %%rbp"
                 : "=a"(result)
                 : "r"(in), "r"(out), "D"(pid), "S"(tid)
                 : "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return result;
}

static void scramble(int signo)
{
    count++;
    asm volatile("mov $-1, %%r8\n\tmov %%r8, %%r9\n\tmov %%r8, %%r10\n\tmov %%r8, %%rdx\n\txor %%r8, %%r8" ::: "r8", "r9", "r10", "rdx", "cc");
}

static int change_what;
static void changer(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    if (change_what == 0)
        g[REG_RAX] = 4711, g[REG_R12] = 99, g[REG_R8] = 98;
    else if (change_what == 1)
        sigaddset(&uc->uc_sigmask, SIGWINCH);
    else if (change_what == 2)
        g[REG_EFL] &= ~0x401l;
}

static void registers(void)
{
    long in[REGISTERS] = {11, 22, 33, 44, 55, 66, 77, 88, 99}, out[REGISTERS] = {0}, bad = 0, before = 1;
    sigset_t set;
    SECTION("registers, flags, red zone");
    install(SIGUSR1, scramble, 0, 0);
    /* Signal 10 is SIGUSR1. */
    for (int i = 0; i < WARM; i++) {
        for (int k = 0; k < 9; k++)
            in[k] = i * 1000003l + k;
        before = tgkill_with(in, out, getpid(), gettid());
        bad += before != 0 || memcmp(in, out, 72) || out[9] != 0x1234 || out[11] != 0x5678 || out[12] != 10 || (out[10] & 0x401) != 0x401;
    }
    NUM(bad);
    SECTION("what a handler changes");
    install(SIGUSR1, changer, SA_SIGINFO, 0);
    for (change_what = 0; change_what < 3; change_what++) {
        memset(out, 0, sizeof out);
        NUM(tgkill_with(in, out, getpid(), gettid()));
        say("changed %d: r12 %d r8 %d flags %lx", change_what, out[2] == in[2] ? 0 : (int)out[2], out[6] == in[6] ? 0 : (int)out[6], out[10] & 0x401);
        sigprocmask(SIG_SETMASK, NULL, &set);
        NUM(sigismember(&set, SIGWINCH));
    }
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/* --- vector registers --- */

typedef float wide __attribute__((vector_size(32)));
static int has_avx;

static void initial(int signo)
{
    unsigned csr = 0;
    unsigned short control = 0;
    count++;
    asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(csr), "=m"(control));
    if (csr != 0x1f80 || control != 0x37f)
        other++;
    if (has_avx) {
        long parts[4];
        asm volatile("vmovups %%ymm7, %0\n\tvzeroall" : "=m"(parts)::"xmm7");
        if (parts[0] | parts[1] | parts[2] | parts[3])
            other++;
    }
    csr = 0x1fa0 | 0x6000;
    control = 0x27f;
    asm volatile("ldmxcsr %0\n\tfldcw %1\n\tfldz" ::"m"(csr), "m"(control));
    asm volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm15, %%xmm15" ::: "xmm0", "xmm15");
}

static void vectors(void)
{
    long bad = 0;
    SECTION("vector registers");
    has_avx = __builtin_cpu_supports("avx");
    install(SIGUSR1, initial, 0, 0);
    count = other = 0;
    for (int i = 0; i < 10 * WARM; i++) {
        long in[4] = {i, i + 1, i + 2, i + 3}, out[4] = {0}, low[2] = {0}, result, top;
        unsigned csr = i & 1 ? 0x1f80 : 0x3f80, after = 0;
        double quarter = i * 0.25, back = 0;
        asm volatile("fninit\n\tfldl %0" ::"m"(quarter));
        asm volatile("ldmxcsr %0" ::"m"(csr));
        if (has_avx) {
            asm volatile("vmovups %5, %%ymm7\n\tvmovups %%ymm7, %%ymm15\n\tmov $234, %%eax\n\tsyscall\n\tvmovups %%ymm7, %1\n\tmovups %%xmm15, %2\n\t"
                         "fstpl %3\n\tstmxcsr %4"
                         : "=&a"(result), "=m"(out), "=m"(low), "=m"(back), "=m"(after)
                         : "m"(in), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
                         : "rcx", "r11", "memory", "xmm7", "xmm15");
        } else {
            asm volatile("movups %4, %%xmm15\n\tmov $234, %%eax\n\tsyscall\n\tmovups %%xmm15, %1\n\tfstpl %2\n\tstmxcsr %3"
                         : "=&a"(result), "=m"(low), "=m"(back), "=m"(after)
                         : "m"(in), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
                         : "rcx", "r11", "memory", "xmm15");
        }
        top = has_avx ? memcmp(in, out, 32) : 0;
        bad += result != 0 || top || memcmp(in, low, 16) || back != quarter || after != csr;
    }
    NUM(bad);
    NUM(count);
    NUM(other);
}

static void new_vector(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uc->uc_mcontext.fpregs->_xmm[15].element[0] = 77;
}

static void tampered_vector(void)
{
    int out[4] = {0}, in[4] = {1, 2, 3, 4};
    long result;
    install(SIGUSR1, new_vector, SA_SIGINFO, 0);
    asm volatile("movups %2, %%xmm15\n\tmov $234, %%eax\n\tsyscall\n\tmovups %%xmm15, %1"
                 : "=&a"(result), "=m"(out)
                 : "m"(in), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
                 : "rcx", "r11", "memory", "xmm15");
    say("xmm15 is %d %d %d %d", out[0], out[1], out[2], out[3]);
}

/* --- frames that cannot be, or are not as they were made --- */

static int bad_what;
static void spoil(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    char *fp = (char *)uc->uc_mcontext.fpregs;
    greg_t *g = uc->uc_mcontext.gregs;
    switch (bad_what) {
    case 0: *(unsigned *)(fp + 24) = ~0u; break;          /* MXCSR */
    case 1: g[REG_RIP] = 1l << 60; break;
    case 2: *(unsigned *)(fp + 464) = 0; break;           /* no extended state */
    case 3: memset(fp + 512, 0xff, 64); break;            /* its header */
    case 4: uc->uc_mcontext.fpregs = (void *)8; break;
    case 5: uc->uc_mcontext.fpregs = NULL; break;
    case 6: g[REG_CSGSFS] = 0; break;
    case 7: uc->uc_flags = 0; break;
    case 8: uc->uc_mcontext.fpregs = (void *)0x40; break;
    case 9: g[REG_EFL] |= 0x40000; break;                 /* AC */
    case 10: g[REG_RSP] = 0x10; break;
    case 11: *(unsigned long *)(fp + 472) = 3; break;     /* x87 and SSE only */
    case 12: sigfillset(&uc->uc_sigmask); break;
    case 13: uc->uc_stack.ss_size = 1 << 20, uc->uc_stack.ss_flags = 0, uc->uc_stack.ss_sp = fp; break;
    }
}

static void report_segv(int signo, siginfo_t *info, void *context)
{
    say("SIGSEGV code %d", info->si_code);
    _exit(5);
}

static char small_stack[65536] __attribute__((aligned(4096)));

static void bad_frames(void)
{
    SECTION("frames that were tampered with");
    for (bad_what = 0; bad_what < 14; bad_what++) {
        char what[32];
        snprintf(what, sizeof what, "frame %d", bad_what);
        CHILD(what, {
            stack_t stack = {.ss_sp = small_stack, .ss_size = sizeof small_stack};
            sigset_t set;
            unsigned long flags;
            install(SIGSEGV, report_segv, SA_SIGINFO | (bad_what == 10 ? SA_ONSTACK : 0), 0);
            if (bad_what == 10)
                sigaltstack(&stack, NULL);
            install(SIGUSR1, spoil, SA_SIGINFO, 0);
            raise(SIGUSR1);
            asm volatile("pushf\n\tpop %0\n\tpush $0x202\n\tpopf" : "=r"(flags)::"cc");
            sigprocmask(SIG_BLOCK, NULL, &set);
            sigaltstack(NULL, &stack);
            say("back: AC %d mask %lx stack %d", (int)(flags >> 18 & 1), *(long *)&set & 0x7fffffff, stack.ss_flags);
        });
    }
    SECTION("frames that cannot be written");
    CHILD("no stack", {
        char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stack_t stack = {.ss_sp = small_stack, .ss_size = sizeof small_stack};
        mprotect(page, 2 * 4096, PROT_NONE);
        sigaltstack(&stack, NULL);
        install(SIGSEGV, report_segv, SA_SIGINFO | SA_ONSTACK, 0);
        install(SIGUSR1, counter, 0, 0);
        asm volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tmov $234, %%eax\n\tsyscall\n\tmov %%rbx, %%rsp" ::"r"(page + 2 * 4096 + 256),
                     "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
                     : "rax", "rbx", "rcx", "r11", "memory");
        say("never here");
    });
    CHILD("no stack, no handler for that", {
        asm volatile("mov %%rsp, %%rbx\n\tmov $4096, %%rsp\n\tmov $234, %%eax\n\tsyscall\n\tmov %%rbx, %%rsp" ::"D"(getpid()), "S"(gettid()),
                     "d"(SIGUSR1)
                     : "rax", "rbx", "rcx", "r11", "memory");
    });
}

/* --- alternate stacks, nesting, leaving --- */

static void nest(int signo)
{
    if (++depth > deepest)
        deepest = depth;
    count++;
    if (depth < 20)
        raise(SIGUSR1);
    depth--;
}

static sigjmp_buf away;
static void jump(int signo) { siglongjmp(away, signo); }

static int on(const char *stack, long size) { return (char *)stack_seen > stack && (char *)stack_seen <= stack + size; }

static void nested_on(int signo)
{
    count++;
    if (signo == SIGUSR1)
        raise(SIGUSR2);
}

static void stacks(void)
{
    stack_t stack = {.ss_sp = small_stack, .ss_size = sizeof small_stack}, old;
    SECTION("nested");
    install(SIGUSR1, nest, SA_NODEFER, 0);
    count = 0;
    raise(SIGUSR1);
    NUM(count);
    NUM(deepest);
    SECTION("alternate stack");
    RES(sigaltstack(&stack, NULL));
    install(SIGUSR1, told, SA_SIGINFO, 0);
    raise(SIGUSR1);
    show_told("not on it");
    NUM(on(small_stack, sizeof small_stack));
    install(SIGUSR1, told, SA_SIGINFO | SA_ONSTACK, 0);
    for (int i = 0; i < 3; i++)
        raise(SIGUSR1);
    show_told("on it");
    NUM(on(small_stack, sizeof small_stack));
    install(SIGUSR1, nested_on, SA_ONSTACK, 0);
    install(SIGUSR2, told, SA_SIGINFO | SA_ONSTACK, 0);
    count = 0;
    raise(SIGUSR1);
    show_told("twice");
    NUM(on(small_stack, sizeof small_stack));
    RES(sigaltstack(NULL, &old));
    NUM(old.ss_flags);
    stack.ss_flags = 1 << 31;
    RES(sigaltstack(&stack, NULL));
    install(SIGUSR1, told, SA_SIGINFO | SA_ONSTACK, 0);
    raise(SIGUSR1);
    show_told("disarmed");
    sigaltstack(NULL, &old);
    HEX(old.ss_flags);
    stack.ss_flags = 0;
    stack.ss_size = 2048;
    RES(sigaltstack(&stack, NULL));
    CHILD("too small", install(SIGUSR1, nest, SA_ONSTACK | SA_NODEFER, 0); raise(SIGUSR1));
    stack.ss_flags = SS_DISABLE;
    RES(sigaltstack(&stack, NULL));
    SECTION("leaving by a jump");
    install(SIGUSR1, jump, 0, 0);
    count = 0;
    for (int i = 0; i < WARM; i++)
        if (sigsetjmp(away, 1))
            count++;
        else
            raise(SIGUSR1);
    NUM(count);
    warm();
}

/* --- others come in between --- */

static void *sender(void *main_thread)
{
    for (int i = 0; i < 3000; i++) {
        pthread_kill(*(pthread_t *)main_thread, SIGUSR2);
        if (i % 8 == 0)
            sched_yield();
    }
    other = -1;
    return NULL;
}

static volatile int masked_wrong, outside;
static void checks_mask(int signo)
{
    count++;
    sigprocmask(SIG_BLOCK, NULL, &mask_seen);
    if (sigismember(&mask_seen, signo) != 1 || sigismember(&mask_seen, SIGHUP) != 1)
        masked_wrong++;
}
static void from_outside(int signo) { outside++; }

static void storm(void)
{
    pthread_t thread, self = pthread_self();
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0}};
    sigset_t set;
    long sent = 0, vector_bad = 0;
    SECTION("while others come in between");
    install(SIGUSR1, checks_mask, 0, SIGHUP);
    install(SIGUSR2, from_outside, SA_RESTART, 0);
    install(SIGALRM, from_outside, SA_RESTART, 0);
    setitimer(ITIMER_REAL, &often, NULL);
    count = other = 0;
    pthread_create(&thread, NULL, sender, &self);
    while (other == 0 || sent < 20000) {
        double in[2] = {sent, sent * 2.0}, out[2];
        long result;
        asm volatile("movups %2, %%xmm14\n\tmov $234, %%eax\n\tsyscall\n\tmovups %%xmm14, %1"
                     : "=&a"(result), "=m"(out)
                     : "m"(in), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
                     : "rcx", "r11", "memory", "xmm14");
        vector_bad += result || memcmp(in, out, 16);
        sent++;
    }
    pthread_join(thread, NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    IS(count == sent);
    IS(outside > 0);
    NUM(masked_wrong);
    NUM(vector_bad);
    sigprocmask(SIG_BLOCK, NULL, &set);
    HEX(*(long *)&set);
}

/* A signal that comes while its handler runs is handled when that returns. */
static void *one_by_one(void *main_thread)
{
    for (int i = 1; i <= 3000; i++) {
        pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
        for (long end = now_ms() + 20000; outside < i && now_ms() < end;)
            sched_yield();
    }
    other = -1;
    return NULL;
}

static void both(int signo, siginfo_t *info, void *context)
{
    if (info->si_value.sival_int == 0 && info->si_code == SI_TKILL && other != 2)
        outside++;
    other = other == 2 ? 1 : other;
}

static void own(int signo) { count++; }

static void returns(void)
{
    pthread_t thread, self = pthread_self();
    SECTION("while its handler runs");
    install(SIGUSR1, both, SA_SIGINFO, 0);
    install(SIGUSR2, own, 0, SIGUSR1); /* blocks the other meanwhile */
    outside = count = other = 0;
    long sent = 0;
    pthread_create(&thread, NULL, one_by_one, &self);
    while (other == 0) {
        raise(SIGUSR2);
        sent++;
    }
    pthread_join(thread, NULL);
    IS(count == sent);
    NUM(outside);
}

int main(void)
{
    GUARD(200);
    setvbuf(stdout, NULL, _IONBF, 0);
    warm();
    tells();
    warm();
    registers();
    vectors();
    tampered_vector();
    warm();
    bad_frames();
    stacks();
    storm();
    returns();
    return 0;
}
