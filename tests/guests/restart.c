/* Which interrupted calls restart and which fail with EINTR: the table in signal(7). */
#include "check.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>

static volatile int hits;
static pid_t target;
static void handler(int number) { (void)number; hits++; }

/* Another process sends one SIGUSR1 as soon as the target sleeps, and then `finish` runs in it. */
#define INTERRUPT(flags, call, finish)                                                            \
    do {                                                                                          \
        struct sigaction action_ = {.sa_handler = handler, .sa_flags = flags};                    \
        sigaction(SIGUSR1, &action_, NULL);                                                       \
        hits = 0;                                                                                 \
        target = getpid();                                                                        \
        pid_t helper_ = fork();                                                                   \
        if (helper_ == 0) {                                                                       \
            await_state(target, 'S');                                                             \
            kill(target, SIGUSR1);                                                                \
            sleep_ms(10);                                                                         \
            finish;                                                                               \
            _exit(0);                                                                             \
        }                                                                                         \
        RES(call);                                                                                \
        say("  hits %d, flags %s", hits, #flags);                                                 \
        while (waitpid(helper_, NULL, 0) < 0 && errno == EINTR)                                   \
            ;                                                                                     \
    } while (0)

#define BOTH(call, finish)                                                                        \
    INTERRUPT(0, call, finish);                                                                   \
    INTERRUPT(SA_RESTART, call, finish)

int main(void)
{
    int p[2], q[2], sv[2];
    char buf[8];
    static char block[1 << 17];
    GUARD(100);
    pipe(p);
    pipe(q);
    socketpair(AF_UNIX, SOCK_STREAM, 0, sv);

    SECTION("restarted with SA_RESTART");
    INTERRUPT(0, read(p[0], buf, 1), ;);
    INTERRUPT(SA_RESTART, read(p[0], buf, 1), write(p[1], "x", 1));
    struct iovec iov = {buf, 1};
    INTERRUPT(0, readv(p[0], &iov, 1), ;);
    INTERRUPT(SA_RESTART, readv(p[0], &iov, 1), write(p[1], "x", 1));
    fcntl(q[1], F_SETFL, O_NONBLOCK);
    while (write(q[1], block, 4096) > 0)
        ;
    fcntl(q[1], F_SETFL, 0);
    INTERRUPT(0, write(q[1], "y", 1), ;);
    INTERRUPT(SA_RESTART, write(q[1], "y", 1), read(q[0], block, 4096));
    while (fcntl(q[0], F_SETFL, O_NONBLOCK), read(q[0], block, sizeof block) > 0)
        ;
    INTERRUPT(SA_RESTART, write(q[1], block, 1 << 17), ;);
    while (read(q[0], block, sizeof block) > 0)
        ;
    INTERRUPT(0, recv(sv[0], buf, 1, 0), ;);
    INTERRUPT(SA_RESTART, recv(sv[0], buf, 1, 0), write(sv[1], "x", 1));
    int status;
    pid_t sleeper = fork();
    if (sleeper == 0) {
        sleep_ms(60000);
        _exit(0);
    }
    INTERRUPT(0, waitpid(sleeper, &status, 0), ;);
    INTERRUPT(SA_RESTART, waitpid(sleeper, &status, 0) == sleeper, kill(sleeper, SIGKILL));
    int fd = open("lock", O_RDWR | O_CREAT, 0600);
    int fd2 = open("lock", O_RDWR | O_CREAT, 0600);
    flock(fd, LOCK_EX);
    INTERRUPT(0, flock(fd2, LOCK_EX), ;);
    INTERRUPT(SA_RESTART, flock(fd2, LOCK_EX), flock(fd, LOCK_UN));
    static int word;
    INTERRUPT(0, syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0), ;);
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    INTERRUPT(SA_RESTART, syscall(SYS_futex, shared, FUTEX_WAIT, 0, NULL, NULL, 0), syscall(SYS_futex, shared, FUTEX_WAKE, 1, NULL, NULL, 0));

    SECTION("never restarted");
    struct timespec second = {0, 200000000}, left = {0, 0};
    struct pollfd pfd = {p[0], POLLIN, 0};
    fd_set set;
    int ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &event);
    BOTH(pause(), ;);
    sigset_t none;
    sigemptyset(&none);
    BOTH(sigsuspend(&none), ;);
    sigset_t usr2;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    BOTH(sigwaitinfo(&usr2, NULL), ;);
    BOTH(poll(&pfd, 1, -1), ;);
    BOTH(poll(&pfd, 1, 5000), ;);
    BOTH(ppoll(&pfd, 1, NULL, NULL), ;);
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    BOTH(select(p[0] + 1, &set, NULL, NULL, NULL), ;);
    BOTH(pselect(p[0] + 1, &set, NULL, NULL, NULL, NULL), ;);
    BOTH(epoll_wait(ep, &event, 1, -1), ;);
    BOTH(nanosleep(&second, &left), ;);
    IS(left.tv_sec == 0 && left.tv_nsec > 0);
    BOTH(clock_nanosleep(CLOCK_MONOTONIC, 0, &second, &left), ;);
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += 5;
    BOTH(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL), ;);
    struct timeval timeout = {5, 0};
    setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    BOTH(recv(sv[0], buf, 1, 0), ;);

    SECTION("an ignored signal interrupts nothing");
    signal(SIGUSR1, SIG_IGN);
    pid_t helper = fork();
    target = getppid();
    if (helper == 0) {
        pid_t parent = getppid();
        await_state(parent, 'S');
        kill(parent, SIGUSR1);
        kill(parent, SIGWINCH);
        sleep_ms(10);
        write(p[1], "z", 1);
        _exit(0);
    }
    RES(read(p[0], buf, 1));
    reap("helper", helper);

    SECTION("stop and continue");
    helper = fork();
    if (helper == 0) {
        pid_t parent = getppid();
        await_state(parent, 'S');
        kill(parent, SIGSTOP);
        await_state(parent, 'T');
        kill(parent, SIGCONT);
        sleep_ms(10);
        write(p[1], "z", 1);
        _exit(0);
    }
    RES(read(p[0], buf, 1));
    reap("helper", helper);
    helper = fork();
    if (helper == 0) {
        pid_t parent = getppid();
        await_state(parent, 'S');
        kill(parent, SIGSTOP);
        await_state(parent, 'T');
        kill(parent, SIGCONT);
        sleep_ms(10);
        write(p[1], "z", 1);
        _exit(0);
    }
    RES(poll(&pfd, 1, 5000));
    reap("helper", helper);
    read(p[0], buf, 1);
    helper = fork();
    if (helper == 0) {
        pid_t parent = getppid();
        await_state(parent, 'S');
        kill(parent, SIGSTOP);
        await_state(parent, 'T');
        kill(parent, SIGCONT);
        _exit(0);
    }
    long start = now_ms();
    second.tv_nsec = 100000000;
    RES(nanosleep(&second, NULL));
    IS(now_ms() - start >= 100);
    reap("helper", helper);
    RES(syscall(SYS_restart_syscall));
    return 0;
}
