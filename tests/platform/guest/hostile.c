#include "guest.h"
/* 0: forks, threads and calls without end. 1: one thread scribbles over all contexts while another makes calls.
 * 2: the same with values that look sensible. 3: forks and never waits for anything. 4: thread churn. */
#define CTX 0x7ffe10000000ul

static u64 seed = 88172645463325252ul;
static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

void run(u64 n)
{
	seed ^= rdtsc() | 1;
	if (n == 0)
		for (u64 i = 0;; i++) {
			GETPPID();
			if (i % 16 == 0) {
				long pid = FORK();
				if (pid == 0) {
					for (int k = 0; k < 50; k++)
						GETPPID();
					if (SPAWN() == 0)
						for (;;)
							GETPPID();
					for (int k = 0; k < 50; k++)
						GETPPID();
					GROUP_EXIT(0);
				}
			}
		}
	if (n == 1 || n == 2) {
		for (int k = 0; k < 3; k++)
			if (SPAWN() == 0)
				for (;;) {
					GETPPID();
					FORK() == 0 ? GROUP_EXIT(0) : 0;
				}
		for (;;) {
			u64 at = rnd() % (5 * 1024 / 8);
			u64 value = n == 1 ? rnd() : rnd() % 8;
			if (n == 2 && rnd() % 2)
				((volatile u32 *)CTX)[at * 2] = (u32)value;
			else
				((volatile u64 *)CTX)[at] = value;
			if (rnd() % 4 == 0)
				GETPPID();
		}
	}
	if (n == 3) {
		for (int i = 0; i < 100; i++)
			if (FORK() == 0)
				GROUP_EXIT(0);
		GROUP_EXIT(7);
	}
	if (n == 4) {
		for (int i = 0; i < 100; i++)
			if (SPAWN() == 0) {
				GETPPID();
				EXIT(0);
			}
		GROUP_EXIT(7);
	}
}
