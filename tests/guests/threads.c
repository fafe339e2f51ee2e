/* Threads through pthread: create and join, TLS, mutexes, conditions, barriers, exits, signals to threads. */
#include "check.h"
#include <semaphore.h>
#include <sys/prctl.h>

static __thread int tls = 5;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t semaphore;
static long counter;
static int atomic, once_count, destroyed, turn, cleaned;
static volatile int hits;
static volatile pthread_t hit_thread;

static void on_signal(int number)
{
    (void)number;
    hits++;
    hit_thread = pthread_self();
}
static void count_once(void) { once_count++; }
static void destroy(void *value) { destroyed += (long)value; }
static void clean(void *value) { cleaned += (long)value; }

static void *add(void *argument)
{
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
        __sync_fetch_and_add(&atomic, 1);
    }
    tls += (long)argument;
    return (void *)(long)tls;
}

static void *ping(void *argument)
{
    long me = (long)argument;
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me)
            pthread_cond_wait(&cond, &mutex);
        turn = 1 - me;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *meet(void *argument)
{
    (void)argument;
    long serial = 0;
    for (int i = 0; i < 20; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            serial++;
    return (void *)serial;
}

static void *specifics(void *argument)
{
    pthread_once(&once, count_once);
    pthread_setspecific(key, argument);
    if ((long)argument & 1)
        pthread_exit(argument);
    return argument;
}

static void *sleeper(void *argument)
{
    pthread_cleanup_push(clean, argument);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return NULL;
}

static void *semaphores(void *argument)
{
    (void)argument;
    for (int i = 0; i < 100; i++)
        sem_wait(&semaphore);
    return NULL;
}

static void *readers(void *argument)
{
    (void)argument;
    for (int i = 0; i < 200; i++) {
        pthread_rwlock_rdlock(&rwlock);
        long before = counter;
        sched_yield();
        if (before != counter)
            atomic++;
        pthread_rwlock_unlock(&rwlock);
    }
    return NULL;
}

static void *nothing(void *argument) { return argument; }

static void *exits_process(void *argument)
{
    (void)argument;
    sleep_ms(5);
    exit(44);
}

static void *late(void *argument)
{
    (void)argument;
    sleep_ms(20);
    say("the last thread ends the process");
    return NULL;
}

static void *waits(void *argument)
{
    sigset_t *set = argument;
    int got = 0;
    sigwait(set, &got);
    return (void *)(long)got;
}

static void *identity(void *argument)
{
    pid_t *ids = argument;
    ids[0] = getpid();
    ids[1] = syscall(SYS_gettid);
    ids[2] = getppid();
    prctl(PR_SET_NAME, "worker");
    char path[64], name[20] = "";
    sprintf(path, "/proc/self/task/%d/comm", ids[1]);
    int fd = open(path, O_RDONLY);
    read(fd, name, 19);
    close(fd);
    SHOW(name, strlen(name));
    chdir("/");
    umask(0123);
    return NULL;
}

int main(void)
{
    pthread_t threads[100];
    void *result;
    GUARD(60);

    SECTION("create and join");
    for (long i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, add, (void *)i);
    long sum = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    NUM(counter);
    NUM(atomic);
    NUM(sum);
    NUM(tls);
    int made = 0;
    for (int round = 0; round < 5; round++) {
        for (long i = 0; i < 40; i++)
            made += pthread_create(&threads[i], NULL, nothing, (void *)i) == 0;
        for (int i = 0; i < 40; i++) {
            pthread_join(threads[i], &result);
            if ((long)result != i)
                say("wrong result %ld of %d", (long)result, i);
        }
    }
    NUM(made);

    SECTION("identity");
    pid_t ids[3];
    pthread_create(&threads[0], NULL, identity, ids);
    pthread_join(threads[0], NULL);
    IS(ids[0] == getpid());
    IS(ids[1] != getpid());
    IS(ids[2] == getppid());
    IS(syscall(SYS_gettid) == getpid());
    char text[4096];
    IS(getcwd(text, sizeof text) && !strcmp(text, "/"));
    OCT(umask(022));
    prctl(PR_GET_NAME, text);
    SHOW(text, strlen(text));

    SECTION("conditions, barriers, semaphores, rwlocks");
    pthread_create(&threads[0], NULL, ping, (void *)0);
    pthread_create(&threads[1], NULL, ping, (void *)1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    NUM(turn);
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, meet, NULL);
    sum = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    NUM(sum);
    sem_init(&semaphore, 0, 0);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, semaphores, NULL);
    for (int i = 0; i < 300; i++)
        sem_post(&semaphore);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    int value;
    sem_getvalue(&semaphore, &value);
    NUM(value);
    atomic = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, readers, NULL);
    for (int i = 0; i < 100; i++) {
        pthread_rwlock_wrlock(&rwlock);
        counter++;
        pthread_rwlock_unlock(&rwlock);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    NUM(atomic);
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    pthread_mutex_lock(&mutex);
    ERR(pthread_cond_timedwait(&cond, &mutex, &at));
    ERR(pthread_mutex_trylock(&mutex));
    pthread_mutex_unlock(&mutex);
    ERR(pthread_mutex_trylock(&mutex));
    ERR(pthread_mutex_timedlock(&mutex, &at));
    pthread_mutex_unlock(&mutex);

    SECTION("keys and once");
    pthread_key_create(&key, destroy);
    for (long i = 1; i <= 4; i++)
        pthread_create(&threads[i], NULL, specifics, (void *)i);
    for (int i = 1; i <= 4; i++)
        pthread_join(threads[i], NULL);
    NUM(destroyed);
    NUM(once_count);

    SECTION("cancel");
    pthread_create(&threads[0], NULL, sleeper, (void *)7L);
    sleep_ms(5);
    ERR(pthread_cancel(threads[0]));
    pthread_join(threads[0], &result);
    IS(result == PTHREAD_CANCELED);
    NUM(cleaned);

    SECTION("signals to threads");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&threads[0], NULL, sleeper, NULL);
    pthread_create(&threads[1], NULL, sleeper, NULL);
    ERR(pthread_kill(threads[0], SIGUSR1));
    while (!hits)
        sleep_ms(1);
    IS(pthread_equal(hit_thread, threads[0]));
    ERR(pthread_kill(threads[1], SIGUSR1));
    while (hits < 2)
        sleep_ms(1);
    IS(pthread_equal(hit_thread, threads[1]));
    ERR(pthread_kill(threads[1], 0));
    pthread_create(&threads[2], NULL, waits, &set);
    sleep_ms(5);
    kill(getpid(), SIGUSR2);
    pthread_join(threads[2], &result);
    NUM((long)result);
    kill(getpid(), SIGUSR1);
    while (hits < 3)
        sleep_ms(1);
    NUM(hits);
    pthread_cancel(threads[0]);
    pthread_cancel(threads[1]);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);

    SECTION("ends of a process");
    CHILD("exit in a thread", pthread_create(&threads[0], NULL, exits_process, NULL); pause());
    CHILD("first thread ends first", pthread_create(&threads[0], NULL, late, NULL); pthread_exit(NULL));
    CHILD("_exit with threads waiting", for (int i = 0; i < 5; i++) pthread_create(&threads[i], NULL, sleeper, NULL); _exit(45));
    CHILD("kill with threads", for (int i = 0; i < 5; i++) pthread_create(&threads[i], NULL, sleeper, NULL); kill(getpid(), SIGKILL); pause());
    CHILD("a fault in one", pthread_create(&threads[0], NULL, (void *(*)(void *))8, NULL); pause());
    pid_t pid = fork();
    if (pid == 0) {
        pthread_create(&threads[0], NULL, sleeper, NULL);
        syscall(SYS_exit, 3);
    }
    await_state(pid, 'Z');
    int status;
    RES(waitpid(pid, &status, WNOHANG));
    kill(pid, SIGTERM);
    reap("zombie leader, live thread", pid);

    SECTION("fork in a thread, stop all threads");
    int told[2];
    char byte;
    pipe(told);
    pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, sleeper, NULL);
        CHILD("grandchild has one thread", char c = state_of(getpid()); say("state %c", c));
        write(told[1], "x", 1);
        pause();
        _exit(0);
    }
    read(told[0], &byte, 1);
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    show_status("all stopped", status);
    kill(pid, SIGCONT);
    waitpid(pid, &status, WCONTINUED);
    show_status("all continued", status);
    kill(pid, SIGKILL);
    reap("killed", pid);
    return 0;
}
