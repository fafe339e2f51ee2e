/* sites: call sites of many shapes, executed often enough that a sandbox that rewrites them does so: by threads at
 * once, under signals, across fork and exec, while the code is unmapped, made writable, read and single-stepped. */
#include "check.h"
#include <asm/prctl.h>
#include <sys/auxv.h>
#include <ucontext.h>

#define SITES 2400

/* Functions with one site each, at all alignments; shape by number: one instruction of 5 bytes, one of 7, two before
 * the call, three. Each makes getppid (110) and touches nothing else. */
__asm__(".text\n.balign 4096\n.globl code_begin\ncode_begin:\n"
        ".set i, 0\n"
        ".rept 2400\n"
        "0: .cfi_startproc\n"
        " .if (i % 4) == 0\n"
        "  .fill ((i / 4) % 16), 1, 0x90\n  mov $110, %eax\n"
        " .elseif (i % 4) == 1\n"
        "  .fill ((i / 4) % 16), 1, 0x90\n  mov $110, %rax\n"
        " .elseif (i % 4) == 2\n"
        "  .fill ((i / 4) % 16), 1, 0x90\n  push $110\n  pop %rax\n  mov %rdi, %rsi\n  mov %rsi, %rdx\n"
        " .else\n"
        "  .fill ((i / 4) % 16), 1, 0x90\n  xor %eax, %eax\n  mov $110, %al\n  mov %rdi, %rsi\n"
        " .endif\n"
        " 1: syscall\n ret\n .cfi_endproc\n"
        " .pushsection .rodata\n .quad 0b, 1b\n .popsection\n"
        " .set i, i + 1\n"
        ".endr\n"
        ".globl code_end\n.balign 4096\ncode_end:\n"
        ".section .rodata\n.globl site_table_end\nsite_table_end:\n.text\n");
extern char code_begin[], code_end[], site_table_end[], __executable_start[], etext[];

struct site {
    long (*call)(long);
    char *at;
};
#define TABLE ((struct site *)site_table_end - SITES)

static unsigned char *copy; /* of the code, as linked */
static char *self;

/* Calls through a site and checks what a system call may change. */
static int call_once(struct site *site, long expected)
{
    long result, kept_b, kept_12, kept_15, kept_10;
    __asm__ volatile("mov $0x1111, %%ebx\n mov $0x2222, %%r12d\n mov $0x3333, %%r15d\n mov $0x4444, %%r10d\n"
                     "mov $77, %%edi\n sub $256, %%rsp\n call *%[f]\n add $256, %%rsp\n"
                     "mov %%rbx, %[b]\n mov %%r12, %[c]\n mov %%r15, %[d]\n mov %%r10, %[e]\n"
                     : "=&a"(result), [b] "=m"(kept_b), [c] "=m"(kept_12), [d] "=m"(kept_15), [e] "=m"(kept_10)
                     : [f] "r"(site->call)
                     : "rbx", "r10", "r12", "r15", "rcx", "r11", "rdi", "rsi", "rdx", "memory", "cc");
    return result == expected && kept_b == 0x1111 && kept_12 == 0x2222 && kept_15 == 0x3333 && kept_10 == 0x4444;
}

static long call_all(int from, int to, int times)
{
    long wrong = 0, parent = getppid();
    for (int i = from; i < to; i++)
        for (int k = 0; k < times * 2; k++)
            wrong += !call_once(&TABLE[i], parent);
    return wrong;
}

static void *hammer(void *arg)
{
    return (void *)call_all(0, SITES / 2, 12);
}

static volatile long strange, alarms;
static char *vdso;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    char *rip = (char *)regs[REG_RIP];
    alarms++;
    if ((rip < __executable_start || rip >= etext) && (rip < vdso || rip >= vdso + 16384))
        strange++;
    if (rip >= code_begin && rip < code_end) {
        for (int i = 0; i < SITES; i++)
            if (rip >= (char *)TABLE[i].call && rip <= TABLE[i].at + 2) {
                int offset = TABLE[i].at - rip;
                if (regs[REG_RBX] != 0x1111 || regs[REG_R12] != 0x2222 || (offset == 0 && regs[REG_RAX] != 110))
                    strange++;
            }
    }
}

static void alarms_on(long us)
{
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval timer = {{0, us}, {0, us}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void threads(void)
{
    SECTION("threads");
    pthread_t thread[8];
    long wrong = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&thread[i], NULL, hammer, NULL);
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(thread[i], &result);
        wrong += (long)result;
    }
    NUM(wrong);
}

static void signals(void)
{
    SECTION("signals");
    alarms_on(150);
    long wrong = 0, end = now_ms() + 400;
    wrong += call_all(SITES / 2, SITES * 3 / 4, 8);
    while (now_ms() < end)
        wrong += call_all(0, SITES * 3 / 4, 1);
    alarms_on(0);
    NUM(wrong);
    NUM(strange);
    IS(alarms > 10);
}

