/* ptrace(2) with arguments that make no sense: the same answers, and nobody is harmed. */
#include "check.h"
#include <sys/ptrace.h>
#include <sys/user.h>

#define ROUNDS 6000

static unsigned long state = 88172645463325252ul;
static unsigned pick(unsigned n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 20) % n;
}

static char buffer[65536] __attribute__((aligned(4096)));
static const char constant[8192] __attribute__((aligned(4096))) = "constant";

/* None of these lets the tracee go on. */
static const int requests[] = {
    PTRACE_PEEKTEXT, PTRACE_PEEKDATA, PTRACE_PEEKUSER, PTRACE_POKETEXT, PTRACE_POKEDATA, PTRACE_POKEUSER, PTRACE_GETREGS, PTRACE_SETREGS,
    PTRACE_GETFPREGS, PTRACE_SETFPREGS, PTRACE_ATTACH, PTRACE_SETOPTIONS, PTRACE_GETEVENTMSG, PTRACE_GETSIGINFO, PTRACE_SETSIGINFO,
    PTRACE_GETREGSET, PTRACE_SETREGSET, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_LISTEN, PTRACE_PEEKSIGINFO, PTRACE_GETSIGMASK,
    PTRACE_SETSIGMASK, PTRACE_GET_SYSCALL_INFO, 10, 11, 18, 19, 20, 22, 23, 34, 100, 0x5000, -1,
};

int main(void)
{
    GUARD(60);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    char *hole = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(hole + 4096, 4096);
    const unsigned long places[] = {
        0, 1, 7, 8, 16, 100, 144, 215, 216, 512, 840, 1000, 0x202, (unsigned long)buffer, (unsigned long)buffer + 3, (unsigned long)constant,
        (unsigned long)constant + 4092, (unsigned long)hole + 4090, (unsigned long)hole + 8192, (unsigned long)hole + 4096, 1ul << 47,
        1ul << 63, -1ul, -4096ul, 0x7ffffffff000 - 4, 0xffffffffff600000,
    };
    enum { PLACES = sizeof places / sizeof *places, REQUESTS = sizeof requests / sizeof *requests };
    struct iovec io[4] = {{buffer, 8}, {buffer, sizeof buffer}, {hole + 4090, 512}, {(void *)8, 216}};
    unsigned counts[REQUESTS][134] = {{0}};
    for (int i = 0; i < ROUNDS; i++) {
        unsigned which = pick(REQUESTS);
        unsigned long addr = places[pick(PLACES)], data = places[pick(PLACES)];
        int request = requests[which];
        if (request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) {
            addr = (const unsigned long[]){1, 2, 0x202, 77}[pick(4)];
            io[0].iov_len = 8 * pick(30), io[1].iov_len = pick(2) ? 4096 : 216, io[2].iov_len = 512, io[3].iov_len = 216;
            if (pick(4))
                data = (unsigned long)&io[pick(4)];
            if (request == PTRACE_SETREGSET && addr == 0x202)
                continue; /* its size is the machine's */
        }
        memset(buffer, (int)pick(3) * 85, 1024); /* no other code segment: the registers would be another set then */
        memset(hole, 0, 4096), memset(hole + 8192, 0, 4096);
        if (request == PTRACE_SETOPTIONS && (data & ~0xfful) == 0 && data & 0x80)
            continue;
        errno = 0;
        long result = syscall(SYS_ptrace, (long)request, pick(50) ? pid : (pid_t)pick(2) - 1, addr, data);
        counts[which][result < 0 ? errno : 0]++;
        if (request == PTRACE_POKETEXT || request == PTRACE_POKEDATA || request == PTRACE_POKEUSER || request == PTRACE_PEEKUSER)
            say("%d %lx %lx: %s", request, addr < 4096 ? addr : addr >= 1ul << 47 ? addr : 1, data < 4096 ? data : 1, result < 0 ? errname(errno) : "0");
    }
    for (int i = 0; i < REQUESTS; i++)
        for (int error = 0; error < 134; error++)
            if (counts[i][error])
                say("request %#x: %u times %s", requests[i], counts[i][error], error ? errname(error) : "0");
    kill(pid, SIGKILL);
    reap("end", pid);
    return 0;
}
