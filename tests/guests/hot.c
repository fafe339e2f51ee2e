/* Calls made so often from one place that they no longer trap: results, errors and wake-ups stay the same. */
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#define ROUNDS 200

static int word;
static long futex(int op, int value, int bits)
{
    return syscall(SYS_futex, &word, op, value, NULL, NULL, bits);
}

static volatile sig_atomic_t caught;
static void handler(int signo) { caught += signo; }

/* Two threads that hand a number to one another through the word. */
static void *partner(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) != 2 * i + 1)
            futex(FUTEX_WAIT_PRIVATE, 2 * i, 0);
        __atomic_store_n(&word, 2 * i + 2, __ATOMIC_SEQ_CST);
        futex(FUTEX_WAKE_PRIVATE, 1, 0);
    }
    return argument;
}

static void hand_over(void)
{
    pthread_t thread;
    word = 0;
    pthread_create(&thread, NULL, partner, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        __atomic_store_n(&word, 2 * i + 1, __ATOMIC_SEQ_CST);
        futex(FUTEX_WAKE_PRIVATE, 1, 0);
        while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) != 2 * i + 2)
            futex(FUTEX_WAIT_PRIVATE, 2 * i + 1, 0);
    }
    pthread_join(thread, NULL);
    say("handed over %d times", word / 2);
}

/* The same sum of results and errors each time it runs. */
static long sum;
static void add(long result) { sum = sum * 31 + (result < 0 ? -errno : result); }