static void processes(void)
{
    SECTION("fork and exec");
    CHILD("child", {
        NUM(call_all(0, SITES / 2, 2));
        NUM(call_all(SITES * 3 / 4, SITES * 3 / 4 + 100, 6));
        CHILD("grandchild", NUM(call_all(0, SITES * 3 / 4 + 200, 5)));
        NUM(call_all(0, SITES / 2, 2));
        execl(self, self, "again", NULL);
    });
    NUM(call_all(0, SITES * 3 / 4 + 100, 2));
    pid_t pid = vfork();
    if (pid == 0) {
        long wrong = call_all(SITES * 3 / 4 + 200, SITES * 3 / 4 + 260, 6);
        _exit(wrong != 0);
    }
    reap("vforked", pid);
    NUM(call_all(SITES * 3 / 4 + 200, SITES * 3 / 4 + 260, 2));
}

/* Reads of the code that are not its own loads. */
static void reading(void)
{
    SECTION("reading");
    static char data[1 << 18];
    long size = code_end - code_begin;
    int fd = open("/proc/self/mem", O_RDONLY);
    NUM(pread(fd, data, size, (long)code_begin) - size);
    close(fd);
    NUM(memcmp(data, copy, size));
    memset(data, 0, size);
    struct iovec to = {data + 1, size - 1}, from = {code_begin + 1, size - 1};
    NUM(process_vm_readv(getpid(), &to, 1, &from, 1, 0) - size + 1);
    NUM(memcmp(data + 1, copy + 1, size - 1));
}

static void protection(void)
{
    SECTION("mprotect");
    long size = code_end - code_begin;
    RES(mprotect(code_begin, size, PROT_READ | PROT_WRITE | PROT_EXEC));
    NUM(memcmp(code_begin, copy, size));
    NUM(call_all(0, 200, 5));
    struct site *site = &TABLE[4]; /* mov $110, %eax */
    site->at[-4] = 39;
    __sync_synchronize();
    IS(site->call(0) == getpid());
    RES(mprotect(code_begin, size, PROT_READ | PROT_EXEC));
    for (int i = 0; i < 10; i++)
        if (site->call(0) != getpid())
            say("not our pid");
    NUM(call_all(5, 200, 8));
    RES(mprotect(code_begin, size, PROT_READ | PROT_WRITE));
    HEX(site->at[-4]);
    site->at[-4] = 110;
    NUM(memcmp(code_begin, copy, size));
    RES(mprotect(code_begin, size, PROT_READ | PROT_EXEC));
    NUM(call_all(0, 200, 6));
    RES(mprotect(code_begin + 4096, 4096, PROT_READ));
    RES(mprotect(code_begin + 4096, 4096, PROT_READ | PROT_EXEC));
    NUM(call_all(0, SITES, 4));
}

static void *busy(void *stop)
{
    while (!*(volatile int *)stop)
        if (call_all(0, 300, 1))
            return "wrong";
    return NULL;
}

/* The same with threads that run through the code meanwhile. */
static void protection_threads(void)
{
    SECTION("mprotect with threads");
    long size = code_end - code_begin, different = 0;
    int stop = 0;
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, busy, &stop);
    for (int i = 0; i < 150; i++) {
        if (mprotect(code_begin, size, PROT_READ | PROT_WRITE | PROT_EXEC))
            say("mprotect: %s", errname(errno));
        different += memcmp(code_begin, copy, size) != 0;
        if (mprotect(code_begin, size, PROT_READ | PROT_EXEC))
            say("mprotect: %s", errname(errno));
        usleep(500);
    }
    stop = 1;
    NUM(different);
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(thread[i], &result);
        IS(result == NULL);
    }
}

