/* Writes through /proc/self/mem into memory that is not writable: constants, and code whose call sites are hot. */
#include "check.h"
#include <ucontext.h>

#define CALLS 300

static const char constant[8192] __attribute__((aligned(4096))) = "as it was";
static volatile int traps;

static unsigned char *code;
static int endbr; /* how getppid begins: endbr64, or mov $110, %eax */

/* Does what the overwritten instruction did. */
static void trapped(int number, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number;
    (void)info;
    if (regs[REG_RIP] != (long)code + 1)
        _exit(98);
    if (!endbr)
        regs[REG_RAX] = SYS_getppid;
    regs[REG_RIP] = (long)code + (endbr ? 4 : 5);
    traps++;
}

static int hammer(void)
{
    int wrong = 0;
    for (int i = 0; i < CALLS; i++)
        wrong += getppid() <= 0;
    return wrong;
}

int main(void)
{
    int fd = open("/proc/self/mem", O_RDWR);
    const volatile char *seen = constant;

    SECTION("constants");
    RES(pwrite(fd, "is", 2, (long)constant));
    SHOW((char *)constant, 9);
    RES(lseek(fd, (long)constant + 3, SEEK_SET) == (long)constant + 3);
    RES(write(fd, "at", 2));
    RES(lseek(fd, 0, SEEK_CUR) - (long)constant);
    SHOW((char *)constant, 9);
    pid_t pid = fork();
    if (!pid) {
        fd = open("/proc/self/mem", O_RDWR);
        if (pwrite(fd, "child", 5, (long)constant) != 5)
            _exit(1);
        _exit(seen[0]);
    }
    int status;
    waitpid(pid, &status, 0);
    NUM(WEXITSTATUS(status));
    NUM(seen[0]);

    SECTION("refusals");
    char *page = mmap(NULL, 8192, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    RES(pwrite(fd, "x", 1, (long)page));
    munmap(page, 8192);
    RES(pwrite(fd, "x", 1, (long)page));
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    RES(pwrite(fd, "x", 1, (long)page));
    NUM(page[0]);
    RES(mprotect(page, 4096, PROT_READ));
    NUM(page[0]);

    SECTION("breakpoints");
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    unsigned char before[16], after[16];
    code = (unsigned char *)getppid;
    NUM(hammer());
    pread(fd, before, sizeof before, (long)code);
    endbr = before[0] == 0xf3;
    for (int i = 0; i < 20; i++) {
        traps = 0;
        if (pwrite(fd, "\xcc", 1, (long)code) != 1)
            say("not written");
        if (hammer() || traps != CALLS)
            say("%d traps", traps);
        if (pwrite(fd, before, 1, (long)code) != 1)
            say("not written back");
        pread(fd, after, sizeof after, (long)code);
        if (memcmp(before, after, sizeof after))
            say("not as before");
        if (hammer() || traps != CALLS)
            say("wrong result");
    }
    NUM(traps);
    return 0;
}