static void futexes(void)
{
    word = 7;
    add(futex(FUTEX_WAIT_PRIVATE, 6, 0));
    add(futex(FUTEX_WAKE_PRIVATE, 1, 0));
    add(futex(FUTEX_WAIT_BITSET_PRIVATE, 7, 0));
    add(futex(FUTEX_WAIT_BITSET_PRIVATE, 6, 1));
    add(futex(FUTEX_WAKE_BITSET_PRIVATE, 1, 0));
    add(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    add(syscall(SYS_futex, 8, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
    add(syscall(SYS_futex, 1ul << 47, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}

static void masks(void)
{
    sigset_t set, old;
    unsigned long bits = 0, before = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGKILL);
    add(sigprocmask(SIG_BLOCK, &set, &old));
    add(sigismember(&old, SIGUSR1));
    caught = 0;
    raise(SIGUSR1);
    add(caught);
    add(sigprocmask(SIG_BLOCK, NULL, &old));
    add(sigismember(&old, SIGUSR1) * 2 + sigismember(&old, SIGKILL));
    add(sigprocmask(SIG_UNBLOCK, &set, &old));
    add(caught);
    add(syscall(SYS_rt_sigprocmask, 9, &bits, &before, 8));
    add(syscall(SYS_rt_sigprocmask, 9, NULL, &before, 8));
    add(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &bits, NULL, 4));
    add(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 8, NULL, 8));
    add(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, 8, 8));
}

static void actions(void)
{
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    sigemptyset(&act.sa_mask);
    sigaddset(&act.sa_mask, SIGSTOP);
    sigaddset(&act.sa_mask, SIGUSR2);
    add(sigaction(SIGUSR1, &act, &old));
    add(sigaction(SIGUSR1, NULL, &old));
    add(old.sa_handler == handler);
    add(old.sa_flags & SA_RESTART);
    add(sigismember(&old.sa_mask, SIGSTOP) + 2 * sigismember(&old.sa_mask, SIGUSR2));
    add(sigaction(SIGKILL, &act, NULL));
    add(sigaction(65, &act, NULL));
    act.sa_handler = SIG_IGN;
    add(sigaction(SIGUSR2, &act, NULL));
    caught = 0;
    raise(SIGUSR2);
    raise(SIGUSR1);
    add(caught);
}

static int ends[2], instance;
static void polled(void)
{
    struct pollfd fds[20] = {{ends[0], POLLIN, 7}, {ends[1], POLLOUT, 7}, {-1, POLLIN, 7}, {999, POLLIN, 7}};
    struct epoll_event events[20] = {{0}};
    char byte = 1;
    for (int i = 4; i < 20; i++)
        fds[i] = fds[0];
    for (int full = 0; full < 2; full++) {
        add(poll(fds, 4, -1));
        for (int i = 0; i < 4; i++)
            add(fds[i].revents);
        add(poll(fds, 1, 0));
        add(poll(fds, 20, 0));
        add(fds[19].revents);
        add(epoll_wait(instance, events, 20, 0));
        add(events[0].events + events[0].data.u32);
        add(epoll_wait(instance, events, 1, 0));
        add(epoll_wait(instance, events, 0, 0));
        add(epoll_wait(ends[0], events, 1, 0));
        add(epoll_wait(999, events, 1, 0));
        if (!full)
            write(ends[1], &byte, 1);
        else
            read(ends[0], &byte, 1);
    }
    add(poll(NULL, 0, 0));
    add(poll((struct pollfd *)8, 1, 0));
}

/* An array that ends where the memory ends. */
static void at_the_edge(void)
{
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pollfd *last = (struct pollfd *)(page + 4096 - sizeof *last);
    struct epoll_event *event = (struct epoll_event *)(page + 4096 - sizeof *event);
    munmap(page + 4096, 4096);
    write(ends[1], "", 1);
    *last = (struct pollfd){ends[0], POLLIN, 0};
    add(poll(last, 1, 0));
    add(last->revents);
    add(epoll_wait(instance, event, 1, 0));
    add(event->events);
    read(ends[0], page, 1);
    munmap(page, 4096);
}

/* Time limits: as relative and absolute times, of several calls, some of them wrong. */
static void limits(void)
{
    struct timespec soon = {0, 20000}, zero = {0, 0}, bad = {0, 1000000000}, negative = {-1, 0}, past = {0, 5};
    struct pollfd one = {ends[0], POLLIN, 7};
    struct epoll_event event;
    unsigned long mask = 0;
    word = 3;
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 3, &soon, NULL, 0));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 4, &soon, NULL, 0));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 3, &bad, NULL, 0));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 3, &negative, NULL, 0));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 3, 8, NULL, 0));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 3, &past, NULL, 1));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 3, &past, NULL, 1));
    add(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 3, &bad, NULL, 0));
    add(ppoll(&one, 1, &zero, NULL));
    add(ppoll(&one, 1, &soon, NULL));
    add(ppoll(&one, 1, &bad, NULL));
    add(syscall(SYS_ppoll, &one, 1, &zero, &mask, 4));
    add(syscall(SYS_ppoll, &one, 1, 8, NULL, 8));
    add(epoll_wait(instance, &event, 1, 1));
    add(syscall(SYS_epoll_pwait, instance, &event, 1, 0, NULL, 0));
    add(syscall(SYS_epoll_pwait, instance, &event, 1, 1, NULL, 0));
    add(syscall(SYS_epoll_pwait, instance, &event, 1, 0, &mask, 4));
    add(epoll_wait(instance, (struct epoll_event *)8, 1, 0));
}

static void selects(void)
{
    fd_set in, out;
    struct timeval none = {0, 0};
    for (int full = 0; full < 2; full++) {
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_SET(ends[0], &in);
        FD_SET(ends[1], &out);
        add(select(ends[1] + 1, &in, &out, NULL, &none));
        add(FD_ISSET(ends[0], &in) * 2 + FD_ISSET(ends[1], &out));
        FD_SET(ends[0], &in);
        FD_SET(900, &in);
        add(select(ends[1] + 1, &in, NULL, NULL, &none)); /* not looked at, and left alone */
        add(FD_ISSET(900, &in));
        add(pselect(10, &in, &out, NULL, &(struct timespec){0}, NULL));
        FD_ZERO(&in);
        FD_SET(ends[0], &in);
        add(select(ends[0] + 1, &in, NULL, &out, full ? NULL : &none));
        char byte;
        if (!full)
            write(ends[1], &byte, 1);
        else
            read(ends[0], &byte, 1);
    }
}

