/* The guests' vDSO (vdso(7)): the host's functions, called where the seed has moved them, plus the offsets of the
 * sandbox's clocks, which the Sentry writes into the shared page. An ELF image of its own inside the stub's text, so that
 * clocks stay right wherever the host's vDSO lies and whatever the offsets become. */
#include <asm/unistd_64.h>
#include "systrap.h"

#define SHARED ((const volatile struct st_shared *)ST_SHARED)
#define SECOND 1000000000l
#define EXPORT __attribute__((visibility("default")))

struct timespec { long tv_sec, tv_nsec; };
struct timeval;


static long call2(long nr, long a, long b)
{
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return ret;
}

/* The clocks that a time namespace shifts (time_namespaces(7)); the others are the host's. */
static const volatile struct st_offset *offset_of(int clock)
{
	switch (clock) {
	case 1: /* CLOCK_MONOTONIC */
	case 4: /* CLOCK_MONOTONIC_RAW */
	case 6: /* CLOCK_MONOTONIC_COARSE */
		return &SHARED->monotonic;
	case 7: /* CLOCK_BOOTTIME */
		return &SHARED->boottime;
	default:
		return 0;
	}
}

EXPORT int __vdso_clock_gettime(int clock, struct timespec *t)
{
	int (*host)(int, struct timespec *) = (int (*)(int, struct timespec *))SHARED->host_clock_gettime;
	const volatile struct st_offset *offset;
	int result;
	if (__builtin_expect(!SHARED->shifted, 1) || !(offset = offset_of(clock)))
		return host(clock, t);
	if (SHARED->slow_clock) /* the host's function would make the call, whose answer is shifted already */
		return (int)call2(__NR_clock_gettime, clock, (long)t);
	result = host(clock, t);
	if (!result) {
		t->tv_sec += offset->sec;
		t->tv_nsec += offset->nsec;
		if (t->tv_nsec >= SECOND) {
			t->tv_nsec -= SECOND;
			t->tv_sec++;
		}
	}
	return result;
}

EXPORT int __vdso_clock_getres(int clock, struct timespec *t)
{
	return ((int (*)(int, struct timespec *))SHARED->host_clock_getres)(clock, t);
}

EXPORT int __vdso_gettimeofday(struct timeval *t, void *zone)
{
	return ((int (*)(struct timeval *, void *))SHARED->host_gettimeofday)(t, zone);
}

EXPORT long __vdso_time(long *t)
{
	return ((long (*)(long *))SHARED->host_time)(t);
}

EXPORT long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
	return ((long (*)(unsigned *, unsigned *, void *))SHARED->host_getcpu)(cpu, node, unused);
}

int clock_gettime(int, struct timespec *) __attribute__((weak, visibility("default"), alias("__vdso_clock_gettime")));
int clock_getres(int, struct timespec *) __attribute__((weak, visibility("default"), alias("__vdso_clock_getres")));
int gettimeofday(struct timeval *, void *) __attribute__((weak, visibility("default"), alias("__vdso_gettimeofday")));
long time(long *) __attribute__((weak, visibility("default"), alias("__vdso_time")));
long getcpu(unsigned *, unsigned *, void *) __attribute__((weak, visibility("default"), alias("__vdso_getcpu")));
