/* Clocks and sleeping: clock_*, gettimeofday, time, nanosleep, clock_nanosleep, the vDSO agrees. */
#include "check.h"
#include <sys/times.h>
#include <sys/timex.h>

static long long ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        return -1;
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long raw(clockid_t clock)
{
    struct timespec t;
    if (syscall(SYS_clock_gettime, clock, &t) < 0)
        return -1;
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void burn(long ms)
{
    long long start = ns(CLOCK_PROCESS_CPUTIME_ID);
    volatile long x = 0;
    while (ns(CLOCK_PROCESS_CPUTIME_ID) - start < ms * 1000000LL)
        for (int i = 0; i < 10000; i++)
            x += i;
}

static void *burner(void *argument)
{
    burn((long)argument);
    return (void *)(long)(ns(CLOCK_THREAD_CPUTIME_ID) / 1000000 >= 15);
}

int main(void)
{
    struct timespec t, left;
    struct timeval tv;
    GUARD(60);

    SECTION("reading clocks");
    clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
                          CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        long long before = ns(clocks[i]), by_call = raw(clocks[i]), after = ns(clocks[i]);
        say("clock %d: positive %d, in order %d", clocks[i], before > 0, before <= by_call && by_call <= after);
        struct timespec resolution;
        int result = clock_getres(clocks[i], &resolution);
        say("  resolution %d: %ld", result, resolution.tv_sec * 1000000000 + (clocks[i] == 5 || clocks[i] == 6 ? 0 : resolution.tv_nsec));
    }
    RES(clock_gettime(99, &t));
    RES(clock_getres(99, &t));
    RES(clock_getres(CLOCK_MONOTONIC, NULL));
    RES(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void *)8));
    RES(syscall(SYS_gettimeofday, (void *)8, NULL));
    RES(syscall(SYS_time, (void *)8));
    RES(gettimeofday(&tv, NULL));
    IS(tv.tv_sec > 1600000000 && tv.tv_usec >= 0 && tv.tv_usec < 1000000);
    time_t now = time(NULL), stored;
    IS(now >= tv.tv_sec - 1 && now <= tv.tv_sec + 1); /* time's clock is as old as the last tick */
    IS(time(&stored) == stored);
    long long backwards = 0, last = ns(CLOCK_MONOTONIC);
    for (int i = 0; i < 10000; i++) {
        long long current = i % 10 ? ns(CLOCK_MONOTONIC) : raw(CLOCK_MONOTONIC);
        backwards += current < last;
        last = current;
    }
    NUM(backwards);

    SECTION("setting is refused or wrong");
    t = (struct timespec){0, -1};
    RES(clock_settime(CLOCK_REALTIME, &t));
    RES(clock_settime(CLOCK_MONOTONIC, &t));
    RES(clock_settime(99, &t));
    tv = (struct timeval){0, -1};
    RES(settimeofday(&tv, NULL));
    struct timex tx = {0};
    IS(adjtimex(&tx) >= 0);

    SECTION("nanosleep");
    long long start = ns(CLOCK_MONOTONIC);
    t = (struct timespec){0, 30000000};
    RES(nanosleep(&t, &left));
    IS(ns(CLOCK_MONOTONIC) - start >= 30000000);
    IS(ns(CLOCK_MONOTONIC) - start < 2000000000);
    t = (struct timespec){0, 0};
    RES(nanosleep(&t, NULL));
    t = (struct timespec){0, 1000000000};
    RES(nanosleep(&t, NULL));
    t = (struct timespec){-1, 0};
    RES(nanosleep(&t, NULL));
    RES(nanosleep((void *)8, NULL));
    RES(usleep(1000));

    SECTION("clock_nanosleep");
    t = (struct timespec){0, 20000000};
    ERR(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
    ERR(clock_nanosleep(CLOCK_REALTIME, 0, &t, NULL));
    ERR(clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL));
    ERR(clock_nanosleep(99, 0, &t, NULL));
    ERR(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL));
    ERR(clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &t, NULL));
    clock_gettime(CLOCK_MONOTONIC, &t);
    ERR(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
    t.tv_nsec += 30000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    start = ns(CLOCK_MONOTONIC);
    ERR(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
    IS(ns(CLOCK_MONOTONIC) >= t.tv_sec * 1000000000LL + t.tv_nsec);
    t = (struct timespec){1, 0};
    ERR(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));

    SECTION("CPU time");
    start = ns(CLOCK_PROCESS_CPUTIME_ID);
    t = (struct timespec){0, 50000000};
    nanosleep(&t, NULL);
    IS(ns(CLOCK_PROCESS_CPUTIME_ID) - start < 40000000);
    start = ns(CLOCK_THREAD_CPUTIME_ID);
    burn(20);
    IS(ns(CLOCK_THREAD_CPUTIME_ID) - start >= 19000000);
    pthread_t thread;
    long long process = ns(CLOCK_PROCESS_CPUTIME_ID), own = ns(CLOCK_THREAD_CPUTIME_ID);
    pthread_create(&thread, NULL, burner, (void *)20L);
    void *result;
    pthread_join(thread, &result);
    NUM((long)result);
    IS(ns(CLOCK_PROCESS_CPUTIME_ID) - process >= 19000000);
    IS(ns(CLOCK_THREAD_CPUTIME_ID) - own < 15000000);
    clockid_t cpu;
    ERR(clock_getcpuclockid(0, &cpu));
    RES(clock_gettime(cpu, &t));
    ERR(clock_getcpuclockid(99999, &cpu));
    ERR(pthread_getcpuclockid(pthread_self(), &cpu));
    RES(clock_gettime(cpu, &t));
    struct tms before, after;
    clock_t ticks = times(&before);
    IS(ticks != -1);
    burn(30);
    CHILD("burns", burn(40));
    IS(times(&after) >= ticks + 5);
    IS(after.tms_utime + after.tms_stime - before.tms_utime - before.tms_stime >= 2);
    IS(after.tms_cutime + after.tms_cstime - before.tms_cutime - before.tms_cstime >= 3);
    IS(times(NULL) != -1);
    RES(syscall(SYS_times, (void *)8));
    IS(clock() > 0);
    return 0;
}
