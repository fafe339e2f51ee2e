/* clocks: the time of each clock by the vDSO and by a call, as "CLOCK SECONDS.NANOSECONDS DIFFERENCE", the difference in ns;
 * then how long a relative and an absolute sleep of 20 ms on CLOCK_MONOTONIC take, in ms. */
#include "../check.h"
#include <time.h>

static long long ns(const struct timespec *t) { return t->tv_sec * 1000000000ll + t->tv_nsec; }

int main(void)
{
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    struct timespec a, b, end;
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        clock_gettime(clocks[i], &a);
        syscall(SYS_clock_gettime, clocks[i], &b);
        printf("%d %lld.%09ld %lld\n", clocks[i], (long long)a.tv_sec, a.tv_nsec, ns(&b) - ns(&a));
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("sleep %lld\n", (ns(&b) - ns(&a)) / 1000000);
    end = b;
    end.tv_nsec += 20000000;
    if (end.tv_nsec >= 1000000000)
        end.tv_nsec -= 1000000000, end.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
    clock_gettime(CLOCK_MONOTONIC, &a);
    printf("until %lld\n", (ns(&a) - ns(&b)) / 1000000);
    return 0;
}
