/* Faults as signals: codes and addresses, repair in the handler, FP state over handlers, frames. */
#include "check.h"
#include <setjmp.h>
#include <sys/ucontext.h>

static sigjmp_buf env;
static siginfo_t info;
static volatile int count;
static char *page;
static volatile long trap_offset;

static void jump(int number, siginfo_t *i, void *context)
{
    (void)number, (void)context;
    info = *i;
    siglongjmp(env, 1);
}

static void repair(int number, siginfo_t *i, void *context)
{
    (void)number, (void)context;
    info = *i;
    count++;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void skip(int number, siginfo_t *i, void *context)
{
    ucontext_t *uc = context;
    (void)number;
    info = *i;
    count++;
    uc->uc_mcontext.gregs[REG_RIP] += trap_offset;
}

static void edit(int number, siginfo_t *i, void *context)
{
    ucontext_t *uc = context;
    (void)number, (void)i;
    uc->uc_mcontext.gregs[REG_RAX] = 1234;
    sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void scramble(int number)
{
    (void)number;
    count++;
    __asm__ volatile("pxor %%xmm0,%%xmm0; pxor %%xmm7,%%xmm7; pxor %%xmm15,%%xmm15; fninit; fldpi; fldl2e"
                     ::: "xmm0", "xmm7", "xmm15");
    unsigned mx = 0x9f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(mx));
}

static void handle(int number, void (*function)(), int flags)
{
    struct sigaction action = {.sa_flags = flags};
    action.sa_sigaction = function;
    sigaction(number, &action, NULL);
}

#define FAULT(what, ...)                                                                          \
    do {                                                                                          \
        memset(&info, 0, sizeof info);                                                            \
        if (sigsetjmp(env, 1) == 0) {                                                             \
            __VA_ARGS__;                                                                          \
            say("%s: no fault", what);                                                            \
        } else                                                                                    \
            say("%s: %s code %d", what, signame(info.si_signo), info.si_code);                    \
    } while (0)

int main(void)
{
    GUARD(60);
    volatile char *null = NULL;
    page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; i++)
        handle(faults[i], jump, SA_SIGINFO);

    SECTION("kinds");
    FAULT("read of address 0", null[0]);
    IS(info.si_addr == NULL);
    FAULT("write to address 0", null[1] = 1);
    IS(info.si_addr == (void *)1);
    FAULT("write to a read-only page", page[5] = 1);
    IS(info.si_addr == page + 5);
    mprotect(page, 4096, PROT_NONE);
    FAULT("read of PROT_NONE", *(volatile char *)page);
    munmap(page + 4096, 4096);
    FAULT("read after munmap", *(volatile char *)(page + 4100));
    IS(info.si_addr == page + 4100);
    FAULT("non-canonical address", *(volatile char *)0x8000000000000000);
    IS(info.si_addr == NULL);
    FAULT("call of a data page", mprotect(page, 4096, PROT_READ | PROT_WRITE); ((void (*)(void))page)());
    IS(info.si_addr == page);
    FAULT("division by zero", __asm__ volatile("xor %%ecx,%%ecx; mov $1,%%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx"));
    FAULT("overflow in division", __asm__ volatile("mov $-1,%%ecx; mov $0x80000000,%%eax; cltd; idiv %%ecx" ::: "eax", "ecx", "edx"));
    FAULT("undefined instruction", __asm__ volatile("ud2"));
    FAULT("privileged instruction", __asm__ volatile("hlt"));
    FAULT("breakpoint", __asm__ volatile("int3"));
    FAULT("kernel address", *(volatile char *)0xffffffff80000000);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 100);
    char *file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    FAULT("inside the file", *(volatile char *)file);
    FAULT("beyond the end of file", *(volatile char *)(file + 4096));
    IS(info.si_addr == file + 4096);
    ftruncate(fd, 0);
    FAULT("after truncation", *(volatile char *)file);
    IS(info.si_addr == file);

    SECTION("repair and return");
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handle(SIGSEGV, repair, SA_SIGINFO);
    page[10] = 'x';
    NUM(count);
    NUM(page[10]);
    for (int i = 0; i < 100; i++) {
        mprotect(page, 4096, PROT_NONE);
        page[i] = i;
    }
    NUM(count);

    SECTION("skip an instruction");
    count = 0;
    handle(SIGILL, skip, SA_SIGINFO);
    trap_offset = 2;
    __asm__ volatile("ud2; ud2; ud2");
    NUM(count);
    handle(SIGTRAP, skip, SA_SIGINFO);
    trap_offset = 0;
    count = 0;
    __asm__ volatile("int3; int3");
    NUM(count);

    SECTION("registers and mask from the frame");
    handle(SIGUSR1, edit, SA_SIGINFO);
    long rax;
    __asm__ volatile("syscall" : "=a"(rax) : "0"(SYS_tgkill), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1) : "rcx", "r11", "memory");
    NUM(rax);
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    IS(sigismember(&mask, SIGUSR2) == 1);

    SECTION("floating point survives a handler");
    count = 0;
    handle(SIGUSR1, scramble, 0);
    double a = 1.5, b = 2.25, c = 0;
    unsigned mx_before, mx_after;
    unsigned short cw_before, cw_after;
    long in[2] = {0x1122334455667788, 0x99aabbccddeeff00}, out0[2], out15[2];
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mx_before), "=m"(cw_before));
    __asm__ volatile(
        "movdqu %5,%%xmm0; movdqu %5,%%xmm15; fldl %6\n\t"
        "syscall\n\t"
        "movdqu %%xmm0,%1; movdqu %%xmm15,%2; fstpl %3"
        : "=a"(rax), "=m"(out0), "=m"(out15), "=m"(c)
        : "0"(SYS_tgkill), "m"(in), "m"(b), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1)
        : "rcx", "r11", "memory", "xmm0", "xmm15");
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mx_after), "=m"(cw_after));
    NUM(count);
    IS(memcmp(in, out0, 16) == 0);
    IS(memcmp(in, out15, 16) == 0);
    IS(c == 2.25 && a == 1.5);
    IS(mx_before == mx_after);
    IS(cw_before == cw_after);

    SECTION("fatal faults in children");
    for (int i = 0; i < 5; i++)
        signal(faults[i], SIG_DFL);
    CHILD("null", null[0] = 1);
    CHILD("ud2", __asm__ volatile("ud2"));
    CHILD("int3", __asm__ volatile("int3"));
    CHILD("blocked SEGV kills all the same", sigset_t all; sigfillset(&all); sigprocmask(SIG_SETMASK, &all, NULL); null[0] = 1);
    CHILD("ignored SEGV too", signal(SIGSEGV, SIG_IGN); null[0] = 1);
    CHILD("handler on a bad stack", handle(SIGUSR1, scramble, 0);
          __asm__ volatile("mov $8,%%rsp; syscall" ::"a"(SYS_tgkill), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1) : "rcx", "r11", "memory"));
    CHILD("sigreturn on garbage", __asm__ volatile("mov $16,%%rsp; mov $15,%%eax; syscall" ::: "memory"));
    static char altstack[32768];
    stack_t stack = {.ss_sp = altstack, .ss_size = sizeof altstack};
    sigaltstack(&stack, NULL);
    handle(SIGSEGV, jump, SA_SIGINFO | SA_ONSTACK);
    FAULT("overflowed stack, handler on another", __asm__ volatile("mov $64,%%rsp; push %%rax" ::: "memory"));
    return 0;
}
