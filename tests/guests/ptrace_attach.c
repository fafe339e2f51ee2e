/* ptrace(2): a process of several threads, busy with calls and signals, is attached to and let go again and again, and must
 * not notice: neither in its calls' results, nor in its registers. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define P(request, pid, addr, data) ptrace((enum __ptrace_request)(request), (pid_t)(pid), (void *)(addr), (void *)(data))
#define THREADS 3
#define ROUNDS 40

struct shared {
    volatile int ready, stop, wrong;
    volatile long work[THREADS + 1];
    volatile pid_t tids[THREADS + 1];
} *shared;

static volatile __thread int handled;
static void handler(int number) { handled += number == SIGUSR1; }

/* A call with known values in all registers that it must keep. */
static int kept(void)
{
    unsigned long changed = 0;
    __asm__ volatile("mov $0x1111, %%rbx\n mov $0x2222, %%r12\n mov $0x3333, %%r13\n mov $0x4444, %%r14\n mov $0x5555, %%r15\n"
                     "movq %%r14, %%xmm7\n mov $110, %%eax\n syscall\n movq %%xmm7, %%rdx\n"
                     "xor $0x1111, %%rbx\n xor $0x2222, %%r12\n xor $0x3333, %%r13\n xor $0x4444, %%r14\n xor $0x5555, %%r15\n xor $0x4444, %%rdx\n"
                     "or %%rbx, %%r12\n or %%r13, %%r12\n or %%r14, %%r12\n or %%r15, %%r12\n or %%rdx, %%r12\n mov %%r12, %0"
                     : "=r"(changed)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r11", "r12", "r13", "r14", "r15", "xmm7", "memory");
    return changed == 0;
}

static void *busy(void *argument)
{
    long number = (long)argument;
    int pipes[2];
    pid_t parent = getppid(), pid = getpid(), tid = (pid_t)syscall(SYS_gettid);
    sigset_t set, old;
    char data[64], back[64];
    pipe(pipes);
    shared->tids[number] = tid;
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
    for (long i = 0; !shared->stop; i++) {
        int wrong = 0, before = handled;
        snprintf(data, sizeof data, "thread %ld round %ld", number, i);
        wrong |= write(pipes[1], data, sizeof data) != sizeof data;
        memset(back, 0, sizeof back);
        wrong |= (read(pipes[0], back, sizeof back) != sizeof back || memcmp(data, back, sizeof data)) << 1;
        wrong |= (getppid() != parent) << 2;
        wrong |= (!kept()) << 3;
        wrong |= (syscall(SYS_tgkill, pid, tid, SIGUSR1) || handled != before + 1) << 4;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, &old);
        syscall(SYS_tgkill, pid, tid, SIGUSR1);
        wrong |= (handled != before + 1) << 5;
        sigprocmask(SIG_SETMASK, &old, NULL);
        wrong |= (handled != before + 2) << 6;
        wrong |= (syscall(SYS_close, -1) != -1 || errno != EBADF) << 7;
        if (i % 16 == 0) {
            struct timespec little = {0, 100000};
            wrong |= (clock_nanosleep(CLOCK_MONOTONIC, 0, &little, NULL) != 0) << 8;
        }
        if (wrong)
            shared->wrong |= wrong;
        shared->work[number]++;
    }
    return NULL;
}

int main(void)
{
    GUARD(90);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGUSR1, handler);
        pthread_t threads[THREADS];
        for (long i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, busy, (void *)i);
        busy((void *)(long)THREADS);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        _exit(3);
    }
    while (shared->ready < THREADS + 1)
        sleep_ms(1);
    sleep_ms(100); /* what is called often is rewritten by now */
    int status, steps = 0, calls = 0, odd = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int seize = round & 1, how = round >> 1 & 3;
        for (int i = 0; i <= THREADS; i++) {
            if (P(seize ? PTRACE_SEIZE : PTRACE_ATTACH, shared->tids[i], 0, 0) || (seize && P(PTRACE_INTERRUPT, shared->tids[i], 0, 0)))
                say("round %d: thread %d: %s", round, i, errname(errno));
        }
        for (int i = 0; i <= THREADS; i++) {
            pid_t tid = shared->tids[i];
            long last = 0;
            int wanted = seize ? SIGTRAP | PTRACE_EVENT_STOP << 8 : SIGSTOP;
            if (waitpid(tid, &status, __WALL) != tid)
                say("round %d: wait: %s", round, errname(errno));
            for (int j = 0; j < 24; j++) {
                int number = status >> 8;
                long pass = 0;
                if (number == wanted)
                    wanted = -1;
                else if (number == SIGUSR1)
                    pass = SIGUSR1;
                else if (number == SIGTRAP)
                    steps += how == 1, calls += how == 2;
                else
                    odd++;
                if (j >= 16 && wanted == -1) {
                    last = pass;
                    break;
                }
                struct user_regs_struct regs;
                struct user_fpregs_struct fp;
                if (how == 3 && (P(PTRACE_GETREGS, tid, 0, &regs) || P(PTRACE_SETREGS, tid, 0, &regs) || P(PTRACE_GETFPREGS, tid, 0, &fp) || P(PTRACE_SETFPREGS, tid, 0, &fp)))
                    say("registers: %s", errname(errno));
                if ((how == 0 || how == 3) && wanted == -1) {
                    last = pass;
                    break;
                }
                P(how == 1 ? PTRACE_SINGLESTEP : how == 2 ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, pass);
                waitpid(tid, &status, __WALL);
            }
            if (P(PTRACE_DETACH, tid, 0, last))
                say("round %d: detach: %s", round, errname(errno));
        }
    }
    IS(steps > 100);
    IS(calls > 100);
    NUM(odd);
    long before[THREADS + 1], moved = 0;
    for (int i = 0; i <= THREADS; i++)
        before[i] = shared->work[i];
    for (int tries = 0; tries < 2000 && moved <= THREADS; tries++, sleep_ms(1)) {
        moved = 0;
        for (int i = 0; i <= THREADS; i++)
            moved += shared->work[i] > before[i];
    }
    NUM(moved);
    shared->stop = 1;
    reap("busy", pid);
    HEX(shared->wrong);
    return 0;
}
