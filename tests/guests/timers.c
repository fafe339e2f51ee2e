/* Timers: alarm, itimers, timer_create, timerfd. */
#include "check.h"
#include <sys/timerfd.h>
#include <poll.h>

static volatile int hits, code, value, overrun;

static void handler(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    hits++;
    code = info->si_code;
    value = info->si_value.sival_int;
    if (info->si_overrun > overrun)
        overrun = info->si_overrun;
}

static void *await(void *argument)
{
    int wanted = (long)argument;
    for (int i = 0; i < 3000 && hits < wanted; i++)
        sleep_ms(1);
    return NULL;
}

static void on_thread(union sigval v) { __sync_fetch_and_add(&value, v.sival_int); }

int main(void)
{
    struct itimerval it, old;
    GUARD(60);
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
    action.sa_sigaction = handler;

    SECTION("alarm");
    sigaction(SIGALRM, &action, NULL);
    NUM(alarm(100) > 50);
    NUM(alarm(0));
    NUM(alarm(0));
    RES(alarm(1));
    hits = 0;
    long start = now_ms();
    await((void *)1);
    IS(now_ms() - start >= 900);
    NUM(hits);
    NUM(code);
    alarm(0);

    SECTION("ITIMER_REAL");
    hits = 0;
    it = (struct itimerval){{0, 0}, {0, 20000}};
    RES(setitimer(ITIMER_REAL, &it, NULL));
    await((void *)1);
    NUM(hits);
    RES(getitimer(ITIMER_REAL, &old));
    NUM(old.it_value.tv_usec);
    it = (struct itimerval){{0, 5000}, {0, 5000}};
    RES(setitimer(ITIMER_REAL, &it, &old));
    await((void *)4);
    IS(hits >= 4);
    RES(getitimer(ITIMER_REAL, &old));
    IS(old.it_interval.tv_usec == 5000 && old.it_value.tv_usec <= 5000);
    it = (struct itimerval){{0, 0}, {0, 0}};
    RES(setitimer(ITIMER_REAL, &it, NULL));
    sleep_ms(10);
    hits = 0;
    sleep_ms(20);
    NUM(hits);
    it.it_value.tv_usec = 1000000;
    RES(setitimer(ITIMER_REAL, &it, NULL));
    it.it_value.tv_usec = -1;
    RES(setitimer(ITIMER_REAL, &it, NULL));
    RES(setitimer(99, &it, NULL));
    RES(getitimer(99, &old));
    RES(syscall(SYS_setitimer, ITIMER_REAL, (void *)8, NULL));
    RES(syscall(SYS_getitimer, ITIMER_REAL, (void *)8));
    it = (struct itimerval){{0, 0}, {100, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    NUM(alarm(0) >= 99);
    CHILD("not inherited", setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, &old); NUM(old.it_value.tv_sec));

    SECTION("ITIMER_VIRTUAL and ITIMER_PROF");
    int virtual[] = {ITIMER_VIRTUAL, ITIMER_PROF}, signals[] = {SIGVTALRM, SIGPROF};
    for (int i = 0; i < 2; i++) {
        sigaction(signals[i], &action, NULL);
        hits = 0;
        it = (struct itimerval){{0, 0}, {0, 20000}};
        RES(setitimer(virtual[i], &it, NULL));
        sleep_ms(60);
        NUM(hits);
        start = now_ms();
        while (!hits && now_ms() - start < 5000)
            for (volatile int spin = 0; spin < 100000; spin++)
                ;
        NUM(hits);
        IS(now_ms() - start >= 5);
    }

    SECTION("timer_create");
    timer_t timer, second;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 77};
    struct itimerspec its = {{0, 0}, {0, 20000000}}, ots;
    sigaction(SIGRTMIN + 1, &action, NULL);
    RES(timer_create(CLOCK_MONOTONIC, &event, &timer));
    hits = 0;
    RES(timer_settime(timer, 0, &its, &ots));
    NUM(ots.it_value.tv_nsec);
    await((void *)1);
    NUM(hits);
    NUM(code);
    NUM(value);
    RES(timer_gettime(timer, &ots));
    NUM(ots.it_value.tv_nsec);
    its = (struct itimerspec){{0, 5000000}, {0, 5000000}};
    RES(timer_settime(timer, 0, &its, NULL));
    await((void *)4);
    IS(hits >= 4);
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, &before);
    overrun = 0;
    sleep_ms(40);
    hits = 0;
    its = (struct itimerspec){{0, 0}, {0, 0}};
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    timer_settime(timer, 0, &its, NULL);
    IS(overrun >= 3);
    IS(timer_getoverrun(timer) >= 0);
    clock_gettime(CLOCK_MONOTONIC, &its.it_value);
    hits = 0;
    RES(timer_settime(timer, TIMER_ABSTIME, &its, NULL));
    await((void *)1);
    NUM(hits);
    RES(timer_delete(timer));
    RES(syscall(SYS_timer_delete, 999));
    RES(syscall(SYS_timer_settime, 999, 0, &its, NULL));
    RES(timer_create(99, &event, &timer));
    event.sigev_signo = 100;
    RES(timer_create(CLOCK_MONOTONIC, &event, &timer));
    event.sigev_notify = 99;
    RES(timer_create(CLOCK_MONOTONIC, &event, &timer));
    RES(timer_create(CLOCK_REALTIME, NULL, &timer));
    its = (struct itimerspec){{0, 0}, {0, 1000000000}};
    RES(timer_settime(timer, 0, &its, NULL));
    its = (struct itimerspec){{0, 0}, {0, 10000000}};
    hits = 0;
    RES(timer_settime(timer, 0, &its, NULL));
    await((void *)1);
    NUM(hits);
    RES(timer_delete(timer));
    event = (struct sigevent){.sigev_notify = SIGEV_NONE};
    RES(timer_create(CLOCK_MONOTONIC, &event, &timer));
    its.it_value.tv_sec = 100;
    RES(timer_settime(timer, 0, &its, NULL));
    RES(timer_gettime(timer, &ots));
    IS(ots.it_value.tv_sec >= 99);
    RES(timer_create(CLOCK_MONOTONIC, &event, &second));
    IS(timer != second);
    CHILD("not inherited", RES(timer_gettime(timer, &ots)));
    timer_delete(second);
    timer_delete(timer);
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 5, .sigev_notify_function = on_thread};
    value = 0;
    RES(timer_create(CLOCK_MONOTONIC, &event, &timer));
    its = (struct itimerspec){{0, 0}, {0, 10000000}};
    RES(timer_settime(timer, 0, &its, NULL));
    for (int i = 0; i < 2000 && !value; i++)
        sleep_ms(1);
    NUM(value);
    timer_delete(timer);

    SECTION("timerfd");
    int fd;
    uint64_t count = 0;
    RES(timerfd_create(99, 0));
    RES(timerfd_create(CLOCK_MONOTONIC, 0x1000000));
    OK(fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    HEX(fcntl(fd, F_GETFL));
    HEX(fcntl(fd, F_GETFD));
    RES(read(fd, &count, 8));
    RES(read(fd, &count, 4));
    RES(write(fd, &count, 8));
    RES(timerfd_gettime(fd, &ots));
    NUM(ots.it_value.tv_sec);
    its = (struct itimerspec){{0, 0}, {0, 20000000}};
    RES(timerfd_settime(fd, 0, &its, &ots));
    struct pollfd p = {fd, POLLIN, 0};
    RES(poll(&p, 1, 0));
    RES(poll(&p, 1, 5000));
    NUM(p.revents);
    RES(read(fd, &count, 8));
    NUM(count);
    RES(read(fd, &count, 8));
    its = (struct itimerspec){{0, 10000000}, {0, 10000000}};
    RES(timerfd_settime(fd, 0, &its, NULL));
    sleep_ms(55);
    RES(read(fd, &count, 8));
    IS(count >= 5);
    RES(timerfd_gettime(fd, &ots));
    NUM(ots.it_interval.tv_nsec);
    RES(fcntl(fd, F_SETFL, 0));
    RES(read(fd, &count, 8));
    NUM(count >= 1);
    its = (struct itimerspec){{0, 0}, {0, 0}};
    RES(timerfd_settime(fd, 0, &its, &ots));
    NUM(ots.it_interval.tv_nsec);
    RES(timerfd_gettime(fd, &ots));
    NUM(ots.it_value.tv_nsec);
    clock_gettime(CLOCK_MONOTONIC, &its.it_value);
    RES(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL));
    RES(read(fd, &count, 8));
    NUM(count);
    its.it_value.tv_nsec = 1000000000;
    RES(timerfd_settime(fd, 0, &its, NULL));
    RES(timerfd_settime(fd, 0x80, &its, NULL));
    RES(timerfd_settime(0, 0, &its, NULL));
    RES(timerfd_settime(999, 0, &its, NULL));
    its = (struct itimerspec){{0, 0}, {0, 10000000}};
    timerfd_settime(fd, 0, &its, NULL);
    CHILD("the child reads it", RES(read(fd, &count, 8)); NUM(count));
    int real;
    OK(real = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
    its = (struct itimerspec){{0, 0}, {1, 0}};
    RES(timerfd_settime(real, TFD_TIMER_ABSTIME, &its, NULL));
    RES(read(real, &count, 8));
    NUM(count);
    OK(timerfd_create(CLOCK_BOOTTIME, 0));
    return 0;
}
