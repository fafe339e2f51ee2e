/* masks: signals sent by one thread while another blocks and unblocks them without a pause. No handler may run while its
 * signal is blocked, and none may be lost. Then the errors of rt_sigprocmask, where it is called so often that it does
 * not trap any more. */
#include "check.h"

#define ROUNDS 1500
#define WARM 200

static volatile int stop, handled, early;
static _Atomic int sum;
static __thread volatile int blocked;
static sigset_t usr1, rt, none;

static long mask_call(int how, const void *new, void *old, size_t size)
{
    return syscall(SYS_rt_sigprocmask, how, new, old, size);
}

static void on_signal(int signo)
{
    if (blocked)
        early = 1;
    __atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
}

static void on_queued(int signo, siginfo_t *info, void *context)
{
    if (blocked)
        early = 1;
    sum += info->si_value.sival_int;
}

static void *flip(void *set)
{
    long change = 0;
    while (!stop) {
        pthread_sigmask(SIG_BLOCK, set, NULL);
        blocked = 1;
        for (volatile int i = 0; i < change % 40; i++)
            ;
        blocked = 0;
        if (change++ & 1)
            pthread_sigmask(SIG_UNBLOCK, set, NULL);
        else
            pthread_sigmask(SIG_SETMASK, &none, NULL);
    }
    return NULL;
}

/* Each signal has to be handled before the next one is sent. */
static void one_by_one(const char *what, pthread_t *to)
{
    long end = now_ms() + 60000;
    int i;
    handled = 0;
    for (i = 1; i <= ROUNDS; i++) {
        if (to)
            pthread_kill(*to, SIGUSR1);
        else
            kill(getpid(), SIGUSR1);
        while (handled < i && now_ms() < end)
            sched_yield();
        if (handled != i)
            break;
    }
    say("%s: %s", what, i > ROUNDS && !early ? "all came, none early" : "NO");
}

static void race(void)
{
    pthread_t one, two;
    SECTION("to a thread");
    stop = 0;
    pthread_create(&one, NULL, flip, &usr1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    one_by_one("a thread", &one);
    SECTION("to the process");
    one_by_one("the process, one thread that takes it", NULL);
    pthread_create(&two, NULL, flip, &usr1);
    one_by_one("the process, two threads that take it", NULL);
    stop = 1;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    SECTION("queued");
    stop = 0;
    pthread_create(&one, NULL, flip, &rt);
    long wanted = 0;
    for (int i = 1; i <= ROUNDS / 4; i++) {
        union sigval value = {.sival_int = i % 7};
        while (pthread_sigqueue(one, SIGRTMIN, value) == EAGAIN)
            sched_yield();
        wanted += i % 7;
    }
    for (int i = 0; i < 10000 && sum != wanted; i++)
        sleep_ms(1);
    stop = 1;
    pthread_join(one, NULL);
    IS(sum == wanted && !early);
}

/* A signal that comes in the very moment in which the thread unblocks it: no later call shows it the signal. */
static volatile int round_of_one, round_of_other;

static void *unblock_once(void *argument)
{
    for (int i = 1; i <= ROUNDS; i++) {
        pthread_sigmask(SIG_BLOCK, &usr1, NULL);
        round_of_other = i;
        for (long n = 1; round_of_one != i; n++)
            if (n % 1000 == 0)
                sched_yield();
        for (volatile int j = 0; j < i * 7 % 4000; j++)
            ;
        pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
        for (long n = 0; handled != i; n++) {
            if (n > 400000000)
                return NULL;
        }
    }
    return NULL;
}

static void moment(void)
{
    pthread_t one;
    SECTION("the moment of unblocking");
    handled = 0;
    round_of_one = round_of_other = 0;
    pthread_create(&one, NULL, unblock_once, NULL);
    long end = now_ms() + 60000;
    for (int i = 1; i <= ROUNDS && now_ms() < end; i++) {
        while (round_of_other != i && now_ms() < end)
            sched_yield();
        round_of_one = i;
        pthread_kill(one, SIGUSR1);
    }
    pthread_join(one, NULL);
    IS(handled == ROUNDS);
}

/* A thread that waits for the signal by sigsuspend or sigtimedwait gets it there, though it is blocked before and after. */
static void *suspended(void *argument)
{
    sigset_t all;
    sigfillset(&all);
    blocked = 1;
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < ROUNDS / 10; i++) {
        sigset_t open = all, old;
        struct timespec second = {20, 0};
        blocked = 0;
        if (i & 1) {
            sigdelset(&open, SIGUSR1);
            sigsuspend(&open);
        } else if (sigtimedwait(&usr1, NULL, &second) == SIGUSR1) {
            __atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
        }
        blocked = 1;
        pthread_sigmask(SIG_SETMASK, NULL, &old);
        if (!sigismember(&old, SIGUSR1) || !sigismember(&old, SIGHUP))
            early = 1;
    }
    return NULL;
}