/* The same code a second time, from the file. */
static void mapping(void)
{
    SECTION("mapping");
    long size = code_end - code_begin, offset = code_begin - __executable_start;
    int fd = open("/proc/self/exe", O_RDONLY);
    long (*first)(long) = TABLE[0].call;
    for (int round = 0; round < 3; round++) {
        char *other = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, offset);
        IS(other != MAP_FAILED && !memcmp(other, copy, size));
        long wrong = 0, parent = getppid();
        for (int i = 0; i < 400; i++)
            for (int k = 0; k < 5; k++) {
                struct site site = {(void *)(other + ((char *)TABLE[i].call - code_begin)), NULL};
                wrong += !call_once(&site, parent);
            }
        NUM(wrong);
        if (round == 0) {
            /* Others in their place, with the neighbourhood */
            RES(mmap(other, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == other);
            IS(!memchr(other, 0xe9, size));
            RES(mmap(other, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, offset) == other);
            IS(!memcmp(other, copy, size));
        } else if (round == 1) {
            RES(madvise(other, size, MADV_DONTNEED));
            IS(!memcmp(other, copy, size));
            char *moved = mremap(other, size, size + 4096, MREMAP_MAYMOVE);
            IS(moved != MAP_FAILED && !memcmp(moved, copy, size));
            other = moved;
        } else {
            char *there = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            IS(mremap(other, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
            IS(!memcmp(there, copy, size));
            other = there;
            struct site site = {(void *)(other + ((char *)TABLE[8].call - code_begin)), NULL};
            for (int k = 0; k < 5; k++)
                IS(call_once(&site, parent));
        }
        RES(munmap(other, size));
    }
    close(fd);
    IS(first(0) == getppid());
}

/* All free memory below the program, where a sandbox may keep something, and much of that below the mappings. */
static void neighbourhood(void)
{
    SECTION("neighbourhood");
    char *low = (char *)0x10000;
    long size = __executable_start - low;
    char *there = mmap(low, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
    IS(there == low);
    if (there == low) {
        long used = 0;
        for (long i = 0; i < size; i += 4096)
            used += there[i] != 0;
        NUM(used);
        memset(there, 0xf4, size);
    }
    NUM(call_all(0, SITES, 4));
    RES(munmap(low, size));
    NUM(call_all(0, SITES, 4));
}

__attribute__((target("fsgsbase"))) static void segment(void)
{
    SECTION("gs");
    static long words[512];
    long before = 0, after = 0;
    for (int i = 0; i < 512; i++)
        words[i] = (long)words;
    syscall(SYS_arch_prctl, ARCH_GET_GS, &before);
    RES(syscall(SYS_arch_prctl, ARCH_SET_GS, words));
    NUM(call_all(0, SITES, 2));
    syscall(SYS_arch_prctl, ARCH_GET_GS, &after);
    IS(after == (long)words);
    long through = 0;
    __asm__ volatile("mov %%gs:8, %0" : "=r"(through));
    IS(through == (long)words);
    __asm__ volatile("wrgsbase %0" : : "r"(words + 8)); /* without a call that could be noticed */
    NUM(call_all(0, SITES, 1));
    syscall(SYS_arch_prctl, ARCH_GET_GS, &after);
    IS(after == (long)(words + 8));
    CHILD("child", {
        syscall(SYS_arch_prctl, ARCH_GET_GS, &after);
        IS(after == (long)(words + 8));
        NUM(call_all(0, SITES, 1));
    });
    RES(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
    NUM(call_all(0, SITES, 1));
}

static char *step_function;
static char steps[4096];
static int nsteps;

static void on_step(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    long offset = (char *)regs[REG_RIP] - step_function;
    if (offset >= 0 && offset < 64)
        nsteps += snprintf(steps + nsteps, sizeof steps - nsteps, " %ld%s", offset, (void *)regs[REG_RIP] == info->si_addr ? "" : "!");
}

static void stepping(void)
{
    SECTION("single steps");
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    for (int i = 64; i < 96; i++) {
        long result;
        step_function = (char *)TABLE[i].call;
        nsteps = 0;
        __asm__ volatile("sub $256, %%rsp\n pushfq\n orl $0x100, (%%rsp)\n popfq\n call *%1\n"
                         "pushfq\n andl $~0x100, (%%rsp)\n popfq\n add $256, %%rsp\n"
                         : "=&a"(result)
                         : "r"(step_function)
                         : "rcx", "r11", "rdi", "rsi", "rdx", "memory", "cc");
        say("site %d:%s, %s", i, steps, result == getppid() ? "right" : "WRONG");
        __asm__ volatile("sub $256, %%rsp\n pushfq\n orl $0x100, (%%rsp)\n popfq\n jmp 2f\n"
                         "2: call *%1\n"
                         "pushfq\n andl $~0x100, (%%rsp)\n popfq\n add $256, %%rsp\n"
                         : "=&a"(result)
                         : "r"(step_function)
                         : "rcx", "r11", "rdi", "rsi", "rdx", "memory", "cc");
    }
    signal(SIGTRAP, SIG_DFL);
}

int main(int argc, char **argv)
{
    GUARD(90);
    self = argv[0];
    if (argc > 1) {
        NUM(call_all(0, SITES, 4));
        return 0;
    }
    vdso = (char *)getauxval(AT_SYSINFO_EHDR);
    copy = malloc(code_end - code_begin);
    memcpy(copy, code_begin, code_end - code_begin);
    IS(code_end - code_begin > 8 * 4096);
    threads();
    signals();
    processes();
    reading();
    protection();
    protection_threads();
    mapping();
    neighbourhood();
    segment();
    stepping();
    reading();
    return 0;
}
