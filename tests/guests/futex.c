/* The futex call itself: wait, wake, bitsets, requeue, wake-op, timeouts, robust lists. */
#include "check.h"
#include <linux/futex.h>

static int word, other;
static int *shared;
static volatile int ready, woken;

static long futex(int *at, int op, int value, const void *timeout, int *at2, int value3)
{
    return syscall(SYS_futex, at, op, value, timeout, at2, value3);
}

struct job {
    int *at, op, value, bits;
};

static void *waiter(void *argument)
{
    struct job *job = argument;
    __sync_fetch_and_add(&ready, 1);
    long result = futex(job->at, job->op, job->value, NULL, NULL, job->bits);
    if (result == 0)
        __sync_fetch_and_add(&woken, 1);
    return (void *)(result < 0 ? -(long)errno : result);
}

static pthread_t threads[8];

static void start(int number, struct job *jobs)
{
    ready = woken = 0;
    for (int i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, waiter, &jobs[i]);
    while (ready < number)
        sleep_ms(1);
    sleep_ms(30);
}

static void join(int number)
{
    for (int i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
}

static void *dies_with_lock(void *argument)
{
    pthread_mutex_lock(argument);
    return NULL;
}

int main(void)
{
    struct timespec zero = {0, 0}, some = {0, 20000000}, bad = {0, -1}, negative = {-1, 0}, at;
    GUARD(60);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    SECTION("errors");
    RES(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAIT, 0, &zero, NULL, 0));
    RES(futex(&word, FUTEX_WAIT, 0, &some, NULL, 0));
    RES(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
    RES(futex(&word, FUTEX_WAIT, 0, &negative, NULL, 0));
    RES(futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0));
    RES(futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, &zero, NULL, 0));
    RES(futex((int *)8, FUTEX_WAIT, 0, &zero, NULL, 0));
    RES(futex((int *)8, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    RES(futex((int *)8, FUTEX_WAKE, 1, NULL, NULL, 0));
    RES(futex((int *)9, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAIT_BITSET, 0, &zero, NULL, 0));
    RES(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE, 0, NULL, NULL, 0));
    RES(futex(&word, 99, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_FD, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));

    SECTION("timeouts");
    long start_ms = now_ms();
    some.tv_nsec = 60000000;
    RES(futex(&word, FUTEX_WAIT_PRIVATE, 0, &some, NULL, 0));
    IS(now_ms() - start_ms >= 60);
    clock_gettime(CLOCK_MONOTONIC, &at);
    RES(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, NULL, -1));
    at.tv_nsec += 50000000;
    if (at.tv_nsec >= 1000000000)
        at.tv_sec++, at.tv_nsec -= 1000000000;
    start_ms = now_ms();
    RES(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, NULL, -1));
    IS(now_ms() - start_ms >= 20);
    clock_gettime(CLOCK_REALTIME, &at);
    RES(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &at, NULL, -1));

    SECTION("wake");
    struct job jobs[8];
    for (int i = 0; i < 8; i++)
        jobs[i] = (struct job){&word, FUTEX_WAIT_PRIVATE, 0, 0};
    start(4, jobs);
    RES(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0));
    join(4);
    NUM(woken);

    SECTION("bitsets");
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct job){&word, FUTEX_WAIT_BITSET_PRIVATE, 0, 1 << i};
    start(4, jobs);
    RES(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 16));
    RES(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 5));
    RES(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    RES(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, -1));
    join(4);

    SECTION("requeue");
    for (int i = 0; i < 5; i++)
        jobs[i] = (struct job){&word, FUTEX_WAIT_PRIVATE, 0, 0};
    start(5, jobs);
    RES(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2L, &other, 1));
    RES(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2L, &other, 0));
    RES(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
    RES(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)10L, &other, 0));
    RES(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
    RES(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
    join(5);
    RES(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)2L, &other, 0));
    RES(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)-1L, &other, 0));

    SECTION("wake op");
    jobs[0] = (struct job){&word, FUTEX_WAIT_PRIVATE, 0, 0};
    jobs[1] = (struct job){&other, FUTEX_WAIT_PRIVATE, 0, 0};
    start(2, jobs);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)));
    NUM(other);
    join(2);
    start(0, jobs);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_GT, 100)));
    NUM(other);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, FUTEX_OP(FUTEX_OP_OR, 6, FUTEX_OP_CMP_NE, 0)));
    NUM(other);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, FUTEX_OP(FUTEX_OP_ANDN, 3, FUTEX_OP_CMP_LT, 0)));
    NUM(other);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, FUTEX_OP(FUTEX_OP_XOR, 15, FUTEX_OP_CMP_LE, 0)));
    NUM(other);
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &other, 15 << 28));
    RES(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, (int *)8, 0));

    SECTION("between processes");
    pid_t pid = fork();
    if (pid == 0)
        _exit(futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 3 : 4);
    await_state(pid, 'S');
    RES(futex(shared, FUTEX_WAKE, 10, NULL, NULL, 0));
    reap("waiter", pid);
    pid = fork();
    if (pid == 0) {
        some.tv_nsec = 100000000;
        _exit(futex(&word, FUTEX_WAIT, 0, &some, NULL, 0) < 0 && errno == ETIMEDOUT ? 3 : 4);
    }
    await_state(pid, 'S');
    RES(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));
    reap("private memory is another futex", pid);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 4096);
    int *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int *two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    jobs[0] = (struct job){one, FUTEX_WAIT, 0, 0};
    start(1, jobs);
    RES(futex(two, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
    RES(futex(two, FUTEX_WAKE, 10, NULL, NULL, 0));
    join(1);

    SECTION("robust mutexes");
    pthread_mutexattr_t attribute;
    pthread_mutexattr_init(&attribute);
    pthread_mutexattr_setrobust(&attribute, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attribute, PTHREAD_PROCESS_SHARED);
    pthread_mutex_t *mutex = (void *)(shared + 16);
    ERR(pthread_mutex_init(mutex, &attribute));
    pthread_t thread;
    pthread_create(&thread, NULL, dies_with_lock, mutex);
    pthread_join(thread, NULL);
    ERR(pthread_mutex_lock(mutex));
    ERR(pthread_mutex_consistent(mutex));
    ERR(pthread_mutex_unlock(mutex));
    CHILD("dies with the lock", pthread_mutex_lock(mutex));
    ERR(pthread_mutex_lock(mutex));
    ERR(pthread_mutex_consistent(mutex));
    ERR(pthread_mutex_unlock(mutex));
    int go[2];
    pipe(go);
    pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(mutex);
        write(go[1], "x", 1);
        pause();
    }
    char byte;
    read(go[0], &byte, 1);
    pid_t killer = fork();
    if (killer == 0) {
        sleep_ms(30);
        kill(pid, SIGKILL);
        _exit(0);
    }
    ERR(pthread_mutex_lock(mutex));
    ERR(pthread_mutex_unlock(mutex));
    ERR(pthread_mutex_lock(mutex));
    reap("owner", pid);
    reap("killer", killer);
    void *head;
    size_t length;
    RES(syscall(SYS_get_robust_list, 0, &head, &length));
    NUM(length);
    RES(syscall(SYS_get_robust_list, 99999, &head, &length));
    RES(syscall(SYS_set_robust_list, head, 7L));
    RES(syscall(SYS_set_robust_list, head, length));
    return 0;
}
