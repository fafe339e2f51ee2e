/* crossfire: threads that signal themselves and one another, block and unblock, change the handlers and wait, all at once, on
 * alternate stacks and off them. Each signal that a thread sends itself is handled once, blocked ones wait, and others come in
 * between without harm. */
#include "check.h"

#define THREADS 5
#define STEPS 12000

static pthread_t threads[THREADS];
static volatile int running = THREADS, faults[5];
static __thread volatile long own, others;

static void on_own(int signo)
{
    double mark = ++own;
    sigset_t mask;
    asm volatile("movsd %0, %%xmm8" ::"m"(mark) : "xmm8");
    if (own % 8 == 0) {
        pthread_sigmask(SIG_BLOCK, NULL, &mask);
        if (!sigismember(&mask, SIGUSR1))
            faults[0]++;
    }
}

static void on_own_too(int signo) { on_own(signo); }
static void on_other(int signo) { others++; }

static void *body(void *number)
{
    unsigned seed = (long)number * 7919 + 1;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigset_t first, second, all;
    long raised = 0;
    sigaltstack(&stack, NULL);
    sigemptyset(&first);
    sigemptyset(&second);
    sigaddset(&first, SIGUSR1);
    sigaddset(&second, SIGUSR2);
    for (int i = 0; i < STEPS; i++) {
        seed = seed * 1103515245 + 12345;
        long before = own, from_others;
        double in = i, out = 0;
        switch (seed >> 16 & 7) {
        case 0:
        case 1:
        case 2:
            asm volatile("movsd %2, %%xmm9\n\tmov $234, %%eax\n\tsyscall\n\tmovsd %%xmm9, %0"
                         : "=m"(out), "+D"((long){getpid()})
                         : "m"(in), "S"((long)gettid()), "d"((long)SIGUSR1)
                         : "rax", "rcx", "r11", "memory", "xmm9");
            raised++;
            if (own != before + 1 || in != out)
                faults[1]++;
            break;
        case 3:
            if (threads[seed >> 20 & 3])
                pthread_kill(threads[seed >> 20 & 3], SIGUSR2);
            break;
        case 4:
            pthread_sigmask(SIG_BLOCK, &first, NULL);
            raised++;
            raise(SIGUSR1);
            if (own != before)
                faults[2]++;
            pthread_sigmask(SIG_UNBLOCK, &first, NULL);
            if (own != before + 1)
                faults[2]++;
            break;
        case 5:
            pthread_sigmask(SIG_BLOCK, &second, NULL);
            from_others = others;
            for (volatile int k = 0; k < 50; k++)
                ;
            if (others != from_others)
                faults[3]++;
            pthread_sigmask(SIG_UNBLOCK, &second, NULL);
            break;
        case 6: {
            struct sigaction action = {.sa_handler = seed >> 20 & 1 ? on_own : on_own_too, .sa_flags = (seed >> 21 & 1 ? SA_ONSTACK : 0) | SA_RESTART};
            sigaction(SIGUSR1, &action, NULL);
            break;
        }
        case 7:
            if (seed % 64 == 0)
                usleep(1);
            break;
        }
    }
    if (own != raised)
        faults[4]++;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    __atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
    while (running) /* others still send to this thread */
        sleep_ms(1);
    return NULL;
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_own};
    GUARD(90);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = on_other;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGUSR2, &action, NULL);
    threads[0] = pthread_self();
    for (long i = 1; i < THREADS; i++)
        pthread_create(&threads[i], NULL, body, (void *)i);
    body(0);
    for (int i = 1; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    say("handlers without the mask %d, lost or torn %d, while blocked %d, others while blocked %d, wrong sums %d", faults[0], faults[1], faults[2],
        faults[3], faults[4]);
    return 0;
}
