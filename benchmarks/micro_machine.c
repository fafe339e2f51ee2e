/* What the machine itself allows a hand-over between two CPUs to cost: no runtime that serves calls in another thread
 * can be faster. Some virtual machines place their CPUs anew from time to time, so it belongs to every table. */
#include "micro.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS 200000
#define WAKES 500

static struct {
	_Alignas(64) atomic_uint turn;
	char rest[60];
} line;
static int other_cpu;

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void await(unsigned value, int asleep)
{
	unsigned seen;
	while ((seen = atomic_load(&line.turn)) != value)
		if (asleep)
			syscall(SYS_futex, &line.turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
		else
			__builtin_ia32_pause();
}

static void hand_over(unsigned value, int asleep)
{
	atomic_store(&line.turn, value);
	if (asleep)
		syscall(SYS_futex, &line.turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *answer(void *asleep)
{
	pin(other_cpu);
	for (int i = 0; i < (asleep ? WAKES : SPINS); i++) {
		await(1, asleep != NULL);
		hand_over(0, asleep != NULL);
	}
	return NULL;
}

/* Nanoseconds of one hand-over there and back. */
static double round_trip(int asleep)
{
	struct timespec from, to;
	pthread_t thread;
	int rounds = asleep ? WAKES : SPINS;
	if (pthread_create(&thread, NULL, answer, asleep ? &line : NULL))
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < rounds; i++) {
		hand_over(1, asleep);
		await(0, asleep);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	pthread_join(thread, NULL);
	return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / rounds;
}

int machine(void)
{
	cpu_set_t set;
	int first = -1;
	sched_getaffinity(0, sizeof set, &set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set)) {
			if (first < 0)
				first = cpu;
			else {
				other_cpu = cpu;
				pin(first);
				printf("%.0f %.0f\n", round_trip(0), round_trip(1));
				return 0;
			}
		}
	return 1; /* one CPU alone */
}