static void waits(void)
{
    pthread_t one;
    SECTION("sigsuspend and sigtimedwait");
    handled = 0;
    pthread_create(&one, NULL, suspended, NULL);
    for (int i = 1; i <= ROUNDS / 10; i++) {
        pthread_kill(one, SIGUSR1);
        for (long end = now_ms() + 20000; handled < i && now_ms() < end;)
            sched_yield();
    }
    pthread_join(one, NULL);
    IS(handled == ROUNDS / 10 && !early);
}

static void line_of(const char *key, char *out)
{
    char data[4096], *at;
    int fd = open("/proc/thread-self/status", O_RDONLY);
    long n = read(fd, data, sizeof data - 1);
    close(fd);
    data[n > 0 ? n : 0] = 0;
    at = strstr(data, key);
    snprintf(out, 32, "%.24s", at ? at : "none");
}

static void warm(void)
{
    unsigned long bits = 0;
    for (int i = 0; i < WARM; i++)
        mask_call(SIG_BLOCK, &bits, NULL, 8);
}

static void errors(void)
{
    unsigned long bits = 1ul << (SIGUSR2 - 1), old = 7, more = ~0ul;
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), text[32];
    munmap(hole + 4096, 4096);
    SECTION("results and errors");
    warm();
    mask_call(SIG_SETMASK, &bits, NULL, 8);
    RES(mask_call(SIG_SETMASK, NULL, &old, 8));
    HEX(old);
    RES(mask_call(77, NULL, &old, 8));
    RES(mask_call(77, &bits, &old, 8));
    RES(mask_call(77, hole + 4096, &old, 8));
    RES(mask_call(77, hole + 4096, &old, 4));
    RES(mask_call(SIG_BLOCK, hole + 4090, &old, 8));
    RES(mask_call(SIG_BLOCK, (void *)(1ul << 63), &old, 8));
    RES(mask_call(SIG_BLOCK, (void *)-8ul, &old, 8));
    RES(mask_call(SIG_BLOCK, &bits, &old, 16));
    RES(mask_call(SIG_BLOCK, &more, hole + 4092, 8));
    RES(mask_call(SIG_SETMASK, NULL, &old, 8));
    HEX(old);
    mprotect(hole, 4096, PROT_READ);
    RES(mask_call(SIG_SETMASK, &bits, hole, 8));
    RES(mask_call(SIG_UNBLOCK, &more, &old, 8));
    HEX(old);
    bits = 0;
    RES(mask_call(SIG_BLOCK, &bits, &bits, 8)); /* the same memory */
    HEX(bits);
    SECTION("who sees the mask");
    bits = 0x5000;
    mask_call(SIG_SETMASK, &bits, NULL, 8);
    line_of("SigBlk", text);
    say("%s", text);
    CHILD("a fork", mask_call(SIG_BLOCK, NULL, &old, 8); HEX(old));
    CHILD("an exec", execl("/proc/self/exe", "masks", "show", NULL));
    bits = 0;
    mask_call(SIG_SETMASK, &bits, NULL, 8);
}

static void at_once(void)
{
    unsigned long bits = 1ul << (SIGUSR1 - 1), zero = 0;
    int pending = 0, right = 0;
    SECTION("what is pending comes at once");
    handled = 0;
    for (int i = 0; i < WARM; i++) {
        unsigned long waiting = 0;
        mask_call(SIG_BLOCK, &bits, NULL, 8);
        if (i & 1)
            raise(SIGUSR1);
        else
            kill(getpid(), SIGUSR1);
        syscall(SYS_rt_sigpending, &waiting, 8);
        pending += waiting == bits && handled == i;
        mask_call(i % 3 ? SIG_UNBLOCK : SIG_SETMASK, i % 3 ? &bits : &zero, NULL, 8);
        right += handled == i + 1;
    }
    NUM(pending);
    NUM(right);
    /* Ignored and then handled; discarded by SIG_IGN. */
    mask_call(SIG_BLOCK, &bits, NULL, 8);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    mask_call(SIG_UNBLOCK, &bits, NULL, 8);
    signal(SIGUSR1, on_signal);
    NUM(handled);
}

int main(int argc, char **argv)
{
    struct sigaction queued = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO};
    if (argc > 1) {
        unsigned long old = 0;
        mask_call(SIG_BLOCK, NULL, &old, 8);
        HEX(old);
        return 0;
    }
    GUARD(240);
    sigemptyset(&none);
    usr1 = rt = none;
    sigaddset(&usr1, SIGUSR1);
    sigaddset(&rt, SIGRTMIN);
    signal(SIGUSR1, on_signal);
    sigaction(SIGRTMIN, &queued, NULL);
    errors();
    at_once();
    race();
    moment();
    waits();
    return 0;
}