/* Several ready at once, of each kind, in order, and what stays afterwards. */
static void events(void)
{
    static int pair[4][2], made;
    struct epoll_event found[8], wanted[4] = {{EPOLLIN, {.u64 = 1}}, {EPOLLIN | EPOLLET, {.u64 = 2}}, {EPOLLIN | EPOLLONESHOT, {.u64 = 3}}, {EPOLLIN, {.u64 = 1ul << 63}}};
    char byte;
    if (!made)
        for (int i = 0; i < 4; i++)
            pipe(pair[i]);
    made = 1;
    int fd = epoll_create1(0);
    for (int i = 0; i < 4; i++) {
        epoll_ctl(fd, EPOLL_CTL_ADD, pair[i][0], &wanted[i]);
        write(pair[i][1], &byte, 1);
    }
    for (int limit = 4; limit > 0; limit--) {
        int n = epoll_wait(fd, found, limit, 0);
        add(n);
        for (int i = 0; i < n; i++)
            add(found[i].events + found[i].data.u64);
    }
    write(pair[1][1], &byte, 1);
    epoll_ctl(fd, EPOLL_CTL_MOD, pair[2][0], &wanted[2]);
    for (int i = 0; i < 3; i++) {
        add(epoll_wait(fd, found, 1, 0));
        add(found[0].data.u64);
    }
    for (int i = 0; i < 4; i++)
        read(pair[i][0], &byte, 1);
    read(pair[1][0], &byte, 1);
    add(epoll_wait(fd, found, 4, 0));
    close(fd);
}

/* A thread that waits is woken, and one whose wait a handler interrupts says so. */
static void *wakes(void *argument)
{
    char byte = 0;
    usleep(300);
    write(ends[1], &byte, 1);
    return NULL;
}

static volatile int through;
static void *interrupts(void *main_thread)
{
    while (!through) { /* the first may come before the wait */
        usleep(1000);
        pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
    }
    return NULL;
}

static void woken(void)
{
    pthread_t thread, self = pthread_self();
    struct epoll_event event = {0};
    struct timespec second = {5, 0};
    char byte;
    pthread_create(&thread, NULL, wakes, NULL);
    add(epoll_wait(instance, &event, 1, 5000));
    add(event.data.u32);
    read(ends[0], &byte, 1);
    pthread_join(thread, NULL);
    through = 0;
    pthread_create(&thread, NULL, interrupts, &self);
    add(epoll_wait(instance, &event, 1, 5000));
    through = 1;
    pthread_join(thread, NULL);
    through = 0;
    pthread_create(&thread, NULL, interrupts, &self);
    add(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, word, &second, NULL, 0));
    through = 1;
    pthread_join(thread, NULL);
}

static void repeat(const char *name, void (*function)(void))
{
    long first = 0;
    int same = 0;
    for (int i = 0; i < ROUNDS; i++) {
        sum = 0;
        function();
        if (i == 0)
            first = sum;
        same += sum == first;
    }
    say("%s: %lx, the same %d times", name, first, same);
}

int main(void)
{
    GUARD(60);
    struct epoll_event wanted = {EPOLLIN, {.u32 = 42}};
    signal(SIGUSR1, handler);
    repeat("futexes", futexes);
    repeat("masks", masks);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handler}, NULL);
    actions();
    repeat("actions", actions);
    pipe(ends);
    instance = epoll_create1(0);
    epoll_ctl(instance, EPOLL_CTL_ADD, ends[0], &wanted);
    repeat("polls", polled);
    repeat("edge", at_the_edge);
    repeat("limits", limits);
    repeat("selects", selects);
    repeat("events", events);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handler}, NULL);
    repeat("woken", woken);
    hand_over();
    hand_over();
    return 0;
}
